package bucket

import (
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"
)

// content is what lies directly in a folder, or all that lies below it.
type content struct {
	at      place
	folders []string // prefixes, with their slash
	entries []entry
	err     error // where listing broke off
}

func (c *content) isEmpty() bool { return len(c.folders) == 0 && len(c.entries) == 0 }

// look lists what lies directly at a prefix.
func (s *Store) look(ctx context.Context, at place) content { return s.list(ctx, at, "/") }

// lookAll lists what lies directly at several prefixes.
func (s *Store) lookAll(ctx context.Context, bucket string, prefixes []string) []content {
	all := make([]content, len(prefixes))
	each(len(prefixes), func(i int) { all[i] = s.look(ctx, place{bucket, prefixes[i]}) })
	return all
}

// walk lists every object below a prefix.
func (s *Store) walk(ctx context.Context, at place) content { return s.list(ctx, at, "") }

func (s *Store) list(ctx context.Context, at place, delimiter string) content {
	c := content{at: at}
	for page, err := range s.pages(ctx, at, delimiter, 0) {
		if err != nil {
			c.err = err
			break
		}
		for i := range page.CommonPrefixes {
			c.folders = append(c.folders, deref(page.CommonPrefixes[i].Prefix))
		}
		for i := range page.Contents {
			c.entries = append(c.entries, newEntry(at.bucket, &page.Contents[i]))
		}
	}
	return c
}

// first is the first key of those that begin with a prefix, and whether
// there is one.
func (s *Store) first(ctx context.Context, at place) (e entry, ok bool, err error) {
	for page, err := range s.pages(ctx, at, "", 1) {
		if err != nil || len(page.Contents) == 0 {
			return entry{}, false, err
		}
		return newEntry(at.bucket, &page.Contents[0]), true, nil
	}
	return entry{}, false, nil
}

var errPaging = errors.New("the server says that there is more, and not how to go on")

// pages lists page by page, of up to limit keys, where 0 leaves that to the
// server. An error is the last step.
func (s *Store) pages(ctx context.Context, at place, delimiter string, limit int32) iter.Seq2[*s3.ListObjectsV2Output, error] {
	return func(yield func(*s3.ListObjectsV2Output, error) bool) {
		in := &s3.ListObjectsV2Input{
			Bucket: &at.bucket, Prefix: &at.prefix, RequestPayer: s.payer(),
			OptionalObjectAttributes: []types.OptionalObjectAttributes{types.OptionalObjectAttributesRestoreStatus},
		}
		if delimiter != "" {
			in.Delimiter = &delimiter
		}
		if limit > 0 {
			in.MaxKeys = aws.Int32(limit)
		}
		for {
			page, err := s.page(ctx, in)
			if err == nil && deref(page.IsTruncated) && (deref(page.NextContinuationToken) == "" || deref(page.NextContinuationToken) == deref(in.ContinuationToken)) {
				err = errPaging
			}
			if !yield(page, err) || err != nil || !deref(page.IsTruncated) {
				return
			}
			in.ContinuationToken = page.NextContinuationToken
		}
	}
}

// page makes one request to list, when there are not too many on the way.
// What breaks an answer is no concern of the client's retries, so it is asked
// for again here.
func (s *Store) page(ctx context.Context, in *s3.ListObjectsV2Input) (*s3.ListObjectsV2Output, error) {
	select {
	case s.listing <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-s.listing }()
	for tries := 1; ; tries++ {
		page, err := s.ask(ctx, in)
		switch {
		case err == nil:
			return page, nil
		case s.follow(ctx, *in.Bucket, err):
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case isFinal(err) || tries == s.tries:
			return nil, err
		default:
			s.pause(ctx, tries)
		}
	}
}

var errNoListing = errors.New("the answer is no listing")

func (s *Store) ask(ctx context.Context, in *s3.ListObjectsV2Input) (*s3.ListObjectsV2Output, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends what boundAttempts left
	page, err := s.api.ListObjectsV2(ctx, in, s.call(*in.Bucket))
	if err == nil && page.IsTruncated == nil {
		err = errNoListing // an empty body reads as one of nothing
	}
	return page, err
}

// pause waits before another try, longer the more there have been, or until
// ctx is done.
func (s *Store) pause(ctx context.Context, tries int) {
	d := min(maxBackoff, s.backoff<<(tries-1))
	timer := time.NewTimer(d/2 + rand.N(d/2+1))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// each calls f with 0 to n-1, some at once.
func each(n int, f func(i int)) {
	var group errgroup.Group
	group.SetLimit(listingAtOnce)
	for i := range n {
		group.Go(func() error {
			f(i)
			return nil
		})
	}
	_ = group.Wait() // its functions return none
}
