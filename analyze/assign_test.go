package analyze

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// A bruteAssignment is every assignment of single members, tried one by one:
// the least cost, and the probability of each match.
type bruteAssignment struct {
	best float64
	prob [][]float64 // by row and column member
}

// bruteAssign tries every assignment of rows to columns.
func bruteAssign(cost [][]float64, cols int, unmatched float64) bruteAssignment {
	b := bruteAssignment{best: math.Inf(1)}
	for range cost {
		b.prob = append(b.prob, make([]float64, cols))
	}
	used, of := make([]bool, cols), make([]int, len(cost))
	weight := 0.0
	var walk func(i int, total float64)
	walk = func(i int, total float64) {
		if i == len(cost) {
			b.best = min(b.best, total)
			w := math.Exp(-total)
			weight += w
			for i, j := range of {
				if j >= 0 {
					b.prob[i][j] += w
				}
			}
			return
		}
		of[i] = -1
		walk(i+1, total+unmatched)
		for j := range cols {
			if !used[j] && !math.IsInf(cost[i][j], 1) {
				used[j], of[i] = true, j
				walk(i+1, total+cost[i][j])
				used[j] = false
			}
		}
	}
	walk(0, 0)
	for _, row := range b.prob {
		for j := range row {
			row[j] /= weight
		}
	}
	return b
}

// A problem is an input of assign.
type problem struct {
	rows, cols []int
	pairs      []pairing
}

func randomProblem(rng *rand.Rand, members int) problem {
	sizes := func() (s []int) {
		for left := 1 + rng.IntN(members); left > 0; {
			n := 1
			if rng.IntN(2) == 0 {
				n += rng.IntN(left)
			}
			s = append(s, n)
			left -= n
		}
		return s
	}
	p := problem{rows: sizes(), cols: sizes()}
	scale := []float64{1, 4, 10}[rng.IntN(3)]
	for i := range p.rows {
		for j := range p.cols {
			if rng.IntN(4) > 0 {
				p.pairs = append(p.pairs, pairing{i, j, scale * float64(rng.IntN(5)) / 2})
			}
		}
	}
	return p
}

// members spells the problem out for single members.
func (p problem) members() (cost [][]float64, rowOf, colOf []int) {
	spell := func(sizes []int) (of []int) {
		for i, n := range sizes {
			for range n {
				of = append(of, i)
			}
		}
		return of
	}
	rowOf, colOf = spell(p.rows), spell(p.cols)
	for _, i := range rowOf {
		row := make([]float64, len(colOf))
		for m, j := range colOf {
			row[m] = math.Inf(1)
			for _, q := range p.pairs {
				if q.i == i && q.j == j {
					row[m] = q.cost
				}
			}
		}
		cost = append(cost, row)
	}
	return cost, rowOf, colOf
}

// total is the cost of what assign matched, which must be possible.
func (p problem) total(t testing.TB, got [][]portion, unmatched float64) float64 {
	t.Helper()
	cost := map[[2]int]float64{}
	for _, q := range p.pairs {
		cost[[2]int{q.i, q.j}] = q.cost
	}
	total := 0.0
	taken := make([]int, len(p.cols))
	for i, ps := range got {
		left := p.rows[i]
		for _, q := range ps {
			total += float64(q.n) * cost[[2]int{i, q.col}]
			left -= q.n
			taken[q.col] += q.n
		}
		if left < 0 {
			t.Fatalf("more of row %d is matched than there is", i)
		}
		total += float64(left) * unmatched
	}
	for j, n := range taken {
		if n > p.cols[j] {
			t.Fatalf("more of column %d is matched than there is", j)
		}
	}
	return total
}

func TestAssignAgainstBruteForce(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 1500 {
		p := randomProblem(rng, 5)
		const unmatched = 9
		cost, rowOf, colOf := p.members()
		want := bruteAssign(cost, len(colOf), unmatched)
		got := assign(p.rows, p.cols, p.pairs, unmatched)
		if total := p.total(t, got, unmatched); math.Abs(total-want.best) > 1e-9 {
			t.Fatalf("%+v: total cost %v, want %v", p, total, want.best)
		}
		for m, i := range rowOf {
			for _, q := range got[i] {
				prob := q.mean / float64(p.rows[i]*p.cols[q.col])
				if w := want.prob[m][slices.Index(colOf, q.col)]; math.Abs(prob-w) > 1e-6 {
					t.Fatalf("%+v: row %d with column %d: probability %v, want %v", p, i, q.col, prob, w)
				}
			}
		}
	}
}

// What is too large to be summed up is estimated: hardly ever above the true
// probability, and the less so the surer it says it is.
func TestBalanceAgainstBruteForce(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 3))
	var over []float64
	for range 1500 {
		p := randomProblem(rng, 6)
		const unmatched = 100 // so that as many stay alone in every assignment that counts
		cost, rowOf, colOf := p.members()
		want := bruteAssign(cost, len(colOf), unmatched)
		for _, c := range components(len(p.rows), len(p.cols), distinct(p.pairs)) {
			tr := newTransport(p.rows, p.cols, c, unmatched)
			tr.solve()
			tr.balance()
			for _, a := range tr.arcs {
				i, j := tr.rows[a.row], tr.cols[a.col]
				prob := a.mean / float64(p.rows[i]*p.cols[j])
				truth := want.prob[slices.Index(rowOf, i)][slices.Index(colOf, j)]
				over = append(over, prob-truth)
				if a.flow > 0 && prob > truth+0.15 || prob > 0.9 && prob > truth+0.02 {
					t.Errorf("%+v: row %d with column %d: probability %v, at most %v", p, i, j, prob, truth)
				}
			}
		}
	}
	slices.Sort(over)
	if o := over[len(over)*95/100]; o > 0.1 {
		t.Errorf("one in twenty is stated %v too high, or more", o)
	}
}

// Components of ten thousand rows take a second or two at most, whatever
// their costs.
func TestAssignLarge(t *testing.T) {
	if testing.Short() {
		t.Skip("large")
	}
	const n = 10_000
	rng := rand.New(rand.NewPCG(1, 4))
	unit := slices.Repeat([]int{1}, n)
	near := func(cost func(i, j int) float64) problem {
		p := problem{rows: unit, cols: unit}
		for i := range n {
			for j := max(0, i-32); j < min(n, i+32); j++ {
				p.pairs = append(p.pairs, pairing{i, j, cost(i, j)})
			}
		}
		return p
	}
	for name, p := range map[string]problem{
		"one class":            {rows: []int{n}, cols: []int{n}, pairs: []pairing{{0, 0, 3}}},
		"fractions":            near(func(i, j int) float64 { return rng.Float64() * 30 }),
		"all want the nearest": near(func(i, j int) float64 { return float64(j % 64) }),
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			got := assign(p.rows, p.cols, p.pairs, 40)
			took := time.Since(begin)
			if took > 5*time.Second {
				t.Errorf("took %v", took)
			}
			p.total(t, got, 40)
			for i, ps := range got {
				mean := 0.0
				for _, q := range ps {
					mean += q.mean
				}
				if mean > float64(p.rows[i])*1.001 {
					t.Fatalf("%v members of row %d, which has %d", mean, i, p.rows[i])
				}
			}
		})
	}
}

func TestAssignTie(t *testing.T) {
	unit := []int{1, 1}
	got := assign(unit, unit, []pairing{{0, 0, 1}, {0, 1, 1}, {1, 0, 1}, {1, 1, 1}}, 20)
	for i, ps := range got {
		if len(ps) != 2 || ps[0].n+ps[1].n != 1 || math.Abs(ps[0].mean-0.5) > 1e-6 || math.Abs(ps[1].mean-0.5) > 1e-6 {
			t.Errorf("row %d: %+v, want one of two as probable", i, ps)
		}
	}
	got = assign([]int{500}, []int{500}, []pairing{{0, 0, 1}}, 20)
	if p := got[0][0]; p.n != 500 || math.Abs(p.mean-500) > 1 {
		t.Errorf("500 of 500: %+v", p)
	}
}
