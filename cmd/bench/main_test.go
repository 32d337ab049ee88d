package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// script is a contestant that is a shell script.
func script(name, text string) *contestant {
	return &contestant{name: name, path: "/bin/sh", args: []string{"-c", text}, key: "answer"}
}

func TestAnswersAreCompared(t *testing.T) {
	dir := t.TempDir()
	writes := func(name, text string) *contestant {
		out := filepath.Join(dir, name)
		c := script(name, "mkdir "+out+"; echo "+text+" > "+filepath.Join(out, "x.csv"))
		c.answers = out
		return c
	}
	apart := script("d", "echo 3")
	apart.key = ""
	for _, test := range []struct {
		name        string
		contestants []*contestant
		want        string // in the error; empty means none
	}{
		{"equal lines", []*contestant{script("a", "echo 1"), script("b", "echo 1")}, ""},
		{"other lines", []*contestant{script("a", "echo 1"), script("b", "echo 2")}, "answers"},
		{"equal files", []*contestant{writes("a", "1"), writes("b", "1")}, ""},
		{"other files", []*contestant{writes("a", "1"), writes("b", "2")}, "x.csv"},
		{"no key", []*contestant{script("a", "echo 1"), apart}, ""},
		{"failure", []*contestant{script("a", "echo oops >&2; exit 3")}, "oops"},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := &group{name: "g", contestants: test.contestants}
			b := &bench{progress: io.Discard}
			for round := range 2 {
				err := g.run(t.Context(), b, round)
				if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want %q", err, test.want)
				}
			}
		})
	}
}

func TestRunsAreMeasured(t *testing.T) {
	c := script("busy", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")
	u, _, err := c.run(t.Context())
	if err != nil || u.cpu <= 0 || u.wall <= 0 || u.memory < 100<<10 || u.memory > 1<<30 {
		t.Errorf("got %+v, %v", u, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if _, _, err := (&contestant{path: "/bin/sleep", args: []string{"60"}}).run(ctx); err == nil || time.Since(begin) > 30*time.Second {
		t.Errorf("a run goes on after it was stopped: %v", err)
	}
}

func TestTable(t *testing.T) {
	run := func(cpu, wall time.Duration, mb int64) usage { return usage{cpu, wall, mb << 20} }
	g := &group{name: "g", title: "T", contestants: []*contestant{
		{name: "a", runs: []usage{run(4*time.Second, 2*time.Second, 30), run(3*time.Second, time.Second, 10), run(9*time.Second, 3*time.Second, 20)}},
		{name: "b", runs: []usage{run(time.Second, time.Second, 10), run(3*time.Second, 3*time.Second, 10)}},
	}}
	var out strings.Builder
	if err := g.print(&out); err != nil {
		t.Fatal(err)
	}
	const want = `
### T (g)

| | CPU s | wall s | peak MB | CPU | wall | peak |
|---|---|---|---|---|---|---|
| a | 4.00 (3.00-9.00) | 2.00 (1.00-3.00) | 20 (10-30) | 2.00x | 1.00x | 2.00x |
| b | 2.00 (1.00-3.00) | 2.00 (1.00-3.00) | 10 (10-10) | 1.00x | 1.00x | 1.00x |
`
	if out.String() != want {
		t.Errorf("got %s\nwant %s", out.String(), want)
	}
}

func TestGroupsAreChosen(t *testing.T) {
	b := &bench{programs: "bin", data: "data", only: regexp.MustCompile("ask|history")}
	groups, err := b.chosen()
	if err != nil || len(groups) != 4 {
		t.Fatalf("got %d groups, %v", len(groups), err)
	}
	for _, g := range groups {
		if len(g.contestants) != 2 || len(g.logs) != 1 {
			t.Errorf("%s: %d contestants, %d logs", g.name, len(g.contestants), len(g.logs))
		}
	}
	b.only = regexp.MustCompile("nothing")
	if _, err := b.chosen(); err == nil || !strings.Contains(err.Error(), "ask-default") {
		t.Errorf("got %v, want an error that names the groups", err)
	}
}

// A log that is there is not written again.
func TestLogsAreWrittenOnce(t *testing.T) {
	dir := t.TempDir()
	programs := filepath.Join(dir, "bin")
	if err := os.MkdirAll(programs, 0o755); err != nil {
		t.Fatal(err)
	}
	text := "#!/bin/sh\necho \"$@\" >> " + filepath.Join(dir, "calls") + "\nfor last; do :; done\nmkdir -p \"$last\"\n"
	if err := os.WriteFile(filepath.Join(programs, "generate"), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	b := &bench{programs: programs, data: filepath.Join(dir, "data"), records: 1000, only: regexp.MustCompile("default|history"), progress: io.Discard}
	for range 2 {
		groups, err := b.chosen()
		if err != nil {
			t.Fatal(err)
		}
		if err := b.writeLogs(t.Context(), groups); err != nil {
			t.Fatal(err)
		}
	}
	calls, err := os.ReadFile(filepath.Join(dir, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	want := "-records 1000 -duration 1440m -format default " + b.dir("default") + ".unfinished\n" +
		"-records 1400 -duration 10080m -format default " + b.dir("week") + ".unfinished\n"
	if string(calls) != want {
		t.Errorf("got\n%swant\n%s", calls, want)
	}
}
