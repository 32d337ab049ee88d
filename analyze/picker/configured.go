package picker

import (
	"math"
	"slices"

	"ephemera/rules"
)

// A universe is the ports that a configured range can lie in.
type universe struct {
	low, high int
	total     float64 // sum of the prior's weights over all ranges in it
}

// configurable are the ports in which passive ranges are configured. The
// total takes seconds to compute, and a test does so.
var configurable = universe{low: 1024, high: 65535, total: 8.4526071950092e+06}

// roundest is the highest power of ten that numbers are looked at for.
const roundest = 10_000

// roundness is the highest power of ten, up to roundest, that divides n.
func roundness(n int) int {
	r := 1
	for r < roundest && n%(r*10) == 0 {
		r *= 10
	}
	return r
}

// An edge is one of the two ends of ranges: the lower or the upper.
//
// Administrators write round numbers. The weight of an end is its roundness,
// so that as many ranges are expected to begin at multiples of 1,000 as at
// those of 100 which are none of 1,000, and so on: the prior does not know
// how round they like it. A range may end at the round number or at the one
// before it. What stands in the way on both sides, and where known ranges
// begin, is as round as can be.
type edge struct {
	u     universe
	upper bool
}

func (e edge) landmarks() []int {
	if e.upper {
		return []int{e.u.high}
	}
	return []int{e.u.low, int(linux.From), int(dynamic.From)}
}

// weight is the prior's weight of an end.
func (e edge) weight(port int) float64 {
	switch {
	case slices.Contains(e.landmarks(), port):
		return roundest
	case e.upper:
		return float64(max(roundness(port), roundness(port+1)))
	}
	return float64(roundness(port))
}

// sum adds up the weights of the ports from from to to.
func (e edge) sum(from, to int) float64 {
	sum := sumRoundness(from, to)
	if e.upper { // of two neighbours at most one is round
		sum += sumRoundness(from+1, to+1) - float64(to-from+1)
	}
	for _, l := range e.landmarks() {
		if from <= l && l <= to {
			plain := float64(roundness(l))
			if e.upper {
				plain = float64(max(roundness(l), roundness(l+1)))
			}
			sum += roundest - plain
		}
	}
	return sum
}

func sumRoundness(from, to int) float64 {
	sum := float64(to - from + 1)
	for r := 10; r <= roundest; r *= 10 {
		sum += float64((r - r/10) * (to/r - (from-1)/r))
	}
	return sum
}

// best returns the roundest port from from to to; of several the farthest
// out.
func (e edge) best(from, to int) int {
	for _, l := range e.landmarks() {
		if from <= l && l <= to {
			return l
		}
	}
	for r := roundest; r > 1; r /= 10 {
		port := (from + r - 1) / r * r
		if e.upper {
			port = max(to/r*r, (to+1)/r*r-1)
		}
		if from <= port && port <= to {
			return port
		}
	}
	if e.upper {
		return to
	}
	return from
}

// A bin is neighbouring ends that one of them stands for.
type bin struct {
	port   int
	weight float64 // of all of them
}

// finest is one over the size of a bin in relation to its distance from the
// ports that were seen. Bins of one port come first.
const finest = 4

// bins cuts the ends from port outwards.
func (e edge) bins(port int) []bin {
	var out []bin
	if e.upper {
		for x, n := 0, 0; port+x <= e.u.high; x += n {
			n = max(1, x/finest)
			from, to := port+x, min(port+x+n-1, e.u.high)
			out = append(out, bin{e.best(from, to), e.sum(from, to)})
		}
		return out
	}
	for x, n := 0, 0; port-x >= e.u.low; x += n {
		n = max(1, x/finest)
		from, to := max(port-x-n+1, e.u.low), port-x
		out = append(out, bin{e.best(from, to), e.sum(from, to)})
	}
	return out
}

// usualWidth is how wide ranges are before they become rarer.
const usualWidth = 1000

// pairWeight is the prior's weight of a range: that of its ends over its
// width, so that beyond the usual width ranges of 1,000 to 10,000 ports are
// expected as often as those of 10,000 to 100,000. Narrower ones are not
// taken for likelier: else a counter that has not come far would be believed
// to be at home where it was seen. The ends of a single port are one number.
func pairWeight(lower, upper float64, width int) float64 {
	if width == 1 {
		upper = 1
	}
	return lower * upper / float64(width+usualWidth)
}

// A grid is what is known of a configured range: the probabilities of its
// pairs of ends.
type grid struct {
	lower, upper []bin
	mass         [][]float64 // probability that the range is lower[i] to upper[j]
	inside       [][]float64 // and that it lies within
	likeliest    rules.PortRange
	evidence     float64 // logarithm of the likelihood, averaged over all ranges
}

// negligible is how much less likely, as a logarithm, a range must be than
// the narrowest to be left out. The weights of ranges differ by less than
// exp(25).
const negligible = 45

// newGrid looks at all ranges that hold the ports from low to high.
func newGrid(u universe, low, high int, l *likelihood) *grid {
	g := &grid{lower: edge{u, false}.bins(low), upper: edge{u, true}.bins(high)}
	best := l.at(high - low + 1) // the narrowest range explains the ports best
	sum, largest := 0.0, 0.0
	for _, a := range g.lower {
		row := make([]float64, len(g.upper))
		total := 0.0
		for j, b := range g.upper {
			width := b.port - a.port + 1
			log := l.at(width) - best
			if log < -negligible { // and those further out even more
				break
			}
			mass := pairWeight(a.weight, b.weight, width) * math.Exp(log)
			if mass > largest {
				largest, g.likeliest = mass, rules.PortRange{From: uint16(a.port), To: uint16(b.port)}
			}
			total += mass
			row[j] = mass
		}
		sum += total
		g.mass = append(g.mass, row)
	}
	g.addUp(sum)
	g.evidence = best + math.Log(sum/u.total)
	return g
}

// addUp makes masses that add up to sum to probabilities, and adds them up
// from the inside out.
func (g *grid) addUp(sum float64) {
	for i, row := range g.mass {
		inside := make([]float64, len(row))
		total := 0.0
		for j := range row {
			row[j] /= sum
			total += row[j]
			inside[j] = total
			if i > 0 {
				inside[j] += g.inside[i-1][j]
			}
		}
		g.inside = append(g.inside, inside)
	}
}

// beyond returns the share of the configured range that is not in s,
// averaged over what it may be.
func (g *grid) beyond(s rules.PortSet) float64 {
	below := make([]int, len(g.upper)) // ports of s from the first bin's lower end to each upper end
	first := uint16(g.lower[0].port)
	for j, b := range g.upper {
		below[j] = s.Intersect(rules.Ports(rules.PortRange{From: first, To: uint16(b.port)})).Len()
	}
	sum := 0.0
	for i, a := range g.lower {
		further := s.Intersect(rules.Ports(rules.PortRange{From: uint16(a.port), To: first})).Len()
		if s.Contains(first) {
			further--
		}
		for j, b := range g.upper {
			width := b.port - a.port + 1
			sum += g.mass[i][j] * (1 - float64(further+below[j])/float64(width))
		}
	}
	return sum
}

// within returns the probability that the configured range lies in r.
func (g *grid) within(r rules.PortRange) float64 {
	i, _ := slices.BinarySearchFunc(g.lower, int(r.From), func(b bin, from int) int { return outside(b.port < from) })
	j, _ := slices.BinarySearchFunc(g.upper, int(r.To), func(b bin, to int) int { return outside(b.port > to) })
	if i == 0 || j == 0 {
		return 0
	}
	return g.inside[i-1][j-1]
}

// outside orders bins by whether they lie outside, for a search of the
// first that does.
func outside(is bool) int {
	if is {
		return 1
	}
	return -1
}
