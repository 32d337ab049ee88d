// Package loggroup reads flow logs in CloudWatch Logs. It gives the events of
// a log group as a list of objects, each a slice of time, for ingest.Join:
//
//	place → Group → slices of time → pages of events → lines
//
//	group, err := loggroup.Find(ctx, loggroup.New(cfg), "cloudwatch:vpc-flow-logs", loggroup.Options{}, opts)
//	if err != nil {
//		return err
//	}
//	logs := ingest.Join(opts, group)
//
// An event is a flow log record without a header line. Its time is the
// record's start, and its stream the network interface, such as
// "eni-0a1b2c-all". Flow logs that publish to the same group share these
// streams, and no event tells which of them it came from: so records carry
// no FlowLogID, formats can mix (see Options.FlowLogs), and of two flow logs
// on the same traffic each record comes twice.
// Source: VPC User Guide, "Publish flow logs to CloudWatch Logs".
//
// # Calls
//
// FilterLogEvents is called for everything that is read, and is the only
// permission that is needed. AWS answers five of these calls a second in an
// account and region, each with up to 10,000 events or 1 MB; so a group is
// read at 5 MB a second at best, and slices are as long as makes few calls:
// some pages where there is much, any time where there is nothing.
//
// Where no time to begin with is given, DescribeLogGroups is asked for the
// age of the group, and FilterLogEvents for its first event. DescribeLogGroups
// also names groups like one that is not there, and DescribeLogStreams tells
// whether there is a stream of the prefix, when it has no event. Both may be
// denied.
//
// # Memory
//
// An open slice holds the page at hand and two more, with the names of their
// events: some 5 MB when all are full.
package loggroup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"ephemera/ingest"
)

// Options say how a log group is read. The zero Options read at AWS's pace,
// and need ingest.Options.Format.
type Options struct {
	// FlowLogs finds the flow logs that publish to a log group, by its
	// name (DescribeFlowLogs); nil when nobody is to be asked. It is called
	// once, where no format was given and there are events.
	FlowLogs func(ctx context.Context, group string) ([]FlowLog, error)

	// Pace is shared by the groups of an account and region; nil is a pace
	// of CallsPerSecond for this group alone.
	Pace *Pace

	// Now is the time up to which events are read; zero is the time of the
	// call of Find.
	Now time.Time
}

// Group is the list of slices of a log group. It implements ingest.Objects.
type Group struct {
	api       API
	place     Place
	pace      *Pace
	timeout   time.Duration // of one attempt of a call
	tokenLife time.Duration
	formats   []ingest.Format
	pageSize  int // events that a page holds at most
	seed      maphash.Seed

	// Events from begin on and before end are read, in milliseconds.
	begin, end int64

	listed struct{ objects, upTo atomic.Int64 }
}

// Find finds the log group of place ("cloudwatch:GROUP[:STREAM-PREFIX]"), the
// time that it has events of, up to now, and the formats of its flow logs.
// The time is fixed from then on.
//
// A group that is not there or may not be read, a stream prefix that no
// stream has, and formats that are not known or cannot be told apart are
// errors. A group without events, as far as opts.From and opts.To go, is an
// empty list.
func Find(ctx context.Context, client API, place string, o Options, opts ingest.Options) (*Group, error) {
	p, err := ParsePlace(place)
	if err != nil {
		return nil, err
	}
	g := newGroup(client, p, o.Pace)
	if err := g.find(ctx, &o, &opts); err != nil {
		return nil, err
	}
	return g, nil
}

func newGroup(client API, p Place, pace *Pace) *Group {
	if pace == nil {
		pace = NewPace(CallsPerSecond)
	}
	return &Group{
		api: client, place: p, pace: pace, pageSize: pageEvents,
		timeout: attemptTimeout, tokenLife: tokenLife, seed: maphash.MakeSeed(),
	}
}

// find finds what is to be known of the group before it is listed.
func (g *Group) find(ctx context.Context, o *Options, opts *ingest.Options) error {
	err := g.findTime(ctx, o.Now, opts.From, opts.To)
	switch {
	case err != nil:
	case g.begin == g.end:
		err = g.checkStreams(ctx)
	default:
		err = g.findFormats(ctx, o.FlowLogs, opts.Format)
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("%s: %w", g.place, err)
	}
	return nil
}

// margin is by how much a record can start before it ends: the longest
// aggregation interval, and a minute that times are late by.
// Source: VPC User Guide, "Flow log records", start, end, and aggregation
// interval.
const margin = 600*time.Second + 60*time.Second

// findTime sets begin, to the second of the first event, and end. Records
// that end at or after from and start before to are to be among the events.
// Without events, begin is end.
func (g *Group) findTime(ctx context.Context, now, from, to time.Time) error {
	if now.IsZero() {
		now = time.Now()
	}
	g.end = now.UnixMilli()
	if !to.IsZero() {
		g.end = min(g.end, to.UnixMilli())
	}
	if !from.IsZero() {
		g.begin = from.Add(-margin).UnixMilli()
	} else if err := g.findAge(ctx, now); err != nil {
		return err
	}
	g.begin = min(max(0, g.begin), g.end)
	if g.begin == g.end {
		return nil
	}
	p := g.pager(g.begin, g.end)
	p.limit = 1
	first, err := p.next(ctx)
	switch {
	case err == io.EOF:
		g.begin = g.end
		return nil
	case isGone(err):
		return g.notThere(ctx)
	case err != nil:
		return worded("FilterLogEvents", err)
	}
	g.begin = toSecond(aws.ToInt64(first[0].Timestamp))
	return nil
}

func toSecond(ms int64) int64 { return ms - ms%1000 }

// Events can be older than the group, but not by more, and are there until
// they are older than its retention.
// Source: CloudWatch Logs API Reference, PutLogEvents.
const maxEventAge = 14 * 24 * time.Hour

// findAge sets begin to when the first events can be, by what
// DescribeLogGroups says. Where that is denied, or knows of no such group, as
// of one in another account, begin is the beginning of time.
func (g *Group) findAge(ctx context.Context, now time.Time) error {
	if g.place.ARN != "" {
		return nil
	}
	groups, err := g.describeGroups(ctx, &cloudwatchlogs.DescribeLogGroupsInput{LogGroupNamePrefix: &g.place.Group})
	if err != nil {
		if isDenied(err) {
			return nil
		}
		return worded("DescribeLogGroups", err)
	}
	for _, group := range groups {
		if aws.ToString(group.LogGroupName) != g.place.Group {
			continue
		}
		g.begin = aws.ToInt64(group.CreationTime) - maxEventAge.Milliseconds()
		if days := aws.ToInt32(group.RetentionInDays); days > 0 {
			g.begin = max(g.begin, now.AddDate(0, 0, -int(days)).UnixMilli())
		}
	}
	return nil
}

// describeGroups returns the first page of groups, in the order of their
// names. A group whose name is the prefix itself is the first.
func (g *Group) describeGroups(ctx context.Context, in *cloudwatchlogs.DescribeLogGroupsInput) ([]types.LogGroup, error) {
	out, err := g.api.DescribeLogGroups(ctx, in, tries(nil, g.timeout))
	if err != nil {
		return nil, err
	}
	return out.LogGroups, nil
}

// notThere is the error for a group that does not exist. It names groups of
// a name like it, if these may be listed.
func (g *Group) notThere(ctx context.Context) error {
	const advice = "no such log group; check the name, and the region (--region)"
	groups, err := g.describeGroups(ctx, &cloudwatchlogs.DescribeLogGroupsInput{
		LogGroupNamePattern: aws.String(longestWord(g.place.Group)),
	})
	if err != nil || len(groups) == 0 {
		return errors.New(advice)
	}
	slices.SortStableFunc(groups, func(a, b types.LogGroup) int {
		return cmp.Compare(commonPrefix(aws.ToString(b.LogGroupName), g.place.Group), commonPrefix(aws.ToString(a.LogGroupName), g.place.Group))
	})
	var names []string
	for _, group := range groups[:min(3, len(groups))] {
		names = append(names, aws.ToString(group.LogGroupName))
	}
	return fmt.Errorf("%s; there are %s", advice, strings.Join(names, ", "))
}

// longestWord returns the longest run of letters and digits in name.
func longestWord(name string) string {
	words := strings.FieldsFunc(name, func(c rune) bool { return !isAlphanumeric(c) })
	return slices.MaxFunc(append(words, ""), func(a, b string) int { return cmp.Compare(len(a), len(b)) })
}

func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// checkStreams returns an error when there is no stream of the prefix: then
// it is for that that there are no events.
func (g *Group) checkStreams(ctx context.Context) error {
	if g.place.StreamPrefix == "" {
		return nil
	}
	in := &cloudwatchlogs.DescribeLogStreamsInput{LogStreamNamePrefix: &g.place.StreamPrefix, Limit: aws.Int32(1)}
	if g.place.ARN != "" {
		in.LogGroupIdentifier = &g.place.ARN
	} else {
		in.LogGroupName = &g.place.Group
	}
	out, err := g.api.DescribeLogStreams(ctx, in, tries(nil, g.timeout))
	switch {
	case isDenied(err):
		return nil
	case isGone(err):
		return g.notThere(ctx)
	case err != nil:
		return worded("DescribeLogStreams", err)
	case len(out.LogStreams) == 0:
		return fmt.Errorf("the log group has no stream whose name begins with %q; those of flow logs are named after network interfaces (eni-...)", g.place.StreamPrefix)
	}
	return nil
}

// All implements ingest.Objects. A slice is listed when its first page has
// been read, which stays in memory until the slice is opened. Where listing
// fails, the slice that could not be listed is an object whose opening
// gives the error.
func (g *Group) All(ctx context.Context) iter.Seq2[ingest.Object, error] {
	return func(yield func(ingest.Object, error) bool) {
		g.listed.objects.Store(0)
		g.listed.upTo.Store(g.begin)
		w := &walk{group: g, at: g.begin, length: g.end - g.begin}
		for {
			o, ok := w.next(ctx)
			g.listed.upTo.Store(w.at)
			if !ok || ctx.Err() != nil {
				return // the consumer knows of ctx
			}
			g.listed.objects.Add(1)
			if !yield(o, nil) {
				return
			}
		}
	}
}

// Ordered implements ingest.Objects. A slice holds the records that start in
// its time, and these end at most eleven minutes after they start: so do
// those of one slice after the start of the next.
func (g *Group) Ordered() bool { return true }

// Listed implements ingest.Objects. Share is by time.
func (g *Group) Listed() ingest.Listing {
	l := ingest.Listing{Objects: int(g.listed.objects.Load()), Share: 1}
	if g.end > g.begin {
		l.Share = float64(max(0, g.listed.upTo.Load()-g.begin)) / float64(g.end-g.begin)
	}
	return l
}
