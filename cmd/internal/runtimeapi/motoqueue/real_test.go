//go:build real

package motoqueue

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"ephemera/cmd/internal/runtimeapi"
	"ephemera/ingest/sourcetest"
)

// A queue with a dead-letter queue, as the deployment makes them: what fails
// three times ends there, and all else is handled.
func TestRealQueue(t *testing.T) {
	url := sourcetest.Moto(t)
	dead := New(t, url, "dead", 1, 0, nil)
	queue := New(t, url, "new-objects", 1, 3, dead)
	for i := range 40 {
		body := fmt.Sprintf("m%d", i)
		if i%10 == 3 {
			body = "fail " + body
		}
		if err := queue.Send(t.Context(), body); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	echo, err := runtimeapi.Build(t.Context(), t.TempDir(), "../testdata/echo")
	if err != nil {
		t.Fatal(err)
	}
	l, err := runtimeapi.Start(t.Context(), runtimeapi.Config{Bootstrap: echo, Concurrency: 2, Timeout: 10 * time.Second, Log: &log})
	if err != nil {
		t.Fatal(err)
	}
	p := &runtimeapi.Poller{Lambda: l, Queue: queue, ARN: queue.ARN, ReportBatchItemFailures: true}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := p.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	if err := l.Stop(); err != nil {
		t.Error(err)
	}
	counts := map[string]int{}
	for line := range strings.Lines(log.String()) {
		if body, ok := strings.CutPrefix(line, "message "); ok {
			counts[strings.TrimSpace(body)]++
		}
	}
	for i := range 40 {
		body, want := fmt.Sprintf("m%d", i), 1
		if i%10 == 3 {
			body, want = "fail "+body, 3
		}
		if counts[body] != want {
			t.Errorf("%q was seen %d times, want %d", body, counts[body], want)
		}
	}
	if n, err := dead.Left(ctx); n != 4 || err != nil {
		t.Errorf("%d dead letters, %v; want 4", n, err)
	}
}
