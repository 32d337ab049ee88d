package pair

import (
	"math"
	"slices"
)

// A line is a control connection with the transfers that it is given, in a
// form in which one transfer more or less costs little to weigh.
type line struct {
	control *Control
	group   *Group
	model   *Model
	costs   *costs
	whole   bool // its totals are known
	members []int
	// residual is what the transfers do not explain of the totals, and n how
	// many they are, with those settled before.
	residual vector
	n        int
	views    []viewLine
}

// A viewLine is how many packets are expected in each interval of a view.
type viewLine struct {
	view     View
	expected []float64
}

// A pair is a data connection and one of its candidates: everything that does
// not depend on other data connections.
type pair struct {
	control int
	fixed   float64 // log-likelihood ratio of being its data
	cost    vector  // what it adds to the totals, transformed
	packets float64
	from    []int // the intervals of its beginning and its end, in each view
	to      []int
}

// silence is the cost of an event while the control connection was silent.
// Late times make that possible.
const silence = -7

func newPair(m *Model, g *Group, d *Data, control int) pair {
	c := g.Controls[control]
	k := m.costs(c.Kind)
	v := k.of(d.x)
	p := pair{control: control, fixed: d.Odds + m.shapes.of(d.Shape, c.Kind.Encrypted), cost: k.transform(v), packets: max(1, v[0]+v[1])}
	for _, view := range c.Views {
		p.from, p.to = append(p.from, view.at(d.Start)), append(p.to, view.at(d.End))
		if view.silent(d.Start) {
			p.fixed += silence
		}
		if d.Established && view.silent(d.End) {
			p.fixed += silence
		}
	}
	return p
}

// carried is what earlier decisions have settled of a control connection's
// transfers.
type carried struct {
	n       int
	x       features
	last    moment
	packets [][]float64 // by view and interval
}

// Of the packets that a transfer costs, most are at its beginning: PASV, its
// reply, the command and 150, each acknowledged; 226 is at the end. In the
// same way greeting and login come at a control connection's beginning, and
// QUIT at its end.
const (
	atBeginning = 0.7
	atEnd       = 0.3
	// atAnyTime is what an interval can have of keep-alives and of commands
	// without a transfer, in packets; and anyShare the share of all packets
	// that such are.
	atAnyTime = 0.5
	anyShare  = 0.05
)

func newLine(m *Model, g *Group, c *Control) *line {
	l := &line{control: c, group: g, model: m, costs: m.costs(c.Kind), whole: c.Begun && c.Ended && c.End < g.Until, n: c.carried.n}
	x := c.carried.x
	x[featureControl]++
	l.residual = l.costs.transform(c.Totals.vector().minus(l.costs.of(x)))
	for k, view := range c.Views {
		l.views = append(l.views, l.newView(k, view))
	}
	return l
}

func (l *line) newView(k int, view View) viewLine {
	v := viewLine{view: view, expected: make([]float64, len(view))}
	own := l.costs.of(features{featureControl: 1})
	packets := max(2, own[0]+own[1])
	seen := 0.0
	for _, w := range view {
		if w.First < l.group.Until {
			seen += w.Packets
		}
	}
	for i := range view {
		v.expected[i] = max(atAnyTime, anyShare*seen/float64(len(view)))
		if l.control.carried.packets != nil {
			v.expected[i] += l.control.carried.packets[k][i]
		}
	}
	if l.control.Begun {
		v.expected[0] += atBeginning * packets
	}
	if l.control.Ended {
		v.expected[len(view)-1] += atEnd * packets
	}
	return v
}

// gain returns by how much the log-likelihood grows when the line is given
// data connection d, which it does not have.
func (l *line) gain(d int, p *pair) float64 {
	at, _ := slices.BinarySearch(l.members, d)
	g := p.fixed + l.timesWith(d, at) - l.timesWithout(at)
	if l.whole {
		g += l.costs.change(l.residual, l.residual.minus(p.cost), l.n, l.model.priors.Freedom)
	}
	for k := range l.views {
		g += l.views[k].gain(p.from[k], p.to[k], p.packets) / l.model.priors.Clumping
	}
	return g
}

// before and after return the moments around position at, with ok false
// where there is none.
func (l *line) before(at int) (moment, bool) {
	if at > 0 {
		return l.group.Data[l.members[at-1]].moment(), true
	}
	return l.control.carried.last, l.control.carried.n > 0
}

func (l *line) after(at int) (moment, bool) {
	if at < len(l.members) {
		return l.group.Data[l.members[at]].moment(), true
	}
	return moment{}, false
}

// timesWithout is the log-density of the stretch around position at.
func (l *line) timesWithout(at int) float64 {
	t, c := &l.model.times, l.control
	prev, hasPrev := l.before(at)
	next, hasNext := l.after(at)
	switch {
	case hasPrev && hasNext:
		return t.between(prev, next)
	case hasPrev:
		return t.tailAfter(c, prev, l.group.Until)
	case hasNext:
		return t.leadTo(c, next)
	}
	return t.lifeOf(c, l.group.Until)
}

// timesWith is the same with d there.
func (l *line) timesWith(d, at int) float64 {
	t, c, m := &l.model.times, l.control, l.group.Data[d].moment()
	var g float64
	if prev, ok := l.before(at); ok {
		g = t.between(prev, m)
	} else {
		g = t.leadTo(c, m)
	}
	if next, ok := l.after(at); ok {
		return g + t.between(m, next)
	}
	return g + t.tailAfter(c, m, l.group.Until)
}

// gain is the change of the log-likelihood of the intervals' packets, as
// numbers of Poisson around what is expected in each.
func (v *viewLine) gain(from, to int, packets float64) float64 {
	first, second := atBeginning*packets, atEnd*packets
	g := -packets
	if from == to {
		return g + v.view[from].Packets*math.Log1p(packets/v.expected[from])
	}
	return g + v.view[from].Packets*math.Log1p(first/v.expected[from]) + v.view[to].Packets*math.Log1p(second/v.expected[to])
}

func (l *line) add(d int, p *pair) {
	at, _ := slices.BinarySearch(l.members, d)
	l.members = slices.Insert(l.members, at, d)
	l.change(p, 1)
}

func (l *line) remove(d int, p *pair) {
	at, _ := slices.BinarySearch(l.members, d)
	l.members = slices.Delete(l.members, at, at+1)
	l.change(p, -1)
}

func (l *line) change(p *pair, sign float64) {
	l.n += int(sign)
	for i := range l.residual {
		l.residual[i] -= sign * p.cost[i]
	}
	for k := range l.views {
		v := &l.views[k]
		v.expected[p.from[k]] += sign * atBeginning * p.packets
		v.expected[p.to[k]] += sign * atEnd * p.packets
	}
}

// Settle gives data connection d to its k-th candidate for good, so that d
// can be left out of what is decided next.
func (g *Group) Settle(m *Model, d *Data, k int) {
	i := d.Candidates[k]
	c := g.Controls[i]
	d.x = d.features()
	p := newPair(m, g, d, i)
	s := &c.carried
	if s.packets == nil {
		for _, v := range c.Views {
			s.packets = append(s.packets, make([]float64, len(v)))
		}
	}
	for v := range c.Views {
		s.packets[v][p.from[v]] += atBeginning * p.packets
		s.packets[v][p.to[v]] += atEnd * p.packets
	}
	s.n++
	for f := range s.x {
		s.x[f] += d.x[f]
	}
	if s.n == 1 || d.End >= s.last.end {
		s.last = d.moment()
	}
}
