package report

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ephemera/analyze"
)

// All files at once are what each is alone.
func TestFiles(t *testing.T) {
	for name, r := range map[string]*analyze.Result{"fixture": fixture(), "hostile": hostileResult()} {
		want := writeCSV(t, r)
		want["report.html"], want["report.json"] = render(t, WriteHTML, r), render(t, WriteJSON, r)
		dir := filepath.Join(t.TempDir(), "new")
		if err := Everything(dir).Write(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
			if got := readAll(t, filepath.Join(dir, e.Name())); string(got) != string(want[e.Name()]) {
				t.Errorf("%s: %s is another one than alone", name, e.Name())
			}
		}
		if all := slices.Sorted(maps.Keys(want)); !slices.Equal(names, all) {
			t.Errorf("%s: got %q, want %q", name, names, all)
		}
	}
}

func TestFilesErrors(t *testing.T) {
	dir := t.TempDir()
	occupied, page := filepath.Join(dir, "rejects.csv"), filepath.Join(dir, "page")
	if err := os.MkdirAll(filepath.Join(occupied, "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	for _, c := range []struct {
		ctx   context.Context
		files Files
		want  string
	}{
		{t.Context(), Files{CSV: dir, JSON: filepath.Join(dir, "report.json")}, "rejects.csv"},
		{t.Context(), Files{HTML: page, JSON: page}, page + ": one file cannot be the HTML and the JSON"},
		{t.Context(), Files{HTML: filepath.Join(dir, "none", "report.html")}, "report.html"},
		{stopped, Everything(filepath.Join(dir, "stopped")), context.Canceled.Error()},
	} {
		if err := c.files.Write(c.ctx, fixture()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v, want an error with %q", c.files, err, c.want)
		}
	}
	if _, err := os.Stat(page); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s: %v, want none", page, err)
	}
}
