package rules

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ephemera/ingest/flow"
)

// A probe is one packet, of any kind.
type probe struct {
	peer               netip.Addr
	ref                string // instead of peer
	proto              flow.Proto
	port               uint16
	icmpType, icmpCode uint8
}

func (p probe) icmp() bool { return p.proto == flow.ICMP || p.proto == flow.ICMPv6 }

func (p probe) tcpOrUDP() bool { return p.proto == flow.TCP || p.proto == flow.UDP }

// hits is the literal reading of one entry or rule.
func (p probe) hits(protocol int, ports PortRange, hasPorts bool, icmpType, icmpCode int) bool {
	switch {
	case protocol == -1:
		return true
	case protocol != int(p.proto):
		return false
	case p.tcpOrUDP():
		return !hasPorts || ports.From <= p.port && p.port <= ports.To
	case p.icmp():
		return (icmpType == -1 || icmpType == int(p.icmpType)) && (icmpCode == -1 || icmpCode == int(p.icmpCode))
	}
	return true
}

// literallyAllowed goes through the entries of one direction by rule number.
func literallyAllowed(a *NetworkACL, dir flow.Direction, p probe) bool {
	last := -1
	for {
		var next *Entry
		for i, e := range a.Entries {
			if e.Egress == (dir == flow.Egress) && e.RuleNumber > last && (next == nil || e.RuleNumber < next.RuleNumber) {
				next = &a.Entries[i]
			}
		}
		if next == nil {
			return false
		}
		last = next.RuleNumber
		if p.ref == "" && next.Prefix.Contains(p.peer) && p.hits(next.Protocol, next.Ports, next.HasPorts, next.ICMPType, next.ICMPCode) {
			return next.Allow
		}
	}
}

// literallyAnyAllows tries all rules of one direction.
func literallyAnyAllows(g *SecurityGroup, dir flow.Direction, p probe) bool {
	for _, r := range g.Rules(dir) {
		peer := r.GroupRef + r.PrefixList
		if p.ref != peer || peer == "" && !r.Prefix.Contains(p.peer) {
			continue
		}
		if p.hits(r.Protocol, r.Ports, r.HasPorts, r.ICMPType, r.ICMPCode) {
			return true
		}
	}
	return false
}

// holds reports whether the probe is in the list.
func holds(list []Packets, p probe) bool {
	for _, packets := range list {
		switch {
		case packets.Ref != "" || p.ref != "":
			if packets.Ref == p.ref && packets.contains(peers{ref: p.ref}, kind{int(p.proto), int(p.icmpType), int(p.icmpCode)}, p.port) {
				return true
			}
		case p.icmp() && packets.ContainsICMP(p.peer, p.proto, p.icmpType, p.icmpCode):
			return true
		case !p.icmp() && packets.Contains(p.peer, p.proto, p.port):
			return true
		}
	}
	return false
}

// mixedEntry draws an entry of a small universe, in which much overlaps.
func mixedEntry(rng *rand.Rand, number int) Entry {
	r := mixedRule(rng)
	for !r.Prefix.IsValid() && rng.IntN(50) != 0 {
		r = mixedRule(rng)
	}
	return Entry{
		RuleNumber: number, Allow: rng.IntN(3) > 0, Egress: rng.IntN(2) == 0, Protocol: r.Protocol,
		Prefix: r.Prefix, Ports: r.Ports, HasPorts: r.HasPorts, ICMPType: r.ICMPType, ICMPCode: r.ICMPCode,
	}
}

func mixedRule(rng *rand.Rand) GroupRule {
	r := GroupRule{
		Protocol: []int{-1, 6, 6, 6, 17, 1, 1, 58, 47}[rng.IntN(9)],
		Ports:    mixedPorts(rng), HasPorts: rng.IntN(4) > 0, ICMPType: -1, ICMPCode: -1,
	}
	if isICMP(r.Protocol) && rng.IntN(2) == 0 {
		r.ICMPType, r.ICMPCode = rng.IntN(4)-1, rng.IntN(3)-1
	}
	switch rng.IntN(12) {
	case 0:
		r.GroupRef = fmt.Sprint("sg-", rng.IntN(2))
	case 1:
		r.PrefixList = fmt.Sprint("pl-", rng.IntN(2))
	default:
		r.Prefix = mixedPrefix(rng)
	}
	return r
}

func mixedPorts(rng *rand.Rand) PortRange {
	edges := []uint16{0, 1, 20, 21, 22, 100, 1023, 1024, 40000, 65534, 65535}
	from, to := rng.IntN(len(edges)), rng.IntN(len(edges))
	return PortRange{edges[min(from, to)], edges[max(from, to)]}
}

func mixedPrefix(rng *rand.Rand) netip.Prefix {
	bases := []string{"10.0.0.0/27", "255.255.255.224/27", "0.0.0.0/0", "2001:db8::/123", "::/0", "::ffff:10.0.0.0/123"}
	base := netip.MustParsePrefix(bases[[]int{0, 0, 0, 0, 1, 2, 3, 3, 4, 5}[rng.IntN(10)]])
	if base.Bits() == 0 {
		return base
	}
	b := base.Addr().AsSlice()
	b[len(b)-1] |= byte(rng.IntN(32))
	a, _ := netip.AddrFromSlice(b)
	bits := base.Bits() + rng.IntN(6)
	if rng.IntN(4) == 0 {
		return netip.PrefixFrom(a, bits) // with bits of the host
	}
	return netip.PrefixFrom(a, bits).Masked()
}

func mixedACL(rng *rand.Rand, id string) *NetworkACL {
	a := &NetworkACL{ID: id}
	for n := range rng.IntN(12) {
		a.Entries = append(a.Entries, mixedEntry(rng, 10*n+10))
	}
	rng.Shuffle(len(a.Entries), func(i, j int) { a.Entries[i], a.Entries[j] = a.Entries[j], a.Entries[i] })
	return a
}

func mixedGroup(rng *rand.Rand, id string) *SecurityGroup {
	g := &SecurityGroup{ID: id}
	for range rng.IntN(8) {
		g.Ingress = append(g.Ingress, mixedRule(rng))
		g.Egress = append(g.Egress, mixedRule(rng))
	}
	return g
}

// edgePeers returns the first and last address of every prefix and their
// neighbours, and all references.
func edgePeers(prefixes []netip.Prefix) []probe {
	addrs := []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified(), netip.MustParseAddr("255.255.255.255")}
	for _, p := range prefixes {
		if p.IsValid() {
			first, last := p.Masked().Addr(), lastAddr(p)
			addrs = append(addrs, first, last, first.Prev(), last.Next())
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	var probes []probe
	for _, a := range slices.Compact(addrs) {
		if a.IsValid() {
			probes = append(probes, probe{peer: a})
		}
	}
	for _, ref := range []string{"sg-0", "sg-1", "pl-0", "pl-1"} {
		probes = append(probes, probe{ref: ref})
	}
	return probes
}

// edgePackets crosses the peers with every protocol, the boundaries of ports
// and their neighbours, and ICMP types and codes.
func edgePackets(prefixes []netip.Prefix, ranges []PortRange) []probe {
	var ports []uint16
	for _, r := range ranges {
		ports = append(ports, r.From, r.From-1, r.To, r.To+1)
	}
	slices.Sort(ports)
	ports = slices.Compact(ports)
	var probes []probe
	for _, p := range edgePeers(prefixes) {
		for _, p.proto = range []flow.Proto{6, 17} {
			for _, p.port = range ports {
				probes = append(probes, p)
			}
		}
		for _, p.proto = range []flow.Proto{47, 50, 0, 255} {
			probes = append(probes, p)
		}
		for _, p.proto = range []flow.Proto{1, 58} {
			for _, p.icmpType = range []uint8{0, 1, 2, 3, 255} {
				for _, p.icmpCode = range []uint8{0, 1, 2, 255} {
					probes = append(probes, p)
				}
			}
		}
	}
	return probes
}

func edgesOfACLs(acls ...*NetworkACL) []probe {
	var prefixes []netip.Prefix
	var ranges []PortRange
	for _, a := range acls {
		for _, e := range a.Entries {
			prefixes, ranges = append(prefixes, e.Prefix), append(ranges, e.Ports)
		}
	}
	return edgePackets(prefixes, ranges)
}

func edgesOfGroups(groups ...*SecurityGroup) []probe {
	var prefixes []netip.Prefix
	var ranges []PortRange
	for _, g := range groups {
		for _, r := range slices.Concat(g.Ingress, g.Egress) {
			prefixes, ranges = append(prefixes, r.Prefix), append(ranges, r.Ports)
		}
	}
	return edgePackets(prefixes, ranges)
}

func randomProbe(rng *rand.Rand) probe {
	p := probe{
		peer: mixedPrefix(rng).Addr(), proto: flow.Proto([]int{6, 17, 1, 58, 47, rng.IntN(256)}[rng.IntN(6)]),
		port: uint16(rng.IntN(65536)), icmpType: uint8(rng.IntN(5)), icmpCode: uint8(rng.IntN(4)),
	}
	if rng.IntN(2) == 0 {
		p.port = mixedPorts(rng).From
	}
	return p
}

// checkDifference compares a difference with the verdicts of both sides.
func checkDifference(t *testing.T, d Difference, probes []probe, before, after func(probe) bool) {
	t.Helper()
	for _, p := range probes {
		was, is := before(p), after(p)
		if got := holds(d.Opened, p); got != (is && !was) {
			t.Fatalf("%+v: opened is %t, but the verdicts are %t and then %t\n%v", p, got, was, is, d)
		}
		if got := holds(d.Closed, p); got != (was && !is) {
			t.Fatalf("%+v: closed is %t, but the verdicts are %t and then %t\n%v", p, got, was, is, d)
		}
	}
}

// rounds returns n, or a twentieth of it under -short.
func rounds(n int) int {
	if testing.Short() {
		return max(1, n/20)
	}
	return n
}

func TestDifferenceAgainstFirstMatch(t *testing.T) {
	rng := rand.New(rand.NewPCG(41, 1))
	for range rounds(400) {
		from, to := mixedACL(rng, "acl-1"), mixedACL(rng, "acl-1")
		dir := pick(rng.IntN(2) == 0, flow.Ingress, flow.Egress)
		probes := edgesOfACLs(from, to)
		for range 2500 {
			probes = append(probes, randomProbe(rng))
		}
		before := func(p probe) bool { return literallyAllowed(from, dir, p) }
		after := func(p probe) bool { return literallyAllowed(to, dir, p) }
		d := from.Difference(dir, to)
		checkDifference(t, d, probes, before, after)
		checkCanonical(t, d.Opened)
		checkCanonical(t, d.Closed)
		nothing := func(probe) bool { return false }
		checkDifference(t, Difference{Opened: to.Allowed(dir)}, probes, nothing, after)
	}
}

func TestGroupDifferenceAgainstUnion(t *testing.T) {
	rng := rand.New(rand.NewPCG(41, 2))
	for range rounds(400) {
		from, to := mixedGroup(rng, "sg-9"), mixedGroup(rng, "sg-9")
		dir := pick(rng.IntN(2) == 0, flow.Ingress, flow.Egress)
		probes := edgesOfGroups(from, to)
		for range 1000 {
			probes = append(probes, randomProbe(rng))
		}
		before := func(p probe) bool { return literallyAnyAllows(from, dir, p) }
		after := func(p probe) bool { return literallyAnyAllows(to, dir, p) }
		d := from.Difference(dir, to)
		checkDifference(t, d, probes, before, after)
		checkCanonical(t, d.Opened)
		nothing := func(probe) bool { return false }
		checkDifference(t, Difference{Opened: to.Allowed(dir)}, probes, nothing, after)
	}
}

// checkCanonical expects the list to come out of itself unchanged.
func checkCanonical(t *testing.T, list []Packets) {
	t.Helper()
	if again := SubtractPackets(list, nil); lines(again) != lines(list) {
		t.Fatalf("got %s\nwant %s", lines(again), lines(list))
	}
}

func lines(list []Packets) string {
	var b strings.Builder
	for _, p := range list {
		fmt.Fprintln(&b, p)
	}
	return b.String()
}

// TestPacketAlgebra mixes lists of filters that tell different things apart.
func TestPacketAlgebra(t *testing.T) {
	rng := rand.New(rand.NewPCG(41, 3))
	for range rounds(300) {
		a, b := mixedGroup(rng, "sg-9"), mixedGroup(rng, "sg-9")
		x, y := a.Allowed(flow.Ingress), b.Allowed(flow.Ingress)
		minus, times := SubtractPackets(x, y), IntersectPackets(x, y)
		for _, p := range edgesOfGroups(a, b) {
			inX, inY := literallyAnyAllows(a, flow.Ingress, p), literallyAnyAllows(b, flow.Ingress, p)
			if holds(minus, p) != (inX && !inY) || holds(times, p) != (inX && inY) {
				t.Fatalf("%+v: in x %t, in y %t, minus\n%stimes\n%s", p, inX, inY, lines(minus), lines(times))
			}
		}
	}
}
