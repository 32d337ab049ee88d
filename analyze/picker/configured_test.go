package picker

import (
	"math"
	"testing"
)

// slowTotal adds up the prior's weights range by range.
func slowTotal(u universe) float64 {
	lower, upper := edge{u, false}, edge{u, true}
	weights := make([]float64, u.high+1)
	for b := u.low; b <= u.high; b++ {
		weights[b] = upper.weight(b)
	}
	inverse := make([]float64, u.high-u.low+2)
	for w := 1; w < len(inverse); w++ {
		inverse[w] = pairWeight(1, 1, w)
	}
	sum := 0.0
	for a := u.low; a <= u.high; a++ {
		row := 0.0
		for b := a + 1; b <= u.high; b++ {
			row += weights[b] * inverse[b-a+1]
		}
		sum += lower.weight(a) * (1 + row)
	}
	return sum
}

func TestTotal(t *testing.T) {
	if got, want := configurable.total, slowTotal(configurable); math.Abs(got/want-1) > 1e-6 {
		t.Errorf("total is %v, want %v", got, want)
	}
}
