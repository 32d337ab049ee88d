package cli

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const article = "../../../testdata/article"

// run runs the program and returns what it printed.
func run(t *testing.T, args ...string) (stdout string) {
	t.Helper()
	var out, errs bytes.Buffer
	if code := Main(context.Background(), args, Streams{In: strings.NewReader(""), Out: &out, Err: &errs}); code != ExitDone {
		t.Fatalf("ephemera %s: exit code %d\n%s", strings.Join(args, " "), code, errs.String())
	}
	return out.String()
}

// reports analyses a directory of logs and returns every file of --out.
func reports(t *testing.T, logs string, args ...string) map[string]string {
	t.Helper()
	out := t.TempDir()
	run(t, append([]string{"analyze", "--network", filepath.Join(article, "config"), "--out", out, logs}, args...)...)
	files := map[string]string{}
	entries, err := os.ReadDir(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(out, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(b)
	}
	return files
}

func sameReports(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d files, want %d", what, len(got), len(want))
	}
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s: %s differs: %d bytes, want %d", what, name, len(got[name]), len(want[name]))
		}
	}
}

func TestJobsChangeNothing(t *testing.T) {
	want := reports(t, filepath.Join(article, "logs"), "--jobs", "1")
	for jobs := 2; jobs <= 8; jobs++ {
		sameReports(t, fmt.Sprintf("--jobs %d", jobs), reports(t, filepath.Join(article, "logs"), "--jobs", fmt.Sprint(jobs)), want)
	}
}

func TestSplittingAndShufflingChangeNothing(t *testing.T) {
	want := reports(t, filepath.Join(article, "logs"))
	header, lines := articleLines(t)
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 7))
		rng.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
		dir := t.TempDir()
		files := 1 + rng.IntN(12)
		for k := range files {
			part := lines[k*len(lines)/files : (k+1)*len(lines)/files]
			writeLog(t, filepath.Join(dir, fmt.Sprintf("part-%d-%d", rng.IntN(1000), k)), header, part, rng.IntN(2) == 0)
		}
		jobs := fmt.Sprint(1 + rng.IntN(8))
		sameReports(t, fmt.Sprintf("seed %d: %d files, --jobs %s", seed, files, jobs), reports(t, dir, "--jobs", jobs), want)
	}
}

// articleLines returns the header and the records of the shipped logs.
func articleLines(t *testing.T) (header string, lines []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(article, "logs"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if _, err := b.ReadFrom(z); err != nil {
			return err
		}
		all := strings.Split(strings.TrimSpace(b.String()), "\n")
		header, lines = all[0], append(lines, all[1:]...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(lines) < 100 {
		t.Fatalf("only %d records in %s", len(lines), article)
	}
	return header, lines
}

// writeLog writes a flow log, as text or in two gzip members.
func writeLog(t *testing.T, name, header string, lines []string, zip bool) {
	t.Helper()
	var b bytes.Buffer
	half := len(lines) / 2
	for _, part := range [][]string{append([]string{header}, lines[:half]...), lines[half:]} {
		if len(part) == 0 {
			continue
		}
		text := strings.Join(part, "\n") + "\n"
		if !zip {
			b.WriteString(text)
			continue
		}
		z := gzip.NewWriter(&b)
		if _, err := z.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}
