// Package runtimeapi is AWS Lambda for tests: it runs a function's real
// bootstrap program and serves it the runtime interface, on loopback.
//
//	l, err := runtimeapi.Start(ctx, runtimeapi.Config{Bootstrap: "bootstrap", Concurrency: 4})
//	...
//	defer l.Stop()
//	result, err := l.Invoke(ctx, []byte(`{"Records": []}`))
//
// An environment is one process with a runtime interface of its own. It
// handles one invocation at a time, is frozen until the next one, and ends
// when the process exits, breaks its deadline or is killed; the invocation
// then fails as it does at AWS, and the next one starts another environment.
//
// On top of it stand what brings events to a function: Async, for those who
// do not wait for an answer, and Poller, for a queue; what the events look
// like: Notice and its envelopes, and Relay, which makes them of what the S3
// server of the tests says; and faults on the way to S3: Proxy.
//
// # Limits
//
// There is no limit of processor time, no extensions, no X-Ray, no response
// streaming, and no throttling: an invocation waits for an environment. What
// a process needs of memory is measured, and not limited.
//
// Source of the interface: Lambda Developer Guide, "Using the Lambda runtime
// API for custom runtimes".
package runtimeapi

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Limits of AWS, from the Lambda Developer Guide, "Lambda quotas" and
// "Understanding the Lambda execution environment lifecycle".
const (
	maxPayload  = 6 << 20 // bytes of an event, and of a response
	initTimeout = 10 * time.Second
)

// stopTimeout is how long a process that was killed may take to be gone.
const stopTimeout = 10 * time.Second

// Config says which function runs, and in what. Only Bootstrap is required.
type Config struct {
	// Bootstrap is the program, as the deployment package holds it.
	Bootstrap string
	// Name is the function's; "function" if empty.
	Name string
	// Env holds the function's variables as NAME=value. They come after, and
	// replace, what AWS sets. Nothing comes from the test's own environment.
	Env []string
	// Concurrency is how many environments there are at most; 1 if zero.
	Concurrency int
	// Timeout is how long an invocation may take; 3 seconds, AWS's default,
	// if zero.
	Timeout time.Duration
	// Memory is what the function is told to have, in MB; 128 if zero.
	Memory int
	// Log takes what the processes write to standard output and error, in
	// whole lines; they are dropped if it is nil.
	Log io.Writer
	// Kill is asked at each invocation whether, and how long after its
	// beginning, its process is killed. It is called by one goroutine at a
	// time. Nil kills none.
	Kill func() (after time.Duration, kill bool)
}

// checked returns the configuration with its defaults, or what is wrong.
func (c Config) checked() (Config, error) {
	info, err := os.Stat(c.Bootstrap)
	if err != nil {
		return c, fmt.Errorf("bootstrap: %w; build it first", err)
	}
	if info.IsDir() || info.Mode()&0o111 == 0 {
		return c, fmt.Errorf("bootstrap: %s is not a program", c.Bootstrap)
	}
	if c.Bootstrap, err = filepath.Abs(c.Bootstrap); err != nil {
		return c, fmt.Errorf("bootstrap: %w", err)
	}
	if c.Concurrency < 0 || c.Timeout < 0 || c.Memory < 0 {
		return c, fmt.Errorf("a limit is negative: %d environments, %v, %d MB", c.Concurrency, c.Timeout, c.Memory)
	}
	if c.Name == "" {
		c.Name = "function"
	}
	if c.Concurrency == 0 {
		c.Concurrency = 1
	}
	if c.Timeout == 0 {
		c.Timeout = 3 * time.Second
	}
	if c.Memory == 0 {
		c.Memory = 128
	}
	return c, nil
}

// arn is the function's.
func (c Config) arn() string {
	return "arn:aws:lambda:us-east-1:123456789012:function:" + c.Name
}

// A Lambda is a function that can be invoked. Its methods may be called by
// many goroutines at a time.
type Lambda struct {
	config Config
	log    *sharedLog
	slots  chan struct{} // one for each environment that may run

	stop    context.CancelFunc
	stopped context.Context

	mu    sync.Mutex
	idle  []*environment // the last one is used first
	alive map[*environment]bool
	usage Usage
}

// Usage counts what a Lambda did.
type Usage struct {
	Invocations int // that ended, with whatever result
	Errors      int // of those, with a FunctionError
	Starts      int // of environments
	Kills       int // that Config.Kill asked for and that met a running process
	Timeouts    int
	MaxRSS      int64 // the most memory that an ended process had, in bytes; 0 where the system does not tell
}

// Start makes a function that can be invoked until ctx is done or Stop is
// called. No process runs before the first invocation.
func Start(ctx context.Context, c Config) (*Lambda, error) {
	c, err := c.checked()
	if err != nil {
		return nil, err
	}
	l := &Lambda{
		config: c,
		log:    &sharedLog{w: c.Log},
		slots:  make(chan struct{}, c.Concurrency),
		alive:  map[*environment]bool{},
	}
	l.stopped, l.stop = context.WithCancel(ctx)
	context.AfterFunc(l.stopped, l.killAll)
	return l, nil
}

// Stop kills all processes and waits until they are gone, at most for ten
// seconds. Invocations that run end with an error.
func (l *Lambda) Stop() error {
	l.stop()
	l.killAll()
	deadline := time.After(stopTimeout)
	for range cap(l.slots) { // whoever has a slot gives it back at once
		select {
		case l.slots <- struct{}{}:
		case <-deadline:
			return errors.New("invocations do not end")
		}
	}
	for _, e := range l.environments() {
		select {
		case <-e.gone:
		case <-deadline:
			return fmt.Errorf("process %d of %s does not end", e.cmd.Process.Pid, l.config.Bootstrap)
		}
	}
	for range cap(l.slots) {
		<-l.slots
	}
	return nil
}

// killAll kills the processes that there are.
func (l *Lambda) killAll() {
	for _, e := range l.environments() {
		e.kill()
	}
}

func (l *Lambda) environments() []*environment {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []*environment
	for e := range l.alive {
		all = append(all, e)
	}
	return all
}

// Usage tells what was done until now.
func (l *Lambda) Usage() Usage {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.usage
}

// Result is how an invocation ended.
type Result struct {
	RequestID string
	// Payload is what the function answered. If it failed, it is AWS's
	// description of the error, in JSON.
	Payload []byte
	// FunctionError is the errorType of an invocation that failed: the
	// function's own, or Sandbox.Timedout, Runtime.ExitError,
	// Function.ResponseSizeTooLarge. It is empty if all went well.
	FunctionError string
	ErrorMessage  string
	// Duration is from handing the event to the process until it asked for
	// the next one or was gone.
	Duration time.Duration
	// InitDuration is from the start of the process until it asked for its
	// first event; zero if the environment was used before.
	InitDuration time.Duration
	// MaxRSS is the most memory that the process has had since it started,
	// in bytes; 0 where the system does not tell.
	MaxRSS int64
}

// Invoke hands an event to the function and waits for the end of the
// invocation. It waits for a free environment first. The error says that
// there was no invocation, or that ctx, or the Lambda, ended during it, in
// which case the process is killed; a function that fails is no error.
func (l *Lambda) Invoke(ctx context.Context, payload []byte) (Result, error) {
	return l.invoke(ctx, newID(), payload)
}

func (l *Lambda) invoke(ctx context.Context, id string, payload []byte) (Result, error) {
	if len(payload) > maxPayload {
		return Result{}, fmt.Errorf("an event of %d bytes: AWS takes 6 MB", len(payload))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.stopped, cancel)()
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	case <-ctx.Done():
		return Result{}, ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	result, err := l.run(ctx, &invocation{id: id, payload: payload})
	if err == nil {
		l.count(result)
	}
	return result, err
}

func (l *Lambda) count(r Result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.usage.Invocations++
	if r.FunctionError != "" {
		l.usage.Errors++
	}
	if r.FunctionError == timedOut {
		l.usage.Timeouts++
	}
}

// run handles one invocation in one environment.
func (l *Lambda) run(ctx context.Context, v *invocation) (Result, error) {
	e, fresh, err := l.ready(ctx)
	var failed *functionError
	if errors.As(err, &failed) {
		return failed.result(v.id), nil
	}
	if err != nil {
		return Result{}, err
	}
	result, err := e.invoke(ctx, v)
	if fresh {
		result.InitDuration = e.initDuration
	}
	if e.next != nil {
		freeze(e.cmd.Process)
		l.mu.Lock()
		l.idle = append(l.idle, e)
		l.mu.Unlock()
	}
	return result, err
}

// ready returns an environment that waits for an event. If a new one does
// not come so far, it starts another, in the time of the invocation, as AWS
// does. If that fails, too, its error is a functionError.
func (l *Lambda) ready(ctx context.Context) (e *environment, fresh bool, err error) {
	e, fresh, err = l.environment(ctx)
	var failed *functionError
	if !errors.As(err, &failed) {
		return e, fresh, err
	}
	limited, cancel := context.WithTimeout(ctx, l.config.Timeout)
	defer cancel()
	e, fresh, err = l.environment(limited)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = timeout(l.config.Timeout)
	}
	return e, fresh, err
}

// environment returns an idle environment, or a new one that asked for its
// first event.
func (l *Lambda) environment(ctx context.Context) (e *environment, fresh bool, err error) {
	l.mu.Lock()
	for len(l.idle) > 0 {
		e := l.idle[len(l.idle)-1]
		l.idle = l.idle[:len(l.idle)-1]
		if !e.isGone() {
			l.mu.Unlock()
			thaw(e.cmd.Process)
			return e, false, nil
		}
	}
	l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	e, err = startEnvironment(l)
	if err != nil {
		return nil, false, err
	}
	if err := e.init(ctx); err != nil {
		return nil, false, err
	}
	return e, true, nil
}

// begun counts an environment that started. It reports false if the Lambda
// was stopped meanwhile.
func (l *Lambda) begun(e *environment) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.alive[e] = true
	l.usage.Starts++
	return l.stopped.Err() == nil
}

// ended counts an environment whose process is gone.
func (l *Lambda) ended(e *environment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.alive, e)
	l.usage.MaxRSS = max(l.usage.MaxRSS, maxRSS(e.cmd.ProcessState))
}

// killAfter asks Config.Kill.
func (l *Lambda) killAfter() (time.Duration, bool) {
	if l.config.Kill == nil {
		return 0, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.config.Kill()
}

func (l *Lambda) killed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.usage.Kills++
}

// The error types of Lambda itself.
const (
	timedOut = "Sandbox.Timedout"
	exited   = "Runtime.ExitError"
	tooLarge = "Function.ResponseSizeTooLarge"
)

// A functionError is why an invocation failed, in AWS's words.
type functionError struct {
	Type    string `json:"errorType"`
	Message string `json:"errorMessage"`
	payload []byte // as the function gave it; made of the rest if nil
}

func (e *functionError) Error() string { return e.Type + ": " + e.Message }

func (e *functionError) result(id string) Result {
	if e.payload == nil {
		e.Message = "RequestId: " + id + " Error: " + e.Message
		e.payload, _ = json.Marshal(e) // two strings
	}
	return Result{RequestID: id, Payload: e.payload, FunctionError: e.Type, ErrorMessage: e.Message}
}

func timeout(after time.Duration) *functionError {
	return &functionError{Type: timedOut, Message: fmt.Sprintf("Task timed out after %.2f seconds", after.Seconds())}
}

// exit describes a process that is gone.
func exit(state *os.ProcessState) *functionError {
	if state.Success() {
		return &functionError{Type: exited, Message: "Runtime exited without providing a reason"}
	}
	return &functionError{Type: exited, Message: "Runtime exited with error: " + state.String()}
}

// newID makes an identifier in the form of AWS's.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
