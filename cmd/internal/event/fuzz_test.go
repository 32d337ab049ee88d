package event

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// FuzzParse tries payloads, the same as the body of an SQS message between two
// good ones, and the same as the text that a subscription packs.
func FuzzParse(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		payload, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
	}
	f.Add([]byte(`{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"g","logStream":"s","subscriptionFilters":["f"],"logEvents":[{"id":"1","timestamp":1,"message":"t"}]}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		e, err := Parse(payload)
		if err == nil && !json.Valid(payload) {
			t.Error("it is not JSON, and was read")
		}
		checkEvent(t, e, err)
		checkBatch(t, payload)
		e, err = Parse(pack(t, string(payload)))
		if err == nil && !json.Valid(payload) {
			t.Error("it is not JSON, and was read as a batch of log events")
		}
		checkEvent(t, e, err)
	})
}

// checkBatch puts body between two good messages, which it must not touch.
func checkBatch(t *testing.T, body []byte) {
	t.Helper()
	if !utf8.Valid(body) {
		return
	}
	const good = `{"Records":[{"eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"b"},"object":{"key":"k"}}}]}`
	type m = map[string]any
	batch := marshal(t, m{"Records": []m{
		{"eventSource": "aws:sqs", "messageId": "first", "body": good},
		{"eventSource": "aws:sqs", "messageId": "fuzzed", "body": string(body)},
		{"eventSource": "aws:sqs", "messageId": "last", "body": good},
	}})
	e, err := Parse([]byte(batch))
	if err != nil {
		t.Fatalf("the batch: %v", err)
	}
	checkEvent(t, e, err)
	if want := []string{"first", "fuzzed", "last"}; !slices.Equal(e.Messages, want) {
		t.Errorf("messages %q, want %q", e.Messages, want)
	}
	n := len(e.Objects)
	if n < 2 || e.Objects[0].Message != "first" || e.Objects[n-1].Message != "last" {
		t.Errorf("the good messages' objects are missing from %+v", e.Objects)
	}
	for _, f := range e.Failed {
		if f.Message != "fuzzed" {
			t.Errorf("the good message %s failed: %v", f.Message, f.Err)
		}
	}
}

// checkEvent checks what holds for every event.
func checkEvent(t *testing.T, e Event, err error) {
	t.Helper()
	if err != nil {
		if !reflect.DeepEqual(e, Event{}) {
			t.Errorf("an event with an error: %+v, %v", e, err)
		}
		if err.Error() == "" || !utf8.ValidString(err.Error()) {
			t.Errorf("the error %q is not text", err)
		}
		return
	}
	kinds := []Kind{KindS3, KindSQS, KindSNS, KindEventBridge, KindLogs, KindSchedule}
	if !slices.Contains(kinds, e.Kind) {
		t.Errorf("kind %q", e.Kind)
	}
	if (e.Kind == KindSQS) != (len(e.Messages) > 0) {
		t.Errorf("kind %s with messages %q", e.Kind, e.Messages)
	}
	if (e.Kind == KindSchedule) == e.Report.IsZero() {
		t.Errorf("kind %s with a report at %v", e.Kind, e.Report)
	}
	if e.Logs != nil && (e.Kind != KindLogs || e.Logs.Group == "" || e.Logs.Stream == "") {
		t.Errorf("kind %s with logs %+v", e.Kind, e.Logs)
	}
	if e.Logs != nil {
		for _, l := range e.Logs.Events {
			checkTime(t, l.Time)
		}
	}
	checkMessages(t, e)
	checkObjects(t, e)
}

// checkMessages checks that each message is done or failed, and not both.
func checkMessages(t *testing.T, e Event) {
	t.Helper()
	state := make(map[string]string)
	for _, id := range e.Messages {
		if id == "" || state[id] != "" {
			t.Errorf("message %q is empty or repeated", id)
		}
		state[id] = "done"
	}
	for _, f := range e.Failed {
		if state[f.Message] != "done" || f.Err == nil {
			t.Errorf("failed %q with %v, and it was %q", f.Message, f.Err, state[f.Message])
		}
		state[f.Message] = "failed"
	}
	if e.Kind != KindSQS {
		state[""] = "done"
	}
	for _, o := range e.Objects {
		if state[o.Message] != "done" {
			t.Errorf("object of message %q, which is %q", o.Message, state[o.Message])
		}
	}
	for _, i := range e.Ignored {
		if state[i.Message] != "done" || i.What == "" || i.Why == "" {
			t.Errorf("ignored %+v of message that is %q", i, state[i.Message])
		}
	}
	delete(state, "")
	checkResponse(t, e, state)
}

func checkResponse(t *testing.T, e Event, state map[string]string) {
	t.Helper()
	text := marshal(t, e.Response(nil))
	if e.Kind != KindSQS {
		if text != "null" {
			t.Errorf("kind %s with the response %s", e.Kind, text)
		}
		return
	}
	var r struct {
		Items []struct {
			ID string `json:"itemIdentifier"`
		} `json:"batchItemFailures"`
	}
	if err := json.Unmarshal([]byte(text), &r); err != nil || !strings.Contains(text, "[") {
		t.Fatalf("response %s: %v", text, err)
	}
	for _, i := range r.Items {
		if state[i.ID] != "failed" {
			t.Errorf("response %s with message %q, which is %q", text, i.ID, state[i.ID])
		}
	}
	if len(r.Items) != len(e.Failed) {
		t.Errorf("response %s for %d failures", text, len(e.Failed))
	}
}

func checkObjects(t *testing.T, e Event) {
	t.Helper()
	type told struct{ bucket, key, version, etag, message string }
	seen := make(map[told]bool)
	for _, o := range e.Objects {
		id := told{o.Bucket, o.Key, o.VersionID, o.ETag, o.Message}
		if seen[id] {
			t.Errorf("object %+v is there twice", o)
		}
		seen[id] = true
		if o.Bucket == "" || o.Key == "" || len(o.Key) > maxName || !utf8.ValidString(o.Key) || o.Size < 0 {
			t.Errorf("object %+v", o)
		}
		if !o.Time.IsZero() {
			checkTime(t, o.Time)
		}
	}
}

func checkTime(t *testing.T, at time.Time) {
	t.Helper()
	if _, err := at.MarshalJSON(); err != nil || at.Location() != time.UTC {
		t.Errorf("time %v: %v", at, err)
	}
}
