package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
	"github.com/parquet-go/parquet-go/compress/lz4"

	"ephemera/ingest/flow"
)

// testColumn is a column of a file that a test writes. A value is nil, an
// int32, an int64, a float64, a bool or a string.
type testColumn struct {
	name   string
	node   parquet.Node
	values []any
}

// writeParquet writes the columns, whose names must be in alphabetical order,
// since that is how the library arranges them.
func writeParquet(t testing.TB, columns []testColumn, options ...parquet.WriterOption) []byte {
	t.Helper()
	group := parquet.Group{}
	for _, c := range columns {
		group[c.name] = c.node
	}
	var b bytes.Buffer
	w := parquet.NewWriter(&b, append([]parquet.WriterOption{parquet.NewSchema("flow", group)}, options...)...)
	for i := range columns[0].values {
		row := make(parquet.Row, len(columns))
		for k, c := range columns {
			level := 0
			if c.node.Optional() && c.values[i] != nil {
				level = 1
			}
			row[k] = valueOf(c, c.values[i]).Level(0, level, k)
		}
		if _, err := w.WriteRows([]parquet.Row{row}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// inOrder sorts columns as writeParquet needs them.
func inOrder(columns []testColumn) []testColumn {
	slices.SortFunc(columns, func(a, b testColumn) int { return strings.Compare(a.name, b.name) })
	return columns
}

// valueOf pads text to the length that the column has.
func valueOf(c testColumn, v any) parquet.Value {
	if s, ok := v.(string); ok && c.node.Leaf() && c.node.Type().Kind() == parquet.FixedLenByteArray {
		return parquet.FixedLenByteArrayValue(append([]byte(s), make([]byte, c.node.Type().Length()-len(s))...))
	}
	return parquet.ValueOf(v)
}

// physical gives a column of a log one of the shapes that can hold all its
// values.
func physical(rnd *rand.Rand, name string, words []string) testColumn {
	absent := slices.Contains(words, "-")
	optional := absent || rnd.IntN(2) == 0
	var shapes []testColumn
	add := func(node parquet.Node, value func(word string) any) {
		c := testColumn{name: name, node: encoded(rnd, node)}
		if optional {
			c.node = parquet.Optional(c.node)
		}
		for _, word := range words {
			if word == "-" {
				c.values = append(c.values, nil)
			} else {
				c.values = append(c.values, value(word))
			}
		}
		shapes = append(shapes, c)
	}
	text := func(word string) any { return word }
	add(parquet.String(), text)
	add(parquet.Leaf(parquet.ByteArrayType), text)
	add(parquet.Leaf(parquet.FixedLenByteArrayType(maxLen(words)+rnd.IntN(3)+1)), text)
	dashed := testColumn{name: name, node: encoded(rnd, parquet.String())}
	for _, word := range words {
		if word == "-" {
			word = []string{"-", "", "None"}[rnd.IntN(3)]
		}
		dashed.values = append(dashed.values, word)
	}
	shapes = append(shapes, dashed, dashed)
	if low, high, ok := integers(name, words); ok {
		number := func(word string) any { n, _ := strconv.ParseInt(word, 10, 64); return n }
		number32 := func(word string) any { n, _ := strconv.ParseInt(word, 10, 64); return int32(n) }
		for range 3 {
			add(parquet.Int(64), number)
			if low >= math.MinInt32 && high <= math.MaxInt32 {
				add(parquet.Int(32), number32)
				add(parquet.Leaf(parquet.Int32Type), number32)
			}
			if low >= 0 {
				add(parquet.Uint(64), number)
				if high <= math.MaxUint32 {
					add(parquet.Uint(32), number32)
				}
			}
		}
		if low >= -1<<53 && high <= 1<<53 && name != "account-id" {
			add(parquet.Leaf(parquet.DoubleType), func(word string) any { n, _ := strconv.ParseInt(word, 10, 64); return float64(n) })
		}
		if (name == "start" || name == "end") && low >= 0 && high <= maxSeconds*1000 {
			stamp := func(unit parquet.TimeUnit, size int64) {
				add(parquet.Timestamp(unit), func(word string) any {
					n, _ := unixTime([]byte(word))
					return n*size + rnd.Int64N(size)
				})
			}
			stamp(parquet.Millisecond, 1e3)
			stamp(parquet.Microsecond, 1e6)
		}
	}
	return shapes[rnd.IntN(len(shapes))]
}

// encoded gives node an encoding that it can have.
func encoded(rnd *rand.Rand, node parquet.Node) parquet.Node {
	switch rnd.IntN(4) {
	case 0:
		return parquet.Encoded(node, &parquet.Plain)
	case 1:
		switch node.Type().Kind() {
		case parquet.Int32, parquet.Int64:
			return parquet.Encoded(node, &parquet.DeltaBinaryPacked)
		case parquet.ByteArray:
			if rnd.IntN(2) == 0 {
				return parquet.Encoded(node, &parquet.DeltaLengthByteArray)
			}
			return parquet.Encoded(node, &parquet.DeltaByteArray)
		case parquet.FixedLenByteArray:
			return parquet.Encoded(node, &parquet.DeltaByteArray)
		case parquet.Double:
			return parquet.Encoded(node, &parquet.ByteStreamSplit)
		}
	}
	return parquet.Encoded(node, &parquet.RLEDictionary)
}

func maxLen(words []string) (n int) {
	for _, w := range words {
		n = max(n, len(w))
	}
	return n
}

// integers reports whether a column of numbers says the same as words.
func integers(name string, words []string) (low, high int64, ok bool) {
	for _, word := range words {
		if word == "-" {
			continue
		}
		n, err := strconv.ParseInt(word, 10, 64)
		again := strconv.FormatInt(n, 10)
		if name == "account-id" {
			again = fmt.Sprintf("%012d", n)
		}
		if err != nil || again != word {
			return 0, 0, false
		}
		low, high = min(low, n), max(high, n)
	}
	return low, high, true
}

var testCodecs = []compress.Codec{
	&parquet.Uncompressed, &parquet.Snappy, &parquet.Gzip, &parquet.Zstd, &parquet.Brotli,
	&lz4.Codec{Level: lz4.Fastest},
}

func randomOptions(rnd *rand.Rand, rows int) []parquet.WriterOption {
	return []parquet.WriterOption{
		parquet.Compression(testCodecs[rnd.IntN(len(testCodecs))]),
		parquet.DataPageVersion(1 + rnd.IntN(2)),
		parquet.PageBufferSize(1 << (6 + rnd.IntN(10))),
		parquet.MaxRowsPerRowGroup(int64(1 + rnd.IntN(2*rows))),
		parquet.DictionaryMaxBytes(int64(rnd.IntN(2) * (1 + rnd.IntN(2000)))),
		parquet.DataPageStatistics(rnd.IntN(2) == 0),
	}
}

// decoded is one step of a decoder, whole and comparable.
type decoded struct {
	record flow.Record
	err    string
	line   int
}

type nextReader interface{ next(*flow.Record) error }

// steps reads to the end.
func steps(t testing.TB, d nextReader) (all []decoded) {
	t.Helper()
	for {
		var r flow.Record
		err := d.next(&r)
		var bad *flow.RecordError
		switch {
		case err == io.EOF:
			return all
		case err == nil:
			r.Extra = slices.Clone(r.Extra)
			all = append(all, decoded{record: r})
		case errors.As(err, &bad):
			all = append(all, decoded{err: bad.Field + ": " + bad.Err.Error(), line: bad.Line})
		default:
			all = append(all, decoded{err: err.Error(), line: -1})
		}
	}
}

func decodeText(t testing.TB, text string, opts Options) []decoded {
	d := newTextDecoder(&opts)
	d.reset(strings.NewReader(text), "log")
	all := steps(t, d)
	for i := range all {
		if all[i].line > 0 {
			all[i].line-- // the header line is line 1
		}
	}
	return all
}

func decodeParquet(t testing.TB, file []byte, opts Options) []decoded {
	d := newParquetDecoder(&opts)
	defer d.close()
	d.reset(bytes.NewReader(file), int64(len(file)), "log")
	return steps(t, d)
}

func sameSteps(t testing.TB, got, want []decoded) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Fatalf("step %d is missing: %+v", i, want[i])
		case i >= len(want):
			t.Fatalf("step %d is too many: %+v", i, got[i])
		case !reflect.DeepEqual(got[i], want[i]):
			t.Fatalf("step %d:\ngot  %+v\nwant %+v", i, got[i], want[i])
		}
	}
}

// TestParquetAgainstText writes random records as text and as Parquet, in all
// the physical shapes that there are, and compares what the decoders make of
// them: records, errors, and the numbers of their rows.
func TestParquetAgainstText(t *testing.T) {
	const files = 100
	rnd := rand.New(rand.NewPCG(9, 10))
	records, errs := 0, 0
	for range files {
		names := randomFormat(rnd)
		if !slices.Contains(names, "srcaddr") {
			names = append(names, "srcaddr")
		}
		slices.Sort(names)
		rows := 1 + rnd.IntN(1500)/(1+rnd.IntN(20))
		table := make([][]string, len(names)) // by column
		for k, name := range names {
			few := randomWords(rnd, name, 1+rnd.IntN(20))
			for range rows {
				if rnd.IntN(2) == 0 {
					few = randomWords(rnd, name, len(few))
				}
				table[k] = append(table[k], few[rnd.IntN(len(few))])
			}
		}
		var text strings.Builder
		text.WriteString(strings.Join(names, " ") + "\n")
		for i := range rows {
			for k := range names {
				text.WriteString(table[k][i] + " ")
			}
			text.WriteString("\n")
		}
		var columns []testColumn
		for k, name := range names {
			c := physical(rnd, name, table[k])
			if rnd.IntN(2) == 0 && name != "another_field" && name != "new-field" {
				c.name = strings.ReplaceAll(name, "-", "_")
			}
			columns = append(columns, c)
		}
		columns = inOrder(columns)
		// Underscores sort otherwise than hyphens; the order of columns is
		// that of errors and of extra fields.
		header, body, _ := strings.Cut(text.String(), "\n")
		log := reordered(header, body, columns)
		file := writeParquet(t, columns, randomOptions(rnd, rows)...)

		opts := Options{KeepUnknown: rnd.IntN(2) == 0}
		if rnd.IntN(2) == 0 {
			opts.Want = flow.FieldSet(rnd.Uint64())&flow.AllFields | flow.Fields(flow.FieldSrcAddr)
		}
		got, want := decodeParquet(t, file, opts), decodeText(t, log, opts)
		sameSteps(t, got, want)
		for _, s := range got {
			if s.err == "" {
				records++
			} else {
				errs++
			}
		}

		// In row groups that are passed over, errors are not seen.
		opts.From, opts.To = randomWindow(rnd)
		got, want = decodeParquet(t, file, opts), decodeText(t, log, opts)
		noErrors := func(s decoded) bool { return s.err != "" }
		sameSteps(t, slices.DeleteFunc(got, noErrors), slices.DeleteFunc(want, noErrors))
	}
	if records < 5000 || errs < 1000 {
		t.Errorf("lopsided test: %d records, %d errors", records, errs)
	}
}

// randomWords gives n values of a field, right ones as a rule.
func randomWords(rnd *rand.Rand, name string, n int) []string {
	words := make([]string, n)
	for i := range words {
		words[i] = randomValue(rnd, name)
		if rnd.IntN(400) == 0 {
			words[i] = []string{"-1", "256", "70000", "1e3", "10.0.0.256", "accept", "\xff", "-"}[rnd.IntN(8)]
		}
	}
	return words
}

func randomWindow(rnd *rand.Rand) (from, to time.Time) {
	if rnd.IntN(3) > 0 {
		from = time.Unix(1_700_000_000+rnd.Int64N(100_000_000), 0)
	}
	if rnd.IntN(3) > 0 {
		to = time.Unix(1_700_000_000+rnd.Int64N(100_000_000), 0)
	}
	return from, to
}

// reordered gives the fields of a log the order of columns.
func reordered(header, body string, columns []testColumn) string {
	at := map[string]int{}
	for i, name := range strings.Fields(header) {
		if f, ok := flow.FieldNamed(name); ok {
			name = f.Name()
		}
		at[name] = i
	}
	var b strings.Builder
	var order []int
	for _, c := range columns {
		name := c.name
		if f, ok := flow.FieldNamed(name); ok {
			name = f.Name()
		}
		order = append(order, at[name])
		b.WriteString(name + " ")
	}
	b.WriteByte('\n')
	for line := range strings.Lines(body) {
		words := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		for _, i := range order {
			b.WriteString(words[i] + " ")
		}
		b.WriteByte('\n')
	}
	return b.String()
}
