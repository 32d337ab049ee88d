package alert

import (
	"iter"
	"maps"

	"ephemera/analyze"
	"ephemera/ingest/flow"
)

// A connection is a session or a data connection, as far as its rejected
// flows need it.
type connection struct {
	purpose        string // control or data
	client, server place
	active         bool // the server opened it
	throughNAT     bool // and it ended at a NAT gateway
	certain        bool // that it is FTP
	session        string
	end            analyze.Time
}

// A place is one end of a connection.
type place struct {
	addr flow.Addr
	port uint16
}

func (p place) String() string { return flow.HostPort(p.addr, p.port) }

// ends are a client's and a server's, as one interface sees them.
type ends struct{ client, server place }

// A join finds the connections of rejected flows. Both come in the order of
// their start, and a connection starts before its flows are rejected: in
// memory are those that are open at a time.
type join struct {
	sessions *feed[analyze.Session]
	data     *feed[analyze.DataConnection]
	open     map[ends]*connection
	sweepAt  int // the size at which it looks for what is over
}

func newJoin(r *analyze.Result) *join {
	return &join{
		sessions: newFeed(r.Sessions.All()), data: newFeed(r.Data.All()),
		open: map[ends]*connection{}, sweepAt: 1024,
	}
}

func (j *join) stop() {
	j.sessions.stop()
	j.data.stop()
}

// Flow logs are late by up to a minute, and interfaces need not agree: so
// many seconds a connection may start after a flow of it, or have ended
// before.
const (
	slackBefore = 60
	slackAfter  = 900
)

// find returns the connection that a rejected flow is of, and whether the
// client sent it; nil if that is not known to be FTP. It is to be asked in
// the order of the flows.
func (j *join) find(x *analyze.RejectedFlow) (of *connection, fromClient bool) {
	j.advance(x.Start)
	src, dst := header(x)
	from, to := place{src, x.SrcPort}, place{dst, x.DstPort}
	if c := j.open[ends{from, to}]; c != nil {
		return c, true
	}
	if c := j.open[ends{to, from}]; c != nil {
		return c, false
	}
	if x.PktSrcAddr.IsValid() {
		return nil, false
	}
	// Without header addresses, the inside of a NAT gateway shows its own
	// address in the place of the server's.
	if c := j.open[ends{from, place{port: to.port}}]; c != nil {
		return c, true
	}
	return j.open[ends{to, place{port: from.port}}], false
}

// header returns the flow's header addresses, or the record's where the log
// has no others.
func header(x *analyze.RejectedFlow) (src, dst flow.Addr) {
	if x.PktSrcAddr.IsValid() && x.PktDstAddr.IsValid() {
		return x.PktSrcAddr, x.PktDstAddr
	}
	return x.SrcAddr, x.DstAddr
}

// advance takes in what started until t, and forgets what was over before.
func (j *join) advance(t analyze.Time) {
	for s := j.sessions.peek(); s != nil && s.Start <= t+slackBefore; s = j.sessions.next() {
		j.addSession(s)
	}
	for d := j.data.peek(); d != nil && d.Start <= t+slackBefore; d = j.data.next() {
		j.addData(d)
	}
	if len(j.open) >= j.sweepAt {
		maps.DeleteFunc(j.open, func(_ ends, c *connection) bool { return c.end+slackAfter < t })
		j.sweepAt = 2*len(j.open) + 1024
	}
}

func (j *join) addSession(s *analyze.Session) {
	j.add(&connection{
		purpose: control, client: place{s.ClientAddr, s.ClientPort}, server: place{s.ServerAddr, s.ServerPort},
		certain: true, session: s.ID, end: s.End,
	}, place{s.NATAddr, s.NATPort})
}

func (j *join) addData(d *analyze.DataConnection) {
	j.add(&connection{
		purpose: data, client: place{d.ClientAddr, d.ClientPort}, server: place{d.ServerAddr, d.ServerPort},
		active: d.Mode == "active", throughNAT: throughNAT(d), certain: d.FTPProbability >= certainFTP, session: d.SessionID, end: d.End,
	}, place{d.NATAddr, d.NATPort})
}

// add files a connection under all ends that an interface may see of it.
func (j *join) add(c *connection, nat place) {
	j.open[ends{c.client, c.server}] = c
	j.open[ends{c.client, place{port: c.server.port}}] = c
	if nat.addr.IsValid() {
		j.open[ends{nat, c.server}] = c
	}
}

// A feed gives rows one by one.
type feed[T any] struct {
	pull func() (T, bool)
	stop func()
	row  T
	more bool
}

func newFeed[T any](rows iter.Seq[T]) *feed[T] {
	f := &feed[T]{}
	f.pull, f.stop = iter.Pull(rows)
	f.row, f.more = f.pull()
	return f
}

// peek returns the row that is next, or nil behind the last one. It is valid
// until next is called.
func (f *feed[T]) peek() *T {
	if !f.more {
		return nil
	}
	return &f.row
}

// next goes on to the row behind, and returns it as peek does.
func (f *feed[T]) next() *T {
	f.row, f.more = f.pull()
	return f.peek()
}
