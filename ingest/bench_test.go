package ingest

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"ephemera/ingest/flow"
)

const v5Header = v2Header + " vpc-id subnet-id instance-id tcp-flags type pkt-srcaddr pkt-dstaddr region az-id" +
	" sublocation-type sublocation-id pkt-src-aws-service pkt-dst-aws-service flow-direction traffic-path"

// traffic is a log of n records at a handful of interfaces.
func traffic(header string, n int) string {
	rnd := rand.New(rand.NewPCG(5, 6))
	var b strings.Builder
	b.WriteString(header + "\n")
	v5 := header == v5Header
	for i := range n {
		eni, start := rnd.IntN(20), 1795370000+i/50
		local, remote := fmt.Sprintf("10.0.%d.%d", eni%4, eni+10), fmt.Sprintf("203.0.113.%d", rnd.IntN(256))
		fmt.Fprintf(&b, "2 123456789012 eni-0f908b6f3d62355%02d %s %s %d 443 6 %d %d %d %d ACCEPT OK",
			eni, local, remote, 1024+rnd.IntN(60000), rnd.IntN(100), rnd.IntN(100000), start, start+rnd.IntN(60))
		if v5 {
			fmt.Fprintf(&b, " vpc-1699adf8987a5e8ff subnet-8b4fce0498527b2%02d i-1edbf403425390d%02d %d IPv4 %s %s us-east-1 use1-az4 - - - - egress 8",
				eni%4, eni, rnd.IntN(20), local, remote)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// variedTraffic is a log of n records as a busy network writes them: two
// hundred interfaces and many thousands of peers, records in any order, and
// some that have no data.
func variedTraffic(header string, n int) string {
	rnd := rand.New(rand.NewPCG(11, 12))
	var b strings.Builder
	b.WriteString(header + "\n")
	for i := range n {
		b.WriteString(variedRecord(rnd, 1795370000+i/500, header == v5Header) + "\n")
	}
	return b.String()
}

func variedRecord(rnd *rand.Rand, now int, v5 bool) string {
	pick := func(s ...string) string { return s[rnd.IntN(len(s))] }
	host := rnd.IntN(200)
	eni := fmt.Sprintf("eni-0%016x", uint64(host+1)*0x9e3779b97f4a7c15)
	start := now + rnd.IntN(60)
	if rnd.IntN(50) == 0 {
		line := fmt.Sprintf("2 123456789012 %s - - - - - - - %d %d - NODATA", eni, start, start+60)
		if v5 {
			line += strings.Repeat(" -", 15)
		}
		return line
	}
	local := fmt.Sprintf("10.0.%d.%d", host%16, 4+host)
	remote := fmt.Sprintf("%d.%d.%d.%d", 3+rnd.IntN(200), rnd.IntN(256), rnd.IntN(8), rnd.IntN(256))
	localPort, remotePort := fmt.Sprint(1024+rnd.IntN(64512)), pick("443", "443", "80", "21", "53", "3306", fmt.Sprint(1024+rnd.IntN(64512)))
	packets := 1 + rnd.IntN(1<<rnd.IntN(14))
	ends := fmt.Sprintf("%s %s %s %s", local, remote, localPort, remotePort)
	addrs, way := local+" "+remote, "egress 8"
	if rnd.IntN(2) == 0 {
		ends = fmt.Sprintf("%s %s %s %s", remote, local, remotePort, localPort)
		addrs, way = remote+" "+local, "ingress -"
	}
	line := fmt.Sprintf("2 123456789012 %s %s %s %d %d %d %d %s OK", eni, ends, pick("6", "6", "6", "17"),
		packets, packets*(40+rnd.IntN(1400)), start, start+rnd.IntN(60), pick("ACCEPT", "ACCEPT", "ACCEPT", "REJECT"))
	if v5 {
		line += fmt.Sprintf(" vpc-1699adf8987a5e8ff subnet-8b4fce0498527b2%02d i-0%016x %s IPv4 %s us-east-1 use1-az4 - - %s %s %s",
			host%16, uint64(host+1)*0xbf58476d1ce4e5b9, pick("0", "2", "3", "18", "19"), addrs, pick("-", "-", "S3"), pick("-", "-", "AMAZON"), way)
	}
	return line
}

// perSecond reports records per second, of n records an iteration.
func perSecond(b *testing.B, n int) {
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n)/float64(b.N), "ns/record")
}

// BenchmarkDecode shows where the time of a big object goes: in unpacking it,
// which is not ours, in decoding and parsing it, and in all of Records.
func BenchmarkDecode(b *testing.B) {
	const records = 300_000
	// What an analysis reads of the 29 fields.
	wanted := flow.AllFields &^ flow.Fields(flow.FieldVersion, flow.FieldAccountID, flow.FieldType, flow.FieldRegion,
		flow.FieldAZID, flow.FieldSublocationType, flow.FieldSublocationID, flow.FieldPktSrcAWSService,
		flow.FieldPktDstAWSService, flow.FieldTrafficPath)
	for _, bench := range []struct {
		name, header string
		want         flow.FieldSet
	}{
		{"14-fields", v2Header, 0},
		{"29-fields", v5Header, 0},
		{"19-of-29-fields", v5Header, wanted},
	} {
		b.Run(bench.name, func(b *testing.B) {
			text := variedTraffic(bench.header, records)
			packed := gz(text)
			opts := Options{Want: bench.want}
			b.Run("gunzip", func(b *testing.B) { benchmarkGunzip(b, packed, records) })
			b.Run("plain", func(b *testing.B) { benchmarkText(b, []byte(text), opts, records) })
			b.Run("gzip", func(b *testing.B) { benchmarkText(b, packed, opts, records) })
			b.Run("records", func(b *testing.B) { benchmarkRecords(b, packed, opts, records) })
		})
	}
}

// benchmarkGunzip only unpacks.
func benchmarkGunzip(b *testing.B, packed []byte, records int) {
	var z gzip.Reader
	text := make([]byte, 64<<10)
	for b.Loop() {
		if err := z.Reset(bytes.NewReader(packed)); err != nil {
			b.Fatal(err)
		}
		for err := error(nil); err != io.EOF; {
			if _, err = z.Read(text); err != nil && err != io.EOF {
				b.Fatal(err)
			}
		}
	}
	perSecond(b, records)
}

// benchmarkText decodes and parses.
func benchmarkText(b *testing.B, input []byte, opts Options, records int) {
	d := newTextDecoder(&opts)
	var r flow.Record
	b.ReportAllocs()
	for b.Loop() {
		d.reset(bytes.NewReader(input), "log")
		n := 0
		for d.next(&r) == nil {
			n++
		}
		if n != records {
			b.Fatalf("%d records", n)
		}
	}
	perSecond(b, records)
}

// benchmarkRecords does all that Records does, for two objects.
func benchmarkRecords(b *testing.B, packed []byte, opts Options, records int) {
	l, err := Open([]string{tree(b, map[string]string{"1.gz": string(packed), "2.gz": string(packed)})}, opts)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for _, err := range l.Records(b.Context()) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != 2*records {
			b.Fatalf("%d records", n)
		}
	}
	perSecond(b, 2*records)
}

func BenchmarkText(b *testing.B) {
	const records = 20000
	v6 := strings.NewReplacer(" 10.0.", " 2001:db8:0:", " 203.0.113.", " 2001:db8::").Replace(traffic(v2Header, records))
	v6 = strings.ReplaceAll(v6, ".", ":0:0:0:")
	plain2, plain5 := traffic(v2Header, records), traffic(v5Header, records)
	some := flow.Fields(flow.FieldSrcAddr, flow.FieldDstAddr, flow.FieldSrcPort, flow.FieldDstPort, flow.FieldProtocol, flow.FieldAction)
	for _, bench := range []struct {
		name  string
		input []byte
		size  int
		want  flow.FieldSet
	}{
		{"v2", []byte(plain2), len(plain2), 0},
		{"v2-ipv6", []byte(v6), len(v6), 0},
		{"v5", []byte(plain5), len(plain5), 0},
		{"v5-some-fields", []byte(plain5), len(plain5), some},
		{"v2-gzip", gz(plain2), len(plain2), 0},
		{"v5-gzip", gz(plain5), len(plain5), 0},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.SetBytes(int64(bench.size))
			b.ReportAllocs()
			d := newTextDecoder(&Options{Want: bench.want})
			var r flow.Record
			for b.Loop() {
				d.reset(bytes.NewReader(bench.input), "log")
				n := 0
				for d.next(&r) == nil {
					n++
				}
				if n != records {
					b.Fatalf("%d records", n)
				}
			}
			perSecond(b, records)
		})
	}
}

func BenchmarkLocal(b *testing.B) {
	const objects, records = 16, 5000
	files := make(map[string]string)
	for i := range objects {
		files[fmt.Sprintf("%d.gz", i)] = string(gz(traffic(v2Header, records)))
	}
	dir := tree(b, files)
	l, err := Open([]string{dir}, Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for range l.Records(b.Context()) {
			n++
		}
		if n != objects*records {
			b.Fatalf("%d records", n)
		}
	}
	perSecond(b, objects*records)
}

// repeat reads text over and over, its header once.
type repeat struct {
	header, text string
	rest         io.Reader
}

func (r *repeat) Read(p []byte) (int, error) {
	if r.rest == nil {
		r.rest = strings.NewReader(r.header + "\n")
	}
	n, err := r.rest.Read(p)
	if err == io.EOF {
		r.rest, err = strings.NewReader(r.text), nil
	}
	return n, err
}

func TestTextAllocatesNothing(t *testing.T) {
	for _, header := range []string{v2Header, v5Header} {
		text := traffic(header, 5000)
		_, text, _ = strings.Cut(text, "\n")
		text += strings.ReplaceAll(text, "203.0.113.", "2001:db8::")
		// The field type and others of its kind go to Record.Extra, whose
		// memory is never reused, so they are left out.
		want := flow.AllFields &^ flow.Fields(flow.FieldType)
		d := newTextDecoder(&Options{Want: want})
		d.reset(&repeat{header: header, text: text}, "log")
		var r flow.Record
		next := func() {
			if err := d.next(&r); err != nil {
				t.Fatal(err)
			}
		}
		for range 10000 {
			next()
		}
		if n := testing.AllocsPerRun(10000, next); n != 0 {
			t.Errorf("%d fields: got %v allocations per record, want none", len(strings.Fields(header)), n)
		}
	}
}
