package pair

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Sweeps of the sampler, each over all data connections of a group.
const (
	burnIn = 16 // while it cools down
	kept   = 24
	// hottest is the temperature at which a start begins.
	hottest = 10
	// leastStarts and mostStarts are how often a group is started anew, each
	// time perhaps to end in another of the ways that explain the log well.
	leastStarts, mostStarts = 3, 12
	// startsForAll is how many starts of a data connection all of a log may
	// take together.
	startsForAll = 200_000
	// fewStarts are enough when all answers are nearlyCertain by then.
	fewStarts     = 2
	nearlyCertain = 0.95
	// clearly is the probability above which a data connection is clear.
	clearly = 0.9995
	// restSweeps is how seldom clear ones are drawn; it divides kept.
	restSweeps = 8
)

// States of a data connection that no control connection has: foreign is
// another service's, stray is FTP of a session that the log does not show, or
// of one that does not behave as the model expects.
const (
	foreign = -1
	stray   = -2
)

// A state is one way of giving a group's data connections to its control
// connections.
type state struct {
	group *Group
	model *Model
	lines []*line
	pairs [][]pair  // by data connection and candidate
	stray []float64 // what each data connection gains as stray
	given []int     // candidate of each data connection, or foreign
	rng   *rand.Rand
	clear []bool    // by data connection: hardly anything else was possible at last
	log   []float64 // scratch for conditionals
}

func newState(m *Model, g *Group, seed uint64) *state {
	s := &state{group: g, model: m, rng: rand.New(rand.NewPCG(seed, uint64(len(g.Data))))}
	for _, c := range g.Controls {
		s.lines = append(s.lines, newLine(m, g, c))
	}
	s.pairs = make([][]pair, len(g.Data))
	s.given = make([]int, len(g.Data))
	s.clear = make([]bool, len(g.Data))
	for i, d := range g.Data {
		d.x = d.features()
		s.given[i] = foreign
		fixed := math.Inf(-1)
		for _, control := range d.Candidates {
			p := newPair(m, g, d, control)
			fixed = max(fixed, p.fixed)
			s.pairs[i] = append(s.pairs[i], p)
		}
		s.stray = append(s.stray, m.foreign+fixed+m.stray)
	}
	return s
}

// take takes data connection d from the control connection that has it.
func (s *state) take(d int) {
	if k := s.given[d]; k >= 0 {
		p := &s.pairs[d][k]
		s.lines[p.control].remove(d, p)
	}
	s.given[d] = foreign
}

// give gives data connection d, which nobody has, to candidate k.
func (s *state) give(d, k int) {
	if k >= 0 {
		p := &s.pairs[d][k]
		s.lines[p.control].add(d, p)
	}
	s.given[d] = k
}

// worth is the log-likelihood that data connection d, which nobody has, gains
// when it is given to candidate k or is stray or foreign.
func (s *state) worth(d, k int) float64 {
	switch k {
	case foreign:
		return s.model.foreign
	case stray:
		return s.stray[d]
	}
	p := &s.pairs[d][k]
	return s.lines[p.control].gain(d, p)
}

// conditional returns the probabilities of d's candidates, followed by those
// of stray and foreign, given everything else, at a temperature. Nobody has
// d. The slice lasts until the next call.
func (s *state) conditional(d int, temperature float64) []float64 {
	s.log = s.log[:0]
	for k := range s.pairs[d] {
		s.log = append(s.log, s.worth(d, k))
	}
	s.log = append(s.log, s.worth(d, stray), s.worth(d, foreign))
	best := slices.Max(s.log)
	sum := 0.0
	for k, g := range s.log {
		s.log[k] = math.Exp((g - best) / temperature)
		sum += s.log[k]
	}
	for k := range s.log {
		s.log[k] /= sum
	}
	return s.log
}

// stateOf returns the state that an index of conditional stands for, of n.
func stateOf(k, n int) int {
	switch k {
	case n - 1:
		return foreign
	case n - 2:
		return stray
	}
	return k
}

// draw draws a state in proportion to the probabilities.
func (s *state) draw(p []float64) int {
	u := s.rng.Float64()
	for k, x := range p {
		if u -= x; u < 0 {
			return stateOf(k, len(p))
		}
	}
	return foreign
}

// greedy gives the data connections, in time order, to what fits best.
func (s *state) greedy() { s.inTurn(func(int, []float64) {}) }

// inTurn is greedy, and tells f of the probabilities of each choice.
func (s *state) inTurn(f func(d int, p []float64)) {
	for d := range s.given {
		p := s.conditional(d, 1)
		f(d, p)
		best := 0
		for k := range p {
			if p[k] > p[best] {
				best = k
			}
		}
		s.give(d, stateOf(best, len(p)))
	}
}

// sweep draws each data connection anew, given the others, and tells keep of
// the probabilities and of how many sweeps they stand for. Those that are
// clear are drawn in every restSweeps-th sweep only.
func (s *state) sweep(n int, temperature float64, keep func(d int, p []float64, weight float64)) {
	for d := range s.given {
		weight := 1.0
		if s.clear[d] {
			if n%restSweeps != 0 {
				continue
			}
			weight = restSweeps
		}
		s.take(d)
		p := s.conditional(d, temperature)
		if keep != nil {
			keep(d, p, weight)
		} else {
			s.clear[d] = slices.Max(p) > clearly
		}
		s.give(d, s.draw(p))
	}
}

// exchanges proposes changes that single draws hardly reach, as many as there
// are data connections: two data connections change places, or two control
// connections change everything that begins after a time.
func (s *state) exchanges(temperature float64) {
	if len(s.lines) < 2 {
		return
	}
	for d := range s.given {
		if s.clear[d] || s.given[d] < 0 || len(s.pairs[d]) < 2 {
			continue
		}
		if s.rng.IntN(2) == 0 {
			s.proposeSwap(d, temperature)
		} else {
			s.proposeCrossing(d, temperature)
		}
	}
}

// candidateOf returns which candidate of d the control connection is, or
// foreign.
func (s *state) candidateOf(d, control int) int {
	for k := range s.pairs[d] {
		if s.pairs[d][k].control == control {
			return k
		}
	}
	return foreign
}

// other draws a candidate of d that does not have it.
func (s *state) other(d int) int {
	k := s.rng.IntN(len(s.pairs[d]) - 1)
	if k >= s.given[d] {
		k++
	}
	return s.pairs[d][k].control
}

// proposeSwap lets d change places with a data connection of another
// candidate.
func (s *state) proposeSwap(d int, temperature float64) {
	from, to := s.pairs[d][s.given[d]].control, s.other(d)
	members := s.lines[to].members
	if len(members) == 0 {
		return
	}
	e := members[s.rng.IntN(len(members))]
	// The way back chooses among the members of from.
	odds := float64(len(members)) / float64(len(s.lines[from].members))
	s.propose([]int{d}, []int{e}, from, to, temperature, odds)
}

// crossingWork bounds the data connections that change their places at a
// time, in all crossings of a sweep together; leastCrossing are always allowed
// to. More are hardly ever accepted, and cost as much as a sweep.
const (
	crossingWork  = 30_000
	leastCrossing = 16
)

// proposeCrossing lets d's control connection and another candidate change
// everything from d on.
func (s *state) proposeCrossing(d int, temperature float64) {
	from, to := s.pairs[d][s.given[d]].control, s.other(d)
	if xs, ys := s.since(from, d), s.since(to, d); len(xs)+len(ys) <= max(leastCrossing, crossingWork/len(s.given)) {
		s.propose(xs, ys, from, to, temperature, 1)
	}
}

// since returns the members of a line from data connection d on.
func (s *state) since(control, d int) []int {
	var since []int
	for _, e := range s.lines[control].members {
		if e >= d {
			since = append(since, e)
		}
	}
	return since
}

// propose moves xs from one control connection to another and ys back, and
// keeps that by the rule of Metropolis. odds are those of proposing the way
// back.
func (s *state) propose(xs, ys []int, from, to int, temperature, odds float64) {
	for _, x := range xs {
		if s.candidateOf(x, to) == foreign {
			return
		}
	}
	for _, y := range ys {
		if s.candidateOf(y, from) == foreign {
			return
		}
	}
	change := s.takeAll(xs) + s.takeAll(ys)
	change = s.giveAll(xs, to) + s.giveAll(ys, from) - change
	if s.rng.Float64() < odds*math.Exp(change/temperature) {
		return
	}
	s.takeAll(xs)
	s.takeAll(ys)
	s.giveAll(xs, from)
	s.giveAll(ys, to)
}

// takeAll takes data connections away and returns what they had gained.
func (s *state) takeAll(ds []int) float64 {
	g := 0.0
	for _, d := range ds {
		k := s.given[d]
		s.take(d)
		g += s.worth(d, k)
	}
	return g
}

// giveAll gives data connections to a control connection and returns what
// they gain.
func (s *state) giveAll(ds []int, control int) float64 {
	g := 0.0
	for _, d := range ds {
		k := s.candidateOf(d, control)
		g += s.worth(d, k)
		s.give(d, k)
	}
	return g
}
