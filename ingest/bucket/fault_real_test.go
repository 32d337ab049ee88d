//go:build real

package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"ephemera/ingest"
	"ephemera/ingest/flow"
)

// faultyProxy stands between a client and the server, and does to answers
// what networks and servers under load do.
type faultyProxy struct {
	target string
	client *http.Client
	delay  time.Duration // of each answer

	mu        sync.Mutex
	rnd       *rand.Rand
	rate      float64 // of answers that are spoilt
	faults    []string
	burst     int // answers of SlowDown still to give
	permanent func(path string) string
	counts    map[string]int
}

func newFaultyProxy(t testing.TB, target string, seed uint64, rate float64) (*faultyProxy, string) {
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}
	p := &faultyProxy{
		target: target, client: &http.Client{Transport: transport}, rate: rate, faults: faults,
		rnd: rand.New(rand.NewPCG(seed, 9)), permanent: func(string) string { return "" }, counts: make(map[string]int),
	}
	server := httptest.NewServer(p)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		transport.CloseIdleConnections()
	})
	return p, server.URL
}

var (
	faults = []string{"cut", "short", "chunked", "error", "slow", "stall", "silence", "garbage", "empty"}
	// A client that adapts to throttling slows down for seconds.
	faultsOfLoad = append([]string{"busy", "burst"}, faults...)
)

// fault chooses what happens to an answer, and at which part of it.
func (p *faultyProxy) fault(path string) (what string, at float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	what = p.permanent(path)
	switch {
	case what != "":
	case p.burst > 0:
		p.burst--
		what = "busy"
	case p.rnd.Float64() < p.rate:
		what = p.faults[p.rnd.IntN(len(p.faults))]
	}
	if what == "burst" {
		what, p.burst = "busy", p.rnd.IntN(6)
	}
	p.counts[what]++
	return what, p.rnd.Float64()
}

func xmlError(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>from the test</Message></Error>`, code)
}

func (p *faultyProxy) ServeHTTP(w http.ResponseWriter, in *http.Request) {
	time.Sleep(p.delay)
	what, at := p.fault(in.URL.Path)
	switch what {
	case "busy":
		xmlError(w, http.StatusServiceUnavailable, "SlowDown")
		return
	case "error":
		xmlError(w, http.StatusInternalServerError, "InternalError")
		return
	case "denied":
		xmlError(w, http.StatusForbidden, "AccessDenied")
		return
	case "archived":
		xmlError(w, http.StatusForbidden, "InvalidObjectState")
		return
	case "silence":
		<-in.Context().Done()
		return
	case "garbage":
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			conn.Write([]byte("\x00\x01garbage\r\n\r\n"))
			conn.Close()
		}
		return
	}
	out, err := http.NewRequestWithContext(in.Context(), in.Method, p.target+in.URL.RequestURI(), nil)
	if err != nil {
		return
	}
	out.Header, out.Host = in.Header.Clone(), in.Host
	answer, err := p.client.Do(out)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	part := int(at * float64(len(body)))
	for name, values := range answer.Header {
		w.Header()[name] = values
	}
	switch what {
	case "short":
		w.Header().Set("Content-Length", strconv.Itoa(part))
		body = body[:part]
	case "empty":
		w.Header().Set("Content-Length", "0")
		body = nil
	case "chunked":
		w.Header().Del("Content-Length")
	default:
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(answer.StatusCode)
	flush := http.NewResponseController(w).Flush
	switch what {
	case "cut", "nothing":
		if what == "nothing" {
			part = 0
		}
		w.Write(body[:part])
		flush()
		panic(http.ErrAbortHandler)
	case "chunked":
		w.Write(body[:part])
		flush()
	case "stall":
		w.Write(body[:part])
		flush()
		<-in.Context().Done()
	case "slow":
		for piece := range slices.Chunk(body, 1+len(body)/5) {
			w.Write(piece)
			flush()
			time.Sleep(2 * time.Millisecond)
		}
	default:
		w.Write(body)
	}
}

// Whatever breaks on the way, the steps stay the same.
func TestRealFaults(t *testing.T) {
	dir := t.TempDir()
	realTree(t, dir, rand.New(rand.NewPCG(4, 1)), 150, 200)
	url := served(t, dir)
	want := localSteps(t, dir, "", ingest.Options{})
	for seed := range uint64(8) {
		p, through := newFaultyProxy(t, url, seed, 0.2)
		if seed == 0 {
			p.faults, p.rate = faultsOfLoad, 0.08
		}
		s := realStore(t, through)
		start := time.Now()
		diff(t, steps(t, bucketLogs(t, s, ingest.Options{ReadAhead: 1 + int(seed)*3}, "s3://logs/")), want)
		t.Logf("seed %d: %v, %v", seed, time.Since(start), p.counts)
	}
}

// Objects that cannot be read at all are named, and no others.
func TestRealPermanentFaults(t *testing.T) {
	dir := t.TempDir()
	realTree(t, dir, rand.New(rand.NewPCG(5, 1)), 90, 20)
	url := served(t, dir)
	var keys []string
	filepath.WalkDir(dir, func(name string, d fs.DirEntry, _ error) error {
		if d.Type().IsRegular() {
			keys = append(keys, filepath.ToSlash(strings.TrimPrefix(name, dir)))
		}
		return nil
	})
	whole := localSteps(t, dir, "", ingest.Options{})
	broken := map[string]string{
		"/logs" + keys[3]: "denied", "/logs" + keys[17]: "archived", "/logs" + keys[40]: "error",
		"/logs" + keys[41]: "nothing", "/logs" + keys[70]: "busy", "/logs" + keys[80]: "silence",
	}
	faultOf := map[string]flow.Fault{
		"denied": flow.Denied, "archived": flow.Archived, "error": flow.Unreachable,
		"nothing": flow.Unreachable, "busy": flow.Unreachable, "silence": flow.Unreachable,
	}
	p, through := newFaultyProxy(t, url, 1, 0.05)
	p.permanent = func(path string) string { return broken[path] }
	s := realStore(t, through)
	s.opts.Stall = 50 * time.Millisecond
	s.tries = 4
	got := make(map[string]bool)
	records := 0
	for _, err := range bucketLogs(t, s, ingest.Options{}, "s3://logs/").Records(t.Context()) {
		records++
		var object *flow.ObjectError
		if !errors.As(err, &object) {
			continue
		}
		path := "/" + strings.TrimPrefix(object.Place, Scheme)
		if what, ok := broken[path]; ok {
			got[path] = true
			if object.Fault != faultOf[what] {
				t.Errorf("%s: got fault %v (%v), want %v", what, object.Fault, err, faultOf[what])
			}
		} else if object.Fault != flow.Damaged {
			t.Errorf("%v", err)
		}
	}
	if len(got) != len(broken) {
		t.Errorf("got errors of %v, want %v", got, broken)
	}
	missing := 0
	for path := range broken {
		missing += len(localSteps(t, dir, strings.TrimPrefix(path, "/logs"), ingest.Options{})) - 1
	}
	if records != len(whole)-missing {
		t.Errorf("%d steps, want %d less %d", records, len(whole), missing)
	}
}

// A cancelled stream ends at once, whatever it waits for, and leaves nothing
// behind.
func TestRealCancel(t *testing.T) {
	dir := t.TempDir()
	rnd := rand.New(rand.NewPCG(6, 1))
	realTree(t, dir, rnd, 150, 100)
	url := served(t, dir)
	before := runtime.NumGoroutine()
	t.Run("", func(t *testing.T) {
		_, through := newFaultyProxy(t, url, 2, 0.5)
		for range 25 {
			s := realStore(t, through)
			s.opts.Stall = time.Hour // so that much hangs
			ctx, cancel := context.WithCancel(t.Context())
			var cancelled time.Time
			var mu sync.Mutex
			time.AfterFunc(time.Duration(rnd.IntN(400))*time.Millisecond, func() {
				mu.Lock()
				defer mu.Unlock()
				cancelled = time.Now()
				cancel()
			})
			o, err := s.Find(ctx, []string{"s3://logs/"}, ingest.Options{})
			if err == nil {
				for _, err = range ingest.Join(ingest.Options{}, o).Records(ctx) {
				}
			}
			mu.Lock()
			if d := time.Since(cancelled); !errors.Is(err, context.Canceled) || d > time.Second {
				t.Errorf("got %v, %v after cancelling", err, d)
			}
			mu.Unlock()
			s.api.(*s3.Client).Options().HTTPClient.(*http.Client).CloseIdleConnections()
		}
	})
	for range 400 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	stacks := make([]byte, 1<<20)
	t.Errorf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
}

// BenchmarkReadAhead reads a bucket that is 20 ms away.
func BenchmarkReadAhead(b *testing.B) {
	dir := b.TempDir()
	realTree(b, dir, rand.New(rand.NewPCG(7, 1)), 300, 2000)
	url := served(b, dir)
	for _, ahead := range []int{1, 16} {
		b.Run(fmt.Sprint(ahead), func(b *testing.B) {
			p, through := newFaultyProxy(b, url, 1, 0)
			p.delay = 20 * time.Millisecond
			s := realStore(b, through)
			records := int64(0)
			for b.Loop() {
				logs := bucketLogs(b, s, ingest.Options{ReadAhead: ahead}, "s3://logs/")
				for range logs.Records(b.Context()) {
				}
				records += logs.Stats().Records
			}
			b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
