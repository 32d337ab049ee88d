package rules

import (
	"math/rand/v2"
	"testing"
)

func TestCover(t *testing.T) {
	for _, c := range []struct {
		ports string
		k     int
		want  string
	}{
		{"", 3, ""},
		{"21", 1, "21"},
		{"1;5;9", 1, "1-9"},
		{"1;5;9", 0, "1-9"},
		{"1;5;9", 2, "1;5-9"}, // equal gaps: the lower one stays open
		{"1;5;9", 3, "1;5;9"},
		{"1;5;9", 9, "1;5;9"},
		{"1;5;10", 2, "1-5;10"},
		{"0;65535", 1, "0-65535"},
	} {
		s, err := ParsePorts(c.ports)
		if err != nil {
			t.Fatal(err)
		}
		if got := Cover(s, c.k).String(); got != c.want {
			t.Errorf("%s in %d: got %s, want %s", c.ports, c.k, got, c.want)
		}
	}
}

// leastExposed tries every way to join neighbouring ranges of s into at most
// k, and returns the fewest ports that one exposes.
func leastExposed(s PortSet, k int) int {
	ranges := s.Ranges()
	least := 65537
	for joined := range 1 << (len(ranges) - 1) {
		entries, exposed := 1, ranges[0].Len()
		for i := 1; i < len(ranges); i++ {
			if joined>>(i-1)&1 == 1 {
				exposed += int(ranges[i].To) - int(ranges[i-1].To)
			} else {
				entries++
				exposed += ranges[i].Len()
			}
		}
		if entries <= k {
			least = min(least, exposed)
		}
	}
	return least
}

func TestCoverAgainstBruteForce(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 300 {
		var b PortBitmap
		for range 1 + rng.IntN(10) {
			b.Add(uint16(rng.IntN(40)) + uint16(rng.IntN(2))*65496)
		}
		s := b.Set()
		curve := CoverCurve(s, 12)
		for k := 1; k <= 12; k++ {
			got := Cover(s, k)
			if !s.Subtract(got).IsEmpty() || len(got.Ranges()) > k {
				t.Fatalf("%v in %d: %v is no cover", s, k, got)
			}
			want := leastExposed(s, k)
			if got.Len() != want {
				t.Fatalf("%v in %d: %v exposes %d, want %d", s, k, got, got.Len(), want)
			}
			point := curve[min(k, len(curve))-1]
			if point.Entries != len(got.Ranges()) || point.Exposed != want {
				t.Fatalf("%v in %d: the curve says %v, want {%d %d}", s, k, point, len(got.Ranges()), want)
			}
		}
	}
}

func TestCoverCurveEnds(t *testing.T) {
	s := Ports(PortRange{1, 1}, PortRange{5, 5}, PortRange{9, 9})
	for _, c := range []struct{ maxK, want int }{{-1, 0}, {0, 0}, {1, 1}, {2, 2}, {3, 3}, {20, 3}} {
		if got := len(CoverCurve(s, c.maxK)); got != c.want {
			t.Errorf("up to %d: got %d points, want %d", c.maxK, got, c.want)
		}
	}
	if got := CoverCurve(PortSet{}, 5); got != nil {
		t.Errorf("empty set: got %v, want none", got)
	}
}
