//go:build real

package runtimeapi

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"ephemera/ingest/sourcetest"
)

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
