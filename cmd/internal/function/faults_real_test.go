//go:build real

package function_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"ephemera/cmd/internal/runtimeapi"
	"ephemera/cmd/internal/runtimeapi/motoqueue"
	"ephemera/ingest/sourcetest"
)

// faulty is an S3 server in front of the lab's, with faults.
func (l *lab) faulty(choose func(*http.Request) runtimeapi.Fault) string {
	l.t.Helper()
	proxy, err := runtimeapi.Proxy(l.url, choose)
	if err != nil {
		l.t.Fatal(err)
	}
	server := httptest.NewServer(proxy)
	l.t.Cleanup(server.Close)
	return server.URL
}

// letters are the messages in a queue of moto, by what their attribute What
// says.
func letters(t *testing.T, endpoint string, q *motoqueue.Queue) map[string]types.Message {
	t.Helper()
	client := sqs.New(sqs.Options{Region: "us-east-1", BaseEndpoint: &endpoint, Credentials: credentials.NewStaticCredentialsProvider("key", "secret", "")})
	found := map[string]types.Message{}
	for {
		out, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{
			QueueUrl: &q.URL, MaxNumberOfMessages: 10, MessageAttributeNames: []string{"All"}, VisibilityTimeout: 600,
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Messages) == 0 {
			return found
		}
		for _, m := range out.Messages {
			found[aws.ToString(m.MessageAttributes["What"].StringValue)] = m
		}
	}
}

// S3 throttles, a key is denied, an object is cut short: what can be digested
// is, and the dead letters say what cannot, and why. When the cause is gone,
// and the letter is sent again, the report is that of the command line.
func TestFaults(t *testing.T) {
	l := newLab(t)
	moto := sourcetest.Moto(t)
	dead := motoqueue.New(t, moto, "dead", 1, 0, nil)
	queue := motoqueue.New(t, moto, "new-objects", 1, 3, dead)
	header, lines := articleLines(t)
	l.putFolder(filepath.Join(article, "config"), "out", "network/")

	const objects, cut, denied = 8, 3, 5
	var notices []runtimeapi.Notice
	for i := range objects {
		content := zipped(t, append([]string{header}, part(lines, i, objects)...)...)
		if i == cut {
			content = content[:len(content)*2/3]
		}
		notices = append(notices, l.put("logs", articleKey(i), content))
	}
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(7, 7))
	var locked atomic.Bool
	locked.Store(true)
	url := l.faulty(func(r *http.Request) runtimeapi.Fault {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case locked.Load() && strings.HasPrefix(r.URL.Path, "/logs/") && strings.HasSuffix(r.URL.Path, articleKey(denied)):
			return runtimeapi.AccessDenied
		case rnd.IntN(8) == 0:
			return runtimeapi.SlowDown
		}
		return nil
	})
	var log bytes.Buffer
	f := l.function(url, runtimeapi.Config{Memory: 512, Timeout: time.Minute, Log: &log},
		"AWS_ENDPOINT_URL_SQS="+moto, "EPHEMERA_DEAD_LETTERS="+dead.URL)
	for _, n := range notices {
		if err := queue.Send(t.Context(), string(runtimeapi.S3Event(n))); err != nil {
			t.Fatal(err)
		}
	}
	if err := queue.Send(t.Context(), "no event"); err != nil {
		t.Fatal(err)
	}
	drain(t, f, queue)

	var want []string
	for i, n := range notices {
		if i != denied {
			want = append(want, digestOf(n))
		}
	}
	if got := l.digests(); !slices.Equal(got, want) {
		t.Errorf("there are the digests %q, want %q", got, want)
	}
	got := letters(t, moto, dead)
	if len(got) != 3 {
		t.Errorf("%d dead letters, want those of the object that is cut, of the one that is denied, and of no event: %v", len(got), got)
	}
	place := "s3://logs/" + articleKey(cut)
	if why := aws.ToString(got[place].MessageAttributes["Reason"].StringValue); !strings.Contains(why, place) || !strings.Contains(why, "cut short") && !strings.Contains(why, "EOF") {
		t.Errorf("the reason in the letter of the object that is cut is %q", why)
	}
	if said := log.String(); !strings.Contains(said, "access denied") || !strings.Contains(said, "s3:GetObject") {
		t.Error("the log does not say what is denied, and what to allow")
	}

	locked.Store(false)
	if err := queue.Send(t.Context(), aws.ToString(got[""].Body)); err != nil { // the one that came by itself
		t.Fatal(err)
	}
	drain(t, f, queue)
	if n := len(l.digests()); n != objects {
		t.Errorf("there are %d digests, want %d; the log says\n%s", n, objects, log.String()[max(0, log.Len()-3000):])
	}
	ok(t, f, runtimeapi.ScheduledEvent("us-east-1", time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC)))
	l.sameReports("latest", l.batch(filepath.Join(article, "config")))
}

// When its time is nearly over, the function stops, and says what it did not
// begin: those messages come again, and nothing is cut off by Lambda.
func TestDeadline(t *testing.T) {
	l := newLab(t)
	header, lines := articleLines(t)
	var messages []runtimeapi.Message
	for i := range 4 {
		n := l.put("logs", articleKey(i), zipped(t, append([]string{header}, part(lines, i, 4)...)...))
		messages = append(messages, runtimeapi.Message{ID: articleKey(i), Receipt: "r", Body: string(runtimeapi.S3Event(n))})
	}
	url := l.faulty(func(r *http.Request) runtimeapi.Fault {
		if r.Method == http.MethodHead {
			time.Sleep(1500 * time.Millisecond)
		}
		return nil
	})
	var log bytes.Buffer
	f := l.function(url, runtimeapi.Config{Memory: 512, Timeout: 5 * time.Second, Log: &log})
	r := ok(t, f, runtimeapi.SQSEvent("arn:aws:sqs:us-east-1:123456789012:new-objects", messages...))
	var said struct {
		BatchItemFailures []struct{ ItemIdentifier string }
	}
	if err := json.Unmarshal(r.Payload, &said); err != nil {
		t.Fatal(err)
	}
	done := len(l.digests())
	if done == 0 || done == len(messages) || done+len(said.BatchItemFailures) != len(messages) {
		t.Errorf("%d of %d objects have digests, and %s", done, len(messages), r.Payload)
	}
	if !strings.Contains(log.String(), "not begun") {
		t.Errorf("the log does not say what was not begun: %s", log.String())
	}
	if u := f.Usage(); u.Timeouts > 0 {
		t.Errorf("%+v", u)
	}
}

// What has to be acted on is told once, however many reports show it.
func TestAlerts(t *testing.T) {
	l := newLab(t)
	moto := sourcetest.Moto(t)
	told := motoqueue.New(t, moto, "told", 1, 0, nil)
	client := sns.New(sns.Options{Region: "us-east-1", BaseEndpoint: &moto, Credentials: credentials.NewStaticCredentialsProvider("key", "secret", "")})
	topic, err := client.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: aws.String("alerts")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Subscribe(t.Context(), &sns.SubscribeInput{
		TopicArn: topic.TopicArn, Protocol: aws.String("sqs"), Endpoint: &told.ARN, Attributes: map[string]string{"RawMessageDelivery": "true"},
	}); err != nil {
		t.Fatal(err)
	}
	l.putFolder(filepath.Join(article, "config"), "out", "network/")
	notices := l.putFolder(filepath.Join(article, "logs"), "logs", "")
	f := l.function(l.url, runtimeapi.Config{Memory: 512, Timeout: time.Minute}, "AWS_ENDPOINT_URL_SNS="+moto, "EPHEMERA_ALERTS="+aws.ToString(topic.TopicArn))
	ok(t, f, runtimeapi.S3Event(notices...))
	for i := range 3 {
		r := ok(t, f, runtimeapi.ScheduledEvent("us-east-1", time.Date(2026, 11, 22, 19+i, 0, 0, 0, time.UTC)))
		var said struct{ Alerts int }
		if err := json.Unmarshal(r.Payload, &said); err != nil {
			t.Fatal(err)
		}
		if first := i == 0; first != (said.Alerts > 0) {
			t.Errorf("report %d sent %d alerts", i, said.Alerts)
		}
	}
	messages, err := told.Receive(t.Context(), 10)
	if err != nil || len(messages) != 1 {
		t.Fatalf("%d messages came, %v; want 1", len(messages), err)
	}
	for _, part := range []string{"acl-e87aecf323070b410", "55", "1024-65535"} {
		if !strings.Contains(messages[0].Body, part) {
			t.Errorf("the alert does not name %s:\n%s", part, messages[0].Body)
		}
	}
}
