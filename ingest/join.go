package ingest

import (
	"cmp"
	"context"
	"io"
	"iter"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"ephemera/ingest/flow"
)

// Logs is a Source of the objects of lists.
type Logs struct {
	lists []Objects
	opts  Options
	count counters
}

// Join makes a source of the objects of all lists.
func Join(opts Options, lists ...Objects) *Logs { return &Logs{lists: lists, opts: opts} }

// Alone makes a source of one object.
func Alone(opts Options, o Object) *Logs { return Join(opts, alone{o}) }

// alone is a list of one object.
type alone struct{ Object }

// All implements Objects.
func (a alone) All(context.Context) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) { yield(a.Object, nil) }
}

// Ordered implements Objects.
func (a alone) Ordered() bool { return false }

// Listed implements Objects.
func (a alone) Listed() Listing { return Listing{Objects: 1, Bytes: a.Size, Share: 1} }

// Open makes a source of files, directories and standard input: see Find.
func Open(places []string, opts Options) (*Logs, error) {
	files, err := Find(places, opts)
	if err != nil {
		return nil, err
	}
	return Join(opts, files), nil
}

// Records gives the records of one object after the other, in the order of
// the objects: by the time of their records, then by place. Objects are
// opened and decoded in parallel, Options.ReadAhead of them, and wait for
// their turn.
//
// AWS shuffles the minutes that an object covers, and an object covers the
// same minutes as others, so a record comes as much too late as its object
// is long: see Ordered.
//
// The sequence of records and errors is the same for any Options.Jobs and
// Options.ReadAhead, and at each call as long as the objects are, but for
// standard input and pipes, which can be read once. The sequence ends with
// ctx's error soon after ctx is cancelled; a reader blocked on standard input
// is left behind until its read returns. Not safe for concurrent use.
func (l *Logs) Records(ctx context.Context) iter.Seq2[*flow.Record, error] {
	return func(yield func(*flow.Record, error) bool) {
		l.count.reset()
		inner, cancel := context.WithCancel(ctx)
		j := newJoiner(inner, &l.opts, &l.count)
		defer j.group.Wait() //nolint:errcheck // its functions report errors as steps
		defer cancel()       // before waiting, also when yield panics
		j.group.Go(func() error {
			j.list(merged(inner, l.lists))
			return nil
		})
		if more := j.run(yield); more && ctx.Err() != nil {
			yield(nil, ctx.Err())
		}
	}
}

// Objects lists the objects in the order in which Records reads them. One that
// several lists have is listed once.
func (l *Logs) Objects(ctx context.Context) iter.Seq2[Object, error] { return merged(ctx, l.lists) }

// Ordered reports whether every list promises order: then a record ends at
// most fifteen minutes before another one that came earlier. Otherwise
// objects can hold records of any time in any order. Digests of hours or days
// in one list can cover the time of other lists' objects.
func (l *Logs) Ordered() bool {
	for _, list := range l.lists {
		long, ok := list.(interface{ HasLong() bool })
		if !list.Ordered() || len(l.lists) > 1 && ok && long.HasLong() {
			return false
		}
	}
	return true
}

// Stats counts what the last sequence of Records has read. It can be called
// while that goes on.
func (l *Logs) Stats() Stats {
	s := Stats{Objects: int(l.count.objects.Load()), Bytes: l.count.bytes.Load(), Records: l.count.records.Load()}
	for _, list := range l.lists {
		listing := list.Listed()
		if listing.Share <= 0 {
			return Stats{Objects: s.Objects, Bytes: s.Bytes, Records: s.Records}
		}
		s.TotalObjects += int(float64(listing.Objects) / listing.Share)
		s.TotalBytes += int64(float64(listing.Bytes) / listing.Share)
	}
	return s
}

// batchSize is how many steps pass from a decoder to the consumer at once,
// so that the cost of handing over does not show. queuedBatches is how many of
// these wait for it, of each object that is read ahead, and nextBatches of
// those that come next: as many as there are decoders, so that these need not
// wait for their turn. An object of five minutes has some ten thousand
// records; a queue of that many takes 10 MB.
const (
	batchSize     = 256
	queuedBatches = 4
	nextBatches   = 128
)

// defaultReadAhead is enough to hide the latency of S3 behind the decoding
// of objects of usual size, a few hundred kilobytes.
const defaultReadAhead = 16

// A batch is steps of the stream: records, and errors between them. Records
// of earlier use stay in it, since a decoder knows by them what it need not
// clear: see textDecoder.fill.
type batch struct {
	records [batchSize]flow.Record
	n       int
	errs    []stepError // in order
}

// stepError is an error in front of the record at, or behind the last one.
type stepError struct {
	at  int
	err error
}

// joiner runs decoders, and hands on what they give in the order of objects.
type joiner struct {
	ctx   context.Context
	count *counters

	group    errgroup.Group
	turn     turn
	feeds    chan *feed    // in order; as many as are read ahead
	jobs     chan struct{} // one element for each decoder at work
	decoders sync.Pool     // of *decoder
	batches  sync.Pool     // of *batch
}

// A feed is an object that is being read.
type feed struct {
	batches chan *batch
	err     error // of the listing, instead of an object
}

// counters are Stats while they grow.
type counters struct{ objects, bytes, records atomic.Int64 }

func (c *counters) reset() {
	c.objects.Store(0)
	c.bytes.Store(0)
	c.records.Store(0)
}

func newJoiner(ctx context.Context, opts *Options, count *counters) *joiner {
	j := &joiner{
		ctx: ctx, count: count,
		// The one that is consumed and the one that waits to be queued are
		// open, too.
		feeds: make(chan *feed, max(0, cmp.Or(opts.ReadAhead, defaultReadAhead)-2)),
		jobs:  make(chan struct{}, cmp.Or(opts.Jobs, runtime.GOMAXPROCS(0))),
	}
	j.decoders.New = func() any { return newDecoder(opts) }
	j.batches.New = func() any { return new(batch) }
	j.turn.next = cap(j.jobs)
	j.turn.moved.L = &j.turn.mu
	context.AfterFunc(ctx, j.turn.end)
	return j
}

// turn tells decoders how far away their object's turn is.
type turn struct {
	mu    sync.Mutex
	moved sync.Cond
	at    int // the number of the object that is consumed
	next  int // how many objects behind it come next
	ended bool
}

// move is called when the next object is consumed.
func (t *turn) move() {
	t.mu.Lock()
	t.at++
	t.mu.Unlock()
	t.moved.Broadcast()
}

// end has nobody wait any more.
func (t *turn) end() {
	t.mu.Lock()
	t.ended = true
	t.mu.Unlock()
	t.moved.Broadcast()
}

// wait waits until the object of that number is among the next ones.
func (t *turn) wait(number int) {
	t.mu.Lock()
	for number > t.at+t.next && !t.ended {
		t.moved.Wait()
	}
	t.mu.Unlock()
}

// list starts the objects in order, as far ahead as feeds has room.
func (j *joiner) list(objects iter.Seq2[Object, error]) {
	defer close(j.feeds)
	last := -1
	for o, err := range objects {
		f := &feed{err: err}
		last++
		if err == nil {
			f.batches = make(chan *batch, nextBatches)
			number := last
			j.group.Go(func() error {
				defer close(f.batches)
				j.decode(&o, number, f.batches)
				return nil
			})
		}
		select {
		case j.feeds <- f:
		case <-j.ctx.Done():
			return
		}
	}
}

// run yields steps in order. It reports whether yield wants more.
func (j *joiner) run(yield func(*flow.Record, error) bool) bool {
	for f := range j.feeds {
		if f.err != nil && (j.ctx.Err() != nil || !yield(nil, f.err)) {
			return j.ctx.Err() != nil
		}
		if f.err == nil && !j.drain(f, yield) {
			return false
		}
		j.turn.move()
	}
	return true
}

// drain yields the steps of one object. It reports whether yield wants more.
func (j *joiner) drain(f *feed, yield func(*flow.Record, error) bool) bool {
	for b := range f.batches {
		if j.ctx.Err() != nil {
			return true
		}
		j.count.records.Add(int64(b.n + len(b.errs)))
		if !b.drain(yield) {
			return false
		}
		j.batches.Put(b)
	}
	return true
}

// decode sends the steps of o, the object of that number, to out, until its
// end or until ctx is done.
func (j *joiner) decode(o *Object, number int, out chan<- *batch) {
	r, err := o.Open(j.ctx)
	if err != nil {
		r = io.NopCloser(failed{err})
	}
	defer r.Close()
	j.count.objects.Add(1)
	d := j.decoders.Get().(*decoder)
	defer j.decoders.Put(d)
	defer d.close()
	d.reset(&source{r: r, j: j}, j.content(r), o)
	for more := true; more; {
		if !j.begin() {
			return
		}
		b := j.batches.Get().(*batch)
		more = b.fill(d)
		j.end()
		if len(out) >= queuedBatches {
			j.turn.wait(number)
		}
		select {
		case out <- b:
		case <-j.ctx.Done():
			return
		}
	}
}

// begin waits until one more decoder may work, and reports whether it may.
func (j *joiner) begin() bool {
	select {
	case j.jobs <- struct{}{}:
		return true
	case <-j.ctx.Done():
		return false
	}
}

func (j *joiner) end() { <-j.jobs }

// waitFor runs read, which may wait for a disk or a server, while another
// decoder works.
func (j *joiner) waitFor(read func() (int, error)) (int, error) {
	j.end()
	n, err := read()
	j.count.bytes.Add(int64(n))
	j.jobs <- struct{}{} // decoders at work come to their end, or to here
	return n, err
}

// source is an object's content as its decoder reads it: its bytes are
// counted, and waiting for them is no work.
type source struct {
	r io.Reader
	j *joiner
}

func (s *source) Read(p []byte) (int, error) {
	return s.j.waitFor(func() (int, error) { return s.r.Read(p) })
}

// randomSource is source for content with random access.
type randomSource struct {
	io.ReadCloser
	RandomAccess
	j *joiner
}

func (s *randomSource) ReadAt(p []byte, off int64) (int, error) {
	return s.j.waitFor(func() (int, error) { return s.RandomAccess.ReadAt(p, off) })
}

func (j *joiner) content(r io.ReadCloser) io.ReadCloser {
	if at, ok := r.(RandomAccess); ok {
		return &randomSource{r, at, j}
	}
	return r
}

// fill decodes steps into b and reports whether there may be more.
func (b *batch) fill(d *decoder) bool {
	b.n, b.errs = 0, b.errs[:0]
	for b.n < batchSize && len(b.errs) < batchSize {
		switch err := d.next(&b.records[b.n]); {
		case err == nil:
			b.n++
		case err == io.EOF:
			return false
		default:
			b.errs = append(b.errs, stepError{b.n, err})
		}
	}
	return true
}

// drain yields the steps in b. It reports whether yield wants more.
func (b *batch) drain(yield func(*flow.Record, error) bool) bool {
	done := 0
	for _, e := range b.errs {
		if !yieldRecords(b.records[done:e.at], yield) || !yield(nil, e.err) {
			return false
		}
		done = e.at
	}
	return yieldRecords(b.records[done:b.n], yield)
}

func yieldRecords(records []flow.Record, yield func(*flow.Record, error) bool) bool {
	for i := range records {
		if !yield(&records[i], nil) {
			return false
		}
	}
	return true
}
