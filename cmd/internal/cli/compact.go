package cli

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"

	"ephemera/cmd/internal/store"
	"ephemera/ingest"
	"ephemera/ingest/digest"
	"ephemera/ingest/flow"
)

// compacting makes one digest for each hour or day.
type compacting struct {
	*settings
	per      digest.Period
	to       store.Store
	from, by int64 // periods to write begin at or after from and before by

	lists   []ingest.Objects
	survey  *digest.Survey
	sources map[int64][]digest.Source // by period, at most as many as a digest names
	more    map[int64]int64           // those beyond

	digests, stale int
	records, rows  int64
	bytes          struct{ of, in int64 } // objects, digests
}

// checkPer checks the flags of digests of hours and days, before anything is
// read.
func (f *digestFlags) checkPer(places []string) (digest.Period, error) {
	per, ok := digest.PeriodNamed(f.per)
	switch {
	case !ok:
		return 0, usageError("--per %q: give hour or day", f.per)
	case f.again:
		return 0, usageError("--again: digests of hours and days are always made anew")
	}
	for _, p := range places {
		if isWithin(p, f.out) || isWithin(f.out, p) {
			return 0, usageError("--out %s: that is where %s is, and both would be read together; give another place", f.out, p)
		}
	}
	return per, nil
}

// isWithin reports whether a place is another one, or lies in it.
func isWithin(place, other string) bool {
	if store.InBucket(place) != store.InBucket(other) {
		return false
	}
	if !store.InBucket(place) {
		a, errA := filepath.Abs(place)
		b, errB := filepath.Abs(other)
		if errA != nil || errB != nil {
			return false
		}
		place, other = filepath.ToSlash(a), filepath.ToSlash(b)
	}
	return strings.HasPrefix(strings.TrimSuffix(place, "/")+"/", strings.TrimSuffix(other, "/")+"/")
}

// compact writes one digest for each hour or day.
func (f *digestFlags) compact(ctx context.Context, places []string, set settings, per digest.Period, to store.Store, w io.Writer) error {
	c := &compacting{
		settings: &set, per: per, to: to, from: math.MinInt64, by: math.MaxInt64, survey: digest.NewSurvey(per, set.analyze.ControlPorts...),
		sources: map[int64][]digest.Source{}, more: map[int64]int64{},
	}
	c.widen()
	var err error
	if c.lists, err = set.find(ctx, places); err != nil {
		return err
	}
	if err := c.checkOrder(ctx, places); err != nil {
		return err
	}
	set.memory.limit()
	if err := c.read(ctx); err != nil {
		return err
	}
	if err := c.write(ctx); err != nil {
		return err
	}
	return c.report(w, f.out)
}

// widen makes --from and --to begin and end with a period: what is written of
// one is all of it.
func (c *compacting) widen() {
	length := time.Duration(c.per) * time.Second
	if from := &c.ingest.From; !from.IsZero() {
		c.from = c.per.Of(from.Unix())
		*from = time.Unix(c.from, 0).UTC()
	}
	if to := &c.ingest.To; !to.IsZero() {
		c.by = c.per.Of(to.Add(length - 1).Unix())
		*to = time.Unix(c.by, 0).UTC()
	}
}

// checkOrder refuses sources whose records can come in any order, or only
// once.
func (c *compacting) checkOrder(ctx context.Context, places []string) error {
	if slices.Contains(places, "-") {
		return usageError("-: digests of hours and days are made by reading the source twice, which standard input cannot; make a digest of it first, without --per")
	}
	if !ingest.Join(c.ingest, c.lists...).Ordered() {
		return errors.New("the records can come in any order, since not every object has the time of its records in its name as AWS gives it, or some cover the time of others; " +
			"digests of hours and days are made of objects with AWS's names, of their digests, or of digests of hours or days that do not overlap")
	}
	return ctx.Err()
}

// noting is a list that says what it lists.
type noting struct {
	ingest.Objects
	note func(ingest.Object)
}

// All implements ingest.Objects.
func (n noting) All(ctx context.Context) iter.Seq2[ingest.Object, error] {
	return func(yield func(ingest.Object, error) bool) {
		for o, err := range n.Objects.All(ctx) {
			if err == nil {
				n.note(o)
			}
			if !yield(o, err) {
				return
			}
		}
	}
}

// read reads the source for the first time.
func (c *compacting) read(ctx context.Context) error {
	lists := slices.Clone(c.lists)
	for i, l := range lists {
		lists[i] = noting{l, c.note}
	}
	logs := ingest.Join(c.options(), lists...)
	var passing error
	records := func(yield func(*flow.Record, error) bool) {
		for r, err := range logs.Records(ctx) {
			if passing = c.passing(err); passing != nil || !yield(r, err) {
				return
			}
		}
	}
	err := c.survey.Read(c.shown(records, logs.Stats), c.timeOf)
	c.bytes.of = logs.Stats().Bytes
	return cmp.Or(passing, err)
}

// options are those of reading objects whole.
func (c *compacting) options() ingest.Options {
	opts := c.ingest
	opts.From, opts.To = time.Time{}, time.Time{}
	return opts
}

// note takes an object for a source of the digest of its time.
func (c *compacting) note(o ingest.Object) {
	p := c.per.Of(o.Start)
	if len(c.sources[p]) <= digest.MaxSources {
		c.sources[p] = append(c.sources[p], digest.Source{Place: o.Place, Version: o.Version, Size: o.Size})
	} else {
		c.more[p]++
	}
}

// passing returns an error that is the end of it: an object cannot be read
// now, and may be later, when a digest without it would be taken for whole.
func (c *compacting) passing(err error) error {
	var broken *flow.ObjectError
	if !errors.As(err, &broken) {
		return nil
	}
	if broken.Fault != flow.Damaged && broken.Fault != flow.NotFlowLog {
		return fmt.Errorf("nothing is written without what may be read later: %w", err)
	}
	c.log.Warn("object not read to its end; its digest says so", "error", err.Error())
	return nil
}

// timeOf is the time that the name of an object tells.
func (c *compacting) timeOf(place string) int64 {
	if name, ok := ingest.ParseName(place); ok {
		return name.Time.Unix()
	}
	return 0
}

// write reads the source again, and writes the digests.
func (c *compacting) write(ctx context.Context) error {
	logs := ingest.Join(c.options(), c.lists...)
	for part, err := range c.survey.Compact(c.shown(logs.Records(ctx), logs.Stats)) {
		if err != nil {
			return err
		}
		if part.Begin < c.from || part.Begin >= c.by {
			continue
		}
		if err := c.writePart(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

// writePart writes one digest.
func (c *compacting) writePart(ctx context.Context, part digest.Part) error {
	f, err := os.CreateTemp("", "ephemera-digest-*")
	if err != nil {
		return fmt.Errorf("no temporary file for a digest: %w", err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it is of no more use, and in a directory that is cleaned
	defer f.Close()           //nolint:errcheck // the same
	hash := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(f, hash), 256<<10)
	sum, err := c.survey.Write(out, part, c.sources[part.Begin], c.more[part.Begin])
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	for _, b := range sum.Bad {
		c.log.Warn("bad records skipped; the digest counts them", "place", b.Place, "records", b.Count)
	}
	name := digest.CompactedName(c.per, part.Begin, &sum, hex.EncodeToString(hash.Sum(nil)[:16]))
	if err := c.put(ctx, name, digest.CompactedPrefix(c.per, part.Begin), f); err != nil {
		return err
	}
	c.digests++
	c.records += sum.Records
	c.rows += sum.Rows
	c.bytes.in += size
	c.log.Debug("made", "digest", c.to.Place(name), "records", sum.Records, "bytes", size)
	return nil
}

// put writes a digest, unless one of its period is there that tells more, and
// removes the others. Several programs may do so at once: all keep the one of
// the greatest name.
func (c *compacting) put(ctx context.Context, name, prefix string, content io.ReadSeeker) error {
	names, err := c.to.List(ctx, prefix)
	if err != nil {
		return err
	}
	if len(names) == 0 || slices.Max(names) <= name {
		if _, err := c.to.Put(ctx, name, content, store.Condition{}); err != nil {
			return err
		}
		if names, err = c.to.List(ctx, prefix); err != nil {
			return err
		}
	}
	names = append(names, name) // a directory's listing may be late
	last := slices.Max(names)
	if last != name {
		c.stale++
		c.log.Warn("a digest that is there tells more of its time, and stays; remove it to have the new one", "digest", c.to.Place(last))
	}
	for _, n := range names {
		if n != last {
			if err := c.to.Delete(ctx, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// report sums up.
func (c *compacting) report(w io.Writer, place string) error {
	made := c.digests - c.stale
	_, err := fmt.Fprintf(w, "%s in %s: %s in %s, %s read, %s written\n", english.Plural(made, "digest", ""), place,
		counted(c.records, "record"), counted(c.rows, "row"), humanize.Bytes(uint64(c.bytes.of)), humanize.Bytes(uint64(c.bytes.in)))
	if err == nil && c.stale > 0 {
		_, err = fmt.Fprintf(w, "%d more are there already, and tell more\n", c.stale)
	}
	return err
}
