package ingest

import (
	"bytes"
	"fmt"
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

// firstRecord decodes one line.
func firstRecord(line string, f Format) (flow.Record, error) {
	for r, err := range Text(strings.NewReader(line), "log", Options{Format: f, KeepUnknown: true}) {
		if err != nil {
			return flow.Record{}, err
		}
		return *r, nil
	}
	return flow.Record{}, fmt.Errorf("no step")
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
