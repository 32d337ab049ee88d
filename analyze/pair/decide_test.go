package pair

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// checkPosterior checks that a posterior is one of the group.
func checkPosterior(t *testing.T, name string, g *Group, r *Posterior) {
	t.Helper()
	if len(r.Answers) != len(g.Data) || len(r.Counts) != len(g.Controls) {
		t.Fatalf("%s: %d answers and %d counts, want %d and %d", name, len(r.Answers), len(r.Counts), len(g.Data), len(g.Controls))
	}
	share := func(p float64) bool { return p >= 0 && p <= 1+1e-9 }
	most := make([]int, len(g.Controls))
	for d, a := range r.Answers {
		sum := a.Stray + a.Foreign
		ok := share(a.Stray) && share(a.Foreign) && len(a.Shares) == len(g.Data[d].Candidates)
		for k, p := range a.Shares {
			sum += p
			ok = ok && share(p)
			most[g.Data[d].Candidates[k]]++
		}
		if !ok || math.Abs(sum-1) > 1e-6 {
			t.Errorf("%s: data connection %d: %+v sums to %v", name, d, a, sum)
		}
		for _, given := range r.Draws {
			if given[d] < stray || given[d] >= len(a.Shares) {
				t.Errorf("%s: data connection %d: %d was drawn of %d", name, d, given[d], len(a.Shares))
			}
		}
	}
	for i, counts := range r.Counts {
		sum := 0.0
		for n, p := range counts {
			sum += p
			if !share(p) || n > most[i] && p > 0 {
				t.Errorf("%s: control connection %d has %d data connections with %v, and is a candidate of %d", name, i, n, p, most[i])
			}
		}
		if math.Abs(sum-1) > 1e-6 {
			t.Errorf("%s: the numbers of control connection %d are %v", name, i, counts)
		}
	}
}

// deviations are how far two posteriors are apart.
type deviations struct {
	n        int
	sum, max float64
	where    string
}

func (v *deviations) add(got, want float64, format string, args ...any) {
	x := math.Abs(got - want)
	v.n++
	v.sum += x
	if x > v.max {
		v.max, v.where = x, fmt.Sprintf(format, args...)+fmt.Sprintf(": got %.4f, want %.4f", got, want)
	}
}

func (v *deviations) mean() float64 { return v.sum / float64(max(1, v.n)) }

// compare compares the probabilities and the numbers of two posteriors.
func compare(probabilities, numbers *deviations, name string, got, want *Posterior) {
	for d := range want.Answers {
		a, b := got.Answers[d], want.Answers[d]
		for k := range b.Shares {
			probabilities.add(a.Shares[k], b.Shares[k], "%s: candidate %d of data connection %d", name, k, d)
		}
		probabilities.add(a.Stray, b.Stray, "%s: stray of data connection %d", name, d)
		probabilities.add(a.Foreign, b.Foreign, "%s: foreign of data connection %d", name, d)
	}
	for i := range want.Counts {
		for n := range max(len(want.Counts[i]), len(got.Counts[i])) {
			numbers.add(at(got.Counts[i], n), at(want.Counts[i], n), "%s: %d data connections of control connection %d", name, n, i)
		}
	}
}

func at(s []float64, n int) float64 {
	if n < len(s) {
		return s[n]
	}
	return 0
}

// apartGroups joins groups into one, in which they share no candidate.
func apartGroups(groups ...*Group) *Group {
	all := &Group{Until: groups[0].Until}
	for _, g := range groups {
		first := len(all.Controls)
		all.Controls = append(all.Controls, g.Controls...)
		for _, d := range g.Data {
			e := *d
			e.Candidates = slices.Clone(d.Candidates)
			for k := range e.Candidates {
				e.Candidates[k] += first
			}
			all.Data = append(all.Data, &e)
		}
	}
	return all
}

// connected is a random group all of whose data connections share the first
// control connection.
func connected(rng *rand.Rand, p *Priors, controls, data int) *Group {
	g := randomGroup(rng, p, controls, data)
	g.Until = Forever
	for _, d := range g.Data {
		d.Candidates = rng.Perm(controls)
	}
	return g
}

// The same group has the same answer, byte for byte.
func TestDecideIsDeterministic(t *testing.T) {
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 10))
		p := randomPriors(rng)
		g := randomGroup(rng, p, 4, 10)
		want := Decide(NewModel(p), g)
		for range 2 {
			if got := Decide(NewModel(p), g); !reflect.DeepEqual(got, want) {
				t.Errorf("seed %d: got %+v, want %+v", seed, got, want)
			}
		}
	}
}

// A group that consists of several has their answers, in any order.
func TestDecideOfComponents(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 11))
		p := randomPriors(rng)
		m := NewModel(p)
		var groups []*Group
		for range 3 {
			groups = append(groups, connected(rng, p, 1+rng.IntN(3), 1+rng.IntN(5)))
		}
		for range 3 {
			rng.Shuffle(len(groups), func(i, j int) { groups[i], groups[j] = groups[j], groups[i] })
			got := Decide(m, apartGroups(groups...))
			var want Posterior
			for _, g := range groups {
				r := Decide(m, g)
				want.Answers = append(want.Answers, r.Answers...)
				want.Counts = append(want.Counts, r.Counts...)
			}
			if !reflect.DeepEqual(got.Answers, want.Answers) || !reflect.DeepEqual(got.Counts, want.Counts) {
				t.Errorf("seed %d: got %+v, want %+v", seed, got, want)
			}
		}
	}
}

// Control connections that are nobody's candidates change nothing, wherever
// they stand.
func TestDecideWithIdleControls(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 12))
		p := randomPriors(rng)
		m := NewModel(p)
		g := connected(rng, p, 1+rng.IntN(3), 2+rng.IntN(4))
		idle := &Group{Until: Forever, Controls: randomGroup(rng, p, 2, 1).Controls}
		want := Decide(m, g)
		before := Decide(m, apartGroups(idle, g))
		if !reflect.DeepEqual(before.Answers, want.Answers) || !reflect.DeepEqual(before.Counts[2:], want.Counts) {
			t.Errorf("seed %d: got %+v, want %+v", seed, before, want)
		}
		after := Decide(m, apartGroups(g, idle))
		if !reflect.DeepEqual(after.Answers, want.Answers) || !reflect.DeepEqual(after.Counts[:len(g.Controls)], want.Counts) {
			t.Errorf("seed %d: got %+v, want %+v", seed, after, want)
		}
		for _, c := range slices.Concat(before.Counts[:2], after.Counts[len(g.Controls):]) {
			if !slices.Equal(c, []float64{1}) {
				t.Errorf("seed %d: an idle one has %v", seed, c)
			}
		}
	}
}

// permuted is the group with its control connections, and each data
// connection's candidates, in another order: that of to, the new index of
// each control connection.
func permuted(rng *rand.Rand, g *Group, to []int) (h *Group, candidates [][]int) {
	h = &Group{Until: g.Until, Controls: make([]*Control, len(g.Controls))}
	for i, c := range g.Controls {
		h.Controls[to[i]] = c
	}
	for _, d := range g.Data {
		e := *d
		order := rng.Perm(len(d.Candidates))
		e.Candidates = make([]int, len(order))
		for k, o := range order {
			e.Candidates[o] = to[d.Candidates[k]]
		}
		h.Data = append(h.Data, &e)
		candidates = append(candidates, order)
	}
	return h, candidates
}

// The order of control connections and of candidates changes nothing but
// what chance does.
func TestDecideDoesNotDependOnTheOrder(t *testing.T) {
	var probabilities, numbers deviations
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 13))
		p := randomPriors(rng)
		m := NewModel(p)
		g := randomGroup(rng, p, 2+rng.IntN(3), 2+rng.IntN(6))
		to := rng.Perm(len(g.Controls))
		h, candidates := permuted(rng, g, to)
		want, other := Decide(m, g), Decide(m, h)
		got := zeroPosterior(g)
		for d, order := range candidates {
			a := other.Answers[d]
			got.Answers[d].Stray, got.Answers[d].Foreign = a.Stray, a.Foreign
			for k, o := range order {
				got.Answers[d].Shares[k] = a.Shares[o]
			}
		}
		for i := range g.Controls {
			got.Counts[i] = other.Counts[to[i]]
		}
		compare(&probabilities, &numbers, fmt.Sprint("seed ", seed), got, want)
	}
	t.Logf("probabilities: mean %.4f, most %.4f; numbers: mean %.4f, most %.4f", probabilities.mean(), probabilities.max, numbers.mean(), numbers.max)
	if probabilities.mean() > 0.03 {
		t.Errorf("mean %.4f, %s", probabilities.mean(), probabilities.where)
	}
	if numbers.mean() > 0.03 {
		t.Errorf("mean %.4f, %s", numbers.mean(), numbers.where)
	}
}

// What Decide reads stays as it is, so that groups can be decided at the same
// time.
func TestDecideChangesNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 14))
	p := randomPriors(rng)
	g := connected(rng, p, 3, 6)
	before := apartGroups(g) // copies of the data connections
	controls := make([]Control, len(g.Controls))
	for i, c := range g.Controls {
		controls[i] = *c
	}
	Decide(NewModel(p), g)
	for i, c := range g.Controls {
		if !reflect.DeepEqual(*c, controls[i]) {
			t.Errorf("control connection %d became %+v, was %+v", i, *c, controls[i])
		}
	}
	for i, d := range g.Data {
		d.x = features{}
		if !reflect.DeepEqual(d, before.Data[i]) {
			t.Errorf("data connection %d became %+v, was %+v", i, d, before.Data[i])
		}
	}
}

func TestBest(t *testing.T) {
	for _, row := range []struct {
		shares []float64
		want   int
	}{{[]float64{0.2, 0.5, 0.3}, 1}, {[]float64{0.4, 0.4}, 0}, {[]float64{0}, 0}} {
		if got := (Answer{Shares: row.shares}).Best(); got != row.want {
			t.Errorf("the best of %v is %d, want %d", row.shares, got, row.want)
		}
	}
}

// A dice makes a group of bytes.
type dice struct{ bytes []byte }

func (b *dice) n(n int) int {
	if len(b.bytes) == 0 {
		return 0
	}
	x := int(b.bytes[0])
	b.bytes = b.bytes[1:]
	return x % n
}

func (b *dice) of(xs ...int64) int64 { return xs[b.n(len(xs))] }
func (b *dice) total() float64       { return float64(b.of(0, 1, 7, 40, 3000, 1e6, 1e12, math.MaxInt64)) }
func (b *dice) time() int64 {
	return b.of(0, 1, 50, 59, 60, 61, 400, 100000, 1e10, -1, 1795370400) + int64(b.n(100))
}
func (b *dice) yes() bool { return b.n(2) == 0 }
func (b *dice) view() (v View) {
	at := b.time()
	for range 1 + b.n(4) {
		w := Interval{First: at, Last: at + int64(b.n(90)), Packets: b.total()}
		v = append(v, w)
		at = w.Last + int64(b.n(90))
	}
	return v
}

// group is any group that package analyze could make of any log, and some
// that it could not.
func (b *dice) group() *Group {
	g := &Group{Until: Forever}
	if b.yes() {
		g.Until = b.time()
	}
	for range 1 + b.n(5) {
		c := &Control{
			Kind: Kind{"203.0.113.10", uint16(b.n(3)), b.yes()}, Start: b.time(), End: b.time(), Begun: b.yes(), Ended: b.yes(),
			Totals: Totals{b.total(), b.total(), b.total(), b.total()},
		}
		for range b.n(3) {
			c.Views = append(c.Views, b.view())
		}
		g.Controls = append(g.Controls, c)
	}
	for range b.n(12) {
		d := &Data{
			Start: b.time(), End: b.time(), Established: b.yes(), Active: b.yes(), Upload: b.yes(), Size: int(b.total() / 2),
			Port: uint16(b.n(256) * b.n(256)), Shape: Shape(b.n(int(shapes))), Odds: float64(b.of(0, 3, -3, 40, -40, 1000, -1000)),
		}
		for i := range g.Controls {
			if b.yes() {
				d.Candidates = append(d.Candidates, i)
			}
		}
		if len(d.Candidates) == 0 {
			d.Candidates = []int{b.n(len(g.Controls))}
		}
		g.Data = append(g.Data, d)
	}
	sortData(g)
	return g
}

// Whatever the group, the answers are probabilities, before and after a
// part of it was settled, and a Learner can take them.
func FuzzDecide(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 15))
	for range 60 {
		b := make([]byte, 300)
		for i := range b {
			b[i] = byte(rng.UintN(256))
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := NewModel(StartPriors())
		g := (&dice{b}).group()
		r := Decide(m, g)
		checkPosterior(t, "at first", g, r)
		l := NewLearner(m.priors)
		l.Learn(g, r)
		m = l.Model()
		checkPosterior(t, "with what was learned", g, Decide(m, g))
		half := len(g.Data) / 2
		for d, a := range r.Answers[:half] {
			g.Settle(m, g.Data[d], a.Best())
		}
		g.Data = g.Data[half:]
		checkPosterior(t, "with a half settled", g, Decide(m, g))
	})
}

// Groups that are as bad as they get.
func TestDecideOfHostileGroups(t *testing.T) {
	twins := func(n int) (ds []*Data) {
		for range n {
			ds = append(ds, &Data{Start: 1000, End: 1000, Established: true, Candidates: []int{0, 1}})
		}
		return ds
	}
	open := func(cs ...*Control) []*Control { return cs }
	for name, g := range map[string]*Group{
		"nothing":              {},
		"no data":              {Controls: open(&Control{})},
		"very many at once":    {Until: Forever, Controls: open(&Control{Begun: true, Ended: true, End: 2000}, &Control{Begun: true, Ended: true, End: 2000}), Data: twins(100)},
		"no length":            {Until: Forever, Controls: open(&Control{Start: 1000, End: 1000, Begun: true, Ended: true}, &Control{Start: 1000, End: 1000, Begun: true, Ended: true}), Data: twins(3)},
		"ends before it began": {Until: Forever, Controls: open(&Control{Start: 5000, End: 10, Begun: true, Ended: true}, &Control{Start: 9000, End: -10, Begun: true, Ended: true}), Data: twins(3)},
		"huge": {Until: Forever, Controls: open(
			&Control{Begun: true, Ended: true, End: 2000, Totals: Totals{math.MaxUint64, math.MaxUint64, math.MaxUint64, math.MaxUint64}},
			&Control{Begun: true, Ended: true, End: 2000, Totals: Totals{math.MaxUint64, 0, math.MaxUint64, 0}}), Data: twins(3)},
		"a view of nothing": {Until: Forever, Controls: open(
			&Control{Begun: true, Ended: true, End: 2000, Views: []View{{{First: 0, Last: 0}, {First: 0, Last: 0}}}},
			&Control{Begun: true, Ended: true, End: 2000, Views: []View{{{First: 0, Last: 2000, Packets: 1e18}}}}), Data: twins(3)},
	} {
		checkPosterior(t, name, g, Decide(NewModel(StartPriors()), g))
	}
}

// The shipped priors can be used.
func TestDefaultPriors(t *testing.T) {
	p := DefaultPriors()
	for _, h := range p.Times.all() {
		sum := 0.0
		for b, share := range h {
			if share <= 0 {
				t.Errorf("bin %d has %v", b, share)
			}
			sum += share
		}
		if math.Abs(sum-1) > 1e-6 {
			t.Errorf("a histogram sums to %v", sum)
		}
	}
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 16))
		g := randomGroup(rng, p, 3, 6)
		checkPosterior(t, fmt.Sprint("seed ", seed), g, Decide(NewModel(p), g))
	}
}
