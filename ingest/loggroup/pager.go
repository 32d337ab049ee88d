package loggroup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
)

// pager reads the events of some time of a log group, page by page. AWS
// gives them in the order of their times, across streams; a page can hold
// fewer events than would fit, or none, and have a successor all the same.
// Source: CloudWatch Logs API Reference, FilterLogEvents.
type pager struct {
	group    *Group
	from, to int64 // milliseconds, to exclusive
	limit    int32 // events a page; 0 for AWS's 10,000

	token    *string   // of the next page
	tokenAge time.Time // when it came
	tokens   map[uint64]struct{}
	empty    int // pages without a new event since the last that had one
	resumed  int // times since then
	done     bool
	err      error // that ends the pages, behind the events at hand

	known known
	last  int64 // time of the latest event, in milliseconds
}

// maxEmptyPages is how many pages in a row may be without a new event. At
// five pages a second they take more than half an hour.
const maxEmptyPages = 10_000

// tokenLife is how long a token is good for, less a margin.
// Source: FilterLogEvents, "The token expires after 24 hours".
const tokenLife = 23 * time.Hour

// maxResumed is how often in a row pages may be asked for without the token
// that leads to them, so that a server that takes none is not asked for ever.
const maxResumed = 10

func (g *Group) pager(from, to int64) *pager {
	return &pager{group: g, from: from, to: to, last: from}
}

// more reports whether there are further pages, as far as it is known.
func (p *pager) more() bool { return !p.done || p.err != nil }

// next returns the events of the next page that has new ones, in the order
// of their times. The end is io.EOF.
func (p *pager) next(ctx context.Context) ([]types.FilteredLogEvent, error) {
	for !p.done {
		out, err := p.ask(ctx)
		if err != nil {
			p.done = true
			return nil, err
		}
		events := p.fresh(out.Events)
		p.advance(out.NextToken, len(events) > 0)
		if len(events) > 0 {
			return events, nil
		}
	}
	err := p.err
	p.err = nil
	return nil, cmp.Or(err, io.EOF)
}

// ask asks for the next page. When its token has expired, events are asked
// for anew from the time of the latest on; those that were had already are
// known by their IDs.
func (p *pager) ask(ctx context.Context) (*cloudwatchlogs.FilterLogEventsOutput, error) {
	if p.token != nil && time.Since(p.tokenAge) > p.group.tokenLife && p.resumed < maxResumed {
		p.resume()
	}
	out, err := p.group.filter(ctx, p.input())
	if p.token != nil && codeOf(err) == "InvalidParameterException" && p.resumed < maxResumed {
		p.resume()
		out, err = p.group.filter(ctx, p.input())
	}
	return out, err
}

func (p *pager) resume() {
	p.from, p.token = p.last, nil
	p.resumed++
	clear(p.tokens)
}

func (p *pager) input() *cloudwatchlogs.FilterLogEventsInput {
	in := &cloudwatchlogs.FilterLogEventsInput{
		StartTime: aws.Int64(p.from),
		EndTime:   aws.Int64(p.to - 1), // events of this time are among them
		NextToken: p.token,
	}
	if p.limit != 0 {
		in.Limit = &p.limit
	}
	return in
}

// advance goes to the page that token names. Tokens that come round again,
// and pages that are empty for ever, end the pages.
func (p *pager) advance(token *string, progress bool) {
	p.token, p.tokenAge = token, time.Now()
	p.empty++
	if progress {
		p.empty, p.resumed = 0, 0
	}
	if aws.ToString(token) == "" {
		p.done = true
		return
	}
	hash := maphash.String(p.group.seed, *token)
	_, again := p.tokens[hash]
	switch {
	case again:
		p.err = errors.New("the server gives the same page again and again")
	case p.empty >= maxEmptyPages:
		p.err = fmt.Errorf("%d pages in a row are empty; give a time with --from, or less of it", p.empty)
	}
	p.done = p.err != nil
	if p.tokens == nil {
		p.tokens = map[uint64]struct{}{}
	}
	p.tokens[hash] = struct{}{}
}

// fresh returns the events that did not come before.
func (p *pager) fresh(events []types.FilteredLogEvent) []types.FilteredLogEvent {
	slices.SortStableFunc(events, func(a, b types.FilteredLogEvent) int {
		return cmp.Compare(aws.ToInt64(a.Timestamp), aws.ToInt64(b.Timestamp))
	})
	events = slices.DeleteFunc(events, func(e types.FilteredLogEvent) bool {
		return !p.known.add(aws.ToString(e.EventId), aws.ToInt64(e.Timestamp))
	})
	if len(events) > 0 {
		p.last = max(p.last, aws.ToInt64(events[len(events)-1].Timestamp))
	}
	return events
}

// known is the set of the IDs of the latest events: of a page or two, and of
// all that have the time of the latest. An event that comes twice comes
// twice in a short time, since events come in order.
type known struct {
	recent, older map[string]struct{}
	last          int64 // time of the latest event in recent
}

// Recent grows to knownEvents, and as long as all events are of one time to
// maxKnown.
const (
	knownEvents = 10_000
	maxKnown    = 1 << 18
)

// add adds an event, and reports whether it is a new one. Without an ID
// there is no telling.
func (k *known) add(id string, at int64) bool {
	if id == "" {
		return true
	}
	if _, ok := k.recent[id]; ok {
		return false
	}
	if _, ok := k.older[id]; ok {
		return false
	}
	if n := len(k.recent); k.recent == nil || n >= knownEvents && at > k.last || n >= maxKnown {
		k.older, k.recent = k.recent, map[string]struct{}{}
	}
	k.recent[id] = struct{}{}
	k.last = at
	return true
}
