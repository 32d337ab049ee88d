package alert

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ephemera/analyze"
	"ephemera/ingest"
	"ephemera/rules"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const articleDir = "../../../testdata/article"

// article analyses the shipped case, with its rules if they are to be known.
func article(t *testing.T, known bool) *analyze.Result {
	t.Helper()
	objects, err := ingest.Find([]string{articleDir + "/logs"}, ingest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var o analyze.Options
	if known {
		if o.Network, err = rules.ReadDir(articleDir + "/config"); err != nil {
			t.Fatal(err)
		}
	}
	r, err := analyze.Run(ingest.Join(ingest.Options{}, objects).Records(t.Context()), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func TestArticle(t *testing.T) {
	for _, test := range []struct {
		name  string
		known bool
	}{{"article", true}, {"article-without-rules", false}} {
		t.Run(test.name, func(t *testing.T) { compare(t, test.name, find(t, article(t, test.known))) })
	}
}

func find(t *testing.T, r *analyze.Result) []Alert {
	t.Helper()
	as, err := Find(r)
	if err != nil {
		t.Fatal(err)
	}
	return as
}

// compare compares alerts with a golden file.
func compare(t *testing.T, name string, as []Alert) {
	t.Helper()
	var b strings.Builder
	for _, a := range as {
		fmt.Fprintf(&b, "Subject: %s\n\n%s\n", a.Subject, a.Text)
	}
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
