package digest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"ephemera/analyze"
	"ephemera/ingest"
	"ephemera/ingest/digest"
	"ephemera/ingest/flow"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

const article = "../../testdata/article"

func articleDigest(t *testing.T) ([]byte, digest.Summary) {
	t.Helper()
	logs, err := ingest.Open([]string{filepath.Join(article, "logs")}, ingest.Options{Want: analyze.WantFields})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	sum, err := digest.Write(&b, logs.Records(t.Context()), digest.Source{Place: "s3://logs/article", Version: "9f86d081", Size: 4711})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), sum
}

// The format is what other programs read: its schema, how columns are stored,
// its footer, and its rows.
func TestGolden(t *testing.T) {
	b, sum := articleDigest(t)
	f, err := parquet.OpenFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	fmt.Fprintf(&got, "%s\n\ncreated by %s\n", f.Schema(), f.Metadata().CreatedBy)
	for i, g := range f.Metadata().RowGroups {
		fmt.Fprintf(&got, "\nrow group %d: %d rows\n", i, g.NumRows)
		for _, c := range g.Columns {
			fmt.Fprintf(&got, "%s: %s, %v\n", strings.Join(c.MetaData.PathInSchema, "."), c.MetaData.Codec, c.MetaData.Encoding)
		}
	}
	value, ok := f.Lookup(digest.MetadataKey)
	if !ok {
		t.Fatal("there is no summary")
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, []byte(value), "", "  "); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&got, "\n%s\n", indented.String())
	rows := f.RowGroups()[0].Rows()
	defer rows.Close()
	some := make([]parquet.Row, 3)
	if n, err := rows.ReadRows(some); n != len(some) {
		t.Fatal(n, err)
	}
	for i, row := range some {
		fmt.Fprintf(&got, "\nrow %d:", i)
		for _, v := range row {
			fmt.Fprintf(&got, " %v", v)
		}
	}
	got.WriteByte('\n')
	golden := filepath.Join("testdata", "article.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || got.String() != string(want) {
		t.Errorf("%v; the digest is\n%s\nwant\n%s", err, got.String(), want)
	}

	parsed, err := digest.Parse(value)
	if err != nil || fmt.Sprintf("%+v", *parsed) != fmt.Sprintf("%+v", sum) {
		t.Errorf("the summary reads as %+v, %v; want %+v", parsed, err, sum)
	}
}

// A digest has a column for every field that an analysis reads.
func TestEveryWantedField(t *testing.T) {
	b, _ := articleDigest(t)
	f, err := parquet.OpenFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var columns []string
	for _, c := range f.Schema().Columns() {
		columns = append(columns, strings.ReplaceAll(c[0], "_", "-"))
	}
	if !slices.IsSorted(columns) || !slices.Contains(columns, digest.FlowLogColumn) {
		t.Errorf("the columns are %q", columns)
	}
	for i := range flow.NumFields {
		field := flow.Field(i)
		if wanted := analyze.WantFields.Has(field); wanted != slices.Contains(columns, field.Name()) {
			t.Errorf("%s: an analysis reads it: %t; a digest has it: %t", field.Name(), wanted, !wanted)
		}
	}
}

// Formats may leave out fields without which a record of another format is bad.
// What was read comes back.
func TestLeanFormats(t *testing.T) {
	const full = "interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status pkt-srcaddr pkt-dstaddr"
	values := map[string]string{
		"interface-id": "eni-1", "srcaddr": "10.0.0.1", "dstaddr": "10.0.0.2", "srcport": "40000", "dstport": "21", "protocol": "6", "packets": "1",
		"bytes": "40", "start": "1795370000", "end": "1795370009", "action": "ACCEPT", "log-status": "OK", "pkt-srcaddr": "10.0.0.1", "pkt-dstaddr": "10.0.0.2",
		"subnet-id": "None", "vpc-id": "None",
	}
	formats := []string{full, full + " subnet-id vpc-id", "interface-id", "srcaddr", "pkt-srcaddr pkt-dstaddr action"}
	for _, name := range strings.Fields(full) {
		formats = append(formats, strings.TrimSpace(strings.ReplaceAll(" "+full+" ", " "+name+" ", " ")))
	}
	for _, format := range formats {
		text := format + "\n"
		for _, name := range strings.Fields(format) {
			text += values[name] + " "
		}
		want := collect(ingest.Text(strings.NewReader(strings.TrimSpace(text)+"\n"), "p", ingest.Options{Want: analyze.WantFields}))
		if len(want.records) != 1 || len(want.errs) != 0 {
			t.Errorf("%s: %d records, %v", format, len(want.records), want.errs)
			continue
		}
		b, _ := write(t, want)
		if got := read(b); !slices.Equal(got.sorted(), want.sorted()) || len(got.errs) != 0 {
			t.Errorf("%s:\ngot  %v, %v\nwant %v", format, got.sorted(), got.errs, want.sorted())
		}
	}
}

// A digest that is damaged gives no more records than the whole one, and no
// panic. One that is cut gives an error.
func TestDamaged(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 9))
	whole, _ := write(t, randomSteps(t, rng, 60))
	records := len(read(whole).records)
	objects := func(s steps) (n int) {
		for _, err := range s.errs {
			if strings.Contains(err.Error(), "reading it failed with") {
				t.Errorf("a panic: %v", err)
			}
			var o *flow.ObjectError
			if errors.As(err, &o) && o.Place == "d" {
				n++
			}
		}
		return n
	}
	for n := range len(whole) {
		if got := read(whole[:n]); objects(got) != 1 || len(got.records) > records {
			t.Fatalf("cut to %d bytes: %d records, %v", n, len(got.records), got.errs)
		}
	}
	for range 3000 {
		b := slices.Clone(whole)
		for range 1 + rng.IntN(3) {
			b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
		}
		got := read(b)
		if objects(got) > 1 || len(got.records) > records {
			t.Fatalf("%d records, want no more than %d: %v", len(got.records), records, got.errs)
		}
	}
}
