package alert

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ephemera/analyze"
	"ephemera/ingest/flow"
)

// memory are Marks with S3's rule: a write on condition of a version is
// refused when that is not the mark's. Fault, if set, says what goes wrong
// with each call.
type memory struct {
	fault func() fault

	mu       sync.Mutex
	marks    map[string]version
	versions int
	delayed  []func() // writes that are still on their way
}

type version struct {
	body    []byte
	version string
}

// A fault is what goes wrong with a call.
type fault int

const (
	works   fault = iota
	refuses       // with an error that is sure
	lost          // before it was carried out, with an error that is not
	silent        // carried out, with an error that is not sure
	late          // carried out after others, with an error that is not sure
	dies          // the run crashes before it was carried out
	diesAfter
	faults
)

var errLost = errors.New("no answer")

// crash is what a run panics with.
type crash struct{}

func (m *memory) next() fault {
	if m.fault == nil {
		return works
	}
	return m.fault()
}

func (m *memory) Write(_ context.Context, id string, body []byte, old string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.delayed) > 0 && m.next() == late {
		for _, write := range m.delayed {
			write()
		}
		m.delayed = nil
	}
	switch f := m.next(); f {
	case lost, refuses:
		return "", errLost
	case late:
		m.delayed = append(m.delayed, func() { m.write(id, body, old) })
		return "", errLost
	case dies:
		panic(crash{})
	default:
		now := m.write(id, body, old)
		switch f {
		case silent:
			return "", errLost
		case diesAfter:
			panic(crash{})
		}
		return now, nil
	}
}

func (m *memory) write(id string, body []byte, old string) string {
	if m.marks == nil {
		m.marks = map[string]version{}
	}
	if m.marks[id].version != old {
		return ""
	}
	m.versions++
	m.marks[id] = version{bytes.Clone(body), strconv.Itoa(m.versions)}
	return m.marks[id].version
}

func (m *memory) Read(_ context.Context, id string) ([]byte, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch m.next() {
	case lost:
		return nil, "", errLost
	case dies:
		panic(crash{})
	}
	return m.marks[id].body, m.marks[id].version, nil
}

// of returns the state of a mark, and the number of its attempt.
func (m *memory) of(t *testing.T, id string) string {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.marks[id].body == nil {
		return "none"
	}
	var k struct {
		state
		Alert struct{ ID string }
	}
	if err := json.Unmarshal(m.marks[id].body, &k); err != nil {
		t.Fatal(err)
	}
	if k.Alert.ID != id {
		t.Errorf("the mark of %s holds the alert %s", id, k.Alert.ID)
	}
	return fmt.Sprint(k.State, " ", k.Attempt)
}

// wire is a Sender that counts what arrives. Faults, in order, say what
// happens; behind them all works.
type wire struct {
	fault func() fault

	mu      sync.Mutex
	arrived map[string]int
}

func (w *wire) Send(_ context.Context, a Alert) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := works
	if w.fault != nil {
		f = w.fault()
	}
	switch f {
	case refuses:
		return fmt.Errorf("%w: access denied", ErrNotSent)
	case lost:
		return errLost
	case dies:
		panic(crash{})
	}
	if w.arrived == nil {
		w.arrived = map[string]int{}
	}
	w.arrived[a.ID]++
	switch f {
	case silent, late:
		return errLost
	case diesAfter:
		panic(crash{})
	}
	return nil
}

// sequence gives faults one after the other, and then works.
func sequence(fs ...fault) func() fault {
	return func() fault {
		if len(fs) == 0 {
			return works
		}
		f := fs[0]
		fs = fs[1:]
		return f
	}
}

// send sends as one run that may crash.
func send(t *testing.T, as []Alert, m Marks, s Sender) (n int, said string, err error) {
	t.Helper()
	var log bytes.Buffer
	defer func() {
		said = log.String()
		if r := recover(); r != nil && r != (crash{}) {
			panic(r)
		}
	}()
	n, err = Send(t.Context(), as, m, s, slog.New(slog.NewTextHandler(&log, nil)))
	return
}

func numbered(n int) []Alert {
	as := make([]Alert, n)
	for i := range as {
		c := cause{kind: SGReject, filter: fmt.Sprint("sg-", i)}
		as[i] = Alert{
			ID: c.id(), Kind: c.kind, Subject: "subject", Text: "text", Filter: "sg", FilterID: c.filter, Direction: flow.Egress, Point: analyze.P1,
			Purpose: control, Clients: []string{"10.0.1.5"}, Flows: 1, Packets: 3, First: at(0), Last: at(60),
		}
	}
	return as
}

// What each fault leaves, after the run that it hits and after a second one.
func TestSendFaults(t *testing.T) {
	for _, test := range []struct {
		name          string
		marks, sender []fault
		first, second string // state and attempt of the mark
		arrived       int
	}{
		{"all works", nil, nil, "sent 1", "sent 1", 1},
		{"no mark", []fault{lost}, nil, "none", "sent 1", 1},
		{"mark made, answer lost", []fault{silent}, nil, "sent 1", "sent 1", 1},
		{"mark made, answer and reading lost", []fault{silent, lost}, nil, "sending 1", "sending 1", 0},
		{"crash before the mark", []fault{dies}, nil, "none", "sent 1", 1},
		{"crash after the mark", []fault{diesAfter}, nil, "sending 1", "sending 1", 0},
		{"refused", nil, []fault{refuses}, "failed 1", "sent 2", 1},
		{"refused, and not noted", []fault{works, lost}, []fault{refuses}, "sending 1", "sending 1", 0},
		{"refused, and crash after noting it", []fault{works, diesAfter}, []fault{refuses}, "failed 1", "sent 2", 1},
		{"refused twice", nil, []fault{refuses, refuses}, "failed 1", "failed 2", 0},
		{"no answer, not arrived", nil, []fault{lost}, "unknown 1", "unknown 1", 0},
		{"no answer, arrived", nil, []fault{silent}, "unknown 1", "unknown 1", 1},
		{"crash before sending", nil, []fault{dies}, "sending 1", "sending 1", 0},
		{"crash after sending", nil, []fault{diesAfter}, "sending 1", "sending 1", 1},
		{"sent, and not noted", []fault{works, lost}, nil, "sending 1", "sending 1", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, w, as := &memory{fault: sequence(test.marks...)}, &wire{fault: sequence(test.sender...)}, numbered(1)
			id := as[0].ID
			_, _, _ = send(t, as, m, w) // the mark tells
			if got := m.of(t, id); got != test.first {
				t.Errorf("after the first run got %q, want %q", got, test.first)
			}
			_, _, _ = send(t, as, m, w)
			if got := m.of(t, id); got != test.second {
				t.Errorf("after the second run got %q, want %q", got, test.second)
			}
			if w.arrived[id] != test.arrived {
				t.Errorf("%d arrived, want %d", w.arrived[id], test.arrived)
			}
		})
	}
}

// However many runs send at a time, and whatever goes wrong, no alert arrives
// twice.
func TestAtMostOnce(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1)) // guarded by the locks of their users, of which each has its own
		m, w, as := &memory{fault: random(rng)}, &wire{fault: random(rand.New(rand.NewPCG(seed, 2)))}, numbered(4)
		var runs sync.WaitGroup
		for range 6 {
			runs.Go(func() {
				for range 4 {
					_, _, _ = send(t, as, m, w)
				}
			})
		}
		runs.Wait()
		for id, n := range w.arrived {
			if n > 1 {
				t.Fatalf("seed %d: %s arrived %d times", seed, id, n)
			}
		}
	}
}

// random gives a fault to a third of the calls.
func random(rng *rand.Rand) func() fault {
	return func() fault {
		if rng.IntN(3) > 0 {
			return works
		}
		return fault(rng.IntN(int(faults)))
	}
}

// What surely failed is sent as soon as it works again, and what surely was
// not marked, too: nothing is lost but by a crash or a lost answer.
func TestNothingIsLost(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 3))
		some := func(f fault) func() fault {
			return func() fault {
				if rng.IntN(4) == 0 {
					return f
				}
				return works
			}
		}
		m, w, as := &memory{fault: some(silent)}, &wire{fault: some(refuses)}, numbered(5)
		total := 0
		for range 60 {
			n, _, _ := send(t, as, m, w)
			total += n
		}
		if total != len(as) || len(w.arrived) != len(as) {
			t.Fatalf("seed %d: %d sent and %d arrived, want %d", seed, total, len(w.arrived), len(as))
		}
	}
}

// A run stops when nothing can be sent, and when it has sent enough; the
// next runs go on behind.
func TestSendStops(t *testing.T) {
	always := func() fault { return refuses }
	as := numbered(maxSent + 5)
	m, w := &memory{}, &wire{fault: always}
	n, said, err := send(t, as, m, w)
	if n != 0 || len(m.marks) != maxFailures || !errors.Is(err, ErrNotSent) || !strings.Contains(said, "left=202") {
		t.Errorf("with a sender that refuses: %d sent, %d marks, %v\n%s", n, len(m.marks), err, said)
	}
	w.fault = nil
	for _, want := range []int{maxSent, 5, 0} {
		if n, said, err := send(t, as, m, w); n != want || err != nil {
			t.Errorf("got %d, %v, want %d\n%s", n, err, want, said)
		}
	}
	if len(w.arrived) != len(as) {
		t.Errorf("%d arrived, want %d", len(w.arrived), len(as))
	}
}

// stuck is a Sender that waits for the end of its context.
type stuck struct{ calls int }

func (s *stuck) Send(ctx context.Context, _ Alert) error {
	s.calls++
	<-ctx.Done()
	return ctx.Err()
}

func TestSendEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s, began := &memory{}, &stuck{}, time.Now()
		if n, err := Send(t.Context(), numbered(1), m, s, slog.New(slog.DiscardHandler)); n != 0 || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrNotSent) {
			t.Errorf("got %d, %v", n, err)
		}
		if d := time.Since(began); d != callTimeout {
			t.Errorf("a call that is not answered took %v", d)
		}
		if got := m.of(t, numbered(1)[0].ID); got != "unknown 1" {
			t.Errorf("its mark says %s", got)
		}

		// Cancelled in the middle of the call: it ends at once, and the outcome
		// is noted all the same.
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		m, began = &memory{}, time.Now()
		if n, err := Send(ctx, numbered(2), m, s, slog.New(slog.DiscardHandler)); n != 0 || !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: got %d, %v", n, err)
		}
		if d := time.Since(began); d != time.Second || len(m.marks) != 1 || m.of(t, numbered(1)[0].ID) != "unknown 1" {
			t.Errorf("cancelled: after %v the marks are %v", d, m.marks)
		}

		// Too little time: nothing is begun.
		s.calls = 0
		ctx, cancel = context.WithTimeout(t.Context(), needed-time.Second)
		defer cancel()
		m = &memory{}
		var said bytes.Buffer
		if n, err := Send(ctx, numbered(2), m, s, slog.New(slog.NewTextHandler(&said, nil))); n != 0 || err != nil || s.calls != 0 || len(m.marks) != 0 || !strings.Contains(said.String(), "left=2") {
			t.Errorf("with little time: got %d, %v, %d calls, marks %v\n%s", n, err, s.calls, m.marks, &said)
		}
	})
}

// A mark that a crashed run left is told of, but only when no run can be at it.
func TestStuckMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w, as := &memory{fault: sequence(diesAfter)}, &wire{}, numbered(1)
		_, _, _ = send(t, as, m, w)
		if _, said, _ := send(t, as, m, w); said != "" {
			t.Errorf("it says at once: %s", said)
		}
		time.Sleep(stuckAfter + time.Second)
		if _, said, _ := send(t, as, m, w); !strings.Contains(said, "may have been lost") || !strings.Contains(said, as[0].ID) {
			t.Errorf("it says later: %s", said)
		}
		// An operator takes it away.
		delete(m.marks, as[0].ID)
		if n, _, err := send(t, as, m, w); n != 1 || err != nil {
			t.Errorf("got %d, %v", n, err)
		}
	})
}

func TestForeignMark(t *testing.T) {
	as := numbered(1)
	m, w := &memory{marks: map[string]version{as[0].ID: {[]byte("hello"), "1"}}}, &wire{}
	n, _, err := send(t, as, m, w)
	if n != 0 || err == nil || !strings.Contains(err.Error(), "not one of ours") || len(w.arrived) > 0 {
		t.Errorf("got %d, %v", n, err)
	}
}
