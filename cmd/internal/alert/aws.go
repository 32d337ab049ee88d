package alert

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	eventtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// NewSender returns a sender to an SNS topic
// (arn:aws:sns:REGION:ACCOUNT:TOPIC, FIFO ones included) or to an EventBridge
// event bus (arn:aws:events:REGION:ACCOUNT:event-bus/NAME), in the ARN's own
// region. It never tries a call again by itself: an alert whose answer was
// lost would come twice.
func NewSender(cfg aws.Config, destination string) (Sender, error) {
	to, err := arn.Parse(destination)
	if err != nil {
		return nil, badDestination(destination)
	}
	bus, isBus := strings.CutPrefix(to.Resource, "event-bus/")
	switch {
	case to.Region == "" || to.AccountID == "":
		return nil, badDestination(destination)
	case to.Service == "sns" && to.Resource != "" && !strings.ContainsAny(to.Resource, ":/"):
		client := sns.NewFromConfig(cfg, func(o *sns.Options) { o.Region, o.Retryer = to.Region, aws.NopRetryer{} })
		return &topic{client, destination, strings.HasSuffix(to.Resource, ".fifo")}, nil
	case to.Service == "events" && isBus && bus != "":
		client := eventbridge.NewFromConfig(cfg, func(o *eventbridge.Options) { o.Region, o.Retryer = to.Region, aws.NopRetryer{} })
		return &eventBus{client, destination}, nil
	}
	return nil, badDestination(destination)
}

func badDestination(destination string) error {
	return fmt.Errorf("alerts to %q: give the ARN of an SNS topic (arn:aws:sns:REGION:ACCOUNT:TOPIC) or of an EventBridge event bus (arn:aws:events:REGION:ACCOUNT:event-bus/NAME)", destination)
}

// A topic is one of SNS. Its message is the alert's text; the attributes id
// and kind serve subscriptions' filters.
type topic struct {
	client *sns.Client
	arn    string
	fifo   bool
}

func (t *topic) Send(ctx context.Context, a Alert) error {
	in := &sns.PublishInput{
		TopicArn: &t.arn, Subject: &a.Subject, Message: &a.Text,
		MessageAttributes: map[string]snstypes.MessageAttributeValue{"id": attribute(a.ID), "kind": attribute(string(a.Kind))},
	}
	if t.fifo {
		in.MessageGroupId, in.MessageDeduplicationId = aws.String(string(a.Kind)), &a.ID
	}
	return once(ctx, t.arn, func(ctx context.Context) error {
		_, err := t.client.Publish(ctx, in)
		return err
	})
}

func attribute(value string) snstypes.MessageAttributeValue {
	return snstypes.MessageAttributeValue{DataType: aws.String("String"), StringValue: &value}
}

// An eventBus is one of EventBridge. An event's detail is the alert.
type eventBus struct {
	client *eventbridge.Client
	arn    string
}

// Source is the source of events, and DetailType their type.
const Source = "ephemera"

// DetailType is the type of the kind's events: "Ephemera nacl-reject".
func (k Kind) DetailType() string { return "Ephemera " + string(k) }

func (b *eventBus) Send(ctx context.Context, a Alert) error {
	detail, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("%s: %w: %w", b.arn, ErrNotSent, err)
	}
	in := &eventbridge.PutEventsInput{Entries: []eventtypes.PutEventsRequestEntry{{
		EventBusName: &b.arn, Source: aws.String(Source), DetailType: aws.String(a.Kind.DetailType()), Detail: aws.String(string(detail)),
	}}}
	return once(ctx, b.arn, func(ctx context.Context) error {
		out, err := b.client.PutEvents(ctx, in)
		if err != nil {
			return err
		}
		return refusal(out)
	})
}

// refusal is the error of an entry that the event bus did not take. Of an
// internal failure it is not sure that it did not.
func refusal(out *eventbridge.PutEventsOutput) error {
	if out.FailedEntryCount == 0 {
		return nil
	}
	if len(out.Entries) == 0 {
		return errors.New("the event was not taken, and no reason was given")
	}
	code := aws.ToString(out.Entries[0].ErrorCode)
	err := fmt.Errorf("%s: %s", code, aws.ToString(out.Entries[0].ErrorMessage))
	if code == "" || strings.HasPrefix(code, "Internal") {
		return err
	}
	return fmt.Errorf("%w: %w", ErrNotSent, err)
}

// once makes a call, and says of its error whether it is sure that nothing was
// sent: there was no connection to send it on, or the answer refuses it.
func once(ctx context.Context, destination string, call func(context.Context) error) error {
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	err := call(ctx)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrNotSent) || connected.Load() && !refused(err):
		return fmt.Errorf("%s: %w", destination, err)
	}
	return fmt.Errorf("%s: %w: %w", destination, ErrNotSent, err)
}

// refused reports whether the error is an answer that says so.
func refused(err error) bool {
	var answer *smithyhttp.ResponseError
	if !errors.As(err, &answer) {
		return false
	}
	status := answer.HTTPStatusCode()
	return status >= 400 && status < 500 && status != http.StatusRequestTimeout
}
