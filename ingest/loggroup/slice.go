package loggroup

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"ephemera/ingest"
)

// slice is some time of a log group: the events from a time on and before
// another.
type slice struct {
	group    *Group
	from, to int64 // milliseconds

	mu    sync.Mutex
	first *firstPage // nil when it was taken
}

// firstPage is the beginning of a slice, which listing has read, and how it
// goes on.
type firstPage struct {
	page  *page
	pager *pager
}

// object makes s an object. Start is the time of its first event.
func (s *slice) object(start int64) ingest.Object {
	return ingest.Object{
		Place:   s.String(),
		Start:   start / 1000,
		Formats: s.group.formats,
		Open:    s.open,
	}
}

// String names the slice in errors.
func (s *slice) String() string {
	return fmt.Sprintf("%s from %s to %s", s.group.place, timeText(s.from), timeText(s.to))
}

func timeText(ms int64) string {
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.999Z07:00")
}

// open starts to read the slice. It implements ingest.Object.Open.
func (s *slice) open(ctx context.Context) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	r := &reader{slice: s, ctx: ctx, cancel: cancel, pages: make(chan *page, 1)}
	p := s.group.pager(s.from, s.to)
	if first := s.take(); first != nil {
		r.first, p = first.page, first.pager
	}
	go r.fetch(p)
	return r, nil
}

// take gives the first page to the first who asks. It is in memory until
// then.
func (s *slice) take() *firstPage {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.first
	s.first = nil
	return first
}

// reader gives the messages of a slice, one a line. It reads two pages ahead
// of its reader, and no more.
type reader struct {
	slice  *slice
	ctx    context.Context
	cancel context.CancelFunc
	first  *page
	pages  chan *page // one waits here, and one in fetch
	err    error      // why pages was closed

	page *page // at hand
	rest []byte
	// named are the pages whose lines may still be asked for, the one at
	// hand last.
	named []*page
}

// fetch sends the pages of p.
func (r *reader) fetch(p *pager) {
	defer close(r.pages)
	for {
		events, err := p.next(r.ctx)
		if err != nil {
			r.err = err
			if err != io.EOF && r.ctx.Err() == nil {
				r.err = explain("FilterLogEvents", err)
			}
			return
		}
		select {
		case r.pages <- newPage(events):
		case <-r.ctx.Done():
			r.err = r.ctx.Err()
			return
		}
	}
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if err := r.advance(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// advance goes to the next page.
func (r *reader) advance() error {
	if first := r.first; first != nil {
		r.first = nil
		r.use(first)
		return nil
	}
	select {
	case p, ok := <-r.pages:
		if !ok {
			return r.err
		}
		r.use(p)
		return nil
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}

// keptText is how much text a decoder can have read and not yet looked at:
// a line of the longest kind, and its buffers.
const keptText = 2 << 20

// use makes p the page at hand, and forgets pages that were read long ago.
func (r *reader) use(p *page) {
	p.line = 1
	if r.page != nil {
		p.line = r.page.line + len(r.page.events)
	}
	r.page, r.rest = p, p.text
	r.named = append(r.named, p)
	behind := 0
	for i := len(r.named) - 2; i >= 0; i-- {
		if behind += r.named[i].size; behind > keptText {
			r.named = append([]*page(nil), r.named[i:]...)
			break
		}
	}
	p.size, p.text = len(p.text), nil // rest has it
}

// NameLine implements ingest.LineNamer.
func (r *reader) NameLine(n int) string {
	for _, p := range r.named {
		if i := n - p.line; 0 <= i && i < len(p.events) {
			return fmt.Sprintf("%s: stream %s: event %s", r.slice.group.place, p.events[i].stream, p.events[i].id)
		}
	}
	return r.slice.String()
}

// Close implements io.Closer.
func (r *reader) Close() error {
	r.cancel()
	return nil
}

// page is the text of some events, and where its lines come from.
type page struct {
	text   []byte
	size   int // of text, when that is gone
	line   int // number of its first line in the slice
	events []eventName
}

// eventName is the stream and the ID of an event.
type eventName struct{ stream, id string }

// newPage makes each event a line. One that is empty holds no record.
func newPage(events []types.FilteredLogEvent) *page {
	size := 0
	for _, e := range events {
		size += len(aws.ToString(e.Message)) + 1
	}
	p := &page{text: make([]byte, 0, size), events: make([]eventName, 0, len(events))}
	streams := map[string]string{}
	for _, e := range events {
		message := aws.ToString(e.Message)
		if strings.Trim(strings.TrimRight(message, "\r\n"), " ") == "" {
			continue
		}
		stream := aws.ToString(e.LogStreamName)
		if same, ok := streams[stream]; ok {
			stream = same // one string for all its events
		} else {
			streams[stream] = stream
		}
		p.events = append(p.events, eventName{stream, aws.ToString(e.EventId)})
		p.text = ingest.AppendMessage(p.text, message)
	}
	return p
}
