package picker

import (
	"math"

	"ephemera/rules"
)

// maxFolds is into how many parts the back-test cuts the second half of a
// sample. More would follow a log's changes more closely, and take longer.
const maxFolds = 8

// A history is the connections up to a time.
type history struct {
	by         Chooser
	used       rules.PortBitmap
	walk       walk
	likelihood *likelihood
	narrowest  int // width of the narrowest range that is asked for
}

// newHistory returns an empty history of what will be the given ports.
func newHistory(by Chooser, ports []uint16) *history {
	h := &history{by: by, narrowest: dynamic.Len()}
	if by == Server { // no range is asked for that is narrower than the first half
		h.narrowest = width(ports[:len(ports)/2])
	}
	return h
}

// width returns that of the narrowest range which holds all picked ports.
func width(ports []uint16) int {
	low, high := math.MaxUint16, 0
	for _, port := range ports {
		if port >= unprivileged.From {
			low, high = min(low, int(port)), max(high, int(port))
		}
	}
	return max(1, high-low+1)
}

func (h *history) add(ports []uint16) {
	var steps []float64
	for _, port := range ports {
		h.used.Add(port)
		if port < unprivileged.From {
			continue
		}
		step := h.walk.step(port)
		if h.likelihood == nil { // the first one
			h.likelihood = newLikelihood(h.narrowest)
		} else {
			steps = append(steps, step)
		}
	}
	if h.likelihood != nil {
		h.likelihood.add(steps)
	}
}

// A fold is a part of the sample that proposals are tested with.
type fold struct{ lost, tested int }

// test takes the connections into the history, and tests the proposals that
// are made on the way.
func (o Options) test(past *history, cs []connection) (observed, safe []fold) {
	cuts := cuts(cs)
	past.add(ports(cs[:cuts[0]]))
	for i, from := range cuts[:len(cuts)-1] {
		next := ports(cs[from:cuts[i+1]])
		e, _ := o.propose(past.by, past.used.Set(), past.likelihood, from)
		observed = append(observed, e.Observed.without(next))
		safe = append(safe, e.Safe.without(next))
		past.add(next)
	}
	return observed, safe
}

// cuts returns where the folds begin, and the end. Connections that began in
// one second have no order, so they are not cut apart.
func cuts(cs []connection) []int {
	half, end := max(1, len(cs)/2), len(cs)
	var out []int
	for i := range maxFolds {
		cut := half + (end-half)*i/maxFolds
		for cut < end && cs[cut].start() == cs[cut-1].start() {
			cut++
		}
		if cut < end && (len(out) == 0 || cut > out[len(out)-1]) {
			out = append(out, cut)
		}
	}
	return append(out, end)
}

// without tests which connections the proposal would lose.
func (p *Proposal) without(ports []uint16) fold {
	f := fold{tested: len(ports)}
	for _, port := range ports {
		if !p.Ports.Contains(port) {
			f.lost++
		}
	}
	return f
}

// judge sets what the back-test says, and the bound. Share is the part of
// the true range that is outside, as far as the ports tell.
func (p *Proposal) judge(folds []fold, share float64) {
	for _, f := range folds {
		p.Lost += f.lost
		p.Tested += f.tested
	}
	p.Low, p.High = interval(folds)
	p.Outside = 1
	if p.Tested >= 2 {
		p.Outside = float64(p.Lost+1) / float64(p.Tested+1)
	}
	if share > p.Outside {
		p.Outside = max(p.Outside, p.High)
	}
}

// interval returns the 95 % interval of the share that is lost: Clopper and
// Pearson's at the effective number of connections, which is that of the
// tested ones over the design effect, as in Korn and Graubard, "Confidence
// intervals for proportions with small expected number of positive counts
// estimated from survey data", Survey Methodology 24 (1998). The design
// effect is how much more the folds differ than those of independent
// connections would: lost connections come in a row where a counter leaves
// what was allowed. When all folds lose everything or nothing, dependence
// does not show, and the interval takes connections for independent.
func interval(folds []fold) (low, high float64) {
	lost, tested := 0.0, 0.0
	for _, f := range folds {
		lost += float64(f.lost)
		tested += float64(f.tested)
	}
	if tested == 0 {
		return 0, 1
	}
	effect := designEffect(folds, lost/tested)
	return clopperPearson(lost/effect, tested/effect)
}

// designEffect returns the variance between folds over that of independent
// connections; at least 1.
func designEffect(folds []fold, share float64) float64 {
	if len(folds) < 2 || share == 0 || share == 1 {
		return 1
	}
	sum := 0.0
	for _, f := range folds {
		n := float64(f.tested)
		d := float64(f.lost) - n*share
		sum += d * d / n
	}
	return max(1, sum/float64(len(folds)-1)/(share*(1-share)))
}

// clopperPearson returns the 95 % interval of a probability of which hits of
// n trials were seen; neither need be whole. Its ends are quantiles of beta
// distributions.
func clopperPearson(hits, n float64) (low, high float64) {
	const tail = .025
	low, high = 0, 1
	if hits > 0 {
		low = betaQuantile(tail, hits, n-hits+1)
	}
	if hits < n {
		high = betaQuantile(1-tail, hits+1, n-hits)
	}
	return low, high
}

// betaQuantile inverts betaCDF by bisection.
func betaQuantile(p, a, b float64) float64 {
	low, high := 0.0, 1.0
	for range 40 {
		middle := (low + high) / 2
		if betaCDF(middle, a, b) < p {
			low = middle
		} else {
			high = middle
		}
	}
	return (low + high) / 2
}

// betaCDF is the regularized incomplete beta function, by its continued
// fraction (DLMF 8.17.22), which converges quickly below the mean; above it
// the symmetry 8.17.4 helps.
func betaCDF(x, a, b float64) float64 {
	if x > (a+1)/(a+b+2) {
		return 1 - betaCDF(1-x, b, a)
	}
	if x <= 0 {
		return 0
	}
	ab, _ := math.Lgamma(a + b)
	la, _ := math.Lgamma(a)
	lb, _ := math.Lgamma(b)
	front := math.Exp(ab-la-lb+a*math.Log(x)+b*math.Log1p(-x)) / a
	return front / betaFraction(x, a, b)
}

// betaFraction is the continued fraction 1 + d1/(1 + d2/(1 + ...)), from its
// end. Arguments are at most those of a full sample, for which 100 terms are
// plenty.
func betaFraction(x, a, b float64) float64 {
	fraction := 1.0
	for k := 100; k >= 1; k-- {
		m := float64(k / 2)
		d := m * (b - m) * x / ((a + 2*m - 1) * (a + 2*m))
		if k%2 == 1 {
			d = -(a + m) * (a + b + m) * x / ((a + 2*m) * (a + 2*m + 1))
		}
		fraction = 1 + d/fraction
	}
	return fraction
}
