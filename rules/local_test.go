package rules

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"ephemera/ingest/flow"
)

// IsLocal against looking at every subnet and every local route, at the
// borders of all of them, one within the other or not.
func TestIsLocalAgainstScan(t *testing.T) {
	rng := rand.New(rand.NewPCG(15, 1))
	local, foreign := 0, 0
	for range 60 {
		n := randomVPCs(rng)
		for _, vpc := range []string{"vpc-0", "vpc-1", "vpc-2"} {
			for _, a := range n.borders() {
				want := false
				for _, s := range n.subnets {
					for _, p := range s.Prefixes {
						want = want || s.VPCID == vpc && p.Contains(a.Netip())
					}
				}
				for _, table := range n.tables {
					for _, r := range table.routes {
						want = want || table.vpcID == vpc && r.Target == "local" && r.Prefix.Contains(a.Netip())
					}
				}
				if got := n.IsLocal(vpc, a); got != want {
					t.Fatalf("%s, %s: got %t, want %t", vpc, a, got, want)
				}
				if want {
					local++
				} else {
					foreign++
				}
			}
		}
	}
	if local < 1000 || foreign < 1000 {
		t.Errorf("%d local addresses and %d others prove little", local, foreign)
	}
}

// randomVPCs makes a few subnets and routes of two VPCs, which overlap.
func randomVPCs(rng *rand.Rand) *Network {
	prefix := func() netip.Prefix {
		a := netip.AddrFrom4([4]byte{10, byte(rng.IntN(2)), byte(rng.IntN(4)), byte(64 * rng.IntN(4))})
		bits := 8 + rng.IntN(25)
		if rng.IntN(3) == 0 {
			a = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 7: byte(rng.IntN(4)), 15: byte(rng.IntN(4))})
			bits = 32 + rng.IntN(97)
		}
		return netip.PrefixFrom(a, bits).Masked()
	}
	n := &Network{subnets: map[string]*Subnet{}}
	for i := range rng.IntN(8) {
		s := &Subnet{ID: fmt.Sprint("subnet-", i), VPCID: fmt.Sprint("vpc-", rng.IntN(2))}
		for range rng.IntN(3) {
			s.Prefixes = append(s.Prefixes, prefix())
		}
		n.subnets[s.ID] = s
	}
	for range rng.IntN(4) {
		table := &routeTable{vpcID: fmt.Sprint("vpc-", rng.IntN(2))}
		for range rng.IntN(4) {
			table.routes = append(table.routes, Route{Prefix: prefix(), Target: []string{"local", "igw-1"}[rng.IntN(2)]})
		}
		n.tables = append(n.tables, table)
	}
	n.index()
	return n
}

// borders returns the first and the last address of all subnets and routes,
// and those next to them.
func (n *Network) borders() []flow.Addr {
	addrs := []flow.Addr{{}, addr("10.0.0.0"), addr("2001:db8::1")}
	add := func(p netip.Prefix) {
		last := p.Addr().AsSlice()
		for i := p.Bits(); i < 8*len(last); i++ {
			last[i/8] |= 0x80 >> (i % 8)
		}
		end, _ := netip.AddrFromSlice(last)
		for _, a := range []netip.Addr{p.Addr(), p.Addr().Prev(), end, end.Next()} {
			addrs = append(addrs, flow.AddrFrom(a))
		}
	}
	for _, s := range n.subnets {
		for _, p := range s.Prefixes {
			add(p)
		}
	}
	for _, t := range n.tables {
		for _, r := range t.routes {
			add(r.Prefix)
		}
	}
	return addrs
}
