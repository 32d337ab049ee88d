package ingest

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"

	"ephemera/ingest/flow"
)

// parquetOf writes a log in text as AWS writes Parquet: dictionaries, INT32
// and INT64, strings for the rest.
func parquetOf(t testing.TB, log string, codec compress.Codec) []byte {
	t.Helper()
	header, body, _ := strings.Cut(log, "\n")
	names := strings.Fields(header)
	columns := make([]testColumn, len(names))
	for k, name := range names {
		columns[k].name = strings.ReplaceAll(name, "-", "_")
		node := parquet.String()
		if f, ok := flow.FieldNamed(name); ok && (fieldRules[f].kind == kindNumber || fieldRules[f].kind == kindTime) {
			node = parquet.Int(32)
			if fieldRules[f].limit > 1<<31 || fieldRules[f].kind == kindTime {
				node = parquet.Int(64)
			}
		}
		columns[k].node = parquet.Optional(parquet.Encoded(node, &parquet.RLEDictionary))
	}
	for line := range strings.Lines(body) {
		for k, word := range strings.Fields(line) {
			c := &columns[k]
			c.values = append(c.values, typed(c.node, word))
		}
	}
	columns = inOrder(columns)
	return writeParquet(t, columns, parquet.Compression(codec), parquet.DataPageVersion(1), parquet.PageBufferSize(1<<20), parquet.DictionaryMaxBytes(1<<20))
}

// typed gives a word the type of a column.
func typed(node parquet.Node, word string) any {
	kind := node.Type().Kind()
	if kind == parquet.ByteArray {
		return word
	}
	n, err := strconv.ParseInt(word, 10, 64)
	if err != nil {
		return nil
	}
	if kind == parquet.Int32 {
		return int32(n)
	}
	return n
}

// busy is a log of n records in the v5 format as a busy VPC writes it: two
// hundred interfaces, remote addresses of which few have most of the traffic,
// both directions of a connection, one minute after the other, each shuffled,
// and now and then an interface without traffic.
func busy(n int) string {
	rnd := rand.New(rand.NewPCG(7, 8))
	remotes := rand.NewZipf(rnd, 1.2, 20, 60_000)
	services := [...]int{443, 443, 443, 443, 80, 53, 21, 22, 5432, 6379, 123, 8080}
	var b strings.Builder
	b.WriteString(v5Header + "\n")
	for i := range n {
		eni, minute := rnd.IntN(200), 1795370000+i/5000*60
		vpc := fmt.Sprintf("vpc-1699adf8987a5e8ff subnet-8b4fce0498527b2%02d i-1edbf403425390%03d", eni%8, eni)
		rest := "us-east-1 use1-az4 - - - -"
		if rnd.IntN(200) == 0 {
			fmt.Fprintf(&b, "2 123456789012 eni-0f908b6f3d623%04d - - - - - - - %d %d - NODATA %s - - - - %s - -\n", eni, minute, minute+59, vpc, rest)
			continue
		}
		k := remotes.Uint64() * 2654435761 % (1 << 32)
		src, dst := fmt.Sprintf("10.0.%d.%d", eni%8, eni+10), fmt.Sprintf("%d.%d.%d.%d", 1+k>>24%220, k>>16&255, k>>8&255, k&255)
		srcPort, dstPort := 1024+rnd.IntN(60000), services[rnd.IntN(len(services))]
		direction, path, flags := "egress", "8", rnd.IntN(20)
		if rnd.IntN(2) == 0 {
			src, dst, srcPort, dstPort = dst, src, dstPort, srcPort
			direction, path = "ingress", "-"
		}
		proto, action := 6, "ACCEPT"
		if srcPort == 53 || dstPort == 53 || dstPort == 123 {
			proto, flags = 17, 0
		}
		if rnd.IntN(20) == 0 {
			action = "REJECT"
		}
		packets := int(math.Exp(rnd.NormFloat64()*1.5+2)) + 1
		start := minute + rnd.IntN(50)
		fmt.Fprintf(&b, "2 123456789012 eni-0f908b6f3d623%04d %s %s %d %d %d %d %d %d %d %s OK %s %d IPv4 %s %s %s %s %s\n",
			eni, src, dst, srcPort, dstPort, proto, packets, packets*(40+rnd.IntN(1400)), start, start+rnd.IntN(10), action,
			vpc, flags, src, dst, rest, direction, path)
	}
	return b.String()
}

// Fields that questions need: questionFields all of them about FTP,
// analysisFields are analyze.WantFields.
var (
	questionFields = flow.Fields(flow.FieldInterfaceID, flow.FieldSrcAddr, flow.FieldDstAddr, flow.FieldSrcPort, flow.FieldDstPort,
		flow.FieldProtocol, flow.FieldPackets, flow.FieldBytes, flow.FieldStart, flow.FieldEnd, flow.FieldAction, flow.FieldLogStatus)
	analysisFields = questionFields | flow.Fields(flow.FieldResourceID, flow.FieldVPCID, flow.FieldSubnetID, flow.FieldInstanceID,
		flow.FieldTCPFlags, flow.FieldPktSrcAddr, flow.FieldPktDstAddr, flow.FieldFlowDirection, flow.FieldRejectReason)
)

var busyFile = struct {
	sync.Once
	data []byte
}{}

const busyRecords = 300_000

// BenchmarkParquetBusy reads a busy log as the analysis does. In the runs
// called pages the pages of the same columns are decompressed and nothing
// else: decoding cannot take less.
func BenchmarkParquetBusy(b *testing.B) {
	busyFile.Do(func() { busyFile.data = parquetOf(b, busy(busyRecords), &parquet.Gzip) })
	file := busyFile.data
	for _, bench := range []struct {
		name string
		want flow.FieldSet
	}{{"12-fields", questionFields}, {"20-fields", analysisFields}} {
		d := newParquetDecoder(&Options{Want: bench.want})
		begin := func() { d.reset(bytes.NewReader(file), int64(len(file)), "log") }
		perRecord := func(b *testing.B) {
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/busyRecords, "ns/record")
		}
		b.Run(bench.name+"/records", func(b *testing.B) {
			b.ReportAllocs()
			var r flow.Record
			for b.Loop() {
				begin()
				n := 0
				for d.next(&r) == nil {
					n++
				}
				if n != busyRecords {
					b.Fatalf("%d records", n)
				}
			}
			perRecord(b)
		})
		b.Run(bench.name+"/pages", func(b *testing.B) {
			for b.Loop() {
				begin()
				if err := expandPages(d); err != nil {
					b.Fatal(err)
				}
			}
			perRecord(b)
		})
	}
}

// expandPages decompresses the pages of all columns of d, and does nothing
// with them.
func expandPages(d *parquetDecoder) error {
	if err := d.open(); err != nil {
		return err
	}
	for g := range d.footer.RowGroups {
		for _, c := range d.columns {
			if err := c.open(&d.src, &d.footer.RowGroups[g]); err != nil {
				return err
			}
			for c.chunk.left() > 0 {
				h, err := c.chunk.header()
				if err != nil {
					return err
				}
				body, err := c.chunk.body(h)
				if err != nil {
					return err
				}
				if c.page, err = c.pages.expand(c.codec, c.page, body, int(h.UncompressedPageSize)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func BenchmarkParquet(b *testing.B) {
	const records = 100_000
	plain2, plain5 := traffic(v2Header, records), traffic(v5Header, records)
	twelve := flow.Fields(flow.FieldSrcAddr, flow.FieldDstAddr, flow.FieldSrcPort, flow.FieldDstPort, flow.FieldProtocol, flow.FieldAction,
		flow.FieldInterfaceID, flow.FieldPackets, flow.FieldBytes)
	for _, bench := range []struct {
		name  string
		log   string
		codec compress.Codec
		want  flow.FieldSet
	}{
		{"v2-gzip", plain2, &parquet.Gzip, 0},
		{"v2-snappy", plain2, &parquet.Snappy, 0},
		{"v5-gzip", plain5, &parquet.Gzip, 0},
		{"v5-gzip-12-fields", plain5, &parquet.Gzip, twelve},
		{"v5-zstd-12-fields", plain5, &parquet.Zstd, twelve},
		{"v5-text-gzip", plain5, nil, 0},
		{"v5-text-gzip-12-fields", plain5, nil, twelve},
		{"v2-text-gzip", plain2, nil, 0},
	} {
		b.Run(bench.name, func(b *testing.B) {
			opts := Options{Want: bench.want}
			var begin func() nextReader
			if bench.codec == nil {
				file := gz(bench.log)
				d := newTextDecoder(&opts)
				b.SetBytes(int64(len(file)))
				begin = func() nextReader { d.reset(bytes.NewReader(file), "log"); return d }
			} else {
				file := parquetOf(b, bench.log, bench.codec)
				d := newParquetDecoder(&opts)
				b.SetBytes(int64(len(file)))
				begin = func() nextReader { d.reset(bytes.NewReader(file), int64(len(file)), "log"); return d }
			}
			b.ReportAllocs()
			var r flow.Record
			for b.Loop() {
				d, n := begin(), 0
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

// Nothing is allocated for a record or a value. The footer takes some
// allocations for each column, and the header of a page a handful; the content
// of pages and dictionaries none.
func TestParquetAllocatesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("reads much")
	}
	const records = 60_000
	// The field type and others of its kind go to Record.Extra, whose memory
	// is never reused, so they are left out.
	opts := Options{Want: flow.AllFields &^ flow.Fields(flow.FieldType)}
	for _, codec := range []compress.Codec{&parquet.Gzip, &parquet.Snappy, &parquet.Zstd, &parquet.Uncompressed} {
		file := parquetOf(t, traffic(v5Header, records), codec)
		d := newParquetDecoder(&opts)
		src := bytes.NewReader(file)
		var r flow.Record
		d.reset(src, int64(len(file)), "log")
		for d.next(&r) == nil {
		}
		d.reset(src, int64(len(file)), "log")
		next := func() {
			if err := d.next(&r); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 * blockRows {
			next()
		}
		if n := testing.AllocsPerRun(2*blockRows, next); n != 0 {
			t.Errorf("%s: got %v allocations per record, want none", codec, n)
		}
		whole := testing.AllocsPerRun(1, func() {
			d.reset(src, int64(len(file)), "log")
			for d.next(&r) == nil {
			}
		})
		if whole > records/20 {
			t.Errorf("%s: got %v allocations for a file of %d records", codec, whole, records)
		}
	}
}
