package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"unicode/utf8"
)

// An envelope is a JSON object whose kind is known: the payload, the body of an
// SQS message or the Message of an SNS notification.
type envelope struct {
	kind    Kind
	fields  fields
	records []json.RawMessage // of its field Records; nil if it has none
}

// expected ends the error on a payload of no kind that is known.
const expected = `expected is an S3 notification or an EventBridge event of aws.s3 ` +
	`(directly, in SQS, in SNS, or in SNS in SQS), a batch of a CloudWatch Logs subscription, ` +
	`an EventBridge "Scheduled Event", or {"ephemera":"report","time":"2026-11-22T10:15:00Z"}`

// open finds out what kind of envelope raw is. It looks no further than that.
func open(raw []byte) (envelope, error) {
	if !utf8.Valid(raw) {
		return envelope{}, unknown(raw, nil, errors.New("it is not UTF-8"))
	}
	f, err := readFields(raw)
	if err != nil {
		return envelope{}, unknown(raw, f, err)
	}
	env, err := recognize(f)
	if err != nil {
		return envelope{}, unknown(raw, f, err)
	}
	return env, nil
}

// unknown is the error on an envelope of no kind that is known: why, the keys
// that it has, how it begins, and what is expected.
func unknown(raw []byte, f fields, why error) error {
	const most = 20
	keys := slices.Sorted(maps.Keys(f))
	more := ""
	if len(keys) > most {
		keys, more = keys[:most], ", ..."
	}
	for i, k := range keys {
		keys[i] = cut(k, 40)
	}
	has := "it has no keys"
	if len(keys) > 0 {
		has = fmt.Sprintf("its keys are %q%s", keys, more)
	}
	return fmt.Errorf("%w; %s, and it begins %q; %s", why, has, cut(string(raw), 200), expected)
}

// cut returns the first characters of s, most bytes or somewhat fewer.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}

// recognize tells the kind of an envelope by the one field that no other has.
func recognize(f fields) (envelope, error) {
	switch {
	case f.has("Records"):
		return recognizeRecords(f)
	case f.has("awslogs"):
		return envelope{kind: KindLogs, fields: f}, nil
	case f.has("ephemera"):
		return envelope{kind: KindSchedule, fields: f}, nil
	case f.has("detail-type"):
		return recognizeBus(f)
	case f.has("Event"):
		return recognizeTest(f)
	case f.has("TopicArn"):
		return envelope{kind: KindSNS, fields: f}, nil
	}
	return envelope{}, errors.New("it is of no kind that is known")
}

// kinds are the kinds of envelopes that have Records, by eventSource.
var kinds = map[string]Kind{"aws:s3": KindS3, "aws:sqs": KindSQS, "aws:sns": KindSNS}

// recognizeRecords tells the kind of an envelope with Records by the first of
// them. Every record is checked again when it is read.
func recognizeRecords(f fields) (envelope, error) {
	records, err := readRecords(f["Records"])
	if err != nil {
		return envelope{}, fmt.Errorf("its Records: %w", err)
	}
	if len(records) == 0 {
		return envelope{}, errors.New("its Records are none")
	}
	// Of SNS the name is EventSource: encoding/json takes both.
	var first struct {
		EventSource string `json:"eventSource"`
	}
	if err := json.Unmarshal(records[0], &first); err != nil {
		return envelope{}, inRecord(0, err)
	}
	kind, ok := kinds[first.EventSource]
	if !ok {
		return envelope{}, inRecord(0, fmt.Errorf("eventSource is %q", cut(first.EventSource, 40)))
	}
	return envelope{kind: kind, fields: f, records: records}, nil
}

// recognizeBus tells apart the EventBridge events of S3 and of a schedule. The
// latter is of aws.events if a rule of EventBridge sends it, and of
// aws.scheduler if EventBridge Scheduler does and was given no payload.
func recognizeBus(f fields) (envelope, error) {
	source, err := f.text("source")
	if err != nil {
		return envelope{}, err
	}
	detail, err := f.text("detail-type")
	if err != nil {
		return envelope{}, err
	}
	scheduled := detail == "Scheduled Event"
	switch {
	case source == "aws.s3":
		return envelope{kind: KindEventBridge, fields: f}, nil
	case scheduled && (source == "aws.events" || source == "aws.scheduler"):
		return envelope{kind: KindSchedule, fields: f}, nil
	}
	return envelope{}, fmt.Errorf("it is an EventBridge event %q of %q", cut(detail, 80), cut(source, 80))
}

// inRecord adds to err the place, one of Records.
func inRecord(i int, err error) error {
	return fmt.Errorf("%s[%d]: %w", "Records", i, err)
}

func recognizeTest(f fields) (envelope, error) {
	name, err := f.text("Event")
	if err != nil {
		return envelope{}, err
	}
	if name != "s3:TestEvent" {
		return envelope{}, fmt.Errorf("Event is %q, not s3:TestEvent", cut(name, 40))
	}
	return envelope{kind: KindS3, fields: f}, nil
}

// fields are the members of a JSON object, not decoded. Of two with the same
// name the last counts, as everywhere in encoding/json.
type fields map[string]json.RawMessage

func (f fields) has(name string) bool {
	_, ok := f[name]
	return ok
}

// text returns the field of that name, which must be a string.
func (f fields) text(name string) (string, error) {
	s, err := readText(f[name])
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

// readText reads a JSON string; raw is empty where there is none.
func readText(raw json.RawMessage) (string, error) {
	if len(raw) == 0 {
		return "", errors.New("it is missing")
	}
	var s *string
	if err := json.Unmarshal(raw, &s); err != nil || s == nil {
		return "", fmt.Errorf("it is not a string but %s", cut(string(raw), 40))
	}
	return *s, nil
}

// readFields reads a JSON object and nothing after it. With an error come the
// fields that were read before it.
func readFields(raw []byte) (fields, error) {
	// An EventBridge event has 9 fields, an SNS notification in SQS 10.
	const most = 100
	dec := json.NewDecoder(bytes.NewReader(raw))
	f := make(fields)
	n := 0
	err := eachField(dec, func(name string) error {
		if n++; n > most {
			return fmt.Errorf("it has more than %d fields", most)
		}
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return err
		}
		f[name] = v
		return nil
	})
	if err == nil {
		err = atEnd(dec)
	}
	return f, err
}

// readRecords reads a JSON array of at most maxRecords elements.
func readRecords(raw []byte) ([]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	var records []json.RawMessage
	err := eachElement(dec, func() error {
		if len(records) == maxRecords {
			return fmt.Errorf("there are more than %d", maxRecords)
		}
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return err
		}
		records = append(records, v)
		return nil
	})
	return records, err
}

// eachField calls read with the name of each field of the object that comes
// next in dec; read must consume the value.
func eachField(dec *json.Decoder, read func(name string) error) error {
	return between(dec, '{', '}', "an object", func() error {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		s, ok := name.(string)
		if !ok {
			return fmt.Errorf("the name of a field is %v", name)
		}
		return read(s)
	})
}

// eachElement calls read for each element of the array that comes next in dec;
// read must consume it.
func eachElement(dec *json.Decoder, read func() error) error {
	return between(dec, '[', ']', "an array", read)
}

func between(dec *json.Decoder, first, last json.Delim, what string, read func() error) error {
	t, err := dec.Token()
	if err != nil {
		return whole(err)
	}
	if t != first {
		return fmt.Errorf("it is not %s", what)
	}
	for dec.More() {
		if err := read(); err != nil {
			return whole(err)
		}
	}
	if t, err = dec.Token(); err != nil {
		return whole(err)
	}
	if t != last {
		return fmt.Errorf("%s ends with %v", what, t)
	}
	return nil
}

// whole says of an end in the middle of JSON that it is one.
func whole(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it is cut off or empty")
	}
	return err
}

// atEnd checks that nothing but space is left in dec.
func atEnd(dec *json.Decoder) error {
	_, err := dec.Token()
	if err == nil {
		return errors.New("something follows its end")
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
