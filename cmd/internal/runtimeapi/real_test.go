//go:build real

package runtimeapi

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"ephemera/ingest/sourcetest"
)

// motoQueue is a queue of moto. Moto loses messages that are sent while
// others are deleted, and fails when two receivers move one to the
// dead-letter queue, so there is one call at a time.
type motoQueue struct {
	mu     sync.Mutex
	client *sqs.Client
	url    string
}

func (q *motoQueue) Receive(ctx context.Context, limit int) ([]Message, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	out, err := q.client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl: &q.url, MaxNumberOfMessages: int32(limit),
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
	})
	if err != nil {
		return nil, err
	}
	var got []Message
	for _, m := range out.Messages {
		got = append(got, Message{ID: *m.MessageId, Receipt: *m.ReceiptHandle, Body: *m.Body, Attributes: m.Attributes})
	}
	return got, nil
}

func (q *motoQueue) Delete(ctx context.Context, messages []Message) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range messages {
		if _, err := q.client.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &q.url, ReceiptHandle: &m.Receipt}); err != nil {
			return err
		}
	}
	return nil
}

func (q *motoQueue) Left(ctx context.Context) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	out, err := q.client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &q.url, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameAll}})
	if err != nil {
		return 0, err
	}
	left := 0
	for _, name := range []types.QueueAttributeName{types.QueueAttributeNameApproximateNumberOfMessages, types.QueueAttributeNameApproximateNumberOfMessagesNotVisible} {
		n, err := strconv.Atoi(out.Attributes[string(name)])
		if err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		left += n
	}
	return left, nil
}

// newQueue makes a queue, and returns its ARN with it.
func newQueue(t *testing.T, client *sqs.Client, name string, attributes map[string]string) (*motoQueue, string) {
	t.Helper()
	made, err := client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: &name, Attributes: attributes})
	if err != nil {
		t.Fatal(err)
	}
	got, err := client.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: made.QueueUrl, AttributeNames: []types.QueueAttributeName{"QueueArn"}})
	if err != nil {
		t.Fatal(err)
	}
	return &motoQueue{client: client, url: *made.QueueUrl}, got.Attributes["QueueArn"]
}

// A queue with a dead-letter queue, as the deployment makes them: what fails
// three times ends there, and all else is handled.
func TestRealQueue(t *testing.T) {
	url := sourcetest.Moto(t)
	client := sqs.New(sqs.Options{Region: "us-east-1", BaseEndpoint: &url, Credentials: credentials.NewStaticCredentialsProvider("k", "s", "")})
	dead, deadARN := newQueue(t, client, "dead", nil)
	queue, arn := newQueue(t, client, "new-objects", map[string]string{
		"VisibilityTimeout": "1", "RedrivePolicy": fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":"3"}`, deadARN),
	})
	for i := range 40 {
		body := fmt.Sprintf("m%d", i)
		if i%10 == 3 {
			body = "fail " + body
		}
		if _, err := client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &queue.url, MessageBody: &body}); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	l := start(t, Config{Concurrency: 2, Timeout: 10 * time.Second, Log: &log})
	p := &Poller{Lambda: l, Queue: queue, ARN: arn, ReportBatchItemFailures: true}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := p.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	if err := l.Stop(); err != nil {
		t.Error(err)
	}
	counts := seen(log.String())
	for i := range 40 {
		body, want := fmt.Sprintf("m%d", i), 1
		if i%10 == 3 {
			body, want = "fail "+body, 3
		}
		if counts[body] != want {
			t.Errorf("%q was seen %d times, want %d", body, counts[body], want)
		}
	}
	if n, err := dead.Left(ctx); n != 4 || err != nil {
		t.Errorf("%d dead letters, %v; want 4", n, err)
	}
}

// The S3 server tells of every object, once, with what S3 would say of it.
func TestRealNotices(t *testing.T) {
	var mu sync.Mutex
	got := map[string]Notice{}
	dir := t.TempDir()
	url := S3(t, dir, func(n Notice) {
		mu.Lock()
		defer mu.Unlock()
		got[n.Event+" "+n.Key] = n
	})
	client := s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: &url, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(sourcetest.AccessKey, sourcetest.SecretKey, ""),
	})
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	bucket := aws.String("logs")
	_, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: bucket})
	must(err)
	const strange = "AWSLogs/aws-account-id=1/a b+c%20ü.log.gz"
	made, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String(strange), Body: strings.NewReader("flow")})
	must(err)
	const parts = "AWSLogs/parts.log.parquet"
	upload, err := client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: bucket, Key: aws.String(parts)})
	must(err)
	part, err := client.UploadPart(ctx, &s3.UploadPartInput{Bucket: bucket, Key: aws.String(parts), UploadId: upload.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader("flows")})
	must(err)
	_, err = client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: bucket, Key: aws.String(parts), UploadId: upload.UploadId,
		MultipartUpload: &s3types.CompletedMultipartUpload{Parts: []s3types.CompletedPart{{ETag: part.ETag, PartNumber: aws.Int32(1)}}}})
	must(err)
	_, err = client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: aws.String(strange)})
	must(err)

	for _, want := range []struct {
		event, key string
		size       int64
		etag       string
	}{
		{"ObjectCreated:Put", strange, 4, strings.Trim(*made.ETag, `"`)},
		{"ObjectCreated:CompleteMultipartUpload", parts, 5, ""},
		{"ObjectRemoved:Delete", strange, 0, ""},
	} {
		var n Notice
		for began := time.Now(); n.Key == "" && time.Since(began) < 10*time.Second; time.Sleep(10 * time.Millisecond) {
			mu.Lock()
			n = got[want.event+" "+want.key]
			mu.Unlock()
		}
		if n.Key != want.key || n.Bucket != "logs" || n.Size != want.size || strings.Contains(n.ETag, `"`) || want.etag != "" && n.ETag != want.etag ||
			time.Since(n.Time) > time.Minute || len(n.Sequencer) != 18 {
			t.Errorf("got %+v, want %+v", n, want)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if put, removed := got["ObjectCreated:Put "+strange], got["ObjectRemoved:Delete "+strange]; put.Sequencer >= removed.Sequencer {
		t.Errorf("%s was put before it was removed at %s", put.Sequencer, removed.Sequencer)
	}
}
