// Package bucket reads flow logs that lie in S3.
//
//	s3://BUCKET/PREFIX → AWSLogs trees → series of days → objects in time order
//
// A tree is what AWS delivers into: everything below one folder AWSLogs. It
// has a series for every account and region, the folders of its days one
// after the other. All series are listed side by side, about a day ahead of
// what is read, so that memory depends on what is delivered in a day and not
// on how long it has been. Places without a tree (Firehose, exports of
// CloudWatch Logs, Security Lake, copies made by hand) are listed whole.
//
//	store := bucket.New(s3.NewFromConfig(cfg), bucket.Options{})
//	objects, err := store.Find(ctx, []string{"s3://my-logs/AWSLogs/"}, opts)
//	if err != nil {
//		return err
//	}
//	logs := ingest.Join(opts, objects)
//
// Objects are read ahead within a bound, and a connection that breaks or
// stalls is resumed where it broke, as long as the object stays the same.
//
// # Limits
//
// Object names with control characters cannot be listed. Versions of objects
// other than the latest are not looked at.
package bucket

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"
)

// API is what is used of S3. *s3.Client implements it.
type API interface {
	ListObjectsV2(context.Context, *s3.ListObjectsV2Input, ...func(*s3.Options)) (*s3.ListObjectsV2Output, error)
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
	HeadBucket(context.Context, *s3.HeadBucketInput, ...func(*s3.Options)) (*s3.HeadBucketOutput, error)
	HeadObject(context.Context, *s3.HeadObjectInput, ...func(*s3.Options)) (*s3.HeadObjectOutput, error)
}

// Options say how to talk to S3. The zero Options are right for AWS.
type Options struct {
	// RequesterPays agrees to pay for requests to buckets that ask for it.
	RequesterPays bool

	// PathStyle puts the bucket's name into the path of the URL instead of
	// the name of the host, as servers other than AWS may need.
	PathStyle bool

	// ReadAhead is how many bytes of objects are held before they are
	// wanted, in all; 0 means 64 MiB. Each open object can hold half a
	// megabyte besides.
	ReadAhead int64

	// Stall is how long an answer may give nothing before it is broken off
	// and asked for again; 0 means 20 s.
	Stall time.Duration
}

// Store reads from the buckets that one client reaches. It can be used by
// several goroutines.
type Store struct {
	api  API
	opts Options

	listing chan struct{} // an element for each request that lists
	ahead   chan struct{} // an element for each chunk that may still be read ahead
	buffers sync.Pool     // of *[chunkSize]byte

	tries   int           // without progress, until an object is given up
	backoff time.Duration // before the second try; doubles up to maxBackoff

	mu      sync.Mutex
	regions map[string]string // of buckets that are elsewhere than the client
}

const (
	defaultReadAhead = 64 << 20
	defaultStall     = 20 * time.Second

	// listingAtOnce keeps far below what S3 allows for a prefix (5500
	// requests a second), and hides the latency of one behind the others.
	listingAtOnce = 8

	// A connection that broke is tried again after 0.1, 0.2, 0.4 ... 5 s,
	// in all for a quarter of a minute, on top of the retries of the client.
	defaultTries   = 8
	defaultBackoff = 100 * time.Millisecond
	maxBackoff     = 5 * time.Second
)

// New makes a Store. The retries of requests, timeouts of connections and
// credentials are those of client.
func New(client API, opts Options) *Store {
	opts.ReadAhead = cmp.Or(opts.ReadAhead, defaultReadAhead)
	opts.Stall = cmp.Or(opts.Stall, defaultStall)
	s := &Store{
		api: client, opts: opts,
		listing: make(chan struct{}, listingAtOnce),
		ahead:   make(chan struct{}, max(0, opts.ReadAhead/chunkSize)),
		tries:   defaultTries, backoff: defaultBackoff,
		regions: make(map[string]string),
	}
	s.buffers.New = func() any { return new([chunkSize]byte) }
	for range cap(s.ahead) {
		s.ahead <- struct{}{}
	}
	return s
}

// call adapts the client for one request to a bucket.
func (s *Store) call(bucket string) func(*s3.Options) {
	region := s.region(bucket)
	return func(o *s3.Options) {
		o.Region = cmp.Or(region, o.Region)
		o.UsePathStyle = o.UsePathStyle || s.opts.PathStyle
		// Parts of objects have no checksum, and other servers than AWS have
		// others. Lengths and ETags are checked where the answer is read.
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		o.DisableLogOutputChecksumValidationSkipped = true
		o.APIOptions = append(slices.Clip(o.APIOptions), s.boundAttempts)
	}
}

func (s *Store) payer() types.RequestPayer {
	if s.opts.RequesterPays {
		return types.RequestPayerRequester
	}
	return ""
}

func (s *Store) region(bucket string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.regions[bucket]
}

// boundAttempts makes each attempt of a request end that has not brought the
// head of its answer, or the whole of a listing, after the time of a stall.
// Whatever the HTTP client allows, no request waits for ever.
func (s *Store) boundAttempts(stack *middleware.Stack) error {
	bound := func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
		// On success the context lives on for the body, and is cancelled
		// with the one that the request was made with.
		ctx, cancel := context.WithCancelCause(ctx)
		timer := time.AfterFunc(s.opts.Stall, func() { cancel(errStalled) })
		out, metadata, err := next.HandleFinalize(ctx, in)
		timer.Stop()
		if err != nil {
			if errors.Is(context.Cause(ctx), errStalled) {
				err = errStalled // what wraps it says that the caller cancelled
			}
			cancel(nil)
		}
		return out, metadata, err
	}
	return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("BoundAttempt", bound), "Retry", middleware.After)
}

// errStalled is an answer that does not come. The SDK tries again after it.
var errStalled = stalled{}

type stalled struct{}

func (stalled) Error() string        { return "the server gave nothing for too long" }
func (stalled) RetryableError() bool { return true }
