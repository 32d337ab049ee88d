package pair

import (
	"math"
	"slices"
)

// Decide returns the probabilities of a group's data connections, in their
// order. Data connections that share no candidate, not even through others,
// are decided apart.
func Decide(m *Model, g *Group) *Posterior {
	r := newPosterior(g)
	for range m.starts {
		r.Draws = append(r.Draws, make([]int, len(g.Data)))
	}
	for _, c := range components(g) {
		part := g
		if len(c.data) < len(g.Data) || len(c.controls) < len(g.Controls) {
			part = g.part(c)
		}
		r.put(c, decideComponent(m, part))
	}
	for i, c := range r.Counts {
		if c == nil {
			r.Counts[i] = []float64{1}
		}
	}
	return r
}

// decideComponent decides one component.
func decideComponent(m *Model, g *Group) *Posterior {
	if g.ways() <= mostWays {
		return countAll(m, g)
	}
	if g.pairs() > mostPairs {
		return decideInTurn(m, g)
	}
	r := newPosterior(g)
	n := m.effort(g)
	done := 0
	for start := range uint64(n.starts) {
		if start == fewStarts && r.isClear() {
			break
		}
		done++
		s := newState(m, g, start+1)
		s.greedy()
		for sweep := range n.burnIn {
			t := hottest - float64(hottest-1)*float64(sweep)/float64(n.burnIn)
			s.sweep(sweep, t, nil)
			s.exchanges(t)
		}
		for sweep := range n.kept {
			s.sweep(sweep, 1, r.keep)
			s.exchanges(1)
			r.count(s, 1)
		}
		r.draw(s)
	}
	r.divide(float64(n.kept*done), m.strain)
	return r
}

// mostPairs is how many pairs of a data connection and a candidate a component
// can have to be sampled: a second of work, more or less.
const mostPairs = 10_000

func (g *Group) pairs() int {
	n := 0
	for _, d := range g.Data {
		n += len(d.Candidates)
	}
	return n
}

// decideInTurn gives each data connection to what fits best after those before
// it, without looking back. That is cheap, and blind to what comes later, so
// every candidate keeps its part of one half.
func decideInTurn(m *Model, g *Group) *Posterior {
	r := newPosterior(g)
	s := newState(m, g, 1)
	s.inTurn(func(d int, p []float64) {
		candidates := p[:len(p)-2]
		sum := 0.0
		for _, x := range candidates {
			sum += x
		}
		for k := range candidates {
			r.Answers[d].Shares[k] = (p[k] + sum/float64(len(candidates))) / 2
		}
		r.Answers[d].Stray, r.Answers[d].Foreign = p[len(p)-2], p[len(p)-1]
	})
	r.count(s, 1)
	for range m.starts {
		r.draw(s)
	}
	r.divide(1, m.strain)
	r.InTurn = len(g.Data)
	return r
}

// isClear reports whether every data connection has one answer that is nearly
// certain; the sums are not divided yet.
func (r *Posterior) isClear() bool {
	for _, a := range r.Answers {
		sum := a.Stray + a.Foreign
		best := max(a.Stray, a.Foreign)
		for _, p := range a.Shares {
			sum += p
			best = max(best, p)
		}
		if best < nearlyCertain*sum {
			return false
		}
	}
	return true
}

// effort is how long a component is sampled.
type effort struct{ starts, burnIn, kept int }

// Share shares the time for sampling among all data connections of a log: in
// a long log each has less of it.
func (m *Model) Share(data int) {
	m.starts = min(mostStarts, max(leastStarts, startsForAll/max(1, data)))
}

// effort returns how long a component is sampled: as long as it is worth.
func (m *Model) effort(g *Group) effort {
	if len(g.Controls) == 1 {
		return effort{starts: 1, burnIn: 4, kept: 16} // hardly anything to choose
	}
	return effort{starts: m.starts, burnIn: burnIn, kept: kept}
}

// A component is a set of data connections that share candidates, by their
// indexes, and these candidates.
type component struct{ controls, data []int }

// components returns the components of a group in the order of their first
// data connections.
func components(g *Group) []component {
	parent := make([]int, len(g.Controls))
	for i := range parent {
		parent[i] = i
	}
	find := func(i int) int {
		for parent[i] != i {
			parent[i] = parent[parent[i]]
			i = parent[i]
		}
		return i
	}
	for _, d := range g.Data {
		for _, c := range d.Candidates[1:] {
			parent[find(c)] = find(d.Candidates[0])
		}
	}
	at := map[int]int{} // component of a root
	var cs []component
	for i, d := range g.Data {
		root := find(d.Candidates[0])
		k, ok := at[root]
		if !ok {
			k = len(cs)
			at[root] = k
			cs = append(cs, component{})
		}
		cs[k].data = append(cs[k].data, i)
	}
	for i := range g.Controls {
		if k, ok := at[find(i)]; ok {
			cs[k].controls = append(cs[k].controls, i)
		}
	}
	return cs
}

// part returns a component as a group of its own.
func (g *Group) part(c component) *Group {
	p := &Group{Until: g.Until}
	index := make(map[int]int, len(c.controls))
	for k, i := range c.controls {
		index[i] = k
		p.Controls = append(p.Controls, g.Controls[i])
	}
	for _, i := range c.data {
		d := *g.Data[i]
		d.Candidates = make([]int, len(g.Data[i].Candidates))
		for k, j := range g.Data[i].Candidates {
			d.Candidates[k] = index[j]
		}
		p.Data = append(p.Data, &d)
	}
	return p
}

// put puts the answers of a component in their places.
func (r *Posterior) put(c component, part *Posterior) {
	for k, i := range c.data {
		r.Answers[i] = part.Answers[k]
	}
	r.InTurn += part.InTurn
	for k, i := range c.controls {
		r.Counts[i] = part.Counts[k]
	}
	for n := range r.Draws {
		// A component with fewer draws has its own again.
		given := part.Draws[n%len(part.Draws)]
		for k, i := range c.data {
			r.Draws[n][i] = given[k]
		}
	}
}

// A Posterior is what Decide found.
type Posterior struct {
	Answers []Answer
	// Counts are, for each control connection, how often it had each number
	// of the group's data connections: shares that add up to 1.
	Counts [][]float64
	// Draws are ways drawn from the distribution: for each data connection a
	// candidate, or a negative number for none.
	Draws [][]int
	// InTurn is how many data connections were in components too large to be
	// sampled, and were decided one after the other.
	InTurn int
}

func newPosterior(g *Group) *Posterior {
	r := &Posterior{Answers: make([]Answer, len(g.Data)), Counts: make([][]float64, len(g.Controls))}
	for i, d := range g.Data {
		r.Answers[i].Shares = make([]float64, len(d.Candidates))
	}
	return r
}

// keep adds the conditional probabilities of one draw: their mean is the
// probability, with less noise than that of the draws.
func (r *Posterior) keep(d int, p []float64, weight float64) {
	a := &r.Answers[d]
	for k := range a.Shares {
		a.Shares[k] += weight * p[k]
	}
	a.Stray += weight * p[len(p)-2]
	a.Foreign += weight * p[len(p)-1]
}

func (r *Posterior) count(s *state, weight float64) {
	for i, l := range s.lines {
		for len(r.Counts[i]) <= len(l.members) {
			r.Counts[i] = append(r.Counts[i], 0)
		}
		r.Counts[i][len(l.members)] += weight
	}
}

func (r *Posterior) draw(s *state) {
	r.Draws = append(r.Draws, slices.Clone(s.given))
}

// divide makes means of sums, and states them with less confidence if the
// model is strained.
func (r *Posterior) divide(n, strain float64) {
	for i := range r.Answers {
		a := &r.Answers[i]
		for k := range a.Shares {
			a.Shares[k] /= n
		}
		a.Stray /= n
		a.Foreign /= n
		a.soften(strain)
	}
	for _, c := range r.Counts {
		for k := range c {
			c[k] /= n
		}
	}
}

// Best returns the likeliest candidate.
func (a Answer) Best() int {
	best := 0
	for k, p := range a.Shares {
		if p > a.Shares[best] {
			best = k
		}
	}
	return best
}

// soften brings the probabilities nearer to each other.
func (a *Answer) soften(strain float64) {
	sum := 0.0
	soft := func(p *float64) {
		*p = math.Pow(*p, 1/strain)
		sum += *p
	}
	for k := range a.Shares {
		soft(&a.Shares[k])
	}
	soft(&a.Stray)
	soft(&a.Foreign)
	for k := range a.Shares {
		a.Shares[k] /= sum
	}
	a.Stray /= sum
	a.Foreign /= sum
}
