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

func TestDifferenceWords(t *testing.T) {
	for _, c := range []struct{ from, to, opened, closed string }{
		{"100 allow tcp 80 0.0.0.0/0", "100 allow tcp 80 0.0.0.0/0", "", ""},
		{"100 allow tcp 80 0.0.0.0/0", "110 allow tcp 80 0.0.0.0/1\n 120 allow tcp 80 128.0.0.0/1", "", ""},
		{"", "100 allow tcp 40000-40199 203.0.113.11/32", "tcp 40000-40199 peers 203.0.113.11", ""},
		{"", "100 allow icmp any 10.0.0.0/8", "icmp peers 10.0.0.0/8", ""},
		{"", "100 allow all any ::/0", "tcp 0-65535 peers ::/0\nudp 0-65535 peers ::/0\nall protocols but tcp, udp peers ::/0", ""},
		{"100 allow all any 0.0.0.0/0", "90 deny icmp any 0.0.0.0/0\n 100 allow all any 0.0.0.0/0", "", "icmp peers 0.0.0.0/0"},
		{"", "90 deny icmp any 0.0.0.0/0\n 91 deny tcp any 0.0.0.0/0\n 100 allow all any 0.0.0.0/0",
			"udp 0-65535 peers 0.0.0.0/0\nall protocols but tcp, udp, icmp peers 0.0.0.0/0", ""},
		{"100 allow tcp 80 10.0.0.0/30", "90 deny tcp 80 10.0.0.1/32\n 100 allow tcp 80 10.0.0.0/30", "", "tcp 80 peers 10.0.0.1"},
		{"100 allow tcp 80 10.0.0.0/30", "90 deny tcp any 10.0.0.3/32\n 100 allow tcp 80-81 10.0.0.0/30",
			"tcp 81 peers 10.0.0.0-10.0.0.2", "tcp 80 peers 10.0.0.3"},
		{"100 allow tcp 80 10.0.0.0/30", "90 deny all any 10.0.0.0/8\n 100 allow tcp 80 10.0.0.0/30", "", "tcp 80 peers 10.0.0.0/30"},
		{"100 allow tcp 1024-65535 0.0.0.0/0", "100 allow tcp 1024-2047 0.0.0.0/0\n 110 allow tcp 4096-65535 0.0.0.0/0", "", "tcp 2048-4095 peers 0.0.0.0/0"},
	} {
		d := aclOf(t, c.from).Difference(flow.Egress, aclOf(t, c.to))
		opened, closed := strings.TrimSpace(lines(d.Opened)), strings.TrimSpace(lines(d.Closed))
		if opened != c.opened || closed != c.closed {
			t.Errorf("%s to %s: got %q and %q, want %q and %q", c.from, c.to, opened, closed, c.opened, c.closed)
		}
		if d.IsEmpty() != (c.opened+c.closed == "") {
			t.Errorf("%s to %s: IsEmpty is %t", c.from, c.to, d.IsEmpty())
		}
		if d := aclOf(t, c.from).Difference(flow.Ingress, aclOf(t, c.to)); !d.IsEmpty() {
			t.Errorf("%s to %s: got %v for ingress, want nothing", c.from, c.to, d)
		}
	}
}

func TestICMPDifferenceWords(t *testing.T) {
	icmp := func(icmpType, icmpCode int) GroupRule {
		return GroupRule{Protocol: 1, ICMPType: icmpType, ICMPCode: icmpCode, GroupRef: "sg-1"}
	}
	for _, c := range []struct {
		from, to       []GroupRule
		opened, closed string
	}{
		{nil, []GroupRule{icmp(3, 4)}, "icmp type 3 code 4 peers sg-1", ""},
		{[]GroupRule{icmp(3, 4)}, []GroupRule{icmp(3, -1)}, "icmp type 3 but code 4 peers sg-1", ""},
		{[]GroupRule{icmp(3, 4)}, []GroupRule{icmp(-1, -1)}, "icmp type 3 but code 4 peers sg-1\nicmp but type 3 peers sg-1", ""},
		{[]GroupRule{icmp(3, 4), icmp(3, -1)}, []GroupRule{icmp(3, -1)}, "", ""},
		{[]GroupRule{icmp(8, -1)}, []GroupRule{icmp(0, -1)}, "icmp type 0 peers sg-1", "icmp type 8 peers sg-1"},
	} {
		from, to := &SecurityGroup{Ingress: c.from}, &SecurityGroup{Ingress: c.to}
		d := from.Difference(flow.Ingress, to)
		opened, closed := strings.TrimSpace(lines(d.Opened)), strings.TrimSpace(lines(d.Closed))
		if opened != c.opened || closed != c.closed {
			t.Errorf("%v to %v: got %q and %q, want %q and %q", c.from, c.to, opened, closed, c.opened, c.closed)
		}
	}
}

// TestOddEntries has entries that EC2 would not accept. They match what
// Evaluate says that they match, which is nothing for most.
func TestOddEntries(t *testing.T) {
	some := netip.MustParsePrefix("10.0.0.0/8")
	for _, c := range []struct {
		name string
		e    Entry
		want string
	}{
		{"no prefix", Entry{Protocol: -1}, ""},
		{"prefix too long", Entry{Protocol: -1, Prefix: netip.PrefixFrom(some.Addr(), 64)}, ""},
		{"no such protocol", Entry{Protocol: 300, Prefix: some}, ""},
		{"negative protocol", Entry{Protocol: -2, Prefix: some}, ""},
		{"no such ICMP type", Entry{Protocol: 1, Prefix: some, ICMPType: 256, ICMPCode: -1}, ""},
		{"negative ICMP code", Entry{Protocol: 1, Prefix: some, ICMPType: 3, ICMPCode: -2}, ""},
		{"ports turned round", Entry{Protocol: 6, Prefix: some, HasPorts: true, Ports: PortRange{90, 80}}, ""},
		{"IPv4 in IPv6", Entry{Protocol: 47, Prefix: netip.MustParsePrefix("::ffff:10.0.0.0/104")}, "protocol 47 peers ::ffff:10.0.0.0/104"},
		{"bits of the host", Entry{Protocol: 47, Prefix: netip.MustParsePrefix("10.1.2.3/8")}, "protocol 47 peers 10.0.0.0/8"},
		{"end of IPv6", Entry{Protocol: 47, Prefix: netip.MustParsePrefix("ffff::/16")}, "protocol 47 peers ffff::/16"},
		{"default deny that allows", Entry{Protocol: 47, Prefix: some, RuleNumber: DefaultRule}, "protocol 47 peers 10.0.0.0/8"},
	} {
		c.e.Allow = true
		a := &NetworkACL{Entries: []Entry{c.e}}
		if got := strings.TrimSpace(lines(a.Allowed(flow.Ingress))); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
		d := (&NetworkACL{}).Difference(flow.Ingress, a)
		if got := strings.TrimSpace(lines(d.Opened)); got != c.want || len(d.Closed) > 0 {
			t.Errorf("%s: got %q opened and %v closed, want %q", c.name, got, d.Closed, c.want)
		}
	}
}

// TestPacketsOfCallers has packets that no filter returned.
func TestPacketsOfCallers(t *testing.T) {
	at := func(from, to string) Packets {
		return Packets{From: netip.MustParseAddr(from), To: netip.MustParseAddr(to), ICMPType: -1, ICMPCode: -1}
	}
	all := at("0.0.0.0", "255.255.255.255")
	all.Protocol, all.Ports = AllProtocols, AllPorts()
	tcp := at("10.0.0.0", "10.0.0.255")
	tcp.Protocol, tcp.Ports = 6, Ports(PortRange{80, 90})
	icmp := at("10.0.0.0", "10.0.0.255")
	icmp.Protocol = 1
	turned := at("10.0.0.9", "10.0.0.1")
	turned.Protocol = -1
	mixed := at("10.0.0.9", "::1")
	mixed.Protocol = -1
	zone := at("fe80::1%eth0", "fe80::2%eth0")
	zone.Protocol = 47
	for _, c := range []struct {
		name string
		got  []Packets
		want string
	}{
		{"all but tcp", SubtractPackets([]Packets{all}, []Packets{tcp}),
			"tcp 0-65535 peers 0.0.0.0-9.255.255.255\ntcp 0-79;91-65535 peers 10.0.0.0/24\ntcp 0-65535 peers 10.0.1.0-255.255.255.255\n" +
				"udp 0-65535 peers 0.0.0.0/0\nall protocols but tcp, udp peers 0.0.0.0/0"},
		{"tcp in all", IntersectPackets([]Packets{tcp}, []Packets{all}), "tcp 80-90 peers 10.0.0.0/24"},
		{"tcp but all", SubtractPackets([]Packets{tcp}, []Packets{all}), ""},
		{"icmp has no ports", IntersectPackets([]Packets{icmp}, []Packets{all}), "icmp peers 10.0.0.0/24"},
		{"twice", SubtractPackets([]Packets{tcp, tcp}, nil), "tcp 80-90 peers 10.0.0.0/24"},
		{"turned round", SubtractPackets([]Packets{turned}, nil), ""},
		{"of two families", SubtractPackets([]Packets{mixed}, nil), ""},
		{"nobody", SubtractPackets([]Packets{{Protocol: AllProtocols}}, nil), ""},
		{"nothing", IntersectPackets(nil, nil), ""},
	} {
		if got := strings.TrimSpace(lines(c.got)); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	if got := SubtractPackets([]Packets{zone}, []Packets{zone}); len(got) != 0 {
		t.Errorf("zone: got %v, want nothing", got)
	}
	if got := all.String(); got != "all protocols peers 0.0.0.0/0" {
		t.Errorf("got %s", got)
	}
}

func TestPrefixes(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"10.0.0.0", "10.0.0.0", "10.0.0.0/32"},
		{"10.0.0.0", "10.0.0.2", "10.0.0.0/31 10.0.0.2/32"},
		{"10.0.0.1", "10.0.0.6", "10.0.0.1/32 10.0.0.2/31 10.0.0.4/31 10.0.0.6/32"},
		{"0.0.0.0", "255.255.255.255", "0.0.0.0/0"},
		{"128.0.0.0", "255.255.255.255", "128.0.0.0/1"},
		{"255.255.255.255", "255.255.255.255", "255.255.255.255/32"},
		{"::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::/0"},
		{"2001:db8::1", "2001:db8::3", "2001:db8::1/128 2001:db8::2/127"},
		{"10.0.0.2", "10.0.0.1", ""},
		{"10.0.0.2", "::1", ""},
	} {
		p := Packets{From: netip.MustParseAddr(c.from), To: netip.MustParseAddr(c.to)}
		var words []string
		for _, prefix := range p.Prefixes() {
			words = append(words, prefix.String())
		}
		if got := strings.Join(words, " "); got != c.want {
			t.Errorf("%s to %s: got %s, want %s", c.from, c.to, got, c.want)
		}
	}
	if got := (Packets{Ref: "sg-1"}).Prefixes(); got != nil {
		t.Errorf("a reference has the prefixes %v", got)
	}
}

// TestPrefixesAgainstEveryAddress checks that ranges are covered exactly, and
// with no two prefixes that one could stand for.
func TestPrefixesAgainstEveryAddress(t *testing.T) {
	for from := range 64 {
		for to := from; to < 64; to++ {
			p := Packets{From: netip.AddrFrom4([4]byte{10, 0, 0, byte(from)}), To: netip.AddrFrom4([4]byte{10, 0, 0, byte(to)})}
			prefixes := p.Prefixes()
			var as []Allowance
			for _, prefix := range prefixes {
				as = append(as, Allowance{prefix, AllPorts()})
			}
			if len(Merge(as)) != len(prefixes) {
				t.Errorf("%d to %d: %v can be fewer", from, to, prefixes)
			}
			for i := range 80 {
				a := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
				held := slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
				if held != (from <= i && i <= to) {
					t.Errorf("%d to %d: %v is held: %t", from, to, a, held)
				}
			}
		}
	}
}

// manyEntries returns a network ACL with 40 different entries for the
// ephemeral ports of as many peers.
func manyEntries(seed uint64) *NetworkACL {
	rng := rand.New(rand.NewPCG(45, seed))
	a := &NetworkACL{ID: "acl-1"}
	for i := range 40 {
		from := uint16(1024 + rng.IntN(60000))
		peer := netip.AddrFrom4([4]byte{byte(rng.IntN(4)), byte(rng.IntN(4)), byte(rng.IntN(256)), 0})
		a.Entries = append(a.Entries, Entry{
			RuleNumber: 10*i + 10, Allow: rng.IntN(4) > 0, Egress: true, ICMPType: -1, ICMPCode: -1,
			Protocol: []int{-1, 6, 6, 17, 1, 50 + rng.IntN(20)}[rng.IntN(6)],
			Prefix:   netip.PrefixFrom(peer, 8*rng.IntN(4)).Masked(), HasPorts: true, Ports: PortRange{from, from + uint16(rng.IntN(4000))},
		})
	}
	return a
}

func BenchmarkDifference(b *testing.B) {
	from, to := manyEntries(1), manyEntries(2)
	b.ReportAllocs()
	for b.Loop() {
		from.Difference(flow.Egress, to)
	}
}
