package analyze

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"ephemera/ingest/flow"
	"ephemera/rules"
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
	// Others are the legs that fit nearly as well.
	Mapping float64
	Others  []*Leg

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

// lacksWayOf reports whether records of a whole way are missing from the
// leg that the next leg on the way has.
func (l *Leg) lacksWayOf(next *Leg) bool {
	return l.FromInitiator.Packets() == 0 && next.FromInitiator.Packets() > 0 ||
		l.FromResponder.Packets() == 0 && next.FromResponder.Accepted > 0
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

// topology answers questions about addresses and interfaces from the
// snapshots, or where there are none, from what private addresses mean.
type topology struct {
	history *rules.History
}

func (t topology) networks() []*rules.Network {
	if t.history == nil {
		return nil
	}
	return t.history.Networks()
}

// describe fills in what the snapshots know of an interface.
func (t topology) describe(i *Interface) {
	for _, n := range t.networks() {
		if x := n.Interface(i.ID); x != nil {
			i.SubnetID = cmp.Or(i.SubnetID, x.SubnetID)
			i.VPCID = cmp.Or(i.VPCID, x.VPCID)
			i.InstanceID = cmp.Or(i.InstanceID, x.InstanceID)
			if x.Primary.IsValid() {
				i.Addr = x.Primary
			}
			for _, a := range x.Addrs {
				i.named[a]++
			}
		}
		if g := n.NATGatewayOf(i.ID); g != nil {
			i.NAT, i.GatewayID, i.NATEvidence = true, g.ID, "named by the snapshot as "+g.ID
		}
	}
}

// owns reports whether a is one of the interface's own addresses.
func (t topology) owns(i *Interface, a flow.Addr) bool {
	if a == i.Addr {
		return true
	}
	for _, n := range t.networks() {
		if x := n.Interface(i.ID); x != nil && slices.Contains(x.Addrs, a) {
			return true
		}
		if g := n.NATGatewayOf(i.ID); g != nil && slices.Contains(g.PrivateAddrs, a) {
			return true
		}
	}
	return false
}

// local reports whether a is inside the interface's VPC.
func (t topology) local(i *Interface, a flow.Addr) bool {
	known := false
	for _, n := range t.networks() {
		if n.IsLocal(i.VPCID, a) {
			return true
		}
		known = known || n.Interface(i.ID) != nil
	}
	return !known && isPrivate(a)
}

// inside reports whether a lies in any VPC of the snapshots, or is private
// where there are none.
func (t topology) inside(a flow.Addr) bool {
	nets := t.networks()
	for _, n := range nets {
		for _, s := range n.Subnets() {
			if s.Contains(a) {
				return true
			}
		}
	}
	return len(nets) == 0 && isPrivate(a)
}

// findNATs marks the interfaces that belong to NAT gateways. The snapshot
// says so; a regional gateway's records carry its ID; egress records with
// somebody else's header address are translation at work; and without
// pkt-* fields, connections in that come out again with the same counts.
func findNATs(t topology, ifaces []*Interface, legs map[*Interface][]*Leg) {
	for _, i := range ifaces {
		switch {
		case i.NAT:
		case len(i.ID) > 4 && i.ID[:4] == "nat-":
			i.NAT, i.GatewayID, i.NATEvidence = true, i.ID, "named by the records as "+i.ID
		case i.foreign > 0 && i.InstanceID == "":
			i.NAT, i.NATEvidence = true, fmt.Sprintf("%d records leave it with another's address, and no instance owns it", i.foreign)
		case i.InstanceID == "":
			if in, out := forwarded(t, i, legs[i]); out >= 3 && 2*out >= in {
				i.NAT, i.NATEvidence = true, fmt.Sprintf("%d of %d connections into it come out again with the same packets", out, in)
			}
		}
	}
}

// forwarded counts the legs between the interface and private addresses,
// and those of them that have a twin between the interface and others: with
// one port in common, the same packets on, the same packets back, at the
// same time. It does not rely on who the legs' initiators are taken to be.
func forwarded(t topology, i *Interface, legs []*Leg) (in, out int) {
	type twin struct {
		port     uint16
		on, back uint64
	}
	twins := map[twin][]int64{}
	for _, l := range legs {
		if to, from := l.fromOwn(); !t.local(i, l.peer()) {
			for _, port := range []uint16{l.Seen.SrcPort, l.Seen.DstPort} {
				k := twin{port, to.Packets(), from.Accepted}
				twins[k] = append(twins[k], l.Start)
			}
		}
	}
	for _, l := range legs {
		to, from := l.fromOwn()
		if from.Accepted == 0 || !t.local(i, l.peer()) {
			continue
		}
		in++
		near := func(s int64) bool { return s-l.Start <= 2 && l.Start-s <= 2 }
		if slices.ContainsFunc(twins[twin{l.Seen.DstPort, from.Accepted, to.Packets()}], near) ||
			slices.ContainsFunc(twins[twin{l.Seen.SrcPort, from.Accepted, to.Packets()}], near) {
			out++
		}
	}
	return in, out
}

// peer returns the far end of the leg as its interface saw it.
func (l *Leg) peer() flow.Addr {
	if l.Interface.own[l.Seen.Src] {
		return l.Seen.Dst
	}
	return l.Seen.Src
}

// fromOwn returns the two ways by the interface: what left it, what came.
func (l *Leg) fromOwn() (out, in Way) {
	if l.Interface.own[l.Seen.Src] {
		return l.FromInitiator, l.FromResponder
	}
	return l.FromResponder, l.FromInitiator
}

// side tells where a leg of a NAT gateway's interface leads.
type side uint8

const (
	insideLeg side = iota
	outsideLeg
	unsolicitedLeg
)

// natSide classifies a leg at a NAT gateway and turns it so that its
// initiator is the one that a NAT gateway allows: the client on the inside,
// the gateway on the outside. What comes from outside and was never answered
// is unsolicited.
func natSide(t topology, l *Leg) side {
	own, ownHeader, peer := l.Seen.Src, l.Header.Src, l.peer()
	if peer == l.Seen.Src {
		own, ownHeader = l.Seen.Dst, l.Header.Dst
	}
	translated := ownHeader != own && !t.owns(l.Interface, ownHeader)
	toServer := l.Seen.Src == own && (l.Initiator == ByControl || l.Initiator == ByClient) // a private gateway's, towards an FTP server
	if translated && (t.local(l.Interface, peer) || l.HasHeader && isPrivate(peer)) || !l.HasHeader && t.local(l.Interface, peer) && !toServer {
		l.turn(peer)
		return insideLeg
	}
	if l.Seen.Src == peer && l.FromResponder.Packets() == 0 && !answersOnly(l) {
		return unsolicitedLeg
	}
	l.turn(own)
	return outsideLeg
}

// answersOnly reports whether the packets from the leg's initiator can only
// be answers: a SYN with ACK, or what follows one.
func answersOnly(l *Leg) bool { return l.FromInitiator.Flags.Has(flow.SYN | flow.ACK) }

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
	rows := map[callKey][]*Connection{}
	for _, c := range cs {
		if c.Client != nil {
			rows[keyOf(c.Tuple)] = append(rows[keyOf(c.Tuple)], c)
		}
	}
	cols := map[callKey][]*Leg{}
	var order []callKey
	for _, l := range legs {
		k := keyOf(l.Header)
		if cols[k] == nil {
			order = append(order, k)
		}
		cols[k] = append(cols[k], l)
	}
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
	for i, c := range cs {
		for j, l := range legs {
			if (l.HasHeader || !l.Interface.NAT) && l.Header.Dst != c.Tuple.Dst {
				continue
			}
			if cost := timeCost(c.Client.Start, l.Start) + countCost(c.Client.FromInitiator.Accepted, l.FromInitiator.Packets()); cost < aloneCost {
				pairs = append(pairs, pairing{i, j, cost})
			}
		}
	}
	taken = map[int]bool{}
	for i, a := range assign(len(cs), len(legs), pairs, aloneCost) {
		if a.col >= 0 {
			*slot(cs[i]) = legs[a.col]
			taken[a.col] = true
		}
	}
	return taken
}

// Costs of a match, as negative log-likelihoods up to a constant. They are
// judgements, not fits: translation keeps counts exactly, so a difference
// means lost records or another connection; times agree to a second, and
// are documented to be late by up to 60.
const (
	// aloneCost is the cost of leaving a leg without its match, which
	// happens when records were lost (SKIPDATA) or the log begins or ends.
	aloneCost = 40
	// startSlack is the farthest apart that two views of one start can be.
	startSlack = 65
)

func timeCost(a, b int64) float64 {
	switch d := math.Abs(float64(a - b)); {
	case d > startSlack:
		return aloneCost
	case d <= 2:
		return d * d / 2
	default:
		return 2 + (d-2)/4
	}
}

func countCost(a, b uint64) float64 {
	if a == b {
		return 0
	}
	d := max(a, b) - min(a, b)
	return min(12, 5+2*math.Log(float64(d)))
}

// mapKey is what the inside and the outside of a NAT gateway share for
// certain.
type mapKey struct {
	nat   *Interface
	dport uint16
	proto flow.Proto
}

// mapPorts finds the outside leg of every connection with an inside leg: the
// one with the same server, the same counts each way and the same times, all
// concurrent connections together.
func mapPorts(cs []*Connection, outside []*Leg) {
	rows, cols := map[mapKey][]*Connection{}, map[mapKey][]*Leg{}
	var order []mapKey
	for _, c := range cs {
		if c.Inside == nil || c.Inside.FromInitiator.Accepted == 0 && c.Inside.FromResponder.Packets() == 0 {
			continue
		}
		k := mapKey{c.Inside.Interface, c.Tuple.DstPort, c.Tuple.Proto}
		if rows[k] == nil {
			order = append(order, k)
		}
		rows[k] = append(rows[k], c)
	}
	for _, l := range outside {
		k := mapKey{l.Interface, l.Header.DstPort, l.Header.Proto}
		cols[k] = append(cols[k], l)
	}
	for _, k := range order {
		mapSame(rows[k], cols[k])
	}
}

// mapWithoutInside finds connections for outside legs that were left over: a
// NAT gateway opens none of its own, so the records of their inside must be
// missing. The legs at the clients' interfaces stand in for it.
func mapWithoutInside(t topology, cs []*Connection, outside []*Leg) {
	type key struct {
		server flow.Addr
		port   uint16
		proto  flow.Proto
	}
	rows, cols := map[key][]*Connection{}, map[key][]*Leg{}
	var order []key
	for _, l := range outside {
		k := key{l.Header.Dst, l.Header.DstPort, l.Header.Proto}
		if cols[k] == nil {
			order = append(order, k)
		}
		cols[k] = append(cols[k], l)
	}
	for _, c := range cs {
		k := key{c.Tuple.Dst, c.Tuple.DstPort, c.Tuple.Proto}
		if cols[k] != nil && c.Client != nil && c.Inside == nil && c.Server == nil && c.Client.FromInitiator.Accepted > 0 && t.mayPassNAT(c) {
			rows[k] = append(rows[k], c)
		}
	}
	for _, k := range order {
		mapSame(rows[k], cols[k])
	}
}

// mayPassNAT reports whether the route from the client leads to a NAT
// gateway, or is not known.
func (t topology) mayPassNAT(c *Connection) bool {
	n := t.history.At(c.Client.Start)
	if n == nil {
		return true
	}
	route, ok := n.NextHop(c.Client.Interface.SubnetID, c.Tuple.Dst)
	return !ok || route.IsNATGateway()
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

// mapSame assigns the outside legs of one key.
func mapSame(cs []*Connection, legs []*Leg) {
	slices.SortStableFunc(legs, func(a, b *Leg) int { return cmp.Compare(a.Start, b.Start) })
	pairs := nearPairs(cs, legs)
	pairs = prune(pairs, len(cs), len(legs))
	for i, a := range assign(len(cs), len(legs), pairs, aloneCost) {
		if a.col < 0 {
			continue
		}
		c := cs[i]
		c.Outside, c.Mapping = legs[a.col], a.confidence
		if !c.Tuple.Dst.IsValid() {
			c.Tuple.Dst = c.Outside.Header.Dst
		}
		for _, j := range a.others {
			c.Others = append(c.Others, legs[j])
		}
	}
}

// maxNear is the most legs that a connection is compared with. A busy
// resolver's port sees thousands within startSlack, nearly all in vain.
const maxNear = 64

// totals are what translation keeps: packets and bytes each way, and the
// server, where it is known.
type totals struct {
	to, toBytes, fro, froBytes uint64
	server                     flow.Addr
}

func insideTotals(c *Connection) totals {
	l := c.near()
	return totals{l.FromInitiator.Accepted, l.FromInitiator.AcceptedBytes, l.FromResponder.Packets(), l.FromResponder.Bytes(), c.Tuple.Dst}
}

func outsideTotals(l *Leg) totals {
	return totals{l.FromInitiator.Packets(), l.FromInitiator.Bytes(), l.FromResponder.Accepted, l.FromResponder.AcceptedBytes, l.Header.Dst}
}

// near returns the leg nearest to the NAT gateway's outside.
func (c *Connection) near() *Leg { return cmp.Or(c.Inside, c.Client) }

// nearPairs returns the pairings of connections with outside legs, in order
// of their start, that are worth weighing: those with equal totals, and, for
// whatever has none, those of the same time.
func nearPairs(cs []*Connection, legs []*Leg) []pairing {
	rows := make([]int, len(cs))
	for i := range rows {
		rows[i] = i
	}
	slices.SortStableFunc(rows, func(a, b int) int { return cmp.Compare(cs[a].near().Start, cs[b].near().Start) })
	cols := make([]int, len(legs))
	equal := map[totals][]int{}
	for j, l := range legs {
		cols[j] = j
		k := outsideTotals(l)
		equal[k] = append(equal[k], j)
		k.server = flow.Addr{}
		equal[k] = append(equal[k], j)
	}
	var pairs []pairing
	rowDone, colDone := make([]bool, len(cs)), make([]bool, len(legs))
	pair := func(i, j int) {
		if d := cs[i].Tuple.Dst; d.IsValid() && d != legs[j].Header.Dst {
			return
		}
		if cost := translationCost(cs[i].near(), legs[j]); cost < aloneCost {
			pairs = append(pairs, pairing{i, j, cost})
		}
	}
	legStart := func(j int) int64 { return legs[j].Start }
	rank := map[totals]int{}
	for _, i := range rows {
		k := insideTotals(cs[i])
		for _, j := range around(equal[k], legStart, cs[i].near().Start, rank[k]) {
			pair(i, j)
			rowDone[i], colDone[j] = true, true
		}
		rank[k]++
	}
	for r, i := range rows {
		if !rowDone[i] {
			for _, j := range around(cols, legStart, cs[i].near().Start, r) {
				pair(i, j)
			}
		}
	}
	rowStart := func(i int) int64 { return cs[i].near().Start }
	for j, l := range legs {
		if !colDone[j] {
			for _, i := range around(rows, rowStart, l.Start, j) {
				if rowDone[i] {
					pair(i, j)
				}
			}
		}
	}
	return pairs
}

// around returns those of xs, in order of their start, that begin within
// startSlack of t. If they are too many, it keeps the nearest, and of those
// that begin together the ones around the given rank: what begins together
// is mostly seen in one order on both sides.
func around(xs []int, start func(int) int64, t int64, rank int) []int {
	at := func(t int64) int {
		k, _ := slices.BinarySearchFunc(xs, t, func(x int, t int64) int { return cmp.Compare(start(x), t) })
		return k
	}
	low, high := at(t-startSlack), at(t+startSlack+1)
	if high-low <= maxNear {
		return xs[low:high]
	}
	center := min(max(rank, at(t-1)), at(t+2))
	from := min(max(low, center-maxNear/2), high-maxNear)
	return xs[from : from+maxNear]
}

// translationCost compares the two sides of a NAT gateway. What it accepted
// on one side must arrive on the other, passed there or not.
func translationCost(in, out *Leg) float64 {
	return timeCost(in.Start, out.Start) +
		countCost(in.FromInitiator.Accepted, out.FromInitiator.Packets()) +
		countCost(in.FromInitiator.AcceptedBytes, out.FromInitiator.Bytes())/2 +
		countCost(out.FromResponder.Accepted, in.FromResponder.Packets()) +
		countCost(out.FromResponder.AcceptedBytes, in.FromResponder.Bytes())/2 +
		lastCost(in.FromInitiator, out.FromInitiator)
}

// lastCost compares the last packets of one direction.
func lastCost(a, b Way) float64 {
	if a.Last == 0 || b.Last == 0 {
		return 0
	}
	return min(6, timeCost(a.Last, b.Last))
}

// hopeless is how much worse than the best of its row and its column a
// pairing must be to be left out. It keeps components small: a day of DNS
// queries to one resolver is one chain of barely possible pairings.
const hopeless = 14

func prune(pairs []pairing, rows, cols int) []pairing {
	bestRow, bestCol := make([]float64, rows), make([]float64, cols)
	for i := range bestRow {
		bestRow[i] = math.Inf(1)
	}
	for j := range bestCol {
		bestCol[j] = math.Inf(1)
	}
	for _, p := range pairs {
		bestRow[p.i], bestCol[p.j] = min(bestRow[p.i], p.cost), min(bestCol[p.j], p.cost)
	}
	return slices.DeleteFunc(pairs, func(p pairing) bool {
		return p.cost > bestRow[p.i]+hopeless && p.cost > bestCol[p.j]+hopeless
	})
}
