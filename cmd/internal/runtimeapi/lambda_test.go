package runtimeapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// echo is the program of testdata/echo.
var echo string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "echo")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if echo, err = Build(context.Background(), dir, "./testdata/echo"); err != nil {
		panic(err)
	}
	return m.Run()
}

func start(t *testing.T, c Config) *Lambda {
	t.Helper()
	c.Bootstrap = echo
	l, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Stop(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func invoke(t *testing.T, l *Lambda, payload string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := l.Invoke(ctx, []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestInvoke(t *testing.T) {
	l := start(t, Config{Timeout: 2 * time.Second})
	for _, c := range []struct {
		payload       string
		want          string // the answer, if there is one
		kind, message string
		cold          bool // it is the first of its environment
		from, to      time.Duration
	}{
		{`{"mode":"echo"}`, `{"mode":"echo"}`, "", "", true, 0, time.Second},
		{`{"mode":"echo","for":"ü"}`, `{"mode":"echo","for":"ü"}`, "", "", false, 0, time.Second},
		{`{"mode":"error"}`, "", "errorString", "an error", false, 0, time.Second},
		{`{"mode":"sleep","for":"300ms"}`, `{"mode":"sleep","for":"300ms"}`, "", "", false, 300 * time.Millisecond, time.Second},
		{`not JSON`, "", "SyntaxError", "invalid character", false, 0, time.Second},
		{`{"mode":"panic"}`, "", "string", "a panic", false, 0, time.Second},
		{`{"mode":"exit"}`, "", "Runtime.ExitError", "RequestId: ID Error: Runtime exited with error: exit status 3", true, 0, time.Second},
		{`{"mode":"leave"}`, "", "Runtime.ExitError", "RequestId: ID Error: Runtime exited without providing a reason", true, 0, time.Second},
		{`{"mode":"sleep","for":"1m"}`, "", "Sandbox.Timedout", "RequestId: ID Error: Task timed out after 2.00 seconds", true, 2 * time.Second, 3 * time.Second},
		{`{"mode":"large","size":6291400}`, `"` + strings.Repeat("x", 6291400) + `"`, "", "", true, 0, 2 * time.Second},
		{`{"mode":"large","size":6291457}`, "", "Function.ResponseSizeTooLarge", "RequestId: ID Error: Response payload size exceeded", false, 0, 2 * time.Second},
		{`{"mode":"echo"}`, `{"mode":"echo"}`, "", "", true, 0, time.Second},
	} {
		r := invoke(t, l, c.payload)
		message := strings.ReplaceAll(r.ErrorMessage, r.RequestID, "ID")
		if r.FunctionError != c.kind || !strings.HasPrefix(message, c.message) || c.message == "" && message != "" {
			t.Errorf("%s: got %q %q, want %q %q", c.payload, r.FunctionError, message, c.kind, c.message)
		}
		if c.kind == "" && string(r.Payload) != c.want {
			t.Errorf("%s: got %.100s, want %.100s", c.payload, r.Payload, c.want)
		}
		var said struct{ ErrorType, ErrorMessage string }
		if c.kind != "" && (json.Unmarshal(r.Payload, &said) != nil || said.ErrorType != c.kind || said.ErrorMessage != r.ErrorMessage) {
			t.Errorf("%s: got %s", c.payload, r.Payload)
		}
		if cold := r.InitDuration > 0; cold != c.cold {
			t.Errorf("%s: its environment is new: got %t, want %t", c.payload, cold, c.cold)
		}
		if r.Duration < c.from || r.Duration > c.to {
			t.Errorf("%s: took %v, want %v to %v", c.payload, r.Duration, c.from, c.to)
		}
		if r.MaxRSS < 1<<20 || r.MaxRSS > 100<<20 {
			t.Errorf("%s: %d bytes of memory", c.payload, r.MaxRSS)
		}
	}
	u := l.Usage()
	if u.Invocations != 12 || u.Errors != 7 || u.Timeouts != 1 || u.Kills != 0 || u.MaxRSS < 1<<20 {
		t.Errorf("got %+v", u)
	}
}

// A process sees what AWS sets, and nothing of the test's environment.
func TestEnvironment(t *testing.T) {
	t.Setenv("AWS_PROFILE", "mine")
	l := start(t, Config{Name: "digest", Memory: 512, Timeout: 30 * time.Second, Env: []string{"AWS_REGION=eu-west-1", "EPHEMERA_DAYS=7"}})
	var got struct {
		Left         float64
		Request, ARN string
		Env          []string
	}
	r := invoke(t, l, `{"mode":"context"}`)
	if err := json.Unmarshal(r.Payload, &got); err != nil {
		t.Fatal(err)
	}
	if got.Left < 25 || got.Left > 30 {
		t.Errorf("%v seconds are left, want 30", got.Left)
	}
	if got.Request != r.RequestID || got.ARN != "arn:aws:lambda:us-east-1:123456789012:function:digest" {
		t.Errorf("got %+v", got)
	}
	temp := ""
	for _, want := range []string{"AWS_LAMBDA_RUNTIME_API=127.0.0.1:", "AWS_LAMBDA_FUNCTION_NAME=digest", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=512",
		"_HANDLER=bootstrap", "AWS_LAMBDA_FUNCTION_VERSION=$LATEST", "LAMBDA_TASK_ROOT=/", "AWS_REGION=eu-west-1", "EPHEMERA_DAYS=7", "TMPDIR="} {
		i := slices.IndexFunc(got.Env, func(v string) bool { return strings.HasPrefix(v, want) })
		if i < 0 {
			t.Errorf("no %s in %q", want, got.Env)
			continue
		}
		temp, _ = strings.CutPrefix(got.Env[i], "TMPDIR=")
	}
	for _, v := range got.Env {
		if strings.HasPrefix(v, "HOME=") || strings.HasPrefix(v, "AWS_PROFILE=") {
			t.Errorf("there is %s", v)
		}
	}
	if _, err := os.Stat(temp); err != nil {
		t.Error(err)
	}
	if err := l.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(temp); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", temp, err)
	}
}

func TestConcurrency(t *testing.T) {
	l := start(t, Config{Concurrency: 3, Timeout: 10 * time.Second})
	began := time.Now()
	var group sync.WaitGroup
	for i := range 9 {
		group.Go(func() {
			payload := fmt.Sprintf(`{"mode":"sleep","for":"300ms","size":%d}`, i)
			r, err := l.Invoke(t.Context(), []byte(payload))
			if err != nil || string(r.Payload) != payload {
				t.Errorf("got %s %v, want %s", r.Payload, err, payload)
			}
		})
	}
	group.Wait()
	if took := time.Since(began); took < 900*time.Millisecond || took > 2500*time.Millisecond {
		t.Errorf("9 times 300 ms in 3 environments took %v", took)
	}
	if u := l.Usage(); u.Starts != 3 || u.Invocations != 9 {
		t.Errorf("got %+v, want 3 starts", u)
	}
}

func TestKill(t *testing.T) {
	n := 0
	l := start(t, Config{Timeout: 10 * time.Second, Kill: func() (time.Duration, bool) {
		n++
		return 50 * time.Millisecond, n%2 == 1
	}})
	for i := range 6 {
		r := invoke(t, l, `{"mode":"sleep","for":"200ms"}`)
		want := ""
		if i%2 == 0 {
			want = "Runtime.ExitError"
		}
		if r.FunctionError != want || want != "" && !strings.HasSuffix(r.ErrorMessage, "Error: Runtime exited with error: signal: killed") {
			t.Errorf("%d: got %q %q, want %q", i, r.FunctionError, r.ErrorMessage, want)
		}
	}
	if u := l.Usage(); u.Starts != 4 || u.Kills != 3 || u.Errors != 3 {
		t.Errorf("got %+v, want 4 starts, 3 kills and errors", u)
	}
}

// A process that does not come to its first event is started once more, and
// then the invocation fails.
func TestBrokenInit(t *testing.T) {
	var log bytes.Buffer
	l := start(t, Config{Env: []string{"BROKEN=yes"}, Log: &log})
	r := invoke(t, l, `{}`)
	if r.FunctionError != "Runtime.ExitError" || !strings.HasSuffix(r.ErrorMessage, "exit status 1") {
		t.Errorf("got %+v", r)
	}
	if u := l.Usage(); u.Starts != 2 || u.Errors != 1 {
		t.Errorf("got %+v, want 2 starts", u)
	}
	if log.String() != "broken\nbroken\n" {
		t.Errorf("it said %q", log.String())
	}
}

// Who gives up waiting, and Stop, end what runs at once.
func TestStop(t *testing.T) {
	l := start(t, Config{Concurrency: 2, Timeout: time.Minute})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := l.Invoke(ctx, []byte(`{"mode":"sleep","for":"1m"}`)); err != context.DeadlineExceeded {
		t.Errorf("got %v", err)
	}
	errs := make(chan error)
	for range 3 { // one of them waits
		go func() {
			_, err := l.Invoke(t.Context(), []byte(`{"mode":"sleep","for":"1m"}`))
			errs <- err
		}()
	}
	time.Sleep(200 * time.Millisecond)
	if err := l.Stop(); err != nil {
		t.Error(err)
	}
	for range 3 {
		if err := <-errs; err != context.Canceled {
			t.Errorf("got %v", err)
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	if _, err := l.Invoke(t.Context(), []byte(`{}`)); err == nil {
		t.Error("it goes on")
	}
	if len(l.environments()) > 0 {
		t.Errorf("%d processes are left", len(l.environments()))
	}
}

// A process does nothing between invocations.
func TestFrozen(t *testing.T) {
	l := start(t, Config{Timeout: 10 * time.Second})
	ticks := func() int {
		n, err := strconv.Atoi(string(invoke(t, l, `{"mode":"ticks"}`).Payload))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := ticks()
	time.Sleep(500 * time.Millisecond)
	if after := ticks(); after-before > 20 {
		t.Errorf("500 ms later: %d ticks of 10 ms were counted", after-before)
	}
	invoke(t, l, `{"mode":"sleep","for":"500ms"}`)
	if after := ticks(); after-before < 25 {
		t.Errorf("500 ms in an invocation: %d ticks of 10 ms were counted", after-before)
	}
	if u := l.Usage(); u.Starts != 1 {
		t.Errorf("got %+v, want 1 start", u)
	}
}

// What an invocation costs beside the function itself.
func BenchmarkInvoke(b *testing.B) {
	l, err := Start(b.Context(), Config{Bootstrap: echo, Concurrency: 4, Timeout: time.Minute})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Stop()
	b.SetParallelism(4)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if r, err := l.Invoke(b.Context(), []byte(`{"mode":"echo"}`)); err != nil || r.FunctionError != "" {
				b.Errorf("got %+v %v", r, err)
			}
		}
	})
}

func TestMemoryIsMeasured(t *testing.T) {
	l := start(t, Config{Timeout: 10 * time.Second})
	if r := invoke(t, l, `{"mode":"memory","size":100000000}`); r.MaxRSS < 100e6 || r.MaxRSS > 200e6 {
		t.Errorf("100 MB, running: got %d", r.MaxRSS)
	}
	invoke(t, l, `{"mode":"exit"}`)
	if u := l.Usage(); u.MaxRSS < 100e6 || u.MaxRSS > 200e6 {
		t.Errorf("100 MB, ended: got %d", u.MaxRSS)
	}
}

func TestConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{Bootstrap: "none"}, "bootstrap: stat none: no such file or directory; build it first"},
		{Config{Bootstrap: file}, "bootstrap: " + file + " is not a program"},
		{Config{Bootstrap: echo, Timeout: -1}, "a limit is negative: 0 environments, -1ns, 0 MB"},
	} {
		if _, err := Start(t.Context(), c.config); err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
	l := start(t, Config{})
	if _, err := l.Invoke(t.Context(), make([]byte, maxPayload+1)); err == nil {
		t.Error("an event of more than 6 MB is taken")
	}
}
