package function

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"ephemera/cmd/internal/event"
	"ephemera/cmd/internal/store"
	"ephemera/ingest"
	"ephemera/ingest/digest"
	"ephemera/ingest/flow"
)

// digesting is what an invocation has done.
type digesting struct {
	*Function
	bodies map[string]string // of SQS messages
	failed []string          // SQS messages
	errs   []error

	objects, records, bad int64
	read, written         int64 // bytes
	lag                   time.Duration
}

// digest makes the digests of what an event tells.
func (f *Function) digest(ctx context.Context, e event.Event, payload []byte) (any, error) {
	d := &digesting{Function: f, bodies: bodies(e, payload)}
	for _, m := range e.Failed {
		d.fail(ctx, m.Message, m.Message, m.Err, true)
	}
	for _, o := range e.Objects {
		d.object(ctx, o)
	}
	if e.Logs != nil {
		d.logs(ctx, e.Logs)
	}
	if d.objects > 0 {
		if err := d.count(); err != nil {
			f.log.Error("metrics were not written", "error", err.Error())
		}
	}
	if e.Kind == event.KindSQS {
		e.Failed = nil // those that are not among the dead letters are in d.failed
		return e.Response(d.failed), nil
	}
	return nil, errors.Join(d.errs...)
}

// bodies are those of the messages of a queue.
func bodies(e event.Event, payload []byte) map[string]string {
	if e.Kind != event.KindSQS {
		return nil
	}
	var batch events.SQSEvent
	if err := json.Unmarshal(payload, &batch); err != nil {
		return nil
	}
	all := make(map[string]string, len(batch.Records))
	for _, m := range batch.Records {
		all[m.MessageId] = m.Body
	}
	return all
}

func (d *digesting) object(ctx context.Context, o event.Object) {
	place := "s3://" + o.Bucket + "/" + o.Key
	if why := d.foreign(o.Bucket, o.Key); why != "" {
		d.log.Info("ignored", "what", place, "why", why, "message", o.Message)
		return
	}
	if ctx.Err() != nil {
		d.fail(ctx, place, o.Message, errDeadline, false)
		return
	}
	object, err := d.Function.objects.Object(ctx, o.Bucket, o.Key)
	var gone *flow.ObjectError
	if errors.As(err, &gone) && gone.Fault == flow.Gone {
		d.log.Info("ignored", "what", place, "why", "it is not there any more", "message", o.Message)
		return
	}
	if err == nil {
		err = d.make(ctx, o.Bucket+"/"+o.Key, object)
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", errUnfinished, err)
	}
	if err != nil {
		d.fail(ctx, place, o.Message, err, isPermanent(err))
	}
}

// make makes one digest, and counts it.
func (d *digesting) make(ctx context.Context, name string, o ingest.Object) error {
	start := d.now()
	made, err := d.maker.Make(ctx, name, o)
	if made.Name == "" {
		return err
	}
	s := &made.Summary
	bad := int64(0)
	for _, b := range s.Bad {
		bad += b.Count
		d.log.Warn("bad records skipped", "place", b.Place, "records", b.Count, "first", b.First[0].Error, "line", b.First[0].Line, "field", b.First[0].Field)
	}
	if made.Removed > 0 {
		d.log.Info("digests of other contents of the object removed", "object", o.Place, "digests", made.Removed)
	}
	d.objects++
	d.records += s.Records + s.NoData + s.SkipData
	d.bad += bad
	d.read += o.Size
	d.written += made.Bytes
	if s.End > 0 {
		d.lag = max(d.lag, start.Sub(time.Unix(s.End, 0)))
	}
	d.log.Info("digest", "object", o.Place, "digest", d.digests.Place(made.Name), "records", s.Records, "bad", bad,
		"bytes", o.Size, "digest_bytes", made.Bytes, "ms", d.now().Sub(start).Milliseconds())
	return err
}

// logs makes the digest of a batch of a subscription. The batch is told from
// others by the IDs of its events, so that it has one digest however often it
// is sent.
func (d *digesting) logs(ctx context.Context, l *event.Logs) {
	var text bytes.Buffer
	ids := sha256.New()
	for _, e := range l.Events {
		text.WriteString(e.Text)
		text.WriteByte('\n')
		ids.Write(append([]byte(e.ID), 0))
	}
	version := hex.EncodeToString(ids.Sum(nil)[:16])
	place := "cloudwatch:" + l.Group + ":" + l.Stream
	o := ingest.Object{
		Place: place, Start: ingest.UnknownStart, Size: int64(text.Len()), Version: version, Formats: []ingest.Format{d.set.Format},
		Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text.Bytes())), nil },
	}
	// Each batch is an object of its own: its version is part of the name, and
	// no other one takes its place.
	name := strings.Join([]string{"cloudwatch", clean(l.Group), clean(l.Stream), version}, "/")
	if err := d.make(ctx, name, o); err != nil {
		d.fail(ctx, place, "", err, isPermanent(err))
	}
}

// clean makes the name of a log group or stream one folder, which is neither
// "." nor "..".
func clean(name string) string {
	folder := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_':
			return r
		}
		return '.'
	}, name)
	if strings.Trim(folder, ".") == "" {
		return "_" + folder
	}
	return folder
}

// foreign says why an object is not to be digested; "" if it is.
func (d *digesting) foreign(name, key string) string {
	place := "s3://" + name + "/" + key
	for _, own := range []struct {
		env   string
		store store.Store
	}{{envDigests, d.digests}, {envReports, d.reports}} {
		if own.store != nil && strings.HasPrefix(place, own.store.Place("")) {
			return "it lies where this function writes to (" + own.env + ")"
		}
	}
	if digest.IsName(key) {
		return "it is a digest"
	}
	if strings.HasSuffix(key, "/") {
		return "it stands for a folder"
	}
	_, named := ingest.ParseName(key)
	if len(d.set.Sources) == 0 && !named {
		return "its name is not that of a flow log; set " + envSources + " to read it"
	}
	for _, s := range d.set.Sources {
		if strings.HasPrefix(place, s) {
			return ""
		}
	}
	if len(d.set.Sources) > 0 {
		return "it lies outside " + envSources
	}
	return ""
}

// isPermanent reports whether trying again is of no use.
func isPermanent(err error) bool {
	var e *flow.ObjectError
	return errors.As(err, &e) && (e.Fault == flow.Damaged || e.Fault == flow.NotFlowLog)
}

// fail notes what was not done. A message that will never succeed goes to the
// dead letters at once, with the reason, if they have a queue; any other one
// goes back to where it came from.
func (d *digesting) fail(ctx context.Context, what, message string, err error, permanent bool) {
	d.log.Error("not done", "what", what, "error", err.Error(), "message", message, "permanent", permanent)
	if body, ok := d.bodies[message]; ok && permanent && d.sqs != nil {
		sendErr := d.bury(ctx, body, what, message, err)
		if sendErr == nil {
			return
		}
		d.log.Error("the dead letter was not sent", "queue", d.set.DeadLetters, "error", sendErr.Error())
	}
	if message != "" {
		d.failed = append(d.failed, message)
	}
	d.errs = append(d.errs, fmt.Errorf("%s: %w", what, err))
}

// maxReason is the longest reason in a dead letter, in bytes.
const maxReason = 1024

// bury sends a message to the dead letters. The same one can come there twice.
func (d *digesting) bury(ctx context.Context, body, what, message string, reason error) error {
	attribute := func(v string) types.MessageAttributeValue {
		return types.MessageAttributeValue{DataType: aws.String("String"), StringValue: aws.String(sendable(v))}
	}
	_, err := d.sqs.SendMessage(ctx, &sqs.SendMessageInput{
		QueueUrl: &d.set.DeadLetters, MessageBody: &body,
		MessageAttributes: map[string]types.MessageAttributeValue{
			"Reason": attribute(reason.Error()), "What": attribute(what), "MessageId": attribute(message),
		},
	})
	return err
}

// sendable makes text one that SQS takes: its beginning, without what is no
// character of XML 1.0.
//
// Source: SQS API Reference, SendMessage, MessageBody.
func sendable(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == '\ufffe' || r == '\uffff' {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if len(text) <= maxReason {
		return text
	}
	end := maxReason
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}

func (d *digesting) count() error {
	return writeMetrics(d.metrics, d.now(), d.set.Name, []metric{
		{"Objects", "Count", float64(d.objects)}, {"Records", "Count", float64(d.records)}, {"BadRecords", "Count", float64(d.bad)},
		{"Lag", "Seconds", d.lag.Seconds()}, {"ObjectBytes", "Bytes", float64(d.read)}, {"DigestBytes", "Bytes", float64(d.written)},
	})
}
