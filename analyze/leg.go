package analyze

import (
	"cmp"
	"math"
	"slices"
	"sync"

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
	number  int32    // in families
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

func (w *Way) add(v *window) {
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

// dueGroups takes out, in the order of compareKeys, the groups that may hold
// connections that ended before limit. The interfaces must have their ranks.
func (c *collector) dueGroups(limit int64) []*group {
	c.flush()
	c.closed = limit
	due := c.takeDue(limit)
	c.sortGroups(due)
	return due
}

// putBack puts the groups back that connections are left in.
func (c *collector) putBack(due []*group) {
	for _, g := range due {
		switch {
		case len(g.windows) == 0:
			c.drop(g)
		case g.parts:
		case g.queued && stockOf(g.lastEnd) < g.dueAt:
			g.parts = true // what it was queued for is gone, and it would be come to too late
		default:
			g.listed = false
			c.queue(g)
		}
	}
	c.inParts = slices.DeleteFunc(c.inParts, func(g *group) bool { return g.removed || !g.listed })
}

// fewGroups are not worth the help of another goroutine.
const fewGroups = 64

// legsOf makes legs of the connections that ended before limit, in the order
// of their groups and with all processors. They last until it is called again.
// All records that end before seen must have come, and been learned; whoever
// needs nothing more to come calls it with forever. The interfaces must be
// settled.
func (c *collector) legsOf(gs []*group, limit, seen int64, p *portMeaning) []*Leg {
	workers := min(len(c.closers), 1+len(gs)/fewGroups)
	each := (len(gs) + workers - 1) / workers
	var wait sync.WaitGroup
	for n := range workers {
		x, part := &c.closers[n], gs[min(n*each, len(gs)):min((n+1)*each, len(gs))]
		if n+1 == workers {
			x.close(part, limit, seen, p)
			break
		}
		wait.Go(func() { x.close(part, limit, seen, p) })
	}
	wait.Wait()
	legs := make([]*Leg, 0, len(gs))
	for n := range workers {
		x := &c.closers[n]
		legs = append(legs, x.closed...)
		c.held -= x.taken
		c.coverage.Duplicates += x.duplicates
		c.coverage.Records -= x.duplicates
	}
	return legs
}

// A closer makes legs of groups that nobody else looks at meanwhile. What it
// made lasts until it closes others.
type closer struct {
	closed            []*Leg
	taken, duplicates int // windows
	legs              arena[Leg]
	windows           arena[window]
	touched           int64 // see groupTable.touch
}

// close makes legs of the connections that ended before limit. What is left
// in the groups is what goes on.
func (x *closer) close(gs []*group, limit, seen int64, p *portMeaning) {
	x.closed, x.taken, x.duplicates = x.closed[:0], 0, 0
	x.legs.empty()
	x.windows.empty()
	for n, g := range gs {
		if n%batchSize == 0 {
			for _, next := range gs[n:min(n+batchSize, len(gs))] {
				x.touched += next.firstEnd + next.windows[0].end + int64(len(next.headers))
			}
		}
		x.taken += len(g.windows)
		g.settle()
		var dropped int
		g.windows, dropped = dedupe(g.windows)
		x.duplicates += dropped
		if g.parts {
			x.closeParts(g, limit, seen, p)
			x.taken -= len(g.windows)
			continue
		}
		x.closed = append(x.closed, x.leg(g, g.windows, 0, p))
		g.windows = g.windows[:0]
	}
}

// sortGroups puts groups in the order of compareKeys.
func (c *collector) sortGroups(gs []*group) {
	c.sorting = c.sorting[:0]
	for _, g := range gs {
		c.sorting = append(c.sorting, ordered(g))
	}
	slices.SortFunc(c.sorting, func(a, b orderedGroup) int {
		switch {
		case a.interfaceAndSource != b.interfaceAndSource:
			return cmp.Compare(a.interfaceAndSource, b.interfaceAndSource)
		case a.peer != b.peer:
			return cmp.Compare(a.peer, b.peer)
		}
		return compareKeys(a.key, b.key)
	})
	for i := range gs {
		gs[i] = c.sorting[i].group
	}
	clear(c.sorting)
}

// orderedGroup is a group beside the beginning of its key as two numbers, in
// the same order: what they tell apart, and that is all IPv4, is compared
// without going to the group.
type orderedGroup struct {
	interfaceAndSource uint64 // rank, and 34 bits of the source
	peer               uint64 // of an IPv4 source: the destination and the ports
	*group
}

func ordered(g *group) orderedGroup {
	t := g.key.tuple
	o := orderedGroup{interfaceAndSource: uint64(g.key.iface.rank)<<34 | order34(t.Src), group: g}
	if t.Src.Is4() {
		switch v, is4 := t.Dst.As4(); {
		case is4:
			o.peer = uint64(v)<<32 | uint64(t.SrcPort)<<16 | uint64(t.DstPort)
		case order34(t.Dst) > 0:
			o.peer = math.MaxUint64
		}
	}
	return o
}

// order34 orders addresses by 34 bits: IPv4 exactly, others before or behind
// them.
func order34(a flow.Addr) uint64 {
	v, is4 := a.As4()
	switch {
	case is4:
		return 1<<32 | uint64(v)
	case a.Compare(flow.AddrFrom4(0)) < 0:
		return 0
	}
	return 2 << 32
}

// forever is later than every record.
const forever = math.MaxInt64

// learn tells p, and the interfaces, of the five-tuples that were seen before
// seen, a multiple of step or forever.
func (c *collector) learn(seen int64, p *portMeaning) {
	c.flush()
	for at, gs := range c.fresh {
		if seen < forever && at*step >= seen {
			continue
		}
		delete(c.fresh, at)
		for n, g := range gs {
			if n%batchSize == 0 { // see groupTable.touch
				for _, next := range gs[n:min(n+batchSize, len(gs))] {
					c.batch.touched += p.touch(next.key.tuple)
				}
			}
			if g.freshAt == at { // else it was learned already, with what ended earlier
				p.learn(g)
				g.freshAt = notFresh
				if !g.counted {
					g.counted = true
					g.key.iface.heard.see(g.key.tuple)
				}
			}
		}
	}
}

func compareKeys(a, b groupKey) int {
	if a.iface != b.iface {
		return cmp.Compare(a.iface.rank, b.iface.rank)
	}
	return a.tuple.Compare(b.tuple)
}

// closeParts takes the connections that ended before limit out of the group, split
// by header addresses and in time. One that is followed by nothing but
// rejected packets stays until these are over: they may be its own.
func (x *closer) closeParts(g *group, limit, seen int64, p *portMeaning) {
	var legs []*Leg
	var open []window
	for h, ws := range g.byHeader() {
		parts := splitReuse(ws, g.key.tuple.Proto)
		for k, part := range parts {
			if lastEnd(part) < limit && !(k+1 < len(parts) && trailing(parts[k+1], limit, seen)) {
				legs = append(legs, x.leg(g, part, h, p))
			} else {
				open = append(open, part...)
			}
		}
	}
	slices.SortFunc(legs, func(a, b *Leg) int {
		return cmp.Or(a.Header.Compare(b.Header), cmp.Compare(a.Start, b.Start))
	})
	x.closed = append(x.closed, legs...)
	g.windows, g.parts = g.windows[:0], false
	for _, w := range open {
		g.add(w)
	}
}

// trailing reports whether what came after a connection was still open at
// limit, and was rejected as far as it is surely known.
func trailing(ws []window, limit, seen int64) bool {
	return lastEnd(ws) >= limit && ws[0].end < seen &&
		!slices.ContainsFunc(ws, func(w window) bool { return w.end < seen && w.action != flow.Reject })
}

func lastEnd(ws []window) int64 {
	end := ws[0].end
	for _, w := range ws {
		end = max(end, w.end)
	}
	return end
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
	from, opened, closed, last := 0, false, false, int64(0)
	for i, w := range ws {
		reused := closed && proto == flow.TCP && w.start-last > reuseAfterClose && opens(ws[i:]) &&
			(opened || !isLateOpening(ws[from:i], ws[i:]))
		if i > from && (w.start-last > silenceTCP || reused) {
			parts = append(parts, ws[from:i])
			from, opened, closed, last = i, false, false, 0
		}
		opened, closed = opened || w.hasSYN(), closed || w.closes()
		last = max(last, w.end)
	}
	if from < len(ws) {
		parts = append(parts, ws[from:])
	}
	return parts
}

// opens reports whether the first of the windows has the SYN of a new
// connection, or the answer to one that begins in the same second and comes
// behind it in order. An answer alone may be sent again after the end.
func opens(ws []window) bool {
	if !ws[0].flags.Has(flow.SYN) {
		return false
	}
	for _, w := range ws {
		if w.start > ws[0].start+1 {
			break
		}
		if w.hasSYN() {
			return true
		}
	}
	return false
}

// isLateOpening reports whether windows that open a connection are the
// beginning of the one before, which has an end but no SYN: the times of an
// aggregation interval can be late, when those of the next one are not.
func isLateOpening(before, ws []window) bool {
	if ws[0].start-before[0].start > startSlack {
		return false
	}
	last := ws[0].start
	for k, w := range ws {
		if w.start-last > silenceTCP || w.start > ws[0].start+startSlack && opens(ws[k:]) {
			break
		}
		if w.closes() {
			return false
		}
		last = max(last, w.end)
	}
	return true
}

// hasSYN reports whether the window has a SYN that answers none.
func (w window) hasSYN() bool { return w.flags.Has(flow.SYN) && !w.flags.Has(flow.ACK) }

func (w window) closes() bool { return w.flags&(flow.FIN|flow.RST) != 0 }

// leg builds one leg from the windows of one connection, which it copies.
func (x *closer) leg(g *group, ws []window, h int, p *portMeaning) *Leg {
	head := g.key.tuple
	if h < len(g.headers) {
		head.Src, head.Dst = g.headers[h].src, g.headers[h].dst
	}
	forward, evidence := initiator(g.key.iface, g.key.tuple, head, ws, p)
	l := &x.legs.take(1)[0]
	*l = Leg{Interface: g.key.iface, Header: head, Seen: g.key.tuple, HasHeader: h < len(g.headers), Initiator: evidence, windows: x.windows.copyOf(ws)}
	if !forward {
		l.Header, l.Seen = l.Header.Reverse(), l.Seen.Reverse()
		for i := range l.windows {
			l.windows[i].forward = !l.windows[i].forward
		}
	}
	l.sum()
	return l
}

// clone copies the leg out of its arena.
func (l *Leg) clone() *Leg {
	if l == nil {
		return nil
	}
	kept := *l
	kept.windows = slices.Clone(l.windows)
	return &kept
}

// sum fills the totals from the windows.
func (l *Leg) sum() {
	l.FromInitiator, l.FromResponder = Way{}, Way{}
	l.Start, l.End = l.windows[0].start, 0
	for i := range l.windows {
		w := &l.windows[i]
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

// turn makes the side with address src (as the interface saw it) the
// initiator.
func (l *Leg) turn(src flow.Addr) {
	if l.Seen.Src == src {
		return
	}
	l.Seen, l.Header = l.Seen.Reverse(), l.Header.Reverse()
	for i := range l.windows {
		l.windows[i].forward = !l.windows[i].forward
	}
	l.sum()
}

// lastAccept is when the last accepted packet was seen; Start if none was.
func (l *Leg) lastAccept() int64 {
	return max(l.Start, l.FromInitiator.acceptedEnd, l.FromResponder.acceptedEnd)
}

// peer returns the far end of the leg as its interface saw it.
func (l *Leg) peer() flow.Addr {
	if l.Interface.owns(l.Seen.Src) {
		return l.Seen.Dst
	}
	return l.Seen.Src
}

// fromOwn returns the two ways by the interface: what left it, what came.
func (l *Leg) fromOwn() (out, in Way) {
	if l.Interface.owns(l.Seen.Src) {
		return l.FromInitiator, l.FromResponder
	}
	return l.FromResponder, l.FromInitiator
}

// lacksWayOf reports whether records of a whole way are missing from the
// leg that the next leg on the way has.
func (l *Leg) lacksWayOf(next *Leg) bool {
	return l.FromInitiator.Packets() == 0 && next.FromInitiator.Packets() > 0 ||
		l.FromResponder.Packets() == 0 && next.FromResponder.Accepted > 0
}

// directionFrom tells the way of a packet relative to the interface.
func (i *Interface) directionFrom(src, dst flow.Addr) flow.Direction {
	switch {
	case i.owns(src):
		return flow.Egress
	case i.owns(dst):
		return flow.Ingress
	}
	return flow.NoDirection
}

// joinStragglers gives packets that came long after a connection was over to
// its leg: they are of that connection, although silence lies between.
func (f *families) joinStragglers() {
	sameTuple := map[groupKey][]*Leg{}
	for _, l := range f.legs {
		if l.mayStraggle() && !f.alone(l) {
			sameTuple[l.key()] = nil
		}
	}
	if len(sameTuple) == 0 {
		return
	}
	for _, l := range f.legs {
		if f.alone(l) {
			continue
		}
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
	if len(joined) > 0 {
		f.of(slices.DeleteFunc(f.legs, func(l *Leg) bool { return joined[l] }))
	}
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
