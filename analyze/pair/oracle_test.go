package pair

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"gonum.org/v1/gonum/mat"
)

// The tests of this package make their own priors, so that another
// priors.json changes none of them. Their oracle is slowLog: the likelihood
// of a way of giving data connections to control connections, built from
// nothing each time, as the definitions say it.

// randomCovariance is positive definite, with about these variances.
func randomCovariance(rng *rand.Rand, variances vector) (m Matrix) {
	var a Matrix
	for i := range a {
		for j := range a {
			a[i][j] = 0.3 * rng.NormFloat64()
		}
		a[i][i] += 1
	}
	m = multiply(a, transpose(a))
	for i := range m {
		for j := range m {
			m[i][j] *= math.Sqrt(variances[i] * variances[j])
		}
	}
	return m
}

func randomHistogram(rng *rand.Rand) (h Histogram) {
	total := 0.0
	for b := range h {
		h[b] = math.Exp(rng.NormFloat64())
		total += h[b]
	}
	for b := range h {
		h[b] /= total
	}
	return h
}

func randomPriors(rng *rand.Rand) *Priors {
	p := StartPriors()
	for _, t := range []*TotalsPrior{&p.Plain, &p.Encrypted} {
		t.Base = randomCovariance(rng, vector{4, 4, 400, 2500})
		t.Each = randomCovariance(rng, vector{1, 1, 100, 400})
		for f := range t.Mean {
			for i := range t.Mean[f] {
				t.Mean[f][i] += 0.3 * t.Spread[f][i] * rng.NormFloat64()
			}
		}
	}
	for _, h := range p.Times.all() {
		*h = randomHistogram(rng)
	}
	p.Times.First, p.Times.More = 0.1+0.8*rng.Float64(), 0.1+0.8*rng.Float64()
	p.Freedom, p.Clumping = 3+3*rng.Float64(), 1+2*rng.Float64()
	p.Stray, p.Foreign = 0.3*rng.Float64(), 0.3*rng.Float64()
	return p
}

// all are the histograms of a TimesPrior.
func (t *TimesPrior) all() []*Histogram {
	return []*Histogram{&t.Lead, &t.Gap, &t.AfterBlocked, &t.Life, &t.Tail, &t.TailAfterBlocked}
}

func (p *Priors) totals(encrypted bool) *TotalsPrior {
	if encrypted {
		return &p.Encrypted
	}
	return &p.Plain
}

// randomGroup has control connections that are open at about the same time
// for about a minute, and whose totals are about those of the data
// connections that they really have. Half of the time there is more of what
// is exceptional: logs that begin or end meanwhile, blocked and active ones,
// sizes and times that fit badly.
func randomGroup(rng *rand.Rand, p *Priors, controls, data int) *Group {
	odd := rng.IntN(2) == 0
	g := &Group{Until: Forever}
	kinds := []Kind{{"203.0.113.10", 21, false}, {"203.0.113.10", 21, true}, {"203.0.113.11", 990, true}}
	for range controls {
		c := &Control{Kind: kinds[rng.IntN(len(kinds))], Begun: !odd || rng.IntN(4) > 0, Ended: !odd || rng.IntN(4) > 0}
		c.Start = 1000 + rng.Int64N(20)
		c.End = c.Start + 10 + rng.Int64N(90)
		g.Controls = append(g.Controls, c)
	}
	for range data {
		d := &Data{Start: 1000 + rng.Int64N(80), Port: uint16(1024 + rng.IntN(60000)), Size: int(math.Exp(14 * rng.Float64()))}
		d.End = d.Start + rng.Int64N(8)
		d.Established, d.Active, d.Upload = rng.IntN(4) > 0, odd && rng.IntN(4) == 0, rng.IntN(3) == 0
		d.Shape, d.Odds = Shape(rng.IntN(int(shapes))), 4+2*rng.NormFloat64()
		d.Candidates = rng.Perm(controls)[:1+rng.IntN(controls)]
		if !odd {
			d.Candidates = rng.Perm(controls)
		}
		g.Data = append(g.Data, d)
	}
	sortData(g)
	carry(rng, p, g)
	if odd && rng.IntN(2) == 0 {
		g.Until = 1000 + rng.Int64N(100)
	}
	return g
}

func sortData(g *Group) {
	slices.SortStableFunc(g.Data, func(a, b *Data) int {
		if a.Start != b.Start {
			return int(a.Start - b.Start)
		}
		return int(a.End - b.End)
	})
}

// carry gives the control connections the totals and the intervals of one way
// to have the data connections.
func carry(rng *rand.Rand, p *Priors, g *Group) {
	for i, c := range g.Controls {
		mean := p.totals(c.Kind.Encrypted).Mean
		v := mean[featureControl]
		for _, d := range g.Data {
			if d.Candidates[0] == i {
				for f, x := range d.features() {
					for k := range v {
						v[k] += x * mean[f][k]
					}
				}
			}
		}
		for k, noise := range []float64{2, 2, 20, 50} {
			v[k] += noise * rng.NormFloat64()
		}
		c.Totals = Totals{v[0], v[1], v[2], v[3]}
		for range rng.IntN(3) {
			c.Views = append(c.Views, randomView(rng, c, v[0]+v[1]))
		}
	}
}

// randomView has intervals of up to half a minute, with pauses.
func randomView(rng *rand.Rand, c *Control, packets float64) (v View) {
	for t := c.Start; t <= c.End; t += 1 + rng.Int64N(6) {
		w := Interval{First: t, Last: min(c.End, t+rng.Int64N(30)), Packets: 1 + math.Round(rng.Float64()*packets/2)}
		v = append(v, w)
		t = w.Last
	}
	return v
}

// modelOf has the priors' parameters for each kind, as if every server were
// known to be like them.
func modelOf(p *Priors) *Model {
	m := NewModel(p)
	m.plain, m.tls = newCosts(p.Plain, p.Plain.Mean), newCosts(p.Encrypted, p.Encrypted.Mean)
	return m
}

// slowDensity is the logarithm of the density of a 4-dimensional t
// distribution at a residual.
func slowDensity(scale Matrix, residual vector, freedom float64) float64 {
	var inverse mat.Dense
	dense := mat.NewDense(4, 4, nil)
	for i := range scale {
		for j := range scale {
			dense.Set(i, j, scale[i][j])
		}
	}
	if err := inverse.Inverse(dense); err != nil {
		panic(err)
	}
	z := mat.NewVecDense(4, residual[:])
	q := mat.Inner(z, &inverse, z)
	top, _ := math.Lgamma((freedom + 4) / 2)
	bottom, _ := math.Lgamma(freedom / 2)
	return top - bottom - 2*math.Log(freedom*math.Pi) - math.Log(mat.Det(dense))/2 - (freedom+4)/2*math.Log(1+q/freedom)
}

// slowFixed is what data connection d says of being one of c's, but for the
// other data connections.
func slowFixed(p *Priors, d *Data, c *Control) float64 {
	ftp := p.Shapes.Plain
	if c.Kind.Encrypted {
		ftp = p.Shapes.Encrypted
	}
	g := d.Odds + math.Log(ftp[d.Shape]) - math.Log(p.Shapes.Other[d.Shape])
	for _, v := range c.Views {
		if v.silent(d.Start) {
			g += silence
		}
		if d.Established && v.silent(d.End) {
			g += silence
		}
	}
	return g
}

// slowInterval is the last interval that has begun at t, or the first.
func slowInterval(v View, t int64) int {
	last := 0
	for k, w := range v {
		if w.First <= t {
			last = k
		}
	}
	return last
}

// slowControl is the log-likelihood of what c's record says, with these
// transfers.
func slowControl(p *Priors, g *Group, c *Control, transfers []*Data) float64 {
	sum := slowTimes(p, g, c, transfers)
	prior := p.totals(c.Kind.Encrypted)
	cost := func(x features) (v vector) {
		for f := range x {
			for i := range v {
				v[i] += x[f] * prior.Mean[f][i]
			}
		}
		return v
	}
	own := cost(features{featureControl: 1})
	mean, scale := own, prior.Base
	for _, d := range transfers {
		mean = mean.plus(cost(d.features()))
		scale = scale.plus(prior.Each, 1)
	}
	if c.Begun && c.Ended && c.End < g.Until {
		sum += slowDensity(scale, c.Totals.vector().minus(mean), p.Freedom)
	}
	for _, v := range c.Views {
		expected := make([]float64, len(v))
		seen := 0.0
		for _, w := range v {
			if w.First < g.Until {
				seen += w.Packets
			}
		}
		for k := range v {
			expected[k] = max(atAnyTime, anyShare*seen/float64(len(v)))
		}
		if c.Begun {
			expected[0] += atBeginning * max(2, own[0]+own[1])
		}
		if c.Ended {
			expected[len(v)-1] += atEnd * max(2, own[0]+own[1])
		}
		for _, d := range transfers {
			x := cost(d.features())
			packets := max(1, x[0]+x[1])
			expected[slowInterval(v, d.Start)] += atBeginning * packets
			expected[slowInterval(v, d.End)] += atEnd * packets
		}
		for k, w := range v {
			sum += (w.Packets*math.Log(expected[k]) - expected[k]) / p.Clumping
		}
	}
	return sum
}

// slowTimes is the log-density of when the transfers came.
func slowTimes(p *Priors, g *Group, c *Control, transfers []*Data) float64 {
	at := func(h Histogram, seconds int64) float64 {
		return math.Log(h[binOf(seconds)] / binWidth(binOf(seconds)))
	}
	ended := c.Ended && c.End < g.Until
	if len(transfers) == 0 {
		if !c.Begun || !ended {
			return 0
		}
		return math.Log(1-p.Times.First) + at(p.Times.Life, c.End-c.Start)
	}
	sum := 0.0
	if c.Begun {
		sum += math.Log(p.Times.First) + at(p.Times.Lead, transfers[0].Start-c.Start)
	} else {
		sum += math.Log(p.Times.More) + at(p.Times.Gap, transfers[0].Start-c.Start)
	}
	for k, d := range transfers {
		switch {
		case k+1 < len(transfers) && d.Established:
			sum += at(p.Times.Gap, transfers[k+1].Start-d.End)
		case k+1 < len(transfers):
			sum += at(p.Times.AfterBlocked, transfers[k+1].Start-d.Start)
		case ended && d.Established:
			sum += math.Log(1-p.Times.More) + at(p.Times.Tail, c.End-d.End)
		case ended:
			sum += math.Log(1-p.Times.More) + at(p.Times.TailAfterBlocked, c.End-d.Start)
		}
		if k+1 < len(transfers) {
			sum += math.Log(p.Times.More) + overlap(d.moment(), transfers[k+1].moment())
		}
	}
	return sum
}

// transfersOf are control connection i's in a state.
func transfersOf(g *Group, given []int, i int) (ds []*Data) {
	for k, d := range g.Data {
		if given[k] >= 0 && d.Candidates[given[k]] == i {
			ds = append(ds, d)
		}
	}
	return ds
}

// slowData is the part of data connection d's state alone in slowLog.
func slowData(p *Priors, g *Group, d *Data, k int) float64 {
	best := math.Inf(-1)
	for _, i := range d.Candidates {
		best = max(best, slowFixed(p, d, g.Controls[i]))
	}
	switch k {
	case foreign:
		return math.Log(p.Foreign)
	case stray:
		return math.Log(p.Foreign) + math.Log(p.Stray) + best
	}
	return slowFixed(p, d, g.Controls[d.Candidates[k]])
}

// slowLog is the log-likelihood of a state.
func slowLog(p *Priors, g *Group, given []int) float64 {
	sum := 0.0
	for k, d := range g.Data {
		sum += slowData(p, g, d, given[k])
	}
	for i, c := range g.Controls {
		sum += slowControl(p, g, c, transfersOf(g, given, i))
	}
	return sum
}

// statesOf calls visit with each state of a group.
func statesOf(g *Group, visit func(given []int)) {
	given := make([]int, len(g.Data))
	var from func(d int)
	from = func(d int) {
		if d == len(given) {
			visit(given)
			return
		}
		for k := stray; k < len(g.Data[d].Candidates); k++ {
			given[d] = k
			from(d + 1)
		}
	}
	from(0)
}

// exact is what Decide returns when it is not sampled but counted. It keeps
// the likelihood of each control connection with each set of transfers.
func exact(p *Priors, g *Group) *Posterior {
	type lineOf struct {
		control int
		set     string
	}
	known := map[lineOf]float64{}
	alone := make([]map[int]float64, len(g.Data))
	for d := range g.Data {
		alone[d] = map[int]float64{}
		for k := stray; k < len(g.Data[d].Candidates); k++ {
			alone[d][k] = slowData(p, g, g.Data[d], k)
		}
	}
	logOf := func(given []int) float64 {
		sum := 0.0
		for d, k := range given {
			sum += alone[d][k]
		}
		for i, c := range g.Controls {
			set := make([]byte, len(given))
			for d, k := range given {
				if k >= 0 && g.Data[d].Candidates[k] == i {
					set[d] = 1
				}
			}
			l := lineOf{i, string(set)}
			if _, ok := known[l]; !ok {
				known[l] = slowControl(p, g, c, transfersOf(g, given, i))
			}
			sum += known[l]
		}
		return sum
	}
	best := math.Inf(-1)
	statesOf(g, func(given []int) { best = max(best, logOf(given)) })
	r := zeroPosterior(g)
	total := 0.0
	statesOf(g, func(given []int) {
		weight := math.Exp(logOf(given) - best)
		total += weight
		for d, k := range given {
			switch k {
			case foreign:
				r.Answers[d].Foreign += weight
			case stray:
				r.Answers[d].Stray += weight
			default:
				r.Answers[d].Shares[k] += weight
			}
		}
		for i := range g.Controls {
			r.Counts[i][len(transfersOf(g, given, i))] += weight
		}
	})
	r.over(total)
	return r
}

// zeroPosterior has room for sums.
func zeroPosterior(g *Group) *Posterior {
	r := &Posterior{}
	for _, d := range g.Data {
		r.Answers = append(r.Answers, Answer{Shares: make([]float64, len(d.Candidates))})
	}
	for range g.Controls {
		r.Counts = append(r.Counts, make([]float64, len(g.Data)+1))
	}
	return r
}

// over divides everything by n.
func (r *Posterior) over(n float64) {
	for i := range r.Answers {
		a := &r.Answers[i]
		for k := range a.Shares {
			a.Shares[k] /= n
		}
		a.Stray /= n
		a.Foreign /= n
	}
	for _, c := range r.Counts {
		for k := range c {
			c[k] /= n
		}
	}
}

// randomState gives each data connection to a candidate or to nobody.
func randomState(rng *rand.Rand, g *Group) []int {
	given := make([]int, len(g.Data))
	for d := range given {
		given[d] = stray + rng.IntN(len(g.Data[d].Candidates)+2)
	}
	return given
}

func near(a, b, scale float64) bool { return math.Abs(a-b) <= 1e-9*max(1, math.Abs(scale)) }

// What a line says that it gains is the difference of the likelihoods with
// and without the data connection.
func TestGainIsTheDifferenceOfLikelihoods(t *testing.T) {
	for seed := range uint64(150) {
		rng := rand.New(rand.NewPCG(seed, 1))
		p := randomPriors(rng)
		g := randomGroup(rng, p, 1+rng.IntN(3), 1+rng.IntN(6))
		s := newState(modelOf(p), g, 1)
		for d, k := range randomState(rng, g) {
			s.give(d, k)
		}
		for d := range g.Data {
			was := s.given[d]
			s.take(d)
			without := slowLog(p, g, s.given) - math.Log(p.Foreign)
			logs := []float64{}
			for k := range g.Data[d].Candidates {
				pr := &s.pairs[d][k]
				gain := s.lines[pr.control].gain(d, pr)
				s.given[d] = k
				with := slowLog(p, g, s.given)
				s.given[d] = foreign
				if !near(gain, with-without, without) {
					t.Errorf("seed %d: data connection %d gains %v on candidate %d, want %v", seed, d, gain, k, with-without)
				}
				logs = append(logs, with)
			}
			for _, k := range []int{stray, foreign} {
				s.given[d] = k
				logs = append(logs, slowLog(p, g, s.given))
			}
			s.given[d] = foreign
			conditional := s.conditional(d, 2)
			for k, q := range conditional {
				if want := math.Exp((logs[k] - logs[0]) / 2); math.Abs(q/conditional[0]-want) > 1e-6*want {
					t.Errorf("seed %d: state %d of data connection %d is %v times as likely as the first, want %v", seed, k, d, q/conditional[0], want)
				}
			}
			s.give(d, was)
		}
	}
}
