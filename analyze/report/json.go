package report

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"iter"
	"reflect"
	"strconv"

	"ephemera/analyze"
)

// WriteJSON writes r as one object with a table a member and a row a line,
// so that two reports can be compared line by line. Names are those of the
// CSV columns. Lists are never null, and what is not known is left out.
func WriteJSON(w io.Writer, r *analyze.Result) error {
	out := bufio.NewWriterSize(w, fullBuffer)
	out.WriteByte('{')
	byName := map[string]table{}
	for _, t := range tables(r) {
		byName[t.name] = t
	}
	v := reflect.ValueOf(r).Elem()
	separator := ""
	for _, c := range columnsOf(v.Type()) {
		if c.isEmpty(v) {
			continue
		}
		out.WriteString(separator + "\n " + strconv.Quote(c.name) + ": ")
		separator = ","
		var err error
		if t, ok := byName[c.name]; ok {
			err = t.writeJSON(out)
		} else {
			err = writeMember(out, v.Field(c.field))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	out.WriteString("\n}\n")
	return cmp.Or(r.Err(), out.Flush())
}

// writeJSON writes the rows of t as a list.
func (t table) writeJSON(out *bufio.Writer) error {
	return writeItems(out, func(b []byte, _ reflect.Value) ([]byte, error) { return t.appendRow(b) }, t.rows)
}

// appendRow appends the row that t is at as appendObject does.
func (t table) appendRow(b []byte) ([]byte, error) {
	start := len(b)
	for i := range t.cells {
		c := &t.cells[i]
		if c.empty() {
			continue
		}
		separator := ", "
		if len(b) == start {
			separator = "{"
		}
		b = append(append(b, separator...), c.key...)
		var err error
		if b, err = c.json(b); err != nil {
			return nil, fmt.Errorf("%s: %w", t.columns[i].name, err)
		}
	}
	if len(b) == start {
		b = append(b, '{')
	}
	return append(b, '}'), nil
}

// writeMember writes a list with an item a line, and anything else on one.
func writeMember(out *bufio.Writer, v reflect.Value) error {
	if v.Kind() != reflect.Slice {
		line, err := appendJSON(nil, v)
		out.Write(line)
		return err
	}
	return writeItems(out, itemJSON(v.Type().Elem()), func(yield func(reflect.Value) bool) {
		for i := range v.Len() {
			if !yield(v.Index(i)) {
				return
			}
		}
	})
}

func writeItems(out *bufio.Writer, item func([]byte, reflect.Value) ([]byte, error), items iter.Seq[reflect.Value]) error {
	var line []byte
	separator, n := "[\n  ", 0
	for v := range items {
		var err error
		if line, err = item(append(line[:0], separator...), v); err != nil {
			return fmt.Errorf("row %d: %w", n, err)
		}
		if _, err := out.Write(line); err != nil {
			return err
		}
		separator, n = ",\n  ", n+1
	}
	if n == 0 {
		out.WriteString("[]")
		return nil
	}
	out.WriteString("\n ]")
	return nil
}
