package loggroup

import (
	"context"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"ephemera/ingest"
	"ephemera/ingest/flow"
)

// walk goes through the time of a group, slice by slice. It begins with all
// of the time; from then on the first page of each slice tells how dense
// events are, and so how long the next slice is to be.
type walk struct {
	group    *Group
	at       int64 // begin of the next slice, in milliseconds
	length   int64 // of the next slice
	failures int   // slices in a row that could not be listed
}

// A slice of three pages is read at once, while it waits for its turn: one
// page by the walk, two by the slice's own reader. So as many slices as are
// open share the calls that AWS answers. A slice of more than maxPages by its
// first page is cut.
const (
	usualPages = 3
	maxPages   = 8
)

// weakPage is how full a page is that tells how dense events are.
const weakPage = 0.1

// A page holds up to 10,000 events or 1 MB of them, each counted as its
// message and 26 bytes.
// Source: CloudWatch Logs API Reference, FilterLogEvents, PutLogEvents.
const (
	pageEvents    = 10_000
	pageBytes     = 1 << 20
	eventOverhead = 26
)

// Slices are longer than nothing, and grow step by step, so that one quiet
// time does not make the next slice endless.
const (
	minLength = 1000 // milliseconds; starts of records are whole seconds
	maxGrowth = 4
)

// After failing, the walk goes on behind failedLength. After maxFailures in a
// row, or when trying again is of no use, it gives up the rest.
const (
	failedLength = 3_600_000 // milliseconds
	maxFailures  = 3
)

// next goes to the next slice that has events, and reports whether there is
// one.
func (w *walk) next(ctx context.Context) (ingest.Object, bool) {
	for w.at < w.group.end {
		from, to := w.at, min(w.at+w.length, w.group.end)
		p := w.group.pager(from, to)
		events, err := p.next(ctx)
		if err == io.EOF {
			w.at, w.length = to, w.length*maxGrowth
			continue
		}
		if err != nil {
			return w.failed(to, err), true
		}
		w.failures = 0
		first := toSecond(aws.ToInt64(events[0].Timestamp))
		length := w.lengthFor(events, to-first, p.more())
		if p.more() && length*maxPages/usualPages < to-first {
			w.length = first + length - from
			continue // shorter
		}
		w.at, w.length = to, min(length, maxGrowth*(to-first))
		s := &slice{group: w.group, from: from, to: to, first: &firstPage{newPage(events), p}}
		return s.object(first), true
	}
	return ingest.Object{}, false
}

// lengthFor returns how long a slice of usualPages would be that is as dense
// as the events of a page. They are all of the time since the first, which is
// span, or their own times tell the density when there are more; a page that
// AWS has hardly filled then tells nothing.
func (w *walk) lengthFor(events []types.FilteredLogEvent, span int64, more bool) int64 {
	bytes := 0
	for _, e := range events {
		bytes += len(aws.ToString(e.Message)) + eventOverhead
	}
	pages := max(float64(len(events))/float64(w.group.pageSize), float64(bytes)/pageBytes)
	if more && pages < weakPage {
		return span
	}
	if more {
		span = aws.ToInt64(events[len(events)-1].Timestamp) - aws.ToInt64(events[0].Timestamp) + 1
	}
	length := usualPages * float64(span) / pages
	return max(minLength, toSecond(int64(min(length, float64(w.group.end-w.group.begin)))))
}

// failed goes behind a slice that could not be listed, and makes it an object
// that gives the error.
func (w *walk) failed(to int64, err error) ingest.Object {
	problem := explain("FilterLogEvents", err)
	w.failures++
	if problem.Fault != flow.Unreachable || w.failures == maxFailures {
		to = w.group.end
	} else {
		to = min(to, w.at+failedLength)
	}
	s := &slice{group: w.group, from: w.at, to: to}
	o := s.object(w.at)
	o.Open = func(context.Context) (io.ReadCloser, error) { return nil, problem }
	w.at, w.length = to, failedLength
	return o
}
