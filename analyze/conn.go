package analyze

import (
	"cmp"
	"maps"
	"slices"

	"ephemera/ingest/flow"
)

// Times that separate two connections of one five-tuple, in seconds.
const (
	// silenceTCP without a packet ends a connection: a NAT gateway forgets
	// it after 350 s, and so do security groups on newer instances.
	silenceTCP = 400
	// reuseAfterClose is how long after FIN or RST a SYN opens a new
	// connection. Closer than that it may be the same connection's own SYN,
	// because windows overlap and times are late.
	reuseAfterClose = 5
	// natIdle is when a NAT gateway forgets a silent connection.
	// Source: VPC User Guide, "NAT gateways", troubleshooting.
	natIdle = 350
)

// InitiatorEvidence is what tells who opened a connection.
type InitiatorEvidence uint8

// The kinds of evidence, from the strongest.
const (
	BySYN      InitiatorEvidence = iota // a SYN without ACK
	ByAnswer                            // SYN with ACK came from the other side
	ByControl                           // a known control port
	ByListener                          // a port seen listening: many peers, or a well-known service
	ByTime                              // the earlier first packet
	ByClient                            // the hosts' roles in an FTP control connection
	ByTopology                          // a private address and the internet
	ByOneWay                            // packets in one direction only: the first, or a straggler
	ByNothing                           // a guess
)

// Leg is one connection as one network interface saw it: both directions and
// all aggregation intervals of a five-tuple.
type Leg struct {
	Interface *Interface

	// Header is the five-tuple of the packets' headers, from initiator to
	// responder. Seen is the same with the addresses that the interface
	// reported; they differ at the inside of a NAT gateway.
	Header, Seen flow.Tuple

	// HasHeader tells whether the log gave header addresses (pkt-*).
	HasHeader bool

	Initiator InitiatorEvidence

	// Start and End are the first and the last packet, in Unix seconds,
	// rejected ones included.
	Start, End int64

	// FromInitiator and FromResponder are the two ways.
	FromInitiator, FromResponder Way

	// Closed is set when FIN or RST was seen.
	Closed bool
	// Opened is set when a SYN was seen; HasFlags when the log has TCP flags.
	Opened, HasFlags bool

	windows []window // in time order; forward means from the initiator
}

// Way is one direction of a Leg.
type Way struct {
	// Direction is relative to the interface.
	Direction flow.Direction
	// Accepted and Rejected count packets, AcceptedBytes and RejectedBytes
	// their bytes with headers.
	Accepted, AcceptedBytes uint64
	Rejected, RejectedBytes uint64
	Flags                   flow.TCPFlags
	// First and Last are Unix seconds; 0 when there was no packet.
	First, Last int64

	// Of the accepted windows: when the first one began, when the last one
	// began, and when the last one ended; 0 when nothing was accepted.
	firstAccepted, lastAccepted, acceptedEnd int64
	// closed is set when an accepted window had FIN or RST.
	closed bool
}

// Packets counts the packets that arrived at the interface, passed or not.
func (w Way) Packets() uint64 { return w.Accepted + w.Rejected }

// Bytes counts the bytes that arrived at the interface, passed or not.
func (w Way) Bytes() uint64 { return w.AcceptedBytes + w.RejectedBytes }

func (w *Way) add(v window) {
	if v.action == flow.Reject {
		w.Rejected += v.packets
		w.RejectedBytes += v.bytes
	} else {
		w.Accepted += v.packets
		w.AcceptedBytes += v.bytes
		if w.firstAccepted == 0 {
			w.firstAccepted = v.start // windows come in time order
		}
		w.lastAccepted, w.acceptedEnd = max(w.lastAccepted, v.start), max(w.acceptedEnd, v.end)
		w.closed = w.closed || v.flags&(flow.FIN|flow.RST) != 0
	}
	w.Flags |= v.flags
	if w.First == 0 || v.start < w.First {
		w.First = v.start
	}
	w.Last = max(w.Last, v.end)
}

// legs turns the groups into legs, in a fixed order, and gives their memory
// free.
func (c *collector) legs(p *portMeaning) []*Leg {
	keys := slices.SortedFunc(maps.Keys(c.groups), compareKeys)
	for _, k := range keys {
		g := c.groups[k]
		var dropped int
		g.windows, dropped = dedupe(g.windows)
		c.coverage.Duplicates += dropped
		c.coverage.Records -= dropped
		p.learn(g)
	}
	legs := make([]*Leg, 0, len(keys))
	for _, k := range keys {
		legs = append(legs, c.groups[k].legs(p)...)
		delete(c.groups, k)
	}
	p.peers = nil
	return legs
}

func compareKeys(a, b groupKey) int {
	return cmp.Or(cmp.Compare(a.iface.ID, b.iface.ID), a.tuple.Compare(b.tuple))
}

// dedupe removes what two flow logs on one interface delivered twice, and
// says how many windows went. The result is in time order.
//
// Equal windows are one. Of different windows from different flow logs (60 s
// and 600 s, say) that overlap in time, those of the finer log stay: within
// one flow log the windows of a direction do not overlap.
func dedupe(ws []window) ([]window, int) {
	slices.SortFunc(ws, window.compare)
	n := len(ws)
	ws = slices.CompactFunc(ws, func(a, b window) bool {
		return a.start == b.start && a.end == b.end && a.forward == b.forward && a.action == b.action &&
			a.packets == b.packets && a.bytes == b.bytes && a.sameHeader(b)
	})
	if logs := logsOf(ws); len(logs) > 1 {
		ws = preferFiner(ws, logs)
	}
	return ws, n - len(ws)
}

// logsOf returns the flow logs in ws, the preferred first: with header
// addresses, then with more windows.
func logsOf(ws []window) []uint16 {
	count, headers := map[uint16]int{}, map[uint16]bool{}
	for _, w := range ws {
		count[w.log]++
		headers[w.log] = headers[w.log] || w.header >= 0
	}
	return slices.SortedFunc(maps.Keys(count), func(a, b uint16) int {
		return cmp.Or(-compareBool(headers[a], headers[b]), -cmp.Compare(count[a], count[b]), cmp.Compare(a, b))
	})
}

// preferFiner drops each window that overlaps one of a preferred flow log in
// the same direction and with the same action.
func preferFiner(ws []window, logs []uint16) []window {
	kept := make([]window, 0, len(ws))
	for _, l := range logs {
		before := len(kept)
		for _, w := range ws {
			if w.log == l && !slices.ContainsFunc(kept[:before], w.sameTraffic) {
				kept = append(kept, w)
			}
		}
	}
	slices.SortFunc(kept, window.compare)
	return kept
}

func (w window) sameTraffic(v window) bool {
	return w.forward == v.forward && w.action == v.action && w.start <= v.end && v.start <= w.end && w.sameHeader(v)
}

// sameHeader reports whether two windows of a five-tuple can be of one
// connection. At the inside of a NAT gateway a client's port may lead to
// several servers, which only the header addresses keep apart.
func (w window) sameHeader(v window) bool {
	return w.header == v.header || w.header < 0 || v.header < 0
}

// legs splits the group by header addresses and in time.
func (g *group) legs(p *portMeaning) []*Leg {
	var legs []*Leg
	for h, ws := range g.byHeader() {
		for _, part := range splitReuse(ws, g.key.tuple.Proto) {
			legs = append(legs, g.leg(part, h, p))
		}
	}
	slices.SortFunc(legs, func(a, b *Leg) int {
		return cmp.Or(a.Header.Compare(b.Header), cmp.Compare(a.Start, b.Start))
	})
	return legs
}

// byHeader splits the windows by their header addresses. Those without, of a
// second flow log, go with the first.
func (g *group) byHeader() [][]window {
	if len(g.headers) < 2 {
		return [][]window{g.windows}
	}
	parts := make([][]window, len(g.headers))
	for _, w := range g.windows {
		h := max(0, int(w.header))
		parts[h] = append(parts[h], w)
	}
	return parts
}

// splitReuse cuts the windows of a five-tuple, in time order, into those of
// one connection each.
func splitReuse(ws []window, proto flow.Proto) [][]window {
	var parts [][]window
	from, closed, last := 0, false, int64(0)
	for i, w := range ws {
		opens := proto == flow.TCP && w.flags.Has(flow.SYN) && !w.flags.Has(flow.ACK)
		if i > from && (w.start-last > silenceTCP || closed && opens && w.start-last > reuseAfterClose) {
			parts = append(parts, ws[from:i])
			from, closed, last = i, false, 0
		}
		closed = closed || w.flags&(flow.FIN|flow.RST) != 0
		last = max(last, w.end)
	}
	if from < len(ws) {
		parts = append(parts, ws[from:])
	}
	return parts
}

// leg builds one leg from the windows of one connection.
func (g *group) leg(ws []window, h int, p *portMeaning) *Leg {
	head := flow.Tuple{Src: g.key.tuple.Src, Dst: g.key.tuple.Dst, SrcPort: g.key.tuple.SrcPort, DstPort: g.key.tuple.DstPort, Proto: g.key.tuple.Proto}
	if h < len(g.headers) {
		head.Src, head.Dst = g.headers[h].src, g.headers[h].dst
	}
	forward, evidence := initiator(g.key.iface, g.key.tuple, head, ws, p)
	l := &Leg{Interface: g.key.iface, Header: head, Seen: g.key.tuple, HasHeader: h < len(g.headers), Initiator: evidence}
	if !forward {
		l.Header, l.Seen = l.Header.Reverse(), l.Seen.Reverse()
	}
	l.windows = ws // the group does not need them any more
	for i := range ws {
		ws[i].forward = ws[i].forward == forward
	}
	l.sum()
	return l
}

// sum fills the totals from the windows.
func (l *Leg) sum() {
	l.FromInitiator, l.FromResponder = Way{}, Way{}
	l.Start, l.End = l.windows[0].start, 0
	for _, w := range l.windows {
		if w.forward {
			l.FromInitiator.add(w)
		} else {
			l.FromResponder.add(w)
		}
		l.Start, l.End = min(l.Start, w.start), max(l.End, w.end)
		l.HasFlags = l.HasFlags || w.hasFlags
	}
	both := l.FromInitiator.Flags | l.FromResponder.Flags
	l.Closed, l.Opened = both&(flow.FIN|flow.RST) != 0, both.Has(flow.SYN)
	l.FromInitiator.Direction = l.Interface.directionFrom(l.Seen.Src, l.Seen.Dst)
	l.FromResponder.Direction = l.FromInitiator.Direction.Reverse()
}

// joinStragglers gives packets that came long after a connection was over to
// its leg: they are of that connection, although silence lies between.
func joinStragglers(legs []*Leg) []*Leg {
	sameTuple := map[groupKey][]*Leg{}
	for _, l := range legs {
		if l.mayStraggle() {
			sameTuple[l.key()] = nil
		}
	}
	if len(sameTuple) == 0 {
		return legs
	}
	for _, l := range legs {
		if _, ok := sameTuple[l.key()]; ok {
			sameTuple[l.key()] = append(sameTuple[l.key()], l)
		}
	}
	joined := map[*Leg]bool{}
	for _, ls := range sameTuple {
		slices.SortFunc(ls, func(a, b *Leg) int { return cmp.Compare(a.Start, b.Start) })
		before := ls[0]
		for _, l := range ls[1:] {
			if before.isTrailedBy(l) {
				before.take(l)
				joined[l] = true
			} else {
				before = l
			}
		}
	}
	return slices.DeleteFunc(legs, func(l *Leg) bool { return joined[l] })
}

func (l *Leg) key() groupKey {
	t, _ := l.Header.Canonical()
	return groupKey{l.Interface, t}
}

// mayStraggle reports whether the leg is a few packets of one way that open
// nothing, all rejected: security groups had forgotten the connection.
func (l *Leg) mayStraggle() bool {
	return l.FromInitiator.Accepted+l.FromResponder.Accepted == 0 && l.opensNothing()
}

// opensNothing reports whether the leg is a few packets of one way without
// SYN. Where the log has no flags, they open something if the initiator sent
// them.
func (l *Leg) opensNothing() bool {
	a, b := l.FromInitiator, l.FromResponder
	return (a.Packets() == 0) != (b.Packets() == 0) && a.Packets()+b.Packets() <= latePackets && !(a.Flags | b.Flags).Has(flow.SYN)
}

// isTrailedBy reports whether m, the next leg of l's five-tuple, holds nothing
// but packets of l's responder that came too late.
func (l *Leg) isTrailedBy(m *Leg) bool {
	opened := m.FromInitiator
	if m.Seen != l.Seen {
		opened = m.FromResponder
	}
	return m.mayStraggle() && opened.Rejected == 0 && l.FromInitiator.Accepted > 0 && l.FromResponder.Accepted > 0
}

// take adds the windows of m, the next leg of l's five-tuple.
func (l *Leg) take(m *Leg) {
	l.windows = slices.Clip(l.windows)
	for _, w := range m.windows {
		w.forward = w.forward == (m.Seen == l.Seen)
		l.windows = append(l.windows, w)
	}
	l.sum()
}

// lastAccept is when the last accepted packet was seen; Start if none was.
func (l *Leg) lastAccept() int64 {
	return max(l.Start, l.FromInitiator.acceptedEnd, l.FromResponder.acceptedEnd)
}

// directionFrom tells the way of a packet relative to the interface.
func (i *Interface) directionFrom(src, dst flow.Addr) flow.Direction {
	switch {
	case i.own[src]:
		return flow.Egress
	case i.own[dst]:
		return flow.Ingress
	}
	return flow.NoDirection
}

// A portMeaning knows which ports mean a service here: by convention, by the
// user's word, and by having been seen with many peers.
type portMeaning struct {
	control map[uint16]bool
	peers   map[endpoint]*peerCount
	ftp     map[pairKey]bool // who is a client of whom
}

type endpoint struct {
	addr  flow.Addr
	port  uint16
	proto flow.Proto
}

// peerCount counts the different endpoints that an endpoint talked to, up
// to a few: more make no difference.
type peerCount struct {
	seen [manyPeers]uint64
	n    int
}

// manyPeers is how many different peers an endpoint must have had, more
// than its peer, to be called listening. A client port has one, or a few
// when it is reused.
const manyPeers = 4

func newPortMeaning(control []uint16) *portMeaning {
	p := &portMeaning{control: map[uint16]bool{}, peers: map[endpoint]*peerCount{}, ftp: map[pairKey]bool{}}
	for _, port := range control {
		p.control[port] = true
	}
	return p
}

// learn counts the group's endpoints as each other's peers.
func (p *portMeaning) learn(g *group) {
	if len(g.headers) == 0 {
		p.learnTuple(g.key.tuple)
	}
	for _, h := range g.headers {
		t := g.key.tuple
		t.Src, t.Dst = h.src, h.dst
		p.learnTuple(t)
	}
}

func (p *portMeaning) learnTuple(t flow.Tuple) {
	if t.Proto == flow.TCP && p.control[t.DstPort] != p.control[t.SrcPort] {
		if p.control[t.SrcPort] {
			p.ftp[pairKey{t.Dst, t.Src}] = true
		} else {
			p.ftp[pairKey{t.Src, t.Dst}] = true
		}
	}
	p.count(endpoint{t.Src, t.SrcPort, t.Proto}, uint64(t.DstPort)<<32|addrHash(t.Dst))
	p.count(endpoint{t.Dst, t.DstPort, t.Proto}, uint64(t.SrcPort)<<32|addrHash(t.Src))
}

func addrHash(a flow.Addr) uint64 {
	b := a.Netip().As16()
	h := uint32(2166136261)
	for _, x := range b {
		h = (h ^ uint32(x)) * 16777619
	}
	return uint64(h)
}

func (p *portMeaning) count(e endpoint, peer uint64) {
	c := p.peers[e]
	if c == nil {
		c = &peerCount{}
		p.peers[e] = c
	}
	if c.n < manyPeers && !slices.Contains(c.seen[:c.n], peer) {
		c.seen[c.n] = peer
		c.n++
	}
}

// listening compares two endpoints: positive when a is the one that
// listens, negative when b is, 0 when the log does not tell.
func (p *portMeaning) listening(a, b endpoint) int {
	if s, t := wellKnown[a.port], wellKnown[b.port]; s != t {
		return compareBool(s, t)
	}
	return cmp.Compare(p.seenWith(a), p.seenWith(b))
}

// client tells, from the hosts' FTP control connections, who opens a
// connection between them: positive for t.Src, negative for t.Dst, 0 when
// they have none, or both ways. In passive mode that is the client; in
// active mode the server, from its own port.
func (p *portMeaning) client(t flow.Tuple) int {
	if t.Proto != flow.TCP {
		return 0
	}
	c := compareBool(p.ftp[pairKey{t.Src, t.Dst}], p.ftp[pairKey{t.Dst, t.Src}])
	if c > 0 && isActiveSource(t.DstPort) || c < 0 && isActiveSource(t.SrcPort) {
		return -c
	}
	return c
}

func (p *portMeaning) seenWith(e endpoint) int {
	c := p.peers[e]
	if c == nil || c.n < manyPeers {
		return 0
	}
	return 1
}

// wellKnown are services whose port, against a port that is none, names the
// server. Port 20 is not among them: active FTP data is opened from it. No
// rule says that the lower port is the server: it would turn passive FTP
// (33000 to 50000) and active data (20 to 40001) round.
var wellKnown = map[uint16]bool{
	22: true, 25: true, 53: true, 80: true, 110: true, 123: true, 143: true, 389: true, 443: true, 445: true, 465: true,
	587: true, 636: true, 853: true, 993: true, 995: true, 1433: true, 3306: true, 3389: true, 5432: true, 8080: true, 8443: true,
}

// agree turns the legs of one connection at several interfaces the same way
// round: that of the leg with the strongest evidence.
func agree(legs []*Leg) {
	best := map[flow.Tuple]*Leg{}
	canonical := func(l *Leg) flow.Tuple {
		t, _ := l.Header.Canonical()
		return t
	}
	for _, l := range legs {
		if b := best[canonical(l)]; b == nil || l.Initiator < b.Initiator {
			best[canonical(l)] = l
		}
	}
	for _, l := range legs {
		if b := best[canonical(l)]; l.Initiator > b.Initiator && l.Header != b.Header {
			l.turn(l.Seen.Dst)
			l.Initiator = b.Initiator
		}
	}
}

// initiator tells whether the side of tuple.Src opened the connection, and
// by what evidence.
func initiator(i *Interface, seen, head flow.Tuple, ws []window, p *portMeaning) (forward bool, by InitiatorEvidence) {
	if f, by, ok := initiatorByFlags(ws); ok {
		return f, by
	}
	src, dst := endpoint{head.Src, head.SrcPort, head.Proto}, endpoint{head.Dst, head.DstPort, head.Proto}
	if c, d := p.control[src.port], p.control[dst.port]; c != d && head.Proto == flow.TCP {
		return d, ByControl
	}
	if c := p.listening(src, dst); c != 0 {
		return c < 0, ByListener
	}
	if f, ok := initiatorByTime(ws, 1); ok {
		return f, ByTime
	}
	if one, f := oneWay(ws); one {
		return f, ByOneWay
	}
	if c := p.client(head); c != 0 {
		return c > 0, ByClient
	}
	if s, d := isPrivate(head.Src), isPrivate(head.Dst); s != d {
		return s, ByTopology
	}
	return i.own[seen.Src], ByNothing
}

// initiatorByFlags looks for a SYN without ACK, then for the answer to one.
// It tests bits: flags are ORed over the window.
func initiatorByFlags(ws []window) (forward bool, by InitiatorEvidence, ok bool) {
	for _, w := range ws {
		if w.flags.Has(flow.SYN) && !w.flags.Has(flow.ACK) {
			return w.forward, BySYN, true
		}
	}
	for _, w := range ws {
		if w.flags.Has(flow.SYN | flow.ACK) {
			return !w.forward, ByAnswer, true
		}
	}
	return false, 0, false
}

// initiatorByTime compares the first packets of the two directions, if they
// are more than slack seconds apart.
func initiatorByTime(ws []window, slack int64) (forward, ok bool) {
	var first [2]int64
	for _, w := range ws {
		k := 0
		if w.forward {
			k = 1
		}
		if first[k] == 0 || w.start < first[k] {
			first[k] = w.start
		}
	}
	if first[0] == 0 || first[1] == 0 {
		return false, false
	}
	d := first[0] - first[1]
	return d > 0, d > slack || -d > slack
}

func oneWay(ws []window) (one, forward bool) {
	for _, w := range ws {
		if w.forward != ws[0].forward {
			return false, false
		}
	}
	return true, ws[0].forward
}
