package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"ephemera/ingest/flow"
)

// opened is an object that is being read: from its beginning to its end by
// a stream that reads ahead, or anywhere by windows. It implements
// ingest.RandomAccess.
type opened struct {
	store *Store
	entry entry
	// ctx is done when the object is closed.
	ctx    context.Context
	cancel context.CancelFunc

	stream  *stream // nil when Read goes by windows
	pos     int64   // of Read by windows
	windows windows

	mu   sync.Mutex
	etag string // of the first answer; further ones must be of the same object
}

// open opens e. Parquet is read by windows from the start, by its name, and
// so is what is only peeked into.
func (s *Store) open(ctx context.Context, e entry, peek bool) (io.ReadCloser, error) {
	switch {
	case e.class != "" && e.restored == underWay:
		return nil, &flow.ObjectError{Fault: flow.Archived, Err: fmt.Errorf("it is being restored from the archive (%s); run again when that is done", e.class)}
	case e.class != "" && e.restored == notAsked:
		return nil, &flow.ObjectError{Fault: flow.Archived, Err: archived(string(e.class), "")}
	}
	ctx, cancel := context.WithCancel(ctx)
	o := &opened{store: s, entry: e, ctx: ctx, cancel: cancel}
	if e.exact {
		o.etag = e.etag
	}
	o.windows.whole, o.windows.head = wholeSize, headSize
	if peek {
		o.windows.whole, o.windows.head = peekSize, windowSize
	} else if !strings.HasSuffix(e.place, ".parquet") && e.size > 0 {
		o.stream = newStream(o)
	}
	return o, nil
}

// Close implements io.Closer.
func (o *opened) Close() error {
	o.cancel()
	if o.stream != nil {
		o.stream.close()
	}
	return nil
}

// Size implements ingest.RandomAccess.
func (o *opened) Size() int64 { return o.entry.size }

// Read implements io.Reader.
func (o *opened) Read(p []byte) (int, error) {
	if o.stream != nil {
		n, err := o.stream.read(o.ctx, p)
		o.pos += int64(n)
		if err != errRandom {
			return n, err
		}
		o.stream = nil
	}
	if o.pos == 0 {
		p = p[:min(int64(len(p)), o.windows.head)]
	}
	n, err := o.ReadAt(p[:min(len(p), windowSize)], o.pos)
	o.pos += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

func (o *opened) knownETag() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.etag
}

func (o *opened) learnETag(etag string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.etag == "" {
		o.etag = etag
	}
}

// download gives the bytes of an object from next to end. Where the
// connection breaks, it is resumed.
type download struct {
	o         *opened
	next, end int64

	body  io.ReadCloser // nil before the first Read, and where it broke
	ctx   context.Context
	abort context.CancelCauseFunc // of ctx
	stall *time.Timer
	tries int // since there was progress
}

// Read implements io.Reader. Its errors, but io.EOF and the context's, are
// *flow.ObjectErrors.
func (d *download) Read(p []byte) (int, error) {
	for d.next < d.end {
		n, err := d.try(p[:min(int64(len(p)), d.end-d.next)])
		if err != nil {
			d.Close()
		}
		if n > 0 {
			d.tries = 0
			d.next += int64(n)
			return n, nil
		}
		if err := d.wait(err); err != nil {
			return 0, err
		}
	}
	d.Close()
	return 0, io.EOF
}

// try reads once from the connection that there is, or from a new one.
func (d *download) try(p []byte) (int, error) {
	if d.body == nil {
		if err := d.request(); err != nil {
			return 0, err
		}
	}
	d.stall.Reset(d.o.store.opts.Stall)
	n, err := d.body.Read(p)
	d.stall.Stop()
	if err != nil && errors.Is(context.Cause(d.ctx), errStalled) {
		err = errStalled
	}
	return n, err
}

// wait waits before the next try, or gives the error with which to give up.
func (d *download) wait(err error) error {
	if d.o.ctx.Err() != nil {
		return d.o.ctx.Err()
	}
	if err == nil {
		return nil // a read of nothing
	}
	var known *flow.ObjectError
	if errors.As(err, &known) {
		return err
	}
	bucket := d.o.entry.bucket
	if isFinal(err) {
		return fault(bucket, err)
	}
	if d.tries++; d.tries == d.o.store.tries {
		e := fault(bucket, err)
		e.Err = fmt.Errorf("reading broke %d times at byte %d (%w); run again", d.tries, d.next, e.Err)
		return e
	}
	d.o.store.pause(d.o.ctx, d.tries)
	return d.o.ctx.Err()
}

// request asks for the bytes that are missing.
func (d *download) request() error {
	ctx, abort := context.WithCancelCause(d.o.ctx)
	e := &d.o.entry
	key := e.key()
	in := &s3.GetObjectInput{Bucket: &e.bucket, Key: &key, RequestPayer: d.o.store.payer()}
	if etag := d.o.knownETag(); etag != "" {
		in.IfMatch = &etag
	}
	part := d.next > 0 || d.end < e.size
	if part {
		in.Range = new(fmt.Sprintf("bytes=%d-%d", d.next, d.end-1))
	}
	out, err := d.o.store.api.GetObject(ctx, in, d.o.store.call(e.bucket))
	if err == nil {
		if err = d.check(out, part); err != nil {
			_ = out.Body.Close() // it was only read
		}
	}
	if err != nil {
		abort(nil)
		return err
	}
	d.o.learnETag(deref(out.ETag))
	d.body, d.ctx, d.abort = out.Body, ctx, abort
	d.stall = time.AfterFunc(d.o.store.opts.Stall, func() { abort(errStalled) })
	return nil
}

// check compares an answer with what was asked for. An error that is a
// *flow.ObjectError cannot be mended by asking again.
func (d *download) check(out *s3.GetObjectOutput, part bool) error {
	e := &d.o.entry
	changed := &flow.ObjectError{Fault: flow.Damaged, Err: errChanged}
	if part {
		start, total, ok := parseContentRange(deref(out.ContentRange))
		switch {
		case !ok || start != d.next:
			return fmt.Errorf("the server answers with %q to a request for bytes %d to %d", deref(out.ContentRange), d.next, d.end-1)
		case total != e.size:
			return changed
		}
		return nil
	}
	if out.ContentLength == nil || *out.ContentLength < 0 || *out.ContentLength == e.size {
		return nil
	}
	// A proxy may have cut it, and counted what was left.
	isCut := *out.ContentLength < e.size && (e.etag == "" || e.etag == deref(out.ETag))
	if !isCut {
		return changed
	}
	return nil
}

// parseContentRange reads "bytes 5-9/100".
func parseContentRange(s string) (start, total int64, ok bool) {
	s, ok = strings.CutPrefix(s, "bytes ")
	first, rest, _ := strings.Cut(s, "-")
	_, all, _ := strings.Cut(rest, "/")
	start, err1 := strconv.ParseInt(first, 10, 64)
	total, err2 := strconv.ParseInt(all, 10, 64)
	return start, total, ok && err1 == nil && err2 == nil
}

// Close lets go of the connection. The next Read opens another.
func (d *download) Close() {
	if d.body == nil {
		return
	}
	d.stall.Stop()
	d.abort(nil)
	_ = d.body.Close() // it was only read
	d.body = nil
}
