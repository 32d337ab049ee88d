package runtimeapi

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"
)

// Async hands events to a function for those who do not wait for an answer:
// S3, SNS and EventBridge. An event whose invocation fails is tried again,
// under the same request ID, and then given up.
//
// Source: Lambda Developer Guide, "How Lambda handles errors and retries with
// asynchronous invocation".
type Async struct {
	Lambda *Lambda
	// Retries is how often an event is tried again; 2, as at AWS, if zero,
	// and not at all if negative.
	Retries int
	// Delay is how long to wait before a retry. AWS waits a minute before
	// the first one and two before the second.
	Delay time.Duration
	// OnFailure takes what is given up. It may be called by several
	// goroutines at a time.
	OnFailure func(Failure)

	group sync.WaitGroup
	mu    sync.Mutex
	errs  []error
}

// A Failure is an event that was given up, as AWS describes it to the
// destination for failures.
type Failure struct {
	Version         string          `json:"version"`
	Timestamp       time.Time       `json:"timestamp"`
	RequestContext  RequestContext  `json:"requestContext"`
	RequestPayload  json.RawMessage `json:"requestPayload"`
	ResponseContext ResponseContext `json:"responseContext"`
	ResponsePayload json.RawMessage `json:"responsePayload"`
}

// RequestContext says what was tried, and why no more.
type RequestContext struct {
	RequestID              string `json:"requestId"`
	FunctionARN            string `json:"functionArn"`
	Condition              string `json:"condition"` // always RetriesExhausted
	ApproximateInvokeCount int    `json:"approximateInvokeCount"`
}

// ResponseContext says how the last try ended.
type ResponseContext struct {
	StatusCode      int    `json:"statusCode"`
	ExecutedVersion string `json:"executedVersion"`
	FunctionError   string `json:"functionError"` // always Unhandled
}

// Send takes an event, and returns at once. The event is tried until ctx is
// done.
func (a *Async) Send(ctx context.Context, payload []byte) {
	a.group.Go(func() {
		if err := a.deliver(ctx, payload); err != nil {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.errs = append(a.errs, err)
		}
	})
}

// Wait waits until every event that was sent was handled or given up. Its
// error says which were neither.
func (a *Async) Wait() error {
	a.group.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	return errors.Join(a.errs...)
}

func (a *Async) retries() int {
	if a.Retries == 0 {
		return 2
	}
	return max(0, a.Retries)
}

func (a *Async) deliver(ctx context.Context, payload []byte) error {
	id := newID()
	for try := 1; ; try++ {
		result, err := a.Lambda.invoke(ctx, id, payload)
		if err != nil {
			return err
		}
		if result.FunctionError == "" {
			return nil
		}
		if try > a.retries() {
			a.giveUp(payload, result, try)
			return nil
		}
		select {
		case <-time.After(a.Delay):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (a *Async) giveUp(payload []byte, r Result, tries int) {
	if a.OnFailure == nil {
		return
	}
	a.OnFailure(Failure{
		Version:         "1.0",
		Timestamp:       time.Now().UTC(),
		RequestContext:  RequestContext{r.RequestID, a.Lambda.config.arn() + ":$LATEST", "RetriesExhausted", tries},
		RequestPayload:  payload,
		ResponseContext: ResponseContext{200, "$LATEST", "Unhandled"},
		ResponsePayload: r.Payload,
	})
}
