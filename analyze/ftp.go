package analyze

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
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
	conn *Connection
	fate fate
	id   string
	able bool
	end  int64 // of the control connection, later parts included
	idle int64 // seconds of silence before it was forgotten; 0 if it was not
	// later holds what came after the silence.
	later     []*Connection
	busyUntil int64       // when the last of data ended
	data      []*dataConn // those for which it is the best candidate
	// possible are those for which it is a candidate at all.
	possible []*dataConn
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

// ftp finds the sessions and the data connections.
type ftp struct {
	control  map[uint16]bool
	clients  []netip.Prefix
	servers  []netip.Prefix
	attr     *attributor
	logEnd   int64
	sessions []*session
	data     []*dataConn
}

// find fills sessions and data from all connections, which are in time
// order.
func (f *ftp) find(cs []*Connection) {
	f.findSessions(cs)
	f.findIdle()
	open := f.byPair()
	var candidates []*dataConn
	translated := translatedTo(cs, open)
	for _, c := range cs {
		if c.Unsolicited && translated[c.Tuple.Reverse()] {
			continue // a straggler of a connection that the gateway has forgotten
		}
		if d := f.candidate(c, open); d != nil {
			candidates = append(candidates, d)
		}
	}
	ev := f.newEvidence(cs, candidates, open)
	for _, d := range candidates {
		d.isFTP = probability(ev.logOdds(d))
		if d.isFTP > 0.5 {
			f.data = append(f.data, d)
		}
	}
	f.pair()
}

// translatedTo returns the five-tuples that connections to the sessions'
// servers had behind a NAT gateway.
func translatedTo(cs []*Connection, o openSessions) map[flow.Tuple]bool {
	tuples := map[flow.Tuple]bool{}
	for _, c := range cs {
		if c.Outside != nil && !c.Unsolicited && o.byServer[c.Tuple.Dst] != nil {
			tuples[c.Outside.Header] = true
		}
	}
	return tuples
}

func matches(ps []netip.Prefix, a flow.Addr) bool {
	return len(ps) == 0 || slices.ContainsFunc(ps, func(p netip.Prefix) bool { return p.Contains(a.Netip()) })
}

// findSessions takes every TCP connection to a control port that somebody in
// the VPC opened, or that was let in. What scanners send to port 21 and a
// filter rejects is no session.
func (f *ftp) findSessions(cs []*Connection) {
	for _, c := range cs {
		if c.Tuple.Proto != flow.TCP || !f.control[c.Tuple.DstPort] || c.Unsolicited {
			continue
		}
		if c.Client == nil && c.Inside == nil && c.Server != nil && c.Server.FromInitiator.Accepted == 0 {
			continue
		}
		if !matches(f.clients, c.Tuple.Src) || !matches(f.servers, c.Tuple.Dst) {
			continue
		}
		s := &session{conn: c, fate: fateOf(c, f.attr, f.logEnd), end: c.End, id: rowID("s", c)}
		b := c.best()
		s.able = s.fate.established && b.FromInitiator.Accepted >= ableToServer && b.FromResponder.Accepted >= ableToClient
		f.sessions = append(f.sessions, s)
	}
}

// rowID names a row by what identifies it in the log, so that it keeps its
// name whatever else is analysed with it.
func rowID(kind string, c *Connection) string {
	h := sha256.Sum256(fmt.Appendf(nil, "%s %d %s", c.Tuple, c.Start, c.best().Interface.ID))
	return kind + "-" + hex.EncodeToString(h[:6])
}

// findIdle joins what follows a silence to the session before it: packets of
// the same five-tuple without a SYN, after longer than a NAT gateway
// remembers.
func (f *ftp) findIdle() {
	last := map[flow.Tuple]*session{}
	kept := f.sessions[:0]
	for _, s := range f.sessions {
		if before := last[s.conn.Tuple]; before != nil && continues(before.conn, s.conn) {
			before.idle = s.conn.Start - before.end
			before.end = s.end
			before.later = append(before.later, s.conn)
			continue
		}
		s.idle = longestSilence(s.conn)
		last[s.conn.Tuple] = s
		kept = append(kept, s)
	}
	f.sessions = kept
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

// A pairKey is a client and a server.
type pairKey struct{ client, server flow.Addr }

// openSessions holds the able sessions by client and server, and by server
// alone.
type openSessions struct {
	byPair   map[pairKey]*sessionList
	byServer map[flow.Addr]*sessionList
}

func (f *ftp) byPair() openSessions {
	o := openSessions{byPair: map[pairKey]*sessionList{}, byServer: map[flow.Addr]*sessionList{}}
	for _, s := range f.sessions {
		if s.able {
			k := pairKey{s.conn.Tuple.Src, s.conn.Tuple.Dst}
			add(o.byPair, k, s)
			add(o.byServer, k.server, s)
		}
	}
	return o
}

func add[K comparable](m map[K]*sessionList, k K, s *session) {
	if m[k] == nil {
		m[k] = &sessionList{}
	}
	m[k].add(s)
}

// A sessionList holds sessions by start. The nil list is empty.
type sessionList struct {
	sessions []*session
	reach    []int64 // the latest end among the sessions up to each
}

func (l *sessionList) add(s *session) {
	end := s.end
	if n := len(l.reach); n > 0 {
		end = max(end, l.reach[n-1])
	}
	l.sessions, l.reach = append(l.sessions, s), append(l.reach, end)
}

// during returns the sessions, in order of their start, whose control
// connection lived at time t. Times are whole seconds, so one second more
// counts as inside.
func (l *sessionList) during(t int64) []*session {
	if l == nil {
		return nil
	}
	n, _ := slices.BinarySearchFunc(l.sessions, t+1, func(s *session, t int64) int { return cmp.Compare(s.conn.Start, t) })
	var in []*session
	for n--; n >= 0 && l.reach[n] >= t-1; n-- {
		if s := l.sessions[n]; t <= s.end+1 {
			in = append(in, s)
		}
	}
	slices.Reverse(in)
	return in
}

// candidate returns the connection as a possible data connection, or nil:
// passive from the client to a port above 1023, or active from the server.
func (f *ftp) candidate(c *Connection, o openSessions) *dataConn {
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

// pair gives every data connection, in time order, the session that fits
// best. FTP carries one data connection at a time per control connection, so
// a session that is transferring is nearly out; of the others the one whose
// last event is nearest is preferred, but only a little: which of several
// sessions that one client opened at the same time it was, the log mostly
// does not tell.
func (f *ftp) pair() {
	for _, d := range f.data {
		weights := make(map[*session]float64, len(d.candidates))
		total := 0.0
		for _, s := range d.candidates {
			w := s.weight(d)
			weights[s] = w
			total += w
			s.possible = append(s.possible, d)
		}
		slices.SortStableFunc(d.candidates, func(a, b *session) int { return cmp.Compare(weights[b], weights[a]) })
		d.best = d.candidates[0]
		d.pair = weights[d.best] / total
		if d.best.busy(d) {
			d.pair = min(d.pair, overlapProbability)
		}
		d.best.data = append(d.best.data, d)
		d.best.busyUntil = max(d.best.busyUntil, d.freeAgain())
	}
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

// rows turns the sessions and data connections into their tables. A data
// connection is claimed by a session when its probability reaches
// confidence.
func (f *ftp) rows(confidence float64) ([]Session, []DataConnection) {
	var sessions []Session
	for _, s := range f.sessions {
		sessions = append(sessions, s.row())
	}
	var data []DataConnection
	for _, d := range f.data {
		data = append(data, d.row(confidence))
	}
	return sessions, data
}

func (s *session) row() Session {
	c, l := s.conn, s.conn.best()
	r := Session{
		ID: s.id, ClientAddr: c.Tuple.Src, ClientPort: c.Tuple.SrcPort, ServerAddr: c.Tuple.Dst, ServerPort: c.Tuple.DstPort,
		Start: Time(c.Start), End: Time(s.end), Mode: s.mode(), TLS: "unknown", DataConnections: len(s.data),
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
	passive, active := false, false
	data := s.data
	if len(data) == 0 {
		data = s.possible
	}
	for _, d := range data {
		passive, active = passive || !d.active, active || d.active
	}
	switch {
	case passive && active:
		return "mixed"
	case passive:
		return "passive"
	case active:
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
	for _, d := range s.data {
		if d.fate.outcome == OutcomeBlocked {
			return OutcomeBlocked, d.fate.diedAt, "a data connection: " + d.fate.cause, round(d.pair * d.isFTP)
		}
	}
	if d := s.failed(); d != nil {
		return d.fate.outcome, d.fate.diedAt, "a data connection: " + d.fate.cause, round(d.pair * d.isFTP)
	}
	if len(s.data) == 0 && len(s.possible) > 0 && s.fate.outcome == OutcomeOK {
		return OutcomeOK, "", fmt.Sprintf("%s fit it, and other sessions better", plural(len(s.possible), "data connection")), 0.5
	}
	if len(s.data) == 0 && s.fate.outcome == OutcomeOK {
		return OutcomeNoData, "", "no data connection belongs to it", 0.9
	}
	return s.fate.outcome, s.fate.diedAt, s.fate.cause, 0.95
}

// failed returns the first data connection if none got through.
func (s *session) failed() *dataConn {
	if len(s.data) == 0 || slices.ContainsFunc(s.data, func(d *dataConn) bool { return d.fate.established }) {
		return nil
	}
	return s.data[0]
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
