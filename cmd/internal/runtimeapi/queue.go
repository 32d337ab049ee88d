package runtimeapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

// A Message is one of a queue, as SQS gives it to who receives it.
type Message struct {
	ID, Receipt, Body string
	// Attributes are those of the system: ApproximateReceiveCount,
	// SentTimestamp and so on.
	Attributes map[string]string
}

// A Queue is what a Poller needs of SQS. A message that was received is
// hidden for the time that the queue is set to; a message that was received
// too often is moved away by the queue itself. Its methods are called by
// several goroutines at a time.
type Queue interface {
	// Receive returns at most limit messages, ten or fewer, and none if
	// there are none now.
	Receive(ctx context.Context, limit int) ([]Message, error)
	Delete(ctx context.Context, messages []Message) error
	// Left is how many messages there are, hidden ones included.
	Left(ctx context.Context) (int, error)
}

// maxReceive is how many messages SQS gives at a time.
const maxReceive = 10

// A Poller takes messages from a queue and hands them to a function in
// batches, as an event source mapping of Lambda does. What fails is left in
// the queue, which shows it again when its visibility timeout is over.
//
// It does not slow down after errors, and does not split batches that are
// larger than an event may be.
//
// Source: Lambda Developer Guide, "Using Lambda with Amazon SQS" and
// "Handling errors for an SQS event source in Lambda".
type Poller struct {
	Lambda *Lambda
	Queue  Queue
	// ARN is the queue's.
	ARN string
	// Batch is how many messages an event has at most; 10, as at AWS, if
	// zero.
	Batch int
	// Window is how long messages are gathered for a batch.
	Window time.Duration
	// Concurrency is how many batches are handled at a time; as many as the
	// function has environments if zero.
	Concurrency int
	// ReportBatchItemFailures says that the function answers which messages
	// failed. Otherwise all of a batch are done, or fail.
	ReportBatchItemFailures bool
	// Idle is how long to wait when the queue had nothing; 20 ms if zero.
	Idle time.Duration

	mu    sync.Mutex
	usage Polled
}

// Polled counts what a Poller did.
type Polled struct {
	Batches  int
	Messages int // received; one that comes again counts again
	Failed   int // of those, left in the queue
}

// Polled tells what was done until now.
func (p *Poller) Polled() Polled {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.usage
}

// Run handles messages until ctx is done, which is no error. An invocation
// that runs then is broken off, and its messages stay in the queue.
func (p *Poller) Run(ctx context.Context) error {
	return p.each(ctx, func(context.Context) (bool, error) { return false, nil })
}

// Drain handles messages until the queue is empty. Its error is that of ctx
// if it is done before.
func (p *Poller) Drain(ctx context.Context) error {
	err := p.each(ctx, func(ctx context.Context) (bool, error) {
		left, err := p.Queue.Left(ctx)
		return left == 0, err
	})
	if err == nil {
		err = ctx.Err()
	}
	return err
}

// each polls with as many goroutines as there may be batches at a time, each
// until there is no message and done says so, ctx is done, or one fails.
func (p *Poller) each(ctx context.Context, done func(context.Context) (bool, error)) error {
	outer := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	workers := p.Concurrency
	if workers == 0 {
		workers = p.Lambda.config.Concurrency
	}
	for range workers {
		group.Go(func() {
			if err := p.poll(ctx, done); err != nil {
				cancel(err)
			}
		})
	}
	group.Wait()
	if outer.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}

func (p *Poller) poll(ctx context.Context, done func(context.Context) (bool, error)) error {
	for {
		batch, err := p.gather(ctx)
		if err != nil {
			return err
		}
		if len(batch) > 0 {
			if err := p.handle(ctx, batch); err != nil {
				return err
			}
			continue
		}
		if end, err := done(ctx); end || err != nil {
			return err
		}
		if err := sleep(ctx, p.Idle, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// gather receives messages until the batch is full or the window over.
func (p *Poller) gather(ctx context.Context) (batch []Message, err error) {
	limit := p.Batch
	if limit == 0 {
		limit = maxReceive
	}
	for begin := time.Now(); len(batch) < limit; {
		got, err := p.Queue.Receive(ctx, min(limit-len(batch), maxReceive))
		if err != nil {
			return nil, fmt.Errorf("receive from %s: %w", p.ARN, err)
		}
		batch = append(batch, got...)
		left := p.Window - time.Since(begin)
		if left <= 0 || len(batch) == 0 {
			break
		}
		if len(got) == 0 {
			if err := sleep(ctx, min(left, p.Idle), min(left, 20*time.Millisecond)); err != nil {
				return nil, err
			}
		}
	}
	return batch, nil
}

// sleep waits for d, or for otherwise if d is zero.
func sleep(ctx context.Context, d, otherwise time.Duration) error {
	if d == 0 {
		d = otherwise
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// handle invokes the function with a batch and deletes what is done.
func (p *Poller) handle(ctx context.Context, batch []Message) error {
	result, err := p.Lambda.Invoke(ctx, SQSEvent(p.ARN, batch...))
	if err != nil {
		return err
	}
	done := batch
	if result.FunctionError != "" {
		done = nil
	} else if p.ReportBatchItemFailures {
		done = handled(batch, result.Payload)
	}
	p.mu.Lock()
	p.usage.Batches++
	p.usage.Messages += len(batch)
	p.usage.Failed += len(batch) - len(done)
	p.mu.Unlock()
	if len(done) == 0 {
		return nil
	}
	if err := p.Queue.Delete(ctx, done); err != nil {
		return fmt.Errorf("delete from %s: %w", p.ARN, err)
	}
	return nil
}

// handled returns the messages that a partial batch response does not name.
// An empty or null response, or list, means all of them; anything that is
// not of the documented shape, or names what was not in the batch, means
// none.
func handled(batch []Message, response []byte) []Message {
	response = bytes.TrimSpace(response)
	if len(response) == 0 {
		return batch
	}
	var said *struct {
		BatchItemFailures []struct {
			ItemIdentifier *string `json:"itemIdentifier"`
		} `json:"batchItemFailures"`
	}
	if err := json.Unmarshal(response, &said); err != nil {
		return nil
	}
	if said == nil {
		return batch
	}
	failed := map[string]bool{}
	for _, item := range said.BatchItemFailures {
		if item.ItemIdentifier == nil || *item.ItemIdentifier == "" {
			return nil
		}
		failed[*item.ItemIdentifier] = true
	}
	var done []Message
	for _, m := range batch {
		if !failed[m.ID] {
			done = append(done, m)
		}
		delete(failed, m.ID)
	}
	if len(failed) > 0 {
		return nil
	}
	return done
}
