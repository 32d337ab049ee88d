package cli

import (
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"

	"ephemera/ingest"
)

// How often progress shows: on a terminal, where it appears only when there
// is something to wait for, and as lines in a log.
const (
	progressAfter = time.Second
	progressEvery = 200 * time.Millisecond
	progressLines = 30 * time.Second
)

// A state is how far reading has come, after some time.
type state struct {
	ingest.Stats
	after time.Duration
}

// share returns how much has been read, from 0 to 1; 0 when there is no
// telling.
func (s state) share() float64 {
	part := func(n, total float64) float64 {
		if total <= 0 {
			return 0
		}
		return min(1, n/total)
	}
	if s.TotalBytes > 0 {
		return part(float64(s.Bytes), float64(s.TotalBytes))
	}
	return part(float64(s.Objects), float64(s.TotalObjects))
}

// left estimates the time that is left, to the second; 0 when there is no
// telling.
func (s state) left() time.Duration {
	share := s.share()
	if share == 0 {
		return 0
	}
	left := float64(s.after) * (1 - share) / share
	return time.Duration(min(left, math.MaxInt64/2)).Round(time.Second)
}

// perSecond is the number of records read in a second.
func (s state) perSecond() int64 {
	return int64(float64(s.Records) / max(s.after.Seconds(), 0.001))
}

// String gives the state in words for a terminal.
func (s state) String() string {
	objects := fmt.Sprintf("%s objects", progress.FormatNumber(int64(s.Objects)))
	if s.TotalObjects > 0 {
		objects = fmt.Sprintf("%s of %s objects", progress.FormatNumber(int64(s.Objects)), progress.FormatNumber(int64(max(s.TotalObjects, s.Objects))))
	}
	parts := []string{
		objects, progress.FormatBytes(s.Bytes), progress.FormatNumber(s.Records) + " records",
		progress.FormatNumber(s.perSecond()) + " a second",
	}
	if left := s.left(); left > 0 {
		parts = append(parts, left.String()+" left")
	}
	return strings.Join(parts, ", ")
}

// attrs gives the state for a line in a log.
func (s state) attrs() []any {
	attrs := []any{"objects", s.Objects}
	if s.TotalObjects > 0 {
		attrs = append(attrs, "of", max(s.TotalObjects, s.Objects))
	}
	attrs = append(attrs, "bytes", s.Bytes, "records", s.Records, "records_per_second", s.perSecond())
	if left := s.left(); left > 0 {
		attrs = append(attrs, "left", left.String())
	}
	return attrs
}

// A display shows how far reading has come: drawn on a terminal, else as a
// line in the log every so often.
type display struct {
	err   io.Writer
	log   *slog.Logger
	after time.Duration // before it is drawn
	every time.Duration // between lines in the log

	mu    sync.Mutex
	drawn progress.Writer // nil unless it is drawn right now
}

// Write writes messages to the terminal above what is drawn there.
func (d *display) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.drawn == nil {
		return d.err.Write(p)
	}
	d.drawn.Log("%s", strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

// start shows what stats says until stop is called.
func (d *display) start(stats func() ingest.Stats, drawing bool) (stop func()) {
	cancel, done := make(chan struct{}), make(chan struct{})
	began := time.Now()
	now := func() state { return state{stats(), time.Since(began)} }
	go func() {
		defer close(done)
		if drawing {
			d.draw(now, cancel)
		} else {
			d.report(now, cancel)
		}
	}()
	return sync.OnceFunc(func() {
		close(cancel)
		<-done
	})
}

// report writes a line to the log every so often.
func (d *display) report(now func() state, cancel <-chan struct{}) {
	tick := time.NewTicker(d.every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			d.log.Info("reading", now().attrs()...)
		case <-cancel:
			return
		}
	}
}

// draw draws on the terminal, after a while.
func (d *display) draw(now func() state, cancel <-chan struct{}) {
	select {
	case <-time.After(d.after):
	case <-cancel:
		return
	}
	const whole = 1000
	// The line is removed at the end by hand: the cursor does not move back
	// for trackers with RemoveOnCompletion, so that each update adds a line.
	t := &progress.Tracker{Message: now().String(), Total: whole, AutoStopDisabled: true}
	w := d.newWriter()
	w.AppendTracker(t)
	rendered := make(chan struct{})
	go func() {
		defer close(rendered)
		w.Render()
	}()
	d.set(w)
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for drawing := true; drawing; {
		select {
		case <-tick.C:
			s := now()
			t.UpdateMessage(s.String())
			t.SetValue(int64(whole * s.share()))
		case <-cancel:
			drawing = false
		}
	}
	d.mu.Lock() // messages wait until the line is gone
	defer d.mu.Unlock()
	for drawing := true; drawing; {
		w.Stop() // does nothing as long as Render has not begun
		select {
		case <-rendered:
			drawing = false
		case <-time.After(progressEvery / 10):
		}
	}
	d.drawn = nil
	_, _ = io.WriteString(d.err, text.CursorUp.Sprint()+text.EraseLine.Sprint()) // as the library does
}

// newWriter makes what draws a bar with words on the terminal.
func (d *display) newWriter() progress.Writer {
	w := progress.NewWriter()
	w.SetOutputWriter(d.err)
	w.SetUpdateFrequency(progressEvery)
	w.SetTrackerPosition(progress.PositionLeft)
	w.SetTrackerLength(20)
	if f, ok := d.err.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			w.SetTerminalWidth(width)
		}
	}
	w.Style().Visibility.Time = false
	w.Style().Visibility.Value = false
	return w
}

func (d *display) set(w progress.Writer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drawn = w
}
