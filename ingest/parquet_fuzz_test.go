package ingest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"ephemera/ingest/digest"
	"ephemera/ingest/flow"
)

// smallFiles are valid files in many shapes, uncompressed as a rule, so that
// a changed byte is one of a header, a level or a value.
func smallFiles(t testing.TB) [][]byte {
	rnd := rand.New(rand.NewPCG(11, 12))
	var files [][]byte
	for i := range 12 {
		columns := []testColumn{}
		for _, name := range strings.Fields("action bytes end log-status new-field srcaddr srcport start") {
			columns = append(columns, physical(rnd, name, randomWords(rnd, name, 40)))
		}
		options := randomOptions(rnd, 40)
		if i%4 > 0 {
			options = append(options, parquet.Compression(&parquet.Uncompressed))
		}
		files = append(files, writeParquet(t, columns, options...))
	}
	return append(files, smallDigest(t))
}

// smallDigest is the digest of a log with a bad line, and of one cut short.
func smallDigest(t testing.TB) []byte {
	const log = "interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status\n" +
		"eni-1 10.0.1.5 203.0.113.10 40000 21 6 9 712 1795370837 1795370861 ACCEPT OK\n" +
		"eni-1 10.0.1.5 203.0.113.10 70000 21 6 9 712 1795370837 1795370861 ACCEPT OK\n" +
		"eni-1 203.0.113.10 10.0.1.5 21 40000 6 9 712 1795370837 1795370861 REJECT OK\n" +
		"eni-1 - - - - - - - 1795370837 1795370861 - NODATA\n"
	var b bytes.Buffer
	_, err := digest.Write(&b, func(yield func(*flow.Record, error) bool) {
		for r, err := range Text(strings.NewReader(log), "1_vpcflowlogs_eu-west-1_fl-0a_20261122T1000Z_a.log", Options{}) {
			if !yield(r, err) {
				return
			}
		}
		yield(nil, &flow.ObjectError{Place: "log", Records: 3, Fault: flow.Damaged, Err: io.ErrUnexpectedEOF})
	}, digest.Source{Place: "s3://b/k", Version: "9f"})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// FuzzParquet checks that nothing panics, but where that is caught, that a
// step is a record or an error, that the end is reached, and that memory is
// bounded. The changes are bytes put over others.
func FuzzParquet(f *testing.F) {
	captures, err := filepath.Glob("testdata/parquet/*.parquet")
	if err != nil || len(captures) == 0 {
		f.Fatal(err, captures)
	}
	for _, name := range captures {
		f.Add([]byte(capture(f, "parquet/"+filepath.Base(name))), []byte{}, true)
	}
	for _, file := range smallFiles(f) {
		f.Add(file, []byte{0, 5, 0xff, 0, 60, 0x80}, false)
	}
	f.Fuzz(func(t *testing.T, file, changes []byte, window bool) {
		if len(file) > 64<<10 {
			return
		}
		checkHostile(t, changed(file, changes), window)
	})
}

// changed puts bytes of changes, each behind its place, over those of file.
func changed(file, changes []byte) []byte {
	file = slices.Clone(file)
	for ; len(changes) >= 3 && len(file) > 0; changes = changes[3:] {
		file[int(binary.BigEndian.Uint16(changes))%len(file)] = changes[2]
	}
	return file
}

func checkHostile(t *testing.T, file []byte, window bool) {
	t.Helper()
	opts := Options{KeepUnknown: true}
	if window {
		opts.From, opts.To = time.Unix(1795370000, 0), time.Unix(1795370850, 0)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	d := newParquetDecoder(&opts)
	d.reset(bytes.NewReader(file), int64(len(file)), "log")
	defer d.close()
	const enough = 200_000 // rows that take no bytes may be many
	for range enough {
		var r flow.Record
		err := d.next(&r)
		if err == io.EOF {
			break
		}
		var record *flow.RecordError
		var object *flow.ObjectError
		if err != nil && !errors.As(err, &record) && !errors.As(err, &object) {
			t.Fatalf("error %v of type %T", err, err)
		}
		if err != nil && strings.Contains(err.Error(), "reading it failed with") {
			t.Fatalf("a panic of ours: %v", err)
		}
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<30 {
		t.Fatalf("%d bytes allocated for a file of %d", n, len(file))
	}
}

// TestParquetHostile changes some bytes of valid files, many times over.
func TestParquetHostile(t *testing.T) {
	rnd := rand.New(rand.NewPCG(13, 14))
	files := smallFiles(t)
	for _, name := range []string{"ocsf-1", "v2-delta", "v2-split"} {
		files = append(files, []byte(capture(t, "parquet/"+name+".parquet")))
	}
	for range 4000 {
		file := slices.Clone(files[rnd.IntN(len(files))])
		for range 1 + rnd.IntN(4) {
			file[rnd.IntN(len(file))] = []byte{0, 1, 0x7f, 0x80, 0xff, byte(rnd.Uint32())}[rnd.IntN(6)]
		}
		checkHostile(t, file, rnd.IntN(2) == 0)
	}
}

// forged is a file of one column srcaddr with the given pages in its chunk.
func forged(t testing.TB, codec format.CompressionCodec, rows int64, change func(*format.FileMetaData), pages ...any) []byte {
	t.Helper()
	file := []byte("PAR1")
	for _, p := range pages {
		switch p := p.(type) {
		case *format.PageHeader:
			b, err := thrift.Marshal(new(thrift.CompactProtocol), p)
			if err != nil {
				t.Fatal(err)
			}
			file = append(file, b...)
		case []byte:
			file = append(file, p...)
		}
	}
	meta := &format.FileMetaData{
		Version: 2, NumRows: rows,
		Schema: []format.SchemaElement{
			{Name: "flow", NumChildren: thrift.New(int32(1))},
			{Name: "srcaddr", Type: thrift.New(format.ByteArray), RepetitionType: thrift.New(format.Optional)},
		},
		RowGroups: []format.RowGroup{{NumRows: rows, Columns: []format.ColumnChunk{{MetaData: format.ColumnMetaData{
			Type: format.ByteArray, Codec: codec, NumValues: rows, DataPageOffset: 4, TotalCompressedSize: int64(len(file) - 4),
			Encoding: []format.Encoding{format.Plain}, PathInSchema: []string{"srcaddr"},
		}}}}},
	}
	if change != nil {
		change(meta)
	}
	b, err := thrift.Marshal(new(thrift.CompactProtocol), meta)
	if err != nil {
		t.Fatal(err)
	}
	file = append(file, b...)
	file = binary.LittleEndian.AppendUint32(file, uint32(len(b)))
	return append(file, "PAR1"...)
}

func dataPage(values, size, compressed int32, encoding format.Encoding) *format.PageHeader {
	return &format.PageHeader{Type: format.DataPage, UncompressedPageSize: size, CompressedPageSize: compressed,
		DataPageHeader: thrift.New(format.DataPageHeader{NumValues: values, Encoding: encoding,
			DefinitionLevelEncoding: format.RLE, RepetitionLevelEncoding: format.RLE})}
}

// TestParquetClaims checks files that claim to be larger than they are: they
// are refused, without memory for what they claim.
func TestParquetClaims(t *testing.T) {
	levels := []byte{2, 0, 0, 0, 10, 1} // five values that are there
	address := []byte("\x08\x00\x00\x0010.0.0.1")
	page := slices.Concat(levels, address, address, address, address, address)
	size := int32(len(page))
	bomb := gz(strings.Repeat("\x00", 1<<24))
	for _, test := range []struct {
		name string
		file []byte
		want string // in the error; "" when there is none
	}{
		{"nothing wrong", forged(t, format.Uncompressed, 5, nil, dataPage(5, size, size, format.Plain), page), ""},
		{"page too large", forged(t, format.Gzip, 5, nil, dataPage(5, 1<<30, 20, format.Plain), page), "a page claims 1073741824 bytes"},
		{"negative", forged(t, format.Gzip, 5, nil, dataPage(5, -1, 20, format.Plain), page), "a page claims -1 bytes"},
		{"page longer than the column", forged(t, format.Gzip, 5, nil, dataPage(5, 1<<20, 1<<20, format.Plain), page), "a page of 1048576 bytes where"},
		{"more than it says", forged(t, format.Gzip, 5, nil, dataPage(5, 100, int32(len(bomb)), format.Plain), bomb), "it gives more than its header says"},
		{"less than it says", forged(t, format.Gzip, 5, nil, dataPage(5, 1<<25, int32(len(gz("x"))), format.Plain), gz("x")), "gives 1 bytes where its header says 33554432"},
		{"Snappy for nothing", forged(t, format.Snappy, 5, nil, dataPage(5, 1<<24, 4, format.Plain), []byte{0x80, 0x80, 0x80, 8}), "in Snappy claims 16777216"},
		{"LZ4 for nothing", forged(t, format.Lz4Raw, 5, nil, dataPage(5, 1<<20, 4, format.Plain), []byte{0xf0, 0xff, 0xff, 0xff}), "LZ4_RAW"},
		{"more values than rows", forged(t, format.Uncompressed, 5, nil, dataPage(6, size, size, format.Plain), page), "a page of 6 values where 5 are left"},
		{"fewer values than rows", forged(t, format.Uncompressed, 7, nil, dataPage(5, size, size, format.Plain), page), "the column ends before its last row"},
		{"values of nothing", forged(t, format.Uncompressed, 5000, nil, dataPage(5000, size, size, format.Plain), page), "a page ends before its last value"},
		{"rows of nothing", forged(t, format.Uncompressed, 1<<40, nil, dataPage(5, size, size, format.Plain), page), "rows, in a file of"},
		{"no dictionary", forged(t, format.Uncompressed, 5, nil, dataPage(5, size, size, format.RLEDictionary), page), "there is none"},
		{"dictionary of nothing", forged(t, format.Uncompressed, 5, nil, &format.PageHeader{Type: format.DictionaryPage, UncompressedPageSize: size, CompressedPageSize: size,
			DictionaryPageHeader: thrift.New(format.DictionaryPageHeader{NumValues: 1 << 30})}, page), "a dictionary of 1073741824 values"},
		{"entry that is not there", forged(t, format.Uncompressed, 5, nil, &format.PageHeader{Type: format.DictionaryPage, UncompressedPageSize: 12, CompressedPageSize: 12,
			DictionaryPageHeader: thrift.New(format.DictionaryPageHeader{NumValues: 1})}, address,
			dataPage(5, 9, 9, format.RLEDictionary), append(slices.Clone(levels), 8, 10, 7)), "entry 7 of a dictionary of 1"},
		{"delta of nothing", forged(t, format.Uncompressed, 5, nil, dataPage(5, 6+8, 6+8, format.DeltaLengthByteArray),
			append(slices.Clone(levels), 0x80, 1, 4, 0xff, 0xff, 0xff, 0x7f, 0)), "a page ends before its last value"},
		{"wrong checksum", forged(t, format.Uncompressed, 5, nil, func() *format.PageHeader { h := dataPage(5, size, size, format.Plain); h.CRC = 7; return h }(), page), "the checksum of a page"},
		{"column behind the file", forged(t, format.Uncompressed, 5, func(m *format.FileMetaData) { m.RowGroups[0].Columns[0].MetaData.TotalCompressedSize = 1 << 40 }), "are needed of a file of"},
		{"column in front of it", forged(t, format.Uncompressed, 5, func(m *format.FileMetaData) { m.RowGroups[0].Columns[0].MetaData.DataPageOffset = -9 }), "are needed of a file of"},
		{"another type", forged(t, format.Uncompressed, 5, func(m *format.FileMetaData) { m.RowGroups[0].Columns[0].MetaData.Type = format.Int32 }), "the row group has INT32, the schema BYTE_ARRAY"},
		{"another file", forged(t, format.Uncompressed, 5, func(m *format.FileMetaData) { m.RowGroups[0].Columns[0].FilePath = "x" }), "its values are in another file"},
		{"unknown codec", forged(t, format.LZO, 5, nil, dataPage(5, size, size, format.Plain), page), "codec LZO is not read; write the file with"},
		{"old levels", forged(t, format.Uncompressed, 5, nil, func() *format.PageHeader {
			h := dataPage(5, size, size, format.Plain)
			h.DataPageHeader.V.DefinitionLevelEncoding = format.BitPacked
			return h
		}(), page), "levels in BIT_PACKED are not read"},
		{"a column less", forged(t, format.Uncompressed, 5, func(m *format.FileMetaData) { m.RowGroups[0].Columns = nil }), "row group 1 has 0 columns, the schema 1"},
		{"children that are not there", forged(t, format.Uncompressed, 5, func(m *format.FileMetaData) { m.Schema[0].NumChildren.V = 1 << 30 }), "the schema ends early"},
		{"columns of nothing", forged(t, format.Uncompressed, 5, func(m *format.FileMetaData) { m.Schema = append(m.Schema, m.Schema[1]) }), "1 columns belong to nothing"},
		{"nested without end", forged(t, format.Uncompressed, 5, func(m *format.FileMetaData) {
			m.Schema = nil
			for range 1000 {
				m.Schema = append(m.Schema, format.SchemaElement{Name: "x", NumChildren: thrift.New(int32(1))})
			}
		}), "columns nested more than 32 deep"},
		{"too many row groups", forged(t, format.Uncompressed, 5, func(m *format.FileMetaData) { m.RowGroups = make([]format.RowGroup, 40_000) }), "row group"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got := decodeParquet(t, test.file, Options{})
			runtime.ReadMemStats(&after)
			last := got[len(got)-1]
			if !strings.Contains(last.err, test.want) || (last.line == -1) != (test.want != "") {
				t.Errorf("got %q, want %q", last.err, test.want)
			}
			limit := uint64(4 << 20)
			if test.name == "less than it says" {
				limit += maxPage
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > limit+uint64(100*len(test.file)) {
				t.Errorf("%d bytes allocated for a file of %d", n, len(test.file))
			}
		})
	}
}

// A list in the footer that claims a thousand million elements.
func TestThriftSize(t *testing.T) {
	for _, test := range []struct {
		name string
		data []byte
		size int
		err  string
	}{
		{"nothing in it", []byte{0, 9, 9}, 1, ""},
		{"numbers", []byte{0x15, 2, 0x16, 0x80, 1, 0}, 6, ""},
		{"field by number", []byte{0x05, 0x40, 2, 0}, 4, ""},
		{"Booleans", []byte{0x11, 0x12, 0}, 3, ""},
		{"text", []byte{0x18, 2, 'a', 'b', 0}, 5, ""},
		{"text too long", []byte{0x18, 0xff, 0xff, 0xff, 0xff, 0x0f, 'a'}, 0, "it ends early"},
		{"list", []byte{0x19, 0x25, 2, 4, 0}, 5, ""},
		{"list too long", []byte{0x19, 0xf5, 0xff, 0xff, 0xff, 0xff, 0x0f, 1}, 0, "it ends early"},
		{"structures", []byte{0x19, 0x2c, 0, 0, 0}, 5, ""},
		{"too many structures", append([]byte{0x19, 0xfc, 50}, make([]byte, 99)...), 0, "it lists too many"},
		{"nested", bytes.Repeat([]byte{0x1c}, 99), 0, "nested too deep"},
		{"lists in lists", bytes.Repeat([]byte{0x19, 0x19}, 99), 0, "nested too deep"},
		{"number without end", append([]byte{0x16}, bytes.Repeat([]byte{0xff}, 20)...), 0, "a number is too long"},
		{"another type", []byte{0x1e}, 0, "type 14 is unknown"},
		{"cut", []byte{0x15}, 0, "it ends early"},
		{"empty", nil, 0, "it ends early"},
	} {
		t.Run(test.name, func(t *testing.T) {
			n, err := thriftSize(test.data, 40)
			if err == nil && (test.err != "" || n != test.size) || err != nil && (test.err == "" || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("got %d, %v, want %d, %q", n, err, test.size, test.err)
			}
		})
	}
}
