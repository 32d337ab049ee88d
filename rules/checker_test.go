package rules

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"ephemera/ingest/flow"
)

// randomNetwork draws a snapshot in which everything that Check looks at
// occurs, and lacks, in a small universe of addresses.
func randomNetwork(rng *rand.Rand) *Network {
	n := newNetwork(fixtureTime)
	some := func(kind string, of int) string { return fmt.Sprint(kind, "-", rng.IntN(of)) }
	for k := range 2 {
		n.subnets[fmt.Sprint("subnet-", k)] = &Subnet{ID: fmt.Sprint("subnet-", k), VPCID: some("vpc", 2), Prefixes: mixedPrefixes(rng, 2)}
	}
	for k := range 3 {
		a := mixedACL(rng, fmt.Sprint("acl-", k))
		a.VPCID, a.IsDefault, a.Subnets = some("vpc", 2), rng.IntN(2) == 0, []string{some("subnet", 2)}
		n.acls[a.ID] = a
		g := mixedGroup(rng, some("sg", 3))
		n.groups[g.ID] = g
	}
	for k := range 8 {
		n.interfaces[fmt.Sprint("eni-", k)] = randomInterface(rng, fmt.Sprint("eni-", k))
	}
	for k, id := range []string{"nat-0", "nat-2"} {
		g := &NATGateway{ID: id, SubnetID: some("subnet", 3)}
		if rng.IntN(2) == 0 { // as AWS makes them; else as half a snapshot says
			i := &Interface{ID: fmt.Sprint("eni-", k), SubnetID: g.SubnetID, VPCID: "vpc-0", Type: "nat_gateway"}
			n.interfaces[i.ID], g.Interfaces = i, []string{i.ID}
		}
		n.nats[id] = g
	}
	n.nats["nat-1"] = &NATGateway{ID: "nat-1", Regional: true}
	for range rng.IntN(4) {
		t := &routeTable{vpcID: some("vpc", 2), main: rng.IntN(2) == 0, subnets: []string{some("subnet", 2)}}
		for range rng.IntN(6) {
			r := Route{Target: []string{"local", "igw-0", some("nat", 3), some("eni", 8)}[rng.IntN(4)], Prefix: mixedPrefix(rng).Masked(), Propagated: rng.IntN(4) == 0}
			if rng.IntN(4) == 0 {
				r.PrefixList = some("pl", 2)
			}
			t.routes = append(t.routes, r)
		}
		n.tables = append(n.tables, t)
	}
	for range rng.IntN(3) {
		n.prefixLists[some("pl", 2)] = mixedPrefixes(rng, 3)
	}
	n.index()
	return n
}

func mixedPrefixes(rng *rand.Rand, most int) (ps []netip.Prefix) {
	for range rng.IntN(most + 1) {
		ps = append(ps, mixedPrefix(rng))
	}
	return ps
}

func randomInterface(rng *rand.Rand, id string) *Interface {
	i := &Interface{ID: id, SubnetID: fmt.Sprint("subnet-", rng.IntN(3)), VPCID: "vpc-0"}
	if rng.IntN(5) == 0 {
		i.SubnetID = ""
	}
	if rng.IntN(5) == 0 {
		i.Type = "nat_gateway"
	}
	for range rng.IntN(3) {
		i.Groups = append(i.Groups, fmt.Sprint("sg-", rng.IntN(3)))
		i.Addrs = append(i.Addrs, flow.AddrFrom(mixedPrefix(rng).Addr()))
	}
	if rng.IntN(5) == 0 {
		i.Prefixes = mixedPrefixes(rng, 2)
	}
	return i
}

// peersOf returns the far ends before, at and behind every edge that the
// snapshot has.
func peersOf(n *Network) []flow.Addr {
	prefixes := []netip.Prefix{allOf4, netip.PrefixFrom(netip.IPv6Unspecified(), 0), netip.MustParsePrefix("::1/128")}
	for _, s := range n.subnets {
		prefixes = append(prefixes, s.Prefixes...)
	}
	for _, a := range n.acls {
		for _, e := range a.Entries {
			prefixes = append(prefixes, e.Prefix)
		}
	}
	for _, g := range n.groups {
		for _, r := range slices.Concat(g.Ingress, g.Egress) {
			prefixes = append(prefixes, r.Prefix)
		}
	}
	for _, t := range n.tables {
		for _, r := range t.routes {
			prefixes = append(prefixes, r.Prefix)
		}
	}
	for _, list := range n.prefixLists {
		prefixes = append(prefixes, list...)
	}
	for _, i := range n.interfaces {
		prefixes = append(prefixes, i.Prefixes...)
		for _, a := range i.Addrs {
			prefixes = append(prefixes, a.Prefix(a.Netip().BitLen()))
		}
	}
	peers := []flow.Addr{{}}
	for _, p := range prefixes {
		if p.IsValid() {
			first, last := p.Masked().Addr(), lastAddr(p)
			for _, a := range []netip.Addr{first.Prev(), first, last, last.Next()} {
				peers = append(peers, flow.AddrFrom(a))
			}
		}
	}
	return peers
}

// TestCheckerAgainstCheck asks a Checker with much room, with little and with
// none what it asks the network.
func TestCheckerAgainstCheck(t *testing.T) {
	rng := rand.New(rand.NewPCG(46, 1))
	shared, kinds := 0, map[string]int{}
	for range rounds(400) {
		n := randomNetwork(rng)
		peers := peersOf(n)
		checkers := []*Checker{newChecker(n, checkerRoom), newChecker(n, rng.IntN(2000)), newChecker(n, 0)}
		for range 600 {
			p := flow.Tuple{
				Src: peers[rng.IntN(len(peers))], Dst: peers[rng.IntN(len(peers))], SrcPort: 1, DstPort: mixedPorts(rng).To + uint16(rng.IntN(3)) - 1,
				Proto: flow.Proto([]int{6, 6, 6, 17, 1, 58, 47, rng.IntN(256)}[rng.IntN(8)]),
			}
			id := []string{fmt.Sprint("eni-", rng.IntN(10)), fmt.Sprint("nat-", rng.IntN(4))}[min(1, rng.IntN(8)/7)]
			dir, reply := flow.Direction(min(rng.IntN(20), 2-rng.IntN(2))), rng.IntN(3) == 0
			want := n.Check(id, dir, p, reply)
			for _, c := range checkers {
				got := c.Interface(id).Check(dir, p, reply)
				checkAnswer(t, fmt.Sprint(id, dir, p, reply), got, want)
				if again := c.Interface(id).Check(dir, p, reply); again != got {
					t.Fatalf("%s %v %v: the same packet has two answers", id, dir, p)
				}
			}
			kinds[fmt.Sprint(len(want.Verdicts), want.Unknown, want.namesPeer)]++
		}
		shared = max(shared, len(checkers[0].answers))
	}
	for _, kind := range []string{"0 false false", "1 false false", "2 false false", "0 true false", "1 true false", "1 false true", "0 false true", "0 true true"} {
		if kinds[kind] < 50 && !testing.Short() {
			t.Errorf("%d packets of the kind %q (verdicts, unknown, named); want more: %v", kinds[kind], kind, kinds)
		}
	}
	if shared > 500 {
		t.Errorf("%d different answers of one small network", shared)
	}
}

func checkAnswer(t *testing.T, packet string, got *Answer, want Check) {
	t.Helper()
	if !reflect.DeepEqual(got.Verdicts, want.Verdicts) || got.Unknown != want.Unknown {
		t.Fatalf("%s: got\n%s\nwant\n%s", packet, show(got.Check), show(want))
	}
	names := slices.ContainsFunc(want.Notes, func(note string) bool { return strings.Contains(note, "the next hop to") })
	if got.NamesPeer != names || !names && !slices.Equal(got.Notes, want.Notes) {
		t.Fatalf("%s: got notes %q, named %t, want %q", packet, got.Notes, got.NamesPeer, want.Notes)
	}
}

func TestCheckerWithoutSnapshot(t *testing.T) {
	var n *Network
	c := NewChecker(nil)
	for _, dir := range []flow.Direction{flow.NoDirection, in, out} {
		p := tcp("10.0.1.5:40000", "203.0.113.200:21")
		checkAnswer(t, dir.String(), c.Interface("eni-0").Check(dir, p, false), n.Check("eni-0", dir, p, false))
	}
}

// TestCheckerStopsAtItsRoom sees that what a Checker remembers is bounded,
// whatever is asked.
func TestCheckerStopsAtItsRoom(t *testing.T) {
	rng := rand.New(rand.NewPCG(46, 2))
	n := randomNetwork(rng)
	peers := peersOf(n)
	c := newChecker(n, 500)
	for range 20000 {
		p := flow.Tuple{Src: peers[rng.IntN(len(peers))], Dst: peers[rng.IntN(len(peers))], DstPort: uint16(rng.IntN(65536)), Proto: flow.Proto(rng.IntN(256))}
		c.Interface(fmt.Sprint("eni-", rng.IntN(8))).Check(flow.Direction(1+rng.IntN(2)), p, rng.IntN(2) == 0)
	}
	words := 0
	for _, p := range c.profiles {
		words += 2 * (len(p.edges[0]) + len(p.edges[1]))
		for _, kinds := range p.lines {
			for _, lines := range kinds {
				words += len(lines)
				for _, l := range lines {
					if l != nil {
						words += portLineWords + 2*len(l.from)
					}
				}
			}
		}
	}
	if c.room != 0 || words > 500 || words < 250 {
		t.Errorf("it remembers %d words of 500, and has room for %d", words, c.room)
	}
}

func TestCheckerAllocatesNothing(t *testing.T) {
	c := NewChecker(fixture(t))
	at := c.Interface("eni-client")
	p := tcp("10.0.1.5:40000", "203.0.113.200:21")
	at.Check(out, p, false)
	if allocs := testing.AllocsPerRun(100, func() { c.Interface("eni-client").Check(out, p, false) }); allocs != 0 {
		t.Errorf("%v allocations for an answer that is there", allocs)
	}
}

// BenchmarkChecker asks for packets that were asked for before.
func BenchmarkChecker(b *testing.B) {
	c := NewChecker(fixture(b))
	p := tcp("10.0.1.5:40000", "203.0.113.200:21")
	rng := rand.New(rand.NewPCG(46, 3))
	peers := make([]flow.Addr, 1<<12)
	for i := range peers {
		peers[i] = flow.AddrFrom4(rng.Uint32())
	}
	at := c.Interface("eni-client")
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p.Dst, p.DstPort = peers[i%len(peers)], uint16(i)
		at.Check(out, p, false)
	}
}
