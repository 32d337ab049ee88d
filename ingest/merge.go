package ingest

import (
	"cmp"
	"container/heap"
	"context"
	"io"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"ephemera/ingest/flow"
)

// object is one flow log of a source.
type object struct {
	place string
	open  func(context.Context) (io.ReadCloser, error)

	// rereadable tells that open can be called again for the same content.
	rereadable bool

	// start is a time that the records do not end before, as a rule, in
	// Unix seconds; unknownStart when there is no telling.
	start int64
}

const unknownStart = math.MinInt64

// maxOpen bounds the objects that are open, and with them the memory: each
// holds its buffers and some batches, together about half a megabyte. It
// must not depend on Options.Jobs, for the order of records does on it.
const maxOpen = 64

// batchSize is how many steps pass from a decoder to the merge at once, and
// queuedBatches how many of these wait for it, so that the cost of handing
// over does not show and a decoder is not held up by another.
const (
	batchSize     = 256
	queuedBatches = 2
)

// step is one step of the stream: a record, or an error.
type step struct {
	rec flow.Record
	err error
}

type batch struct {
	steps [batchSize]step
	n     int
}

// merger runs decoders and merges what they give.
//
// An object is started, which is to say that a goroutine decodes it a few
// batches ahead; then admitted, which is to say that its next step competes
// with those of other admitted objects. Both go by the order of objects.
// Whether an object is admitted depends on steps alone, never on the speed
// of a decoder; that is why the order is the same for any number of jobs.
type merger struct {
	ctx     context.Context
	count   *counters
	objects []object

	group    errgroup.Group
	jobs     chan struct{} // one element for each decoder at work
	decoders sync.Pool     // of *textDecoder
	batches  sync.Pool     // of *batch

	ahead []*feed // started, not admitted
	next  int     // the object to be admitted next
	heads feeds
}

// counters are Stats while they grow.
type counters struct{ objects, bytes atomic.Int64 }

// merge yields the records of objects. See Local.Records for the order.
func merge(ctx context.Context, objects []object, opts *Options, count *counters,
	yield func(*flow.Record, error) bool) {
	inner, cancel := context.WithCancel(ctx)
	m := &merger{
		ctx: inner, count: count,
		jobs: make(chan struct{}, cmp.Or(opts.Jobs, runtime.GOMAXPROCS(0))),
	}
	m.decoders.New = func() any { return newTextDecoder(opts) }
	m.batches.New = func() any { return new(batch) }
	defer m.group.Wait() //nolint:errcheck // its functions report errors as steps
	defer cancel()       // before waiting, also when yield panics
	m.objects = inOrder(inner, objects, opts.Format, cap(m.jobs))
	if more := m.run(yield); more && ctx.Err() != nil {
		yield(nil, ctx.Err())
	}
}

// run yields steps in order. It reports whether yield wants more.
func (m *merger) run(yield func(*flow.Record, error) bool) bool {
	for m.admit(); len(m.heads) > 0; m.admit() {
		if m.ctx.Err() != nil {
			break
		}
		f := m.heads[0]
		s := f.step()
		rec := &s.rec
		if s.err != nil {
			rec = nil
		}
		if !yield(rec, s.err) {
			return false
		}
		if m.advance(f) {
			heap.Fix(&m.heads, 0)
		} else {
			heap.Pop(&m.heads)
		}
	}
	return true
}

// admit admits the objects that may have the next step.
func (m *merger) admit() {
	for m.next < len(m.objects) && len(m.heads) < maxOpen {
		if len(m.heads) > 0 && m.objects[m.next].start > m.heads[0].time {
			return
		}
		m.startAhead()
		f := m.ahead[0]
		m.ahead = m.ahead[1:]
		m.next++
		if m.advance(f) {
			heap.Push(&m.heads, f)
		}
	}
}

// startAhead starts the next object to be admitted, and as many behind it as
// keep all jobs busy.
func (m *merger) startAhead() {
	for len(m.ahead) <= cap(m.jobs) && len(m.heads)+len(m.ahead) < maxOpen {
		i := m.next + len(m.ahead)
		if i == len(m.objects) {
			return
		}
		o := m.objects[i]
		f := &feed{index: i, time: o.start, batches: make(chan *batch, queuedBatches)}
		m.ahead = append(m.ahead, f)
		m.group.Go(func() error {
			defer close(f.batches)
			m.decode(o, f.batches)
			return nil
		})
	}
}

// decode sends the steps of o to out, until its end or until ctx is done.
func (m *merger) decode(o object, out chan<- *batch) {
	d := m.decoders.Get().(*textDecoder)
	defer m.decoders.Put(d)
	for began, more := false, true; more; began = true {
		select {
		case m.jobs <- struct{}{}:
		case <-m.ctx.Done():
			return
		}
		b := m.batches.Get().(*batch)
		b.n = 0
		if !began {
			r, err := o.open(m.ctx)
			if err != nil {
				r = io.NopCloser(failed{err})
			}
			defer r.Close() //nolint:gocritic // once: see began
			m.count.objects.Add(1)
			d.reset(&countingReader{r, &m.count.bytes}, o.place)
		}
		more = b.fill(d)
		<-m.jobs
		select {
		case out <- b:
		case <-m.ctx.Done():
			return
		}
	}
}

// fill decodes steps into b and reports whether there may be more.
func (b *batch) fill(d *textDecoder) bool {
	for b.n < batchSize {
		s := &b.steps[b.n]
		s.err = d.next(&s.rec)
		if s.err == io.EOF {
			return false
		}
		b.n++
	}
	return true
}

// feed is a started object as the merge sees it.
type feed struct {
	index   int // among the objects
	batches chan *batch
	batch   *batch // nil before the first
	pos     int    // of the current step in batch

	// time is the end of the current record, or that of the latest one
	// that has a time; before that the start of the object.
	time int64
}

func (f *feed) step() *step { return &f.batch.steps[f.pos] }

// advance goes to the next step of f and reports whether there is one.
func (m *merger) advance(f *feed) bool {
	f.pos++
	for f.batch == nil || f.pos >= f.batch.n {
		if f.batch != nil {
			m.batches.Put(f.batch)
			f.batch = nil
		}
		b, ok := <-f.batches
		if !ok || m.ctx.Err() != nil {
			return false
		}
		f.batch, f.pos = b, 0
	}
	if s := f.step(); s.err == nil {
		f.time = timeOf(&s.rec, f.time)
	}
	return true
}

// timeOf is the time that r is ordered by, or else when it has none.
func timeOf(r *flow.Record, otherwise int64) int64 {
	switch {
	case r.Has.Has(flow.FieldEnd):
		return r.End
	case r.Has.Has(flow.FieldStart):
		return r.Start
	}
	return otherwise
}

// feeds is a heap by time, then by the order of objects.
type feeds []*feed

func (h feeds) Len() int { return len(h) }
func (h feeds) Less(i, j int) bool {
	return h[i].time < h[j].time || h[i].time == h[j].time && h[i].index < h[j].index
}
func (h feeds) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *feeds) Push(x any)   { *h = append(*h, x.(*feed)) }
func (h *feeds) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// inOrder returns the objects by start, then place, after finding the starts
// by name or, where that does not tell, by the first record.
func inOrder(ctx context.Context, objects []object, format Format, jobs int) []object {
	objects = slices.Clone(objects)
	decoders := sync.Pool{New: func() any {
		return newTextDecoder(&Options{Format: format, Want: timeFields})
	}}
	var group errgroup.Group
	group.SetLimit(jobs)
	for i := range objects {
		o := &objects[i]
		name, ok := parseName(o.place)
		switch {
		case ok:
			o.start = name.key.Unix()
		case o.rereadable:
			group.Go(func() error {
				d := decoders.Get().(*textDecoder)
				defer decoders.Put(d)
				o.start = firstStart(ctx, o, d)
				return nil
			})
		default:
			o.start = unknownStart
		}
	}
	_ = group.Wait() // its functions return none
	slices.SortStableFunc(objects, func(a, b object) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.place, b.place))
	})
	return objects
}

// maxInterval is the longest aggregation interval, in seconds, and so how
// far the ends of an object's first records may lie apart.
const maxInterval = 600

var timeFields = flow.Fields(flow.FieldStart, flow.FieldEnd)

// firstStart looks into o for the time of its first record. An object that
// cannot be read comes first, and its error with it.
func firstStart(ctx context.Context, o *object, d *textDecoder) int64 {
	if ctx.Err() != nil {
		return unknownStart
	}
	r, err := o.open(ctx)
	if err != nil {
		return unknownStart
	}
	defer r.Close()
	const enough = 1000 // bad lines, to give up on the rest
	d.reset(r, o.place)
	var rec flow.Record
	for range enough {
		err := d.next(&rec)
		if err == io.EOF {
			break
		}
		if err == nil && rec.Has&timeFields != 0 {
			return timeOf(&rec, 0) - maxInterval
		}
	}
	return unknownStart
}
