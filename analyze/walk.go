package analyze

import (
	"container/heap"
	"iter"
	"maps"
	"slices"

	"ephemera/ingest/flow"
)

// A visitor is told what walk comes to. Only connection has to be set.
type visitor struct {
	opened, closed func(*session)
	later          func(*Connection, *session) // a later part of a session
	// connection is told of every other connection, with the possible data
	// connection that it is or nil, when the sessions that were open at its
	// start are known.
	connection func(*Connection, *dataConn, *openSessions)
}

// walk goes through the connections in time order, and keeps the sessions
// that are open.
func (f *ftp) walk(cs iter.Seq[*Connection], v visitor) {
	w := &walker{ftp: f, visitor: v, open: newOpenSessions(), translated: recent[bool]{keep: longestIdle}}
	for c := range cs {
		w.take(c)
	}
	w.release()
	w.open.closeBefore(forever, v.closed)
}

// walker is the state of walk.
type walker struct {
	*ftp
	visitor
	open *openSessions
	// waiting start at the same second, and further ones may.
	waiting []*Connection
	// translated holds the five-tuples that connections to the servers had
	// behind a NAT gateway.
	translated recent[bool]
}

// take takes the next connection.
func (w *walker) take(c *Connection) {
	if len(w.waiting) > 0 && w.waiting[0].Start < c.Start {
		w.release()
		w.open.closeBefore(c.Start-1, w.closed)
	}
	if c.Outside != nil && !c.Unsolicited && w.serving[c.Tuple.Dst] {
		w.translated.put(c.Outside.Header, true, c.End)
	}
	switch id, isPart := w.partOf[c.key()]; {
	case isPart:
		if s := w.open.byID[id]; s != nil && w.later != nil {
			w.later(c, s)
		}
	case !w.takeSession(c):
		w.waiting = append(w.waiting, c)
	}
}

// takeSession opens a session if the connection is one.
func (w *walker) takeSession(c *Connection) bool {
	s := w.asSession(c)
	if s == nil {
		return false
	}
	if after, ok := w.silence[s.id]; ok {
		s.end, s.idle = max(s.end, after.end), after.seconds
	}
	w.open.add(s)
	if w.opened != nil {
		w.opened(s)
	}
	return true
}

// release visits the connections that wait.
func (w *walker) release() {
	for _, c := range w.waiting {
		if _, straggler := w.translated.get(c.Tuple.Reverse(), c.Start); c.Unsolicited && straggler {
			w.connection(c, nil, w.open) // of a connection that the gateway has forgotten
			continue
		}
		w.connection(c, w.candidate(c, w.open), w.open)
	}
	w.waiting = w.waiting[:0]
}

// A pairKey is a client and a server.
type pairKey struct{ client, server flow.Addr }

// openSessions holds the sessions that are open: the able ones by client and
// server, by server alone, and by client and what is near the server.
type openSessions struct {
	byPair   map[pairKey]*sessionList
	byServer map[flow.Addr]*sessionList
	byNear   map[nearKey]*sessionList
	byID     map[string]*session
	byEnd    sessionHeap
}

func newOpenSessions() *openSessions {
	return &openSessions{byPair: map[pairKey]*sessionList{}, byServer: map[flow.Addr]*sessionList{}, byNear: map[nearKey]*sessionList{}, byID: map[string]*session{}}
}

func (o *openSessions) add(s *session) {
	o.byID[s.id] = s
	heap.Push(&o.byEnd, s)
	if s.able {
		k := s.pairKey()
		add(o.byPair, k, s)
		add(o.byServer, k.server, s)
		add(o.byNear, s.nearKey(), s)
	}
}

func (s *session) pairKey() pairKey { return pairKey{s.conn.Tuple.Src, s.conn.Tuple.Dst} }

func add[K comparable](m map[K]*sessionList, k K, s *session) {
	if m[k] == nil {
		m[k] = &sessionList{}
	}
	m[k].sessions = append(m[k].sessions, s)
	m[k].open++
}

// remove takes out a session that is closed. The list is cleaned up when most
// of it is closed: many sessions can end in one second.
func remove[K comparable](m map[K]*sessionList, k K) {
	l := m[k]
	if l.open--; l.open == 0 {
		delete(m, k)
	} else if len(l.sessions) > 2*l.open {
		l.sessions = slices.DeleteFunc(l.sessions, func(x *session) bool { return x.closed })
	}
}

// closeBefore takes out the sessions that ended before t.
func (o *openSessions) closeBefore(t int64, closed func(*session)) {
	for len(o.byEnd) > 0 && o.byEnd[0].end < t {
		s := heap.Pop(&o.byEnd).(*session)
		delete(o.byID, s.id)
		if s.able {
			s.closed = true
			remove(o.byPair, s.pairKey())
			remove(o.byServer, s.pairKey().server)
			remove(o.byNear, s.nearKey())
		}
		if closed != nil {
			closed(s)
		}
	}
}

// sessionHeap is a heap of sessions by their end.
type sessionHeap []*session

func (h sessionHeap) Len() int           { return len(h) }
func (h sessionHeap) Less(i, j int) bool { return h[i].end < h[j].end }
func (h sessionHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *sessionHeap) Push(x any)        { *h = append(*h, x.(*session)) }
func (h *sessionHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// A sessionList holds sessions by start, some of which may be closed. The nil
// list is empty.
type sessionList struct {
	sessions []*session
	open     int
}

// during returns the sessions, in order of their start, whose control
// connection lived at time t. Times are whole seconds, so one second more
// counts as inside.
func (l *sessionList) during(t int64) []*session {
	if l == nil {
		return nil
	}
	var in []*session
	for _, s := range l.sessions {
		if !s.closed && s.conn.Start <= t && t <= s.end+1 {
			in = append(in, s)
		}
	}
	return in
}

// recent is a map by five-tuple that forgets what was over more than keep
// seconds before.
type recent[T any] struct {
	keep  int64
	all   map[flow.Tuple]recently[T]
	sweep int // the size at which it looks for what to forget
}

type recently[T any] struct {
	value T
	end   int64
}

// get returns the value put last for t, unless it was over too long before
// now.
func (r *recent[T]) get(t flow.Tuple, now int64) (T, bool) {
	v, ok := r.all[t]
	return v.value, ok && now-v.end <= r.keep
}

// put keeps a value that is over at the time end.
func (r *recent[T]) put(t flow.Tuple, value T, end int64) {
	if r.all == nil {
		r.all, r.sweep = map[flow.Tuple]recently[T]{}, 1024
	}
	r.all[t] = recently[T]{value, end}
	if len(r.all) >= r.sweep {
		maps.DeleteFunc(r.all, func(_ flow.Tuple, v recently[T]) bool { return end-v.end > r.keep })
		r.sweep = 2*len(r.all) + 1024
	}
}
