package cli

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	generated "ephemera/ingest/traffic"
)

// digested makes digests of places, and returns the directory of them.
func digested(t *testing.T, args ...string) string {
	t.Helper()
	out := t.TempDir()
	run(t, append([]string{"digest", "-q", "--out", out}, args...)...)
	return out
}

// printed runs the program and returns its exit code and what it printed.
func printed(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	code := Main(context.Background(), args, Streams{In: strings.NewReader(""), Out: &out, Err: &errs})
	return fmt.Sprintf("exit code %d\n%s", code, out.String())
}

// mixedLogs writes what a bucket may hold: text, packed or not, Parquet, bad
// lines, objects cut short, something else, and nothing at all. The names are
// AWS's, or not.
func mixedLogs(t *testing.T, seed uint64, named bool) string {
	t.Helper()
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(seed, 12))
	g := traffic{perHour: 2400}
	for n := range 8 {
		lines := g.object(n)
		for range rng.IntN(9) {
			at := rng.IntN(len(lines))
			lines[at] = []string{"no flow log", strings.Replace(lines[at], " 6 ", " 999 ", 1), lines[at] + " more", "5 1 eni-0a - - - - - - - 1793491200 1793491260 - NODATA - - - - - -"}[rng.IntN(4)]
		}
		name := fmt.Sprintf("object-%d", n)
		if named {
			name = g.key(n)
		}
		name = filepath.Join(dir, filepath.FromSlash(name))
		content := asText(t, lines)
		switch n % 8 {
		case 2, 5:
			content = inParquet(t, g.object(n))
		case 3:
			content = content[:len(content)*2/3]
		case 4:
			content = []byte(trafficHeader + "\n" + strings.Join(lines, "\n")) // without an end of the last line
		case 6:
			content = content[:8+rng.IntN(12)]
		}
		writeFile(t, name, content)
	}
	writeFile(t, filepath.Join(dir, "notes.txt"), []byte("this is no flow log"))
	writeFile(t, filepath.Join(dir, "lean.log"), []byte("interface-id pkt-srcaddr pkt-dstaddr srcport dstport packets action\neni-1 10.0.1.5 203.0.113.10 40000 21 9 ACCEPT\n"))
	return dir
}

// inParquet is an object in Parquet with the columns of the traffic.
func inParquet(t *testing.T, lines []string) []byte {
	t.Helper()
	names := strings.Fields(trafficHeader)
	group := parquet.Group{}
	for _, n := range names {
		group[strings.ReplaceAll(n, "-", "_")] = parquet.Optional(parquet.String())
	}
	schema := parquet.NewSchema("flow", group)
	columns := map[string]int{}
	for i, c := range schema.Columns() {
		columns[strings.ReplaceAll(c[0], "_", "-")] = i
	}
	var b bytes.Buffer
	w := parquet.NewGenericWriter[any](&b, schema)
	for _, line := range lines {
		row := make(parquet.Row, len(names))
		for i, v := range strings.Fields(line) {
			k := columns[names[i]]
			row[k] = parquet.ValueOf(v).Level(0, 1, k)
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

// The report over digests is the report over the flow logs: in every file, with
// and without the network's rules, for digests that were made by any number of
// workers, in two runs, or of digests.
func TestDigestsChangeNothing(t *testing.T) {
	made := t.TempDir()
	if _, err := generated.Write(made, generated.Config{Seed: 2, Records: 20_000, Duration: 10 * time.Minute}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, logs string }{
		{"article", filepath.Join(article, "logs")},
		{"generated", filepath.Join(made, "AWSLogs")},
		{"mixed", mixedLogs(t, 1, false)},
		{"mixed, AWS's names", mixedLogs(t, 2, true)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if testing.Short() && c.name != "article" && c.name != "mixed, AWS's names" {
				t.Skip("the others tell as much of races")
			}
			want, plain := reports(t, c.logs), plainReports(t, c.logs)
			first := digested(t, "--jobs", "1", c.logs)
			sameFiles(t, digested(t, "--jobs", "8", c.logs), first)
			for what, dir := range map[string]string{
				"digests": first, "digests of digests": digested(t, first), "halves": halves(t, c.logs),
			} {
				sameReports(t, what, reports(t, dir, "--jobs", "3"), want)
				sameReports(t, what+", without rules", plainReports(t, dir), plain)
			}
		})
	}
}

// plainReports are the files of an analysis without the network's rules.
func plainReports(t *testing.T, logs string) map[string]string {
	t.Helper()
	out := t.TempDir()
	run(t, "analyze", "-q", "--out", out, logs)
	return files(t, out)
}

// files are those below dir, by name.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		all[strings.TrimPrefix(name, dir)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func sameFiles(t *testing.T, got, want string) {
	t.Helper()
	sameReports(t, "the digests", files(t, got), files(t, want))
}

// halves makes digests in two runs of half of the files each, and one of them
// again.
func halves(t *testing.T, logs string) string {
	t.Helper()
	out := t.TempDir()
	var parts [2][]string
	for name := range files(t, logs) {
		k := len(parts[0]) % 2
		if len(parts[0]) > len(parts[1]) {
			k = 1
		}
		parts[k] = append(parts[k], logs+name)
	}
	for _, part := range [][]string{parts[0], parts[1], parts[0]} {
		if len(part) == 0 {
			continue
		}
		run(t, append([]string{"digest", "-q", "--out", out}, part...)...)
	}
	return out
}

// What other commands say of digests is what they say of the flow logs.
func TestDigestsForOtherCommands(t *testing.T) {
	logs, config := filepath.Join(article, "logs"), filepath.Join(article, "config")
	dir := digested(t, logs)
	for _, args := range [][]string{
		{"rules", "-q", "--network", config, "SOURCE"},
		{"rules", "-q", "--network", config, "--as", "json", "SOURCE"},
		{"explain", "-q", "--network", config, "10.0.1.11,203.0.113.10:21", "SOURCE"},
		{"explain", "-q", "10.0.1.11,203.0.113.10:21", "SOURCE"},
		{"analyze", "-q", "--network", config, "SOURCE"},
		{"analyze", "-q", "--from", "2026-11-22T18:00:40Z", "--to", "2026-11-22T18:01:10Z", "SOURCE"},
		{"analyze", "-q", "--fail-on", "nacl-reject", "--network", config, "SOURCE"},
	} {
		with := func(source string) string {
			all := append([]string{}, args...)
			for i := range all {
				if all[i] == "SOURCE" {
					all[i] = source
				}
			}
			return printed(t, all...)
		}
		if got, want := with(dir), with(logs); got != want || len(want) < 100 {
			t.Errorf("%s over digests gives\n%.1000s\nwant\n%.1000s", strings.Join(args, " "), got, want)
		}
	}
}
