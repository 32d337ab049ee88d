package ingest

import (
	"bytes"
	"strconv"
	"strings"
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
	return writeParquet(t, columns, parquet.Compression(codec), parquet.PageBufferSize(1<<20), parquet.DictionaryMaxBytes(1<<20))
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

// Nothing is allocated for a record. Pages and dictionaries take some
// allocations each: two headers, and a new reader of the Zstandard or gzip
// content never.
func TestParquetAllocatesNothing(t *testing.T) {
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
