package event

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The payloads in testdata are AWS's own examples, and others made after them:
// S3 User Guide ("Event message structure", "EventBridge event message
// structure"), Lambda Developer Guide (with SQS, SNS, CloudWatch Logs and
// scheduled events), SNS Developer Guide ("Fanout to SQS queues"), EventBridge
// Scheduler User Guide. Beside each is what is read in it.
func TestParse(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no payloads: %v", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			payload, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(path, ".json")+".golden", render(t, payload))
		})
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; run the test with -update and look at the difference. got:\n%s", path, got)
	}
}

func render(t *testing.T, payload []byte) string {
	t.Helper()
	e, err := Parse(payload)
	if err != nil {
		return fmt.Sprintf("error: %v\n", err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "kind %s\n", e.Kind)
	for _, o := range e.Objects {
		fmt.Fprintf(&b, "object s3://%s/%s\n  version %q etag %q size %d sequencer %q time %s message %q\n",
			o.Bucket, o.Key, o.VersionID, o.ETag, o.Size, o.Sequencer, o.Time.Format(time.RFC3339Nano), o.Message)
	}
	if e.Logs != nil {
		fmt.Fprintf(&b, "logs %s %s of %s through %q\n", e.Logs.Group, e.Logs.Stream, e.Logs.Owner, e.Logs.Filters)
		for _, l := range e.Logs.Events {
			fmt.Fprintf(&b, "  %s %s %s\n", l.Time.Format(time.RFC3339Nano), l.ID, l.Text)
		}
	}
	if !e.Report.IsZero() {
		fmt.Fprintf(&b, "report %s\n", e.Report.Format(time.RFC3339Nano))
	}
	for _, i := range e.Ignored {
		fmt.Fprintf(&b, "ignored %s: %s (message %q)\n", i.What, i.Why, i.Message)
	}
	for _, f := range e.Failed {
		fmt.Fprintf(&b, "failed %s\n  %v\n", f.Message, f.Err)
	}
	fmt.Fprintf(&b, "messages %q\n", e.Messages)
	response, err := json.Marshal(e.Response(nil))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "response %s\n", response)
	return b.String()
}

// What cannot be read is an error that names the place.
func TestParseFails(t *testing.T) {
	record := func(record string) string { return `{"Records":[` + record + `]}` }
	s3 := func(members string) string {
		return record(`{"eventSource":"aws:s3","eventName":"ObjectCreated:Put",` + members + `}`)
	}
	object := func(members string) string {
		return s3(`"s3":{"bucket":{"name":"b"},"object":{` + members + `}}`)
	}
	bus := func(members string) string {
		return `{"source":"aws.s3","detail-type":"Object Created","time":"2026-11-22T10:15:00Z",` + members + `}`
	}
	sns := func(message string) string {
		return record(`{"EventSource":"aws:sns","Sns":{"Type":"Notification",` + message + `}}`)
	}
	for _, c := range []struct{ payload, want string }{
		{``, "cut off or empty"},
		{` `, "cut off or empty"},
		{`null`, "not an object"},
		{`[]`, "not an object"},
		{`7`, "not an object"},
		{`hello`, "invalid character"},
		{`{`, "cut off"},
		{`{"a":1`, "cut off"},
		{`{"a":1,}`, "invalid character"},
		{`{} {}`, "something follows"},
		{`{}]`, "invalid character"},
		{`{}`, "it has no keys"},
		{"{\"a\":\"\xff\"}", "not UTF-8"},
		{`{"hello":"world","b":1}`, `its keys are ["b" "hello"], and it begins "{\"hello\":\"world\",\"b\":1}"; expected is`},
		{`{"Event":"s3:OtherEvent"}`, `Event is "s3:OtherEvent"`},
		{`{"Event":"s3:TestEvent"}`, "Bucket: it is missing"},
		{`{"Event":null}`, "Event: it is not a string but null"},
		{`{"Records":null}`, "its Records: it is not an array"},
		{`{"Records":{}}`, "its Records: it is not an array"},
		{`{"Records":[]}`, "its Records are none"},
		{`{"Records":[1 2]}`, "invalid character"},
		{record(`null`), `Records[0]: eventSource is ""`},
		{record(`7`), "Records[0]: json: cannot unmarshal number"},
		{record(`{"eventSource":7}`), "Records[0]: json: cannot unmarshal number"},
		{record(`{"eventSource":"aws:kinesis"}`), `Records[0]: eventSource is "aws:kinesis"`},
		{record(`{"eventSource":"aws:s3"}`), "Records[0]: eventName is missing"},
		{record(`{"eventSource":"aws:s3","eventName":"ObjectRemoved:Delete"},{"eventSource":"aws:sns"}`), `Records[1]: eventSource is "aws:sns" among records of aws:s3`},
		{s3(`"s3":null`), "s3: bucket.name is missing"},
		{s3(`"s3":[]`), "cannot unmarshal array"},
		{object(`"key":null`), "s3: object.key is missing"},
		{object(`"key":""`), "s3: object.key is missing"},
		{object(`"key":"100%"`), `s3.object.key "100%" is not URL-encoded`},
		{object(`"key":"%ff"`), "not UTF-8"},
		{object(`"key":"k","size":-1`), "object.size is -1"},
		{object(`"key":"k","size":"1"`), "cannot unmarshal string"},
		{object(`"key":"k","size":1e99`), "cannot unmarshal number"},
		{object(`"key":"` + strings.Repeat("k", 1025) + `"`), "object.key has 1025 bytes"},
		{object(`"key":"k","sequencer":"` + strings.Repeat("0", 1025) + `"`), "sequencer has more than 1024"},
		{s3(`"eventTime":"yesterday","s3":{"bucket":{"name":"b"},"object":{"key":"k"}}`), `eventTime: "yesterday" is not a time`},
		{s3(`"s3":{"bucket":{"name":"a/b"},"object":{"key":"k"}}`), `bucket.name "a/b" is not the name of a bucket`},
		{record(`{"eventSource":"aws:sqs","body":"{}"}`), "Records[0]: messageId is missing"},
		{record(`{"eventSource":"aws:sqs","messageId":7}`), "Records[0]: json: cannot unmarshal number"},
		{record(`{"eventSource":"aws:sqs","messageId":"m"},null`), `Records[1]: eventSource is ""`},
		{sns(`"Message":null`), "Records[0]: its Message is missing"},
		{sns(`"Message":"hello"`), "Records[0]: its Message: invalid character"},
		{record(`{"EventSource":"aws:sns","Sns":null}`), `Type is "", not Notification`},
		{record(`{"EventSource":"aws:sns","Sns":{"Type":"Notification","Message":"{\"TopicArn\":\"t\"}"}}`), "inside another"},
		{bus(`"detail":null`), "detail: bucket.name is missing"},
		{bus(`"detail":7`), "detail: json: cannot unmarshal number"},
		{bus(`"resources":[]`), "detail: bucket.name is missing"},
		{`{"source":"aws.ec2","detail-type":"Object Created"}`, `it is an EventBridge event "Object Created" of "aws.ec2"`},
		{`{"source":"aws.s3","detail-type":"Object Created"}`, "time: it is missing"},
		{`{"detail-type":"Object Created"}`, "source: it is missing"},
		{`{"source":"aws.events","detail-type":"Scheduled Event"}`, "time: it is missing"},
		{`{"source":"aws.events","detail-type":7}`, "detail-type: it is not a string but 7"},
		{`{"ephemera":"report"}`, "time: it is missing; it is to be the scheduled time"},
		{`{"ephemera":"report","time":""}`, "time: it is empty"},
		{`{"ephemera":"report","time":"<aws.scheduler.scheduled-time>"}`, `"<aws.scheduler.scheduled-time>" is not a time`},
		{`{"ephemera":"report","time":"0001-01-01T00:00:00Z"}`, "is not from 1970 to 9999"},
		{`{"ephemera":"report","time":"9999-12-31T23:59:59-23:59"}`, "is not from 1970 to 9999"},
		{`{"ephemera":"purge","time":"2026-11-22T10:15:00Z"}`, `ephemera is "purge"; the one task is "report"`},
		{`{"ephemera":null}`, "ephemera: it is not a string but null"},
		{`{"awslogs":null}`, "awslogs: it is not an object"},
		{`{"awslogs":{}}`, "awslogs: data: it is missing"},
		{`{"awslogs":{"data":"!"}}`, "not gzip in base64"},
		{`{"awslogs":{"data":"aGVsbG8="}}`, "not gzip in base64"},
		{strings.Repeat(`{"a":`, 20_000), "exceeded max depth"},
		{`{"Records":` + strings.Repeat(`[`, 20_000), "exceeded max depth"},
		{record(strings.Repeat(`0,`, maxRecords) + "0"), "its Records: there are more than 10000"},
		{"{" + strings.Repeat(`"a":0,`, 101) + `"b":0}`, "more than 100 fields"},
		{strings.Repeat(" ", maxPayload+1), "it has 8388609 bytes"},
	} {
		e, err := Parse([]byte(c.payload))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Parse(%s) = %+v, %v; want an error with %s", cut(c.payload, 200), e, err, c.want)
			continue
		}
		if len(err.Error()) > 4096 {
			t.Errorf("Parse(%s): the error has %d bytes", cut(c.payload, 200), len(err.Error()))
		}
	}
}

// pack makes the payload of a subscription.
func pack(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	zw, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := zw.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return packed(b.Bytes())
}

func packed(zipped []byte) []byte {
	return []byte(`{"awslogs":{"data":"` + base64.StdEncoding.EncodeToString(zipped) + `"}}`)
}

func TestLogsFail(t *testing.T) {
	const head = `{"messageType":"DATA_MESSAGE","logGroup":"g","logStream":"s"`
	for _, c := range []struct{ text, want string }{
		{``, "cut off or empty"},
		{`null`, "not an object"},
		{`{}`, "messageType is missing"},
		{`{"messageType":7}`, "messageType: json: cannot unmarshal number"},
		{`{"messageType":"DATA_MESSAGE"}`, "logGroup or logStream is missing"},
		{head + `}{`, "something follows"},
		{head, "cut off"},
		{head + `,"logEvents":null}`, "logEvents: it is not an array"},
		{head + `,"logEvents":[null]}`, "logEvents: [0]: timestamp or message is missing"},
		{head + `,"logEvents":[{"timestamp":1,"message":""},{"timestamp":1}]}`, "logEvents: [1]: timestamp or message is missing"},
		{head + `,"logEvents":[{"timestamp":"1","message":""}]}`, "logEvents: [0]: json: cannot unmarshal string"},
		{head + `,"logEvents":[{"timestamp":-1,"message":""}]}`, "timestamp -1 is not in milliseconds"},
		{head + `,"logEvents":[{"timestamp":9223372036854775807,"message":""}]}`, "is not in milliseconds"},
		{head + `,"logEvents":[{"timestamp":1,"message":""}`, "cut off"},
		{head + `,"subscriptionFilters":[` + strings.Repeat(`"",`, 100) + `""]}`, "subscriptionFilters: there are more than 100"},
		{head + `,"x":` + strings.Repeat("[", 20_000), "exceeded max depth"},
	} {
		e, err := Parse(pack(t, c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Parse(%s) = %+v, %v; want an error with %s", cut(c.text, 200), e, err, c.want)
		}
	}
}

// A batch that is damaged or cut off on its way is an error, not half a batch.
func TestLogsDamaged(t *testing.T) {
	payload, err := os.ReadFile("testdata/logs.json")
	if err != nil {
		t.Fatal(err)
	}
	var p struct{ AWSLogs struct{ Data []byte } }
	if err := json.Unmarshal(payload, &p); err != nil {
		t.Fatal(err)
	}
	zipped := p.AWSLogs.Data
	for n := range zipped {
		if e, err := Parse(packed(zipped[:n])); err == nil {
			t.Errorf("cut to %d of %d bytes: %+v", n, len(zipped), e)
		}
	}
	flipped := bytes.Clone(zipped)
	flipped[len(flipped)-5] ^= 1 // in the checksum
	if e, err := Parse(packed(flipped)); err == nil {
		t.Errorf("with another checksum: %+v", e)
	}
}

// What unpacks to more than the bound is an error, and is not unpacked further.
func TestLogsTooLarge(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a gigabyte under the race detector")
	}
	const head = `{"messageType":"DATA_MESSAGE","logGroup":"g","logStream":"s","logEvents":[`
	for _, c := range []struct{ name, text, want string }{
		{"space", head + strings.Repeat(" ", maxUnpacked) + `]}`, "it is larger than 64 MiB"},
		{"text", head + `{"timestamp":1,"message":"` + strings.Repeat("x", maxUnpacked) + `"}]}`, "it is larger than 64 MiB"},
		{"after the end", head + `]}` + strings.Repeat(" ", maxUnpacked), "it is larger than 64 MiB"},
		{"events", head + strings.Repeat(`{"timestamp":1,"message":""},`, maxLogEvents) + `{"timestamp":1,"message":""}]}`, "more than 1000000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse(pack(t, c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %s", err, c.want)
			}
		})
	}
	most := head + `]}`
	most += strings.Repeat(" ", maxUnpacked-len(most))
	if _, err := Parse(pack(t, most)); err != nil {
		t.Errorf("%d bytes: %v", len(most), err)
	}
}

// A read gives all that there is room for, however little comes at a time.
func TestBoundedFills(t *testing.T) {
	b := &bounded{r: iotest.OneByteReader(strings.NewReader("0123456789")), left: 9}
	p := make([]byte, 6)
	for _, want := range []string{"012345", "678"} {
		n, err := b.Read(p)
		if got := string(p[:n]); got != want || err != nil {
			t.Errorf("read %q, %v; want %q", got, err, want)
		}
	}
	if n, err := b.Read(p); n != 0 || err == nil || errors.Is(err, io.EOF) {
		t.Errorf("read %d bytes after the bound, %v", n, err)
	}
}

// encode writes a key as S3 does in a notification: as a form, with slashes
// left as they are.
func encode(r *rand.Rand, key string) string {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-*_/"
	hex := "%%%02X"
	if r.IntN(2) == 0 {
		hex = "%%%02x"
	}
	var b strings.Builder
	for i := range len(key) {
		switch {
		case key[i] == ' ':
			b.WriteByte('+')
		case strings.IndexByte(plain, key[i]) >= 0:
			b.WriteByte(key[i])
		default:
			fmt.Fprintf(&b, hex, key[i])
		}
	}
	return b.String()
}

// randomKey has any characters, those often that matter in an encoding.
func randomKey(r *rand.Rand) string {
	const special = " +%=&/?#;:\"\\\x00\n\x7f2F日é"
	var b strings.Builder
	for range 1 + r.IntN(60) {
		c := []rune(special)[r.IntN(utf8.RuneCountInString(special))]
		if r.IntN(2) == 0 {
			if c = rune(r.IntN(utf8.MaxRune + 1)); !utf8.ValidRune(c) {
				c = 'x'
			}
		}
		b.WriteRune(c)
	}
	return b.String()
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A key comes back as it was, whichever way its notice takes.
func TestKeys(t *testing.T) {
	type m = map[string]any
	records := func(record m) string { return marshal(t, m{"Records": []m{record}}) }
	s3 := func(r *rand.Rand, key string) string {
		return records(m{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": m{
			"bucket": m{"name": "b"}, "object": m{"key": encode(r, key)}}})
	}
	bus := func(_ *rand.Rand, key string) string {
		return marshal(t, m{"source": "aws.s3", "detail-type": "Object Created", "time": "2026-11-22T10:15:00Z",
			"detail": m{"bucket": m{"name": "b"}, "object": m{"key": key}}})
	}
	plain := func(s string) string { return s }
	sqs := func(s string) string { return records(m{"eventSource": "aws:sqs", "messageId": "m", "body": s}) }
	sns := func(s string) string {
		return records(m{"EventSource": "aws:sns", "Sns": m{"Type": "Notification", "Message": s}})
	}
	topic := func(s string) string { return marshal(t, m{"Type": "Notification", "TopicArn": "t", "Message": s}) }
	both := func(s string) string { return sqs(topic(s)) }

	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		key := randomKey(r)
		for _, notice := range []func(*rand.Rand, string) string{s3, bus} {
			for _, carry := range []func(string) string{plain, sqs, sns, topic, both} {
				payload := carry(notice(r, key))
				e, err := Parse([]byte(payload))
				if err != nil || len(e.Objects) != 1 || len(e.Failed) > 0 || e.Objects[0].Key != key {
					t.Fatalf("key %q in %s: got %+v, %v", key, payload, e, err)
				}
			}
		}
	}
}

func TestNewer(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"0055AED6DCD90281E5", "0055AED6DCD90281E4", true},
		{"0055AED6DCD90281E4", "0055AED6DCD90281E5", false},
		{"0055AED6DCD90281E5", "0055AED6DCD90281E5", false},
		{"01", "0100", false}, // the same, extended
		{"0100", "01", false},
		{"0101", "01", true},
		{"02", "0101", true}, // not by length
		{"0101", "02", false},
		{"0A", "09", true},
		{"0a", "0B", false}, // not by case
		{"0b", "0A", true},
		{"01", "", true},
		{"", "01", false},
		{"", "", false},
		{"00", "", false},
		{"é", "zz", true}, // nothing that S3 sends
	} {
		if got := Newer(c.a, c.b); got != c.want {
			t.Errorf("Newer(%q, %q) = %v, want %v", c.a, c.b, got, c.want)
		}
	}
}

func TestResponse(t *testing.T) {
	batch := Event{
		Kind:     KindSQS,
		Messages: []string{"m1", "m2", "m3", "m4"},
		Failed:   []Failed{{Message: "m3"}},
	}
	none := Event{Kind: KindSQS, Messages: []string{"m1"}}
	for _, c := range []struct {
		e      Event
		failed []string
		want   string
	}{
		{none, nil, `{"batchItemFailures":[]}`},
		{none, []string{"m1", "m1"}, `{"batchItemFailures":[{"itemIdentifier":"m1"}]}`},
		{none, []string{"other"}, `{"batchItemFailures":[{"itemIdentifier":"other"}]}`},
		{batch, nil, `{"batchItemFailures":[{"itemIdentifier":"m3"}]}`},
		{batch, []string{"m4", "m3", "m1", "m4"}, `{"batchItemFailures":[{"itemIdentifier":"m1"},{"itemIdentifier":"m3"},{"itemIdentifier":"m4"}]}`},
		{Event{Kind: KindS3}, []string{""}, `null`},
		{Event{Kind: KindSchedule}, nil, `null`},
	} {
		if got := marshal(t, c.e.Response(c.failed)); got != c.want {
			t.Errorf("%+v Response(%q) = %s, want %s", c.e, c.failed, got, c.want)
		}
	}
}
