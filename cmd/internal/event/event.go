// Package event turns the payload of one Lambda invocation into what is to be
// done: objects to digest, log events to digest, or a report to make.
//
// The vocabulary is that of AWS. A notice tells that an object of S3 was
// created. It comes as an S3 notification (Records of eventSource aws:s3, the
// key form-URL-encoded) or as an EventBridge event (source aws.s3, detail-type
// "Object Created", the key as it is). Both come to the function directly, as
// the Message of an SNS notification, or as the body of an SQS message, which
// may itself be an SNS notification. Nothing is nested deeper.
//
//	e, err := event.Parse(payload)
//	if err != nil {
//		return nil, err // Lambda tries again, then sends it to the dead-letter queue
//	}
//	var failed []string
//	for _, o := range e.Objects {
//		if err := digest(ctx, o); err != nil {
//			failed = append(failed, o.Message)
//		}
//	}
//	return e.Response(failed), nil
//
// The package calls nothing and knows no clock. It takes S3 at its word: a
// notice may be late, repeated, out of order, or about an object that has been
// deleted since. It does not know which objects are flow logs.
package event

import (
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
)

// A Kind is the outermost envelope of a payload, in a word for the log.
type Kind string

// The kinds of payload. KindS3 includes S3's test event. KindSchedule is both
// the Scheduled Event of EventBridge and the payload that EventBridge Scheduler
// is set to send, so a KindEventBridge never asks for a report.
const (
	KindS3          Kind = "s3"
	KindSQS         Kind = "sqs"
	KindSNS         Kind = "sns"
	KindEventBridge Kind = "eventbridge"
	KindLogs        Kind = "logs"
	KindSchedule    Kind = "schedule"
)

// An Event is what one invocation asks for.
type Event struct {
	// Kind is that of the outermost envelope.
	Kind Kind
	// Objects were created, in the order of the payload. An object of which one
	// message, or one payload without messages, tells several times is here
	// once; in two messages it is here twice, so that each message is done when
	// all its objects are.
	Objects []Object
	// Logs is the batch of a subscription; nil unless Kind is KindLogs, and nil
	// for a control message.
	Logs *Logs
	// Report is the time for which a report was scheduled, in UTC; zero unless
	// Kind is KindSchedule.
	Report time.Time
	// Ignored is what was left out on purpose. It is done, not failed.
	Ignored []Ignored
	// Failed are the SQS messages that cannot be read. Nothing of them is in
	// Objects or Ignored. They are to be reported as failures, so that they
	// come to the dead-letter queue; Response does.
	Failed []Failed
	// Messages are the ids of all SQS messages, in order and each once, the
	// failed ones included; empty unless Kind is KindSQS.
	Messages []string
}

// An Object is an object of S3 that was created.
type Object struct {
	// Bucket is the bucket's name, never empty and without a slash.
	Bucket string
	// Key is the decoded key: 1 to 1,024 bytes of UTF-8, any characters.
	Key string
	// VersionID is empty in a bucket without versions.
	VersionID string
	// ETag is without the quotes that it has in HTTP headers. It is opaque, and
	// can be empty.
	ETag string
	// Size is in bytes; 0 also where the notice does not tell it.
	Size int64
	// Sequencer orders the notices of one key; see Newer. It can be empty.
	Sequencer string
	// Time is when S3 finished the request, in UTC; zero where the notice does
	// not tell it.
	Time time.Time
	// Message is the id of the SQS message that told of the object; empty for
	// the other kinds.
	Message string
}

// Logs is a batch of log events, as a subscription filter of CloudWatch Logs
// sends it. All are of one log stream.
//
// Source: CloudWatch Logs User Guide, "Subscription filters with Lambda".
type Logs struct {
	Group, Stream string // never empty
	Owner         string // the account of the log group
	Filters       []string
	Events        []LogEvent
}

// A LogEvent is one line of a log stream.
type LogEvent struct {
	ID   string    // unique in its log group
	Time time.Time // in UTC, to the millisecond
	Text string    // the line, without a line feed
}

// An Ignored is something that a payload told of and that is not to be done.
type Ignored struct {
	What    string // the object or the event
	Why     string
	Message string // the id of its SQS message; empty for the other kinds
}

// A Failed is an SQS message that cannot be read.
type Failed struct {
	Message string // its id
	Err     error  // where in the body, and what was expected
}

const (
	// maxPayload is above Lambda's quota for a payload, 6 MB.
	// Source: Lambda Developer Guide, "Lambda quotas".
	maxPayload = 8 << 20
	// maxRecords is the largest batch of SQS messages.
	// Source: Lambda Developer Guide, "Configuring scaling for SQS".
	maxRecords = 10_000
	// maxName is the longest key or version ID of S3, in bytes.
	// Source: S3 User Guide, "Naming Amazon S3 objects".
	maxName = 1024
)

// Parse reads the payload of an invocation. It fails if the payload is of no
// kind that is known, and the error then says what it looks like; if it is
// not well formed; or if it is larger than anything Lambda sends. A message of
// an SQS batch that cannot be read is no error but one of Event.Failed, unless
// its id cannot be read either. It never returns a part of an event with an
// error.
func Parse(payload []byte) (Event, error) {
	e, err := parse(payload)
	if err != nil {
		return Event{}, fmt.Errorf("payload: %w", err)
	}
	return e, nil
}

func parse(payload []byte) (Event, error) {
	if len(payload) > maxPayload {
		return Event{}, fmt.Errorf("it has %d bytes, and Lambda sends at most 6 MB", len(payload))
	}
	env, err := open(payload)
	if err != nil {
		return Event{}, err
	}
	switch env.kind {
	case KindSQS:
		return readBatch(env)
	case KindLogs:
		return readLogs(env)
	case KindSchedule:
		return readSchedule(env)
	}
	var n notices
	if err := n.read(env); err != nil {
		return Event{}, err
	}
	return Event{Kind: env.kind, Objects: n.objects, Ignored: n.ignored}, nil
}

// Response is what the function returns to Lambda: for an SQS batch a
// events.SQSEventResponse that lists the messages to be delivered again, and
// nil for the other kinds. Listed are those of e.Failed and failed, each once
// and in the order of the batch. The event source mapping must have
// ReportBatchItemFailures, or Lambda takes the whole batch for done.
//
// An id that is not of this batch is listed, too: Lambda then delivers the
// whole batch again, which is safer than to lose a message.
//
// Source: Lambda Developer Guide, "Handling errors for an SQS event source".
func (e Event) Response(failed []string) any {
	if e.Kind != KindSQS {
		return nil
	}
	again := make(map[string]bool)
	for _, f := range e.Failed {
		again[f.Message] = true
	}
	for _, id := range failed {
		again[id] = true
	}
	// An empty list, not null: null means the same, but only to Lambda.
	items := []events.SQSBatchItemFailure{}
	list := func(ids []string) {
		for _, id := range ids {
			if again[id] {
				items = append(items, events.SQSBatchItemFailure{ItemIdentifier: id})
				delete(again, id)
			}
		}
	}
	list(e.Messages)
	list(failed)
	return events.SQSEventResponse{BatchItemFailures: items}
}

// Newer reports whether the notice with sequencer a was made after the one with
// sequencer b. Both must be of the same key. The shorter is extended with zeros
// at its right, and then they compare as text, in either case of letters: S3
// notifications have upper case, EventBridge events lower. No sequencer at all
// is never newer.
//
// Source: S3 User Guide, "Event message structure", sequencer.
func Newer(a, b string) bool {
	digits := max(len(a), len(b))
	pad := func(s string) string {
		return strings.ToLower(s + strings.Repeat("0", digits-len(s)))
	}
	return pad(a) > pad(b)
}
