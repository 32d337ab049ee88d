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
	return c.legs()[0]
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

// join puts the legs of all interfaces together into connections, in time
// order.
func join(t topology, legs []*Leg) []*Connection {
	var clients, servers, inside, outside, unsolicited []*Leg
	for _, l := range legs {
		switch {
		case l.Interface.NAT:
			switch natSide(t, l) {
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
	inside, outside, cuts := splitReused(inside, outside)
	clients = cutClients(clients, cuts)
	var cs []*Connection
	for _, l := range clients {
		cs = append(cs, &Connection{Tuple: l.Header, Client: l})
	}
	cs = attach(cs, servers, func(c *Connection) **Leg { return &c.Server })
	cs = attach(cs, inside, func(c *Connection) **Leg { return &c.Inside })
	mapPorts(cs, outside)
	if rest := leftOver(cs, outside); len(rest) > 0 {
		mapWithoutInside(t, cs, rest)
	}
	for _, l := range leftOver(cs, outside) {
		cs = append(cs, &Connection{Tuple: l.Header, Outside: l})
	}
	for _, l := range unsolicited {
		cs = append(cs, &Connection{Tuple: l.Header, Outside: l, Unsolicited: true})
	}
	cs = joinServers(cs)
	for _, c := range cs {
		c.settle()
	}
	slices.SortFunc(cs, compareConnections)
	return cs
}

func compareConnections(a, b *Connection) int {
	return cmp.Or(cmp.Compare(a.Start, b.Start), a.Tuple.Compare(b.Tuple), cmp.Compare(a.End, b.End),
		cmp.Compare(a.best().Interface.ID, b.best().Interface.ID))
}

// leftOver returns the outside legs that no connection has.
func leftOver(cs []*Connection, outside []*Leg) []*Leg {
	taken := map[*Leg]bool{}
	for _, c := range cs {
		taken[c.Outside] = true
	}
	return slices.DeleteFunc(slices.Clone(outside), func(l *Leg) bool { return taken[l] })
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

// attach gives each leg to the connection of the same five-tuple and time,
// in the place that slot names, and makes a new connection of a leg that
// finds none.
func attach(cs []*Connection, legs []*Leg, slot func(*Connection) **Leg) []*Connection {
	dialled := slices.DeleteFunc(slices.Clone(cs), func(c *Connection) bool { return c.Client == nil })
	rows, _ := groupBy(dialled, func(c *Connection) callKey { return keyOf(c.Tuple) })
	cols, order := groupBy(legs, func(l *Leg) callKey { return keyOf(l.Header) })
	for _, k := range order {
		taken := attachSame(rows[k], cols[k], slot)
		for j, l := range cols[k] {
			if !taken[j] {
				c := &Connection{Tuple: l.Header}
				if l.Interface.NAT && !l.HasHeader {
					c.Tuple.Dst = flow.Addr{}
				}
				*slot(c) = l
				cs = append(cs, c)
			}
		}
	}
	return cs
}

// attachSame assigns legs to connections of one key.
func attachSame(cs []*Connection, legs []*Leg, slot func(*Connection) **Leg) (taken map[int]bool) {
	var pairs []pairing
	rows, cols := slices.Repeat([]int{1}, len(cs)), slices.Repeat([]int{1}, len(legs))
	for i, c := range cs {
		for j, l := range legs {
			if (l.HasHeader || !l.Interface.NAT) && l.Header.Dst != c.Tuple.Dst {
				continue
			}
			if cost := roadCost(c.Client, l); cost < aloneCost {
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
func joinServers(cs []*Connection) []*Connection {
	byOutside := map[flow.Tuple][]*Connection{}
	for _, c := range cs {
		if c.isServerOnly() {
			byOutside[c.Tuple] = nil
		}
	}
	if len(byOutside) == 0 {
		return cs
	}
	for _, c := range cs {
		if c.Outside != nil && !c.Unsolicited {
			if _, ok := byOutside[c.Outside.Header]; ok {
				byOutside[c.Outside.Header] = append(byOutside[c.Outside.Header], c)
			}
		}
	}
	return slices.DeleteFunc(cs, func(s *Connection) bool {
		if !s.isServerOnly() {
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
