package analyze

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// bruteAssign tries every assignment and returns the least total cost, with
// row force (if not negative) held to column to.
func bruteAssign(rows, cols int, cost [][]float64, unmatched float64, force, to int) float64 {
	used := make([]bool, cols)
	var walk func(i int) float64
	walk = func(i int) float64 {
		if i == rows {
			return 0
		}
		best := math.Inf(1)
		if i != force || to < 0 {
			best = unmatched + walk(i+1)
		}
		for j := range cols {
			if used[j] || i == force && j != to {
				continue
			}
			used[j] = true
			best = min(best, cost[i][j]+walk(i+1))
			used[j] = false
		}
		return best
	}
	return walk(0)
}

func TestAssignAgainstBruteForce(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 400 {
		rows, cols := 1+rng.IntN(5), 1+rng.IntN(5)
		cost := make([][]float64, rows)
		var pairs []pairing
		for i := range cost {
			for j := range cols {
				c := math.Inf(1)
				if rng.IntN(4) > 0 {
					c = float64(rng.IntN(8))
					pairs = append(pairs, pairing{i, j, c})
				}
				cost[i] = append(cost[i], c)
			}
		}
		const unmatched = 6
		got := assign(rows, cols, pairs, unmatched)
		best := bruteAssign(rows, cols, cost, unmatched, -1, -1)
		total := 0.0
		taken := map[int]bool{}
		for i, a := range got {
			if a.col < 0 {
				total += unmatched
				continue
			}
			if taken[a.col] {
				t.Fatalf("column %d matched twice", a.col)
			}
			taken[a.col] = true
			total += cost[i][a.col]
		}
		if total != best {
			t.Fatalf("total cost %v, want %v for %v", total, best, cost)
		}
		for i, a := range got {
			if want := bruteConfidence(rows, cols, cost, unmatched, best, i, a.col); math.Abs(want-a.confidence) > 1e-4 {
				t.Fatalf("row %d of %v: confidence %v, want %v", i, cost, a.confidence, want)
			}
		}
	}
}

func bruteConfidence(rows, cols int, cost [][]float64, unmatched, best float64, i, col int) float64 {
	total := 0.0
	for j := range cols {
		if !math.IsInf(cost[i][j], 1) {
			total += math.Exp(best - bruteAssign(rows, cols, cost, unmatched, i, j))
		}
	}
	// The row left alone: its column must not be used by it.
	alone := make([][]float64, rows)
	for k := range cost {
		alone[k] = slices.Clone(cost[k])
	}
	for j := range cols {
		alone[i][j] = math.Inf(1)
	}
	total += math.Exp(best - bruteAssign(rows, cols, alone, unmatched, -1, -1))
	return 1 / total
}

func TestAssignTie(t *testing.T) {
	got := assign(2, 2, []pairing{{0, 0, 1}, {0, 1, 1}, {1, 0, 1}, {1, 1, 1}}, 20)
	for i, a := range got {
		if math.Abs(a.confidence-0.5) > 1e-6 || len(a.others) != 1 {
			t.Errorf("row %d: %+v, want confidence 0.5 and one other", i, a)
		}
	}
}

func TestAssignGreedyBeyondDense(t *testing.T) {
	n := denseRows + 10
	var pairs []pairing
	for i := range n {
		pairs = append(pairs, pairing{i, i, 1})
		if i > 0 {
			pairs = append(pairs, pairing{i, i - 1, 3})
		}
	}
	for i, a := range assign(n, n, pairs, 10) {
		if a.col != i || a.confidence < 0.8 {
			t.Fatalf("row %d: %+v", i, a)
		}
	}
}
