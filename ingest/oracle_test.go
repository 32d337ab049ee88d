package ingest

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"ephemera/ingest/flow"
)

var eventTime = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S*Z[ ]+`)

// slowRecord is the oracle: the decoder in the plainest words. It reports
// false where the line is no record.
func slowRecord(names []string, line string) (flow.Record, bool) {
	line = eventTime.ReplaceAllString(line, "")
	words := strings.FieldsFunc(line, isBlank)
	if len(words) != len(names) {
		return flow.Record{}, false
	}
	value := make(map[string]string)
	var r flow.Record
	ok := true
	for i, name := range names {
		if words[i] == "-" {
			continue
		}
		value[name] = words[i]
		if f, known := flow.FieldNamed(name); known {
			r.Has |= flow.Fields(f)
		}
	}
	number := func(name string, limit uint64) uint64 {
		if value[name] == "" {
			return 0
		}
		n, err := strconv.ParseUint(value[name], 10, 64)
		ok = ok && err == nil && n <= limit
		return n
	}
	seconds := func(name string) int64 {
		n := number(name, 100_000_000_000_000)
		if n > 100_000_000_000 {
			n /= 1000
		}
		return int64(n)
	}
	address := func(name string) flow.Addr {
		if value[name] == "" {
			return flow.Addr{}
		}
		a, err := netip.ParseAddr(value[name])
		ok = ok && err == nil && a.Zone() == ""
		return flow.AddrFrom(a)
	}
	text := func(name string) string {
		ok = ok && utf8.ValidString(value[name]) &&
			!strings.ContainsFunc(value[name], func(c rune) bool { return c < 0x80 && unicode.IsControl(c) })
		return value[name]
	}
	choice := func(name string, choices ...string) int {
		for i, c := range choices {
			if value[name] == c {
				return i
			}
		}
		ok = false
		return 0
	}
	r.Version = uint8(number("version", 255))
	r.AccountID = text("account-id")
	r.InterfaceID = text("interface-id")
	r.ResourceID = text("resource-id")
	r.VPCID = text("vpc-id")
	r.SubnetID = text("subnet-id")
	r.InstanceID = text("instance-id")
	r.Region = text("region")
	r.AZID = text("az-id")
	r.RejectReason = text("reject-reason")
	r.Src, r.Dst = address("srcaddr"), address("dstaddr")
	r.PktSrc, r.PktDst = address("pkt-srcaddr"), address("pkt-dstaddr")
	r.SrcPort, r.DstPort = uint16(number("srcport", 65535)), uint16(number("dstport", 65535))
	r.Proto = flow.Proto(number("protocol", 255))
	r.TCPFlags = flow.TCPFlags(number("tcp-flags", 255))
	r.TrafficPath = uint8(number("traffic-path", 255))
	r.Packets, r.Bytes = number("packets", 1<<63-1), number("bytes", 1<<63-1)
	r.Start, r.End = seconds("start"), seconds("end")
	r.Action = flow.Action(choice("action", "", "ACCEPT", "REJECT"))
	r.Direction = flow.Direction(choice("flow-direction", "", "ingress", "egress"))
	r.Status = flow.LogStatus(max(choice("log-status", "", "OK", "NODATA", "SKIPDATA")-1, 0))
	for _, name := range names {
		if value[name] != "" && !hasPlace[name] {
			r.Extra = append(r.Extra, flow.ExtraField{Name: name, Value: text(name)})
		}
	}
	for _, name := range strings.Fields("srcaddr dstaddr protocol start end") {
		for _, n := range names {
			ok = ok && (n != name || value[name] != "" || r.Status != flow.OK)
		}
	}
	return r, ok
}

// hasPlace holds the fields that Record has a place for.
var hasPlace = func() map[string]bool {
	m := make(map[string]bool)
	for _, name := range strings.Fields(v2Header + ` vpc-id subnet-id instance-id tcp-flags
		pkt-srcaddr pkt-dstaddr region az-id flow-direction traffic-path reject-reason resource-id`) {
		m[name] = true
	}
	return m
}()

// randomFormat picks fields, known and not, in any order.
func randomFormat(rnd *rand.Rand) []string {
	names := strings.Fields("new-field another_field")
	for f := flow.FieldVersion; f <= flow.FieldNextHopInterfaceType; f++ {
		names = append(names, f.Name())
	}
	rnd.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	return names[:3+rnd.IntN(len(names)-2)]
}

// randomValue gives a value of a field, usually a right one.
func randomValue(rnd *rand.Rand, name string) string {
	pick := func(s ...string) string { return s[rnd.IntN(len(s))] }
	if rnd.IntN(20) == 0 {
		return "-"
	}
	switch name {
	case "version", "protocol", "tcp-flags", "traffic-path":
		return strconv.Itoa(rnd.IntN(256))
	case "srcport", "dstport":
		return strconv.Itoa(rnd.IntN(65536))
	case "packets", "bytes":
		return strconv.FormatUint(rnd.Uint64()>>(1+rnd.IntN(63)), 10)
	case "start", "end":
		return strconv.Itoa((1_700_000_000 + rnd.IntN(100_000_000)) * pick1000(rnd))
	case "srcaddr", "dstaddr", "pkt-srcaddr", "pkt-dstaddr":
		return randomAddr(rnd)
	case "action":
		return pick("ACCEPT", "REJECT")
	case "log-status":
		return pick("OK", "OK", "OK", "NODATA", "SKIPDATA")
	case "flow-direction":
		return pick("ingress", "egress")
	}
	return pick("eni-0a", "vpc-1", "123456789012", "000000000012", "unknown", "my%2Dapp", "Grüße", "arn:aws:ecs:x:1:task/"+strconv.Itoa(rnd.IntN(99)))
}

func pick1000(rnd *rand.Rand) int { return []int{1, 1, 1000}[rnd.IntN(3)] }

// randomAddr gives addresses in all their forms.
func randomAddr(rnd *rand.Rand) string {
	if rnd.IntN(2) == 0 {
		return netip.AddrFrom4([4]byte{byte(rnd.Uint32()), byte(rnd.Uint32()), byte(rnd.Uint32()), byte(rnd.IntN(3))}).String()
	}
	var b [16]byte
	for i := range b {
		b[i] = byte(rnd.Uint32() & rnd.Uint32() & rnd.Uint32())
	}
	if rnd.IntN(2) == 0 {
		clear(b[rnd.IntN(14):])
	}
	a := netip.AddrFrom16(b)
	switch rnd.IntN(4) {
	case 0:
		return a.StringExpanded()
	case 1:
		return fmt.Sprintf("::FFFF:10.0.%d.1", rnd.IntN(256))
	}
	return a.String()
}

// mutate damages a line somewhere.
func mutate(rnd *rand.Rand, line string) string {
	i := rnd.IntN(len(line))
	switch rnd.IntN(5) {
	case 0:
		return line[:i] + line[i+1:]
	case 1:
		return line[:i] + string(rune(rnd.IntN(0x180))) + line[i:]
	case 2:
		words := strings.Fields(line)
		garbage := []string{"-", "-1", "256", "65536", "1e3", "99999999999999999999", "10.0.0.256", "1.2.3.4.5", ":::", "fe80::1%1", "accept", "\xff", "0x10", "_", "007", "1..2.3"}
		words[rnd.IntN(len(words))] = garbage[rnd.IntN(len(garbage))]
		return strings.Join(words, " ")
	case 3:
		return line + " " + line[:i]
	}
	return line[:i]
}

func TestTextAgainstOracle(t *testing.T) {
	const formats, perFormat = 200, 40
	rnd := rand.New(rand.NewPCG(3, 4))
	records, errs := 0, 0
	for range formats {
		names := randomFormat(rnd)
		f, err := newFormat(names)
		if err != nil {
			t.Fatal(err)
		}
		for range perFormat {
			var words []string
			for _, name := range names {
				words = append(words, randomValue(rnd, name))
			}
			line := strings.Join(words, " ")
			if rnd.IntN(10) == 0 {
				line = "2026-11-22T10:00:00.000Z " + line
			}
			if rnd.IntN(2) == 0 {
				line = mutate(rnd, line)
			}
			if strings.TrimSpace(line) == "" || strings.ContainsAny(line, "\x00\n\r") {
				continue
			}
			want, ok := slowRecord(names, line)
			got, err := firstRecord(line, f)
			switch {
			case (err == nil) != ok:
				t.Fatalf("format %s\nline %q\ngot error %v, want a record: %v", f, line, err, ok)
			case ok && !reflect.DeepEqual(got, want):
				t.Fatalf("format %s\nline %q\ngot  %+v\nwant %+v", f, line, got, want)
			case ok:
				records++
			default:
				errs++
			}
		}
	}
	if records < formats*perFormat/4 || errs < formats*perFormat/10 {
		t.Errorf("lopsided test: %d records, %d errors", records, errs)
	}
}

// firstRecord decodes one line, quickly if that can be.
func firstRecord(line string, f Format) (r flow.Record, err error) {
	d := newTextDecoder(&Options{KeepUnknown: true})
	d.reset(strings.NewReader(line+"\n"), "log")
	if err := d.use(f.names); err != nil {
		return r, err
	}
	err = d.next(&r)
	return r, err
}

// exactSteps is the oracle of how a whole text is read: it is cut into lines
// with the plainest means, and each is read by the decoder's exact way, never
// by the quick one.
func exactSteps(text string, opts Options) (steps []decoded) {
	d := newTextDecoder(&opts)
	d.reset(nil, "log")
	if text != "" && text[len(text)-1] != '\n' {
		text += "\n"
	}
	for line := range strings.Lines(text) {
		var r flow.Record
		d.lines.line++
		ok, err := d.line(&r, []byte(strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")))
		switch {
		case err != nil:
			steps = append(steps, decoded{err: err.Error(), line: d.lines.line})
		case ok:
			steps = append(steps, decoded{record: r, line: d.lines.line})
		}
		if d.done {
			break
		}
	}
	return steps
}

// quickSteps reads the text as it is read elsewhere, into the same record
// again and again, as the batches of a join are used again.
func quickSteps(r io.Reader, opts Options) (steps []decoded) {
	d := newTextDecoder(&opts)
	d.reset(r, "log")
	var rec flow.Record
	for {
		switch err := d.next(&rec); {
		case err == io.EOF:
			return steps
		case err != nil:
			steps = append(steps, decoded{err: err.Error(), line: d.lines.line})
		default:
			steps = append(steps, decoded{record: rec, line: d.lines.line})
		}
	}
}

func checkSteps(t *testing.T, got, want []decoded) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Fatalf("step %d\ngot  %+v\nwant %+v", i, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		t.Fatalf("got %d steps, want %d", len(got), len(want))
	}
}

// randomReader gives its text in pieces of any size, so that lines lie across
// the ends of what is read.
type randomReader struct {
	text string
	rnd  *rand.Rand
}

func (r *randomReader) Read(p []byte) (int, error) {
	if r.text == "" {
		return 0, io.EOF
	}
	n := copy(p, r.text[:min(len(r.text), 1+r.rnd.IntN(1<<r.rnd.IntN(17)))])
	r.text = r.text[n:]
	return n, nil
}

// randomText is a log in the given format, with most that can occur in one.
func randomText(rnd *rand.Rand, f Format, lines int) string {
	var b strings.Builder
	for range lines {
		var words []string
		for _, name := range f.names {
			words = append(words, randomValue(rnd, name))
		}
		line := strings.Join(words, " ")
		switch rnd.IntN(30) {
		case 0:
			line = "2026-11-22T10:00:00.000Z " + line
		case 1:
			line = strings.Replace(line, " ", "  ", 1+rnd.IntN(3))
		case 2:
			line = " " + line + " "
		case 3:
			line = strings.Join(f.names, " ")
		case 4:
			line = strings.Repeat("- ", len(words))
		case 5:
			line = ""
		case 6:
			line = strings.Replace(line, words[rnd.IntN(len(words))], oddValues[rnd.IntN(len(oddValues))], 1)
		case 7:
			line = strings.Repeat(line, 1+rnd.IntN(8))
		case 8:
			line = mutate(rnd, line)
		}
		b.WriteString(line + []string{"\n", "\n", "\n", "\r\n"}[rnd.IntN(4)])
	}
	text := b.String()
	return text[:len(text)-rnd.IntN(3)]
}

// oddValues are at the bounds of what values are.
var oddValues = []string{
	"0", "00", "000000000000000000000000001", "9", "10", "255", "256", "99999999", "100000000", "999999999", "9999999999",
	"1795370837", "179537083x", "17953708371", "100000000000", "100000000001", "100000000000000", "100000000000001",
	"9223372036854775807", "9223372036854775808", "18446744073709551616", "1/", "1:", "/1", ":1", "1\x80", "\xb0", "1\t2",
	"0.0.0.0", "255.255.255.255", "1.2.3.4.", ".1.2.3.4", "1.2.3", "1.2.3.4/8", "1.2.3,4", "1.2.3.4\t", "111.111.111.1111",
	"1111.1.1.1", "1.256.1.1", "1.1.01.1", "1.1.1.00", "0.00.0.0", "1...", "::1", "::ffff:1.2.3.4", "12345678901234567",
	"ACCEPTED", "ACCEP", "REJECTs", "AREJECT", "OKAY", "O", "ok", "NODATA", "egresss", "ingres", "gress", "--", "-1", "\u00fc", "\x00",
	strings.Repeat("x", 300), strings.Repeat("y", 2000), strings.Repeat("z", 2100), strings.Repeat("w", 5000),
}

// What is read quickly is what is read exactly, errors included.
func TestQuickAgainstExact(t *testing.T) {
	rnd := rand.New(rand.NewPCG(21, 22))
	records, errs := 0, 0
	for i := range 300 {
		f := defaultFormat
		if i%3 > 0 {
			f = mustFormat(strings.Join(randomFormat(rnd), " "))
		}
		opts := Options{Format: f, KeepUnknown: rnd.IntN(2) == 0}
		if rnd.IntN(2) == 0 {
			opts.Want = flow.FieldSet(rnd.Uint64()) & flow.AllFields
		}
		text := randomText(rnd, f, 1+rnd.IntN(150))
		if rnd.IntN(2) == 0 { // another log of another format behind it
			g := mustFormat(strings.Join(randomFormat(rnd), " "))
			text += "\n" + strings.Join(g.names, " ") + "\n" + randomText(rnd, g, 50)
		}
		if strings.ContainsRune(text, 0) || strings.HasPrefix(strings.TrimSpace(text), "{") {
			continue
		}
		want := exactSteps(text, opts)
		checkSteps(t, quickSteps(&randomReader{text, rnd}, opts), want)
		for _, step := range want {
			if step.err != "" {
				errs++
			} else {
				records++
			}
		}
	}
	if records < 5000 || errs < 500 {
		t.Errorf("lopsided test: %d records, %d errors", records, errs)
	}
}

// Each value at its bounds, in each of the default format's fields.
func TestQuickValues(t *testing.T) {
	var b strings.Builder
	for i := range defaultFormat.names {
		for _, value := range append(oddValues, addresses...) {
			words := strings.Fields(okLine)
			words[i] = value
			b.WriteString(strings.Join(words, " ") + "\n")
		}
	}
	text := strings.ReplaceAll(b.String(), "\x00", "")
	opts := Options{Format: defaultFormat}
	checkSteps(t, quickSteps(strings.NewReader(text), opts), exactSteps(text, opts))
}

// FuzzText checks that nothing panics, that a step is a record or an error,
// and that writing a record and reading it again changes nothing.
func FuzzText(f *testing.F) {
	for _, s := range []string{
		v2Header + "\n" + okLine + "\n" + noData + "\n" + skipData,
		okLine, "2026-11-22T10:00:00.000Z " + okLine,
		"srcaddr type new-field end\n2001:db8::1 IPv6 what 1795370837999\n:: - - 5\r\n",
		"tgw-id srcaddr dstaddr\n", "PAR1", "account-id region\naccount-id region\nend end\n",
		string(gz(v2Header + "\n" + okLine)), string(gz(v2Header + "\n" + okLine)[:60]),
	} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	captures, err := filepath.Glob("testdata/*.log")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range captures {
		f.Add([]byte(capture(f, filepath.Base(name))), true)
	}
	f.Fuzz(func(t *testing.T, input []byte, headerless bool) {
		opts := Options{KeepUnknown: true}
		if headerless {
			opts.Format = defaultFormat
		}
		for r, err := range Text(bytes.NewReader(input), "log", opts) {
			if (r == nil) == (err == nil) {
				t.Fatalf("record %v and error %v", r, err)
			}
		}
		if plainText(input) {
			checkSteps(t, quickSteps(bytes.NewReader(input), opts), exactSteps(string(input), opts))
		}
		d := newTextDecoder(&opts)
		d.reset(bytes.NewReader(input), "log")
		for !d.done {
			var r flow.Record
			if d.next(&r) == nil {
				checkRoundTrip(t, d.plan.format, &r)
			}
		}
	})
}

// plainText reports whether nothing stands between the input and its lines:
// no compression, no JSON, no byte order mark.
func plainText(input []byte) bool {
	return !bytes.ContainsAny(input, "\x00{") && !bytes.HasPrefix(input, []byte{0x1f, 0x8b}) &&
		!bytes.HasPrefix(input, byteOrderMark) && !bytes.HasPrefix(input, []byte("PAR1"))
}

func checkRoundTrip(t *testing.T, f Format, r *flow.Record) {
	t.Helper()
	line := string(f.AppendRecord(nil, r))
	// An event time in front keeps a value of that form from being taken
	// for one.
	again, err := firstRecord("2026-11-22T10:00:00Z "+line, f)
	if err != nil {
		t.Fatalf("%q does not read: %v", line, err)
	}
	if !reflect.DeepEqual(again, *r) {
		t.Fatalf("%q reads as %+v, was %+v", line, again, *r)
	}
}
