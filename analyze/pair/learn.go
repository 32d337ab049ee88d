package pair

import (
	"cmp"
	"maps"
	"math"
	"slices"
)

// An Example is a control connection and the transfers that it is believed to
// have carried, as far as its totals depend on them.
type Example struct {
	Kind   Kind
	Totals Totals
	X      [nFeatures]float64 // the transfers' features, and a 1 of its own
	N      int                // transfers
	Weight float64            // how certain it is, up to 1
}

// examplesPerKind is how many control connections of one kind a Learner looks
// at: more would not make the means much better.
const examplesPerKind = 200

// doubtWeight is how fast a control connection counts less, the more of its
// data connections are uncertain.
const doubtWeight = 2

// A Learner fits a Model to ways of giving data connections to control
// connections. What it holds grows with the number of kinds, not with that of
// connections.
type Learner struct {
	priors *Priors
	byKind map[Kind][]Example
	seen   map[Kind]float64 // how many control connections are in byKind
	times  timesCount
	shapes shapesCount
}

// NewLearner returns a Learner that has seen nothing.
func NewLearner(p *Priors) *Learner {
	return &Learner{priors: p, byKind: map[Kind][]Example{}, seen: map[Kind]float64{}}
}

// Add adds one group, in which data connection i belongs to its given[i]-th
// candidate, or to none if that is negative.
func (l *Learner) Add(g *Group, given []int) {
	certain := make([]float64, len(g.Controls))
	for i := range certain {
		certain[i] = 1
	}
	l.add(g, given, 1, certain)
}

// Learn adds a group that was decided: all ways drawn together count as one.
// Control connections whose data connections are uncertain count less.
func (l *Learner) Learn(g *Group, post *Posterior) {
	certain := make([]float64, len(g.Controls))
	for i, d := range g.Data {
		for k, p := range post.Answers[i].Shares {
			certain[d.Candidates[k]] -= doubtWeight * min(p, 1-p)
		}
	}
	for i := range certain {
		certain[i] = math.Exp(certain[i])
	}
	for _, given := range post.Draws {
		l.add(g, given, 1/float64(len(post.Draws)), certain)
	}
}

// add adds one way, which counts as much as weight says, and the examples of
// its control connections besides as certain.
func (l *Learner) add(g *Group, given []int, weight float64, certain []float64) {
	lines := make([][]*Data, len(g.Controls))
	for i, d := range g.Data {
		if given[i] < 0 {
			l.shapes.other[d.Shape] += weight
			continue
		}
		c := d.Candidates[given[i]]
		lines[c] = append(lines[c], d)
		if g.Controls[c].Kind.Encrypted {
			l.shapes.encrypted[d.Shape] += weight
		} else {
			l.shapes.plain[d.Shape] += weight
		}
	}
	for i, c := range g.Controls {
		if c.Attempted || c.carried.n > 0 || !c.Begun || !c.Ended || c.End >= g.Until {
			continue
		}
		l.times.add(c, lines[i], weight)
		if l.seen[c.Kind] < examplesPerKind {
			l.seen[c.Kind] += weight
			l.byKind[c.Kind] = append(l.byKind[c.Kind], newExample(c, lines[i], weight*certain[i]))
		}
	}
}

// Full reports whether the Learner needs no more of what a group has.
func (l *Learner) Full(g *Group) bool {
	for _, c := range g.Controls {
		if l.seen[c.Kind] < examplesPerKind {
			return false
		}
	}
	return true
}

func newExample(c *Control, transfers []*Data, w float64) Example {
	e := Example{Weight: w, Kind: c.Kind, Totals: c.Totals, N: len(transfers)}
	e.X[featureControl] = 1
	for _, d := range transfers {
		for f, x := range d.features() {
			e.X[f] += x
		}
	}
	return e
}

// shapesCount counts shapes.
type shapesCount struct{ plain, encrypted, other [shapes]float64 }

// timesCount counts times.
type timesCount struct {
	lead, gap, afterBlocked, life, tail, tailAfterBlocked Histogram
	withData, without, more                               float64
}

func (t *timesCount) add(c *Control, transfers []*Data, weight float64) {
	if len(transfers) == 0 {
		t.without += weight
		t.life[binOf(c.End-c.Start)] += weight
		return
	}
	t.withData += weight
	t.lead[binOf(transfers[0].Start-c.Start)] += weight
	for k, d := range transfers[1:] {
		t.more += weight
		if prev := transfers[k]; prev.Established {
			t.gap[binOf(d.Start-prev.End)] += weight
		} else {
			t.afterBlocked[binOf(d.Start-prev.Start)] += weight
		}
	}
	if last := transfers[len(transfers)-1]; last.Established {
		t.tail[binOf(c.End-last.End)] += weight
	} else {
		t.tailAfterBlocked[binOf(c.End-last.Start)] += weight
	}
}

// Strangeness is how far the totals of what was added are from what the
// priors expect of servers in general: about 1 for traffic like that which
// the priors were fitted on, and above for other.
func (l *Learner) Strangeness() float64 {
	sum, weights := strangenessWeight*1.0, float64(strangenessWeight)
	for _, k := range slices.SortedFunc(maps.Keys(l.byKind), Kind.compare) {
		p := l.priors.Plain
		if k.Encrypted {
			p = l.priors.Encrypted
		}
		of := 0.0
		n := 0.0
		for _, e := range l.byKind[k] {
			of += e.Weight * math.Log1p(p.distance(e)/l.priors.Freedom)
			n += e.Weight
		}
		if n > 0 {
			sum += of / expectedLog
			weights += n
		}
	}
	return sum / weights
}

// Strain as a function of strangeness, chosen so that what is stated with 70 %
// or more is right in 95 of 100 cases on captures and on simulated traffic, and
// other probabilities are as often right as they say. Beyond what either of
// them has, it grows faster.
const (
	strainBase   = 0.8
	strainSlope  = 0.35
	strange      = 1.25
	strangeSlope = 1.5
	mostStrain   = 3
)

func strainOf(strangeness float64) float64 {
	return min(mostStrain, strainBase+strainSlope*strangeness+strangeSlope*max(0, strangeness-strange))
}

// strangenessWeight is how many ordinary control connections are assumed
// before the first is seen.
const strangenessWeight = 20

// expectedLog is the mean of log(1 + q/f) for the squared distance q of four
// dimensions from a t distribution of f = 4 degrees of freedom.
const expectedLog = 1.0/2 + 1.0/3

// distance is the squared distance of an example from the prior, which does
// not know the server.
func (p TotalsPrior) distance(e Example) float64 {
	c := costs{mean: p.Mean}
	spread := p.Base.plus(p.Each, float64(e.N))
	for f, x := range e.X {
		for i := range 4 {
			spread[i][i] += x * x * p.Spread[f][i] * p.Spread[f][i]
		}
	}
	inverse := spread.inverse()
	r := e.Totals.vector().minus(c.of(e.X))
	q := 0.0
	for i := range 4 {
		for j := range 4 {
			q += r[i] * inverse[i][j] * r[j]
		}
	}
	return q
}

// timesWeight is how many observations a prior histogram is worth, and
// chanceWeight a prior probability.
const (
	timesWeight  = 30
	chanceWeight = 20
)

// Model returns the model that fits what was added, drawn towards the priors
// as far as there was little.
func (l *Learner) Model() *Model {
	m := NewModel(l.priors)
	for k, examples := range l.byKind {
		p := l.priors.Plain
		if k.Encrypted {
			p = l.priors.Encrypted
		}
		m.kinds[k] = p.fit(examples, l.priors.Freedom)
	}
	m.shapes = newShapeOdds(l.shapes.shrunk(l.priors.Shapes))
	m.strain = strainOf(l.Strangeness())
	m.times = newTimes(l.times.shrunk(l.priors.Times))
	return m
}

// shapesWeight is how many data connections of encrypted sessions the prior
// is worth.
const shapesWeight = 20

// shrunk learns how often encrypted sessions encrypt their data, too, and
// nothing else: what looks like another service must not become FTP by being
// taken for it.
func (s *shapesCount) shrunk(p ShapesPrior) ShapesPrior {
	both := p.Encrypted[ShapeTransfer] + p.Encrypted[ShapeHandshake]
	share := (s.encrypted[ShapeHandshake] + shapesWeight*p.Encrypted[ShapeHandshake]/both) /
		(s.encrypted[ShapeHandshake] + s.encrypted[ShapeTransfer] + shapesWeight)
	p.Encrypted[ShapeHandshake], p.Encrypted[ShapeTransfer] = share*both, (1-share)*both
	return p
}

func (t *timesCount) shrunk(p TimesPrior) TimesPrior {
	return TimesPrior{
		Lead: p.Lead.shrink(t.lead, timesWeight), Gap: p.Gap.shrink(t.gap, timesWeight), AfterBlocked: p.AfterBlocked.shrink(t.afterBlocked, timesWeight),
		Life: p.Life.shrink(t.life, timesWeight), Tail: p.Tail.shrink(t.tail, timesWeight), TailAfterBlocked: p.TailAfterBlocked.shrink(t.tailAfterBlocked, timesWeight),
		First: (t.withData + chanceWeight*p.First) / (t.withData + t.without + chanceWeight),
		More:  (t.more + chanceWeight*p.More) / (t.more + t.withData + chanceWeight),
	}
}

// shrink mixes counts with a histogram that is worth weight observations.
func (h Histogram) shrink(counts Histogram, weight float64) Histogram {
	total := weight
	for _, n := range counts {
		total += n
	}
	for b := range h {
		h[b] = (counts[b] + weight*h[b]) / total
	}
	return h
}

// rounds are the steps of the fit of means and weights to each other.
const rounds = 3

// scaleWeight is how many examples the prior scale of residuals is worth.
const scaleWeight = 30

// fit finds what features cost for one kind: the mode of the posterior.
func (p TotalsPrior) fit(examples []Example, freedom float64) *costs {
	c := newCosts(p, p.Mean)
	for range rounds {
		mean := p.solve(examples, c, freedom)
		c = newCosts(p, mean)
		sum := 0.0
		var shape Matrix // of residuals, against what p expects
		for i := range 4 {
			shape[i][i] = scaleWeight
		}
		for _, e := range examples {
			z := c.transform(e.Totals.vector().minus(c.of(e.X)))
			sum += e.Weight
			q := 0.0
			for i := range z {
				z[i] /= math.Sqrt(1 + float64(e.N)*c.growth[i])
				q += z[i] * z[i]
			}
			robust := e.Weight * (freedom + 4) / (freedom + q)
			for i := range z {
				for j := range z {
					shape[i][j] += robust * z[i] * z[j]
				}
			}
		}
		for i := range shape {
			for j := range shape {
				shape[i][j] /= scaleWeight + sum
			}
		}
		c = newCosts(p.reshaped(c.to, shape), mean)
	}
	return c
}

// reshaped multiplies the covariances with shape, in the space of to.
func (p TotalsPrior) reshaped(to [4]vector, shape Matrix) TotalsPrior {
	half := rootOf(shape)
	back := inverseOf(to)
	// base = back·backᵀ, each = back·diag·backᵀ: put half between.
	m := multiply(multiply(back, half), Matrix(to))
	p.Base = multiply(multiply(m, p.Base), transpose(m))
	p.Each = multiply(multiply(m, p.Each), transpose(m))
	return p
}

// distance is the squared distance of an example from the mean.
func (c *costs) distance(e Example) float64 {
	return c.spread(e.N).distance(c.transform(e.Totals.vector().minus(c.of(e.X))))
}

// solve is one step of weighted ridge regression, of each total apart.
func (p TotalsPrior) solve(examples []Example, c *costs, freedom float64) Coefficients {
	var normal [4][nFeatures][nFeatures]float64
	var right [4][nFeatures]float64
	for i := range 4 {
		for f := range nFeatures {
			precision := 1 / (p.Spread[f][i] * p.Spread[f][i])
			normal[i][f][f], right[i][f] = precision, precision*p.Mean[f][i]
		}
	}
	for _, e := range examples {
		robust := e.Weight * (freedom + 4) / (freedom + c.distance(e))
		y := e.Totals.vector()
		for i := range 4 {
			w := robust / (p.Base[i][i] + float64(e.N)*p.Each[i][i])
			for f, x := range e.X {
				if x == 0 {
					continue
				}
				right[i][f] += w * x * y[i]
				for h, z := range e.X {
					normal[i][f][h] += w * x * z
				}
			}
		}
	}
	var mean Coefficients
	for i := range 4 {
		for f, x := range solveSymmetric(normal[i], right[i]) {
			mean[f][i] = x
		}
	}
	return mean
}

// A Lesson is what was learned of one log whose truth is known, and how much
// it counts.
type Lesson struct {
	*Learner
	Weight float64
}

// Fit fits priors to logs whose truth is known; see cmd/fit-priors.
func Fit(lessons []Lesson, start *Priors) *Priors {
	p := *start
	var t timesCount
	var s shapesCount
	kinds := map[bool][]kindLesson{}
	for _, l := range lessons {
		t.join(l.times.capped(l.Weight))
		s.join(l.shapes.capped(l.Weight))
		for _, k := range slices.SortedFunc(maps.Keys(l.byKind), Kind.compare) {
			kinds[k.Encrypted] = append(kinds[k.Encrypted], kindLesson{l.byKind[k], l.Weight})
		}
	}
	p.Times = t.prior()
	p.Shapes = s.prior()
	p.Plain = fitTotals(kinds[false], p.Plain, p.Freedom)
	p.Encrypted = fitTotals(kinds[true], p.Encrypted, p.Freedom)
	return &p
}

func (t *timesCount) join(u *timesCount) {
	for b := range bins {
		t.lead[b] += u.lead[b]
		t.gap[b] += u.gap[b]
		t.afterBlocked[b] += u.afterBlocked[b]
		t.life[b] += u.life[b]
		t.tail[b] += u.tail[b]
		t.tailAfterBlocked[b] += u.tailAfterBlocked[b]
	}
	t.withData += u.withData
	t.without += u.without
	t.more += u.more
}

func (s *shapesCount) join(u *shapesCount) {
	for k := range shapes {
		s.plain[k] += u.plain[k]
		s.encrypted[k] += u.encrypted[k]
		s.other[k] += u.other[k]
	}
}

// mostOfOne is how many observations one log may add to a prior, so that a
// long one does not speak for all.
const mostOfOne = 300

// capped scales counts down to mostOfOne, and by the weight of the log.
func (t *timesCount) capped(weight float64) *timesCount {
	c := *t
	f := weight * min(1, mostOfOne/max(1, t.withData+t.without))
	for b := range bins {
		for _, h := range []*Histogram{&c.lead, &c.gap, &c.afterBlocked, &c.life, &c.tail, &c.tailAfterBlocked} {
			h[b] *= f
		}
	}
	c.withData, c.without, c.more = f*c.withData, f*c.without, f*c.more
	return &c
}

func (s *shapesCount) capped(weight float64) *shapesCount {
	c := *s
	for _, n := range []*[shapes]float64{&c.plain, &c.encrypted, &c.other} {
		total := 0.0
		for _, x := range n {
			total += x
		}
		for k := range n {
			n[k] *= weight * min(1, mostOfOne/max(1, total))
		}
	}
	return &c
}

// prior turns counts into shares, none of which is zero.
func (t *timesCount) prior() TimesPrior {
	return TimesPrior{
		Lead: t.lead.smooth(), Gap: t.gap.smooth(), AfterBlocked: t.afterBlocked.smooth(),
		Life: t.life.smooth(), Tail: t.tail.smooth(), TailAfterBlocked: t.tailAfterBlocked.smooth(),
		First: (t.withData + 1) / (t.withData + t.without + 2), More: (t.more + 1) / (t.more + t.withData + 2),
	}
}

// leastShare is the least share of a bin: nobody knows all clients.
const leastShare = 0.004

// smooth turns counts into shares, and lets each bin have a little of its
// neighbours.
func (h Histogram) smooth() Histogram {
	var s Histogram
	total := 1.0
	for _, n := range h {
		total += n
	}
	for b := range h {
		s[b] += 1 / (total * bins)
	}
	for b, n := range h {
		s[b] += 0.8 * n / total
		s[max(0, b-1)] += 0.1 * n / total
		s[min(bins-1, b+1)] += 0.1 * n / total
	}
	for b := range s {
		s[b] = leastShare + (1-bins*leastShare)*s[b]
	}
	return s
}

func (s *shapesCount) prior() ShapesPrior {
	share := func(n [shapes]float64) (p [shapes]float64) {
		total := 0.0
		for _, x := range n {
			total += x + 1
		}
		for k, x := range n {
			p[k] = (x + 1) / total
		}
		return p
	}
	return ShapesPrior{share(s.plain), share(s.encrypted), share(s.other)}
}

// A kindLesson is the examples of one kind.
type kindLesson struct {
	examples []Example
	weight   float64
}

func (k Kind) compare(o Kind) int {
	if c := cmp.Or(cmp.Compare(k.Server, o.Server), cmp.Compare(k.Port, o.Port)); c != 0 || k.Encrypted == o.Encrypted {
		return c
	}
	if k.Encrypted {
		return 1
	}
	return -1
}

// fitTotals finds mean and spread over kinds, and how residuals vary.
func fitTotals(kinds []kindLesson, p TotalsPrior, freedom float64) TotalsPrior {
	if len(kinds) == 0 {
		return p // there is nothing to learn from
	}
	wide := p // so that no kind is drawn to the others
	for range 5 {
		var fitted []*costs
		for _, k := range kinds {
			c := newCosts(p, p.Mean)
			wide.Base, wide.Each = p.Base, p.Each
			c.mean = wide.solve(k.examples, c, freedom)
			fitted = append(fitted, c)
		}
		p.Mean, p.Spread = overKinds(kinds, fitted)
		p.Base, p.Each = covariances(kinds, fitted, p, freedom)
	}
	return p
}

// leastSpread keeps a coefficient from being taken for equal everywhere, in
// packets and bytes.
var leastSpread = vector{0.3, 0.3, 3, 3}

// enough is the least of a feature's sum in the examples of a kind for the
// kind to tell about it.
const enough = 3

func overKinds(kinds []kindLesson, fitted []*costs) (mean, spread Coefficients) {
	for f := range nFeatures {
		for i := range 4 {
			var n, sum, squares float64
			for k, c := range fitted {
				weight := 0.0
				for _, e := range kinds[k].examples {
					weight += math.Abs(e.X[f])
				}
				if weight >= enough {
					w := kinds[k].weight
					n += w
					sum += w * c.mean[f][i]
					squares += w * c.mean[f][i] * c.mean[f][i]
				}
			}
			if n == 0 {
				spread[f][i] = 10 * leastSpread[i]
				continue
			}
			mean[f][i] = sum / n
			spread[f][i] = max(leastSpread[i], math.Sqrt(max(0, squares/n-mean[f][i]*mean[f][i])))
		}
	}
	return mean, spread
}

// componentRounds are the steps of the fit of covariances.
const componentRounds = 40

// covariances splits what the means do not explain into what comes with the
// control connection and what comes with each transfer, by expectation and
// maximization.
func covariances(kinds []kindLesson, fitted []*costs, p TotalsPrior, freedom float64) (base, each Matrix) {
	base, each = p.Base, p.Each
	for range componentRounds {
		var sumBase, sumEach Matrix
		var weights, transfers float64
		for k, c := range fitted {
			for _, e := range kinds[k].examples {
				n := float64(e.N)
				b, t := posterior(base, each, n, e.Totals.vector().minus(c.of(e.X)), freedom)
				w := e.Weight * kinds[k].weight
				sumBase, sumEach = sumBase.plus(b, w), sumEach.plus(t, w)
				weights += w
				transfers += w * n
			}
		}
		base, each = Matrix{}.plus(sumBase, 1/weights).positive(leastBase), Matrix{}.plus(sumEach, 1/max(1, transfers)).positive(leastEach)
	}
	return base, each
}

// posterior returns the expected squares of the two parts of a residual.
func posterior(base, each Matrix, n float64, residual vector, freedom float64) (b, t Matrix) {
	inverse := base.plus(each, n).inverse()
	q := 0.0
	var solved vector // inverse · residual
	for i := range 4 {
		for j := range 4 {
			solved[i] += inverse[i][j] * residual[j]
		}
		q += solved[i] * residual[i]
	}
	robust := (freedom + 4) / (freedom + q)
	square := outer(solved, robust)
	// Of a part with covariance C: C + C (robust·solved·solvedᵀ - inverse) C.
	change := square.plus(inverse, -1)
	own := Matrix{}.plus(each, n)
	return base.plus(multiply(multiply(base, change), base), 1), own.plus(multiply(multiply(own, change), own), 1)
}

// Least variances of totals, in packets and bytes squared.
var (
	leastBase = vector{0.5, 0.5, 4, 4}
	leastEach = vector{0.05, 0.05, 0.5, 0.5}
)
