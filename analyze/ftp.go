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

	"ephemera/analyze/pair"
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
	conn   *Connection
	fate   fate
	id     string
	able   bool
	closed bool  // see openSessions
	end    int64 // of the control connection, later parts included
	idle   int64 // seconds of silence before it was forgotten; 0 if it was not
	data   tally // of those for which it is the best candidate
	// possible is of those for which it is a candidate at all.
	possible tally
	count    count // how many data connections it had

	control *pair.Control
	// attempts at active mode that may be its wait until all their sessions
	// are decided, and meanwhile given are those that it is the best for.
	attempts []*dataConn
	given    []*dataConn
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
	e := &ending{d.fate.outcome, d.fate.diedAt, d.fate.cause, round(d.confidence())}
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
	elsewhere  bool       // to another address than the server's
	candidates []*session // in the order of their likelihood, once decided
	// shares are the probabilities of the candidates, isFTP is their sum:
	// that it is a data connection at all.
	shares []float64
	isFTP  float64

	odds    float64 // see evidence.logOdds
	waiting int     // of an attempt, its candidates that are not decided
}

// ftp finds the sessions and the data connections in a stream of connections
// by their start. It goes through the stream several times, and holds no more
// than the sessions that are open at a time, the data connections that may be
// theirs, and what is known of each port of each FTP server:
//
//  1. survey: who serves FTP, and which sessions go on after a silence
//  2. collect: how each server's ports are used
//  3. learn: what transfers cost and how long they take, in some rounds, as
//     long as there are servers of which little is known
//  4. decide: what is a data connection, and of which session
type ftp struct {
	control    *portFlags
	clients    []netip.Prefix
	servers    []netip.Prefix
	attr       *attributor
	logEnd     int64
	gateway    map[*Interface]*Interface // see roles
	confidence float64
	model      *pair.Model
	// passiveRange is what operators know; see Options.
	passiveRange func(flow.Addr, uint16) (known, inside bool)
	weighed      func(Weighed)

	serving map[flow.Addr]bool       // servers of able sessions
	near    map[netip.Prefix]bool    // their neighbourhoods
	silence map[string]silence       // by session
	partOf  map[connectionKey]string // the session that a later part belongs to
	inTurn  int                      // data connections that too many sessions fit to weigh all ways
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
	m := f.model
	if m == nil {
		m = pair.NewModel(pair.DefaultPriors())
		for range learningRounds {
			m = f.learn(connections(), ev, m)
		}
	}
	m.Share(ev.candidates)
	f.decide(connections(), ev, m)
}

func matches(ps []netip.Prefix, a flow.Addr) bool {
	return len(ps) == 0 || slices.ContainsFunc(ps, func(p netip.Prefix) bool { return p.Contains(a.Netip()) })
}

// asSession returns the connection as a session if it is one: a TCP
// connection to a control port that somebody in the VPC opened, or that was
// let in. What scanners send to port 21 and a filter rejects is no session.
func (f *ftp) asSession(c *Connection) *session {
	if c.Tuple.Proto != flow.TCP || !f.control.has(c.Tuple.DstPort) || c.Unsolicited {
		return nil
	}
	if c.Client == nil && c.Inside == nil && c.Server != nil && c.Server.FromInitiator.Accepted == 0 {
		return nil
	}
	if !matches(f.clients, c.Tuple.Src) || !matches(f.servers, c.Tuple.Dst) {
		return nil
	}
	s := &session{conn: c, fate: fateOf(c, byClient, f.attr, f.logEnd), end: c.End, id: rowID("s", c)}
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
	f.near = map[netip.Prefix]bool{}
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
	for server := range f.serving {
		if n := neighbourhoodOf(server); n.IsValid() {
			f.near[n] = true
		}
	}
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
	e := newEvidence(f.passiveRange)
	f.walk(cs, visitor{
		connection: func(c *Connection, d *dataConn, o *openSessions) {
			t := c.Tuple
			if t.Proto == flow.TCP && t.DstPort >= 1024 && !f.control.has(t.DstPort) && !c.Unsolicited && (f.serving[t.Dst] || f.near[neighbourhoodOf(t.Dst)]) {
				e.see(serviceOf(c), len(o.byPair[pairKey{t.Src, t.Dst}].during(c.Start)) == 0 && (f.serving[t.Dst] || len(o.near(c)) == 0))
			}
			if d != nil {
				e.add(d)
			}
		},
	})
	e.conclude()
	return e
}

// learningRounds is how often the model is fitted to the sessions that the
// model before it has drawn.
const learningRounds = 2

// learn fits a model to what m says of the connections.
func (f *ftp) learn(cs iter.Seq[*Connection], ev *evidence, m *pair.Model) *pair.Model {
	learner := pair.NewLearner(pair.DefaultPriors())
	pools := newPools(m, func(*dataConn) {}, func(*session) {})
	pools.enough = learner.Full
	pools.weighed = func(w Weighed) { learner.Learn(w.Group, w.Posterior) }
	f.walk(cs, visitor{
		opened: pools.open,
		closed: pools.close,
		connection: func(_ *Connection, d *dataConn, _ *openSessions) {
			if d != nil {
				d.odds = ev.logOdds(d)
				pools.add(d)
			}
		},
	})
	pools.flush()
	return learner.Model()
}

// decide makes the rows, and settles every connection.
func (f *ftp) decide(cs iter.Seq[*Connection], ev *evidence, m *pair.Model) {
	pools := newPools(m, f.decided, f.row)
	pools.weighed = f.weighed
	f.walk(cs, visitor{
		opened: func(s *session) {
			f.settle(s.conn, roles{session: s, gateway: f.gateway})
			pools.open(s)
		},
		later:  func(c *Connection, s *session) { f.settle(c, roles{session: s, gateway: f.gateway}) },
		closed: pools.close,
		connection: func(c *Connection, d *dataConn, _ *openSessions) {
			if d == nil {
				f.settle(c, roles{gateway: f.gateway})
				return
			}
			d.odds = ev.logOdds(d)
			pools.add(d)
		},
	})
	pools.flush()
	f.inTurn = pools.inTurn
}

// decided takes a connection whose candidates were weighed.
func (f *ftp) decided(d *dataConn) {
	r := roles{gateway: f.gateway}
	if d.isFTP > 0.5 {
		f.data(d.row(f.confidence))
		r.data = d
	}
	f.settle(d.conn, r)
}

// warnings says what could not be weighed as it should.
func (f *ftp) warnings() []string {
	if f.inTurn == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%s fit so many sessions at a time that they were given to them one after the other: their confidence is a rougher guess", plural(f.inTurn, "connection"))}
}

// row makes the row of a session whose data connections are decided.
func (f *ftp) row(s *session) {
	if s.idle > 0 {
		f.idle++
	}
	f.session(s.row())
}

// candidate returns the connection as a possible data connection, or nil:
// passive from the client to a port above 1023, or active from the server.
func (f *ftp) candidate(c *Connection, o *openSessions) *dataConn {
	t := c.Tuple
	if t.Proto != flow.TCP || f.control.has(t.DstPort) || f.control.has(t.SrcPort) || t.DstPort < 1024 {
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
		if len(d.candidates) == 0 && !f.serving[t.Dst] {
			d.elsewhere = true
			d.candidates = o.near(c)
		}
	}
	if len(d.candidates) == 0 {
		return nil
	}
	d.fate = fateOf(c, opener(d.active), f.attr, f.logEnd)
	return d
}

// Ports from which servers open active data connections.
const (
	activeSource    = 20
	activeSourceTLS = 989
)

func isActiveSource(port uint16) bool { return port == activeSource || port == activeSourceTLS }

// best returns the likeliest session of a decided data connection.
func (d *dataConn) best() *session { return d.candidates[0] }

// confidence is the probability that best is right.
func (d *dataConn) confidence() float64 { return d.shares[0] }

func (s *session) row() Session {
	c, l := s.conn, s.conn.best()
	r := Session{
		ID: s.id, ClientAddr: c.Tuple.Src, ClientPort: c.Tuple.SrcPort, ServerAddr: c.Tuple.Dst, ServerPort: c.Tuple.DstPort,
		Start: Time(c.Start), End: Time(s.end), Mode: s.mode(), TLS: "unknown",
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
	r.DataConnections, r.DataLow, r.DataHigh = s.count.interval()
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
		ID: rowID("d", c), Confidence: round(d.confidence()), FTPProbability: round(d.isFTP), Mode: "passive",
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
		r.SessionID = d.best().id
	}
	for k, s := range d.credible() {
		r.Candidates = append(r.Candidates, s.id)
		r.Probabilities = append(r.Probabilities, round(d.shares[k]))
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
