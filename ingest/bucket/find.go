package bucket

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"ephemera/ingest"
)

// Find finds the objects at places, each written "s3://BUCKET/PREFIX". When
// PREFIX is a folder or the whole name of an object, that is meant, with or
// without a slash at its end; otherwise everything whose name begins so.
//
// Where there are AWSLogs trees, their flow logs are listed as they are read;
// Find lists no further than the first day in each. What lies beside trees is
// not read, and Notes tell it. Where there is no tree, every object is one to
// read, but for those that AWS services leave beside logs. Folders and names
// for times outside opts.From and opts.To are passed over.
//
// A place that does not exist or may not be listed, a place without flow
// logs, and nothing at all inside the time window are errors. What may not be
// listed further down is a *flow.ObjectError among the objects.
func (s *Store) Find(ctx context.Context, places []string, opts ingest.Options) (*Objects, error) {
	if len(places) == 0 {
		return nil, errors.New("no place to read; give s3://BUCKET/PREFIX")
	}
	parsed := make([]place, len(places))
	for i, p := range places {
		var err error
		if parsed[i], err = parsePlace(p); err != nil {
			return nil, err
		}
	}
	f := &finder{store: s, window: window{opts.From, opts.To}, series: make(map[seriesName][]folder), flat: make(map[string]entry)}
	for _, at := range parsed {
		if err := f.find(ctx, at); err != nil {
			return nil, cmp.Or(ctx.Err(), err)
		}
	}
	o := f.objects(opts)
	o.prime(ctx)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err := o.checkNotEmpty(places); err != nil {
		return nil, err
	}
	return o, nil
}

// finder finds what there is at places.
type finder struct {
	store  *Store
	window window

	series map[seriesName][]folder
	flat   map[string]entry // by place
	failed []error          // of parts that could not be listed
	notes  []Note

	// Of the place that is looked at:
	found   bool // there is something
	outside bool // there may be something outside the time window
}

// seriesName tells series apart.
type seriesName struct{ bucket, name string }

// find looks at one place.
func (f *finder) find(ctx context.Context, at place) error {
	f.found, f.outside = false, false
	series, flat, failed, notes := f.count(), len(f.flat), len(f.failed), len(f.notes)
	start, err := f.resolve(ctx, at)
	if err != nil {
		return listError(at, err)
	}
	f.found = len(start.entries) > 0
	for i := range start.entries {
		f.addFlat(&start.entries[i])
	}
	var trees []folder
	var others []string
	for _, prefix := range start.folders {
		if tree, ok := inTreeOrBeginning(prefix); ok {
			trees = append(trees, tree)
		} else {
			others = append(others, prefix)
		}
	}
	if err := f.grow(ctx, at, trees); err != nil {
		return err
	}
	if err := f.search(ctx, at, others); err != nil {
		return err
	}
	isNew := f.count() > series || len(f.flat) > flat || len(f.failed) > failed
	switch {
	case !f.found:
		return fmt.Errorf("nothing under %s; check the prefix", at)
	case !isNew && !f.outside && len(f.notes) > notes:
		return fmt.Errorf("%s holds no flow logs; %s", at, f.notes[notes].Text)
	}
	return nil
}

func (f *finder) count() (n int) {
	for _, folders := range f.series {
		n += len(folders)
	}
	return n
}

// resolve finds out what a prefix means: a folder, an object, or the
// beginning of several names.
func (f *finder) resolve(ctx context.Context, at place) (content, error) {
	if at.prefix == "" || strings.HasSuffix(at.prefix, "/") {
		return content{folders: []string{at.prefix}}, nil
	}
	c := content{at: at}
	_, isFolder, err := f.store.first(ctx, at.in(at.prefix+"/"))
	if err != nil {
		return c, err
	}
	if isFolder {
		c.folders = []string{at.prefix + "/"}
	}
	e, ok, err := f.store.first(ctx, at)
	switch {
	case err != nil && !isFolder:
		return c, err
	case ok && e.key() == at.prefix:
		c.entries = []entry{e}
	}
	if !c.isEmpty() || !ok {
		return c, nil
	}
	if _, ok := inTreeOrBeginning(at.prefix); ok {
		return content{folders: []string{at.prefix}}, nil
	}
	c = f.store.look(ctx, at)
	return c, c.err
}

// inTreeOrBeginning is inTree, and for the beginning of names in a day's or
// an hour's folder that folder, narrowed.
func inTreeOrBeginning(prefix string) (folder, bool) {
	if prefix == "" || strings.HasSuffix(prefix, "/") {
		return inTree(prefix)
	}
	t, ok := inTree(prefix[:strings.LastIndex("/"+prefix, "/")])
	t.prefix = prefix
	return t, ok && t.level >= hours
}

// grow goes down the trees to the folders of years, or to where it starts
// when that is deeper.
func (f *finder) grow(ctx context.Context, at place, folders []folder) error {
	for len(folders) > 0 {
		var above []folder
		for _, t := range folders {
			if t.level < months {
				above = append(above, t)
			} else if err := f.addSeries(ctx, at.in(t.prefix), t); err != nil {
				return err
			}
		}
		prefixes := make([]string, len(above))
		for i, t := range above {
			prefixes[i] = t.prefix
		}
		folders = nil
		for i, c := range f.store.lookAll(ctx, at.bucket, prefixes) {
			if err := f.broken(ctx, &c, at); err != nil {
				return err
			}
			folders = append(folders, f.branches(above[i], &c)...)
		}
	}
	return nil
}

// broken keeps the error of a listing, or returns it when it is that of the
// place itself.
func (f *finder) broken(ctx context.Context, c *content, at place) error {
	f.found = f.found || !c.isEmpty()
	switch {
	case c.err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case c.at.prefix == at.prefix || c.at.prefix == at.prefix+"/":
		return listError(at, c.err)
	}
	f.failed = append(f.failed, brokenListing(c.at, c.err))
	return nil
}

// branches sorts what lies in a folder of a tree above its days.
func (f *finder) branches(t folder, c *content) (next []folder) {
	var passed []string
	for _, prefix := range c.folders {
		name := path.Base(prefix)
		child, ok := t.child(name)
		child.prefix = prefix
		switch {
		case !ok:
			passed = append(passed, name+"/")
		case child.level >= months && !f.window.overlaps(child.span):
			f.outside = true
		default:
			next = append(next, child)
		}
	}
	for i := range c.entries {
		if e := &c.entries[i]; !e.isNoLog() {
			passed = append(passed, path.Base(e.key()))
		}
	}
	if len(passed) > 0 {
		text := fmt.Sprintf("in %s only the flow logs are read, not %s", c.at, several(passed))
		f.notes = append(f.notes, Note{Place: c.at.String(), Text: text, Detail: t.level == services})
	}
	return next
}

// addSeries adds a folder from years on, when there is something in it.
func (f *finder) addSeries(ctx context.Context, at place, t folder) error {
	if !f.found {
		_, ok, err := f.store.first(ctx, at)
		if err != nil {
			return listError(at, err)
		}
		if f.found = ok; !ok {
			return nil
		}
	}
	if !f.window.overlaps(t.span) {
		f.outside = true
		return nil
	}
	name := seriesName{at.bucket, t.prefix}
	if strings.HasSuffix(t.prefix, "/") {
		name.name = seriesOf(t.prefix)
	}
	f.series[name] = append(f.series[name], t)
	return nil
}

// searchLimit is how many requests may look for trees. Behind them everything
// is listed, which takes fewer requests when there are many folders.
const searchLimit = 500

// outsideTrees is what a search finds beside trees.
type outsideTrees struct {
	entries []entry
	folders []string // that have not been looked into
}

// search looks for trees below prefixes, level by level. Where there are
// none, all objects there are objects to read.
func (f *finder) search(ctx context.Context, at place, prefixes []string) error {
	var trees []folder
	var rest outsideTrees
	for requests := 0; len(prefixes) > 0; {
		if requests += len(prefixes); requests > searchLimit {
			rest.folders = append(rest.folders, prefixes...)
			break
		}
		var next []string
		for _, c := range f.store.lookAll(ctx, at.bucket, prefixes) {
			if err := f.broken(ctx, &c, at); err != nil {
				return err
			}
			requests += len(c.folders) / 1000
			rest.entries = append(rest.entries, c.entries...)
			for _, prefix := range c.folders {
				switch f.kind(prefix) {
				case isTree:
					trees = append(trees, folder{prefix: prefix, level: accounts})
				case isLeaf:
					rest.folders = append(rest.folders, prefix)
				case isOutside:
					f.outside = true
				default:
					next = append(next, prefix)
				}
			}
		}
		prefixes = next
	}
	if len(trees) > 0 {
		f.noteBeside(at, &rest)
		return f.grow(ctx, at, trees)
	}
	return f.addAll(ctx, at, &rest)
}

// kind is what to do with a folder in the search for trees.
type kind int

const (
	isBranch  kind = iota // to be looked into
	isTree                // AWSLogs
	isLeaf                // of a day, with no trees in it
	isOutside             // of a date outside the time window
)

func (f *finder) kind(prefix string) kind {
	if path.Base(prefix) == treeRoot {
		return isTree
	}
	s, day := dated(prefix)
	switch {
	case s == span{}:
		return isBranch
	case !f.window.overlapsRoughly(s):
		return isOutside
	case day:
		return isLeaf
	}
	return isBranch
}

// noteBeside tells what is not read since there are trees.
func (f *finder) noteBeside(at place, rest *outsideTrees) {
	var names []string
	for _, prefix := range rest.folders {
		names = append(names, place{at.bucket, prefix}.String())
	}
	for i := range rest.entries {
		if e := &rest.entries[i]; !e.isNoLog() {
			names = append(names, e.place)
		}
	}
	if len(names) > 0 {
		text := fmt.Sprintf("only what lies in folders AWSLogs is read, not %s; give these by themselves if they hold flow logs", several(names))
		f.notes = append(f.notes, Note{Place: at.String(), Text: text})
	}
}

// addAll adds all objects that lie outside trees.
func (f *finder) addAll(ctx context.Context, at place, rest *outsideTrees) error {
	all := make([]content, len(rest.folders))
	each(len(all), func(i int) { all[i] = f.store.walk(ctx, at.in(rest.folders[i])) })
	all = append(all, content{at: at, entries: rest.entries})
	services := make(map[string]int)
	noLogs := 0
	for _, c := range all {
		if err := f.broken(ctx, &c, at); err != nil {
			return err
		}
		for i := range c.entries {
			e := &c.entries[i]
			if service := foreignService(e.key()); service != "" {
				services[service]++
			} else if !f.addFlat(e) {
				noLogs++
			}
		}
	}
	var passed []string
	for _, name := range slices.Sorted(maps.Keys(services)) {
		passed = append(passed, fmt.Sprintf("%d of %s", services[name], name))
	}
	if noLogs > 0 {
		passed = append(passed, fmt.Sprintf("%d that never hold logs, such as folders' names and query results", noLogs))
	}
	if len(passed) > 0 {
		f.notes = append(f.notes, Note{Place: at.String(), Text: "objects passed over: " + strings.Join(passed, ", "), Detail: true})
	}
	return nil
}

// addFlat adds an object that is in no series. It reports false for one that
// holds no log.
func (f *finder) addFlat(e *entry) bool {
	if e.isNoLog() {
		return false
	}
	if name, ok := ingest.ParseName(e.place); ok {
		if !name.MayHold(f.window.from, f.window.to) {
			f.outside = true
			return true
		}
		e.start, e.named = name.Time.Unix(), true
	}
	f.flat[e.place] = *e
	return true
}

// several names a few of many.
func several(names []string) string {
	const few = 5
	if len(names) > few {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
	}
	return strings.Join(names, ", ")
}

// objects puts what was found in order.
func (f *finder) objects(opts ingest.Options) *Objects {
	o := &Objects{store: f.store, opts: opts, failed: f.failed, notes: f.notes, now: time.Now()}
	for name, folders := range f.series {
		o.series = append(o.series, &series{bucket: name.bucket, name: name.name, folders: withoutInner(folders)})
	}
	slices.SortFunc(o.series, func(a, b *series) int {
		return cmp.Or(cmp.Compare(a.bucket, b.bucket), cmp.Compare(a.name, b.name))
	})
	for _, e := range f.flat {
		o.flat = append(o.flat, e)
		o.flatBytes += e.size
	}
	slices.SortFunc(o.flat, compareEntries)
	return o
}

// withoutInner sorts folders by time, and drops those that are in others.
func withoutInner(folders []folder) (kept []folder) {
	slices.SortFunc(folders, func(a, b folder) int { return cmp.Compare(a.prefix, b.prefix) })
	for _, t := range folders {
		if n := len(kept); n == 0 || !strings.HasPrefix(t.prefix, kept[n-1].prefix) {
			kept = append(kept, t)
		}
	}
	slices.SortStableFunc(kept, folder.compare)
	return kept
}

func (f folder) compare(g folder) int {
	return cmp.Or(f.span.start.Compare(g.span.start), cmp.Compare(f.prefix, g.prefix))
}

func compareEntries(a, b entry) int {
	return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.place, b.place))
}
