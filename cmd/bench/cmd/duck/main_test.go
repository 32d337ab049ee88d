package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ephemera/cmd/bench/questions"
	"ephemera/ingest/traffic"
)

// Both sides of the benchmark answer the same, byte for byte, from every
// format, and whether DuckDB reads the logs once or for each question.
func TestAnswersAreThoseOfQuestions(t *testing.T) {
	for f := traffic.Default; f <= traffic.Parquet; f++ {
		t.Run(f.String(), func(t *testing.T) {
			dir := t.TempDir()
			if _, err := traffic.Write(dir, traffic.Config{Seed: 9, Records: 20_000, Duration: 20 * time.Minute, Format: f}); err != nil {
				t.Fatal(err)
			}
			logs, subnets := filepath.Join(dir, "AWSLogs"), filepath.Join(dir, "config", "interfaces.csv")
			files, line := asked(t, logs, subnets)
			for _, question := range []string{"ask", "aggregate", "all"} {
				out := t.TempDir()
				var stdout, stderr strings.Builder
				args := []string{question, "--format", f.String(), "--subnets", subnets, "--out", out, logs}
				if err := run(t.Context(), args, &stdout, &stderr); err != nil {
					t.Fatal(err)
				}
				if question != "aggregate" {
					same(t, question, readAll(t, out), files)
				}
				if question != "ask" && stdout.String() != line {
					t.Errorf("%s: got %swant %s", question, stdout.String(), line)
				}
			}
		})
	}
}

// asked returns the answers of package questions.
func asked(t *testing.T, logs, subnets string) (files map[string]string, line string) {
	t.Helper()
	out := t.TempDir()
	var stdout strings.Builder
	for _, mode := range []questions.Mode{questions.Ask, questions.Aggregate} {
		if err := questions.Run(t.Context(), questions.Options{Logs: logs, Subnets: subnets, Mode: mode, Out: out, Stdout: &stdout}); err != nil {
			t.Fatal(err)
		}
	}
	return readAll(t, out), stdout.String()
}

func readAll(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, name := range []string{"sessions.csv", "rejects.csv", "demand.csv"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(string(text), "\n") < 10 {
			t.Errorf("%s has few rows: %s", name, text)
		}
		files[name] = string(text)
	}
	return files
}

func same(t *testing.T, question string, got, want map[string]string) {
	t.Helper()
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s: %s differs:\n%.300s\nwant\n%.300s", question, name, got[name], want[name])
		}
	}
}

func TestArgumentsAreChecked(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"", "no question"},
		{"guess logs", `"guess" is no question`},
		{"ask", "0 places"},
		{"ask --format xml logs", `"xml" is no format`},
	} {
		var stdout, stderr strings.Builder
		if err := run(t.Context(), strings.Fields(test.args), &stdout, &stderr); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: got %v, want %s", test.args, err, test.want)
		}
	}
}
