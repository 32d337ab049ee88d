package pair

import (
	"math"
	"math/rand/v2"
	"testing"
)

// A line whose first transfers were settled gains what it gains with them as
// members: the rest of a log can be decided without them.
func TestSettledTransfersWeighLikeMembers(t *testing.T) {
	settled := 0
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 4))
		p := randomPriors(rng)
		m := NewModel(p)
		g := randomGroup(rng, p, 1+rng.IntN(3), 2+rng.IntN(6))
		inOrderOfEnds(g)
		half := 1 + rng.IntN(len(g.Data)-1)
		given := randomState(rng, g)
		whole := newState(m, g, 1)
		for d, k := range given[:half] {
			whole.give(d, k)
		}
		rest := &Group{Controls: g.Controls, Data: g.Data[half:], Until: g.Until}
		for d, k := range given[:half] {
			if k >= 0 {
				g.Settle(m, g.Data[d], k)
				settled++
			}
		}
		later := newState(m, rest, 1)
		for d := half; d < len(g.Data); d++ {
			for k := range g.Data[d].Candidates {
				a, b := &whole.pairs[d][k], &later.pairs[d-half][k]
				got, want := later.lines[b.control].gain(d-half, b), whole.lines[a.control].gain(d, a)
				if !near(got, want, want) {
					t.Errorf("seed %d: data connection %d gains %v on candidate %d after a decision, want %v", seed, d, got, k, want)
				}
			}
			whole.give(d, given[d])
			later.give(d-half, given[d])
		}
	}
	if settled < 200 {
		t.Errorf("%d were settled", settled)
	}
}

// inOrderOfEnds makes the data connections end in the order in which they
// start: of those that overlap, Settle remembers the one that ends last.
func inOrderOfEnds(g *Group) {
	end := int64(math.MinInt64)
	for _, d := range g.Data {
		d.End = max(d.End, end)
		end = d.End
	}
}

// Of overlapping transfers, the one that ends last is what the next one
// comes after.
func TestSettleRemembersTheLastEnd(t *testing.T) {
	g := &Group{Controls: []*Control{{Start: 0, End: 500}}, Until: Forever}
	for _, d := range []Data{{Start: 10, End: 100}, {Start: 20, End: 30}, {Start: 40, End: 100}} {
		d.Established, d.Candidates = true, []int{0}
		g.Settle(NewModel(StartPriors()), &d, 0)
	}
	if got, want := g.Controls[0].carried.last, (moment{40, 100, true}); got != want {
		t.Errorf("the last is %v, want %v", got, want)
	}
	if got := g.Controls[0].carried.n; got != 3 {
		t.Errorf("%d are settled, want 3", got)
	}
}
