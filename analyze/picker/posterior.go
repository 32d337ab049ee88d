package picker

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"ephemera/rules"
)

// certainty is the probability with which the safe range holds the true one.
const certainty = .95

// leastFit is the probability below which a range is not worth a mention.
const leastFit = .001

// A posterior is how likely each range is, after the ports were seen.
type posterior struct {
	low, high  int // the ports that were seen
	known      []Fit
	configured float64 // probability that the range was configured
	grid       *grid   // nil unless it can have been
}

// newPosteriorOf weighs the ranges that the chooser may pick from.
func newPosteriorOf(by Chooser, picked rules.PortSet, l *likelihood) *posterior {
	low, high := int(picked.Min()), int(picked.Max())
	if by == Server {
		return newPosterior(serverRanges, configuredPrior, configurable, low, high, l)
	}
	return newPosterior(clientRanges, 0, configurable, low, high, l)
}

// newPosterior weighs the ranges by Bayes' rule. A range that does not hold
// all ports from low to high has probability 0. With configured > 0, the range
// can have been configured, with that prior.
func newPosterior(ranges []known, configured float64, u universe, low, high int, l *likelihood) *posterior {
	p := &posterior{low: low, high: high}
	highest := math.Inf(-1)
	for _, k := range ranges {
		weight := math.Inf(-1)
		if int(k.ports.From) <= low && high <= int(k.ports.To) {
			weight = math.Log(k.prior) + l.at(k.ports.Len())
		}
		highest = max(highest, weight)
		p.known = append(p.known, Fit{k.name, k.ports, weight})
	}
	weight := math.Inf(-1)
	if configured > 0 {
		p.grid = newGrid(u, low, high, l)
		weight = math.Log(configured) + p.grid.evidence
		highest = max(highest, weight)
	}
	p.configured = math.Exp(weight - highest)
	sum := p.configured
	for i, f := range p.known {
		p.known[i].Probability = math.Exp(f.Probability - highest)
		sum += p.known[i].Probability
	}
	p.configured /= sum
	for i := range p.known {
		p.known[i].Probability /= sum
	}
	return p
}

// fits returns the ranges that are worth a mention, the likeliest first.
func (p *posterior) fits() []Fit {
	all := slices.Clone(p.known)
	if p.grid != nil {
		all = append(all, Fit{"a configured range near " + p.grid.likeliest.String(), p.grid.likeliest, p.configured})
	}
	all = slices.DeleteFunc(all, func(f Fit) bool { return f.Probability < leastFit })
	slices.SortStableFunc(all, func(a, b Fit) int { return cmp.Compare(b.Probability, a.Probability) })
	return all
}

// within returns the probability that the true range lies in r.
func (p *posterior) within(r rules.PortRange) float64 {
	sum := 0.0
	for _, f := range p.known {
		if r.From <= f.Ports.From && f.Ports.To <= r.To {
			sum += f.Probability
		}
	}
	if p.grid != nil {
		sum += p.configured * p.grid.within(r)
	}
	return sum
}

// safe returns the narrowest range that holds the true one with enough
// certainty. Its ends are those of ranges that are looked at.
func (p *posterior) safe() rules.PortRange {
	lows, highs := p.ends()
	found := unprivileged
	for _, low := range lows {
		// The higher the end, the likelier: the first that is likely enough.
		j, _ := slices.BinarySearchFunc(highs, certainty, func(high uint16, want float64) int {
			return outside(p.within(rules.PortRange{From: low, To: high}) >= want)
		})
		if j == len(highs) {
			continue
		}
		if r := (rules.PortRange{From: low, To: highs[j]}); r.Len() < found.Len() {
			found = r
		}
	}
	return found
}

// ends returns the ends of all ranges that are looked at, in order.
func (p *posterior) ends() (lows, highs []uint16) {
	for _, f := range p.known {
		if f.Probability > 0 {
			lows, highs = append(lows, f.Ports.From), append(highs, f.Ports.To)
		}
	}
	if p.grid != nil {
		for _, b := range p.grid.lower {
			lows = append(lows, uint16(b.port))
		}
		for _, b := range p.grid.upper {
			highs = append(highs, uint16(b.port))
		}
	}
	slices.Sort(lows)
	slices.Sort(highs)
	return slices.Compact(lows), slices.Compact(highs)
}

// beyond returns the share of the true range that is not in s, averaged over
// what it may be.
func (p *posterior) beyond(s rules.PortSet) float64 {
	sum := 0.0
	for _, f := range p.known {
		if f.Probability > 0 {
			sum += f.Probability * float64(rules.Ports(f.Ports).Subtract(s).Len()) / float64(f.Ports.Len())
		}
	}
	if p.grid != nil {
		sum += p.configured * p.grid.beyond(s)
	}
	return sum
}

// keep returns why the safe range is no narrower than what anybody picks
// from.
func (p *posterior) keep(safe rules.PortSet, by Chooser, connections int) string {
	if safe.Len() < unprivileged.Len() {
		return ""
	}
	for _, f := range p.known {
		if f.Ports == unprivileged && f.Probability >= certainty {
			return "the observed ports fit no " + narrower(by) + "range"
		}
	}
	return fmt.Sprintf("too few connections (%d) to tell", connections)
}

func narrower(by Chooser) string {
	if by == ClientOS {
		return "operating system's "
	}
	return "narrower "
}
