package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// fake is a bucket in memory, "b".
type fake struct {
	keys    []string // sorted
	objects map[string]types.Object
	content map[string][]byte
	page    int // keys and folders in a page; 0 means 1000

	// list and get can make requests fail, and body can replace bodies.
	list func(in *s3.ListObjectsV2Input) error
	get  func(in *s3.GetObjectInput) error
	body func(ctx context.Context, data []byte) io.Reader

	mu     sync.Mutex
	listed []string // prefixes, with "*" where everything below was listed
	gets   []string // ranges
	sent   int64    // bytes of bodies
	open   int      // bodies
}

func newFake(keys ...string) *fake {
	f := &fake{objects: make(map[string]types.Object), content: make(map[string][]byte)}
	for _, key := range keys {
		f.put(key, []byte("x"))
	}
	return f
}

func (f *fake) put(key string, data []byte) {
	f.content[key] = data
	f.objects[key] = types.Object{Key: &key, Size: new(int64(len(data))), ETag: new(etagOf(data))}
	if i, ok := slices.BinarySearch(f.keys, key); !ok {
		f.keys = slices.Insert(f.keys, i, key)
	}
}

// etagOf tells contents apart by their lengths and some of their bytes.
func etagOf(data []byte) string {
	sum := uint64(len(data))
	for i := 0; i < len(data); i += 1 + len(data)/1000 {
		sum = (sum ^ uint64(data[i])) * 1099511628211
	}
	return fmt.Sprintf("%q", fmt.Sprintf("%016x", sum))
}

func apiError(status int, code, message string) error {
	return &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status, Header: http.Header{}}},
		Err:      &smithy.GenericAPIError{Code: code, Message: message},
	}
}

func (f *fake) HeadObject(_ context.Context, in *s3.HeadObjectInput, _ ...func(*s3.Options)) (*s3.HeadObjectOutput, error) {
	o, ok := f.objects[*in.Key]
	if !ok {
		return nil, apiError(http.StatusNotFound, "NotFound", "")
	}
	return &s3.HeadObjectOutput{ContentLength: o.Size, ETag: o.ETag}, nil
}

func (f *fake) ListObjectsV2(ctx context.Context, in *s3.ListObjectsV2Input, _ ...func(*s3.Options)) (*s3.ListObjectsV2Output, error) {
	prefix, delimiter := *in.Prefix, deref(in.Delimiter)
	f.mu.Lock()
	defer f.mu.Unlock()
	if deref(in.ContinuationToken) == "" && deref(in.MaxKeys) == 0 {
		name := prefix
		if delimiter == "" {
			name += "*"
		}
		f.listed = append(f.listed, name)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if *in.Bucket != "b" {
		return nil, apiError(404, "NoSuchBucket", "The specified bucket does not exist")
	}
	if f.list != nil {
		if err := f.list(in); err != nil {
			return nil, err
		}
	}
	limit := f.page
	if limit == 0 {
		limit = 1000
	}
	if n := int(deref(in.MaxKeys)); n > 0 {
		limit = min(limit, n)
	}
	after := deref(in.ContinuationToken) // the last key, or folder, of the page before
	out := &s3.ListObjectsV2Output{IsTruncated: new(false)}
	i, _ := slices.BinarySearch(f.keys, max(prefix, after))
	for n, last := 0, after; i < len(f.keys) && strings.HasPrefix(f.keys[i], prefix); i++ {
		key := f.keys[i]
		name := key
		if cut := strings.Index(key[len(prefix):], "/"); delimiter != "" && cut >= 0 {
			name = key[:len(prefix)+cut+1]
		}
		if name == last {
			continue
		}
		if n == limit {
			out.IsTruncated, out.NextContinuationToken = new(true), new(last)
			break
		}
		if n++; name == key && (delimiter == "" || !strings.Contains(key[len(prefix):], "/")) {
			out.Contents = append(out.Contents, f.objects[key])
		} else {
			out.CommonPrefixes = append(out.CommonPrefixes, types.CommonPrefix{Prefix: new(name)})
		}
		last = name
	}
	return out, nil
}

func (f *fake) GetObject(ctx context.Context, in *s3.GetObjectInput, _ ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gets = append(f.gets, *in.Key+" "+deref(in.Range))
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if f.get != nil {
		if err := f.get(in); err != nil {
			return nil, err
		}
	}
	data, ok := f.content[*in.Key]
	etag := etagOf(data)
	switch {
	case !ok:
		return nil, apiError(404, "NoSuchKey", "The specified key does not exist.")
	case in.IfMatch != nil && *in.IfMatch != etag:
		return nil, apiError(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
	}
	out := &s3.GetObjectOutput{ETag: &etag}
	if in.Range != nil {
		var first, last int
		if _, err := fmt.Sscanf(*in.Range, "bytes=%d-%d", &first, &last); err != nil {
			return nil, err
		}
		if first >= len(data) {
			return nil, apiError(416, "InvalidRange", "The requested range is not satisfiable")
		}
		last = min(last, len(data)-1)
		out.ContentRange = new(fmt.Sprintf("bytes %d-%d/%d", first, last, len(data)))
		data = data[first : last+1]
	}
	out.ContentLength = new(int64(len(data)))
	var r io.Reader = bytes.NewReader(data)
	if f.body != nil {
		r = f.body(ctx, data)
	}
	f.open++
	out.Body = &fakeBody{f: f, r: r}
	return out, nil
}

func (f *fake) HeadBucket(context.Context, *s3.HeadBucketInput, ...func(*s3.Options)) (*s3.HeadBucketOutput, error) {
	return nil, errors.New("not asked for")
}

func (f *fake) stats() (gets int, sent int64, open int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.gets), f.sent, f.open
}

type fakeBody struct {
	f      *fake
	r      io.Reader
	closed bool
}

func (b *fakeBody) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.f.mu.Lock()
	defer b.f.mu.Unlock()
	b.f.sent += int64(n)
	return n, err
}

func (b *fakeBody) Close() error {
	b.f.mu.Lock()
	defer b.f.mu.Unlock()
	if !b.closed {
		b.closed = true
		b.f.open--
	}
	return nil
}

func diff[T comparable](t *testing.T, got, want []T) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("step %d: got %v, want %v (of %d and %d)", i, at(got, i), at(want, i), len(got), len(want))
		}
	}
}

func at[T any](s []T, i int) any {
	if i < len(s) {
		return s[i]
	}
	return "nothing"
}
