package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"ephemera/cmd/internal/digests"
	"ephemera/cmd/internal/store"
	"ephemera/ingest"
	"ephemera/ingest/bucket"
	"ephemera/ingest/digest"
	"ephemera/ingest/flow"
	"ephemera/ingest/loggroup"
)

// digestFlags are the flags of digest.
type digestFlags struct {
	common
	out   string
	again bool
	per   string
}

func digestCommand(s Streams) *cobra.Command {
	var f digestFlags
	cmd := &cobra.Command{
		Use:   "digest SOURCE... --out PLACE",
		Short: "Digests of flow logs: small files that are a SOURCE themselves",
		Long: `Digest reads flow logs and writes one digest for each object: Parquet with what
an analysis needs of it. Digests are a SOURCE; the report over them is the report
over the flow logs. Each has its object's name, with the object's version and
.digest.parquet behind it, so a run that was broken off can be repeated, several
can go on side by side, and ephemera-lambda makes the same digests.

Objects are digested whole: --from and --to choose which. Those that have a digest
in PLACE are passed over, unless --again is given.

With --per, there is one digest for each hour or day (UTC) in their place, and what
is not FTP takes less room: records that go on with those before are merged, where no
report tells the difference. The source is read twice; it can be digests. Give the
--control-port that the report is to know, and compact together what is to be read
together. A digest with more records than the new one is kept, so objects that have
expired since are not lost.

` + sourceHelp,
		Example: `  ephemera digest s3://my-logs/AWSLogs/ --out s3://my-reports/digests/
  ephemera digest --from -7d s3://my-logs/AWSLogs/ --out digests/
  ephemera digest --per day --from -2d s3://my-reports/digests/ --out s3://my-reports/days/
  ephemera analyze --network network/ digests/`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), args, s) },
	}
	fl := cmd.Flags()
	f.registerSource(fl)
	fl.StringVarP(&f.out, "out", "o", "", "write the digests into this `place`: a directory, or s3://BUCKET/PREFIX")
	fl.BoolVar(&f.again, "again", false, "make digests that there are already, too")
	fl.StringVar(&f.per, "per", "", "one digest for each `hour` or day, in the place of one for each object")
	fl.IntSliceVar(&f.controlPorts, "control-port", nil, "with --per: FTP control `ports` besides 21 and 990 (repeatable)")
	return cmd
}

func (f *digestFlags) run(ctx context.Context, places []string, s Streams) error {
	set, err := f.check(s, time.Now())
	if err != nil {
		return err
	}
	if f.out == "" {
		return usageError("--out: say where the digests go")
	}
	var per digest.Period
	if f.per != "" {
		if per, err = f.checkPer(places); err != nil {
			return err
		}
	} else if len(f.controlPorts) > 0 {
		return usageError("--control-port: digests of single objects keep every port; leave it out")
	}
	to, err := set.storeAt(ctx, f.out)
	if err != nil {
		return err
	}
	if per != 0 {
		return f.compact(ctx, places, set, per, to, s.Out)
	}
	lists, err := set.find(ctx, places)
	if err != nil {
		return err
	}
	set.memory.limit()
	logs := ingest.Join(set.ingest, lists...)
	opts := set.ingest
	opts.From, opts.To = time.Time{}, time.Time{}
	d := &digesting{settings: &set, maker: digests.Maker{Store: to, Options: opts}, again: f.again, made: map[string]string{}}
	if err := d.run(ctx, logs); err != nil {
		return err
	}
	return d.report(s.Out, f.out)
}

// storeAt is the store at a place.
func (set *settings) storeAt(ctx context.Context, place string) (store.Store, error) {
	if !store.InBucket(place) {
		return store.NewDirectory(place), nil
	}
	if _, _, err := store.Split(place); err != nil {
		return nil, usageError("--out: %v", err)
	}
	cfg, err := set.aws.config(ctx)
	if err != nil {
		return nil, err
	}
	client := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = o.BaseEndpoint != nil })
	return store.NewBucket(client, place)
}

// digesting is a run over many objects.
type digesting struct {
	*settings
	maker digests.Maker
	again bool

	mu      sync.Mutex
	made    map[string]string // object by name
	objects struct{ made, passed, damaged, failed int }
	records int64
	bytes   struct{ of, in int64 } // objects, digests
}

func (d *digesting) run(ctx context.Context, logs *ingest.Logs) error {
	var group errgroup.Group
	jobs := d.ingest.Jobs
	if jobs == 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	group.SetLimit(jobs)
	var failed error
	for o, err := range logs.Objects(ctx) {
		if err != nil {
			var broken *flow.ObjectError
			if !errors.As(err, &broken) {
				failed = err
				break
			}
			d.fail(err)
			continue
		}
		if d.isOwn(o.Place) {
			continue
		}
		name, err := d.name(o)
		if err != nil {
			failed = err
			break
		}
		group.Go(func() error { return d.make(ctx, name, o) })
	}
	return errors.Join(failed, group.Wait())
}

// isOwn reports whether an object is a digest of an earlier run: the place of
// the digests may lie in that of the flow logs.
func (d *digesting) isOwn(place string) bool {
	own := d.maker.Store.Place("")
	if !store.InBucket(own) {
		in, err := filepath.Abs(own)
		if err == nil {
			place, err = filepath.Abs(place)
		}
		if err != nil {
			return false
		}
		own = in + string(filepath.Separator)
	}
	return digest.IsName(place) && strings.HasPrefix(place, own)
}

// name is what the object's digest is called after, which no other one's is.
func (d *digesting) name(o ingest.Object) (string, error) {
	name := objectName(o.Place)
	if _, files := d.maker.Store.(*store.Directory); files { // keys can have slashes and dots that paths cannot
		name = strings.TrimPrefix(path.Clean("/"+name), "/")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if other, taken := d.made[name]; taken {
		return "", fmt.Errorf("the digests of %s and %s would have one name; make them in places of their own", other, o.Place)
	}
	d.made[name] = o.Place
	return name, nil
}

// objectName is a place without what is no part of a file's name.
func objectName(place string) string {
	switch {
	case strings.HasPrefix(place, bucket.Scheme):
		return strings.TrimPrefix(place, bucket.Scheme)
	case strings.HasPrefix(place, loggroup.Scheme):
		return strings.Map(func(r rune) rune {
			if strings.ContainsRune(": \\*", r) {
				return '_'
			}
			return r
		}, place)
	case place == "-":
		return "stdin"
	}
	name := strings.TrimPrefix(path.Clean("/"+filepath.ToSlash(place)), "/")
	return name
}

func (d *digesting) make(ctx context.Context, name string, o ingest.Object) error {
	if !d.again && o.Version != "" {
		known, err := d.maker.Has(ctx, name, o)
		if err != nil {
			return err
		}
		if known {
			d.mu.Lock()
			d.objects.passed++
			d.mu.Unlock()
			return nil
		}
	}
	made, err := d.maker.Make(ctx, name, o)
	var broken *flow.ObjectError
	if err != nil && !errors.As(err, &broken) {
		return err
	}
	if made.Name == "" {
		d.fail(err)
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.objects.made++
	d.records += made.Summary.Records
	d.bytes.of += o.Size
	d.bytes.in += made.Bytes
	if err != nil {
		d.objects.damaged++
		d.log.Warn("object not read to its end; its digest says so", "error", err.Error())
	}
	for _, b := range made.Summary.Bad {
		d.log.Warn("bad records skipped; the digest counts them", "place", b.Place, "records", b.Count)
	}
	d.log.Debug("made", "digest", d.maker.Store.Place(made.Name), "records", made.Summary.Records, "bytes", made.Bytes)
	return nil
}

// fail counts an object that has no digest.
func (d *digesting) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.objects.failed++
	d.log.Error("object has no digest", "error", err.Error())
}

// report sums up. It fails when an object has no digest.
func (d *digesting) report(w io.Writer, place string) error {
	n := d.objects
	var b strings.Builder
	if n.made > 0 {
		fmt.Fprintf(&b, "%s in %s: %s, %s of flow logs in %s\n", english.Plural(n.made, "digest", ""), place,
			counted(d.records, "record"), humanize.Bytes(uint64(d.bytes.of)), humanize.Bytes(uint64(d.bytes.in)))
	}
	if n.passed > 0 {
		fmt.Fprintf(&b, "%d had theirs already\n", n.passed)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	if n.failed > 0 {
		return fmt.Errorf("no digest of %s; see the errors above, and run this again", english.Plural(n.failed, "object", ""))
	}
	return nil
}

// counted gives "1 record" or "1,234 records".
func counted(n int64, word string) string {
	return humanize.Comma(n) + " " + english.PluralWord(int(n), word, "")
}
