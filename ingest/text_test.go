package ingest

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/klauspost/compress/gzip"

	"ephemera/ingest/flow"
)

// read collects what Text yields: records as lines of f, errors as text.
func read(t *testing.T, r io.Reader, f Format, opts Options) []string {
	t.Helper()
	var got []string
	for rec, err := range Text(r, "log", opts) {
		switch {
		case err == nil:
			got = append(got, string(f.AppendRecord(nil, rec)))
		case rec != nil:
			t.Errorf("record and error at once: %v", err)
		default:
			got = append(got, "! "+err.Error())
		}
	}
	return got
}

func diff(t *testing.T, got, want []string) {
	t.Helper()
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("got:\n%s\nwant:\n%s", g, w)
	}
}

func lines(l ...string) io.Reader { return strings.NewReader(strings.Join(l, "\n") + "\n") }

func gz(text string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, text)
	w.Close()
	return b.Bytes()
}

// with replaces the words of a line of version 2, by field name.
func with(line string, change ...string) string {
	words := strings.Fields(line)
	for i, name := range strings.Fields(v2Header) {
		for j := 0; j < len(change); j += 2 {
			if change[j] == name {
				words[i] = change[j+1]
			}
		}
	}
	return strings.Join(words, " ")
}

func TestTextRecord(t *testing.T) {
	var got flow.Record
	for r, err := range Text(lines(v2Header, okLine), "log", Options{}) {
		if err != nil {
			t.Fatal(err)
		}
		got = *r
	}
	tuple := flow.Tuple{Src: addr("10.0.1.5"), Dst: addr("203.0.113.10"), SrcPort: 40000, DstPort: 21, Proto: flow.TCP}
	if got.Tuple() != tuple || got.AccountID != "123456789012" || got.InterfaceID != "eni-0a" ||
		got.Packets != 12 || got.Bytes != 712 || got.Start != 1795370837 || got.End != 1795370861 ||
		got.Action != flow.Accept || got.Status != flow.OK || got.Version != 2 {
		t.Errorf("got %+v", got)
	}
}

func addr(s string) flow.Addr {
	a, err := flow.ParseAddr(s)
	if err != nil {
		panic(err)
	}
	return a
}

func TestTextLines(t *testing.T) {
	for _, test := range []struct{ name, line, want string }{
		{"ok", okLine, okLine},
		{"no data is not an error", noData, noData},
		{"skipped data is not an error", skipData, skipData},
		{"zero is a value", with(okLine, "srcport", "0", "dstport", "0", "protocol", "0", "packets", "0"), ""},
		{"account unknown", with(okLine, "account-id", "unknown"), ""},
		{"leading zeros of an account", with(okLine, "account-id", "000000000012"), ""},
		{"no interface", with(okLine, "interface-id", "-"), ""},
		{"no action", with(okLine, "action", "-"), ""},
		{"no ports", with(okLine, "srcport", "-", "dstport", "-"), ""},
		{"IPv6", with(okLine, "srcaddr", "2001:db8::1", "dstaddr", "::"), ""},
		{"mapped IPv4", with(okLine, "srcaddr", "::ffff:10.0.1.5"), okLine},
		{"milliseconds", with(okLine, "start", "1795370837999", "end", "1795370861000"), okLine},
		{"largest values", with(okLine, "srcport", "65535", "protocol", "255", "bytes", "9223372036854775807", "end", "100000000000"), ""},
		{"carriage return", okLine + "\r", okLine},
		{"runs of blanks", " " + strings.ReplaceAll(okLine, " ", "  ") + " ", okLine},
		{"event time in front", "2026-11-22T10:00:00.000Z " + okLine, okLine},
		{"event time without fraction", "2026-11-22T10:00:00Z " + noData, noData},

		{"port", with(okLine, "dstport", "70000"), `! log: line 2: dstport: "70000" out of range`},
		{"huge port", with(okLine, "dstport", "99999999999999999999999"), `! log: line 2: dstport: "99999999999999999999999" out of range`},
		{"huge, then no number", with(okLine, "dstport", "99999999999999999999999x"), `! log: line 2: dstport: "99999999999999999999999x" is not a number`},
		{"signed port", with(okLine, "dstport", "+21"), `! log: line 2: dstport: "+21" is not a number`},
		{"protocol", with(okLine, "protocol", "256"), `! log: line 2: protocol: "256" out of range`},
		{"protocol name", with(okLine, "protocol", "tcp"), `! log: line 2: protocol: "tcp" is not a number`},
		{"bytes", with(okLine, "bytes", "9223372036854775808"), `! log: line 2: bytes: "9223372036854775808" out of range`},
		{"address", with(okLine, "srcaddr", "10.0.1.256"), `! log: line 2: srcaddr: "10.0.1.256" is not an address`},
		{"octal address", with(okLine, "srcaddr", "10.0.1.05"), `! log: line 2: srcaddr: "10.0.1.05" is not an address`},
		{"address with zone", with(okLine, "srcaddr", "fe80::1%eth0"), `! log: line 2: srcaddr: "fe80::1%eth0" is not an address`},
		{"action", with(okLine, "action", "DROP"), `! log: line 2: action: "DROP" is neither ACCEPT nor REJECT`},
		{"status", with(okLine, "log-status", "O"), `! log: line 2: log-status: "O" is none of OK, NODATA and SKIPDATA`},
		{"no source in an OK record", with(okLine, "srcaddr", "-"), `! log: line 2: srcaddr: "-" in a record of log-status OK`},
		{"no end in an OK record", with(okLine, "end", "-"), `! log: line 2: end: "-" in a record of log-status OK`},
		{"control character", with(okLine, "interface-id", "eni\x1b[2J"), `! log: line 2: interface-id: "eni\x1b[2J" holds a control character`},
		{"tab", strings.Replace(okLine, " eni-0a ", " eni-0a\t ", 1), `! log: line 2: interface-id: "eni-0a\t" holds a control character`},
		{"not UTF-8", with(okLine, "interface-id", "eni\xff"), `! log: line 2: interface-id: "eni\xff" is not UTF-8`},
		{"field too few", okLine[:len(okLine)-3], "! log: line 2: 13 fields, where the format has 14"},
		{"field too many", okLine + " 1", "! log: line 2: 15 fields, where the format has 14"},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := test.want
			if want == "" {
				want = test.line
			}
			// A bad line in the middle of a file must not disturb the others.
			got := read(t, lines(v2Header, test.line, okLine), mustFormat("default"), Options{})
			diff(t, got, []string{want, okLine})
		})
	}
}

func TestTextObjects(t *testing.T) {
	long := strings.Repeat("x", maxLine+10)
	for _, test := range []struct {
		name  string
		input io.Reader
		opts  Options
		want  []string
	}{
		{"empty", lines(), Options{}, nil},
		{"header only", lines(v2Header), Options{}, nil},
		{"no newline at the end", strings.NewReader(v2Header + "\n" + okLine), Options{}, []string{okLine}},
		{"blank lines", lines("", v2Header, "", okLine, ""), Options{}, []string{okLine}},
		{"header again", lines(v2Header, okLine, v2Header, okLine), Options{}, []string{okLine, okLine}},
		{"message with words of a header", lines(v2Header, "the end of many bytes", okLine), Options{}, []string{
			"! log: line 2: 5 fields, where the format has 14", okLine}},
		{"no header", lines(okLine), Options{}, []string{
			`! log: no header line, but "` + okLine + `"; where this is a flow log, give its fields with --format, as a list such as "${srcaddr} ${dstaddr} ${action}" or as the word default`}},
		{"no header, format given", lines(okLine, noData), Options{Format: mustFormat("default")}, []string{okLine, noData}},
		{"header wins over format", lines(v2Header, okLine), Options{Format: mustFormat("start end")}, []string{okLine}},
		{"header with a name twice", lines("srcaddr dstaddr srcaddr", "10.0.0.1 10.0.0.2 10.0.0.3"), Options{}, []string{
			"! log: header line: format: field srcaddr stands twice"}},
		{"transit gateway", lines("version resource-type account-id tgw-id srcaddr", "6 TransitGateway 123456789012 tgw-1 10.0.0.1"), Options{}, []string{
			"! log: these are transit gateway flow logs, which have no action; give VPC flow logs"}},
		{"Parquet", strings.NewReader("PAR1\x15\x04"), Options{}, []string{
			"! log: this is Parquet, not text"}},
		{"binary", strings.NewReader("\x7fELF\x02\x01\x01\x00\x00\n"), Options{}, []string{
			"! log: not a flow log: neither text, nor gzip of text, nor Parquet"}},
		{"binary inside gzip", bytes.NewReader(gz("\x00\x01\n")), Options{}, []string{
			"! log: not a flow log: neither text, nor gzip of text, nor Parquet"}},
		{"line too long", lines(v2Header, okLine, long, okLine), Options{}, []string{
			okLine, "! log: line 3: line longer than 1 MiB", okLine}},
		{"line too long at the end", strings.NewReader(v2Header + "\n" + long), Options{}, []string{
			"! log: line 2: line longer than 1 MiB"}},
		{"gzip", bytes.NewReader(gz(v2Header + "\n" + okLine + "\n")), Options{}, []string{okLine}},
		{"gzip members", bytes.NewReader(append(gz(v2Header+"\n"+okLine+"\n"), gz(v2Header+"\n"+noData)...)), Options{}, []string{okLine, noData}},
		{"gzip with something behind it", bytes.NewReader(append(gz(v2Header+"\n"+okLine+"\n"), "something behind it"...)), Options{}, []string{
			okLine, "! log: the compressed data is damaged or followed by something else: gzip: invalid header (1 records read before that)"}},
		{"read error", io.MultiReader(lines(v2Header, okLine), strings.NewReader(okLine), iotest.ErrReader(errors.New("disk on fire"))), Options{}, []string{
			okLine, "! log: disk on fire (1 records read before that)"}},
		{"one byte at a time", iotest.OneByteReader(lines(v2Header, okLine, noData)), Options{}, []string{okLine, noData}},
	} {
		t.Run(test.name, func(t *testing.T) {
			diff(t, read(t, test.input, mustFormat("default"), test.opts), test.want)
		})
	}
}

// The console lists fields by name, so that two formats of as many fields
// stand in another order: columns go by name, never by number.
func TestTextOtherOrder(t *testing.T) {
	alphabetical := "account-id action bytes dstaddr dstport end interface-id log-status packets protocol srcaddr srcport start version"
	line := "123456789012 ACCEPT 712 203.0.113.10 21 1795370861 eni-0a OK 12 6 10.0.1.5 40000 1795370837 2"
	diff(t, read(t, lines(alphabetical, line), mustFormat("default"), Options{}), []string{okLine})
	diff(t, read(t, lines(alphabetical, line, v2Header, okLine), mustFormat("default"), Options{}), []string{okLine, okLine})
}

func TestTextTruncatedGzip(t *testing.T) {
	text := v2Header + "\n" + strings.Repeat(okLine+"\n", 5000)
	whole := gz(text)
	for _, n := range []int{3, 11, 40, len(whole) / 2, len(whole) - 1} {
		got := read(t, bytes.NewReader(whole[:n]), mustFormat("default"), Options{})
		last := got[len(got)-1]
		if !strings.HasPrefix(last, "! log: the compressed data ends early") {
			t.Errorf("cut at %d: last step is %q", n, last)
		}
		for _, line := range got[:len(got)-1] {
			if line != okLine {
				t.Fatalf("cut at %d: got record %q", n, line)
			}
		}
	}
}

func TestTextWindow(t *testing.T) {
	at := func(start, end string) string { return with(okLine, "start", start, "end", end) }
	in := []string{at("100", "199"), at("100", "200"), at("250", "250"), at("299", "400"), at("300", "300")}
	opts := Options{From: time.Unix(200, 0), To: time.Unix(300, 0)}
	diff(t, read(t, lines(append([]string{v2Header}, in...)...), mustFormat("default"), opts), in[1:4])
}

func TestTextWantAndUnknown(t *testing.T) {
	header := "srcaddr new-field type dstaddr tcp-flags instance-tag end"
	in := []string{"10.0.0.1 what IPv4 10.0.0.2 0 my%2Dapp 100", "10.0.0.1 - - 10.0.0.2 - - 100"}
	for _, test := range []struct {
		name, format string
		opts         Options
		want         []string
	}{
		{"all known", "srcaddr new-field type tcp-flags instance-tag", Options{},
			[]string{"10.0.0.1 - IPv4 0 my%2Dapp", "10.0.0.1 - - - -"}},
		{"unknown kept", "new-field type tcp-flags", Options{KeepUnknown: true},
			[]string{"what IPv4 0", "- - -"}},
		{"only some", "srcaddr dstaddr type end", Options{Want: flow.Fields(flow.FieldSrcAddr)},
			[]string{"10.0.0.1 - - 100", "10.0.0.1 - - 100"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			diff(t, read(t, lines(append([]string{header}, in...)...), mustFormat(test.format), test.opts), test.want)
		})
	}
}
