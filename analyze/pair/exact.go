package pair

import (
	"math"
	"slices"
)

// mostWays is how many ways of giving its data connections a component has at
// most to be counted instead of sampled: that is exact, and costs less.
const mostWays = 2000

// ways is how many ways there are, or more than mostWays.
func (g *Group) ways() int {
	n := 1
	for _, d := range g.Data {
		if n *= len(d.Candidates) + 2; n > mostWays {
			return n
		}
	}
	return n
}

// visit visits every way to give data connections from d on, with its
// log-likelihood.
func (s *state) visit(d int, sum float64, f func(log float64)) {
	if d == len(s.given) {
		f(sum)
		return
	}
	for k := stray; k < len(s.pairs[d]); k++ {
		w := s.worth(d, k)
		s.give(d, k)
		s.visit(d+1, sum+w, f)
		s.take(d)
	}
}

// countAll weighs all ways of a component.
func countAll(m *Model, g *Group) *Posterior {
	r := newPosterior(g)
	s := newState(m, g, 1)
	var logs []float64
	s.visit(0, 0, func(log float64) { logs = append(logs, log) })
	draws := make([][]int, m.starts)
	for i := range draws {
		draws[i] = make([]int, len(g.Data))
	}
	best, total, n := slices.Max(logs), 0.0, 0
	s.visit(0, 0, func(float64) {
		weight := math.Exp(logs[n] - best)
		n++
		total += weight
		for d, k := range s.given {
			switch k {
			case foreign:
				r.Answers[d].Foreign += weight
			case stray:
				r.Answers[d].Stray += weight
			default:
				r.Answers[d].Shares[k] += weight
			}
		}
		r.count(s, weight)
		for i := range draws {
			if s.rng.Float64()*total < weight { // each way in proportion
				copy(draws[i], s.given)
			}
		}
	})
	r.Draws = draws
	r.divide(total, m.strain)
	return r
}
