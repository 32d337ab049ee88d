package rules

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"ephemera/ingest/flow"
)

// OtherProtocols stands, in Packets, for every protocol but TCP, UDP and
// those that are told apart from the rest beside it.
const OtherProtocols = -2

// Packets is a set of packets as a filter sees them in one direction:
// protocol times peers times destination ports.
type Packets struct {
	// Protocol is an IANA number, or OtherProtocols. AllProtocols is
	// understood in what SubtractPackets and IntersectPackets are given, and
	// never returned.
	Protocol int

	// From and To are the first and the last peer, of one family. They are
	// not valid when Ref is set.
	From, To netip.Addr

	// Ref is a security group or prefix list that stands for its addresses.
	// Each is a peer of its own, of which nothing else is known.
	Ref string

	// Ports are the destination ports. Protocols without ports ignore them;
	// they are returned with all of them.
	Ports PortSet

	// ICMPType and ICMPCode are valid for protocols 1 and 58. -1 is any that
	// is not told apart from the rest.
	ICMPType, ICMPCode int

	// but is what these packets are not, though the fields above say so: the
	// protocols, types and codes that were told apart. It makes the value
	// mean the same outside the list that it came in.
	but []kind
}

// Difference is what sets two filters apart in one direction.
type Difference struct {
	Opened []Packets // allowed after, and not before
	Closed []Packets // allowed before, and not after
}

// IsEmpty reports whether both filters allow the same packets.
func (d Difference) IsEmpty() bool { return len(d.Opened)+len(d.Closed) == 0 }

// Difference compares what a allows with what to allows. It is exact for
// every address, port, protocol and ICMP type; entries are taken by rule
// number, and the first that matches a packet decides.
func (a *NetworkACL) Difference(dir flow.Direction, to *NetworkACL) Difference {
	return difference(a.filter(dir), to.filter(dir))
}

// Difference compares what g allows with what to allows. Rules that name a
// security group or a prefix list are compared by that name.
func (g *SecurityGroup) Difference(dir flow.Direction, to *SecurityGroup) Difference {
	return difference(g.filter(dir), to.filter(dir))
}

// Allowed returns all packets that the network ACL allows. The list is
// canonical: network ACLs that allow the same packets give equal lists. It
// is sorted by protocol, ICMP type and code, and peers.
func (a *NetworkACL) Allowed(dir flow.Direction) []Packets { return allowed(a.filter(dir)) }

// Allowed returns all packets that the rules of the group allow, in the form
// that NetworkACL.Allowed describes. References come after addresses.
func (g *SecurityGroup) Allowed(dir flow.Direction) []Packets { return allowed(g.filter(dir)) }

// SubtractPackets returns the packets in a that are not in b, in the form
// that NetworkACL.Allowed describes.
func SubtractPackets(a, b []Packets) []Packets { return without(packetList(a), packetList(b)) }

// IntersectPackets returns the packets in both a and b, in the form that
// NetworkACL.Allowed describes.
func IntersectPackets(a, b []Packets) []Packets {
	return both(packetList(a), packetList(b))
}

func difference(from, to filter) Difference {
	return Difference{Opened: without(to, from), Closed: without(from, to)}
}

func allowed(f filter) []Packets { return survey(f.ports, f) }

func without(a, b filter) []Packets {
	return survey(func(p peers, k kind) PortSet {
		ports := a.ports(p, k)
		if ports.IsEmpty() {
			return ports
		}
		return ports.Subtract(b.ports(p, k))
	}, a, b)
}

func both(a, b filter) []Packets {
	return survey(func(p peers, k kind) PortSet {
		return a.ports(p, k).Intersect(b.ports(p, k))
	}, a, b)
}

// Contains reports whether a packet of proto to or from peer with the
// destination port is in p. It cannot tell for ICMP packets, whose type and
// code take ContainsICMP.
func (p Packets) Contains(peer netip.Addr, proto flow.Proto, port uint16) bool {
	return p.contains(peers{from: peer, to: peer}, kind{int(proto), 0, 0}, port)
}

// ContainsICMP reports whether an ICMP packet, or with an IPv6 protocol number
// an ICMPv6 packet, is in p.
func (p Packets) ContainsICMP(peer netip.Addr, proto flow.Proto, icmpType, icmpCode uint8) bool {
	return p.contains(peers{from: peer, to: peer}, kind{int(proto), int(icmpType), int(icmpCode)}, 0)
}

func (p Packets) contains(peer peers, k kind, port uint16) bool {
	return p.isOf(k) && p.peers().contains(peer) && (!k.hasPorts() || p.Ports.Contains(port))
}

// Prefixes returns the peers as the fewest prefixes, in ascending order. It
// is empty when Ref is set.
func (p Packets) Prefixes() []netip.Prefix {
	if !p.peers().isRange() {
		return nil
	}
	var prefixes []netip.Prefix
	for next := p.From; next.IsValid() && next.Compare(p.To) <= 0; {
		widest := widestPrefix(next, p.To)
		prefixes = append(prefixes, widest)
		next = lastAddr(widest).Next()
	}
	return prefixes
}

// widestPrefix returns the largest prefix that begins at from and does not
// go beyond to.
func widestPrefix(from, to netip.Addr) netip.Prefix {
	for bits := range from.BitLen() {
		p := netip.PrefixFrom(from, bits)
		if p.Masked().Addr() == from && lastAddr(p).Compare(to) <= 0 {
			return p
		}
	}
	return netip.PrefixFrom(from, from.BitLen())
}

// String gives the packets in short, for people: "tcp 40000-40199 peers
// 203.0.113.11", "icmp type 3 code 4 peers 10.0.0.0/8".
func (p Packets) String() string {
	return p.protocolWords() + " peers " + p.peers().String()
}

func (p Packets) protocolWords() string {
	switch {
	case p.Protocol == AllProtocols && p.Ports.Equal(AllPorts()):
		return "all protocols"
	case p.Protocol == AllProtocols:
		return "all protocols, tcp and udp " + p.Ports.String()
	case p.Protocol == OtherProtocols:
		words := []string{"tcp", "udp"}
		for _, k := range p.but {
			words = append(words, k.String())
		}
		return "all protocols but " + strings.Join(words, ", ")
	case flow.Proto(p.Protocol).HasPorts():
		return p.kind().String() + " " + p.Ports.String()
	case len(p.but) == 0:
		return p.kind().String()
	}
	var words []string
	for _, k := range p.but {
		words = append(words, strings.TrimPrefix(k.String(), p.kind().String()+" "))
	}
	return p.kind().String() + " but " + strings.Join(words, ", ")
}

func (p Packets) kind() kind { return newKind(p.Protocol, p.ICMPType, p.ICMPCode) }

func (p Packets) peers() peers { return peers{p.From, p.To, p.Ref} }

// isOf reports whether packets of the kind k, which has no wildcards, are
// among p for some peers and ports.
func (p Packets) isOf(k kind) bool {
	matches := p.kind().matches(k)
	if p.Protocol == OtherProtocols {
		matches = !flow.Proto(k.protocol).HasPorts()
	}
	return matches && !slices.ContainsFunc(p.but, func(b kind) bool { return b.matches(k) })
}

// A kind is a protocol with, for ICMP, a type and a code. As a pattern it has
// -1 for any.
type kind struct{ protocol, icmpType, icmpCode int }

// newKind returns the pattern of an entry or rule. Types and codes do not
// matter unless the protocol has them.
func newKind(protocol, icmpType, icmpCode int) kind {
	if !isICMP(protocol) {
		return kind{protocol, -1, -1}
	}
	return kind{protocol, icmpType, icmpCode}
}

// matches reports whether the pattern matches l, which has no wildcards.
func (k kind) matches(l kind) bool {
	return (k.protocol == AllProtocols || k.protocol == l.protocol) &&
		(k.icmpType == -1 || k.icmpType == l.icmpType) &&
		(k.icmpCode == -1 || k.icmpCode == l.icmpCode)
}

func (k kind) hasPorts() bool { return flow.Proto(k.protocol).HasPorts() }

// at returns the protocol, the type or the code.
func (k kind) at(level int) int { return [...]int{k.protocol, k.icmpType, k.icmpCode}[level] }

// with returns k with another protocol, type or code.
func (k kind) with(level, value int) kind {
	fields := [...]int{k.protocol, k.icmpType, k.icmpCode}
	fields[level] = value
	return kind{fields[0], fields[1], fields[2]}
}

func (k kind) String() string {
	return string(appendTraffic(nil, k.protocol, PortRange{}, false, k.icmpType, k.icmpCode))
}

// anyKind matches every packet.
var anyKind = kind{AllProtocols, -1, -1}

// peers is a range of addresses, or a reference that stands for some.
type peers struct {
	from, to netip.Addr
	ref      string
}

func prefixPeers(p netip.Prefix) peers {
	if !p.IsValid() {
		return peers{}
	}
	return peers{from: p.Masked().Addr(), to: lastAddr(p)}
}

// isRange reports whether p is a range of addresses of one family, which is
// not empty.
func (p peers) isRange() bool {
	return p.ref == "" && p.from.IsValid() && p.to.IsValid() &&
		p.from.BitLen() == p.to.BitLen() && p.from.Compare(p.to) <= 0
}

// contains reports whether all of q, which is valid, is in p.
func (p peers) contains(q peers) bool {
	if q.ref != "" || p.ref != "" {
		return p.ref == q.ref
	}
	return p.isRange() && p.from.BitLen() == q.from.BitLen() &&
		p.from.Compare(q.from) <= 0 && q.to.Compare(p.to) <= 0
}

// meets reports whether q is the range right behind p.
func (p peers) meets(q peers) bool {
	return p.ref == "" && q.ref == "" && p.to.BitLen() == q.from.BitLen() && p.to.Next() == q.from
}

func (p peers) String() string {
	if !p.isRange() {
		return cmp.Or(p.ref, "none")
	}
	if p.from == p.to {
		return p.from.String()
	}
	if w := widestPrefix(p.from, p.to); lastAddr(w) == p.to {
		return w.String()
	}
	return p.from.String() + "-" + p.to.String()
}

// A filter lets some packets through.
type filter interface {
	// markOn marks every place where the filter's answer can change.
	markOn(*space)
	// ports returns the destination ports that the filter allows for all of
	// p, which crosses no mark, and for the kind k, which has no wildcards.
	// For protocols without ports it returns all ports or none.
	ports(p peers, k kind) PortSet
}

// An entryFilter holds the entries of one direction by rule number.
type entryFilter []Entry

func (a *NetworkACL) filter(dir flow.Direction) entryFilter {
	var entries []Entry
	for _, e := range a.Entries {
		if e.Direction() == dir {
			entries = append(entries, e)
		}
	}
	slices.SortStableFunc(entries, func(x, y Entry) int { return cmp.Compare(x.RuleNumber, y.RuleNumber) })
	return entries
}

func (f entryFilter) markOn(s *space) {
	for _, e := range f {
		s.mark(e.kind(), prefixPeers(e.Prefix))
	}
}

func (f entryFilter) ports(p peers, k kind) PortSet {
	if p.ref != "" {
		return PortSet{}
	}
	var allowed []PortRange
	left := AllPorts()
	for _, e := range f {
		if !e.kind().matches(k) || !e.Prefix.Contains(p.from) {
			continue
		}
		matched := Ports(e.ports(flow.Proto(k.protocol)))
		if e.Allow {
			allowed = append(allowed, left.Intersect(matched).r...)
		}
		if left = left.Subtract(matched); left.IsEmpty() {
			break
		}
	}
	return Ports(allowed...)
}

func (e Entry) kind() kind { return newKind(e.Protocol, e.ICMPType, e.ICMPCode) }

// A ruleFilter holds the rules of one direction.
type ruleFilter []GroupRule

func (g *SecurityGroup) filter(dir flow.Direction) ruleFilter { return g.Rules(dir) }

func (f ruleFilter) markOn(s *space) {
	for _, r := range f {
		s.mark(r.kind(), r.peers())
	}
}

func (f ruleFilter) ports(p peers, k kind) PortSet {
	var allowed []PortRange
	for _, r := range f {
		if r.kind().matches(k) && r.peers().contains(p) {
			allowed = append(allowed, r.ports(flow.Proto(k.protocol)))
		}
	}
	return Ports(allowed...)
}

func (r GroupRule) kind() kind { return newKind(r.Protocol, r.ICMPType, r.ICMPCode) }

func (r GroupRule) peers() peers {
	if ref := cmp.Or(r.GroupRef, r.PrefixList); ref != "" {
		return peers{ref: ref}
	}
	return prefixPeers(r.Prefix)
}

// A packetList is a filter that allows what it lists.
type packetList []Packets

func (f packetList) markOn(s *space) {
	for _, p := range f {
		s.mark(p.kind(), p.peers())
		for _, k := range p.but {
			s.mark(k, p.peers())
		}
	}
}

func (f packetList) ports(p peers, k kind) PortSet {
	var allowed []PortRange
	for _, listed := range f {
		switch {
		case !listed.isOf(k) || !listed.peers().contains(p):
		case k.hasPorts():
			allowed = append(allowed, listed.Ports.r...)
		default:
			return AllPorts()
		}
	}
	return Ports(allowed...)
}

// A space is the space of all packets, with the places where the answer of
// some filter can change.
type space struct {
	kinds  []kind
	starts []netip.Addr // where a range of peers begins
	refs   []string
}

// newSpace returns the space with all marks of the filters.
func newSpace(filters ...filter) *space {
	s := &space{starts: []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}}
	for _, f := range filters {
		f.markOn(s)
	}
	slices.SortFunc(s.starts, netip.Addr.Compare)
	s.starts = slices.Compact(s.starts)
	slices.Sort(s.refs)
	s.refs = slices.Compact(s.refs)
	return s
}

// mark tells k from other kinds of packets, and p from other peers.
func (s *space) mark(k kind, p peers) {
	if k.protocol != OtherProtocols {
		s.kinds = append(s.kinds, k)
	}
	if p.ref != "" {
		s.refs = append(s.refs, p.ref)
		return
	}
	if !p.isRange() {
		return
	}
	s.starts = append(s.starts, p.from.WithZone(""))
	if next := p.to.WithZone("").Next(); next.IsValid() {
		s.starts = append(s.starts, next)
	}
}

// parts returns all peers, cut at every mark.
func (s *space) parts() []peers {
	var parts []peers
	for i, from := range s.starts {
		to := lastAddr(netip.PrefixFrom(from, 0))
		if i+1 < len(s.starts) && s.starts[i+1].BitLen() == from.BitLen() {
			to = s.starts[i+1].Prev()
		}
		parts = append(parts, peers{from: from, to: to})
	}
	for _, ref := range s.refs {
		parts = append(parts, peers{ref: ref})
	}
	return parts
}

// survey lists, in canonical form, the packets of the space of all filters
// for which ports holds.
func survey(ports func(peers, kind) PortSet, filters ...filter) []Packets {
	s := newSpace(filters...)
	parts := s.parts()
	root := s.grow(0, s.kinds, kind{}, func(k kind) []stretch {
		var found []stretch
		for _, p := range parts {
			found = appendStretch(found, stretch{p, ports(p, k)})
		}
		return found
	})
	var list []Packets
	root.list(&list, 0, anyKind, nil)
	return list
}

// A stretch is peers with the ports that they have in common.
type stretch struct {
	peers
	ports PortSet
}

func appendStretch(s []stretch, next stretch) []stretch {
	if next.ports.IsEmpty() {
		return s
	}
	if n := len(s); n > 0 && s[n-1].meets(next.peers) && s[n-1].ports.Equal(next.ports) {
		s[n-1].to = next.to
		return s
	}
	return append(s, next)
}

func (s stretch) equal(t stretch) bool { return s.peers == t.peers && s.ports.Equal(t.ports) }

// A branch of the tree of kinds: its levels are protocol, ICMP type and ICMP
// code, and below the last are the packets found.
type branch struct {
	value int       // protocol, type or code, by the level
	named []*branch // those that differ from the rest, by value
	rest  *branch   // nil below the last level, or when no value is left
	found []stretch
}

// levels is the number of levels of a tree of kinds.
const levels = 3

// grow makes the tree below a branch, in which patterns are told apart. The
// kind k holds the values on the way to it. Found is asked once for each kind
// that some pattern tells apart.
func (s *space) grow(level int, patterns []kind, k kind, found func(kind) []stretch) *branch {
	if level == levels {
		return &branch{found: found(k)}
	}
	b := &branch{}
	values := namedValues(level, patterns)
	if other, left := unnamed(values); left {
		b.rest = s.grow(level+1, patternsOf(patterns, level, -1), k.with(level, other), found)
	}
	for _, v := range values {
		n := s.grow(level+1, patternsOf(patterns, level, v), k.with(level, v), found)
		n.value = v
		if isAlwaysNamed(level, v) || b.rest == nil || !n.equal(b.rest) {
			b.named = append(b.named, n)
		}
	}
	return b
}

// isAlwaysNamed tells that a branch stands even where it equals the rest:
// those of the protocols with ports do.
func isAlwaysNamed(level, value int) bool { return level == 0 && flow.Proto(value).HasPorts() }

// namedValues returns the protocols, types or codes that patterns name and
// that packets can have.
func namedValues(level int, patterns []kind) []int {
	var values []int
	if level == 0 {
		values = append(values, int(flow.TCP), int(flow.UDP))
	}
	for _, p := range patterns {
		if v := p.at(level); v >= 0 && v <= 255 {
			values = append(values, v)
		}
	}
	slices.Sort(values)
	return slices.Compact(values)
}

// unnamed returns the lowest value that is not among those named, which are
// sorted; left is false when there is none.
func unnamed(named []int) (value int, left bool) {
	for _, v := range named {
		if v > value {
			break
		}
		value = v + 1
	}
	return value, value <= 255
}

// patternsOf returns the patterns that match the value.
func patternsOf(patterns []kind, level, value int) []kind {
	var matching []kind
	for _, p := range patterns {
		if v := p.at(level); v == -1 || v == value {
			matching = append(matching, p)
		}
	}
	return matching
}

func (b *branch) equal(c *branch) bool {
	if (b.rest == nil) != (c.rest == nil) || b.rest != nil && !b.rest.equal(c.rest) {
		return false
	}
	return slices.EqualFunc(b.named, c.named, func(x, y *branch) bool { return x.value == y.value && x.equal(y) }) &&
		slices.EqualFunc(b.found, c.found, stretch.equal)
}

// list appends all that was found. The pattern k leads to the branch, and
// but holds what was told apart on the way.
func (b *branch) list(out *[]Packets, level int, k kind, but []kind) {
	for _, f := range b.found {
		*out = append(*out, Packets{
			Protocol: k.protocol, ICMPType: k.icmpType, ICMPCode: k.icmpCode,
			From: f.from, To: f.to, Ref: f.ref, Ports: f.ports, but: but,
		})
	}
	butNamed := slices.Clip(but)
	for _, n := range b.named {
		n.list(out, level+1, k.with(level, n.value), but)
		if !isAlwaysNamed(level, n.value) {
			butNamed = append(butNamed, k.with(level, n.value))
		}
	}
	if b.rest == nil {
		return
	}
	if level == 0 {
		k = kind{OtherProtocols, -1, -1}
	}
	b.rest.list(out, level+1, k, butNamed)
}
