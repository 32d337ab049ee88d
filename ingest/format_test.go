package ingest

import (
	"strings"
	"testing"
)

const (
	v2Header = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status"
	okLine   = "2 123456789012 eni-0a 10.0.1.5 203.0.113.10 40000 21 6 12 712 1795370837 1795370861 ACCEPT OK"
	noData   = "2 123456789012 eni-0a - - - - - - - 1795370837 1795370861 - NODATA"
	skipData = "2 123456789012 eni-0a - - - - - - - 1795370837 1795370861 - SKIPDATA"
)

func mustFormat(s string) Format {
	f, err := ParseFormat(s)
	if err != nil {
		panic(err)
	}
	return f
}

func TestParseFormat(t *testing.T) {
	for _, test := range []struct{ in, want, err string }{
		{"default", v2Header, ""},
		{" default\n", v2Header, ""},
		{"${srcaddr} ${dstaddr}", "srcaddr dstaddr", ""},
		{"srcaddr  dstaddr\tend", "srcaddr dstaddr end", ""},
		{"pkt_srcaddr new-field New_Field", "pkt-srcaddr new-field New_Field", ""},
		{"end", "end", ""},
		{"", "", `format: no fields; give their names, or "default"`},
		{" \t", "", `format: no fields; give their names, or "default"`},
		{"end start end", "", "format: field end stands twice"},
		{"pkt-srcaddr pkt_srcaddr", "", "format: field pkt-srcaddr stands twice"},
		{"${end start", "", `format: "${end" lacks its closing brace`},
		{"srcaddr,dstaddr", "", `format: "srcaddr,dstaddr" is not the name of a field`},
		{"srcaddr 10.0.0.1", "", `format: "10.0.0.1" is not the name of a field`},
		{"${}", "", `format: "${}" is not the name of a field`},
	} {
		f, err := ParseFormat(test.in)
		if got := strings.Join(f.names, " "); got != test.want {
			t.Errorf("ParseFormat(%q): got %q, want %q", test.in, got, test.want)
		}
		if got := errorText(err); got != test.err {
			t.Errorf("ParseFormat(%q): got error %q, want %q", test.in, got, test.err)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestFormatString(t *testing.T) {
	if got, want := mustFormat("srcaddr end").String(), "${srcaddr} ${end}"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := (Format{}).String(); got != "" {
		t.Errorf("zero Format: got %q", got)
	}
}

func TestHeaderOf(t *testing.T) {
	for _, test := range []struct {
		line string
		want bool
	}{
		{v2Header, true},
		{"end", true},
		{"srcaddr dstaddr field-of-2031", true},
		{"srcaddr field-of-2031 another", false},
		{"srcaddr dstaddr 2031", false},
		{okLine, false},
		{noData, false},
		{"", false},
		{"remember the milk", false},
		{`{"srcaddr": "10.0.0.1"}`, false},
	} {
		if _, got := headerOf([]byte(test.line)); got != test.want {
			t.Errorf("headerOf(%q): got %v, want %v", test.line, got, test.want)
		}
	}
}

func FuzzParseFormat(f *testing.F) {
	for _, s := range []string{"default", v2Header, "${srcaddr} ${end}", "${end", "a a", "pkt_srcaddr x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		format, err := ParseFormat(s)
		if err != nil {
			if len(format.names) > 0 {
				t.Errorf("error and format at once: %v", format)
			}
			return
		}
		again, err := ParseFormat(format.String())
		if err != nil || again.String() != format.String() {
			t.Errorf("%q reads as %q, %v", format, again, err)
		}
	})
}
