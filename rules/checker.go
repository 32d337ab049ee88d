package rules

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"ephemera/ingest/flow"
)

// A Checker answers what Network.Check answers, from memory: a log asks the
// same about millions of packets. Rules look at little of a packet, so that
// most packets are alike to them. The Checker cuts the addresses of far ends
// wherever a rule, a route, a subnet or a member of a group begins or ends, and
// the destination ports wherever a rule does; of each part it asks Check once,
// when the first packet of it comes.
//
// What it remembers is bounded. Beyond that it asks Check each time, which is
// slow and gives the same answers. Not safe for concurrent use.
type Checker struct {
	n           *Network
	room        int // how many more words may be remembered
	checkpoints map[string]*Checkpoint
	profiles    map[string]*profile
	answers     map[string]*Answer
	key         []byte // of the answer being looked for

	kinds   [256]uint8 // protocols that all rules treat alike have one number
	nKinds  int
	hops    map[string]bool        // targets of routes
	members map[string][]flow.Addr // addresses of a group's interfaces
	nowhere *Answer                // to packets without direction or far end
}

// An Answer is what Check gives for all packets of one kind. It is shared, and
// must not be changed.
type Answer struct {
	Check

	// NamesPeer tells that a note names the address of the packet's far end.
	// There are no Notes then; Network.Check has them.
	NamesPeer bool
}

// A Checkpoint is a network interface at which a Checker checks packets.
type Checkpoint struct {
	checker *Checker
	id      string
	profile *profile
	always  *Answer // to whatever packet has a far end; nil unless the interface is not known
}

// checkerRoom is how many words of 8 bytes a Checker remembers, not counting
// its answers, of which there are few: some 32 MiB.
const checkerRoom = 4 << 20

// maxAnswers is how many different answers are shared.
const maxAnswers = 1 << 16

// NewChecker returns a Checker of a snapshot, which may be nil as for Check.
func NewChecker(n *Network) *Checker { return newChecker(n, checkerRoom) }

func newChecker(n *Network, room int) *Checker {
	c := &Checker{n: n, room: room, checkpoints: map[string]*Checkpoint{}, profiles: map[string]*profile{}, answers: map[string]*Answer{}}
	c.nowhere = c.ask("", flow.NoDirection, flow.Tuple{}, false)
	if n != nil {
		c.numberProtocols()
		c.indexTargets()
		c.indexMembers()
	}
	return c
}

// numberProtocols gives TCP, UDP and each protocol that some rule names a
// number of its own, and all others 0.
func (c *Checker) numberProtocols() {
	c.nKinds = 1
	number := func(protocol int) {
		if protocol >= 0 && protocol < len(c.kinds) && c.kinds[protocol] == 0 && c.nKinds < len(c.kinds) {
			c.kinds[protocol] = uint8(c.nKinds)
			c.nKinds++
		}
	}
	number(int(flow.TCP))
	number(int(flow.UDP))
	for _, a := range c.n.acls {
		for _, e := range a.Entries {
			number(e.Protocol)
		}
	}
	for _, g := range c.n.groups {
		for _, r := range slices.Concat(g.Ingress, g.Egress) {
			number(r.Protocol)
		}
	}
}

func (c *Checker) indexTargets() {
	c.hops = map[string]bool{}
	for _, t := range c.n.tables {
		for _, r := range t.routes {
			c.hops[r.Target] = true
		}
	}
}

func (c *Checker) indexMembers() {
	c.members = map[string][]flow.Addr{}
	for m := range c.n.memberAddrs {
		c.members[m.group] = append(c.members[m.group], m.addr)
	}
}

// Interface returns the interface with the given ID, which may be that of a
// NAT gateway as for Check, and may be missing from the snapshot.
func (c *Checker) Interface(id string) *Checkpoint {
	p := c.checkpoints[id]
	if p == nil {
		p = &Checkpoint{checker: c, id: id}
		if c.n == nil {
			p.always = c.nowhere
		} else if i := c.n.checkedInterface(id); i != nil {
			p.profile = c.profileOf(i)
		} else {
			p.always = c.ask(id, flow.Ingress, flow.Tuple{Src: flow.AddrFrom4(0)}, false)
		}
		c.checkpoints[id] = p
	}
	return p
}

// Check is Network.Check of packets at the interface.
func (p *Checkpoint) Check(dir flow.Direction, t flow.Tuple, reply bool) *Answer {
	peer := peerOf(dir, t)
	switch {
	case dir == flow.NoDirection || !peer.IsValid():
		return p.checker.nowhere
	case p.always != nil:
		return p.always
	}
	l := p.profile.line(p.checker, way(dir, reply), peer, t)
	if l == nil {
		return p.checker.ask(p.id, dir, t, reply)
	}
	a := &l.answers[l.part(t.DstPort)]
	if *a == nil {
		*a = p.checker.ask(p.id, dir, t, reply)
	}
	return *a
}

// ask asks the network, and returns the answer like it that was given before.
func (c *Checker) ask(id string, dir flow.Direction, t flow.Tuple, reply bool) *Answer {
	a := &Answer{Check: c.n.Check(id, dir, t, reply)}
	a.NamesPeer = a.namesPeer
	if a.NamesPeer {
		a.Notes = nil
	}
	c.key = a.appendKey(c.key[:0])
	if same := c.answers[string(c.key)]; same != nil {
		return same
	}
	if len(c.answers) < maxAnswers {
		c.answers[string(c.key)] = a
	}
	return a
}

// appendKey writes all that tells answers apart.
func (a *Answer) appendKey(b []byte) []byte {
	b = strconv.AppendBool(strconv.AppendBool(b, a.Unknown), a.NamesPeer)
	for _, v := range a.Verdicts {
		b = strconv.AppendBool(strconv.AppendBool(append(b, 0, byte(v.Layer)), v.Allow), v.Default)
		b = strconv.AppendInt(b, int64(v.RuleNumber), 10)
		b = append(append(append(append(b, 0), v.ID...), 0), v.Rule...)
	}
	for _, note := range a.Notes {
		b = append(append(b, 1), note...)
	}
	return b
}

// ways are the directions, of replies and of other packets.
const ways = 4

func way(dir flow.Direction, reply bool) int {
	w := 0
	if dir == flow.Egress {
		w = 2
	}
	if reply {
		w++
	}
	return w
}

func directionOf(way int) flow.Direction { return pick(way >= 2, flow.Egress, flow.Ingress) }

// A profile is what interfaces have in common that give the same answers.
type profile struct {
	i      *Interface
	subnet *Subnet // nil when it is not in the snapshot
	// edges are the first addresses of the parts into which far ends fall, by
	// direction; nil until they are needed.
	edges [2][]flow.Addr
	lines [ways][][]*portLine // by kind of protocol and part
}

// A portLine is the destination ports, cut where answers may change.
type portLine struct {
	from    []uint16  // the first port of each part
	answers []*Answer // nil until it is needed
}

// portLineWords is how many words a portLine takes without its parts.
const portLineWords = 6

// part returns the part that a port is in.
func (l *portLine) part(port uint16) int {
	i := len(l.from) - 1
	if i > 8 {
		at, found := slices.BinarySearch(l.from, port)
		return pick(found, at, at-1)
	}
	for i > 0 && l.from[i] > port {
		i--
	}
	return i
}

// profileOf returns the profile of an interface. Interfaces share one if they
// have subnet, groups and NAT gateway in common, unless something names the
// interface itself: a note, or a route.
func (c *Checker) profileOf(i *Interface) *profile {
	subnet := c.n.subnets[i.SubnetID]
	nat := i.IsNATGateway()
	key := strings.Join(append([]string{i.SubnetID, i.NATGatewayID, strconv.FormatBool(nat)}, i.Groups...), " ")
	if subnet == nil || c.hops[i.ID] || !nat && len(i.Groups) == 0 {
		key += " of " + i.ID
	}
	p := c.profiles[key]
	if p == nil {
		p = &profile{i: i, subnet: subnet}
		c.profiles[key] = p
	}
	return p
}

// line returns the ports of packets to or from a peer, or nil when there is no
// room to remember them.
func (p *profile) line(c *Checker, way int, peer flow.Addr, t flow.Tuple) *portLine {
	edges := p.edges[way/2]
	if edges == nil {
		if edges = p.cut(c, way); edges == nil {
			return nil
		}
	}
	kind := c.kinds[t.Proto]
	if p.lines[way] == nil {
		p.lines[way] = make([][]*portLine, c.nKinds)
	}
	lines := p.lines[way][kind]
	if lines == nil {
		if !c.take(len(edges)) {
			return nil
		}
		lines = make([]*portLine, len(edges))
		p.lines[way][kind] = lines
	}
	l := &lines[partOf(edges, peer)]
	if *l == nil && c.room > 0 {
		*l = p.cutPorts(c, way, peer, t.Proto)
	}
	return *l
}

// take reserves room for a number of words. Once there was not enough for
// something, nothing more is remembered.
func (c *Checker) take(words int) bool {
	if words > c.room {
		c.room = 0
		return false
	}
	c.room -= words
	return true
}

// partOf returns the part that an address is in: the last that does not begin
// behind it. The first part begins before all addresses.
func partOf(edges []flow.Addr, a flow.Addr) int {
	low, high := 0, len(edges) // edges[low] <= a < edges[high]
	for high-low > 1 {
		if middle := int(uint(low+high) / 2); edges[middle].Compare(a) <= 0 {
			low = middle
		} else {
			high = middle
		}
	}
	return low
}

// cut finds the addresses at which something about far ends changes.
func (p *profile) cut(c *Checker, way int) []flow.Addr {
	dir := directionOf(way)
	if c.room == 0 {
		return nil
	}
	edges := append([]flow.Addr{{}}, boundsOf(allOf4)...)
	add := func(prefixes ...netip.Prefix) {
		for _, prefix := range prefixes {
			edges = append(edges, boundsOf(prefix)...)
		}
	}
	if p.subnet != nil {
		add(p.subnet.Prefixes...)
		if t := c.n.routeTableOf(p.subnet.ID); t != nil {
			for _, r := range t.routes {
				add(r.Prefix)
			}
		}
		if acl := c.n.ACLOf(p.subnet.ID); acl != nil {
			for _, e := range acl.Entries {
				if e.Egress == (dir == flow.Egress) {
					add(e.Prefix)
				}
			}
		}
	}
	for _, r := range p.groupRules(c, dir) {
		add(r.Prefix)
		add(c.n.prefixLists[r.PrefixList]...)
		add(c.n.memberBlocks[r.GroupRef]...)
		for _, a := range c.members[r.GroupRef] {
			add(netip.PrefixFrom(a.Netip(), a.Netip().BitLen()))
		}
	}
	slices.SortFunc(edges, flow.Addr.Compare)
	edges = slices.Clip(slices.Compact(edges))
	if !c.take(2 * len(edges)) {
		return nil
	}
	p.edges[way/2] = edges
	return edges
}

// groupRules returns the rules of all security groups of the interface.
func (p *profile) groupRules(c *Checker, dir flow.Direction) []GroupRule {
	if p.i.IsNATGateway() {
		return nil
	}
	var all []GroupRule
	for _, id := range p.i.Groups {
		if g := c.n.groups[id]; g != nil {
			all = append(all, g.Rules(dir)...)
		}
	}
	return all
}

// allOf4 holds all IPv4 addresses, which rules treat otherwise than IPv6.
var allOf4 = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

// boundsOf returns the first address of a prefix, and the first one behind it.
func boundsOf(p netip.Prefix) []flow.Addr {
	if !p.IsValid() {
		return nil
	}
	edges := []flow.Addr{flow.AddrFrom(p.Masked().Addr())}
	last := netip.AddrFrom16(lastAddr(p).As16()) // so that IPv6 goes on behind the last of IPv4
	if next := last.Next(); next.IsValid() {
		edges = append(edges, flow.AddrFrom(next))
	}
	return edges
}

// cutPorts cuts the destination ports where a rule for the peer begins or ends.
func (p *profile) cutPorts(c *Checker, way int, peer flow.Addr, proto flow.Proto) *portLine {
	dir := directionOf(way)
	from := []uint16{0}
	add := func(r PortRange) {
		from = append(from, r.From)
		if r.To < 65535 {
			from = append(from, r.To+1)
		}
	}
	if p.subnet != nil {
		if acl := c.n.ACLOf(p.subnet.ID); acl != nil {
			for _, e := range acl.Entries {
				if e.matches(dir, peer.Netip(), proto) {
					add(e.ports(proto))
				}
			}
		}
	}
	if way == pick(dir == flow.Egress, 2, 0) { // replies pass security groups
		for _, r := range p.groupRules(c, dir) {
			if r.covers(proto) && !(r.Prefix.IsValid() && !r.Prefix.Contains(peer.Netip())) {
				add(r.ports(proto))
			}
		}
	}
	slices.Sort(from)
	from = slices.Clip(slices.Compact(from))
	if !c.take(portLineWords + 2*len(from)) {
		return nil
	}
	return &portLine{from, make([]*Answer, len(from))}
}
