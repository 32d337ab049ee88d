package runtimeapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// seen counts the messages that the function of testdata/echo saw.
func seen(log string) map[string]int {
	counts := map[string]int{}
	for line := range strings.Lines(log) {
		if body, ok := strings.CutPrefix(line, "message "); ok {
			counts[strings.TrimSpace(body)]++
		}
	}
	return counts
}

const queueARN = "arn:aws:sqs:eu-west-1:123456789012:new-objects"

func TestPoller(t *testing.T) {
	for _, c := range []struct {
		bodies  string // sent, by commas
		batch   int
		partial bool
		dead    string // sorted
		seen    string // counts of what matters
	}{
		{"a,b,c", 10, true, "", "a 1,b 1,c 1"},
		{"a,b,c", 2, false, "", "a 1,b 1,c 1"},
		{"a,fail b,c", 10, true, "fail b", "a 1,fail b 3,c 1"},
		{"a,fail b,c", 10, false, "", "a 1,fail b 1,c 1"}, // nobody asked
		{"a,error b", 10, true, "a,error b", "a 3,error b 3"},
		{"a,error b", 1, true, "error b", "a 1,error b 3"},
		{"a,exit b", 10, false, "a,exit b", "a 3,exit b 3"},
		{"a,malformed b", 10, true, "a,malformed b", "a 3,malformed b 3"},
		{"a,malformed b", 10, false, "", "a 1,malformed b 1"},
	} {
		var log bytes.Buffer
		l := start(t, Config{Timeout: 10 * time.Second, Log: &log})
		s := &Shelf{Visibility: 30 * time.Millisecond, MaxReceives: 3}
		s.Send(strings.Split(c.bodies, ",")...)
		p := &Poller{Lambda: l, Queue: s, ARN: queueARN, Batch: c.batch, ReportBatchItemFailures: c.partial, Idle: 5 * time.Millisecond}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if err := p.Drain(ctx); err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		cancel()
		if err := l.Stop(); err != nil {
			t.Error(err)
		}
		dead := s.Dead()
		slices.Sort(dead)
		if got := strings.Join(dead, ","); got != c.dead {
			t.Errorf("%+v: dead letters %s", c, got)
		}
		counts := seen(log.String())
		for want := range strings.SplitSeq(c.seen, ",") {
			body, n := want[:strings.LastIndex(want, " ")], want[strings.LastIndex(want, " ")+1:]
			if got := fmt.Sprint(counts[body]); got != n {
				t.Errorf("%+v: saw %q %s times, want %s", c, body, got, n)
			}
		}
	}
}

// Every message is handled at least once, however often processes die.
func TestPollerThroughKills(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	var log bytes.Buffer
	l := start(t, Config{Concurrency: 3, Timeout: 10 * time.Second, Log: &log, Kill: func() (time.Duration, bool) {
		return time.Duration(rnd.IntN(3000)) * time.Microsecond, rnd.IntN(3) == 0
	}})
	s := &Shelf{Visibility: 200 * time.Millisecond, MaxReceives: 50}
	var all []string
	for i := range 500 {
		all = append(all, fmt.Sprintf("m%d", i))
	}
	s.Send(all...)
	p := &Poller{Lambda: l, Queue: s, ARN: queueARN, Batch: 25, Window: 5 * time.Millisecond, ReportBatchItemFailures: true}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := p.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	if err := l.Stop(); err != nil {
		t.Error(err)
	}
	counts := seen(log.String())
	for _, body := range all {
		if counts[body] == 0 {
			t.Errorf("%s was not seen", body)
		}
	}
	got, usage := p.Polled(), l.Usage()
	if len(s.Dead()) > 0 || got.Messages-got.Failed < 500 || got.Failed == 0 || usage.Kills < 3 {
		t.Errorf("dead letters %q, %+v, %+v", s.Dead(), got, usage)
	}
	t.Logf("%+v %+v", got, usage)
}

// What a function answers decides which messages are deleted.
//
// Source: Lambda Developer Guide, "Success and failure conditions".
func TestHandled(t *testing.T) {
	batch := []Message{{ID: "a"}, {ID: "b"}, {ID: "c"}}
	for _, c := range []struct{ response, want string }{
		{``, "abc"},
		{`null`, "abc"},
		{`{}`, "abc"},
		{`{"batchItemFailures":[]}`, "abc"},
		{`{"batchItemFailures":null}`, "abc"},
		{`{"batchItemFailures":[{"itemIdentifier":"b"}]}`, "ac"},
		{`{"batchItemFailures":[{"itemIdentifier":"b"},{"itemIdentifier":"b"}]}`, "ac"},
		{`{"batchItemFailures":[{"itemIdentifier":"a"},{"itemIdentifier":"b"},{"itemIdentifier":"c"}]}`, ""},
		{`{"batchItemFailures":[{"itemIdentifier":""}]}`, ""},
		{`{"batchItemFailures":[{"itemIdentifier":null}]}`, ""},
		{`{"batchItemFailures":[{"id":"a"}]}`, ""},
		{`{"batchItemFailures":["a"]}`, ""},
		{`{"batchItemFailures":[{"itemIdentifier":"d"}]}`, ""},
		{`{"batchItemFailures":`, ""},
		{`"done"`, ""},
	} {
		got := ""
		for _, m := range handled(batch, []byte(c.response)) {
			got += m.ID
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.response, got, c.want)
		}
	}
}

// broken is a queue that cannot be read.
type broken struct{ Shelf }

func (*broken) Receive(context.Context, int) ([]Message, error) { return nil, errors.New("gone") }

func TestPollerEnds(t *testing.T) {
	l := start(t, Config{Timeout: time.Minute})
	p := &Poller{Lambda: l, Queue: &broken{}, ARN: queueARN, Concurrency: 3}
	if err := p.Run(t.Context()); err == nil || err.Error() != "receive from "+queueARN+": gone" {
		t.Errorf("got %v", err)
	}
	s := &Shelf{Visibility: time.Minute, MaxReceives: 3}
	p = &Poller{Lambda: l, Queue: s, ARN: queueARN}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := p.Run(ctx); err != nil {
		t.Errorf("got %v", err)
	}
	s.Send("a")
	if err := p.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestAsync(t *testing.T) {
	for _, c := range []struct {
		payload        string
		retries, tries int
		kind           string // of the failure that is given up
	}{
		{`{"mode":"echo"}`, 0, 1, ""},
		{`{"mode":"error"}`, 0, 3, "errorString"},
		{`{"mode":"error"}`, 1, 2, "errorString"},
		{`{"mode":"panic"}`, -1, 1, "string"},
		{`{"mode":"exit"}`, 0, 3, "Runtime.ExitError"},
	} {
		l := start(t, Config{Timeout: 10 * time.Second})
		var failed []Failure
		a := &Async{Lambda: l, Retries: c.retries, OnFailure: func(f Failure) { failed = append(failed, f) }}
		a.Send(t.Context(), []byte(c.payload))
		if err := a.Wait(); err != nil {
			t.Error(err)
		}
		if u := l.Usage(); u.Invocations != c.tries {
			t.Errorf("%s: %d invocations, want %d", c.payload, u.Invocations, c.tries)
		}
		switch {
		case len(failed) == 0 && c.kind == "":
		case len(failed) != 1 || c.kind == "":
			t.Errorf("%s: gave up %+v", c.payload, failed)
		default:
			f := failed[0]
			if !strings.Contains(string(f.ResponsePayload), `"errorType":"`+c.kind+`"`) || string(f.RequestPayload) != c.payload ||
				f.RequestContext.ApproximateInvokeCount != c.tries || f.RequestContext.Condition != "RetriesExhausted" {
				t.Errorf("%s: gave up %+v", c.payload, f)
			}
		}
	}
}

// An event fails once and is done when it is tried again, under the same ID.
func TestAsyncRetries(t *testing.T) {
	n := 0
	l := start(t, Config{Timeout: 10 * time.Second, Kill: func() (time.Duration, bool) { n++; return 0, n == 1 }})
	a := &Async{Lambda: l, Delay: 50 * time.Millisecond, OnFailure: func(f Failure) { t.Errorf("gave up %+v", f) }}
	began := time.Now()
	a.Send(t.Context(), []byte(`{"mode":"sleep","for":"50ms"}`))
	if err := a.Wait(); err != nil {
		t.Error(err)
	}
	if u := l.Usage(); u.Invocations != 2 || u.Kills != 1 || time.Since(began) < 50*time.Millisecond {
		t.Errorf("got %+v after %v", u, time.Since(began))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a.Send(ctx, []byte(`{}`))
	if err := a.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
