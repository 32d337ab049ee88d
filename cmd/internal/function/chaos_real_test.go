//go:build real

package function_test

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ephemera/cmd/internal/runtimeapi"
	"ephemera/ingest/traffic"
)

// chance is a source of random numbers for several goroutines.
type chance struct {
	mu  sync.Mutex
	rnd *rand.Rand
}

func (c *chance) n(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rnd.IntN(n)
}

// faults are what goes wrong with one request in seventy to S3. More
// would take no other way, and a client waits half a second before it tries
// again.
func (c *chance) faults(*http.Request) runtimeapi.Fault {
	switch c.n(333) {
	case 0:
		return runtimeapi.SlowDown
	case 1:
		return runtimeapi.InternalError
	case 2:
		return runtimeapi.Reset
	case 3:
		return runtimeapi.Lost
	case 4:
		return runtimeapi.CutAfter(c.n(3000))
	}
	return nil
}

// Whatever goes wrong on the way, the report ends as that of the command line
// over the same bucket: objects that are told of many times, in any order and
// shape, some of them written again with other records; processes that are
// killed; an S3 that fails; reports that are made at the same time.
func TestChaos(t *testing.T) {
	const (
		objects = 300
		again   = 20 // objects that are written twice
		seed    = 1
	)
	began := time.Now()
	c := &chance{rnd: rand.New(rand.NewPCG(seed, seed))}
	l := newLab(t)
	// Moto needs minutes for so many messages.
	queue := &runtimeapi.Shelf{Visibility: 3 * time.Second, MaxReceives: 20}

	made := t.TempDir()
	if _, err := traffic.Write(made, traffic.Config{Seed: seed, Records: 45_000, Duration: objects * 5 * time.Minute, Format: traffic.Custom29}); err != nil {
		t.Fatal(err)
	}
	l.putFolder(filepath.Join(made, "config"), "out", "network/")
	notices := l.putObjects(filepath.Join(made, "AWSLogs"), "AWSLogs/", again)
	last := map[string]string{} // the digest of each object's last content
	for _, n := range notices {
		last[n.Key] = digestOf(n)
	}
	if len(notices) != objects+again || len(last) != objects {
		t.Fatalf("%d notices of %d objects", len(notices), len(last))
	}

	proxy, err := runtimeapi.Proxy(l.url, c.faults)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(proxy)
	defer server.Close()
	var log bytes.Buffer
	f := l.function(server.URL, runtimeapi.Config{
		Name: "digest", Concurrency: 4, Memory: 512, Timeout: 20 * time.Second, Log: &log,
		Kill: func() (time.Duration, bool) { return time.Duration(c.n(25)) * time.Millisecond, c.n(20) == 0 },
	})
	var quiet atomic.Bool // kills no report any more
	reporter := l.function(server.URL, runtimeapi.Config{
		Name: "report", Concurrency: 2, Memory: 2048, Timeout: 6 * time.Second, Log: &log,
		Kill: func() (time.Duration, bool) {
			return time.Duration(c.n(800)) * time.Millisecond, !quiet.Load() && c.n(2) == 0
		},
	})

	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var mu sync.Mutex
	var givenUp [][]byte
	async := &runtimeapi.Async{Lambda: f, Delay: 10 * time.Millisecond, OnFailure: func(failure runtimeapi.Failure) {
		mu.Lock()
		defer mu.Unlock()
		givenUp = append(givenUp, failure.RequestPayload)
	}}
	polling, stopPolling := context.WithCancel(ctx)
	polled := make(chan error, 1)
	poller := &runtimeapi.Poller{Lambda: f, Queue: queue, ARN: "arn:aws:sqs:us-east-1:123456789012:new-objects", ReportBatchItemFailures: true}
	go func() { polled <- poller.Run(polling) }()

	events := c.repeated(notices)
	c.tell(ctx, events, async, queue)
	for i := range 8 { // what comes of them is nobody's
		go func() {
			time.Sleep(time.Duration(i/2) * 10 * time.Second) // two at a time
			_, _ = reporter.Invoke(ctx, runtimeapi.ScheduledEvent("us-east-1", time.Date(2026, 11, 23, 10, i, 0, 0, time.UTC)))
		}()
	}
	if err := async.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, payload := range givenUp { // as who looks after the function sends them again
		async.Send(ctx, payload)
	}
	before := len(givenUp)
	if err := async.Wait(); err != nil {
		t.Fatal(err)
	}
	stopPolling()
	if err := <-polled; err != nil {
		t.Fatal(err)
	}
	if err := poller.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	if dead := queue.Dead(); len(dead) > 0 || len(givenUp) > before {
		t.Errorf("%d dead letters, %d given up twice", len(dead), len(givenUp)-before)
	}
	t.Logf("%d events after %v: %+v, %+v, given up %d", len(events), time.Since(began), f.Usage(), poller.Polled(), before)

	// One digest of each object, of its last content, and nothing else.
	var want []string
	for _, name := range last {
		want = append(want, name)
	}
	slices.Sort(want)
	if got := l.digests(); !slices.Equal(got, want) {
		t.Errorf("there are %d digests, want %d; too many: %q; missing: %q", len(got), len(want), without(got, want), without(want, got))
	}
	// What S3 told of the function's own objects does not make it write.
	l.mu.Lock()
	all := slices.Clone(l.notices)
	l.mu.Unlock()
	for batch := range slices.Chunk(own(all), 50) {
		async.Send(ctx, runtimeapi.S3Event(batch...))
	}
	if err := async.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := l.digests(); len(got) != len(want) {
		t.Errorf("its own objects: there are %d digests, want %d", len(got), len(want))
	}

	quiet.Store(true)
	folder := c.report(ctx, t, reporter, time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC))
	report := l.batch(filepath.Join(made, "config"))
	l.sameReports(folder, report)
	l.sameReports("latest", report)
	u := f.Usage()
	if len(events) < 2000 || u.Kills < 20 || u.Errors < 20 || u.MaxRSS > 300<<20 {
		t.Errorf("%d events, %+v", len(events), u)
	}
	t.Logf("all after %v; reports: %+v", time.Since(began), reporter.Usage())
}

// putObjects writes the files below dir as objects of the bucket of logs, the
// first of them with half of their content first, and returns all notices.
func (l *lab) putObjects(dir, prefix string, again int) (notices []runtimeapi.Notice) {
	l.t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*/vpcflowlogs/*/*/*/*/*.log.gz"))
	if err != nil {
		l.t.Fatal(err)
	}
	for i, name := range files {
		content, err := os.ReadFile(name)
		if err != nil {
			l.t.Fatal(err)
		}
		below, err := filepath.Rel(dir, name)
		if err != nil {
			l.t.Fatal(err)
		}
		key := prefix + filepath.ToSlash(below)
		if i%(len(files)/again) == 0 {
			lines := strings.Split(strings.TrimSpace(string(unzipped(l.t, content))), "\n")
			notices = append(notices, l.put("logs", key, zipped(l.t, lines[:1+len(lines)/2]...)))
		}
		notices = append(notices, l.put("logs", key, content))
	}
	return notices
}

// repeated gives each notice a random number of times, in any order.
func (c *chance) repeated(notices []runtimeapi.Notice) (all []runtimeapi.Notice) {
	for _, n := range notices {
		for range 1 + c.n(15) {
			all = append(all, n)
		}
	}
	c.rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// tell sends notices, each in a random shape.
func (c *chance) tell(ctx context.Context, notices []runtimeapi.Notice, a *runtimeapi.Async, q *runtimeapi.Shelf) {
	var bodies []string
	for _, n := range notices {
		event := runtimeapi.S3Event(n)
		switch c.n(9) {
		case 0:
			a.Send(ctx, event)
		case 1:
			a.Send(ctx, runtimeapi.SNSEvent(topicARN, event))
		case 2:
			a.Send(ctx, runtimeapi.EventBridgeEvent(n))
		case 3, 4:
			bodies = append(bodies, string(event))
		case 5, 6:
			bodies = append(bodies, string(runtimeapi.SNSBody(topicARN, event)))
		default:
			bodies = append(bodies, string(runtimeapi.EventBridgeEvent(n)))
		}
	}
	q.Send(bodies...)
}

// own are the notices of what the function wrote.
func own(all []runtimeapi.Notice) []runtimeapi.Notice {
	return slices.DeleteFunc(all, func(n runtimeapi.Notice) bool { return n.Bucket != "out" || strings.HasPrefix(n.Key, "network/") })
}

// report has the report made for a time, however often it takes, and returns
// its folder.
func (c *chance) report(ctx context.Context, t *testing.T, f *runtimeapi.Lambda, at time.Time) string {
	t.Helper()
	for {
		r, err := f.Invoke(ctx, runtimeapi.ScheduledEvent("us-east-1", at))
		if err != nil {
			t.Fatal(err)
		}
		var said struct{ Skipped string }
		if err := json.Unmarshal(r.Payload, &said); err != nil {
			t.Fatal(err)
		}
		if r.FunctionError == "" && said.Skipped == "" {
			return at.Format("2006/01/02/20060102T150405Z")
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// without are those of a that are not in b.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}
