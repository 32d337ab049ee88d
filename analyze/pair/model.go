package pair

import (
	"math"
)

// A vector is a point in the space of Totals: packets to the server and to
// the client, payload to the server and to the client.
type vector [4]float64

func (v vector) plus(w vector) vector {
	for i := range v {
		v[i] += w[i]
	}
	return v
}

func (v vector) minus(w vector) vector {
	for i := range v {
		v[i] -= w[i]
	}
	return v
}

// features are what the cost of one transfer on the control connection
// depends on, linearly. The first is that of the control connection itself.
type features [nFeatures]float64

const (
	featureControl     = iota // greeting, login and QUIT
	featureEstablished        // PASV and its reply, the command, 150 and 226
	featureLong               // lasting a second: 150 and 226 are acknowledged apart
	featureUpload             // STOR instead of RETR
	featureSize               // digits of the size, which 150 tells, but four
	featureBlocked            // PASV or PORT alone, 425
	featurePort               // digits of the port's low byte, which 227 tells, but three
	nFeatures
)

func (d *Data) features() features {
	var x features
	x[featurePort] = digits(int(d.Port&0xff)) - 3
	if !d.Established {
		x[featureBlocked] = 1
		return x
	}
	x[featureEstablished] = 1
	if d.End > d.Start {
		x[featureLong] = 1
	}
	if d.Upload {
		x[featureUpload] = 1
	} else {
		x[featureSize] = digits(d.Size) - 4
	}
	return x
}

func digits(n int) float64 {
	d := 1.0
	for ; n >= 10; n /= 10 {
		d++
	}
	return d
}

// A Model is the likelihood of control connections and their transfers: what
// Priors says, or what a Learner made of it. It is not changed by Decide.
type Model struct {
	priors *Priors
	kinds  map[Kind]*costs
	plain  *costs // of kinds that were not seen
	tls    *costs
	times  times
	shapes shapeOdds
	// strain divides the differences of stated log-probabilities: above 1 the
	// model does not fit the traffic well, and no answer shall sound sure.
	strain float64
	starts int // of the sampler
	// foreign is the log-rate of connections that are not FTP; stray is the
	// log-odds, against foreign, of what looks like FTP.
	foreign, stray float64
}

// NewModel returns the model before it has seen any traffic.
func NewModel(p *Priors) *Model {
	return &Model{
		priors: p, kinds: map[Kind]*costs{}, plain: newCosts(p.Plain.unknown(), p.Plain.Mean), tls: newCosts(p.Encrypted.unknown(), p.Encrypted.Mean),
		times: newTimes(p.Times), shapes: newShapeOdds(p.Shapes), strain: 1, starts: mostStarts,
		foreign: math.Log(p.Foreign), stray: math.Log(p.Stray),
	}
}

func (m *Model) costs(k Kind) *costs {
	if c := m.kinds[k]; c != nil {
		return c
	}
	if k.Encrypted {
		return m.tls
	}
	return m.plain
}

// costs are what a control connection of one kind and its transfers cost:
// totals have a multivariate t distribution around a linear function of the
// transfers' features, and their covariance grows with the transfers'
// number. Totals are compared in a space in which both parts of the
// covariance are diagonal.
type costs struct {
	mean   Coefficients
	to     [4]vector // rows of the transformation
	growth vector    // of the variances with each transfer; those of none are 1
	// spreads are those of the first numbers of transfers.
	spreads []spread
}

// manyTransfers is how many spreads are kept: few sessions have more
// transfers.
const manyTransfers = 64

func newCosts(p TotalsPrior, mean Coefficients) *costs {
	c := &costs{mean: mean}
	c.to, c.growth = diagonalize(p.Base, p.Each)
	for n := range manyTransfers {
		c.spreads = append(c.spreads, newSpread(c.growth, n))
	}
	return c
}

// unknown returns the covariances of a server that was not seen: its means
// can be anywhere within their spread.
func (p TotalsPrior) unknown() TotalsPrior {
	for i := range 4 {
		p.Base[i][i] += p.Spread[featureControl][i] * p.Spread[featureControl][i]
		p.Each[i][i] += p.Spread[featureEstablished][i] * p.Spread[featureEstablished][i]
	}
	return p
}

// transform returns v in the space of diagonal covariances.
func (c *costs) transform(v vector) vector {
	var w vector
	for i, row := range c.to {
		for j, x := range row {
			w[i] += x * v[j]
		}
	}
	return w
}

// of returns what features cost.
func (c *costs) of(x features) vector {
	var v vector
	for f, w := range x {
		if w != 0 {
			for i := range v {
				v[i] += w * c.mean[f][i]
			}
		}
	}
	return v
}

// spread returns the variances of the transformed totals after n transfers,
// inverted, and the logarithm of their product's root.
func (c *costs) spread(n int) *spread {
	if n < len(c.spreads) {
		return &c.spreads[n]
	}
	s := newSpread(c.growth, n)
	return &s
}

// spread is how totals vary after a number of transfers.
type spread struct {
	inverse vector
	logRoot float64
}

func newSpread(growth vector, n int) spread {
	var s spread
	for i, g := range growth {
		v := 1 + float64(n)*g
		s.inverse[i] = 1 / v
		s.logRoot += math.Log(v) / 2
	}
	return s
}

// distance returns the squared distance of a transformed residual from what
// is expected, in standard deviations.
func (s *spread) distance(residual vector) float64 {
	q := 0.0
	for i, z := range residual {
		q += z * z * s.inverse[i]
	}
	return q
}

// change returns by how much the log-density grows when one more transfer
// turns a residual into another.
func (c *costs) change(from, to vector, n int, freedom float64) float64 {
	a, b := c.spread(n), c.spread(n+1)
	return a.logRoot - b.logRoot - (freedom+4)/2*math.Log((freedom+b.distance(to))/(freedom+a.distance(from)))
}

// times are log-densities, per second, of what passes between the events of
// a control connection.
type times struct {
	lead, gap, afterBlocked, life, tail, tailAfterBlocked density
	first, more                                           chance
}

func newTimes(p TimesPrior) times {
	return times{
		lead: p.Lead.density(), gap: p.Gap.density(), afterBlocked: p.AfterBlocked.density(),
		life: p.Life.density(), tail: p.Tail.density(), tailAfterBlocked: p.TailAfterBlocked.density(),
		first: newChance(p.First), more: newChance(p.More),
	}
}

// A chance is the logarithm of a probability and of what remains.
type chance struct{ yes, no float64 }

func newChance(p float64) chance { return chance{math.Log(p), math.Log1p(-p)} }

// A density is a log-density over whole seconds, in bins whose width grows
// like the time.
type density [bins]float64

// bins of times: 0, 1, 2, 3-4, 5-8 s and so on; the last has all beyond.
const bins = 15

func binOf(seconds int64) int {
	switch {
	case seconds <= 0:
		return 0
	case seconds <= 2:
		return int(seconds)
	}
	b := 3
	for limit := int64(4); seconds > limit && b < bins-1; limit *= 2 {
		b++
	}
	return b
}

// binWidth is how many seconds a bin has.
func binWidth(b int) float64 {
	if b < 3 {
		return 1
	}
	return math.Exp2(float64(b - 2))
}

func (d *density) at(seconds int64) float64 { return d[binOf(seconds)] }

// A moment is an event on a control connection's line of time: a transfer,
// or the connection's own beginning or end.
type moment struct {
	start, end  int64
	established bool
}

func (d *Data) moment() moment { return moment{d.Start, d.End, d.Established} }

// Costs of two transfers on one control connection at the same time, which
// FTP does not do. Times are whole seconds; and a system repeats the SYN of a
// blocked connection for a while after its client has gone on.
const (
	overlapSlight  = -3
	overlapBlocked = -5
	overlapFull    = -14
	overlapSeconds = 1
	repeatSeconds  = 30
)

// overlap is the cost of next beginning while prev lasts.
func overlap(prev, next moment) float64 {
	over := prev.end - next.start
	switch {
	case over <= 0:
		return 0
	case over <= overlapSeconds, !prev.established && over <= repeatSeconds:
		return overlapSlight
	case !prev.established:
		return overlapBlocked
	}
	return overlapFull
}

// lead is the log-density of the first transfer.
func (t *times) leadTo(c *Control, first moment) float64 {
	if !c.Begun {
		return t.more.yes + t.gap.at(first.start-c.Start)
	}
	return t.first.yes + t.lead.at(first.start-c.Start)
}

// between is the log-density of a transfer after another.
func (t *times) between(prev, next moment) float64 {
	if !prev.established {
		return t.more.yes + t.afterBlocked.at(next.start-prev.start) + overlap(prev, next)
	}
	return t.more.yes + t.gap.at(next.start-prev.end) + overlap(prev, next)
}

// tailAfter is the log-density of the control connection's end after its last
// transfer.
func (t *times) tailAfter(c *Control, last moment, until int64) float64 {
	switch {
	case !c.Ended || c.End >= until:
		return 0
	case !last.established:
		return t.more.no + t.tailAfterBlocked.at(c.End-last.start)
	}
	return t.more.no + t.tail.at(c.End-last.end)
}

// lifeOf is the log-density of the life of a control connection without
// transfers.
func (t *times) lifeOf(c *Control, until int64) float64 {
	if !c.Begun || !c.Ended || c.End >= until {
		return 0
	}
	return t.first.no + t.life.at(c.End-c.Start)
}

// shapeOdds are log-likelihood ratios of a shape, FTP against anything else,
// under a plain and under an encrypted control connection.
type shapeOdds struct{ plain, encrypted [shapes]float64 }

func newShapeOdds(p ShapesPrior) shapeOdds {
	var o shapeOdds
	for s := range shapes {
		o.plain[s] = math.Log(p.Plain[s] / p.Other[s])
		o.encrypted[s] = math.Log(p.Encrypted[s] / p.Other[s])
	}
	return o
}

func (o *shapeOdds) of(s Shape, encrypted bool) float64 {
	if encrypted {
		return o.encrypted[s]
	}
	return o.plain[s]
}
