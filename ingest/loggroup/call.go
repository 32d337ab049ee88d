package loggroup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"

	"ephemera/ingest/flow"
)

// API is the part of the CloudWatch Logs client that is used.
type API interface {
	FilterLogEvents(context.Context, *cloudwatchlogs.FilterLogEventsInput, ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.FilterLogEventsOutput, error)
	DescribeLogGroups(context.Context, *cloudwatchlogs.DescribeLogGroupsInput, ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.DescribeLogGroupsOutput, error)
	DescribeLogStreams(context.Context, *cloudwatchlogs.DescribeLogStreamsInput, ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.DescribeLogStreamsOutput, error)
}

// CallsPerSecond is how many calls of FilterLogEvents AWS answers in one
// account and region, whoever makes them. It cannot be raised.
// Source: AWS re:Post Knowledge Center, "CloudWatch Logs throttling".
const CallsPerSecond = 5

// Pace spaces calls of FilterLogEvents evenly. Log groups of one account and
// region share one. Safe for concurrent use.
type Pace struct {
	gap  time.Duration
	mu   sync.Mutex
	next time.Time // of the call that comes next
}

// NewPace lets perSecond calls a second through.
func NewPace(perSecond float64) *Pace {
	return &Pace{gap: time.Duration(float64(time.Second) / perSecond)}
}

// wait waits until it is the caller's turn.
func (p *Pace) wait(ctx context.Context) error {
	p.mu.Lock()
	turn := time.Now()
	if p.next.After(turn) {
		turn = p.next
	}
	p.next = turn.Add(p.gap)
	p.mu.Unlock()

	timer := time.NewTimer(time.Until(turn))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A call is tried maxAttempts times before it fails, with the client's
// pauses in between: bursts of throttling pass in some seconds. The client
// waits for an answer as long as it takes, so an attempt is bounded here.
const (
	maxAttempts    = 8
	attemptTimeout = 30 * time.Second
)

// tries sets how often a call is tried, and makes each attempt wait for its
// turn and end in time. A nil pace is for calls that need none.
func tries(pace *Pace, timeout time.Duration) func(*cloudwatchlogs.Options) {
	attempt := middleware.FinalizeMiddlewareFunc("ephemera/attempt",
		func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
			if pace != nil {
				if err := pace.wait(ctx); err != nil {
					return middleware.FinalizeOutput{}, middleware.Metadata{}, err
				}
			}
			bounded, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			out, metadata, err := next.HandleFinalize(bounded, in)
			switch {
			case err == nil || ctx.Err() != nil:
			case bounded.Err() != nil:
				err = passing{fmt.Errorf("no answer for %v", timeout)}
			case errors.Is(err, io.ErrUnexpectedEOF):
				err = passing{errors.New("the connection broke off in the middle of an answer")}
			}
			return out, metadata, err
		})
	return func(o *cloudwatchlogs.Options) {
		o.RetryMaxAttempts = maxAttempts
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			return stack.Finalize.Insert(attempt, "Retry", middleware.After)
		})
	}
}

// passing is an error that may be gone at the next attempt. The client itself
// takes a time that is up for the user's wish to stop, and half an answer for
// a wrong one.
type passing struct{ error }

// RetryableError tells the client to try again.
func (passing) RetryableError() bool { return true }

// filter calls FilterLogEvents.
func (g *Group) filter(ctx context.Context, in *cloudwatchlogs.FilterLogEventsInput) (*cloudwatchlogs.FilterLogEventsOutput, error) {
	if g.place.ARN != "" {
		in.LogGroupIdentifier = &g.place.ARN
	} else {
		in.LogGroupName = &g.place.Group
	}
	if g.place.StreamPrefix != "" {
		in.LogStreamNamePrefix = &g.place.StreamPrefix
	}
	out, err := g.api.FilterLogEvents(ctx, in, tries(g.pace, g.timeout))
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return out, err
}

// codeOf returns the code of an error that AWS answered with, or "".
func codeOf(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// faults says what AWS's error codes mean. Those that are not here may pass:
// the server cannot answer now.
var faults = map[string]flow.Fault{
	"AccessDeniedException":       flow.Denied,
	"AccessDenied":                flow.Denied,
	"UnrecognizedClientException": flow.Denied,
	"InvalidSignatureException":   flow.Denied,
	"InvalidClientTokenId":        flow.Denied,
	"ExpiredTokenException":       flow.Denied,
	"ExpiredToken":                flow.Denied,
	"ResourceNotFoundException":   flow.Gone,
}

func isDenied(err error) bool { return faults[codeOf(err)] == flow.Denied }

func isGone(err error) bool { return codeOf(err) == "ResourceNotFoundException" }

// explain words an error of the given call, says what to do about it, and
// gives it the Fault of the object that it kept from being read.
func explain(call string, err error) *flow.ObjectError {
	fault, known := faults[codeOf(err)]
	if !known {
		fault = flow.Unreachable
	}
	return &flow.ObjectError{Fault: fault, Err: worded(call, err)}
}

// worded words an error of a call for people. Only what AWS answered is
// wrapped: the end of a connection is not to be taken for the end of a file.
func worded(call string, err error) error {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return fmt.Errorf("%s: %s", call, causeOf(err))
	}
	switch api.ErrorCode() {
	case "AccessDeniedException", "AccessDenied":
		return fmt.Errorf("access denied; the IAM action logs:%s on this log group is needed: %w", call, api)
	case "UnrecognizedClientException", "InvalidSignatureException", "InvalidClientTokenId", "ExpiredTokenException", "ExpiredToken":
		return fmt.Errorf("%s refuses the credentials; sign in again, or give others with --profile: %w", call, api)
	case "ResourceNotFoundException":
		return fmt.Errorf("the log group is not there: %w", api)
	case "ThrottlingException", "Throttling", "LimitExceededException", "TooManyRequestsException":
		return fmt.Errorf("throttled again and again; AWS answers %d calls of FilterLogEvents a second in an account and region, "+
			"whoever makes them: try again when others make less: %w", CallsPerSecond, api)
	}
	return fmt.Errorf("%s: %w", call, api)
}

// causeOf returns the text of err without the words that name the call once
// more.
func causeOf(err error) string {
	var op *smithy.OperationError
	if errors.As(err, &op) {
		err = op.Err
	}
	return err.Error()
}
