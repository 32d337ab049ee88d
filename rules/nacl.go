package rules

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"

	"ephemera/ingest/flow"
)

// AllProtocols is the protocol number of entries and rules that match every
// protocol.
const AllProtocols = -1

// The rule numbers of the deny that ends every network ACL. It cannot be
// removed; the console shows it as "*".
// Source: EC2 API Reference, CreateNetworkAclEntry; VPC User Guide, "Network
// ACL rules".
const (
	DefaultRule  = 32767 // IPv4
	DefaultRule6 = 32768 // IPv6
)

// Entry is a network ACL entry. Entries are stateless, and the first that
// matches a packet decides.
// Source: EC2 API Reference, NetworkAclEntry.
type Entry struct {
	RuleNumber int
	Allow      bool
	Egress     bool
	Protocol   int // IANA number, or AllProtocols

	// Prefix is compared with the source of ingress packets and with the
	// destination of egress packets. IPv4 prefixes never match IPv6 packets,
	// nor the other way round.
	Prefix netip.Prefix

	// Ports is compared with the packet's destination port in both
	// directions, so that replies match by the ephemeral port they go to.
	// It is valid if HasPorts; without, every port matches. Protocols other
	// than TCP and UDP have no ports and ignore it.
	Ports    PortRange
	HasPorts bool

	// ICMPType and ICMPCode are valid for protocols 1 and 58; -1 is any.
	ICMPType, ICMPCode int
}

// IsDefault reports whether e is the deny that ends every network ACL.
func (e Entry) IsDefault() bool { return e.RuleNumber == DefaultRule || e.RuleNumber == DefaultRule6 }

// String gives the entry in words: "rule 100 allow tcp 32768-65535 from
// 0.0.0.0/0", or "* deny all" for the last entry.
func (e Entry) String() string {
	if e.IsDefault() {
		return "* deny all"
	}
	b := make([]byte, 0, 64)
	b = append(b, "rule "...)
	b = strconv.AppendInt(b, int64(e.RuleNumber), 10)
	b = append(b, pick(e.Allow, " allow ", " deny ")...)
	b = appendTraffic(b, e.Protocol, e.Ports, e.HasPorts, e.ICMPType, e.ICMPCode)
	b = append(b, pick(e.Egress, " to ", " from ")...)
	return string(e.Prefix.AppendTo(b))
}

func pick[T any](first bool, a, b T) T {
	if first {
		return a
	}
	return b
}

// matches reports whether the entry applies to packets of proto between the
// subnet and peer, whatever their ports.
func (e Entry) matches(dir flow.Direction, peer netip.Addr, proto flow.Proto) bool {
	return e.Egress == (dir == flow.Egress) && e.covers(proto) && e.Prefix.Contains(peer)
}

// covers reports whether the entry is for proto, whatever ports and peer.
func (e Entry) covers(proto flow.Proto) bool {
	return e.Protocol == AllProtocols || e.Protocol == int(proto)
}

// ports returns the destination ports of proto that the entry matches.
func (e Entry) ports(proto flow.Proto) PortRange {
	return matchedPorts(e.Protocol, e.Ports, e.HasPorts, proto)
}

// oneICMPType reports whether the entry is for some ICMP packets only, which
// a flow log cannot tell apart.
func (e Entry) oneICMPType() bool { return isOneICMPType(e.Protocol, e.ICMPType, e.ICMPCode) }

// NetworkACL is a network ACL with its entries.
type NetworkACL struct {
	ID, VPCID string
	Name      string // tag Name
	IsDefault bool   // the VPC's default network ACL

	// Entries are those of ingress and then those of egress, each by rule
	// number; see Sort.
	Entries []Entry

	// Subnets are the IDs of the subnets explicitly associated, sorted.
	Subnets []string
}

// Sort brings the entries into the order that evaluation relies on.
func (a *NetworkACL) Sort() {
	slices.SortStableFunc(a.Entries, func(x, y Entry) int {
		return cmp.Or(
			cmp.Compare(pick(x.Egress, 1, 0), pick(y.Egress, 1, 0)),
			cmp.Compare(x.RuleNumber, y.RuleNumber))
	})
}

// Evaluate returns what the network ACL does with packets p that enter
// (Ingress) or leave (Egress) its subnets. The addresses are those of the
// packets' headers. Entries for a single ICMP type are passed over, since
// flow logs do not hold the type.
func (a *NetworkACL) Evaluate(dir flow.Direction, p flow.Tuple) Verdict {
	e, _ := a.decide(dir, p)
	return a.verdict(e)
}

// decide returns the first entry that matches, the default deny included.
// It is unsure when an entry for a single ICMP type, which may match,
// comes earlier and says the opposite.
func (a *NetworkACL) decide(dir flow.Direction, p flow.Tuple) (e Entry, unsure bool) {
	peer := peerOf(dir, p).Netip()
	var mayAllow, mayDeny bool // by an ICMP entry passed over
	for _, e := range a.Entries {
		if !e.matches(dir, peer, p.Proto) || !e.ports(p.Proto).contains(p.DstPort) {
			continue
		}
		if !e.oneICMPType() {
			return e, pick(e.Allow, mayDeny, mayAllow)
		}
		mayAllow, mayDeny = mayAllow || e.Allow, mayDeny || !e.Allow
	}
	return defaultEntry(dir, peer), mayAllow
}

// defaultEntry is the deny that ends every network ACL, listed or not.
func defaultEntry(dir flow.Direction, peer netip.Addr) Entry {
	e := Entry{
		RuleNumber: DefaultRule, Egress: dir == flow.Egress, Protocol: AllProtocols,
		Prefix: netip.PrefixFrom(netip.IPv4Unspecified(), 0), ICMPType: -1, ICMPCode: -1,
	}
	if peer.Is6() {
		e.RuleNumber = DefaultRule6
		e.Prefix = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return e
}

func (a *NetworkACL) verdict(e Entry) Verdict {
	return Verdict{
		Layer: NACL, Allow: e.Allow, ID: a.ID,
		RuleNumber: e.RuleNumber, Default: e.IsDefault(), Rule: e.String(),
	}
}

// Segment is a range of destination ports for which one entry decides.
type Segment struct {
	Ports   PortRange
	Verdict Verdict
}

// Segments splits the 65,536 destination ports of packets to or from peer
// wherever the deciding entry changes. Protocols without ports give a single
// segment.
func (a *NetworkACL) Segments(dir flow.Direction, peer flow.Addr, proto flow.Proto) []Segment {
	var segments []Segment
	left := AllPorts()
	take := func(e Entry) {
		for _, r := range left.Intersect(Ports(e.ports(proto))).r {
			segments = append(segments, Segment{r, a.verdict(e)})
		}
		left = left.Subtract(Ports(e.ports(proto)))
	}
	for _, e := range a.Entries {
		if e.matches(dir, peer.Netip(), proto) && !e.oneICMPType() {
			take(e)
		}
	}
	take(defaultEntry(dir, peer.Netip()))
	slices.SortFunc(segments, func(x, y Segment) int { return cmp.Compare(x.Ports.From, y.Ports.From) })
	return segments
}

// AllowedPorts returns the destination ports that are allowed for every
// address of peer, and those that are allowed for at least one. Both are
// exact: the addresses are split wherever an entry's prefix begins or ends,
// and one address of each part is evaluated.
func (a *NetworkACL) AllowedPorts(dir flow.Direction, peer netip.Prefix, proto flow.Proto) (every, some PortSet) {
	if !peer.IsValid() {
		return PortSet{}, PortSet{}
	}
	every = AllPorts()
	for _, addr := range a.representatives(dir, peer.Masked()) {
		allowed := a.allowed(dir, addr, proto)
		every = every.Intersect(allowed)
		some = some.Union(allowed)
	}
	return every, some
}

// allowed returns the destination ports allowed for one peer.
func (a *NetworkACL) allowed(dir flow.Direction, peer netip.Addr, proto flow.Proto) PortSet {
	var allowed []PortRange
	for _, s := range a.Segments(dir, flow.AddrFrom(peer), proto) {
		if s.Verdict.Allow {
			allowed = append(allowed, s.Ports)
		}
	}
	return Ports(allowed...)
}

// representatives returns one address for every part of peer that all
// entries treat alike: the first of peer, the first of every entry's prefix
// inside it, and the first behind each of those.
func (a *NetworkACL) representatives(dir flow.Direction, peer netip.Prefix) []netip.Addr {
	addrs := []netip.Addr{peer.Addr()}
	for _, e := range a.Entries {
		if e.Egress != (dir == flow.Egress) || e.Prefix.Bits() <= peer.Bits() || !peer.Contains(e.Prefix.Addr()) {
			continue
		}
		first := e.Prefix.Masked().Addr()
		addrs = append(addrs, first)
		if behind := lastAddr(e.Prefix).Next(); peer.Contains(behind) {
			addrs = append(addrs, behind)
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}

// lastAddr returns the highest address of p.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}

// peerOf returns the address that rules compare: the source of what comes
// in, the destination of what goes out.
func peerOf(dir flow.Direction, p flow.Tuple) flow.Addr {
	if dir == flow.Egress {
		return p.Dst
	}
	return p.Src
}

// matchedPorts returns the ports of proto that an entry or rule matches.
// Only TCP and UDP have ports, and a rule for all protocols has none.
// Source: EC2 API Reference, CreateNetworkAclEntry, Protocol.
func matchedPorts(protocol int, ports PortRange, hasPorts bool, proto flow.Proto) PortRange {
	if protocol == AllProtocols || !hasPorts || !proto.HasPorts() {
		return PortRange{0, 65535}
	}
	return ports
}

func isICMP(protocol int) bool { return protocol == int(flow.ICMP) || protocol == int(flow.ICMPv6) }

func isOneICMPType(protocol, icmpType, icmpCode int) bool {
	return isICMP(protocol) && (icmpType != -1 || icmpCode != -1)
}

// appendTraffic writes the protocol and ports of an entry or rule: "all",
// "tcp 21", "icmp type 3 code 4", "protocol 47".
func appendTraffic(b []byte, protocol int, ports PortRange, hasPorts bool, icmpType, icmpCode int) []byte {
	proto := flow.Proto(protocol)
	switch {
	case protocol == AllProtocols:
		return append(b, "all"...)
	case isICMP(protocol):
		return appendICMP(append(b, proto.String()...), icmpType, icmpCode)
	case !proto.HasPorts():
		return strconv.AppendInt(append(b, "protocol "...), int64(protocol), 10)
	}
	b = append(b, proto.String()...)
	if hasPorts {
		b = ports.appendTo(append(b, ' '))
	}
	return b
}

func appendICMP(b []byte, icmpType, icmpCode int) []byte {
	if icmpType != -1 {
		b = strconv.AppendInt(append(b, " type "...), int64(icmpType), 10)
	}
	if icmpCode != -1 {
		b = strconv.AppendInt(append(b, " code "...), int64(icmpCode), 10)
	}
	return b
}
