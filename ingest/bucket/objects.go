package bucket

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"ephemera/ingest"
	"ephemera/ingest/flow"
)

// Objects is the list of the flow logs at some places. It implements
// ingest.Objects.
type Objects struct {
	store *Store
	opts  ingest.Options
	now   time.Time // of Find

	series    []*series
	flat      []entry // outside series, by time where the name tells it
	flatBytes int64
	failed    []error // what could not be listed at all
	notes     []Note
	ordered   bool

	mu  sync.Mutex
	run *run // the latest
}

// Note is what a user should know about the places.
type Note struct {
	Place string
	Text  string
	// Detail is set when it is of interest only to somebody who looks for
	// what is missing, such as the names of other services' folders.
	Detail bool
}

// Notes tell what lies at the places and is not read.
func (o *Objects) Notes() []Note { return o.notes }

// series is a sequence of folders in time, each with all that lies below it.
type series struct {
	bucket, name string
	folders      []folder

	// What Find has listed of it, for the first All.
	primed []batch
	rest   *walker
}

// batch is what lies in one folder, a day's as a rule, in order. An error
// comes in front of it.
type batch struct {
	place   string
	start   int64
	entries []entry
	err     error
}

// run is one listing of everything, and how far it has come.
type run struct {
	mu           sync.Mutex
	objects      int
	bytes        int64
	hours, total int64 // listed, and of all folders that are known
}

func (r *run) add(entries []entry, hours int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.objects += len(entries)
	for i := range entries {
		r.bytes += entries[i].size
	}
	r.hours += hours
}

// know replaces an estimate.
func (r *run) know(hours int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total += hours
}

// walker goes through the folders of a series.
type walker struct {
	o     *Objects
	run   *run
	s     *series
	stack []folder // the next one last
}

func (o *Objects) walk(s *series, r *run) *walker {
	w := &walker{o: o, run: r, s: s}
	w.push(s.folders)
	return w
}

func (w *walker) push(folders []folder) {
	for _, f := range slices.Backward(folders) {
		w.stack = append(w.stack, f)
		w.run.know(w.hours(f))
	}
}

func (w *walker) hours(f folder) int64 { return w.window().hours(f.span, w.o.now) }

func (w *walker) window() window { return window{w.o.opts.From, w.o.opts.To} }

// next lists until there is something, and reports false at the end.
func (w *walker) next(ctx context.Context) (batch, bool) {
	for len(w.stack) > 0 {
		f := w.stack[len(w.stack)-1]
		w.stack = w.stack[:len(w.stack)-1]
		at := place{w.s.bucket, f.prefix}
		b := batch{place: at.String(), start: f.span.start.Unix()}
		if f.level < hours {
			w.expand(f, &b, w.o.store.look(ctx, at))
			w.run.know(-w.hours(f))
		} else {
			w.list(ctx, f, &b)
			w.run.add(b.entries, w.hours(f))
		}
		if b.err != nil || len(b.entries) > 0 {
			return b, true
		}
	}
	return batch{}, false
}

// expand goes on with the folders in f, which is a year's or a month's.
func (w *walker) expand(f folder, b *batch, c content) {
	var inside []folder
	var stray []string
	for _, prefix := range c.folders {
		child, ok := f.child(path.Base(prefix))
		child.prefix = prefix
		if !ok {
			stray = append(stray, path.Base(prefix)+"/")
		} else if w.window().overlaps(child.span) {
			inside = append(inside, child)
		}
	}
	for i := range c.entries {
		if e := &c.entries[i]; !e.isNoLog() {
			stray = append(stray, path.Base(e.key()))
		}
	}
	if len(stray) > 0 {
		b.err = &flow.ObjectError{Place: b.place, Fault: flow.NotFlowLog,
			Err: fmt.Errorf("what lies here and in no folder of a day is not read: %s; to read it, give it by itself", several(stray))}
	}
	slices.SortFunc(inside, folder.compare)
	w.push(inside)
	w.fail(b, &c)
}

// list lists what lies below f, which is a day's or an hour's.
func (w *walker) list(ctx context.Context, f folder, b *batch) {
	at := place{w.s.bucket, f.prefix}
	if f.level == hours && !w.window().covers(f.span) {
		c := w.o.store.look(ctx, at)
		w.keep(f, b, &c)
		parts := make([]content, len(c.folders))
		each(len(parts), func(i int) {
			hour, ok := f.child(path.Base(c.folders[i]))
			if !ok || w.window().overlaps(hour.span) {
				parts[i] = w.o.store.walk(ctx, at.in(c.folders[i]))
			}
		})
		for i := range parts {
			w.keep(f, b, &parts[i])
		}
	} else {
		c := w.o.store.walk(ctx, at)
		w.keep(f, b, &c)
	}
	slices.SortFunc(b.entries, compareEntries)
}

// keep adds the objects of c to b.
func (w *walker) keep(f folder, b *batch, c *content) {
	for i := range c.entries {
		e := &c.entries[i]
		name, named := ingest.ParseName(e.place)
		if e.isNoLog() || named && !name.MayHold(w.o.opts.From, w.o.opts.To) {
			continue
		}
		e.start, e.named = f.span.start.Unix(), named
		if named {
			e.start = name.Time.Unix()
		}
		b.entries = append(b.entries, *e)
	}
	w.fail(b, c)
}

// fail ends the series with the error of a listing, if there is one.
func (w *walker) fail(b *batch, c *content) {
	if c.err == nil {
		return
	}
	b.err = brokenListing(c.at, c.err)
	for _, f := range w.stack {
		w.run.know(-w.hours(f))
	}
	w.stack = nil
}

// prime lists each series up to the first object, and decides about the
// order by what it finds.
func (o *Objects) prime(ctx context.Context) {
	o.run = new(run)
	each(len(o.series), func(i int) {
		s := o.series[i]
		s.rest = o.walk(s, o.run)
		for {
			b, ok := s.rest.next(ctx)
			if !ok {
				return
			}
			if s.primed = append(s.primed, b); len(b.entries) > 0 {
				return
			}
		}
	})
	o.ordered = !slices.ContainsFunc(o.flat, isUnnamed) && o.flatSuccessive() &&
		!slices.ContainsFunc(o.series, func(s *series) bool {
			n := len(s.primed)
			return n > 0 && slices.ContainsFunc(s.primed[n-1].entries, isUnnamed)
		})
}

func isUnnamed(e entry) bool { return !e.named }

// flatSuccessive reports whether no object outside trees covers hours of
// others. What lies in trees is not known yet.
func (o *Objects) flatSuccessive() bool {
	names := make([]ingest.ObjectName, 0, len(o.flat))
	for i := range o.flat {
		name, _ := ingest.ParseName(o.flat[i].place)
		names = append(names, name)
	}
	return ingest.Successive(names) && !(len(o.series) > 0 && o.HasLong())
}

// HasLong reports whether an object outside trees covers more time than one of
// AWS's.
func (o *Objects) HasLong() bool {
	return slices.ContainsFunc(o.flat, func(e entry) bool {
		name, _ := ingest.ParseName(e.place)
		return name.IsLong()
	})
}

// checkNotEmpty reports an error when there is nothing to read, the only one
// that there was when there was one. Nothing in a given time is no error.
func (o *Objects) checkNotEmpty(places []string) error {
	if len(o.flat) > 0 {
		return nil
	}
	broken := o.failed
	for _, s := range o.series {
		for _, b := range s.primed {
			if len(b.entries) > 0 {
				return nil
			}
			broken = append(broken, b.err)
		}
	}
	where, w := several(places), window{o.opts.From, o.opts.To}
	switch {
	case len(broken) > 0:
		return broken[0]
	case w.isOpen():
		return fmt.Errorf("nothing to read under %s; check the prefix", where)
	}
	// There is something, and nothing happened in that time.
	o.notes = append(o.notes, Note{Place: where, Text: fmt.Sprintf("nothing %s; check --from and --to", w)})
	return nil
}

// Ordered implements ingest.Objects. It is true when every object outside
// trees, and on the first day of each series in them, is named by AWS. An
// object without such a name further on would break the promise, and is a
// *flow.ObjectError instead.
func (o *Objects) Ordered() bool { return o.ordered }

// Listed implements ingest.Objects. The share of series is by time: folders
// of years and months that have not been looked into count as full.
func (o *Objects) Listed() ingest.Listing {
	o.mu.Lock()
	r := o.run
	o.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	l := ingest.Listing{Objects: len(o.flat) + r.objects, Bytes: o.flatBytes + r.bytes, Share: 1}
	if r.hours < r.total {
		l.Share = float64(r.hours) / float64(r.total)
	}
	if r.objects > 0 && len(o.flat) > 0 {
		l.Share = float64(l.Objects) / (float64(len(o.flat)) + float64(r.objects)/l.Share)
	}
	return l
}

// All implements ingest.Objects.
func (o *Objects) All(ctx context.Context) iter.Seq2[ingest.Object, error] {
	return func(yield func(ingest.Object, error) bool) {
		for _, err := range o.failed {
			if !yield(ingest.Object{}, err) {
				return
			}
		}
		outer := ctx
		ctx, cancel := context.WithCancel(ctx)
		var group errgroup.Group
		defer group.Wait() //nolint:errcheck // its functions return none
		defer cancel()
		if more := o.merge(ctx, o.start(ctx, &group), yield); more && outer.Err() != nil {
			yield(ingest.Object{}, outer.Err())
		}
	}
}

// start begins a run: it lists all series, each up to a batch ahead of what
// is taken.
func (o *Objects) start(ctx context.Context, group *errgroup.Group) []*lane {
	lanes := []*lane{{entries: o.flatInOrder(ctx)}}
	for _, s := range o.begin() {
		batches := make(chan batch)
		lanes = append(lanes, &lane{batches: batches})
		group.Go(func() error {
			defer close(batches)
			s.send(ctx, batches)
			return nil
		})
	}
	return lanes
}

// started is a series in a run.
type started struct {
	primed []batch
	rest   *walker
}

// begin goes on where Find has stopped, the first time.
func (o *Objects) begin() []started {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := make([]started, len(o.series))
	if len(o.series) > 0 && o.series[0].rest == nil {
		o.run = new(run)
	}
	for i, s := range o.series {
		if all[i] = (started{s.primed, s.rest}); s.rest == nil {
			all[i].rest = o.walk(s, o.run)
		}
		s.primed, s.rest = nil, nil
	}
	return all
}

func (s *started) send(ctx context.Context, batches chan<- batch) {
	for {
		var b batch
		more := true
		if len(s.primed) > 0 {
			b, s.primed = s.primed[0], s.primed[1:]
		} else {
			b, more = s.rest.next(ctx)
		}
		if !more || ctx.Err() != nil {
			return
		}
		select {
		case batches <- b:
		case <-ctx.Done():
			return
		}
	}
}

// peekersAtOnce is how many objects are looked into at once for the time of
// their first record. It is waiting for most of the time.
const peekersAtOnce = 16

// flatInOrder sorts the objects outside series. Those whose names do not
// tell the time are looked into.
func (o *Objects) flatInOrder(ctx context.Context) []entry {
	if !slices.ContainsFunc(o.flat, isUnnamed) {
		return o.flat
	}
	objects := make([]ingest.Object, len(o.flat))
	at := make(map[string]int, len(o.flat))
	for i := range o.flat {
		objects[i] = o.object(&o.flat[i], true)
		at[o.flat[i].place] = i
	}
	ingest.InOrder(ctx, objects, &o.opts, peekersAtOnce)
	ordered := make([]entry, len(objects))
	for i := range objects {
		ordered[i] = o.flat[at[objects[i].Place]]
		ordered[i].start = objects[i].Start
	}
	return ordered
}

// object makes an entry an object to read, or only to peek into.
func (o *Objects) object(e *entry, peek bool) ingest.Object {
	listed := *e
	return ingest.Object{
		Place: e.place, Start: e.start, Size: e.size, Version: strings.Trim(e.etag, `"`),
		Open: func(ctx context.Context) (io.ReadCloser, error) { return o.store.open(ctx, listed, peek) },
	}
}

// merge yields what the lanes have, in order. It reports whether yield wants
// more.
func (o *Objects) merge(ctx context.Context, all []*lane, yield func(ingest.Object, error) bool) bool {
	var waiting lanes
	for _, l := range all {
		if l.fill(ctx) {
			waiting = append(waiting, l)
		}
	}
	heap.Init(&waiting)
	isFlat := o.isFlat()
	last := ""
	for len(waiting) > 0 && ctx.Err() == nil {
		l := waiting[0]
		switch {
		case l.err != nil:
			if !yield(ingest.Object{}, l.err) {
				return false
			}
			l.err = nil
		default:
			e := &l.entries[0]
			l.entries = l.entries[1:]
			inSeries := l.batches != nil
			if e.place == last || inSeries && isFlat(e.place) {
				break
			}
			last = e.place
			if !o.yield(e, yield) {
				return false
			}
		}
		if l.fill(ctx) {
			heap.Fix(&waiting, 0)
		} else {
			heap.Pop(&waiting)
		}
	}
	return true
}

// isFlat makes a function that finds objects of series that were given by
// themselves, too.
func (o *Objects) isFlat() func(place string) bool {
	if len(o.flat) == 0 || len(o.series) == 0 {
		return func(string) bool { return false }
	}
	set := make(map[string]bool, len(o.flat))
	for i := range o.flat {
		set[o.flat[i].place] = true
	}
	return func(place string) bool { return set[place] }
}

var errUnnamed = errors.New("its name does not tell the time of its records, as those of the others do, so it cannot be read in order with them; to read all without order, give it by itself, too")

func (o *Objects) yield(e *entry, yield func(ingest.Object, error) bool) bool {
	if o.ordered && !e.named {
		return yield(ingest.Object{}, &flow.ObjectError{Place: e.place, Fault: flow.NotFlowLog, Err: errUnnamed})
	}
	return yield(o.object(e, false), nil)
}

// lane is one of the sequences that are merged: a series, or the objects
// that are in none.
type lane struct {
	batches <-chan batch // nil for the objects that are in none
	place   string       // of err
	start   int64        // of err
	err     error        // comes first
	entries []entry
}

// fill waits for more when there is nothing left, and reports whether there
// is.
func (l *lane) fill(ctx context.Context) bool {
	for l.err == nil && len(l.entries) == 0 {
		if l.batches == nil {
			return false
		}
		select {
		case b, ok := <-l.batches:
			if !ok {
				return false
			}
			l.place, l.start, l.err, l.entries = b.place, b.start, b.err, b.entries
		case <-ctx.Done():
			return false
		}
	}
	return true
}

func (l *lane) head() (start int64, place string) {
	if l.err != nil {
		return l.start, l.place
	}
	return l.entries[0].start, l.entries[0].place
}

// lanes is a heap of lanes that have something.
type lanes []*lane

func (l lanes) Len() int      { return len(l) }
func (l lanes) Swap(i, j int) { l[i], l[j] = l[j], l[i] }
func (l lanes) Less(i, j int) bool {
	a, at := l[i].head()
	b, bt := l[j].head()
	return cmp.Or(cmp.Compare(a, b), strings.Compare(at, bt)) < 0
}

// Push implements heap.Interface.
func (l *lanes) Push(x any) { *l = append(*l, x.(*lane)) }

// Pop implements heap.Interface.
func (l *lanes) Pop() any {
	last := (*l)[len(*l)-1]
	*l = (*l)[:len(*l)-1]
	return last
}
