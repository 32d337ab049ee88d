package runtimeapi

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
)

const topicARN = "arn:aws:sns:eu-west-1:123456789012:new-objects"

var put = Notice{
	Event: "ObjectCreated:Put", Time: time.Date(2026, 11, 22, 10, 5, 0, 1e6, time.UTC), Region: "eu-west-1", Bucket: "logs",
	Key: "AWSLogs/aws-account-id=1/a b+c/ü~*(%20).log.gz", Size: 366, ETag: "6fbf2c9901daf4faa1de51e379983c16", Sequencer: "0055AED6DCD90281E5",
}

// read decodes text into a type of AWS's own library, which must know every
// field.
func read[T any](t *testing.T, text []byte) (v T) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

func TestKeysAreEncodedAsByS3(t *testing.T) {
	for key, want := range map[string]string{
		"AWSLogs/1/x_y-z.log.gz": "AWSLogs/1/x_y-z.log.gz",
		"year=2026/a b":          "year%3D2026/a+b",
		"a+b":                    "a%2Bb",
		"ü":                      "%C3%BC",
		"100%":                   "100%25",
		"%2F~*":                  "%252F%7E*",
		put.Key:                  "AWSLogs/aws-account-id%3D1/a+b%2Bc/%C3%BC%7E*%28%2520%29.log.gz",
	} {
		got := EncodeKey(key)
		if got != want {
			t.Errorf("%s: got %s, want %s", key, got, want)
		}
		if back, err := url.QueryUnescape(got); back != key {
			t.Errorf("%s: comes back as %s, %v", key, back, err)
		}
	}
}

func TestS3Event(t *testing.T) {
	removed := put
	removed.Event, removed.VersionID = "ObjectRemoved:Delete", "v1"
	got := read[events.S3Event](t, S3Event(put, removed)).Records
	if len(got) != 2 {
		t.Fatalf("got %+v", got)
	}
	r := got[0]
	if r.EventName != "ObjectCreated:Put" || r.AWSRegion != "eu-west-1" || !r.EventTime.Equal(put.Time) || r.EventSource != "aws:s3" ||
		r.S3.Bucket.Name != "logs" || r.S3.Bucket.Arn != "arn:aws:s3:::logs" || r.S3.Object.URLDecodedKey != put.Key ||
		r.S3.Object.Key != EncodeKey(put.Key) || r.S3.Object.Size != 366 || r.S3.Object.ETag != put.ETag || r.S3.Object.Sequencer != put.Sequencer {
		t.Errorf("got %+v", r)
	}
	if r := got[1]; r.EventName != "ObjectRemoved:Delete" || r.S3.Object.VersionID != "v1" || r.S3.Object.ETag != "" || r.S3.Object.Size != 0 {
		t.Errorf("got %+v", r)
	}
	if got := read[events.S3TestEvent](t, S3TestEvent("logs", put.Time)); got.Event != "s3:TestEvent" || got.Bucket != "logs" {
		t.Errorf("got %+v", got)
	}
}

func TestEnvelopes(t *testing.T) {
	inner := string(S3Event(put))
	sns := read[events.SNSEvent](t, SNSEvent(topicARN, []byte(inner)))
	if r := sns.Records[0]; r.EventSource != "aws:sns" || r.SNS.Message != inner || r.SNS.TopicArn != topicARN || r.SNS.Type != "Notification" {
		t.Errorf("SNS: got %+v", r)
	}
	body := SNSBody(topicARN, []byte(inner))
	var posted struct{ Type, Message, SigningCertURL string }
	if err := json.Unmarshal(body, &posted); err != nil || posted.Type != "Notification" || posted.Message != inner ||
		!strings.HasPrefix(posted.SigningCertURL, "https://sns.eu-west-1.amazonaws.com/") {
		t.Errorf("message of SNS in a queue: got %s", body)
	}
	messages := []Message{{ID: "1", Receipt: "r", Body: inner}, {ID: "2", Body: string(body), Attributes: map[string]string{"SenderId": "x"}}}
	sqs := read[events.SQSEvent](t, SQSEvent(queueARN, messages...)).Records
	if len(sqs) != 2 || sqs[0].MessageId != "1" || sqs[0].ReceiptHandle != "r" || sqs[0].Body != inner || sqs[0].EventSourceARN != queueARN ||
		sqs[0].AWSRegion != "eu-west-1" || sqs[1].Attributes["SenderId"] != "x" {
		t.Errorf("SQS: got %+v", sqs)
	}

	bridged := read[events.EventBridgeEvent](t, EventBridgeEvent(put))
	var detail struct {
		Bucket struct{ Name string }
		Object struct {
			Key, ETag, Sequencer string
			Size                 int64
		}
		Reason string
	}
	if err := json.Unmarshal(bridged.Detail, &detail); err != nil {
		t.Fatal(err)
	}
	if bridged.DetailType != "Object Created" || bridged.Source != "aws.s3" || detail.Object.Key != put.Key || detail.Object.ETag != put.ETag ||
		detail.Object.Size != 366 || detail.Bucket.Name != "logs" || detail.Reason != "PutObject" {
		t.Errorf("EventBridge: got %+v %+v", bridged, detail)
	}
	removed := put
	removed.Event = "ObjectRemoved:Delete"
	if got := read[events.EventBridgeEvent](t, EventBridgeEvent(removed)); got.DetailType != "Object Deleted" {
		t.Errorf("EventBridge: got %+v", got)
	}
	if got := read[events.EventBridgeEvent](t, ScheduledEvent("eu-west-1", put.Time)); got.DetailType != "Scheduled Event" ||
		got.Source != "aws.events" || !got.Time.Equal(put.Time.Truncate(time.Second)) {
		t.Errorf("schedule: got %+v", got)
	}

	lines := []LogEvent{{"1", 1e12, "2 1 eni-1 <&>"}, {"2", 1e12 + 1, "2 1 eni-2"}}
	event, err := LogsEvent("vpc/flow-logs", "eni-1-all", lines...)
	if err != nil {
		t.Fatal(err)
	}
	logs, err := read[events.CloudwatchLogsEvent](t, event).AWSLogs.Parse()
	if err != nil || logs.MessageType != "DATA_MESSAGE" || logs.LogGroup != "vpc/flow-logs" || logs.LogStream != "eni-1-all" ||
		len(logs.LogEvents) != 2 || LogEvent(logs.LogEvents[0]) != lines[0] || LogEvent(logs.LogEvents[1]) != lines[1] {
		t.Errorf("subscription: got %+v %v", logs, err)
	}
}

// What versitygw 1.8.0 posts becomes what AWS sends.
func TestRelay(t *testing.T) {
	const record = `{"Records":[{"eventVersion":"2.2","eventSource":"aws:s3","awsRegion":"us-east-1","eventTime":"2026-11-23T11:36:43Z","eventName":"s3:ObjectCreated:Put","userIdentity":{"PrincipalId":"kk"},"requestParameters":{"sourceIPAddress":"127.0.0.1"},"responseElements":{"x-amz-request-id":"","x-amz-id-2":""},"s3":{"s3SchemaVersion":"1.0","configurationId":"webhook-global","bucket":{"name":"logs","ownerIdentity":{"PrincipalId":"kk"},"arn":"arn:aws:s3:::/logs/a b+c/ü=1%20.log.gz"},"object":{"key":"a b+c/ü=1%20.log.gz","size":366,"eTag":"\"6fbf2c9901daf4faa1de51e379983c16\"","versionId":null,"sequencer":"1F"}},"glacierEventData":{"restoreEventData":{"lifecycleRestorationExpiryTime":"","lifecycleRestoreStorageClass":""}}}]}`
	for _, c := range []struct {
		body   string
		status int
		want   []Notice
	}{
		{`{"Bucket":"Test-Bucket","Event":"s3:TestEvent","Service":"S3","Time":"2026-11-23T11:36:41Z"}`, 200, nil},
		{record, 200, []Notice{{Event: "ObjectCreated:Put", Time: time.Date(2026, 11, 23, 11, 36, 43, 0, time.UTC), Region: "us-east-1", Bucket: "logs",
			Key: "a b+c/ü=1%20.log.gz", Size: 366, ETag: "6fbf2c9901daf4faa1de51e379983c16", Sequencer: "00000000000000001F"}}},
		{strings.Replace(record, "s3:ObjectCreated", "ObjectCreated", 1), 400, nil},
		{strings.Replace(record, `"1F"`, `"x"`, 1), 400, nil},
		{`{}`, 400, nil},
		{`{`, 400, nil},
	} {
		var got []Notice
		relay := &Relay{Folder: t.TempDir(), Notify: func(n Notice) { got = append(got, n) }}
		w := httptest.NewRecorder()
		relay.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(c.body)))
		if w.Code != c.status || (relay.Err() == nil) != (c.status == 200) || !slices.Equal(got, c.want) {
			t.Errorf("%.60s: got %d %+v %v", c.body, w.Code, got, relay.Err())
		}
	}
}

func TestProxy(t *testing.T) {
	calls := 0
	s3 := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Host", r.Host)
		w.Write(body)
	}))
	defer s3.Close()
	for _, c := range []struct {
		name   string
		fault  Fault
		calls  int
		status int // 0 if there is no answer
		read   int // bytes of the body; an error of S3 is not counted
		breaks bool
	}{
		{"nothing", nil, 1, 200, 10_000, false},
		{"SlowDown", SlowDown, 0, 503, 0, false},
		{"InternalError", InternalError, 0, 500, 0, false},
		{"AccessDenied", AccessDenied, 0, 403, 0, false},
		{"NoSuchKey", NoSuchKey, 0, 404, 0, false},
		{"Reset", Reset, 0, 0, 0, true},
		{"Lost", Lost, 1, 0, 0, true},
		{"CutAfter(10000)", CutAfter(10_000), 1, 200, 10_000, false},
		{"CutAfter(9999)", CutAfter(9999), 1, 200, 9999, true},
		{"CutAfter(0)", CutAfter(0), 1, 200, 0, true},
		{"Slow", Slow(10 * time.Millisecond), 1, 200, 10_000, false},
	} {
		calls = 0
		proxy, err := Proxy(s3.URL, func(*http.Request) Fault { return c.fault })
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(proxy)
		began := time.Now()
		r, err := server.Client().Post(server.URL, "", strings.NewReader(strings.Repeat("x", 10_000)))
		status, size := 0, 0
		if err == nil {
			var body []byte
			body, err = io.ReadAll(r.Body)
			r.Body.Close()
			status = r.StatusCode
			if status == 200 {
				size = len(body)
				if want := strings.TrimPrefix(server.URL, "http://"); r.Header.Get("X-Host") != want {
					t.Errorf("%s: the host is %s, want %s", c.name, r.Header.Get("X-Host"), want)
				}
			} else if !strings.Contains(string(body), "<Code>"+c.name+"</Code>") {
				t.Errorf("%s: got %s", c.name, body)
			}
		}
		if calls != c.calls || status != c.status || size != c.read || (err != nil) != c.breaks {
			t.Errorf("%s: got %d calls, status %d, %d bytes, %v", c.name, calls, status, size, err)
		}
		if c.name == "Slow" && time.Since(began) < 30*time.Millisecond {
			t.Errorf("Slow: took %v", time.Since(began))
		}
		server.Close()
	}
	if _, err := Proxy("logs", nil); err == nil {
		t.Error("a proxy of no server")
	}
}
