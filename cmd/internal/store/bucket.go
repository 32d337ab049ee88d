package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"ephemera/ingest/bucket"
)

// Bucket is a Store below a prefix of a bucket in S3.
type Bucket struct {
	client       *s3.Client
	name, prefix string
}

// NewBucket makes a Store below "s3://BUCKET/PREFIX".
func NewBucket(client *s3.Client, place string) (*Bucket, error) {
	name, prefix, err := Split(place)
	if err != nil {
		return nil, err
	}
	if prefix != "" && !strings.HasSuffix(prefix, "/") {
		prefix += "/"
	}
	return &Bucket{client, name, prefix}, nil
}

// Split splits "s3://BUCKET/PREFIX".
func Split(place string) (name, prefix string, err error) {
	rest, ok := strings.CutPrefix(place, bucket.Scheme)
	name, prefix, _ = strings.Cut(rest, "/")
	if !ok || name == "" {
		return "", "", fmt.Errorf("%q is no place in S3; write s3://BUCKET/PREFIX", place)
	}
	return name, prefix, nil
}

// Place implements Store.
func (b *Bucket) Place(name string) string { return bucket.Scheme + b.name + "/" + b.prefix + name }

// Put implements Store. S3 shows an object whole or not at all.
func (b *Bucket) Put(ctx context.Context, name string, content io.ReadSeeker, c Condition) (Version, error) {
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	in := &s3.PutObjectInput{Bucket: &b.name, Key: b.key(name), Body: content, ContentType: aws.String(ContentType(name))}
	if c.Absent {
		in.IfNoneMatch = aws.String("*")
	}
	if c.Is != "" {
		in.IfMatch = aws.String(string(c.Is))
	}
	out, err := b.client.PutObject(ctx, in)
	if err != nil {
		err = b.failed(ctx, "written", name, err)
		if errors.Is(err, ErrNone) { // what is to be replaced was deleted
			err = ErrCondition
		}
		return "", err
	}
	return Version(aws.ToString(out.ETag)), nil
}

// Get implements Store.
func (b *Bucket) Get(ctx context.Context, name string) ([]byte, Version, error) {
	out, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.name, Key: b.key(name)})
	if err != nil {
		return nil, "", b.failed(ctx, "read", name, err)
	}
	defer out.Body.Close() //nolint:errcheck // it was only read
	var content bytes.Buffer
	if _, err := content.ReadFrom(out.Body); err != nil {
		return nil, "", b.failed(ctx, "read", name, err)
	}
	return content.Bytes(), Version(aws.ToString(out.ETag)), nil
}

// List implements Store.
func (b *Bucket) List(ctx context.Context, prefix string) ([]string, error) {
	var names []string
	pages := s3.NewListObjectsV2Paginator(b.client, &s3.ListObjectsV2Input{Bucket: &b.name, Prefix: b.key(prefix)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, b.failed(ctx, "listed", prefix, err)
		}
		for _, o := range page.Contents {
			names = append(names, strings.TrimPrefix(aws.ToString(o.Key), b.prefix))
		}
	}
	return names, nil
}

// Delete implements Store.
func (b *Bucket) Delete(ctx context.Context, name string) error {
	if _, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.name, Key: b.key(name)}); err != nil {
		return b.failed(ctx, "deleted", name, err)
	}
	return nil
}

func (b *Bucket) key(name string) *string { return aws.String(b.prefix + name) }

// failed says which object could not be written, or read, and what to do.
func (b *Bucket) failed(ctx context.Context, what, name string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var response *smithyhttp.ResponseError
	status := 0
	if errors.As(err, &response) {
		status = response.HTTPStatusCode()
	}
	var api smithy.APIError
	code := ""
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	switch {
	case status == http.StatusPreconditionFailed, code == "ConditionalRequestConflict":
		return ErrCondition
	case code == "NoSuchBucket":
		return fmt.Errorf("%s cannot be %s: there is no bucket %s; create it, or correct its name", b.Place(name), what, b.name)
	case status == http.StatusNotFound:
		return ErrNone
	case status == http.StatusForbidden:
		return fmt.Errorf("%s cannot be %s: access denied; see docs/iam.md for what has to be allowed: %w", b.Place(name), what, err)
	}
	return fmt.Errorf("%s cannot be %s: %w", b.Place(name), what, err)
}
