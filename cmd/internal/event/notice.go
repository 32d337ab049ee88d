package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"
)

// notices gathers what one SQS message, or one payload without messages, tells
// of objects.
type notices struct {
	objects []Object
	ignored []Ignored
	at      map[identity]int // into objects
}

// An identity is what makes two notices be about the same object. The sequencer
// is not in it: an object written again with the same content is the same.
type identity struct{ bucket, key, version, etag string }

// add keeps o, or the newer of o and the same object told before: so an object
// that was replaced and then restored is not taken for the older one.
func (n *notices) add(o Object) {
	id := identity{o.Bucket, o.Key, o.VersionID, o.ETag}
	i, ok := n.at[id]
	if !ok {
		if n.at == nil {
			n.at = make(map[identity]int)
		}
		n.at[id] = len(n.objects)
		n.objects = append(n.objects, o)
		return
	}
	if Newer(o.Sequencer, n.objects[i].Sequencer) {
		n.objects[i] = o
	}
}

func (n *notices) ignore(what, why string) {
	n.ignored = append(n.ignored, Ignored{What: what, Why: why})
}

// read takes in an envelope that tells of objects. Only SNS holds another
// envelope, and readTopic lets it hold no SNS, so this goes two deep at most.
func (n *notices) read(env envelope) error {
	switch env.kind {
	case KindS3:
		return n.readS3(env)
	case KindEventBridge:
		return n.readBus(env)
	case KindSNS:
		return n.readTopic(env)
	}
	return fmt.Errorf("a payload of the kind %s is understood only if it comes to the function directly", env.kind)
}

// s3Record is an element of Records of an S3 notification.
//
// Source: S3 User Guide, "Event message structure".
type s3Record struct {
	EventSource string `json:"eventSource"`
	EventName   string `json:"eventName"`
	EventTime   string `json:"eventTime"`
	S3          struct {
		Bucket struct {
			Name string `json:"name"`
		} `json:"bucket"`
		Object struct {
			Key       string `json:"key"`
			Size      int64  `json:"size"`
			ETag      string `json:"eTag"`
			VersionID string `json:"versionId"`
			Sequencer string `json:"sequencer"`
		} `json:"object"`
	} `json:"s3"`
}

// readS3 takes in an S3 notification, or S3's test event, which alone of them
// has no Records.
func (n *notices) readS3(env envelope) error {
	if env.records == nil {
		return n.readTest(env.fields)
	}
	for i, raw := range env.records {
		if err := n.readS3Record(raw); err != nil {
			return inRecord(i, err)
		}
	}
	return nil
}

func (n *notices) readTest(f fields) error {
	bucket, err := f.text("Bucket")
	if err != nil {
		return err
	}
	n.ignore("s3:TestEvent of "+place(bucket, ""), "S3 sends it when a notification is set up")
	return nil
}

func (n *notices) readS3Record(raw []byte) error {
	var r s3Record
	if err := json.Unmarshal(raw, &r); err != nil {
		return err
	}
	if r.EventSource != "aws:s3" {
		return fmt.Errorf("eventSource is %q among records of aws:s3", cut(r.EventSource, 40))
	}
	if r.EventName == "" {
		return errors.New("eventName is missing")
	}
	if !strings.HasPrefix(r.EventName, "ObjectCreated:") {
		n.ignore(place(r.S3.Bucket.Name, r.S3.Object.Key),
			fmt.Sprintf("eventName is %q, not ObjectCreated", cut(r.EventName, 80)))
		return nil
	}
	key, err := url.QueryUnescape(r.S3.Object.Key)
	if err != nil {
		return fmt.Errorf("s3.object.key %q is not URL-encoded: %w", cut(r.S3.Object.Key, maxName), err)
	}
	t, err := readTime(r.EventTime)
	if err != nil {
		return fmt.Errorf("eventTime: %w", err)
	}
	o := Object{
		Bucket:    r.S3.Bucket.Name,
		Key:       key,
		VersionID: r.S3.Object.VersionID,
		ETag:      strings.Trim(r.S3.Object.ETag, `"`),
		Size:      r.S3.Object.Size,
		Sequencer: r.S3.Object.Sequencer,
		Time:      t,
	}
	if err := check(o); err != nil {
		return fmt.Errorf("s3: %w", err)
	}
	n.add(o)
	return nil
}

// busDetail is the detail of an EventBridge event of S3. Unlike in an S3
// notification, the key is not encoded.
//
// Source: S3 User Guide, "EventBridge event message structure".
type busDetail struct {
	Bucket struct {
		Name string `json:"name"`
	} `json:"bucket"`
	Object struct {
		Key       string `json:"key"`
		Size      int64  `json:"size"`
		ETag      string `json:"etag"`
		VersionID string `json:"version-id"`
		Sequencer string `json:"sequencer"`
	} `json:"object"`
}

func (n *notices) readBus(env envelope) error {
	name, err := env.fields.text("detail-type")
	if err != nil {
		return err
	}
	var d busDetail
	if raw := env.fields["detail"]; raw != nil {
		err = json.Unmarshal(raw, &d)
	}
	if name != "Object Created" {
		// What else S3 tells may have any detail, or none.
		n.ignore(place(d.Bucket.Name, d.Object.Key),
			fmt.Sprintf("detail-type is %q, not Object Created", cut(name, 80)))
		return nil
	}
	if err != nil {
		return fmt.Errorf("detail: %w", err)
	}
	text, err := env.fields.text("time")
	if err != nil {
		return err
	}
	t, err := readTime(text)
	if err != nil {
		return fmt.Errorf("time: %w", err)
	}
	o := Object{
		Bucket:    d.Bucket.Name,
		Key:       d.Object.Key,
		VersionID: d.Object.VersionID,
		ETag:      strings.Trim(d.Object.ETag, `"`),
		Size:      d.Object.Size,
		Sequencer: d.Object.Sequencer,
		Time:      t,
	}
	if err := check(o); err != nil {
		return fmt.Errorf("detail: %w", err)
	}
	n.add(o)
	return nil
}

// notification is what SNS delivers: the member Sns of a record to Lambda, the
// whole body to SQS.
//
// Source: SNS Developer Guide, "Fanout to Lambda functions" and "Fanout to SQS
// queues".
type notification struct {
	Type    string  `json:"Type"`
	Message *string `json:"Message"`
}

func (n *notices) readTopic(env envelope) error {
	if env.records == nil {
		var body notification
		var err error
		if body.Type, err = env.fields.text("Type"); err != nil {
			return err
		}
		text, err := env.fields.text("Message")
		if err != nil {
			return err
		}
		body.Message = &text
		return n.readNotification(body)
	}
	for i, raw := range env.records {
		var r struct {
			EventSource string       `json:"EventSource"`
			SNS         notification `json:"Sns"`
		}
		err := json.Unmarshal(raw, &r)
		if err == nil && r.EventSource != "aws:sns" {
			err = fmt.Errorf("EventSource is %q among records of aws:sns", cut(r.EventSource, 40))
		}
		if err == nil {
			err = n.readNotification(r.SNS)
		}
		if err != nil {
			return inRecord(i, err)
		}
	}
	return nil
}

// readNotification takes in the envelope in an SNS notification. A topic whose
// subscription awaits confirmation is an error, not ignored: somebody has to
// confirm it, and finds the address for that in the dead-letter queue.
func (n *notices) readNotification(s notification) error {
	if s.Type != "Notification" {
		return fmt.Errorf("its Type is %q, not Notification; a SubscriptionConfirmation is to be confirmed at its SubscribeURL", cut(s.Type, 40))
	}
	if s.Message == nil {
		return errors.New("its Message is missing")
	}
	env, err := open([]byte(*s.Message))
	if err == nil && env.kind == KindSNS {
		err = errors.New("an SNS notification is inside another")
	}
	if err == nil {
		err = n.read(env)
	}
	if err != nil {
		return fmt.Errorf("its Message: %w", err)
	}
	return nil
}

// check tells what no object of S3 can have.
func check(o Object) error {
	switch {
	case o.Bucket == "":
		return errors.New("bucket.name is missing")
	case len(o.Bucket) > 255 || strings.Contains(o.Bucket, "/"):
		// Old buckets in us-east-1 have names of up to 255 characters.
		return fmt.Errorf("bucket.name %q is not the name of a bucket", cut(o.Bucket, 80))
	case o.Key == "":
		return errors.New("object.key is missing")
	case len(o.Key) > maxName:
		return fmt.Errorf("object.key has %d bytes, and S3 allows %d", len(o.Key), maxName)
	case !utf8.ValidString(o.Key):
		return fmt.Errorf("object.key %q is not UTF-8", o.Key)
	case o.Size < 0:
		return fmt.Errorf("object.size is %d", o.Size)
	case max(len(o.ETag), len(o.VersionID), len(o.Sequencer)) > maxName:
		return fmt.Errorf("the ETag, version ID or sequencer has more than %d bytes", maxName)
	}
	return nil
}

// place writes an object for the log, however long and odd its names are.
func place(bucket, key string) string {
	return "s3://" + cut(bucket, 255) + "/" + cut(key, maxName)
}

// readTime reads a time as S3 and EventBridge write it; empty is the zero time.
func readTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is not a time like 2026-11-22T10:15:00Z", cut(s, 80))
	}
	t = t.UTC()
	if !plausible(t) {
		return time.Time{}, fmt.Errorf("%q is not from 1970 to 9999", cut(s, 80))
	}
	return t, nil
}

// plausible tells times that can be written with a year of four digits.
func plausible(t time.Time) bool {
	return t.Unix() >= 0 && t.Year() <= 9999
}
