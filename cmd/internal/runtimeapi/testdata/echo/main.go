// Echo is a function that answers with its event, or fails in the way that
// the event asks for.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

// event says what to do.
type event struct {
	Mode string   `json:"mode"`
	For  string   `json:"for"`  // how long to sleep
	Size int      `json:"size"` // bytes to answer with, or to fill
	Fail []string `json:"fail"` // SQS messages whose body contains one of them fail
	// Records are those of a queue.
	Records []struct {
		MessageID string `json:"messageId"`
		Body      string `json:"body"`
	}
}

var (
	kept  []byte
	ticks atomic.Int64 // 10 ms each, while the process runs
)

func handle(ctx context.Context, raw json.RawMessage) (any, error) {
	var e event
	if err := json.Unmarshal(raw, &e); err != nil {
		return nil, err
	}
	if len(e.Records) > 0 {
		return batch(e)
	}
	switch e.Mode {
	case "error":
		return nil, errors.New("an error")
	case "panic":
		panic("a panic")
	case "exit":
		os.Exit(3)
	case "leave":
		os.Exit(0)
	case "sleep":
		d, err := time.ParseDuration(e.For)
		if err != nil {
			return nil, err
		}
		time.Sleep(d)
	case "large":
		return strings.Repeat("x", e.Size), nil
	case "memory":
		kept = make([]byte, e.Size)
		for i := range kept {
			kept[i] = 1
		}
	case "ticks":
		return ticks.Load(), nil
	case "context":
		deadline, _ := ctx.Deadline()
		said, _ := lambdacontext.FromContext(ctx)
		return map[string]any{
			"left": time.Until(deadline).Seconds(), "request": said.AwsRequestID, "arn": said.InvokedFunctionArn,
			"pid": os.Getpid(), "env": os.Environ(),
		}, nil
	}
	return raw, nil
}

// batch writes the messages of a queue to standard output and fails as their
// bodies say.
func batch(e event) (any, error) {
	type failure struct {
		ItemIdentifier string `json:"itemIdentifier"`
	}
	failures := []failure{}
	for _, r := range e.Records {
		fmt.Println("message " + r.Body)
		switch mode, _, _ := strings.Cut(r.Body, " "); mode {
		case "fail":
			failures = append(failures, failure{r.MessageID})
		case "error":
			return nil, errors.New("an error")
		case "exit":
			os.Exit(3)
		case "malformed":
			return map[string]any{"batchItemFailures": []map[string]string{{"id": r.MessageID}}}, nil
		}
	}
	return map[string]any{"batchItemFailures": failures}, nil
}

func main() {
	if os.Getenv("BROKEN") != "" {
		fmt.Fprintln(os.Stderr, "broken")
		os.Exit(1)
	}
	go func() {
		for range time.Tick(10 * time.Millisecond) {
			ticks.Add(1)
		}
	}()
	lambda.Start(handle)
}
