//go:build real

package alert

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	eventtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"ephemera/ingest/sourcetest"
)

// inbox is a queue in which messages arrive.
type inbox struct {
	client   *sqs.Client
	url, arn string
}

func newInbox(t *testing.T, cfg aws.Config, name string) inbox {
	t.Helper()
	b := inbox{client: sqs.NewFromConfig(cfg)}
	attributes := map[string]string{}
	if strings.HasSuffix(name, ".fifo") {
		attributes["FifoQueue"] = "true"
	}
	q, err := b.client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
	if err != nil {
		t.Fatal(err)
	}
	b.url = *q.QueueUrl
	got, err := b.client.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: &b.url, AttributeNames: []sqstypes.QueueAttributeName{"QueueArn"}})
	if err != nil {
		t.Fatal(err)
	}
	b.arn = got.Attributes["QueueArn"]
	return b
}

// messages returns what has arrived, when nothing more does for a second.
func (b inbox) messages(t *testing.T) []sqstypes.Message {
	t.Helper()
	var all []sqstypes.Message
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		out, err := b.client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
			QueueUrl: &b.url, MaxNumberOfMessages: 10, WaitTimeSeconds: 1, VisibilityTimeout: 600,
			MessageSystemAttributeNames: []sqstypes.MessageSystemAttributeName{"All"},
		})
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Messages) == 0 {
			return all
		}
		all = append(all, out.Messages...)
	}
}

func newTopic(t *testing.T, cfg aws.Config, name string, to inbox) string {
	t.Helper()
	c := sns.NewFromConfig(cfg)
	attributes := map[string]string{}
	if strings.HasSuffix(name, ".fifo") {
		attributes["FifoTopic"] = "true"
	}
	made, err := c.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: &name, Attributes: attributes})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Subscribe(t.Context(), &sns.SubscribeInput{TopicArn: made.TopicArn, Protocol: aws.String("sqs"), Endpoint: &to.arn}); err != nil {
		t.Fatal(err)
	}
	return *made.TopicArn
}

// sendTwice sends the article's alerts, and then once more.
func sendTwice(t *testing.T, cfg aws.Config, arn string) Alert {
	t.Helper()
	as := find(t, article(t, true))
	s, err := NewSender(cfg, arn)
	if err != nil {
		t.Fatal(err)
	}
	m := &memory{}
	for _, want := range []int{1, 0} {
		if n, err := Send(t.Context(), as, m, s, slog.New(slog.DiscardHandler)); n != want || err != nil {
			t.Fatalf("got %d, %v, want %d", n, err, want)
		}
	}
	return as[0]
}

func TestTopicOfMoto(t *testing.T) {
	cfg := configOf(sourcetest.Moto(t))
	for _, name := range []string{"ftp", "ftp.fifo"} {
		box := newInbox(t, cfg, "alerts-"+name)
		want := sendTwice(t, cfg, newTopic(t, cfg, name, box))
		got := box.messages(t)
		if len(got) != 1 {
			t.Fatalf("%s: %d messages arrived", name, len(got))
		}
		var body struct {
			Subject, Message  string
			MessageAttributes map[string]struct{ Type, Value string }
		}
		if err := json.Unmarshal([]byte(*got[0].Body), &body); err != nil {
			t.Fatal(err)
		}
		if body.Subject != want.Subject || body.Message != want.Text ||
			body.MessageAttributes["id"].Value != want.ID || body.MessageAttributes["kind"].Value != string(want.Kind) {
			t.Errorf("%s: got %s", name, *got[0].Body)
		}
		if strings.HasSuffix(name, ".fifo") {
			if group, id := got[0].Attributes["MessageGroupId"], got[0].Attributes["MessageDeduplicationId"]; group != string(want.Kind) || id != want.ID {
				t.Errorf("%s: its group is %q, and its deduplication ID %q", name, group, id)
			}
		}
	}
	s, err := NewSender(cfg, "arn:aws:sns:us-east-1:123456789012:nowhere")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(t.Context(), numbered(1)[0]); !errors.Is(err, ErrNotSent) || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("a topic that is not there: %v", err)
	}
}

func TestEventBusOfMoto(t *testing.T) {
	cfg := configOf(sourcetest.Moto(t))
	c, box := eventbridge.NewFromConfig(cfg), newInbox(t, cfg, "events")
	bus, err := c.CreateEventBus(t.Context(), &eventbridge.CreateEventBusInput{Name: aws.String("ops")})
	if err != nil {
		t.Fatal(err)
	}
	name := aws.String("alerts")
	if _, err := c.PutRule(t.Context(), &eventbridge.PutRuleInput{
		Name: name, EventBusName: aws.String("ops"), State: eventtypes.RuleStateEnabled,
		EventPattern: aws.String(`{"source":["ephemera"],"detail-type":["Ephemera nacl-reject"],"detail":{"filter_id":["acl-e87aecf323070b410"],"rule_number":[32767]}}`),
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutTargets(t.Context(), &eventbridge.PutTargetsInput{
		Rule: name, EventBusName: aws.String("ops"), Targets: []eventtypes.Target{{Id: aws.String("1"), Arn: &box.arn}},
	}); err != nil {
		t.Fatal(err)
	}
	want := sendTwice(t, cfg, *bus.EventBusArn)
	got := box.messages(t)
	if len(got) != 1 {
		t.Fatalf("%d events arrived", len(got))
	}
	var event struct {
		Source     string
		DetailType string `json:"detail-type"`
		Detail     json.RawMessage
	}
	if err := json.Unmarshal([]byte(*got[0].Body), &event); err != nil {
		t.Fatal(err)
	}
	detail, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if event.Source != Source || event.DetailType != "Ephemera nacl-reject" || !sameJSON(t, event.Detail, detail) {
		t.Errorf("got %s, want the detail %s", *got[0].Body, detail)
	}
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var values [2]map[string]any
	for i, text := range [][]byte{a, b} {
		if err := json.Unmarshal(text, &values[i]); err != nil {
			t.Fatal(err)
		}
	}
	x, errX := json.Marshal(values[0])
	y, errY := json.Marshal(values[1])
	return errX == nil && errY == nil && string(x) == string(y)
}
