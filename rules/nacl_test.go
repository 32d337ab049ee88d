package rules

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ephemera/ingest/flow"
)

// literalFirstMatch is the slow and obvious network ACL: it looks for the
// matching entry with the lowest number, whatever their order.
func literalFirstMatch(a *NetworkACL, dir flow.Direction, p flow.Tuple) (allow bool, ruleNumber int) {
	ruleNumber = 32767
	peer := p.Src.Netip()
	if dir == flow.Egress {
		peer = p.Dst.Netip()
	}
	if peer.Is6() {
		ruleNumber = 32768
	}
	for _, e := range a.Entries {
		if e.Egress != (dir == flow.Egress) || !e.Prefix.Contains(peer) {
			continue
		}
		if e.Protocol != -1 && e.Protocol != int(p.Proto) {
			continue
		}
		hasPorts := e.Protocol == 6 || e.Protocol == 17
		if hasPorts && e.HasPorts && (p.DstPort < e.Ports.From || p.DstPort > e.Ports.To) {
			continue
		}
		if e.RuleNumber < ruleNumber {
			allow, ruleNumber = e.Allow, e.RuleNumber
		}
	}
	return allow, ruleNumber
}

var oracleProtocols = []flow.Proto{flow.TCP, flow.UDP, flow.ICMP, 50}

// randomACL draws entries from few prefixes that nest and touch, so that
// they shadow each other.
func randomACL(rng *rand.Rand) *NetworkACL {
	a := &NetworkACL{ID: "acl-1"}
	numbers := rng.Perm(200)
	for i := range rng.IntN(10) {
		a.Entries = append(a.Entries, Entry{
			RuleNumber: numbers[i] + 1, Allow: rng.IntN(2) == 0, Egress: rng.IntN(2) == 0,
			Protocol: []int{-1, 6, 6, 6, 17, 1, 50}[rng.IntN(7)],
			Prefix:   randomPrefix(rng), Ports: randomRange(rng), HasPorts: rng.IntN(4) > 0,
			ICMPType: -1, ICMPCode: -1,
		})
	}
	return a
}

func randomPrefix(rng *rand.Rand) netip.Prefix {
	if rng.IntN(4) == 0 {
		return randomAddr6(rng).Prefix([]int{0, 32, 64, 126, 128}[rng.IntN(5)])
	}
	return randomAddr4(rng).Prefix([]int{0, 8, 24, 28, 30, 31, 32}[rng.IntN(7)])
}

func randomAddr4(rng *rand.Rand) flow.Addr { return flow.AddrFrom4(0x0a000000 + uint32(rng.IntN(32))) }

func randomAddr6(rng *rand.Rand) flow.Addr {
	a := netip.MustParseAddr("2001:db8::").As16()
	a[15] = byte(rng.IntN(8))
	return flow.AddrFrom(netip.AddrFrom16(a))
}

func randomPacket(rng *rand.Rand, a *NetworkACL) flow.Tuple {
	p := flow.Tuple{Src: randomAddr4(rng), Dst: randomAddr4(rng), SrcPort: 1, Proto: oracleProtocols[rng.IntN(4)]}
	if rng.IntN(4) == 0 {
		p.Src, p.Dst = randomAddr6(rng), randomAddr6(rng)
	}
	p.DstPort = uint16(rng.IntN(65536))
	if len(a.Entries) > 0 {
		r := a.Entries[rng.IntN(len(a.Entries))].Ports
		p.DstPort = []uint16{r.From, r.To, r.From - 1, r.To + 1}[rng.IntN(4)]
	}
	return p
}

func TestEvaluateAgainstFirstMatch(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	for range 2000 {
		a := randomACL(rng)
		shuffled := &NetworkACL{ID: a.ID, Entries: slices.Clone(a.Entries)}
		a.Sort()
		for range 20 {
			dir := []flow.Direction{flow.Ingress, flow.Egress}[rng.IntN(2)]
			p := randomPacket(rng, a)
			allow, number := literalFirstMatch(shuffled, dir, p)
			got := a.Evaluate(dir, p)
			if got.Allow != allow || got.RuleNumber != number || got.Default != (number > 32766) || got.ID != "acl-1" || got.Layer != NACL {
				t.Fatalf("%v %v by %v:\ngot  %+v\nwant allow %v, rule %d", dir, p, a.Entries, got, allow, number)
			}
		}
	}
}

// TestICMPTypesAgainstEveryType tries every type and code: when they do not
// all have one outcome, decide must be unsure, and when it is sure it must
// give that outcome.
func TestICMPTypesAgainstEveryType(t *testing.T) {
	rng := rand.New(rand.NewPCG(17, 18))
	p := packet(flow.ICMP, "10.0.0.1:0", "10.0.0.2:0")
	unsureOnes := 0
	for range 500 {
		a := randomICMPACL(rng)
		e, unsure := a.decide(flow.Ingress, p)
		outcomes := map[bool]bool{}
		for icmpType := range 8 {
			for code := range 8 {
				outcomes[literalICMP(a, icmpType, code)] = true
			}
		}
		if !unsure && (len(outcomes) != 1 || !outcomes[e.Allow]) {
			t.Fatalf("%v: surely %v, but %v is possible", a.Entries, e, outcomes)
		}
		if unsure {
			unsureOnes++
		}
	}
	if unsureOnes == 0 || unsureOnes == 500 {
		t.Errorf("%d of 500 were unsure", unsureOnes)
	}
}

func randomICMPACL(rng *rand.Rand) *NetworkACL {
	a := &NetworkACL{}
	for k := range 5 {
		a.Entries = append(a.Entries, Entry{
			RuleNumber: k + 1, Allow: rng.IntN(2) == 0, Protocol: int(flow.ICMP), Prefix: randomAddr4(rng).Prefix(0),
			ICMPType: rng.IntN(9) - 1, ICMPCode: rng.IntN(2) - 1,
		})
	}
	return a
}

func literalICMP(a *NetworkACL, icmpType, code int) bool {
	for _, e := range a.Entries {
		if (e.ICMPType == -1 || e.ICMPType == icmpType) && (e.ICMPCode == -1 || e.ICMPCode == code) {
			return e.Allow
		}
	}
	return false
}

func TestSegmentsAgainstEveryPort(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	for range 12 {
		a := randomACL(rng)
		a.Sort()
		dir := []flow.Direction{flow.Ingress, flow.Egress}[rng.IntN(2)]
		p := randomPacket(rng, a)
		peer := peerOf(dir, p)
		segments := a.Segments(dir, peer, p.Proto)
		next := 0
		for i, s := range segments {
			if int(s.Ports.From) != next || s.Ports.To < s.Ports.From {
				t.Fatalf("segment %d of %v starts at %d, want %d", i, a.Entries, s.Ports.From, next)
			}
			if i > 0 && s.Verdict == segments[i-1].Verdict {
				t.Fatalf("segments %d and %d of %v have one verdict", i-1, i, a.Entries)
			}
			for port := next; port <= int(s.Ports.To); port++ {
				p.DstPort = uint16(port)
				if want := a.Evaluate(dir, p); s.Verdict != want {
					t.Fatalf("%v %v: got %+v, want %+v", dir, p, s.Verdict, want)
				}
			}
			next = int(s.Ports.To) + 1
		}
		if next != 65536 {
			t.Fatalf("the segments of %v end at %d", a.Entries, next-1)
		}
	}
}

func TestAllowedPortsAgainstEveryAddress(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 14))
	for range 400 {
		a := randomACL(rng)
		a.Sort()
		dir := []flow.Direction{flow.Ingress, flow.Egress}[rng.IntN(2)]
		proto := oracleProtocols[rng.IntN(4)]
		peer := randomAddr4(rng).Prefix(26 + rng.IntN(7))
		if rng.IntN(4) == 0 {
			peer = randomAddr6(rng).Prefix(124 + rng.IntN(5))
		}
		every, some := a.AllowedPorts(dir, peer, proto)
		wantEvery, wantSome := AllPorts(), PortSet{}
		for addr := peer.Addr(); peer.Contains(addr); addr = addr.Next() {
			allowed := a.allowed(dir, addr, proto)
			wantEvery, wantSome = wantEvery.Intersect(allowed), wantSome.Union(allowed)
		}
		if !every.Equal(wantEvery) || !some.Equal(wantSome) {
			t.Fatalf("%v %v %v by %v:\ngot  %v and %v\nwant %v and %v", dir, proto, peer, a.Entries, every, some, wantEvery, wantSome)
		}
	}
}

func TestAllowedPortsWithoutPeer(t *testing.T) {
	a := &NetworkACL{Entries: []Entry{{RuleNumber: 1, Allow: true, Protocol: -1, Prefix: netip.MustParsePrefix("0.0.0.0/0")}}}
	for peer, want := range map[netip.Prefix]string{
		{}:                                  "",
		netip.MustParsePrefix("0.0.0.0/0"):  "0-65535",
		netip.MustParsePrefix("::/0"):       "",
		netip.MustParsePrefix("10.1.2.3/8"): "0-65535",
	} {
		every, some := a.AllowedPorts(flow.Ingress, peer, flow.TCP)
		if every.String() != want || some.String() != want {
			t.Errorf("%v: got %v and %v, want %s", peer, every, some, want)
		}
	}
}

func TestEntryWords(t *testing.T) {
	n := fixture(t)
	for id, want := range map[string]string{
		"acl-public": `
			rule 95 deny tcp 20000-32767 from 0.0.0.0/0
			rule 100 allow tcp 1024-65535 from 0.0.0.0/0
			rule 110 allow tcp 21 from 10.0.1.0/24
			rule 120 allow icmp type 3 code 4 from 0.0.0.0/0
			rule 130 allow protocol 50 from 0.0.0.0/0
			* deny all
			rule 100 allow tcp 21 to 0.0.0.0/0
			rule 110 allow tcp 32768-65535 to 0.0.0.0/0
			* deny all`,
		"acl-private": `
			rule 100 allow tcp 32768-60999 from 0.0.0.0/0
			rule 101 allow icmpv6 from ::/0
			rule 100 allow tcp 21 to 0.0.0.0/0
			rule 101 allow tcp 21 to ::/0`,
		"acl-default-a": `
			rule 100 allow all from 0.0.0.0/0
			* deny all
			rule 100 allow all to 0.0.0.0/0
			* deny all`,
		"acl-b": ``,
	} {
		var words []string
		for _, e := range n.ACL(id).Entries {
			words = append(words, e.String())
		}
		if got, want := strings.Join(words, "\n"), unindent(want); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", id, got, want)
		}
	}
}

func unindent(text string) string {
	return strings.ReplaceAll(strings.TrimSpace(text), "\n\t\t\t", "\n")
}

func BenchmarkEvaluate(b *testing.B) {
	n := fixture(b)
	p := tcp("203.0.113.10:21", "10.0.0.220:40000")
	b.ReportAllocs()
	for b.Loop() {
		n.ACL("acl-public").Evaluate(flow.Ingress, p)
	}
}
