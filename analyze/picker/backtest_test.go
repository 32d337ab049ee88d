package picker

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// atLeast is the probability of hits or more in n trials, added up.
func atLeast(hits, n int, p float64) float64 {
	sum := 0.0
	for k := hits; k <= n; k++ {
		a, _ := math.Lgamma(float64(n + 1))
		b, _ := math.Lgamma(float64(k + 1))
		c, _ := math.Lgamma(float64(n - k + 1))
		sum += math.Exp(a - b - c + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
	}
	return sum
}

// The ends of the interval are where what was seen becomes a surprise.
func TestClopperPearson(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for range 300 {
		n := 1 + r.IntN(512)
		hits := r.IntN(n + 1)
		low, high := clopperPearson(float64(hits), float64(n))
		if hits == 0 && low != 0 || hits > 0 && math.Abs(atLeast(hits, n, low)-.025) > 1e-4 {
			t.Fatalf("%d of %d: low is %v", hits, n, low)
		}
		if hits == n && high != 1 || hits < n && math.Abs(atLeast(hits+1, n, high)-.975) > 1e-4 {
			t.Fatalf("%d of %d: high is %v", hits, n, high)
		}
	}
}

func TestInterval(t *testing.T) {
	for _, test := range []struct {
		name      string
		folds     []fold
		low, high float64
	}{
		{"nothing tested", nil, 0, 1},
		{"nothing lost", []fold{{0, 5}, {0, 5}}, 0, .3085},
		{"all lost", []fold{{5, 5}, {5, 5}}, .6915, 1},
		{"alike", []fold{{5, 10}, {5, 10}}, .2720, .7280},
		{"whole folds lost: 20 count as two", []fold{{10, 10}, {0, 10}}, .0038, .9962},
	} {
		low, high := interval(test.folds)
		if math.Abs(low-test.low) > .01 || math.Abs(high-test.high) > .01 {
			t.Errorf("%s: interval is %.4f to %.4f, want %.4f to %.4f", test.name, low, high, test.low, test.high)
		}
	}
}

func TestCuts(t *testing.T) {
	for _, test := range []struct {
		starts, want []int
	}{
		{[]int{1}, []int{1}},
		{[]int{1, 2}, []int{1, 2}},
		{[]int{1, 1}, []int{2}},
		{[]int{1, 2, 3, 4, 5}, []int{2, 3, 4, 5}},
		{[]int{1, 2, 2, 2, 3}, []int{4, 5}},
		{[]int{1, 1, 1, 1, 1, 1}, []int{6}},
	} {
		var cs []connection
		for _, s := range test.starts {
			cs = append(cs, connection{when: int64(s) << 16})
		}
		if got := cuts(cs); !slices.Equal(got, test.want) {
			t.Errorf("starts %d: cuts are %d, want %d", test.starts, got, test.want)
		}
	}
	cs := make([]connection, SampleSize)
	for i := range cs {
		cs[i].when = int64(i) << 16
	}
	if got, want := cuts(cs), []int{512, 576, 640, 704, 768, 832, 896, 960, 1024}; !slices.Equal(got, want) {
		t.Errorf("cuts are %d, want %d", got, want)
	}
}
