package pair

import (
	"math/rand/v2"
	"reflect"
	"testing"
)

// What is doubtful counts less.
func TestLearnerDoubts(t *testing.T) {
	p := StartPriors()
	rng := rand.New(rand.NewPCG(4, 9))
	w := otherWorld(rng, p)
	for _, row := range []struct {
		share float64
		want  func(weight float64) bool
	}{
		{1, func(x float64) bool { return x == 1 }},
		{0.5, func(x float64) bool { return x < 1 && x > 0 }},
	} {
		l := NewLearner(p)
		g, given := w.session(rng)
		for len(g.Data) == 0 {
			g, given = w.session(rng)
		}
		post := &Posterior{Answers: make([]Answer, len(g.Data)), Draws: [][]int{given}}
		for i := range post.Answers {
			post.Answers[i] = Answer{Shares: []float64{row.share}, Foreign: 1 - row.share}
		}
		l.Learn(g, post)
		if got := l.byKind[w.kind][0].Weight; !row.want(got) {
			t.Errorf("at probability %v an example weighs %v", row.share, got)
		}
	}
}

// What was learned does not depend on the order in which a map gives the
// kinds, not in the last bit: data connections that fit two control
// connections equally well would change places.
func TestModelIsDeterministic(t *testing.T) {
	p := StartPriors()
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 19))
		l := NewLearner(p)
		for port := range uint16(3) {
			for _, encrypted := range []bool{false, true} {
				w := otherWorld(rng, p)
				w.kind.Port, w.kind.Encrypted = 21+port, encrypted
				for range 3 {
					g, given := w.session(rng)
					l.Add(g, given)
				}
			}
		}
		want, strangeness := l.Model(), l.Strangeness()
		for range 8 {
			if got := l.Strangeness(); got != strangeness {
				t.Errorf("seed %d: strangeness %v, and %v before", seed, got, strangeness)
			}
		}
		if got := l.Model(); !reflect.DeepEqual(got, want) {
			t.Errorf("seed %d: another model of the same", seed)
		}
	}
}

// A fit to logs that have only one sort of control connections, or no
// transfers, leaves the rest as it was.
func TestFitToLittle(t *testing.T) {
	start := StartPriors()
	rng := rand.New(rand.NewPCG(10, 9))
	w := otherWorld(rng, start)
	idle := NewLearner(start)
	for range 10 {
		g, _ := w.session(rng)
		g.Data = nil
		idle.Add(g, nil)
	}
	for name, l := range map[string]*Learner{"no log": nil, "an empty log": NewLearner(start), "plain only": w.taught(rng, start, 20), "no transfers": idle} {
		var ls []*Learner
		if l != nil {
			ls = append(ls, l)
		}
		func() {
			defer func() {
				if r := recover(); r != nil {
					t.Errorf("%s: %v", name, r)
				}
			}()
			p := fitted(ls, start)
			g := randomGroup(rand.New(rand.NewPCG(9, 9)), p, 3, 6)
			checkPosterior(t, name, g, Decide(NewModel(p), g))
		}()
	}
}
