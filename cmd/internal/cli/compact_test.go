package cli

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ephemera/ingest"
	generated "ephemera/ingest/traffic"
)

// everyTable analyses logs, and returns everything that is written, by name.
func everyTable(t *testing.T, args ...string) map[string]string {
	t.Helper()
	out := t.TempDir()
	run(t, append([]string{"analyze", "--csv", out, "--json", filepath.Join(out, "report.json")}, args...)...)
	all := map[string]string{}
	for _, name := range filesBelow(t, out) {
		b, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(b)
	}
	return all
}

// filesBelow lists the files below a directory, in order.
func filesBelow(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			rel, _ := filepath.Rel(dir, p)
			names = append(names, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func sameTables(t *testing.T, name string, got, want map[string]string) {
	t.Helper()
	for table := range want {
		if got[table] != want[table] {
			g, w := strings.Split(got[table], "\n"), strings.Split(want[table], "\n")
			for i := range min(len(g), len(w)) {
				if g[i] != w[i] {
					t.Errorf("%s: %s differs in line %d: got %.300s, want %.300s", name, table, i+1, g[i], w[i])
					break
				}
			}
			if len(g) != len(w) {
				t.Errorf("%s: %s has %d lines, want %d", name, table, len(g), len(w))
			}
		}
	}
}

// The report over digests of hours and days is the report over the logs, and
// so is that over digests of digests.
func TestCompactedDigestsTellTheSame(t *testing.T) {
	article := filepath.Join("..", "..", "..", "testdata", "article")
	cases := map[string]struct{ logs, network string }{
		"article": {filepath.Join(article, "logs"), filepath.Join(article, "config")},
	}
	records := 60_000
	if testing.Short() {
		records = 20_000
	}
	for _, format := range []generated.Format{generated.Default, generated.Custom29} {
		dir := t.TempDir()
		c := generated.Config{Seed: 3, Records: records, Duration: 130 * time.Minute, Format: format, Start: time.Date(2026, 11, 22, 22, 30, 0, 0, time.UTC)}
		if _, err := generated.Write(dir, c); err != nil {
			t.Fatal(err)
		}
		cases["generated "+format.String()] = struct{ logs, network string }{filepath.Join(dir, "AWSLogs"), filepath.Join(dir, "config")}
	}
	if testing.Short() {
		delete(cases, "generated "+generated.Custom29.String())
	}
	for name, c := range cases {
		hours, days, daysOfHours := t.TempDir(), t.TempDir(), t.TempDir()
		run(t, "digest", "--per", "hour", c.logs, "--out", hours)
		run(t, "digest", "--per", "day", c.logs, "--out", days)
		run(t, "digest", "--per", "day", hours, "--out", daysOfHours)
		for _, network := range [][]string{nil, {"--network", c.network}} {
			want := everyTable(t, append(network, c.logs)...)
			for kind, dir := range map[string]string{"hours": hours, "days": days, "days of hours": daysOfHours} {
				sameTables(t, name+", "+kind+", "+strings.Join(network, " "), everyTable(t, append(network, dir)...), want)
			}
		}
		if name == "article" {
			continue
		}
		if h, d := len(filesBelow(t, hours)), len(filesBelow(t, days)); h != 3 || d != 2 {
			t.Errorf("%s: %d digests of hours and %d of days, want 3 and 2", name, h, d)
		}
		logs, err := ingest.Open([]string{days}, ingest.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if !logs.Ordered() {
			t.Errorf("%s: digests of days are in no order", name)
		}
		hour := []string{"--from", "2026-11-22T23:00:00Z", "--to", "2026-11-23T00:00:00Z"}
		sameTables(t, name+", an hour of a day", everyTable(t, append(hour, days)...), everyTable(t, append(hour, c.logs)...))
	}
}

// --from and --to choose whole days, which are those of all logs.
func TestCompactChoosesWholeDays(t *testing.T) {
	logs, all, some := t.TempDir(), t.TempDir(), t.TempDir()
	traffic{perHour: 60, begin: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)}.write(t, logs, 48)
	run(t, "digest", "--per", "day", logs, "--out", all)
	run(t, "digest", "--per", "day", "--from", "2026-11-02T10:00:00Z", "--to", "2026-11-02T11:00:00Z", logs, "--out", some)
	got, want := filesBelow(t, some), filesBelow(t, all)
	if len(want) != 3 || !slices.Equal(got, want[1:2]) {
		t.Errorf("got %q, want the second of %q", got, want)
	}
}

// A digest that tells more than the new one stays; one that tells less goes.
func TestCompactKeepsWhatTellsMore(t *testing.T) {
	logs, out := t.TempDir(), t.TempDir()
	g := traffic{perHour: 60}
	g.write(t, logs, 2)
	removed := filepath.Join(logs, filepath.FromSlash(g.key(3)))
	content, err := os.ReadFile(removed)
	if err != nil {
		t.Fatal(err)
	}
	compact := func() []string {
		run(t, "digest", "--per", "hour", logs, "--out", out)
		return filesBelow(t, out)
	}
	whole := compact()
	if err := os.Remove(removed); err != nil {
		t.Fatal(err)
	}
	if got := compact(); !slices.Equal(got, whole) {
		t.Errorf("with an object less: got %q, want %q", got, whole)
	}
	if err := os.RemoveAll(out); err != nil {
		t.Fatal(err)
	}
	part := compact()
	writeFile(t, removed, content)
	if got := compact(); !slices.Equal(got, whole) || slices.Equal(part, whole) {
		t.Errorf("with the object again: got %q, want %q", got, whole)
	}
}

// Objects that cannot be read are told by the digests.
func TestCompactTellsWhatIsDamaged(t *testing.T) {
	logs, out := t.TempDir(), t.TempDir()
	g := traffic{perHour: 60}
	g.write(t, logs, 2)
	writeFile(t, filepath.Join(logs, filepath.FromSlash(g.key(3))), asText(t, append(g.object(3), "bad line", "another")))
	damaged := asText(t, g.object(5))
	writeFile(t, filepath.Join(logs, filepath.FromSlash(g.key(5))), damaged[:len(damaged)-20])
	run(t, "digest", "--per", "hour", logs, "--out", out)
	sameTables(t, "damaged", everyTable(t, out), everyTable(t, logs))
	again := t.TempDir()
	run(t, "digest", "--per", "day", out, "--out", again)
	sameTables(t, "damaged, of digests", everyTable(t, again), everyTable(t, logs))
}

func TestCompactRefuses(t *testing.T) {
	logs, unnamed := t.TempDir(), t.TempDir()
	traffic{perHour: 60}.write(t, logs, 1)
	writeFile(t, filepath.Join(unnamed, "flow.log.gz"), asText(t, traffic{perHour: 60}.object(0)))
	for want, args := range map[string][]string{
		"hour or day":       {"--per", "week", logs, "--out", t.TempDir()},
		"always made anew":  {"--per", "day", "--again", logs, "--out", t.TempDir()},
		"another place":     {"--per", "day", logs, "--out", filepath.Join(logs, "days")},
		"keep every port":   {"--control-port", "2121", logs, "--out", t.TempDir()},
		"come in any order": {"--per", "day", unnamed, "--out", t.TempDir()},
		"standard input":    {"--per", "day", "-", "--out", t.TempDir()},
	} {
		var out, errs bytes.Buffer
		code := Main(t.Context(), append([]string{"digest"}, args...), Streams{In: strings.NewReader(""), Out: &out, Err: &errs})
		if code == ExitDone || !strings.Contains(errs.String(), want) {
			t.Errorf("%v: exit code %d and %s, want an error with %q", args, code, &errs, want)
		}
	}
}
