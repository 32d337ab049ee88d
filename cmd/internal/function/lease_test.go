package function

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"ephemera/cmd/internal/store"
)

// scripted is a Store whose steps are taken by step, and that loses the answers
// of the next Puts.
type scripted struct {
	store.Store
	step func(do func())
	lost int
}

func (s *scripted) Get(ctx context.Context, name string) (b []byte, v store.Version, err error) {
	s.step(func() { b, v, err = s.Store.Get(ctx, name) })
	return b, v, err
}

func (s *scripted) Put(ctx context.Context, name string, content io.ReadSeeker, c store.Condition) (v store.Version, err error) {
	s.step(func() {
		if s.lost > 0 { // the client sends it again
			s.lost--
			if _, err = s.Store.Put(ctx, name, content, c); err != nil {
				return
			}
		}
		v, err = s.Store.Put(ctx, name, content, c)
	})
	return v, err
}

func atOnce(do func()) { do() }

// interleavings calls run with every order in which the steps of two can come:
// turns[i] says whose step is the i-th.
func interleavings(a, b int, run func(turns []int)) {
	var grow func(turns []int, a, b int)
	grow = func(turns []int, a, b int) {
		if a == 0 && b == 0 {
			run(turns)
			return
		}
		if a > 0 {
			grow(append(turns[:len(turns):len(turns)], 0), a-1, b)
		}
		if b > 0 {
			grow(append(turns[:len(turns):len(turns)], 1), a, b-1)
		}
	}
	grow(nil, a, b)
}

// together runs two functions whose steps are taken in the order of turns;
// further ones when the other function is over.
func together(turns []int, run func(who int, step func(do func()))) {
	var mu sync.Mutex
	moved := sync.NewCond(&mu)
	over := [2]bool{}
	at := 0
	var group sync.WaitGroup
	for who := range 2 {
		group.Go(func() {
			run(who, func(do func()) {
				mu.Lock()
				defer mu.Unlock()
				for !over[1-who] && at < len(turns) && turns[at] != who {
					moved.Wait()
				}
				do()
				at++
				moved.Broadcast()
			})
			mu.Lock()
			defer mu.Unlock()
			over[who] = true
			moved.Broadcast()
		})
	}
	group.Wait()
}

// Of two that take the lease, one has it, in whatever order their steps come.
func TestTwoTakers(t *testing.T) {
	for _, left := range []string{"none", "over", "ended", "broken", "endless"} {
		interleavings(2, 2, func(turns []int) {
			s := store.NewDirectory(t.TempDir())
			switch left {
			case "over":
				leave(t, s, lease{"gone", noon.Add(-time.Second)})
			case "ended":
				leave(t, s, lease{Owner: "gone"})
			case "endless":
				leave(t, s, lease{"gone", noon.AddDate(30, 0, 0)})
			case "broken":
				if _, err := s.Put(t.Context(), leaseName, strings.NewReader("{"), store.Condition{}); err != nil {
					t.Fatal(err)
				}
			}
			var took [2]bool
			together(turns, func(who int, step func(do func())) {
				_, err := takeLease(t.Context(), &scripted{Store: s, step: step}, fmt.Sprint("owner ", who), noon, noon.Add(time.Minute))
				took[who] = err == nil
				if err != nil && !errors.Is(err, errLeased) {
					t.Error(err)
				}
			})
			if took[0] == took[1] {
				t.Errorf("%s, %v: they took it: %v", left, turns, took)
			}
		})
	}
}

func leave(t *testing.T, s store.Store, l lease) {
	t.Helper()
	if _, err := putJSON(t.Context(), s, leaseName, l, store.Condition{}); err != nil {
		t.Fatal(err)
	}
}

// A lease holds until it ends or is over; who ends it late ends that of nobody
// else.
func TestLease(t *testing.T) {
	s := &scripted{Store: store.NewDirectory(t.TempDir()), step: atOnce}
	take := func(owner string, now time.Time) func(context.Context) error {
		t.Helper()
		end, err := takeLease(t.Context(), s, owner, now, now.Add(time.Minute))
		if err != nil {
			t.Fatalf("%s: %v", owner, err)
		}
		return end
	}
	refused := func(now time.Time) {
		t.Helper()
		if _, err := takeLease(t.Context(), s, "other", now, now.Add(time.Minute)); !errors.Is(err, errLeased) {
			t.Fatalf("got %v, want %v", err, errLeased)
		}
	}
	first := take("first", noon)
	refused(noon)
	refused(noon.Add(-2 * time.Minute)) // by a clock that is late
	refused(noon.Add(time.Minute - time.Nanosecond))
	second := take("second", noon.Add(time.Minute)) // the first has not ended it
	if err := first(t.Context()); !errors.Is(err, store.ErrCondition) {
		t.Errorf("ending a lease that another one has: %v", err)
	}
	refused(noon.Add(time.Minute))
	if err := second(t.Context()); err != nil {
		t.Error(err)
	}
	third := take("third", noon.Add(time.Minute))
	if err := third(t.Context()); err != nil {
		t.Error(err)
	}
	take("fourth", noon)
}

// An answer that was lost does not lock the owner out, nor the next one.
func TestLeaseLostAnswers(t *testing.T) {
	s := &scripted{Store: store.NewDirectory(t.TempDir()), step: atOnce, lost: 1}
	end, err := takeLease(t.Context(), s, "first", noon, noon.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := takeLease(t.Context(), s, "second", noon, noon.Add(time.Minute)); !errors.Is(err, errLeased) {
		t.Fatalf("got %v, want %v", err, errLeased)
	}
	s.lost = 1
	if err := end(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.lost = 1
	if _, err := takeLease(t.Context(), s, "second", noon, noon.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
}

// A store that cannot be read or written is no lease of another one.
func TestLeaseErrors(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := store.NewDirectory(t.TempDir())
	if _, err := takeLease(ctx, s, "first", noon, noon.Add(time.Minute)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if _, err := takeLease(t.Context(), s, "first", noon, noon.Add(time.Minute)); err != nil {
		t.Error(err)
	}
}

// A mark is made once, and changed by who knows its version.
func TestMarks(t *testing.T) {
	m := marks{store.NewDirectory(t.TempDir())}
	ctx := t.Context()
	if body, version, err := m.Read(ctx, "id"); body != nil || version != "" || err != nil {
		t.Errorf("there is %q of version %q, %v", body, version, err)
	}
	if version, err := m.Write(ctx, "id", []byte("x"), "0123456789abcdef0123456789abcdef"); version != "" || err != nil {
		t.Errorf("changing what there is not: version %q, %v", version, err)
	}
	one, err := m.Write(ctx, "id", []byte("one"), "")
	if one == "" || err != nil {
		t.Fatal(err)
	}
	if version, err := m.Write(ctx, "id", []byte("two"), ""); version != "" || err != nil {
		t.Errorf("made twice: version %q, %v", version, err)
	}
	two, err := m.Write(ctx, "id", []byte("two"), one)
	if two == "" || two == one || err != nil {
		t.Errorf("changed: version %q, %v", two, err)
	}
	if version, err := m.Write(ctx, "id", []byte("three"), one); version != "" || err != nil {
		t.Errorf("changed by the old version: version %q, %v", version, err)
	}
	if body, version, err := m.Read(ctx, "id"); string(body) != "two" || version != two || err != nil {
		t.Errorf("there is %q of version %q, %v", body, version, err)
	}
	if place := m.store.Place("alerts/id.json"); !strings.HasSuffix(place, "/alerts/id.json") {
		t.Error(place)
	}
}
