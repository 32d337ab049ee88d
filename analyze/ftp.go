package analyze

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"maps"
	"math"
	"net/netip"
	"slices"

	"ephemera/ingest/flow"
)

// implicitTLS is the port of FTP over TLS from the first byte.
const implicitTLS = 990

// ableToServer and ableToClient are the fewest packets of a control
// connection that got as far as a transfer: greeting, login, PASV and the
// transfer's command cost more.
const (
	ableToServer = 6
	ableToClient = 5
)

// A session is an FTP control connection while sessions and data
// connections are being put together.
type session struct {
	conn      *Connection
	fate      fate
	id        string
	able      bool
	end       int64 // of the control connection, later parts included
	idle      int64 // seconds of silence before it was forgotten; 0 if it was not
	busyUntil int64 // when the last of data ended
	data      tally // of those for which it is the best candidate
	// possible is of those for which it is a candidate at all.
	possible tally
}

// A tally is what a session needs to know of its data connections.
type tally struct {
	n               int
	passive, active bool
	established     bool // one of them, at least
	// blocked is the first one that a rule of the VPC stopped.
	first, blocked *ending
}

// ending is how a data connection ended.
type ending struct {
	outcome       Outcome
	diedAt, cause string
	probability   float64 // that it is the session's
}

func (t *tally) add(d *dataConn) {
	t.n++
	t.passive, t.active = t.passive || !d.active, t.active || d.active
	t.established = t.established || d.fate.established
	e := &ending{d.fate.outcome, d.fate.diedAt, d.fate.cause, round(d.pair * d.isFTP)}
	if t.first == nil {
		t.first = e
	}
	if t.blocked == nil && d.fate.outcome == OutcomeBlocked {
		t.blocked = e
	}
}

// A dataConn is a possible FTP data connection.
type dataConn struct {
	conn       *Connection
	fate       fate
	active     bool
	candidates []*session // in the order of their likelihood
	best       *session
	// pair is the probability of best among the candidates, isFTP that it
	// is a data connection at all.
	pair, isFTP float64
}

// ftp finds the sessions and the data connections in a stream of connections
// by their start. It goes through the stream three times, and holds no more
// than the sessions that are open at a time, and what is known of each port
// of each FTP server:
//
//  1. survey: who serves FTP, and which sessions go on after a silence
//  2. collect: how each server's ports are used
//  3. decide: what is a data connection, and of which session
type ftp struct {
	control    map[uint16]bool
	clients    []netip.Prefix
	servers    []netip.Prefix
	attr       *attributor
	logEnd     int64
	gateway    map[*Interface]*Interface // see roles
	confidence float64

	serving map[flow.Addr]bool       // servers of able sessions
	silence map[string]silence       // by session
	partOf  map[connectionKey]string // the session that a later part belongs to
	idle    int                      // sessions that a NAT gateway has forgotten

	// session and data take the rows; settle takes each connection with what
	// is known of it.
	session func(Session)
	data    func(DataConnection)
	settle  func(*Connection, roles)
}

// silence is what came to light of a session after it was silent for longer
// than a NAT gateway remembers.
type silence struct{ end, seconds int64 }

// connectionKey names a connection across the passes.
type connectionKey struct {
	tuple flow.Tuple
	start int64
	iface string
}

func (c *Connection) key() connectionKey {
	return connectionKey{c.Tuple, c.Start, c.best().Interface.ID}
}

// find goes through the connections, which are in time order and the same at
// each call.
func (f *ftp) find(connections func() iter.Seq[*Connection]) {
	f.survey(connections())
	ev := f.collect(connections())
	f.decide(connections(), ev)
}

func matches(ps []netip.Prefix, a flow.Addr) bool {
	return len(ps) == 0 || slices.ContainsFunc(ps, func(p netip.Prefix) bool { return p.Contains(a.Netip()) })
}

// asSession returns the connection as a session if it is one: a TCP
// connection to a control port that somebody in the VPC opened, or that was
// let in. What scanners send to port 21 and a filter rejects is no session.
func (f *ftp) asSession(c *Connection) *session {
	if c.Tuple.Proto != flow.TCP || !f.control[c.Tuple.DstPort] || c.Unsolicited {
		return nil
	}
	if c.Client == nil && c.Inside == nil && c.Server != nil && c.Server.FromInitiator.Accepted == 0 {
		return nil
	}
	if !matches(f.clients, c.Tuple.Src) || !matches(f.servers, c.Tuple.Dst) {
		return nil
	}
	s := &session{conn: c, fate: fateOf(c, f.attr, f.logEnd), end: c.End, id: rowID("s", c)}
	b := c.best()
	s.able = s.fate.established && b.FromInitiator.Accepted >= ableToServer && b.FromResponder.Accepted >= ableToClient
	return s
}

// rowID names a row by what identifies it in the log, so that it keeps its
// name whatever else is analysed with it.
func rowID(kind string, c *Connection) string {
	h := sha256.Sum256(fmt.Appendf(nil, "%s %d %s", c.Tuple, c.Start, c.best().Interface.ID))
	return kind + "-" + hex.EncodeToString(h[:6])
}

// longestIdle is the longest silence, in seconds, behind which packets are
// still taken for the rest of a session.
const longestIdle = 6 * 3600

// survey finds the servers, and joins what follows a silence to the session
// before it: packets of the same five-tuple without a SYN, after longer than
// a NAT gateway remembers.
func (f *ftp) survey(cs iter.Seq[*Connection]) {
	f.serving, f.silence, f.partOf = map[flow.Addr]bool{}, map[string]silence{}, map[connectionKey]string{}
	last := recent[*session]{keep: longestIdle}
	for c := range cs {
		s := f.asSession(c)
		if s == nil {
			continue
		}
		if before, ok := last.get(c.Tuple, c.Start); ok && continues(before.conn, c) {
			f.silence[before.id] = silence{s.end, c.Start - before.end}
			f.partOf[c.key()] = before.id
			before.end = s.end
			last.put(c.Tuple, before, before.end)
			continue
		}
		if gap := longestSilence(c); gap > 0 {
			f.silence[s.id] = silence{s.end, gap}
		}
		last.put(c.Tuple, s, s.end)
		f.serving[c.Tuple.Dst] = f.serving[c.Tuple.Dst] || s.able
	}
	maps.DeleteFunc(f.serving, func(_ flow.Addr, able bool) bool { return !able })
}

// continues reports whether c can only be what is left of the connection
// before it.
func continues(before, c *Connection) bool {
	b, l := before.best(), c.best()
	if before.NAT() == nil || b.Closed || c.Start-before.End < natIdle {
		return false
	}
	if l.HasFlags {
		return !l.Opened
	}
	return c.Outside == nil && l.FromInitiator.Packets() <= ableToServer
}

// longestSilence returns the seconds of silence after which the NAT gateway
// answered with RST, within one connection; 0 if there were none.
func longestSilence(c *Connection) int64 {
	l := c.best()
	if c.NAT() == nil || !l.FromResponder.Flags.Has(flow.RST) && l.HasFlags {
		return 0
	}
	end := l.windows[0].end
	for _, w := range l.windows {
		if gap := w.start - end; gap > natIdle {
			return gap
		}
		end = max(end, w.end)
	}
	return 0
}

// collect learns how the servers' ports are used.
func (f *ftp) collect(cs iter.Seq[*Connection]) *evidence {
	e := newEvidence()
	f.walk(cs, visitor{
		connection: func(c *Connection, d *dataConn, o *openSessions) {
			t := c.Tuple
			if t.Proto == flow.TCP && t.DstPort >= 1024 && !f.control[t.DstPort] && !c.Unsolicited && f.serving[t.Dst] {
				e.see(serviceOf(c), len(o.byPair[pairKey{t.Src, t.Dst}].during(c.Start)) == 0)
			}
			if d != nil {
				e.add(d)
			}
		},
	})
	e.conclude()
	return e
}

// decide makes the rows, and settles every connection.
func (f *ftp) decide(cs iter.Seq[*Connection], ev *evidence) {
	f.walk(cs, visitor{
		opened: func(s *session) { f.settle(s.conn, roles{session: s, gateway: f.gateway}) },
		later:  func(c *Connection, s *session) { f.settle(c, roles{session: s, gateway: f.gateway}) },
		closed: func(s *session) {
			if s.idle > 0 {
				f.idle++
			}
			f.session(s.row())
		},
		connection: func(c *Connection, d *dataConn, _ *openSessions) {
			r := roles{gateway: f.gateway}
			if d != nil {
				if d.isFTP = probability(ev.logOdds(d)); d.isFTP > 0.5 {
					d.assign()
					f.data(d.row(f.confidence))
					r.data = d
				}
			}
			f.settle(c, r)
		},
	})
}

// candidate returns the connection as a possible data connection, or nil:
// passive from the client to a port above 1023, or active from the server.
func (f *ftp) candidate(c *Connection, o *openSessions) *dataConn {
	t := c.Tuple
	if t.Proto != flow.TCP || f.control[t.DstPort] || f.control[t.SrcPort] || t.DstPort < 1024 {
		return nil
	}
	d := &dataConn{conn: c}
	switch {
	case c.Unsolicited:
		d.active = true
		d.candidates = slices.DeleteFunc(o.byServer[t.Src].during(c.Start), func(s *session) bool { return s.conn.NAT() != c.Outside.Interface })
		if c.Outside.FromInitiator.Bytes() > 64*c.Outside.FromInitiator.Packets() {
			return nil // more than SYNs
		}
	case c.best().FromInitiator.Packets() == 0 && c.best().opensNothing():
		return nil // a straggler of an earlier connection
	default:
		d.candidates = o.byPair[pairKey{t.Src, t.Dst}].during(c.Start)
		if len(d.candidates) == 0 && isActiveSource(t.SrcPort) {
			d.active = true
			d.candidates = o.byPair[pairKey{t.Dst, t.Src}].during(c.Start)
		}
	}
	if len(d.candidates) == 0 {
		return nil
	}
	d.fate = fateOf(c, f.attr, f.logEnd)
	return d
}

// Ports from which servers open active data connections.
const (
	activeSource    = 20
	activeSourceTLS = 989
)

func isActiveSource(port uint16) bool { return port == activeSource || port == activeSourceTLS }

func probability(logOdds float64) float64 { return 1 / (1 + math.Exp(-logOdds)) }

// assign gives the data connection the session that fits best, and is called
// in time order. FTP carries one data connection at a time per control
// connection, so a session that is transferring is nearly out; of the others
// the one whose last event is nearest is preferred, but only a little: which
// of several sessions that one client opened at the same time it was, the log
// mostly does not tell.
func (d *dataConn) assign() {
	weights := make(map[*session]float64, len(d.candidates))
	total := 0.0
	for _, s := range d.candidates {
		w := s.weight(d)
		weights[s] = w
		total += w
		s.possible.add(d)
	}
	slices.SortStableFunc(d.candidates, func(a, b *session) int { return cmp.Compare(weights[b], weights[a]) })
	d.best = d.candidates[0]
	d.pair = weights[d.best] / total
	if d.best.busy(d) {
		d.pair = min(d.pair, overlapProbability)
	}
	d.best.data.add(d)
	d.best.busyUntil = max(d.best.busyUntil, d.freeAgain())
}

// overlapWeight is how likely it is that a session that already has a data
// connection running opens another: only when times are late.
const overlapWeight = 1e-4

// overlapProbability is the most that can be said for a session that would
// carry two data connections at a time: too little to claim the second.
const overlapProbability = 0.5

// busy reports whether the session's data connections last longer than the
// start of d, by more than the second that times are rounded to.
func (s *session) busy(d *dataConn) bool { return s.busyUntil > d.conn.Start+1 }

// freeAgain is when the client can go on to its next transfer: at the end; of
// one that was stopped as soon as the client gives up, while its system still
// repeats the SYN.
func (d *dataConn) freeAgain() int64 {
	if d.fate.established {
		return d.conn.End
	}
	return d.conn.Start
}

// weight is how well the session fits the data connection, given the data
// connections that it already has.
func (s *session) weight(d *dataConn) float64 {
	if s.busy(d) {
		return overlapWeight
	}
	return 1 / float64(2+max(0, d.conn.Start-max(s.conn.Start, s.busyUntil)))
}

func (s *session) row() Session {
	c, l := s.conn, s.conn.best()
	r := Session{
		ID: s.id, ClientAddr: c.Tuple.Src, ClientPort: c.Tuple.SrcPort, ServerAddr: c.Tuple.Dst, ServerPort: c.Tuple.DstPort,
		Start: Time(c.Start), End: Time(s.end), Mode: s.mode(), TLS: "unknown", DataConnections: s.data.n,
		BytesToServer: l.FromInitiator.AcceptedBytes, BytesToClient: l.FromResponder.AcceptedBytes,
	}
	if c.Tuple.DstPort == implicitTLS {
		r.TLS = "implicit"
	}
	if c.Client != nil {
		r.ClientInterface = c.Client.Interface.ID
	}
	if i := c.NAT(); i != nil {
		r.NATInterface = i.ID
	}
	if a, p, ok := c.NATPort(); ok {
		r.NATAddr, r.NATPort = a, p
	}
	r.Outcome, r.DiedAt, r.Cause, r.Confidence = s.outcome()
	return r
}

// mode is that of the session's data connections; if it is nobody's best
// candidate, of those that it may have carried.
func (s *session) mode() string {
	t := s.data
	if t.n == 0 {
		t = s.possible
	}
	switch {
	case t.passive && t.active:
		return "mixed"
	case t.passive:
		return "passive"
	case t.active:
		return "active"
	}
	return "none"
}

// outcome judges the session by its control connection first, then by what
// happened to its transfers.
func (s *session) outcome() (o Outcome, diedAt, cause string, confidence float64) {
	if f := s.fate; !f.established {
		confidence = 0.9
		if f.denial != nil {
			confidence = f.denial.confidence
		}
		return f.outcome, f.diedAt, f.cause, confidence
	}
	if s.idle > 0 {
		return OutcomeIdleTimeout, "P2", idleCause(s.idle), 0.9
	}
	if e := cmp.Or(s.data.blocked, s.data.failed()); e != nil {
		return e.outcome, e.diedAt, "a data connection: " + e.cause, e.probability
	}
	if s.data.n == 0 && s.possible.n > 0 && s.fate.outcome == OutcomeOK {
		return OutcomeOK, "", fmt.Sprintf("%s fit it, and other sessions better", plural(s.possible.n, "data connection")), 0.5
	}
	if s.data.n == 0 && s.fate.outcome == OutcomeOK {
		return OutcomeNoData, "", "no data connection belongs to it", 0.9
	}
	return s.fate.outcome, s.fate.diedAt, s.fate.cause, 0.95
}

// failed returns how the first data connection ended if none got through.
func (t *tally) failed() *ending {
	if t.established {
		return nil
	}
	return t.first
}

func (d *dataConn) row(confidence float64) DataConnection {
	c, l := d.conn, d.conn.best()
	r := DataConnection{
		ID: rowID("d", c), Confidence: round(d.pair * d.isFTP), Mode: "passive",
		ClientAddr: c.Tuple.Src, ClientPort: c.Tuple.SrcPort, ServerAddr: c.Tuple.Dst, ServerPort: c.Tuple.DstPort,
		Start: Time(c.Start), End: Time(c.End),
		PacketsToServer: l.FromInitiator.Packets(), BytesToServer: l.FromInitiator.Bytes(),
		PacketsToClient: l.FromResponder.Packets(), BytesToClient: l.FromResponder.Bytes(),
		Outcome: d.fate.outcome, DiedAt: d.fate.diedAt, Cause: d.fate.cause,
	}
	if d.active {
		r.Mode = "active"
		r.ClientAddr, r.ClientPort, r.ServerAddr, r.ServerPort = r.ServerAddr, r.ServerPort, r.ClientAddr, r.ClientPort
		r.PacketsToServer, r.PacketsToClient = r.PacketsToClient, r.PacketsToServer
		r.BytesToServer, r.BytesToClient = r.BytesToClient, r.BytesToServer
	}
	if r.Confidence >= confidence {
		r.SessionID = d.best.id
	}
	for _, s := range d.candidates {
		r.Candidates = append(r.Candidates, s.id)
	}
	if a, p, ok := c.NATPort(); ok {
		r.NATAddr, r.NATPort = a, p
	}
	return r
}

// round keeps three digits of a probability: more would be noise, and two
// machines could differ in them.
func round(p float64) float64 { return math.Round(p*1000) / 1000 }

func compareSessions(a, b Session) int {
	return cmp.Or(cmp.Compare(a.Start, b.Start), a.tuple().Compare(b.tuple()), cmp.Compare(a.End, b.End), cmp.Compare(a.ID, b.ID))
}

func (s Session) tuple() flow.Tuple {
	return flow.Tuple{Src: s.ClientAddr, Dst: s.ServerAddr, SrcPort: s.ClientPort, DstPort: s.ServerPort, Proto: flow.TCP}
}

func compareData(a, b DataConnection) int {
	return cmp.Or(cmp.Compare(a.Start, b.Start), a.tuple().Compare(b.tuple()), cmp.Compare(a.End, b.End), cmp.Compare(a.ID, b.ID))
}

// tuple is from the initiator, which in active mode is the server.
func (d DataConnection) tuple() flow.Tuple {
	t := flow.Tuple{Src: d.ClientAddr, Dst: d.ServerAddr, SrcPort: d.ClientPort, DstPort: d.ServerPort, Proto: flow.TCP}
	if d.Mode == "active" {
		return t.Reverse()
	}
	return t
}
