package function

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"ephemera/analyze"
	"ephemera/analyze/report"
	"ephemera/cmd/internal/alert"
	"ephemera/cmd/internal/store"
	"ephemera/ingest"
	"ephemera/ingest/digest"
	"ephemera/ingest/flow"
	"ephemera/rules"
)

// latest is the folder of the newest report, and manifestName the object in it
// that says which that is.
const (
	latest       = "latest"
	manifestName = "latest/manifest.json"
)

// manifest is the content of manifestName.
type manifest struct {
	Time    time.Time `json:"time"`   // that the report was scheduled for
	Report  string    `json:"report"` // its folder
	Records int       `json:"records"`
	Start   string    `json:"start,omitempty"`
	End     string    `json:"end,omitempty"`
}

// Reported is the answer to the schedule.
type Reported struct {
	Report  string `json:"report,omitempty"` // the place of the HTML
	Records int    `json:"records"`
	Alerts  int    `json:"alerts"`
	Skipped string `json:"skipped,omitempty"` // why no report was made
}

// report makes the report for a time, unless another invocation is at it.
func (f *Function) report(ctx context.Context, at time.Time) (any, error) {
	if f.reports == nil {
		return nil, fmt.Errorf("no report can be made: set %s to a place in S3, s3://BUCKET/PREFIX/", envReports)
	}
	now := f.now()
	until := now.Add(longestLease)
	if deadline, ok := ctx.Deadline(); ok {
		until = deadline.Add(margin)
	}
	end, err := takeLease(ctx, f.reports, requestID(ctx), now, until)
	if errors.Is(err, errLeased) {
		f.log.Info("no report", "why", err.Error())
		return Reported{Skipped: err.Error()}, nil
	}
	if err != nil {
		return nil, err
	}
	done, err := f.leased(ctx, at)
	// Even when the time is over, the next invocation shall not have to wait.
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), margin/2)
	defer cancel()
	if endErr := end(after); endErr != nil && !errors.Is(endErr, store.ErrCondition) {
		f.log.Warn("the lease was not ended; the next report waits for it", "until", until, "error", endErr.Error())
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("the report was not finished before the function's time-out; give it more time or memory, or set %s: %w", envDays, err)
	}
	if err != nil {
		f.log.Error("no report", "error", err.Error())
		return nil, err
	}
	return done, nil
}

// requestID names the invocation.
func requestID(ctx context.Context) string {
	if c, ok := lambdacontext.FromContext(ctx); ok {
		return c.AwsRequestID
	}
	return "unknown"
}

// leased makes the report, writes it, and sends the alerts.
func (f *Function) leased(ctx context.Context, at time.Time) (Reported, error) {
	scratch, err := os.MkdirTemp("", "ephemera-report-*")
	if err != nil {
		return Reported{}, err
	}
	defer os.RemoveAll(scratch) //nolint:errcheck // what is left goes with the environment
	start := f.now()
	r, err := f.analyze(ctx, at, scratch)
	if errors.Is(err, errNoDigests) {
		f.log.Info("no report", "why", err.Error())
		return Reported{Skipped: err.Error()}, nil
	}
	if err != nil {
		return Reported{}, err
	}
	defer r.Close()
	files := filepath.Join(scratch, "report")
	if err := report.Everything(files).Write(ctx, r); err != nil {
		return Reported{}, err
	}
	done := Reported{Records: r.Coverage.Records}
	if done.Report, err = f.publish(ctx, at, files, r); err != nil {
		return Reported{}, err
	}
	f.log.Info("report", "place", done.Report, "records", done.Records, "ms", f.now().Sub(start).Milliseconds())
	if err := f.countReport(r, at); err != nil {
		return Reported{}, err
	}
	if f.sender != nil {
		alerts, err := alert.Find(r)
		if err != nil {
			return Reported{}, err
		}
		if done.Alerts, err = alert.Send(ctx, alerts, marks{f.reports}, f.sender, f.log); err != nil {
			return Reported{}, fmt.Errorf("alerts to %s: %w", f.set.Alerts, err)
		}
	}
	return done, nil
}

// countReport writes the metrics of a report.
func (f *Function) countReport(r *analyze.Result, at time.Time) error {
	lag := 0.0
	if r.Coverage.End != 0 {
		lag = at.Sub(time.Unix(int64(r.Coverage.End), 0)).Seconds()
	}
	return writeMetrics(f.metrics, f.now(), f.set.Name, []metric{
		{"Reports", "Count", 1}, {"ReportRecords", "Count", float64(r.Coverage.Records)}, {"ReportLag", "Seconds", lag},
	})
}

// errNoDigests is why there is no report.
var errNoDigests = errors.New("there are no digests yet")

// analyze analyses the digests.
func (f *Function) analyze(ctx context.Context, at time.Time, scratch string) (*analyze.Result, error) {
	places, err := f.digestPlaces(ctx)
	if err != nil {
		return nil, err
	}
	if len(places) == 0 {
		return nil, errNoDigests
	}
	opts := ingest.Options{Want: analyze.WantFields}
	if f.set.Days > 0 {
		opts.From = at.UTC().Truncate(24*time.Hour).AddDate(0, 0, -f.set.Days)
	}
	list, err := f.objects.Find(ctx, places, opts)
	if err != nil {
		return nil, err
	}
	for _, n := range list.Notes() {
		if !n.Detail {
			f.log.Warn(n.Text, "place", n.Place)
		}
	}
	o := f.set.Analysis
	o.Memory = f.set.Memory / 3
	if f.set.Network != "" {
		if o.Network, err = f.network(ctx, filepath.Join(scratch, "network")); err != nil {
			return nil, fmt.Errorf("%s: %w", envNetwork, err)
		}
	}
	logs := ingest.Join(opts, list)
	o.Ordered = logs.Ordered()
	r, err := analyze.Run(f.noted(logs.Records(ctx)), o)
	if err != nil {
		return nil, err
	}
	for _, w := range r.Warnings {
		f.log.Warn(w)
	}
	return r, nil
}

// noted passes a stream through, and logs the objects that could not be read.
// What is told of flow log objects in their digests was logged when those were
// made.
func (f *Function) noted(records func(func(*flow.Record, error) bool)) func(func(*flow.Record, error) bool) {
	return func(yield func(*flow.Record, error) bool) {
		for r, err := range records {
			var broken *flow.ObjectError
			if errors.As(err, &broken) {
				f.log.Debug("object not read to its end", "error", err.Error())
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// digestPlaces are the folders of the buckets and log groups that there are
// digests of, and digests that lie in none. Each is listed by itself, since what
// AWS delivers into has an order of its own.
func (f *Function) digestPlaces(ctx context.Context) ([]string, error) {
	name, prefix, err := store.Split(f.digests.Place(""))
	if err != nil {
		return nil, err
	}
	var places []string
	pages := s3.NewListObjectsV2Paginator(f.s3, &s3.ListObjectsV2Input{Bucket: &name, Prefix: &prefix, Delimiter: aws.String("/")})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, cmp.Or(ctx.Err(), fmt.Errorf("%s cannot be listed: %w", f.digests.Place(""), err))
		}
		for _, p := range page.CommonPrefixes {
			places = append(places, "s3://"+name+"/"+aws.ToString(p.Prefix))
		}
		for _, o := range page.Contents {
			if key := aws.ToString(o.Key); digest.IsName(key) {
				places = append(places, "s3://"+name+"/"+key)
			}
		}
	}
	return places, nil
}

// network fetches the snapshots of the network's rules.
func (f *Function) network(ctx context.Context, dir string) (*rules.History, error) {
	from, err := store.NewBucket(f.s3, f.set.Network)
	if err != nil {
		return nil, err
	}
	names, err := from.List(ctx, "")
	if err != nil {
		return nil, err
	}
	to := store.NewDirectory(dir)
	for _, n := range names {
		if path.Ext(n) != ".json" {
			continue
		}
		body, _, err := from.Get(ctx, n)
		if err != nil {
			return nil, err
		}
		file := to.Place(n)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, body, 0o600)); err != nil {
			return nil, err
		}
	}
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("there is no snapshot in %s; make one with: ephemera snapshot, and copy it there", f.set.Network)
	}
	return rules.ReadDir(dir)
}

// publish writes the files of a report under its time and, unless a later one
// is there already, as the latest. It returns the place of the HTML.
func (f *Function) publish(ctx context.Context, at time.Time, dir string, r *analyze.Result) (string, error) {
	folder := at.UTC().Format("2006/01/02/20060102T150405Z")
	if err := f.upload(ctx, dir, folder); err != nil {
		return "", err
	}
	place := f.reports.Place(folder + "/report.html")
	body, version, err := f.reports.Get(ctx, manifestName)
	c := store.Condition{Absent: true}
	if err == nil {
		var last manifest
		if json.Unmarshal(body, &last) == nil && last.Time.After(at) {
			f.log.Info("the latest report is of a later time", "time", last.Time)
			return place, nil
		}
		c = store.Condition{Is: version}
	} else if !errors.Is(err, store.ErrNone) {
		return "", err
	}
	if err := f.upload(ctx, dir, latest); err != nil {
		return "", err
	}
	m := manifest{Time: at.UTC(), Report: folder, Records: r.Coverage.Records, Start: timeText(r.Coverage.Start), End: timeText(r.Coverage.End)}
	if _, err := putJSON(ctx, f.reports, manifestName, m, c); err != nil {
		return "", fmt.Errorf("%s: %w", f.reports.Place(manifestName), err)
	}
	return place, nil
}

func timeText(t analyze.Time) string {
	if t == 0 {
		return ""
	}
	return time.Unix(int64(t), 0).UTC().Format(time.RFC3339)
}

// upload writes the files in dir into a folder.
func (f *Function) upload(ctx context.Context, dir, folder string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := f.uploadFile(ctx, filepath.Join(dir, e.Name()), folder+"/"+e.Name()); err != nil {
			return err
		}
	}
	return nil
}

func (f *Function) uploadFile(ctx context.Context, file, name string) error {
	content, err := os.Open(file)
	if err != nil {
		return err
	}
	defer content.Close() //nolint:errcheck // it was only read
	_, err = f.reports.Put(ctx, name, content, store.Condition{})
	return err
}
