package ingest

import (
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ephemera/ingest/flow"
)

// given is a list of objects for tests.
type given []Object

func (g given) All(context.Context) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for _, o := range g {
			if !yield(o, nil) {
				return
			}
		}
	}
}
func (g given) Ordered() bool   { return true }
func (g given) Listed() Listing { return Listing{Objects: len(g), Share: 1} }

// content is an object of text that can be read once through only.
func content(place string, start int64, text string, formats ...Format) Object {
	return Object{Place: place, Start: start, Formats: formats, Open: func(context.Context) (io.ReadCloser, error) {
		return named{io.NopCloser(strings.NewReader(text))}, nil
	}}
}

// named is content whose lines have names.
type named struct{ io.ReadCloser }

func (named) NameLine(n int) string { return fmt.Sprintf("stream %d", n) }

func joined(t *testing.T, opts Options, f Format, lists ...Objects) []string {
	t.Helper()
	var got []string
	for rec, err := range Join(opts, lists...).Records(t.Context()) {
		if err != nil {
			got = append(got, "! "+err.Error())
		} else {
			got = append(got, string(f.AppendRecord(nil, rec)))
		}
	}
	return got
}

// Several formats in one object are told apart by the number of fields;
// lines that fit none, and bad ones, are named by where they come from.
func TestSeveralFormats(t *testing.T) {
	two, three := mustFormat("srcport end"), mustFormat("end dstport srcport")
	text := "1 10\n20 5 2\n30 6 3\n4 40\nstray\n7 x 50\n5 50\n{\"a b\n"
	got := joined(t, Options{}, mustFormat("srcport end dstport"), given{content("group", 0, text, two, three)})
	diff(t, got, []string{
		"1 10 -", "2 20 5", "3 30 6", "4 40 -",
		"! stream 5: 1 field, and no flow log that is known here has so many",
		`! stream 6: dstport: "x" is not a number`,
		"5 50 -", `! stream 8: srcport: "{\"a" is not a number`,
	})
}

// What has formats is text, whatever it begins with.
func TestFormatsMeanText(t *testing.T) {
	f := mustFormat("srcport end")
	for _, text := range []string{"PAR1 1\n1 10\n", "{\"x\": 1}\n1 10\n", "\x1f\x8b 2\n1 10\n", "\xef\xbb\xbf 2\n1 10\n", "a\x00 2\n1 10\n"} {
		got := joined(t, Options{}, f, given{content("o", 0, text, f)})
		if len(got) != 2 || got[0][0] != '!' || got[1] != "1 10" {
			t.Errorf("%q: got %q, want an error and a record", text, got)
		}
	}
}

func TestByteOrderMarkAndBlanks(t *testing.T) {
	f := mustFormat("srcport end")
	for _, text := range []string{
		"\xef\xbb\xbfsrcport end\n1 10\n", "\n\n  \nsrcport end\n1 10\n",
		strings.Repeat("\n", 200_000) + "srcport end\n1 10\n",
	} {
		diff(t, joined(t, Options{}, f, given{content("o", 0, text)}), []string{"1 10"})
	}
	spaced := strings.Repeat(" \r\n", 1000) + `{"message": "1 10"}`
	diff(t, joined(t, Options{Format: f}, f, given{content("o", 0, spaced)}), []string{"1 10"})
}

// Parquet is read also where there is no random access: it is copied first,
// and the copy does not stay.
func TestParquetFromAStream(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	files, err := filepath.Glob("testdata/parquet/*.parquet")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %d files", err, len(files))
	}
	f := mustFormat("srcaddr dstaddr srcport end")
	read := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		list, err := Find([]string{file}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		want := joined(t, Options{}, f, list)
		got := joined(t, Options{}, f, given{content(file, 0, string(text))})
		diff(t, got, want)
		read += len(got)
	}
	if read < 10 {
		t.Errorf("only %d records", read)
	}
	if left, _ := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "*")); len(left) > 0 {
		t.Errorf("files are left: %q", left)
	}
}

// Lists are merged by time, and what two of them have is read once.
func TestListsAreMerged(t *testing.T) {
	object := func(place string, start int64) Object {
		return content(place, start, fmt.Sprintf("srcport end\n1 %d\n", max(start, 0)))
	}
	got := joined(t, Options{}, mustFormat("end"),
		given{object("a", 10), object("b", 20), object("d", 40)},
		given{},
		given{object("b", 20), object("c", 30)},
		given{object("z", UnknownStart), object("d", 40), object("e", 40)})
	diff(t, got, []string{"0", "10", "20", "30", "40", "40"})
}

// failing is a list that cannot be read to its end.
type failing struct {
	given
	err error
}

func (f failing) All(ctx context.Context) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for o := range f.given.All(ctx) {
			if !yield(o, nil) {
				return
			}
		}
		yield(Object{}, f.err)
	}
}

func TestErrorsOfListing(t *testing.T) {
	one, two := content("a", 1, "end\n1\n"), content("b", 2, "end\n2\n")
	gone := &flow.ObjectError{Place: "s3://b/p", Fault: flow.Denied, Err: io.ErrClosedPipe}
	got := joined(t, Options{}, mustFormat("end"), failing{given{one}, gone}, given{two})
	diff(t, got, []string{"1", "! " + gone.Error(), "2"})
}
