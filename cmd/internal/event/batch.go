package event

import (
	"encoding/json"
	"errors"
	"fmt"
)

// readBatch reads a batch of SQS messages. The same id twice is one message:
// a queue may deliver a message twice, and Lambda hears of ids only.
func readBatch(env envelope) (Event, error) {
	e := Event{Kind: KindSQS}
	bodies := make(map[string][]json.RawMessage)
	for i, raw := range env.records {
		id, body, err := readMessage(raw)
		if err != nil {
			return Event{}, inRecord(i, err)
		}
		if bodies[id] == nil {
			e.Messages = append(e.Messages, id)
		}
		bodies[id] = append(bodies[id], body)
	}
	for _, id := range e.Messages {
		n, err := readBodies(bodies[id])
		if err != nil {
			e.Failed = append(e.Failed, Failed{Message: id, Err: err})
			continue
		}
		e.take(n, id)
	}
	return e, nil
}

// readMessage reads a message's id, and leaves its body to be read. Without an
// id Lambda cannot be told which message failed, so that is an error of the
// whole batch.
//
// Source: Lambda Developer Guide, "Using Lambda with Amazon SQS".
func readMessage(raw []byte) (id string, body json.RawMessage, err error) {
	var m struct {
		EventSource string          `json:"eventSource"`
		MessageID   string          `json:"messageId"`
		Body        json.RawMessage `json:"body"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return "", nil, err
	}
	if m.EventSource != "aws:sqs" {
		return "", nil, fmt.Errorf("eventSource is %q among records of aws:sqs", cut(m.EventSource, 40))
	}
	if m.MessageID == "" {
		return "", nil, errors.New("messageId is missing")
	}
	return m.MessageID, m.Body, nil
}

// readBodies reads the body of a message, or the bodies of what came with the
// same id. If one cannot be read, none counts.
func readBodies(bodies []json.RawMessage) (notices, error) {
	var n notices
	for _, b := range bodies {
		if err := n.readBody(b); err != nil {
			return notices{}, fmt.Errorf("body: %w", err)
		}
	}
	return n, nil
}

func (n *notices) readBody(raw json.RawMessage) error {
	text, err := readText(raw)
	if err != nil {
		return err
	}
	env, err := open([]byte(text))
	if err != nil {
		return err
	}
	return n.read(env)
}

// take adds what the message of that id tells.
func (e *Event) take(n notices, id string) {
	for _, o := range n.objects {
		o.Message = id
		e.Objects = append(e.Objects, o)
	}
	for _, i := range n.ignored {
		i.Message = id
		e.Ignored = append(e.Ignored, i)
	}
}
