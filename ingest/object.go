package ingest

import (
	"cmp"
	"context"
	"io"
	"iter"
	"math"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"ephemera/ingest/flow"
)

// An Object is one piece of flow log that is read from its beginning to its
// end: a file, an object in S3, some minutes of a log group.
type Object struct {
	// Place names the object in errors: a path, "s3://bucket/key".
	Place string

	// Start is a time that the records do not end before, as a rule, in
	// Unix seconds; UnknownStart when there is no telling.
	Start int64

	// Size is the object's length as stored, in bytes; 0 when not known.
	Size int64

	// Version tells the object's content from another one that the place may
	// have had: its ETag in S3. Empty when not known.
	Version string

	// Formats are those of the object's text, which has no header line.
	// When there are several, each line is of the one that has its number
	// of fields, so these numbers must differ. The object is then taken for
	// plain text, whatever it begins with. When empty, Options.Format is
	// taken.
	Formats []Format

	// Open opens the object. What it returns stops waiting soon after ctx
	// is cancelled; it can be a RandomAccess, or a LineNamer, too. An error
	// of opening or reading may be a *flow.ObjectError without a Place, to
	// tell its Fault.
	Open func(ctx context.Context) (io.ReadCloser, error)

	// Once is set when Open can be called once only.
	Once bool
}

// UnknownStart is the Start of an object that does not tell.
const UnknownStart = math.MinInt64

// RandomAccess is what an open object is besides, when it can be read
// anywhere. Parquet is read so; of an object that cannot, Parquet is copied
// to a temporary file first.
type RandomAccess interface {
	io.ReaderAt
	Size() int64
}

// LineNamer is what an open object is besides, when its lines come from
// different places: NameLine says where line n came from, counted from 1, for
// any line that was read.
type LineNamer interface {
	NameLine(n int) string
}

// Objects is a list of the objects of some places: the files under
// directories, the objects under prefixes of a bucket, the hours of a log
// group.
type Objects interface {
	// All lists the objects in the order of Start, then of Place. It can
	// list while objects are being read. An error that is no
	// *flow.ObjectError is the last step.
	All(ctx context.Context) iter.Seq2[Object, error]

	// Ordered promises that no record of an object ends before the
	// object's Start, nor more than fifteen minutes after the Start of the
	// next one. Then the objects one after the other give records that are
	// late by no more than that.
	Ordered() bool

	// Listed tells how far All has come. It can be called at any time.
	Listed() Listing
}

// A Listing tells how much is to be read, as far as it is known.
type Listing struct {
	Objects int   // listed so far
	Bytes   int64 // in them, as stored; 0 when not known
	// Share is how much of the places has been listed, from 0 to 1.
	Share float64
}

func (o Object) compare(p Object) int {
	return cmp.Or(cmp.Compare(o.Start, p.Start), cmp.Compare(o.Place, p.Place))
}

// InOrder sorts objects by Start, then Place. A Start that is not known is
// taken from the AWS name or, where that does not tell, from the object's
// first record, at up to jobs objects at a time. An object that cannot be
// read comes first, and its error with it.
func InOrder(ctx context.Context, objects []Object, opts *Options, jobs int) {
	decoders := sync.Pool{New: func() any {
		return newDecoder(&Options{Format: opts.Format, Want: timeFields})
	}}
	var group errgroup.Group
	group.SetLimit(jobs)
	for i := range objects {
		o := &objects[i]
		if o.Start != UnknownStart {
			continue
		}
		if name, ok := ParseName(o.Place); ok {
			o.Start = name.Time.Unix()
		} else if !o.Once {
			group.Go(func() error {
				d := decoders.Get().(*decoder)
				defer decoders.Put(d)
				o.Start = firstStart(ctx, o, d)
				return nil
			})
		}
	}
	_ = group.Wait() // its functions return none
	slices.SortStableFunc(objects, Object.compare)
}

// maxInterval is the longest aggregation interval, in seconds, and so how
// far the ends of an object's first records may lie apart.
const maxInterval = 600

var timeFields = flow.Fields(flow.FieldStart, flow.FieldEnd)

// firstStart looks into o for the time of its first record.
func firstStart(ctx context.Context, o *Object, d *decoder) int64 {
	if ctx.Err() != nil {
		return UnknownStart
	}
	r, err := o.Open(ctx)
	if err != nil {
		return UnknownStart
	}
	defer r.Close()
	const enough = 1000 // bad lines, to give up on the rest
	d.reset(r, r, o)
	defer d.close()
	var rec flow.Record
	for range enough {
		err := d.next(&rec)
		if err == io.EOF {
			break
		}
		if err == nil && rec.Has&timeFields != 0 {
			return timeOf(&rec) - maxInterval
		}
	}
	return UnknownStart
}

// timeOf is the time that r is ordered by; it has one.
func timeOf(r *flow.Record) int64 {
	if r.Has.Has(flow.FieldEnd) {
		return r.End
	}
	return r.Start
}

// merged lists the objects of all lists in order. One that several lists
// have is listed once.
func merged(ctx context.Context, lists []Objects) iter.Seq2[Object, error] {
	if len(lists) == 1 {
		return lists[0].All(ctx)
	}
	return func(yield func(Object, error) bool) {
		heads := make([]*head, len(lists))
		for i, l := range lists {
			heads[i] = &head{}
			var stop func()
			heads[i].next, stop = iter.Pull2(l.All(ctx))
			defer stop() //nolint:gocritic // a list each, and few lists
			heads[i].advance()
		}
		var last string
		for {
			h := slices.MinFunc(heads, (*head).compare)
			if h.done {
				return
			}
			if repeated := h.err == nil && h.object.Place == last; !repeated && !yield(h.object, h.err) {
				return
			}
			last = h.object.Place
			h.advance()
		}
	}
}

// head is the next step of one list.
type head struct {
	next   func() (Object, error, bool)
	object Object
	err    error
	done   bool
}

func (h *head) advance() {
	var more bool
	h.object, h.err, more = h.next()
	h.done = !more
}

// compare puts errors first, and lists that have ended last.
func (h *head) compare(g *head) int {
	return cmp.Or(cmp.Compare(h.rank(), g.rank()), h.object.compare(g.object))
}

func (h *head) rank() int {
	switch {
	case h.done:
		return 2
	case h.err != nil:
		return 0
	}
	return 1
}
