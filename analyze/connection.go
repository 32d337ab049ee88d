package analyze

import (
	"cmp"
	"slices"

	"ephemera/ingest/flow"
)

// A Connection is one connection from end to end: what each network
// interface on its way saw of it. Through a NAT gateway that is three legs;
// any of them may be missing from the log.
type Connection struct {
	// Tuple is the five-tuple from initiator to responder as the initiator
	// sends it, before translation. Dst is not valid when only the inside of
	// a NAT gateway was logged without pkt-* fields: the server is unknown.
	Tuple flow.Tuple

	Client  *Leg // at the initiator's interface
	Inside  *Leg // at the NAT gateway, towards the initiator
	Outside *Leg // at the NAT gateway, towards the responder
	Server  *Leg // at the responder's interface, when that is in the VPC

	// Unsolicited is set for packets from outside to a NAT gateway that
	// answer nothing. The gateway drops them, although they are logged as
	// ACCEPT; Outside is the only leg.
	Unsolicited bool

	// Mapping is the confidence that Outside belongs to the other legs, and
	// Others are legs that fit nearly as well; unnamed counts those beyond
	// the first few.
	Mapping float64
	Others  []*Leg
	unnamed int
	// attached is the confidence that Inside belongs to Client; 0 when one of
	// them is missing.
	attached float64

	Start, End int64
}

// legs returns the legs that the log holds, in the order of the way.
func (c *Connection) legs() []*Leg {
	ls := make([]*Leg, 0, 4)
	for _, l := range []*Leg{c.Client, c.Inside, c.Outside, c.Server} {
		if l != nil {
			ls = append(ls, l)
		}
	}
	return ls
}

// NAT returns the NAT gateway's interface, or nil.
func (c *Connection) NAT() *Interface {
	switch {
	case c.Inside != nil:
		return c.Inside.Interface
	case c.Outside != nil:
		return c.Outside.Interface
	}
	return nil
}

// NATPort returns the address and port that the NAT gateway gave the
// connection; ok is false when they are not known.
func (c *Connection) NATPort() (addr flow.Addr, port uint16, ok bool) {
	if c.Outside == nil || c.Unsolicited {
		return flow.Addr{}, 0, false
	}
	return c.Outside.Header.Src, c.Outside.Header.SrcPort, true
}

// best returns the leg that tells most about the connection's totals: the
// client's own, else the next on the way.
func (c *Connection) best() *Leg {
	if c.Client != nil && c.Inside != nil && c.Client.lacksWayOf(c.Inside) {
		return c.Inside
	}
	return cmp.Or(c.Client, c.Inside, c.Outside, c.Server)
}

// clone copies the connection and its legs out of their arenas.
func (c *Connection) clone() *Connection {
	kept := *c
	kept.Client, kept.Inside, kept.Outside, kept.Server = c.Client.clone(), c.Inside.clone(), c.Outside.clone(), c.Server.clone()
	kept.Others = slices.Clone(c.Others)
	for i, l := range c.Others {
		kept.Others[i] = l.clone()
	}
	return &kept
}

// settle sets what follows from the legs. What was rejected after the end
// does not prolong a connection.
func (c *Connection) settle() {
	b := c.best()
	c.Start, c.End = b.Start, b.End
	if b.FromInitiator.Accepted > 0 && b.FromResponder.Accepted > 0 {
		c.End = b.lastAccept()
	}
}

// A joiner puts the legs of all interfaces together into connections. It
// serves for one stock after the other.
type joiner struct {
	topology    topology
	families    families
	connections arena[Connection]
}

// join returns the connections of legs, which last until it is called again.
// Their order is fixed, and that of memory: what the legs at the initiators'
// interfaces began, then the others.
func (j *joiner) join(legs []*Leg) []*Connection {
	clients, servers, inside, outside, unsolicited := j.sort(legs)
	inside, outside, cuts := splitReused(inside, outside)
	clients = cutClients(clients, cuts)
	j.families.of(slices.Concat(clients, servers, inside, outside))
	j.connections.empty()
	newConnection := func(c Connection) *Connection {
		made := &j.connections.take(1)[0]
		*made = c
		return made
	}
	cs := make([]*Connection, 0, len(legs))
	dialled := make([]*Connection, len(clients)) // by the number of the leg
	for i, l := range clients {
		dialled[i] = newConnection(Connection{Tuple: l.Header, Client: l})
		cs = append(cs, dialled[i])
	}
	attached := j.attach(dialled, servers, func(c *Connection) **Leg { return &c.Server })
	for i, l := range servers {
		if !attached[i] {
			cs = append(cs, newConnection(Connection{Tuple: l.Header, Server: l}))
		}
	}
	attached = j.attachInside(dialled, inside)
	for i, l := range inside {
		if !attached[i] {
			c := newConnection(Connection{Tuple: l.Header, Inside: l})
			if !l.HasHeader {
				c.Tuple.Dst = flow.Addr{}
			}
			cs = append(cs, c)
		}
	}
	mapPorts(cs, outside)
	if rest := leftOver(cs, outside); len(rest) > 0 {
		mapWithoutInside(j.topology, cs, rest)
	}
	for _, l := range leftOver(cs, outside) {
		cs = append(cs, newConnection(Connection{Tuple: l.Header, Outside: l}))
	}
	cs = j.joinServers(cs)
	for _, l := range unsolicited {
		cs = append(cs, newConnection(Connection{Tuple: l.Header, Outside: l, Unsolicited: true}))
	}
	for _, c := range cs {
		c.settle()
	}
	return cs
}

// sort tells the legs apart by where they were seen.
func (j *joiner) sort(legs []*Leg) (clients, servers, inside, outside, unsolicited []*Leg) {
	for _, l := range legs {
		switch {
		case l.Interface.NAT:
			switch natSide(j.topology, l) {
			case insideLeg:
				inside = append(inside, l)
			case outsideLeg:
				outside = append(outside, l)
			case unsolicitedLeg:
				unsolicited = append(unsolicited, l)
			}
		case l.FromInitiator.Direction == flow.Ingress:
			servers = append(servers, l)
		default:
			clients = append(clients, l)
		}
	}
	return clients, servers, inside, outside, unsolicited
}

func compareConnections(a, b *Connection) int {
	return cmp.Or(cmp.Compare(a.Start, b.Start), a.Tuple.Compare(b.Tuple), cmp.Compare(a.End, b.End),
		cmp.Compare(a.best().Interface.ID, b.best().Interface.ID))
}

// leftOver returns the outside legs that no connection has.
func leftOver(cs []*Connection, outside []*Leg) []*Leg {
	taken := make(map[*Leg]bool, len(outside))
	for _, c := range cs {
		if c.Outside != nil {
			taken[c.Outside] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(outside), func(l *Leg) bool { return taken[l] })
}

// attach gives each leg to the connection of the same five-tuple and time,
// in the place that slot names. It tells which legs found one. A connection
// has the number of its leg at the client's interface.
func (j *joiner) attach(dialled []*Connection, legs []*Leg, slot func(*Connection) **Leg) []bool {
	attached := make([]bool, len(legs))
	if len(legs) == 0 {
		return attached
	}
	offset := legs[0].number // the legs of a kind are numbered one after the other
	var rows []*Connection
	var cols []*Leg
	for i, l := range legs {
		if j.families.alone(l) {
			continue
		}
		rows, cols = rows[:0], cols[:0]
		isFirst := true
		j.families.each(l, func(m *Leg) {
			switch n := int(m.number - offset); {
			case m.Header != l.Header:
			case int(m.number) < len(dialled):
				rows = append(rows, dialled[m.number])
			case n >= 0 && n < len(legs):
				isFirst = isFirst && n >= i
				cols = append(cols, m)
			}
		})
		if !isFirst || len(rows) == 0 {
			continue
		}
		for k := range attachSame(rows, cols, slot) {
			attached[cols[k].number-offset] = true
		}
	}
	return attached
}

// callKey is what stays the same of a connection between the initiator's
// interface and the inside of a NAT gateway, even in a log without pkt-*
// fields, which shows the gateway for the server.
type callKey struct {
	src   flow.Addr
	sport uint16
	dport uint16
	proto flow.Proto
}

func keyOf(t flow.Tuple) callKey { return callKey{t.Src, t.SrcPort, t.DstPort, t.Proto} }

// attachInside is attach for legs at the inside of NAT gateways.
func (j *joiner) attachInside(dialled []*Connection, legs []*Leg) []bool {
	slot := func(c *Connection) **Leg { return &c.Inside }
	if !slices.ContainsFunc(legs, func(l *Leg) bool { return !l.HasHeader }) {
		return j.attach(dialled, legs, slot)
	}
	attached := make([]bool, len(legs))
	index := make(map[callKey]int, len(legs))
	var cols, rows [][]int // numbers of legs and of connections with one key
	for i, l := range legs {
		k, ok := index[keyOf(l.Header)]
		if !ok {
			k = len(cols)
			index[keyOf(l.Header)] = k
			cols, rows = append(cols, nil), append(rows, nil)
		}
		cols[k] = append(cols[k], i)
	}
	for i, c := range dialled {
		if k, ok := index[keyOf(c.Tuple)]; ok {
			rows[k] = append(rows[k], i)
		}
	}
	for k, is := range cols {
		same := make([]*Leg, len(is))
		for n, i := range is {
			same[n] = legs[i]
		}
		calls := make([]*Connection, len(rows[k]))
		for n, i := range rows[k] {
			calls[n] = dialled[i]
		}
		for n := range attachSame(calls, same, slot) {
			attached[is[n]] = true
		}
	}
	return attached
}

// attachSame assigns legs to connections of one key.
func attachSame(cs []*Connection, legs []*Leg, slot func(*Connection) **Leg) (taken map[int]bool) {
	if len(cs) == 1 && len(legs) == 1 {
		return attachOnly(cs[0], legs[0], slot)
	}
	var pairs []pairing
	rows, cols := slices.Repeat([]int{1}, len(cs)), slices.Repeat([]int{1}, len(legs))
	for i, c := range cs {
		for j, l := range legs {
			if cost := attachCost(c, l); cost < aloneCost {
				pairs = append(pairs, pairing{i, j, cost})
			}
		}
	}
	taken = map[int]bool{}
	for i, ps := range assign(rows, cols, pairs, aloneCost) {
		for _, p := range ps {
			if p.n > 0 {
				*slot(cs[i]) = legs[p.col]
				cs[i].attached = min(1, p.mean)
				taken[p.col] = true
			}
		}
	}
	return taken
}

// only is the taken of attachOnly.
var only = map[int]bool{0: true}

// attachOnly decides the usual case, that there is one of either: what assign
// would.
func attachOnly(c *Connection, l *Leg, slot func(*Connection) **Leg) (taken map[int]bool) {
	cost := attachCost(c, l)
	if cost >= aloneCost {
		return nil
	}
	*slot(c) = l
	c.attached = matchedAlone(cost, aloneCost)
	return only
}

// attachCost is the cost of giving the leg to a connection of its key.
func attachCost(c *Connection, l *Leg) float64 {
	if (l.HasHeader || !l.Interface.NAT) && l.Header.Dst != c.Tuple.Dst {
		return aloneCost
	}
	return roadCost(c.Client, l)
}

// maxRoadCost bounds what different counts cost at two interfaces of one
// five-tuple: records may be lost at one of them.
const maxRoadCost = 20

// roadCost compares the leg at the initiator's interface with the next one on
// the way, at another interface with other aggregation intervals.
func roadCost(first, next *Leg) float64 {
	counts := countCost(first.FromInitiator.Accepted, next.FromInitiator.Packets()) +
		countCost(first.FromInitiator.AcceptedBytes, next.FromInitiator.Bytes())/2 +
		countCost(next.FromResponder.Accepted, first.FromResponder.Packets()) +
		countCost(next.FromResponder.AcceptedBytes, first.FromResponder.Bytes())/2
	return timeCost(first.Start, next.Start) + min(maxRoadCost, counts)
}

// joinServers gives legs at servers' interfaces to the connections that came
// there through a NAT gateway, by whose address the server knows them.
func (j *joiner) joinServers(cs []*Connection) []*Connection {
	byOutside := map[flow.Tuple][]*Connection{}
	for _, c := range cs {
		if c.Outside != nil && !j.families.alone(c.Outside) {
			byOutside[c.Outside.Header] = append(byOutside[c.Outside.Header], c)
		}
	}
	if len(byOutside) == 0 {
		return cs
	}
	return slices.DeleteFunc(cs, func(s *Connection) bool {
		if !s.isServerOnly() || j.families.alone(s.Server) {
			return false
		}
		for _, c := range byOutside[s.Tuple] {
			if c.Server == nil && timeCost(c.Outside.Start, s.Server.Start) < aloneCost {
				c.Server = s.Server
				return true
			}
		}
		return false
	})
}

func (c *Connection) isServerOnly() bool {
	return c.Server != nil && c.Client == nil && c.Inside == nil && c.Outside == nil
}
