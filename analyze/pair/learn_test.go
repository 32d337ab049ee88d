package pair

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// A world is what FTP is like on one server.
type world struct {
	kind    Kind
	mean    Coefficients
	base    Matrix
	each    Matrix
	freedom float64 // of the t distribution of totals
}

// otherWorld is as far from the priors as servers are from each other.
func otherWorld(rng *rand.Rand, p *Priors) world {
	w := world{Kind{Server: "203.0.113.10", Port: 21}, p.Plain.Mean, p.Plain.Base, p.Plain.Each, 4}
	for f := range w.mean {
		for i := range w.mean[f] {
			w.mean[f][i] += p.Plain.Spread[f][i] * rng.NormFloat64()
		}
	}
	return w
}

// noise is how far the totals of a control connection with n transfers are
// from their mean.
func (w world) noise(rng *rand.Rand, n int) vector {
	root := rootOf(w.base.plus(w.each, float64(n)))
	var z, v vector
	squares := 0.0
	for i := range z {
		z[i] = rng.NormFloat64()
	}
	for range int(w.freedom) {
		x := rng.NormFloat64()
		squares += x * x
	}
	for i := range v {
		for j := range z {
			v[i] += root[i][j] * z[j] * math.Sqrt(w.freedom/squares)
		}
	}
	return v
}

// session is a group of one control connection with up to six transfers,
// and whose they are.
func (w world) session(rng *rand.Rand) (*Group, []int) {
	g := &Group{Until: Forever, Controls: []*Control{{Kind: w.kind, Begun: true, Ended: true, Start: 1000}}}
	at := int64(1000)
	v := w.mean[featureControl]
	for range rng.IntN(7) {
		d := &Data{Start: at + rng.Int64N(9), Established: rng.IntN(4) > 0, Upload: rng.IntN(2) == 0, Candidates: []int{0}}
		d.End = d.Start + rng.Int64N(2)*rng.Int64N(40)
		d.Size, d.Port = int(math.Exp(16*rng.Float64())), uint16(rng.IntN(65536))
		at = d.End
		g.Data = append(g.Data, d)
		for f, x := range d.features() {
			for i := range v {
				v[i] += x * w.mean[f][i]
			}
		}
	}
	v = v.plus(w.noise(rng, len(g.Data)))
	g.Controls[0].End = at + rng.Int64N(20)
	g.Controls[0].Totals = Totals{v[0], v[1], v[2], v[3]}
	return g, make([]int, len(g.Data))
}

// taught is a Learner that was told of n sessions.
func (w world) taught(rng *rand.Rand, p *Priors, n int) *Learner {
	l := NewLearner(p)
	for range n {
		g, given := w.session(rng)
		l.Add(g, given)
	}
	return l
}

// wrong is by how many spreads coefficients are off, in the mean.
func wrong(got, want Coefficients, p *Priors) float64 {
	sum := 0.0
	for f := range got {
		for i := range got[f] {
			sum += math.Abs(got[f][i]-want[f][i]) / p.Plain.Spread[f][i]
		}
	}
	return sum / (nFeatures * 4)
}

// Many examples teach what a server's transfers cost.
func TestLearnerFindsTheMeans(t *testing.T) {
	p := StartPriors()
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 7))
		w := otherWorld(rng, p)
		mean := w.taught(rng, p, examplesPerKind).Model().costs(w.kind).mean
		before, after := wrong(p.Plain.Mean, w.mean, p), wrong(mean, w.mean, p)
		if after > 0.2 || after > before/3 {
			t.Errorf("seed %d: %.3f spreads from the truth, and %.3f before", seed, after, before)
		}
	}
}

// Few examples hardly teach anything, and none nothing.
func TestLearnerKeepsToThePriors(t *testing.T) {
	p := StartPriors()
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 8))
		w := otherWorld(rng, p)
		m := w.taught(rng, p, 1).Model()
		if x := wrong(m.costs(w.kind).mean, p.Plain.Mean, p); x > 0.5 {
			t.Errorf("seed %d: one example moves the means by %.3f spreads", seed, x)
		}
		if got := m.costs(Kind{Server: "203.0.113.99", Port: 21}); got != m.plain || got.mean != p.Plain.Mean {
			t.Errorf("seed %d: another server's means are not those of the priors", seed)
		}
		if few, prior := m.times.first.yes, math.Log(p.Times.First); math.Abs(few-prior) > 0.05 {
			t.Errorf("seed %d: one example moves the probability of data from %v to %v", seed, prior, few)
		}
		l := w.taught(rng, p, 2000)
		if many, want := l.Model().times.first.yes, math.Log(l.times.withData/2000); math.Abs(many-want) > 0.01 {
			t.Errorf("seed %d: with many it is %v, want %v", seed, many, want)
		}
	}
	m := NewLearner(p).Model()
	if got, want := m.costs(Kind{}).mean, p.Plain.Mean; got != want {
		t.Errorf("without examples: got %v, want %v", got, want)
	}
	if got, want := m.times, newTimes(p.Times); !sameTimes(got, want) {
		t.Errorf("without examples: got %v, want %v", got, want)
	}
}

func sameTimes(a, b times) bool {
	as, bs := []density{a.lead, a.gap, a.afterBlocked, a.life, a.tail, a.tailAfterBlocked}, []density{b.lead, b.gap, b.afterBlocked, b.life, b.tail, b.tailAfterBlocked}
	for k := range as {
		for i := range as[k] {
			if math.Abs(as[k][i]-bs[k][i]) > 1e-12 {
				return false
			}
		}
	}
	return math.Abs(a.first.yes-b.first.yes) < 1e-12 && math.Abs(a.more.no-b.more.no) < 1e-12
}

// One wild example, and transfers that are not its own, hardly matter.
func TestLearnerIsRobust(t *testing.T) {
	p := StartPriors()
	for _, totals := range []Totals{{1e9, 1e9, 1e12, 1e12}, {0, 0, 0, 1e15}, {}} {
		rng := rand.New(rand.NewPCG(3, 9))
		w := otherWorld(rng, p)
		l := w.taught(rng, p, 100)
		g, given := w.session(rng)
		clean := l.Model().costs(w.kind)
		g.Controls[0].Totals = totals
		l.Add(g, given)
		wild := l.Model().costs(w.kind)
		if x := wrong(wild.mean, clean.mean, p); x > 0.1 {
			t.Errorf("%v moves the means by %.3f spreads", totals, x)
		}
		if x := unlike(wild.covariance(), clean.covariance()); !(x <= 0.2) {
			t.Errorf("%v changes the covariance by %.3f of it", totals, x)
		}
	}
}

// covariance is that of totals without transfers.
func (c *costs) covariance() Matrix {
	back := inverseOf(c.to)
	return multiply(back, transpose(back))
}

// unlike is how far a covariance is from another, in its standard deviations.
func unlike(a, b Matrix) float64 {
	root := rootOf(b).inverse()
	return apart(multiply(multiply(root, a), root), identity)
}

// Only control connections whose totals are known and all of whose transfers
// are weighed are examples.
func TestLearnerLeavesOut(t *testing.T) {
	p := StartPriors()
	rng := rand.New(rand.NewPCG(5, 9))
	w := otherWorld(rng, p)
	for _, row := range []struct {
		what  string
		edit  func(g *Group)
		taken bool
	}{
		{"nothing", func(*Group) {}, true},
		{"begins before the log", func(g *Group) { g.Controls[0].Begun = false }, false},
		{"does not end", func(g *Group) { g.Controls[0].Ended = false }, false},
		{"is still open", func(g *Group) { g.Until = g.Controls[0].End }, false},
		{"has ended just now", func(g *Group) { g.Until = g.Controls[0].End + 1 }, true},
		{"was settled in part", func(g *Group) { g.Controls[0].carried.n = 1 }, false},
	} {
		l := NewLearner(p)
		g, given := w.session(rng)
		row.edit(g)
		l.Add(g, given)
		if got := len(l.byKind[w.kind]) == 1; got != row.taken {
			t.Errorf("%s: taken %v, want %v", row.what, got, row.taken)
		}
		if got := l.times.with()+l.times.without == 1; got != row.taken {
			t.Errorf("%s: times taken %v, want %v", row.what, got, row.taken)
		}
	}
}

func (t *timesCount) with() float64 { return t.withData }

// A Learner holds no more examples of a kind than it looks at, and says when
// it has them.
func TestLearnerIsBounded(t *testing.T) {
	p := StartPriors()
	rng := rand.New(rand.NewPCG(6, 9))
	w, other := otherWorld(rng, p), otherWorld(rng, p)
	other.kind.Encrypted = true
	l := w.taught(rng, p, examplesPerKind-1)
	g, given := w.session(rng)
	if l.Full(g) {
		t.Error("it is full before the last example")
	}
	for range 2 * examplesPerKind {
		l.Add(g, given)
	}
	if !l.Full(g) || len(l.byKind[w.kind]) != examplesPerKind {
		t.Errorf("full %v with %d examples, want %d", l.Full(g), len(l.byKind[w.kind]), examplesPerKind)
	}
	h, _ := other.session(rng)
	if l.Full(h) {
		t.Error("it is full of a kind that it has not seen")
	}
	h.Controls = append(h.Controls, g.Controls...)
	if l.Full(h) {
		t.Error("it is full of two kinds, and has not seen one")
	}
}

// fitted are the priors that fit learners of the same weight.
func fitted(learners []*Learner, start *Priors) *Priors {
	var lessons []Lesson
	for _, l := range learners {
		lessons = append(lessons, Lesson{l, 1})
	}
	return Fit(lessons, start)
}

// A fit finds the covariances that examples were drawn with: the control
// connection's own, and that of each transfer.
func TestCovariances(t *testing.T) {
	start := StartPriors()
	for seed := range uint64(2) {
		rng := rand.New(rand.NewPCG(seed, 17))
		w := world{Kind{Server: "203.0.113.10", Port: 21}, start.Plain.Mean, Matrix{}, Matrix{}, 4}
		w.base, w.each = randomCovariance(rng, vector{9, 9, 900, 6000}), randomCovariance(rng, vector{4, 4, 300, 900})
		var kinds []kindLesson
		var means []*costs
		for range 8 {
			kinds = append(kinds, kindLesson{w.taught(rng, start, examplesPerKind).byKind[w.kind], 1})
			means = append(means, newCosts(start.Plain, w.mean))
		}
		base, each := covariances(kinds, means, start.Plain, w.freedom)
		if x := unlike(base, w.base); !(x <= 0.35) {
			t.Errorf("seed %d: base: got %v, want %v: unlike by %.2f", seed, base, w.base, x)
		}
		if x := unlike(each, w.each); !(x <= 0.35) {
			t.Errorf("seed %d: each: got %v, want %v: unlike by %.2f", seed, each, w.each, x)
		}
	}
}

// A fit to several servers finds the mean over them, and how often there is
// data.
func TestFitFindsTheMeans(t *testing.T) {
	start := StartPriors()
	rng := rand.New(rand.NewPCG(7, 9))
	var learners []*Learner
	var mean Coefficients
	withData := 0.0
	const servers = 6
	for k := range servers {
		w := otherWorld(rng, start)
		w.kind.Server = fmt.Sprint("server ", k)
		for f := range mean {
			mean[f] = mean[f].plus(w.mean[f])
		}
		l := w.taught(rng, start, 60)
		learners = append(learners, l)
		withData += l.times.withData
	}
	for f := range mean {
		for i := range mean[f] {
			mean[f][i] /= servers
		}
	}
	encrypted := otherWorld(rng, start)
	encrypted.kind.Encrypted = true
	learners = append(learners, encrypted.taught(rng, start, 20))
	withData += learners[servers].times.withData
	p := fitted(learners, start)
	if x := wrong(p.Plain.Mean, mean, start); x > 0.15 {
		t.Errorf("the means are %.3f spreads off", x)
	}
	if got, want := p.Times.First, withData/(60*servers+20); math.Abs(got-want) > 0.01 {
		t.Errorf("there is data with %v, want %v", got, want)
	}
}

// What was fitted is the same each time, and priors that can be used.
func TestFitIsUsable(t *testing.T) {
	start := StartPriors()
	learners := func() (ls []*Learner) {
		rng := rand.New(rand.NewPCG(8, 9))
		for k := range 6 {
			w := otherWorld(rng, start)
			w.kind.Encrypted = k%2 == 0
			l := w.taught(rng, start, 20)
			for _, w.kind.Port = range []uint16{2121, 990, 2122} {
				g, given := w.session(rng)
				l.Add(g, given)
			}
			ls = append(ls, l)
		}
		return ls
	}
	p := fitted(learners(), start)
	if again := fitted(learners(), start); *again != *p {
		t.Error("the second time it fits otherwise")
	}
	g := randomGroup(rand.New(rand.NewPCG(9, 9)), p, 3, 6)
	checkPosterior(t, "fitted", g, Decide(NewModel(p), g))
}
