// Package sourcetest checks that an ingest.Source keeps its contract.
//
//	func TestSource(t *testing.T) {
//		sourcetest.Run(t, func(t *testing.T) ingest.Source { ... }, sourcetest.Want{...})
//	}
//
// It sees what a consumer sees, and no objects: that errors name the right
// place, and that parallel work changes nothing, is for the tests of each
// source.
package sourcetest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"testing"
	"time"

	"ephemera/ingest"
	"ephemera/ingest/flow"
)

// Want is what the source under test holds.
type Want struct {
	Records      int // of any log status
	RecordErrors int
	ObjectErrors int

	// Disorder is by how many seconds a record may end before one that
	// comes earlier. It is the disorder inside the source's objects.
	Disorder int64
}

// Run tests the source that open gives. Each call of open gives a fresh
// source of the same content, with ten records at the least.
func Run(t *testing.T, open func(t *testing.T) ingest.Source, want Want) {
	if want.Records < 10 {
		t.Fatalf("a source of %d records is too small for the tests", want.Records)
	}
	t.Run("content", func(t *testing.T) { content(t, open(t), want) })
	t.Run("order", func(t *testing.T) { order(t, open(t), want.Disorder) })
	t.Run("repeat", func(t *testing.T) { repeat(t, open) })
	t.Run("cancelled before", func(t *testing.T) { cancelledBefore(t, open(t)) })
	t.Run("cancelled on the way", func(t *testing.T) { cancelledOnTheWay(t, open(t)) })
	t.Run("early end", func(t *testing.T) { earlyEnd(t, open(t)) })
}

// goesOn reports whether a stream goes on behind err.
func goesOn(err error) bool {
	var record *flow.RecordError
	var object *flow.ObjectError
	return errors.As(err, &record) || errors.As(err, &object)
}

// content checks the kinds of steps, and that each is a record or an error.
func content(t *testing.T, s ingest.Source, want Want) {
	got := Want{Disorder: want.Disorder}
	for rec, err := range s.Records(t.Context()) {
		var object *flow.ObjectError
		switch {
		case (rec == nil) == (err == nil):
			t.Fatalf("a step of record %v and error %v, want one of them", rec, err)
		case err == nil:
			got.Records++
		case errors.As(err, &object):
			got.ObjectErrors++
			checkPlace(t, object.Place, err)
		case goesOn(err):
			got.RecordErrors++
		default:
			t.Fatalf("the stream ends with %v", err)
		}
	}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func checkPlace(t *testing.T, place string, err error) {
	if place == "" {
		t.Errorf("error without a place: %v", err)
	}
}

func order(t *testing.T, s ingest.Source, disorder int64) {
	var latest int64
	for rec, err := range s.Records(t.Context()) {
		if err != nil || !rec.Has.Has(flow.FieldEnd) {
			continue
		}
		if latest-rec.End > disorder {
			t.Fatalf("a record ends at %d and comes after one that ends at %d; at most %d s are allowed", rec.End, latest, disorder)
		}
		latest = max(latest, rec.End)
	}
}

// steps spells every step out, up to the given number of them.
func steps(stream iter.Seq2[*flow.Record, error], limit int) []string {
	var all []string
	for rec, err := range stream {
		if err != nil {
			all = append(all, err.Error())
		} else {
			all = append(all, fmt.Sprintf("%+v", *rec))
		}
		if len(all) == limit {
			break
		}
	}
	return all
}

const everything = -1

// repeat checks that the sequence does not depend on chance.
func repeat(t *testing.T, open func(t *testing.T) ingest.Source) {
	first := steps(open(t).Records(t.Context()), everything)
	for range 3 {
		if again := steps(open(t).Records(t.Context()), everything); !slices.Equal(again, first) {
			t.Fatal("the same source gives another sequence")
		}
	}
	if start := steps(open(t).Records(t.Context()), 5); !slices.Equal(start, first[:5]) {
		t.Errorf("got first steps %q, want %q", start, first[:5])
	}
}

func cancelledBefore(t *testing.T, s ingest.Source) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n := 0
	for rec, err := range s.Records(ctx) {
		if n++; n > 1 || rec != nil || !errors.Is(err, context.Canceled) {
			t.Fatalf("step %d: got record %v and error %v, want context.Canceled alone", n, rec, err)
		}
	}
	if n == 0 {
		t.Error("the stream ends as if it were complete")
	}
}

// cancelledOnTheWay checks that a cancelled stream says so and ends, with
// its goroutines.
func cancelledOnTheWay(t *testing.T, s ingest.Source) {
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	n, left := 0, 0
	for _, err := range s.Records(ctx) {
		if last != nil && !goesOn(last) {
			t.Fatalf("the stream goes on behind %v", last)
		}
		last = err
		if n++; n == 5 {
			cancel()
		}
		if n > 5 && err == nil {
			left++
		}
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("the last step is %v, want context.Canceled", last)
	}
	if left > 1000 {
		t.Errorf("%d records came after cancelling", left)
	}
	settle(t, before)
}

func earlyEnd(t *testing.T, s ingest.Source) {
	before := runtime.NumGoroutine()
	for limit := 1; limit <= 10; limit++ {
		steps(s.Records(t.Context()), limit)
	}
	settle(t, before)
}

// settle waits for goroutines to end, down to as many as there were.
func settle(t *testing.T, before int) {
	t.Helper()
	for range 200 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}
