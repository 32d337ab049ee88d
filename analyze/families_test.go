package analyze

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"ephemera/ingest/flow"
)

// sameEndHash returns two endpoints that share a hash, into which the port
// goes by an exclusive or with the lower half of the address.
func sameEndHash(n byte) (a, b endpoint) {
	x := netip.MustParseAddr("2001:db8::").As16()
	y := x
	x[15], y[15] = n, n
	y[10] = 1
	return endpoint{flow.AddrFrom(netip.AddrFrom16(x)), 1, flow.TCP}, endpoint{flow.AddrFrom(netip.AddrFrom16(y)), 0, flow.TCP}
}

// Families of one set of legs after the other, against comparing each pair of
// legs.
func TestFamiliesAgainstPairs(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 1))
	var f families
	for _, n := range []int{0, 1, 2, 300, 40, 1300, 7, 700, 0, 1400} {
		legs := randomFamilies(rng, n)
		f.of(legs)
		for _, l := range legs {
			var want []*Leg
			for _, m := range legs {
				if m.Header == l.Header || m.Header == l.Header.Reverse() {
					want = append(want, m)
				}
			}
			var got []*Leg
			f.each(l, func(m *Leg) { got = append(got, m) })
			if !slices.Equal(got, want) {
				t.Fatalf("%d legs, %v: got a family of %d, want %d", n, l.Header, len(got), len(want))
			}
			if alone, begins := f.alone(l), f.begins(l); alone != (len(want) == 1) || begins != (want[0] == l) {
				t.Fatalf("%d legs, %v, one of %d: alone: %t, begins: %t", n, l.Header, len(want), alone, begins)
			}
		}
	}
}

// randomFamilies makes legs of which about half are alone. The five-tuples of
// some differ, but not their hashes.
func randomFamilies(rng *rand.Rand, n int) []*Leg {
	legs := make([]*Leg, n)
	for i := range legs {
		h := nthTuple(rng.IntN(n))
		if rng.IntN(4) == 0 {
			a, b := sameEndHash(byte(rng.IntN(n)))
			e := []endpoint{a, b}[rng.IntN(2)]
			h = flow.Tuple{Src: e.addr, Dst: h.Src, SrcPort: e.port, DstPort: 443, Proto: e.proto}
			h.Dst = flow.AddrFrom4(uint32(rng.IntN(2)))
		}
		if rng.IntN(2) == 0 {
			h = h.Reverse()
		}
		legs[i] = &Leg{Header: h}
	}
	return legs
}
