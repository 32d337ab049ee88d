package cli

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ephemera/ingest"
	"ephemera/ingest/flow"
)

func TestState(t *testing.T) {
	for _, c := range []struct {
		stats ingest.Stats
		after time.Duration
		share float64
		want  string
	}{
		{ingest.Stats{}, 0, 0, "0 objects, 0B, 0 records, 0 a second"},
		{ingest.Stats{Objects: 5, Bytes: 1500, Records: 4_000_000}, 2 * time.Second, 0, "5 objects, 1.50KB, 4.00M records, 2.00M a second"},
		{ingest.Stats{Objects: 5, Bytes: 250, Records: 90, TotalObjects: 20, TotalBytes: 1000}, 30 * time.Second, 0.25, "5 of 20 objects, 250B, 90 records, 3 a second, 1m30s left"},
		{ingest.Stats{Objects: 6, Records: 10, TotalObjects: 24}, time.Second, 0.25, "6 of 24 objects, 0B, 10 records, 10 a second, 3s left"},
		{ingest.Stats{Objects: 30, Bytes: 1200, TotalObjects: 20, TotalBytes: 1000}, time.Second, 1, "30 of 30 objects, 1.20KB, 0 records, 0 a second"},
	} {
		s := state{c.stats, c.after}
		if got := s.share(); got != c.share {
			t.Errorf("%+v: got share %v, want %v", c.stats, got, c.share)
		}
		if got := s.String(); got != c.want {
			t.Errorf("%+v: got %q, want %q", c.stats, got, c.want)
		}
	}
}

// lockedBuffer is a writer that the test reads while others write.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// eventually waits until the buffer holds the words.
func (b *lockedBuffer) eventually(t *testing.T, words string) {
	t.Helper()
	for range 1000 {
		if strings.Contains(b.String(), words) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("%q does not come in:\n%q", words, b)
}

func growing() func() ingest.Stats {
	var n atomic.Int64
	return func() ingest.Stats {
		return ingest.Stats{Objects: int(n.Add(1)), Records: 10 * n.Load(), TotalObjects: 1_000_000}
	}
}

func TestProgressInALog(t *testing.T) {
	var out lockedBuffer
	d := &display{err: &out, every: time.Millisecond}
	d.log = slog.New(slog.NewTextHandler(d, nil))
	stop := d.start(growing(), false)
	out.eventually(t, "msg=reading objects=3 of=1000000 bytes=0 records=30 records_per_second=")
	stop()
	stop() // as often as one likes
	if before := out.String(); strings.Contains(before, "\x1b") {
		t.Errorf("a log with escape sequences: %q", before)
	}
}

// Drawing keeps messages, above what is drawn, and ends with what stop left.
func TestProgressOnATerminal(t *testing.T) {
	var out lockedBuffer
	d := &display{err: &out}
	d.log = slog.New(slog.NewTextHandler(d, nil))
	stop := d.start(growing(), true)
	out.eventually(t, "of 1.00M objects")
	d.log.Warn("something happened")
	out.eventually(t, "something happened")
	stop()
	fmt.Fprintln(d, "afterwards")
	if got := out.String(); !strings.HasSuffix(got, "afterwards\n") || strings.Count(got, "something happened") != 1 {
		t.Errorf("got %q", got)
	}
}

// What is over at once shows nothing.
func TestProgressOfAShortRun(t *testing.T) {
	for _, drawing := range []bool{true, false} {
		var out lockedBuffer
		d := &display{err: &out, after: progressAfter, every: progressLines}
		d.log = slog.New(slog.NewTextHandler(d, nil))
		d.start(growing(), drawing)()
		if out.String() != "" {
			t.Errorf("drawing %t: got %q, want nothing", drawing, out.String())
		}
	}
}

// Progress ends with the stream, also where its reader leaves early.
func TestProgressEndsWithTheStream(t *testing.T) {
	var out lockedBuffer
	d := &display{err: &out, every: time.Millisecond}
	d.log = slog.New(slog.NewTextHandler(d, nil))
	set := &settings{display: d}
	endless := func(yield func(*flow.Record, error) bool) {
		for yield(&flow.Record{}, nil) {
		}
	}
	for range set.shown(endless, growing()) {
		if strings.Contains(out.String(), "msg=reading") {
			break
		}
	}
	before := out.String()
	time.Sleep(20 * time.Millisecond)
	if after := out.String(); after != before {
		t.Errorf("lines come behind the end: %q", after[len(before):])
	}
}
