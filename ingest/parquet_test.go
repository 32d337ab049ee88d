package ingest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"ephemera/ingest/flow"
)

// sortExtra puts extra fields in the order of their names.
func sortExtra(all []decoded) []decoded {
	for i := range all {
		slices.SortFunc(all[i].record.Extra, func(a, b flow.ExtraField) int { return strings.Compare(a.Name, b.Name) })
	}
	return all
}

// TestParquetCaptures reads files that other programs wrote of the captures
// in text; see testdata/parquet/README.md.
func TestParquetCaptures(t *testing.T) {
	for _, test := range []struct{ file, log string }{
		{"v5-aws", "v5-reordered"},
		{"v11-aws", "v11-alphabetical"},
		{"v2-delta", "v2"},
		{"v2-split", "v2"},
		{"v2-brotli", "v2"},
		{"v2-pandas", "v2"},
		{"v2-int96", "v2"},
		{"v11-duckdb", "v11-alphabetical"},
		{"ocsf-1", "v5-reordered"},
		{"ocsf-2", "v5-reordered"},
	} {
		t.Run(test.file, func(t *testing.T) {
			opts := Options{KeepUnknown: true}
			got := sortExtra(decodeParquet(t, []byte(capture(t, "parquet/"+test.file+".parquet")), opts))
			want := sortExtra(decodeText(t, hyphens(capture(t, test.log+".log"), test.file), opts))
			sameSteps(t, got, want)
		})
	}
}

// hyphens names the one field that nobody knows as the file does.
func hyphens(log, file string) string {
	if strings.HasSuffix(file, "-aws") {
		return strings.Replace(log, "field-of-2031", "field_of_2031", 1)
	}
	return log
}

// Dictionaries end in the middle of a column, at a row of its own in each.
func TestParquetDictionaryOverflows(t *testing.T) {
	n := 0
	for _, s := range decodeParquet(t, []byte(capture(t, "parquet/overflow.parquet")), Options{}) {
		if s.err != "" {
			t.Fatal(s.err)
		}
		r := &s.record
		if want := flow.AddrFrom4(10<<24 | 1<<16 | uint32(n)); r.Src != want || r.Has.Has(flow.FieldSrcPort) != (n%7 != 0) ||
			r.Has.Has(flow.FieldSrcPort) && int(r.SrcPort) != n || r.Start != 1795370000+int64(n) {
			t.Fatalf("row %d: got %+v", n, r)
		}
		n++
	}
	if n != 700 {
		t.Errorf("got %d records, want 700", n)
	}
}

// countingReaderAt notes which bytes are asked for.
type countingReaderAt struct {
	data  []byte
	reads [][2]int64
	fail  error // of the read after the next few
	after int
}

func (c *countingReaderAt) ReadAt(p []byte, off int64) (int, error) {
	if c.fail != nil {
		if c.after--; c.after < 0 {
			return 0, c.fail
		}
	}
	c.reads = append(c.reads, [2]int64{off, off + int64(len(p))})
	return bytes.NewReader(c.data).ReadAt(p, off)
}

// bigLog is a file of many pages of every column.
func bigLog(t testing.TB, rows int, options ...parquet.WriterOption) []byte {
	t.Helper()
	names := strings.Fields("account_id action bytes dstaddr dstport end interface_id log_status packets protocol srcaddr srcport start version")
	columns := make([]testColumn, len(names))
	for k, name := range names {
		c := &columns[k]
		c.name = name
		switch name {
		case "bytes", "packets", "start", "end":
			c.node = parquet.Encoded(parquet.Int(64), &parquet.Plain)
		case "dstport", "srcport", "protocol", "version":
			c.node = parquet.Encoded(parquet.Int(32), &parquet.Plain)
		default:
			c.node = parquet.Encoded(parquet.String(), &parquet.RLEDictionary)
		}
		for i := range rows {
			c.values = append(c.values, map[string]any{
				"account_id": "123456789012", "action": "ACCEPT", "bytes": int64(i * 37), "dstaddr": fmt.Sprintf("203.0.113.%d", i%50),
				"dstport": int32(443), "end": int64(1795370000 + i), "interface_id": fmt.Sprintf("eni-%d", i%9), "log_status": "OK",
				"packets": int64(i), "protocol": int32(6), "srcaddr": fmt.Sprintf("10.0.%d.%d", i/256%256, i%256), "srcport": int32(i % 65536),
				"start": int64(1795370000 + i), "version": int32(2),
			}[name])
		}
	}
	return writeParquet(t, columns, options...)
}

// TestParquetReads looks at the requests: two for the footer, and of the
// columns only those that are wanted, each from its beginning to its end.
func TestParquetReads(t *testing.T) {
	if testing.Short() {
		t.Skip("reads much")
	}
	file := bigLog(t, 100_000, parquet.PageBufferSize(64<<10), parquet.MaxRowsPerRowGroup(60_000))
	f, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	src := &countingReaderAt{data: file}
	n := 0
	want := flow.Fields(flow.FieldSrcAddr, flow.FieldBytes)
	for _, err := range Parquet(src, int64(len(file)), "log", Options{Want: want}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 100_000 {
		t.Errorf("got %d records", n)
	}
	if r := src.reads[0]; r[1] != int64(len(file)) || r[1]-r[0] != tailSize {
		t.Errorf("the first read is of %v", r)
	}
	wanted := []string{"srcaddr", "bytes", "start", "end", "log_status"}
	var need, most int64
	for _, g := range f.Metadata().RowGroups {
		for k, c := range g.Columns {
			begin := c.MetaData.DataPageOffset
			if o := c.MetaData.DictionaryPageOffset; o > 0 {
				begin = min(begin, o)
			}
			end := begin + c.MetaData.TotalCompressedSize
			name := f.Schema().Columns()[k][0]
			if slices.Contains(wanted, name) {
				need += end - begin
				most += 1 + (end-begin)/chunkBuffer
				continue
			}
			for _, r := range src.reads[1:] {
				if r[0] < end && begin < r[1] {
					t.Errorf("bytes %v are read, of %s", r, name)
				}
			}
		}
	}
	var read int64
	for _, r := range src.reads[1:] {
		read += r[1] - r[0]
	}
	if read > need || int64(len(src.reads)-1) > most {
		t.Errorf("%d bytes in %d reads, want %d in at most %d", read, len(src.reads)-1, need, most)
	}
}

// Small files take one request.
func TestParquetReadsSmallFileOnce(t *testing.T) {
	src := &countingReaderAt{data: []byte(capture(t, "parquet/v5-aws.parquet"))}
	for _, err := range Parquet(src, int64(len(src.data)), "log", Options{}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(src.reads) != 1 {
		t.Errorf("got %d reads: %v", len(src.reads), src.reads)
	}
}

// Read errors end the object and can be found in its error, wherever they
// occur.
func TestParquetReadErrors(t *testing.T) {
	file := bigLog(t, 60_000, parquet.PageBufferSize(16<<10))
	last := -1
	for after := 0; ; after++ {
		src := &countingReaderAt{data: file, fail: context.Canceled, after: after}
		records := 0
		var failed error
		for r, err := range Parquet(src, int64(len(file)), "s3://b/k", Options{}) {
			if err != nil {
				failed = err
			} else if records++; r == nil {
				t.Fatal("neither record nor error")
			}
		}
		if failed == nil {
			if after < 3 || records != 60_000 {
				t.Errorf("%d reads, %d records", after, records)
			}
			return
		}
		var object *flow.ObjectError
		if !errors.As(failed, &object) || !errors.Is(failed, context.Canceled) || object.Place != "s3://b/k" || object.Records != records || records < last {
			t.Fatalf("after %d reads and %d records: %v", after, records, failed)
		}
		last = records
	}
}

// TestParquetSkipsRowGroups looks at which row groups are read for a window.
func TestParquetSkipsRowGroups(t *testing.T) {
	second := func(n int64) time.Time { return time.Unix(1795370000+n, 0) }
	file := bigLog(t, 40_000, parquet.MaxRowsPerRowGroup(10_000))
	for _, test := range []struct {
		name     string
		from, to time.Time
		records  int
		groups   int // read
	}{
		{"all", time.Time{}, time.Time{}, 40_000, 4},
		{"from", second(30_000), time.Time{}, 10_000, 1},
		{"to", time.Time{}, second(10_000), 10_000, 1},
		{"one more", time.Time{}, second(10_001), 10_001, 2},
		{"middle", second(15_000), second(15_001), 1, 1},
		{"before", time.Time{}, second(0), 0, 0},
		{"behind", second(40_000), time.Time{}, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newParquetDecoder(&Options{From: test.from, To: test.to})
			d.reset(bytes.NewReader(file), int64(len(file)), "log")
			groups, left := 0, int64(0)
			var r flow.Record
			records := 0
			for {
				err := d.next(&r)
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				records++
			}
			d.reset(bytes.NewReader(file), int64(len(file)), "log")
			if err := d.open(); err != nil {
				t.Fatal(err)
			}
			for i := range d.footer.RowGroups {
				if !d.isOutside(&d.footer.RowGroups[i]) {
					groups++
				}
				left += d.footer.RowGroups[i].NumRows
			}
			if records != test.records || groups != test.groups || left != 40_000 {
				t.Errorf("got %d records of %d row groups, want %d of %d", records, groups, test.records, test.groups)
			}
		})
	}
}

// The row that an error names is counted through row groups that are not
// read.
func TestParquetRowsBehindSkippedGroups(t *testing.T) {
	numbers := func(n ...any) testColumn { return testColumn{node: parquet.Int(64), values: n} }
	start, port := numbers(int64(10), int64(20), int64(2000), int64(2001)), numbers(int64(1), int64(2), int64(3), int64(70000))
	start.name, port.name = "start", "srcport"
	addr := testColumn{"srcaddr", parquet.String(), []any{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"}}
	end := start
	end.name = "end"
	file := writeParquet(t, []testColumn{end, addr, port, start}, parquet.MaxRowsPerRowGroup(2))
	got := decodeParquet(t, file, Options{From: time.Unix(1000, 0)})
	if len(got) != 2 || got[0].record.SrcPort != 3 || got[1].line != 4 || got[1].err != `srcport: "70000" out of range` {
		t.Errorf("got %+v", got)
	}
}

// TestParquetStatistics checks when the statistics of times are trusted.
func TestParquetStatistics(t *testing.T) {
	long := func(n int64) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(n)) }
	for _, test := range []struct {
		name        string
		change      func(*parquetColumn, *chunkStatistics)
		first, last int64
		ok          bool
	}{
		{"as they are", func(*parquetColumn, *chunkStatistics) {}, 1000, 2000, true},
		{"optional, no nulls", func(c *parquetColumn, s *chunkStatistics) {
			c.leaf.maxDefinition = 1
			s.NullCount.V, s.NullCount.Valid = 0, true
		}, 1000, 2000, true},
		{"optional, nulls", func(c *parquetColumn, s *chunkStatistics) {
			c.leaf.maxDefinition = 1
			s.NullCount.V, s.NullCount.Valid = 3, true
		}, 0, 0, false},
		{"optional, not known", func(c *parquetColumn, s *chunkStatistics) { c.leaf.maxDefinition = 1 }, 0, 0, false},
		{"order not known", func(c *parquetColumn, s *chunkStatistics) { c.leaf.ordered = false }, 0, 0, false},
		{"no least", func(c *parquetColumn, s *chunkStatistics) { s.MinValue = nil }, 0, 0, false},
		{"another length", func(c *parquetColumn, s *chunkStatistics) { s.MaxValue = s.MaxValue[:4] }, 0, 0, false},
		{"negative", func(c *parquetColumn, s *chunkStatistics) { s.MinValue = long(-1) }, 0, 0, false},
		{"the wrong way round", func(c *parquetColumn, s *chunkStatistics) { s.MinValue = long(3000) }, 0, 0, false},
		{"milliseconds", func(c *parquetColumn, s *chunkStatistics) {
			s.MinValue, s.MaxValue = long(1795370000_000), long(1795370001_999)
		}, 1795370000, 1795370001, true},
		{"both", func(c *parquetColumn, s *chunkStatistics) { s.MaxValue = long(1795370001_999) }, 0, 0, false},
		{"microseconds", func(c *parquetColumn, s *chunkStatistics) { c.unit = 1e6 }, 0, 0, true},
		{"out of range", func(c *parquetColumn, s *chunkStatistics) {
			s.MinValue, s.MaxValue = long(1<<60), long(1<<60)
		}, 0, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := &parquetColumn{leaf: &leaf{typ: 2, ordered: true, schema: &schemaElement{}}, rules: valueRules{kind: kindTime}}
			m := &columnMeta{Statistics: chunkStatistics{MinValue: long(1000), MaxValue: long(2000)}}
			test.change(c, &m.Statistics)
			first, last, ok := c.times(m)
			if first != test.first || last != test.last || ok != test.ok {
				t.Errorf("got %d, %d, %v, want %d, %d, %v", first, last, ok, test.first, test.last, test.ok)
			}
		})
	}
}

// texts is a column of strings.
func texts(name string, values ...any) testColumn {
	return testColumn{name, parquet.String(), values}
}

// TestParquetRefused checks files that are refused as a whole.
func TestParquetRefused(t *testing.T) {
	addr := texts("srcaddr", "10.0.0.1")
	one := func(c ...testColumn) []byte { return writeParquet(t, c) }
	good := []byte(capture(t, "parquet/v5-aws.parquet"))
	for _, test := range []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "0 bytes are no Parquet file"},
		{"cut short", good[:len(good)-100], "it may have been cut short"},
		{"cut short at its beginning", good[4000:], "bytes"},
		{"footer too long", append(good[:len(good)-8:len(good)-8], 0xff, 0xff, 0xff, 0, 'P', 'A', 'R', '1'), "a footer of 16777215 bytes"},
		{"footer of nothing", append(good[:len(good)-8:len(good)-8], 0, 0, 0, 0, 'P', 'A', 'R', '1'), "footer: it ends early"},
		{"encrypted", []byte(capture(t, "parquet/encrypted-footer.parquet")), "encrypted; give it decrypted"},
		{"encrypted columns", []byte(capture(t, "parquet/encrypted-columns.parquet")), "encrypted; give it decrypted"},
		{"something else", one(texts("city", "Ulm"), texts("name", "Ann")), `not a flow log: its columns are ["city" "name"]`},
		{"no endpoint", one(testColumn{"start", parquet.Int(64), []any{int64(1)}}), "not a flow log"},
		{"transit gateway", one(addr, texts("tgw_id", "tgw-1")), "these are transit gateway flow logs, which have no action; give VPC flow logs"},
		{"transit gateway by type", one(texts("resource_type", "TransitGateway"), addr), "these are transit gateway flow logs"},
		{"twice", one(texts("interface-id", "eni-1"), texts("interface_id", "eni-1")), "field interface-id stands twice"},
		{"decimal", one(testColumn{"bytes", parquet.Decimal(2, 9, parquet.Int32Type), []any{int32(1)}}, addr), "column bytes is DECIMAL(9,2)"},
		{"date", one(testColumn{"end", parquet.Date(), []any{int32(1)}}, addr), "column end is DATE"},
		{"number for an address", one(testColumn{"srcaddr", parquet.Int(32), []any{int32(1)}}), "column srcaddr is INT32"},
		{"Boolean", one(testColumn{"action", parquet.Leaf(parquet.BooleanType), []any{true}}, addr), "column action is BOOLEAN"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := decodeParquet(t, test.file, Options{})
			if len(got) != 1 || got[0].line != -1 || !strings.Contains(got[0].err, test.want) || !strings.HasPrefix(got[0].err, "log: ") {
				t.Errorf("got %+v, want one error with %q", got, test.want)
			}
		})
	}
}

// TestParquetUnknownColumns keeps scalars of all types, and passes over the
// rest.
func TestParquetUnknownColumns(t *testing.T) {
	columns := []testColumn{
		{"a_flag", parquet.Leaf(parquet.BooleanType), []any{true, false}},
		{"b_number", parquet.Int(32), []any{int32(-7), int32(0)}},
		{"c_real", parquet.Leaf(parquet.DoubleType), []any{1.5, 2.0}},
		{"d_text", parquet.Optional(parquet.String()), []any{nil, "x y"}},
		{"e_date", parquet.Date(), []any{int32(1), int32(2)}},
		{"f_big", parquet.Uint(64), []any{int64(-1), int64(1)}},
		{"srcaddr", parquet.String(), []any{"10.0.0.1", "10.0.0.2"}},
	}
	got := decodeParquet(t, writeParquet(t, columns), Options{KeepUnknown: true})
	want := []string{
		"[{a_flag true} {b_number -7} {c_real 1.5} {f_big 18446744073709551615}]",
		"[{a_flag false} {b_number 0} {c_real 2} {d_text x y} {f_big 1}]",
	}
	for i, s := range got {
		if s.err != "" || fmt.Sprint(s.record.Extra) != want[i] {
			t.Errorf("row %d: got %v %s, want %s", i+1, s.record.Extra, s.err, want[i])
		}
	}
	for _, s := range decodeParquet(t, writeParquet(t, columns), Options{}) {
		if s.record.Extra != nil {
			t.Errorf("kept unasked: %v", s.record.Extra)
		}
	}
}

// A column that is always null can have any type.
func TestParquetNullColumns(t *testing.T) {
	columns := []testColumn{
		{"action", parquet.Optional(parquet.Int(32)), []any{nil, nil}},
		{"pkt_srcaddr", parquet.Optional(parquet.Leaf(parquet.Int96Type)), []any{nil, nil}},
		{"srcaddr", parquet.String(), []any{"10.0.0.1", "10.0.0.2"}},
	}
	for _, s := range decodeParquet(t, writeParquet(t, columns), Options{}) {
		if s.err != "" || s.record.Has != flow.Fields(flow.FieldSrcAddr) {
			t.Errorf("got %+v", s)
		}
	}
	columns[1].node, columns[1].values = parquet.Optional(parquet.Date()), []any{nil, int32(1)}
	if got := decodeParquet(t, writeParquet(t, columns), Options{}); len(got) != 1 || !strings.Contains(got[0].err, "column pkt_srcaddr is DATE") {
		t.Errorf("got %+v", got)
	}
}

// TestParquetValues checks single values in types that text does not have.
func TestParquetValues(t *testing.T) {
	for _, test := range []struct {
		name  string
		node  parquet.Node
		value any
		want  string // the record's field, or its error
	}{
		{"account_id", parquet.Int(64), int64(12), "000000000012"},
		{"bytes", parquet.Leaf(parquet.DoubleType), 712.0, "712"},
		{"bytes", parquet.Leaf(parquet.DoubleType), 712.5, `bytes: "712.5" is not a whole number`},
		{"bytes", parquet.Leaf(parquet.FloatType), float32(8), "8"},
		{"bytes", parquet.Uint(64), int64(-1), `bytes: "18446744073709551615" out of range`},
		{"bytes", parquet.Int(64), int64(-1), `bytes: "-1" is not a number`},
		{"srcport", parquet.Uint(16), int32(65535), "65535"},
		{"srcport", parquet.String(), "65536", `srcport: "65536" out of range`},
		{"start", parquet.Timestamp(parquet.Nanosecond), int64(1795370837_999_999_999), "1795370837"},
		{"start", parquet.Timestamp(parquet.Microsecond), int64(-1), `start: "-1" is not a number`},
		{"start", parquet.Timestamp(parquet.Millisecond), int64(1 << 60), `start: "1152921504606846976" out of range`},
		{"start", parquet.Int(64), int64(1795370837999), "1795370837"},
		{"action", parquet.Enum(), "ACCEPT", "ACCEPT"},
		{"action", parquet.String(), "accept", `action: "accept" is neither ACCEPT nor REJECT`},
		{"vpc_id", parquet.String(), "vpc-1\x1b[0m", "vpc-id: \"vpc-1\\x1b[0m\" holds a control character"},
		{"pkt_dstaddr", parquet.String(), "None", "-"},
		{"encryption_status", parquet.Int(32), int32(0), "0"},
	} {
		t.Run(fmt.Sprint(test.name, " ", test.value), func(t *testing.T) {
			c := testColumn{test.name, test.node, []any{test.value}}
			columns := inOrder([]testColumn{c, texts("resource_id", "nat-1")})
			got := decodeParquet(t, writeParquet(t, columns), Options{})
			if len(got) != 1 {
				t.Fatalf("got %+v", got)
			}
			s := got[0].err
			if s == "" {
				s = string(mustFormat(test.name).AppendRecord(nil, &got[0].record))
			}
			if s != test.want {
				t.Errorf("got %s, want %s", s, test.want)
			}
		})
	}
}

// The name of the object tells the flow log; the decoder can be closed at any
// point, and used again.
func TestParquetDecoderIsReused(t *testing.T) {
	file := []byte(capture(t, "parquet/v5-aws.parquet"))
	d := newParquetDecoder(&Options{})
	var r flow.Record
	if err := d.next(&r); err != io.EOF {
		t.Errorf("before the first object: got %v", err)
	}
	for i := range 4 {
		d.reset(bytes.NewReader(file), int64(len(file)), "123456789012_vpcflowlogs_us-east-1_fl-0a1_20261122T1620Z_5d416faf.log.parquet")
		for range i {
			if err := d.next(&r); err != nil || r.FlowLogID != "fl-0a1" {
				t.Errorf("got flow log %q, %v", r.FlowLogID, err)
			}
		}
		if i%2 == 0 {
			d.close()
			d.close()
			if err := d.next(&r); err != io.EOF {
				t.Errorf("after close: got %v", err)
			}
		}
	}
}

// TestParquetOverwritesRecords hands the decoder records that are full of
// something else: nothing of that may be left.
func TestParquetOverwritesRecords(t *testing.T) {
	full := flow.Record{Extra: []flow.ExtraField{{Name: "x", Value: "y"}}}
	fields := reflect.ValueOf(&full).Elem()
	for _, f := range fields.Fields() {
		switch {
		case f.Kind() == reflect.String:
			f.SetString("left over")
		case f.CanUint():
			f.SetUint(77)
		case f.CanInt():
			f.SetInt(77)
		case f.Type() == reflect.TypeFor[flow.Addr]():
			f.Set(reflect.ValueOf(flow.AddrFrom4(77)))
		}
		if f.IsZero() {
			t.Fatalf("a field of type %v has no value", f.Type())
		}
	}
	for _, name := range []string{"v5-aws", "v11-aws", "v2-pandas", "ocsf-1"} {
		file := []byte(capture(t, "parquet/"+name+".parquet"))
		for _, want := range []flow.FieldSet{flow.AllFields, flow.Fields(flow.FieldSrcAddr)} {
			d := newParquetDecoder(&Options{Want: want})
			d.reset(bytes.NewReader(file), int64(len(file)), "log")
			for i, s := range decodeParquet(t, file, Options{Want: want}) {
				r := full
				if err := d.next(&r); err != nil && s.err == "" || err == nil && !reflect.DeepEqual(r, s.record) {
					t.Errorf("%s, row %d:\ngot  %+v, %v\nwant %+v, %v", name, i+1, r, err, s.record, s.err)
				}
			}
		}
	}
}

// Breaking off the loop closes the decoder.
func TestParquetStops(t *testing.T) {
	file := bigLog(t, 2000)
	n := 0
	for range Parquet(bytes.NewReader(file), int64(len(file)), "log", Options{}) {
		if n++; n == 700 {
			break
		}
	}
	if n != 700 {
		t.Errorf("got %d records", n)
	}
}

// What stands in front of a damage is yielded.
func TestParquetDamage(t *testing.T) {
	file := bigLog(t, 30_000, parquet.PageBufferSize(8<<10), parquet.MaxRowsPerRowGroup(10_000))
	f, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	c := f.Metadata().RowGroups[1].Columns[2].MetaData // bytes
	file = slices.Clone(file)
	for i := c.DataPageOffset + 3*8<<10; i < c.DataPageOffset+3*8<<10+5000; i++ {
		file[i] = 0xff
	}
	got := decodeParquet(t, file, Options{})
	last := got[len(got)-1]
	for i, s := range got[:len(got)-1] {
		if s.err != "" || s.record.Bytes != uint64(i*37) {
			t.Fatalf("row %d: got %+v", i+1, s)
		}
	}
	if n := len(got) - 1; n < 10_000 || n > 15_000 || !strings.Contains(last.err, "row group 2, column bytes: ") ||
		!strings.Contains(last.err, "the file is damaged: fetch or write it again") ||
		!strings.HasSuffix(last.err, fmt.Sprintf("(%d records read before that)", n)) {
		t.Errorf("%d records, then %q", n, last.err)
	}
}
