package ingest

import (
	"errors"
	"fmt"
	"strings"

	"ephemera/ingest/flow"
)

// Format is the order of fields in the lines of a flow log. The zero Format
// has no fields and means "not given".
type Format struct{ names []string }

// defaultFormat has the fields of version 2, AWS's fixed default.
var defaultFormat = func() Format {
	var f Format
	for field := flow.FieldVersion; field <= flow.FieldLogStatus; field++ {
		f.names = append(f.names, field.Name())
	}
	return f
}()

// ParseFormat reads a format as DescribeFlowLogs gives it in LogFormat
// ("${srcaddr} ${dstaddr}"), as a header line has it ("srcaddr dstaddr"), or
// the word "default" for the 14 fields of version 2. Names that package flow
// does not know are kept, so that their column is skipped. A format without
// names, with the same name twice, or with something that is no name is an
// error.
func ParseFormat(s string) (Format, error) {
	if strings.TrimSpace(s) == "default" {
		return defaultFormat, nil
	}
	names := strings.Fields(s)
	for i, name := range names {
		if inner, ok := strings.CutPrefix(name, "${"); ok {
			name, ok = strings.CutSuffix(inner, "}")
			if !ok {
				return Format{}, fmt.Errorf("format: %q lacks its closing brace", names[i])
			}
		}
		if !isName(name) {
			return Format{}, fmt.Errorf("format: %q is not the name of a field", names[i])
		}
		names[i] = name
	}
	return newFormat(names)
}

// newFormat makes a format of names that are known to be well formed.
func newFormat(names []string) (Format, error) {
	if len(names) == 0 {
		return Format{}, errors.New(`format: no fields; give their names, or "default"`)
	}
	seen := make(map[string]bool, len(names))
	for i, name := range names {
		if field, ok := flow.FieldNamed(name); ok {
			names[i] = field.Name()
		}
		if seen[names[i]] {
			return Format{}, fmt.Errorf("format: field %s stands twice", names[i])
		}
		seen[names[i]] = true
	}
	return Format{names}, nil
}

// String gives the format as LogFormat has it: "${srcaddr} ${dstaddr}".
func (f Format) String() string {
	if len(f.names) == 0 {
		return ""
	}
	return "${" + strings.Join(f.names, "} ${") + "}"
}

// check returns an error when records of the format cannot be flow log
// records of a VPC.
// Source: Transit Gateway Guide, "Transit Gateway Flow Log records".
func (f Format) check() error {
	for _, name := range f.names {
		if name == "resource-type" || strings.HasPrefix(name, "tgw-") {
			return errors.New("these are transit gateway flow logs, which have no action; give VPC flow logs")
		}
	}
	return nil
}

// headerOf returns the names in line when it is a header line: nothing but
// names, of which two are known, or all. A record always holds a number, an
// address or a "-" where a header has a name.
func headerOf(line []byte) ([]string, bool) {
	names := strings.FieldsFunc(string(line), isBlank)
	known := 0
	for _, name := range names {
		if !isName(name) {
			return nil, false
		}
		if _, ok := flow.FieldNamed(name); ok {
			known++
		}
	}
	return names, known >= 2 || known > 0 && known == len(names)
}

// mostlyKnown tells a header line in the middle of a log from a stray message
// that happens to hold words such as "start" and "end".
func mostlyKnown(names []string) bool {
	known := 0
	for _, name := range names {
		if _, ok := flow.FieldNamed(name); ok {
			known++
		}
	}
	return 2*known > len(names)
}

// isName reports whether s can be the name of a field, one we know or one
// that AWS adds later: a letter, then letters, digits and a few marks.
func isName(s string) bool {
	for i, c := range []byte(s) {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789-_.:", rune(c))) {
			return false
		}
	}
	return s != ""
}

// isBlank tells what separates the fields of a line.
func isBlank(c rune) bool { return c == ' ' }
