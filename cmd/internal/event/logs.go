package event

import (
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

const (
	// maxUnpacked bounds what a payload unpacks to. Six megabytes of base64 are
	// 4.5 MB of gzip, and flow log records pack to a fifth to a tenth.
	maxUnpacked = 64 << 20
	// maxLogEvents bounds the memory of log events with next to no text: one
	// with its id and time takes about 100 bytes of JSON, so that a true batch
	// of maxUnpacked has fewer.
	maxLogEvents = 1_000_000
)

// readLogs reads a batch of a subscription: gzip in base64 in JSON.
func readLogs(env envelope) (Event, error) {
	f, err := readFields(env.fields["awslogs"])
	if err != nil {
		return Event{}, fmt.Errorf("awslogs: %w", err)
	}
	data, err := f.text("data")
	if err != nil {
		return Event{}, fmt.Errorf("awslogs: %w", err)
	}
	b, err := unpack(data)
	if err != nil {
		return Event{}, fmt.Errorf("awslogs.data, unpacked: %w", err)
	}
	e := Event{Kind: KindLogs}
	if b.messageType != "DATA_MESSAGE" {
		e.Ignored = []Ignored{{
			What: fmt.Sprintf("subscription message of log group %q", cut(b.Group, 512)),
			Why:  fmt.Sprintf("messageType is %q, not DATA_MESSAGE", cut(b.messageType, 80)),
		}}
		return e, nil
	}
	if b.Group == "" || b.Stream == "" {
		return Event{}, errors.New("awslogs.data, unpacked: logGroup or logStream is missing")
	}
	e.Logs = &b.Logs
	return e, nil
}

type logBatch struct {
	Logs
	messageType string
}

// unpack reads the JSON as a stream, so that the batch is in memory once.
func unpack(data string) (logBatch, error) {
	zr, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, strings.NewReader(data)))
	if err != nil {
		return logBatch{}, fmt.Errorf("it is not gzip in base64: %w", err)
	}
	dec := json.NewDecoder(&bounded{r: zr, left: maxUnpacked + 1})
	var b logBatch
	err = eachField(dec, func(name string) error {
		if err := b.readField(dec, name); err != nil {
			return fmt.Errorf("%s: %w", cut(name, 40), err)
		}
		return nil
	})
	if err == nil {
		err = atEnd(dec)
	}
	if err == nil && b.messageType == "" {
		err = errors.New("messageType is missing")
	}
	return b, err
}

func (b *logBatch) readField(dec *json.Decoder, name string) error {
	switch name {
	case "messageType":
		return dec.Decode(&b.messageType)
	case "owner":
		return dec.Decode(&b.Owner)
	case "logGroup":
		return dec.Decode(&b.Group)
	case "logStream":
		return dec.Decode(&b.Stream)
	case "subscriptionFilters":
		return b.readFilters(dec)
	case "logEvents":
		return b.readEvents(dec)
	}
	var other json.RawMessage
	return dec.Decode(&other)
}

func (b *logBatch) readFilters(dec *json.Decoder) error {
	const most = 100 // CloudWatch Logs allows 2 of a log group
	return eachElement(dec, func() error {
		if len(b.Filters) == most {
			return fmt.Errorf("there are more than %d", most)
		}
		var name string
		if err := dec.Decode(&name); err != nil {
			return err
		}
		b.Filters = append(b.Filters, name)
		return nil
	})
}

func (b *logBatch) readEvents(dec *json.Decoder) error {
	return eachElement(dec, func() error {
		if len(b.Events) == maxLogEvents {
			return fmt.Errorf("there are more than %d", maxLogEvents)
		}
		e, err := readLogEvent(dec)
		if err != nil {
			return fmt.Errorf("[%d]: %w", len(b.Events), err)
		}
		b.Events = append(b.Events, e)
		return nil
	})
}

func readLogEvent(dec *json.Decoder) (LogEvent, error) {
	var e struct {
		ID        string  `json:"id"`
		Timestamp *int64  `json:"timestamp"`
		Message   *string `json:"message"`
	}
	if err := dec.Decode(&e); err != nil {
		return LogEvent{}, err
	}
	if e.Timestamp == nil || e.Message == nil {
		return LogEvent{}, errors.New("timestamp or message is missing")
	}
	t := time.UnixMilli(*e.Timestamp).UTC()
	if !plausible(t) {
		return LogEvent{}, fmt.Errorf("timestamp %d is not in milliseconds since 1970", *e.Timestamp)
	}
	return LogEvent{ID: e.ID, Time: t, Text: *e.Message}, nil
}

// bounded fails a read after its bound, unlike io.LimitedReader, which pretends
// that there is no more. It fills what it is given: json.Decoder looks through
// all the space that it has so far after every read, which in reads of some
// kilobytes would take minutes for maxUnpacked of it.
type bounded struct {
	r    io.Reader
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, fmt.Errorf("it is larger than %d MiB", maxUnpacked>>20)
	}
	p = p[:min(len(p), b.left)]
	n := 0
	for n < len(p) {
		m, err := b.r.Read(p[n:])
		n += m
		b.left -= m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}
