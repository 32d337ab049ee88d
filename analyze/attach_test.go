package analyze

import (
	"math/rand/v2"
	"testing"

	"ephemera/ingest/flow"
)

// The usual case of attachSame, one connection and one leg, against assign.
func TestAttachOnlyAgainstAssign(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 1))
	hosts := []flow.Addr{hostAt("198.51.100.7"), hostAt("198.51.100.8")}
	leg := func(iface *Interface) *Leg {
		l := &Leg{Interface: iface, HasHeader: rng.IntN(2) == 0, Header: flow.Tuple{Dst: hosts[rng.IntN(20)/19]}}
		for range 1 + rng.IntN(3) {
			start := scenarioStart + rng.Int64N(120)
			l.windows = append(l.windows, window{start: start, end: start + 10, packets: rng.Uint64N(9), bytes: rng.Uint64N(99), forward: rng.IntN(2) == 0, action: flow.Accept})
		}
		l.sum()
		return l
	}
	slot := func(c *Connection) **Leg { return &c.Inside }
	found, lost := 0, 0
	for range 3000 {
		client, l := leg(&Interface{}), leg(&Interface{NAT: rng.IntN(2) == 0})
		c := &Connection{Tuple: flow.Tuple{Dst: hosts[0]}, Client: client}
		var pairs []pairing
		if cost := attachCost(c, l); cost < aloneCost {
			pairs = append(pairs, pairing{0, 0, cost})
		}
		taken := attachSame([]*Connection{c}, []*Leg{l}, slot)
		ps := assign([]int{1}, []int{1}, pairs, aloneCost)[0]
		if len(ps) == 0 {
			if lost++; len(taken) > 0 || c.Inside != nil || c.attached != 0 {
				t.Fatalf("%v: got %v and %v with %v, want nothing", pairs, taken, c.Inside, c.attached)
			}
			continue
		}
		if found++; len(taken) != 1 || !taken[ps[0].col] || c.Inside != l || c.attached != ps[0].mean {
			t.Fatalf("%v: got %v and %v with %v, want %v", pairs, taken, c.Inside, c.attached, ps[0])
		}
	}
	if found < 500 || lost < 500 {
		t.Errorf("%d found and %d lost prove little", found, lost)
	}
}
