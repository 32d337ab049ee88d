package ingest

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"ephemera/ingest/flow"
	synthetic "ephemera/ingest/traffic" // traffic is a function here
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

// perSecond reports records per second, of n records an iteration.
func perSecond(b *testing.B, n int) {
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n)/float64(b.N), "ns/record")
}

// BenchmarkDecode shows where the time of a log of many objects goes: in
// unpacking it, which is not ours; in unpacking and parsing it, by one
// goroutine; and in all that Records does.
func BenchmarkDecode(b *testing.B) {
	// What an analysis reads of the 29 fields.
	wanted := flow.AllFields &^ flow.Fields(flow.FieldVersion, flow.FieldAccountID, flow.FieldType, flow.FieldRegion,
		flow.FieldAZID, flow.FieldSublocationType, flow.FieldSublocationID, flow.FieldPktSrcAWSService,
		flow.FieldPktDstAWSService, flow.FieldTrafficPath)
	for _, bench := range []struct {
		name   string
		format synthetic.Format
		want   flow.FieldSet
	}{
		{"14-fields", synthetic.Default, 0},
		{"29-fields", synthetic.Custom29, 0},
		{"19-of-29-fields", synthetic.Custom29, wanted},
	} {
		b.Run(bench.name, func(b *testing.B) {
			dir := b.TempDir()
			stats, err := synthetic.Write(dir, synthetic.Config{Seed: 1, Records: 300_000, Duration: 45 * time.Minute, Format: bench.format})
			if err != nil {
				b.Fatal(err)
			}
			logs := filepath.Join(dir, "AWSLogs")
			packed, plain := contents(b, logs)
			opts := Options{Want: bench.want}
			b.Run("gunzip", func(b *testing.B) { benchmarkGunzip(b, packed, int(stats.Records)) })
			b.Run("plain", func(b *testing.B) { benchmarkText(b, plain, opts, int(stats.Records)) })
			b.Run("gzip", func(b *testing.B) { benchmarkText(b, packed, opts, int(stats.Records)) })
			b.Run("records", func(b *testing.B) { benchmarkRecords(b, logs, opts, int(stats.Records)) })
		})
	}
}

// contents reads the objects below dir, as they are and unpacked.
func contents(b *testing.B, dir string) (packed, plain [][]byte) {
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		object, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		z, err := gzip.NewReader(bytes.NewReader(object))
		if err != nil {
			return err
		}
		text, err := io.ReadAll(z)
		packed, plain = append(packed, object), append(plain, text)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return packed, plain
}

func benchmarkGunzip(b *testing.B, objects [][]byte, records int) {
	var z gzip.Reader
	text := make([]byte, 64<<10)
	for b.Loop() {
		for _, object := range objects {
			if err := z.Reset(bytes.NewReader(object)); err != nil {
				b.Fatal(err)
			}
			for err := error(nil); err != io.EOF; {
				if _, err = z.Read(text); err != nil && err != io.EOF {
					b.Fatal(err)
				}
			}
		}
	}
	perSecond(b, records)
}

func benchmarkText(b *testing.B, objects [][]byte, opts Options, records int) {
	d := newTextDecoder(&opts)
	var r flow.Record
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for _, object := range objects {
			d.reset(bytes.NewReader(object), "log")
			for d.next(&r) == nil {
				n++
			}
		}
		if n != records {
			b.Fatalf("got %d records, want %d", n, records)
		}
	}
	perSecond(b, records)
}

func benchmarkRecords(b *testing.B, dir string, opts Options, records int) {
	l, err := Open([]string{dir}, opts)
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
		if n != records {
			b.Fatalf("got %d records, want %d", n, records)
		}
	}
	perSecond(b, records)
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
