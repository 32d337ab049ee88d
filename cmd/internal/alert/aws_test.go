package alert

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

func configOf(url string) aws.Config {
	return aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String(url),
		Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
	}
}

const (
	someTopic = "arn:aws:sns:eu-west-1:123456789012:ftp"
	someFIFO  = "arn:aws:sns:eu-west-1:123456789012:ftp.fifo"
	someBus   = "arn:aws:events:eu-west-1:123456789012:event-bus/ops/ftp"
)

func TestNewSender(t *testing.T) {
	for _, test := range []struct {
		arn string
		ok  bool
	}{
		{someTopic, true},
		{someFIFO, true},
		{someBus, true},
		{"arn:aws-cn:sns:cn-north-1:123456789012:ftp", true},
		{"arn:aws-us-gov:events:us-gov-west-1:123456789012:event-bus/default", true},
		{"", false},
		{"ftp", false},
		{"arn:aws:sns:eu-west-1:123456789012:", false},
		{"arn:aws:sns:eu-west-1:123456789012:ftp:0ca1fde2-subscription", false},
		{"arn:aws:sns::123456789012:ftp", false},
		{"arn:aws:sqs:eu-west-1:123456789012:ftp", false},
		{"arn:aws:events:eu-west-1:123456789012:rule/ftp", false},
		{"arn:aws:events:eu-west-1:123456789012:event-bus/", false},
		{"arn:aws:events:eu-west-1::event-bus/default", false},
	} {
		s, err := NewSender(configOf("http://127.0.0.1:1"), test.arn)
		if (err == nil) != test.ok || (s != nil) != test.ok {
			t.Errorf("%q: got %v, %v", test.arn, s, err)
		}
		if err != nil && !(strings.Contains(err.Error(), "arn:aws:sns:REGION") && strings.Contains(err.Error(), `"`+test.arn+`"`)) {
			t.Errorf("%q: %v does not say what to give", test.arn, err)
		}
	}
}

// What an answer, or none, says of whether the alert was sent. Nothing is
// tried twice.
func TestSenderAnswers(t *testing.T) {
	for _, test := range []struct {
		name    string
		arn     string
		answer  http.HandlerFunc
		ok      bool
		notSent bool
		says    string
	}{
		{"topic takes it", someTopic, says(200, `<PublishResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>`), true, false, ""},
		{"no right to the topic", someTopic, says(403, `<ErrorResponse><Error><Type>Sender</Type><Code>AuthorizationError</Code><Message>not authorized to perform SNS:Publish</Message></Error></ErrorResponse>`), false, true, "not authorized"},
		{"no topic", someTopic, says(404, `<ErrorResponse><Error><Code>NotFound</Code><Message>Topic does not exist</Message></Error></ErrorResponse>`), false, true, "does not exist"},
		{"throttled", someTopic, says(429, ""), false, true, "429"},
		{"timed out on the way", someTopic, says(408, ""), false, false, "408"},
		{"the topic fails", someTopic, says(500, ""), false, false, "500"},
		{"not available", someTopic, says(503, ""), false, false, "503"},
		{"no answer", someTopic, hangUp, false, false, someTopic},
		{"a strange answer", someTopic, says(200, "<"), false, false, ""},
		{"bus takes it", someBus, says(200, `{"FailedEntryCount":0,"Entries":[{"EventId":"1"}]}`), true, false, ""},
		{"no right to the bus", someBus, says(200, `{"FailedEntryCount":1,"Entries":[{"ErrorCode":"AccessDeniedException","ErrorMessage":"not here"}]}`), false, true, "AccessDeniedException: not here"},
		{"the bus is throttled", someBus, says(200, `{"FailedEntryCount":1,"Entries":[{"ErrorCode":"ThrottlingException"}]}`), false, true, "ThrottlingException"},
		{"the bus fails", someBus, says(200, `{"FailedEntryCount":1,"Entries":[{"ErrorCode":"InternalFailure"}]}`), false, false, "InternalFailure"},
		{"no reason", someBus, says(200, `{"FailedEntryCount":1,"Entries":[]}`), false, false, "no reason"},
		{"a call refused", someBus, says(400, `{"__type":"AccessDeniedException","message":"no"}`), false, true, "AccessDenied"},
		{"no answer of the bus", someBus, hangUp, false, false, someBus},
	} {
		t.Run(test.name, func(t *testing.T) {
			var calls atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				calls.Add(1)
				_, _ = io.Copy(io.Discard, r.Body)
				test.answer(w, r)
			}))
			defer server.Close()
			err := sendTo(t, server.URL, test.arn)
			if calls.Load() != 1 || (err == nil) != test.ok || errors.Is(err, ErrNotSent) != test.notSent {
				t.Errorf("got %v, %d calls", err, calls.Load())
			}
			if err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v does not say %q", err, test.says)
			}
		})
	}
}

func sendTo(t *testing.T, url, arn string) error {
	t.Helper()
	s, err := NewSender(configOf(url), arn)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return s.Send(ctx, numbered(1)[0])
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body) // the client tells if it did not come
	}
}

// hangUp takes the request and gives no answer.
func hangUp(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = conn.Close() // that is the point
	}
}

// Without a connection, or without credentials, nothing was sent.
func TestSenderWithoutConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	for _, arn := range []string{someTopic, someBus} {
		if err := sendTo(t, "http://"+l.Addr().String(), arn); !errors.Is(err, ErrNotSent) || !strings.Contains(err.Error(), "refused") {
			t.Errorf("%s: got %v", arn, err)
		}
	}
	cfg := configOf("http://" + l.Addr().String())
	cfg.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return aws.Credentials{}, errors.New("no credentials") })
	s, err := NewSender(cfg, someTopic)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(t.Context(), numbered(1)[0]); !errors.Is(err, ErrNotSent) || !strings.Contains(err.Error(), "no credentials") {
		t.Errorf("without credentials: got %v", err)
	}
}

// An answer that does not come in time: not sure.
func TestSenderTimesOut(t *testing.T) {
	done := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-done }))
	defer server.Close()
	defer close(done)
	s, err := NewSender(configOf(server.URL), someTopic)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := s.Send(ctx, numbered(1)[0]); err == nil || errors.Is(err, ErrNotSent) {
		t.Errorf("got %v", err)
	}
}
