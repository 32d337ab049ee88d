package cli

import (
	"log/slog"
	"strings"
	"testing"
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
