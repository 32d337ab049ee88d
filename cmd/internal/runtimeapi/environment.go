package runtimeapi

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// An environment is a process and the runtime interface that it talks to.
// All but the interface's handlers belongs to the goroutine whose invocation
// it has.
type environment struct {
	lambda *Lambda
	cmd    *exec.Cmd
	server *http.Server
	temp   string // its folder for temporary files

	calls   chan chan *invocation // the process asks for an event
	answers chan answer           // what it says about the one it has
	gone    chan struct{}         // closed when the process has ended

	next         chan *invocation // takes the next event; nil while there is one
	initDuration time.Duration

	mu      sync.Mutex
	current *invocation // what the process may answer to
}

// An invocation is an event on its way through a process.
type invocation struct {
	id       string
	payload  []byte
	deadline time.Time
}

// An answer is a response, or an error.
type answer struct {
	payload []byte
	failed  *functionError
}

// startEnvironment starts a process.
func startEnvironment(l *Lambda) (*environment, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("runtime interface: %w", err)
	}
	temp, err := os.MkdirTemp("", "lambda")
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	e := &environment{
		lambda:  l,
		temp:    temp,
		calls:   make(chan chan *invocation),
		answers: make(chan answer, 1),
		gone:    make(chan struct{}),
	}
	e.server = &http.Server{Handler: e.handler(), ReadHeaderTimeout: time.Minute}
	c := l.config
	e.cmd = exec.Command(c.Bootstrap)
	e.cmd.Dir = filepath.Dir(c.Bootstrap)
	e.cmd.Env = append(variables(c, listener.Addr().String(), temp), c.Env...)
	e.cmd.WaitDelay = stopTimeout / 2
	var out *lines
	if c.Log != nil {
		out = &lines{log: l.log}
		e.cmd.Stdout, e.cmd.Stderr = out, out
	}
	if err := e.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("bootstrap: %w", err), listener.Close(), os.RemoveAll(temp))
	}
	go func() { _ = e.server.Serve(listener) }() // until it is closed
	go e.wait(out)
	if !l.begun(e) {
		e.kill()
	}
	return e, nil
}

// variables are what AWS sets for a function on an operating system without
// a language's runtime. TMPDIR is not among them there: it stands for /tmp,
// which is each environment's own and ends with it.
//
// Source: Lambda Developer Guide, "Defined runtime environment variables".
func variables(c Config, api, temp string) []string {
	return []string{
		"AWS_LAMBDA_RUNTIME_API=" + api,
		"_HANDLER=" + filepath.Base(c.Bootstrap),
		"AWS_REGION=us-east-1",
		"AWS_DEFAULT_REGION=us-east-1",
		"AWS_LAMBDA_FUNCTION_NAME=" + c.Name,
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=" + strconv.Itoa(c.Memory),
		"AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_INITIALIZATION_TYPE=on-demand",
		"AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/" + c.Name,
		"AWS_LAMBDA_LOG_STREAM_NAME=" + time.Now().UTC().Format("2006/01/02") + "/[$LATEST]" + newID(),
		"LAMBDA_TASK_ROOT=" + filepath.Dir(c.Bootstrap),
		"LAMBDA_RUNTIME_DIR=/var/runtime",
		"LANG=en_US.UTF-8",
		"PATH=/usr/local/bin:/usr/bin/:/bin:/opt/bin",
		"TZ=:UTC",
		"TMPDIR=" + temp,
	}
}

// wait cleans up after the process.
func (e *environment) wait(out *lines) {
	_ = e.cmd.Wait() // its state says how it ended
	if out != nil {
		out.flush()
	}
	_ = e.server.Close()     // nobody is left to answer to
	_ = os.RemoveAll(e.temp) // at worst, the test's own folder keeps it
	e.lambda.ended(e)
	close(e.gone)
}

func (e *environment) kill() { _ = e.cmd.Process.Kill() } // unless it is gone

func (e *environment) isGone() bool {
	select {
	case <-e.gone:
		return true
	default:
		return false
	}
}

// init waits until the process asks for its first event. Its error is a
// functionError if that is the function's fault, and the process is gone
// then.
func (e *environment) init(ctx context.Context) error {
	begin := time.Now()
	limit := time.NewTimer(initTimeout)
	defer limit.Stop()
	var failed *functionError
	for {
		select {
		case e.next = <-e.calls:
			e.initDuration = time.Since(begin)
			select {
			case <-e.answers: // it goes on in spite of its error
			default:
			}
			return nil
		case a := <-e.answers: // to /init/error; the process exits now
			failed = a.failed
		case <-e.gone:
			if failed == nil {
				failed = exit(e.cmd.ProcessState)
			}
			if err := e.givenUp(ctx); err != nil {
				return err
			}
			return failed
		case <-limit.C:
			failed = timeout(initTimeout)
			e.kill()
		case <-ctx.Done():
			return e.end(ctx.Err())
		}
	}
}

// givenUp tells why nobody waits for the process any more: that may be what it
// was killed for.
func (e *environment) givenUp(ctx context.Context) error {
	return cmp.Or(ctx.Err(), e.lambda.stopped.Err())
}

// end kills the process, waits until it is gone, and returns err.
func (e *environment) end(err error) error {
	e.kill()
	select {
	case <-e.gone:
	case <-time.After(stopTimeout):
		err = errors.Join(err, fmt.Errorf("process %d does not end", e.cmd.Process.Pid))
	}
	return err
}

// invoke hands an event to the process and waits until it asks for the next
// one, or is gone. The environment can be used again if e.next is not nil.
func (e *environment) invoke(ctx context.Context, v *invocation) (Result, error) {
	limit := e.lambda.config.Timeout
	begin := time.Now()
	v.deadline = begin.Add(limit)
	e.setCurrent(v)
	e.next <- v // it is buffered
	e.next = nil

	late := time.NewTimer(limit)
	defer late.Stop()
	var kill <-chan time.Time
	if after, ok := e.lambda.killAfter(); ok {
		kill = time.After(after)
	}
	var said *answer
	var broken *functionError
	for {
		select {
		case a := <-e.answers:
			said = &a
		case e.next = <-e.calls:
			if said == nil { // it came before, and both were ready
				a := <-e.answers
				said = &a
			}
			return e.result(v, begin, said), nil
		case <-e.gone:
			select {
			case a := <-e.answers:
				said = &a
			default:
			}
			if said == nil {
				if err := e.givenUp(ctx); err != nil {
					return Result{}, err
				}
				if broken == nil {
					broken = exit(e.cmd.ProcessState)
				}
				said = &answer{failed: broken}
			}
			return e.result(v, begin, said), nil
		case <-late.C:
			broken = timeout(limit)
			e.kill()
		case <-kill:
			e.lambda.killed()
			e.kill()
		case <-ctx.Done():
			return Result{RequestID: v.id}, e.end(ctx.Err())
		}
	}
}

func (e *environment) result(v *invocation, begin time.Time, said *answer) Result {
	e.setCurrent(nil)
	r := Result{RequestID: v.id, Payload: said.payload}
	if said.failed != nil {
		r = said.failed.result(v.id)
	}
	r.Duration = time.Since(begin)
	if e.isGone() {
		r.MaxRSS = maxRSS(e.cmd.ProcessState)
	} else {
		r.MaxRSS = peak(e.cmd.Process.Pid)
	}
	return r
}

func (e *environment) setCurrent(v *invocation) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.current = v
}

// sharedLog is written to by many processes.
type sharedLog struct {
	mu sync.Mutex
	w  io.Writer
}

// lines hands on whole lines of what one process writes.
type lines struct {
	log  *sharedLog
	rest []byte
}

// maxLine bounds what is kept of a line without an end.
const maxLine = 1 << 20

func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	if end := bytes.LastIndexByte(l.rest, '\n') + 1; end > 0 {
		l.write(l.rest[:end])
		l.rest = append(l.rest[:0], l.rest[end:]...)
	}
	if len(l.rest) > maxLine {
		l.flush()
	}
	return len(p), nil
}

// flush writes the line that has no end.
func (l *lines) flush() {
	if len(l.rest) > 0 {
		l.write(append(l.rest, '\n'))
		l.rest = l.rest[:0]
	}
}

func (l *lines) write(p []byte) {
	l.log.mu.Lock()
	defer l.log.mu.Unlock()
	_, _ = l.log.w.Write(p) // a log that fails must not stop the function
}
