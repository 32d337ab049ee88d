package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ephemera/analyze"
	"ephemera/analyze/report"
)

// Each drawing takes the place of the one before, and the last is taken away:
// once, every update added a line.
func TestProgressIsDrawnInPlace(t *testing.T) {
	var out lockedBuffer
	d := &display{err: &out}
	d.log = slog.New(slog.NewTextHandler(d, nil))
	stop := d.start(growing(), true)
	out.eventually(t, "of 1.00M objects")
	d.log.Warn("first")
	out.eventually(t, "first")
	stop()
	d.log.Warn("second")
	var lines []string // of the terminal
	for _, line := range strings.SplitAfter(out.String(), "\n") {
		for strings.HasPrefix(line, "\x1b[A\x1b[K") && len(lines) > 0 {
			line, lines = strings.TrimPrefix(line, "\x1b[A\x1b[K"), lines[:len(lines)-1]
		}
		if line = strings.ReplaceAll(line, "\x1b[K", ""); line != "" {
			lines = append(lines, line)
		}
	}
	got := strings.Join(lines, "")
	if want := "level=WARN msg=first\nlevel=WARN msg=second\n"; withoutTimes(got) != want {
		t.Errorf("on the terminal stands %q, want %q", got, want)
	}
}

// withoutTimes leaves the times out of lines of a log.
func withoutTimes(log string) string {
	var b strings.Builder
	for line := range strings.Lines(log) {
		if strings.HasPrefix(line, "time=") {
			_, line, _ = strings.Cut(line, " ")
		}
		b.WriteString(line)
	}
	return b.String()
}

// Whoever interrupts the program while it writes gets no report, and is told
// so. Once, it was too late for that when everything had been read.
func TestInterruptedReports(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	dir := t.TempDir()
	var out bytes.Buffer
	for _, f := range []analyzeFlags{{}, {out: dir}, {csv: dir}, {html: filepath.Join(dir, "x.html")}, {json: filepath.Join(dir, "x.json")}, {json: "-"}} {
		if err := f.write(ctx, &analyze.Result{}, Streams{Out: &out}); !errors.Is(err, context.Canceled) {
			t.Errorf("%+v: got error %v, want that it was cancelled", f, err)
		}
	}
	name := filepath.Join(dir, "x.json")
	err := report.ReplaceFile(name, func(w io.Writer) error { return report.WriteJSON(report.Interruptible(ctx, w), &analyze.Result{}) })
	files, _ := os.ReadDir(dir)
	if !errors.Is(err, context.Canceled) || len(files) > 0 || out.Len() > 0 {
		t.Errorf("got %v, %d files and %q, want nothing", err, len(files), out.String())
	}
}

func TestInterruptedIsSaid(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	var err bytes.Buffer
	code := Main(ctx, []string{"analyze", article}, Streams{In: strings.NewReader(""), Out: io.Discard, Err: &err})
	if want := "ephemera: interrupted\n"; code != ExitFailed || err.String() != want {
		t.Errorf("got %d, %q, want %d, %q", code, err.String(), ExitFailed, want)
	}
}

// With --log-format json, the error that the program ends with is a line of
// JSON like all others on stderr.
func TestLastErrorInJSON(t *testing.T) {
	for _, args := range [][]string{
		{"analyze", "--log-format", "json", "/nonexistent"},
		{"analyze", "--log-format", "json", "--jobs", "-1", article},
		{"analyze", "--log-format", "json", "--json", filepath.Join(t.TempDir(), "x"), "--fail-on", "ambiguous", article},
	} {
		var out bytes.Buffer
		code := Main(t.Context(), args, Streams{In: strings.NewReader(""), Out: io.Discard, Err: &out})
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		var last struct{ Level, Msg string }
		for _, line := range lines {
			if err := json.Unmarshal([]byte(line), &last); err != nil {
				t.Errorf("%v: %q: %v", args, line, err)
			}
		}
		if code == ExitDone || last.Level != "ERROR" || last.Msg == "" {
			t.Errorf("%v: got code %d and %+v at the end, want an error", args, code, last)
		}
	}
}
