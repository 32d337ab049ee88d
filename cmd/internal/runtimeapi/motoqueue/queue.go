// Package motoqueue is an SQS queue of moto for tests of what polls one.
package motoqueue

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"ephemera/cmd/internal/runtimeapi"
)

// perCall is how many messages SQS takes, gives or deletes at a time.
const perCall = 10

// A Queue is a queue of moto. It implements runtimeapi.Queue. Moto loses
// messages that are sent while others are deleted, and fails when two
// receivers move one to the dead-letter queue, so there is one call at a
// time.
type Queue struct {
	URL, ARN string

	mu     sync.Mutex
	client *sqs.Client
}

// New makes a queue in the moto at endpoint. What is received is hidden for
// so many seconds; what was received so often, and is not done, goes to the
// queue dead, unless it is nil.
func New(t testing.TB, endpoint, name string, hidden, receives int, dead *Queue) *Queue {
	t.Helper()
	q := &Queue{client: sqs.New(sqs.Options{
		Region: "us-east-1", BaseEndpoint: &endpoint, Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
	})}
	attributes := map[string]string{"VisibilityTimeout": strconv.Itoa(hidden)}
	if dead != nil {
		attributes["RedrivePolicy"] = fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":"%d"}`, dead.ARN, receives)
	}
	made, err := q.client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
	if err != nil {
		t.Fatal(err)
	}
	q.URL = *made.QueueUrl
	got, err := q.attributes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	q.ARN = got[string(types.QueueAttributeNameQueueArn)]
	return q
}

// Send puts messages into the queue.
func (q *Queue) Send(ctx context.Context, bodies ...string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for batch := range slices.Chunk(bodies, perCall) {
		entries := make([]types.SendMessageBatchRequestEntry, len(batch))
		for i := range batch {
			entries[i] = types.SendMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), MessageBody: &batch[i]}
		}
		out, err := q.client.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: &q.URL, Entries: entries})
		if err != nil {
			return err
		}
		if len(out.Failed) > 0 {
			return fmt.Errorf("%d messages were not sent: %s", len(out.Failed), aws.ToString(out.Failed[0].Message))
		}
	}
	return nil
}

// Receive implements runtimeapi.Queue.
func (q *Queue) Receive(ctx context.Context, limit int) ([]runtimeapi.Message, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	out, err := q.client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl: &q.URL, MaxNumberOfMessages: int32(limit), MessageAttributeNames: []string{"All"},
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
	})
	if err != nil {
		return nil, err
	}
	var got []runtimeapi.Message
	for _, m := range out.Messages {
		got = append(got, runtimeapi.Message{ID: *m.MessageId, Receipt: *m.ReceiptHandle, Body: *m.Body, Attributes: m.Attributes})
	}
	return got, nil
}

// Delete implements runtimeapi.Queue.
func (q *Queue) Delete(ctx context.Context, messages []runtimeapi.Message) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for batch := range slices.Chunk(messages, perCall) {
		entries := make([]types.DeleteMessageBatchRequestEntry, len(batch))
		for i := range batch {
			entries[i] = types.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: &batch[i].Receipt}
		}
		out, err := q.client.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &q.URL, Entries: entries})
		if err != nil {
			return err
		}
		if len(out.Failed) > 0 {
			return fmt.Errorf("%d messages were not deleted: %s", len(out.Failed), aws.ToString(out.Failed[0].Message))
		}
	}
	return nil
}

// Left implements runtimeapi.Queue.
func (q *Queue) Left(ctx context.Context) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	got, err := q.attributes(ctx)
	if err != nil {
		return 0, err
	}
	left := 0
	for _, name := range []types.QueueAttributeName{types.QueueAttributeNameApproximateNumberOfMessages, types.QueueAttributeNameApproximateNumberOfMessagesNotVisible} {
		n, err := strconv.Atoi(got[string(name)])
		if err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		left += n
	}
	return left, nil
}

func (q *Queue) attributes(ctx context.Context) (map[string]string, error) {
	out, err := q.client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &q.URL, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameAll}})
	if err != nil {
		return nil, err
	}
	return out.Attributes, nil
}
