package pair

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Bins cover all seconds once and in order, each as many as binWidth says.
func TestBinsCoverAllSeconds(t *testing.T) {
	count := make([]float64, bins)
	last := 0
	for s := int64(0); last < bins-1; s++ {
		b := binOf(s)
		if b != last && b != last+1 {
			t.Fatalf("second %d is in bin %d, that before in %d", s, b, last)
		}
		count[b]++
		last = b
	}
	for b, n := range count[:bins-1] {
		if n != binWidth(b) {
			t.Errorf("bin %d has %v seconds, and its width is %v", b, n, binWidth(b))
		}
	}
	for _, row := range []struct {
		seconds int64
		bin     int
	}{{math.MinInt64, 0}, {-1, 0}, {0, 0}, {1, 1}, {2, 2}, {3, 3}, {4, 3}, {5, 4}, {8, 4}, {9, 5}, {1 << 40, bins - 1}, {math.MaxInt64, bins - 1}} {
		if got := binOf(row.seconds); got != row.bin {
			t.Errorf("second %d is in bin %d, want %d", row.seconds, got, row.bin)
		}
	}
}

// The density of a histogram is one over the seconds of its bins.
func TestDensitySumsToOne(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	for range 20 {
		d := randomHistogram(rng).density()
		sum, seconds := 0.0, 0.0
		for b := range bins {
			seconds += binWidth(b)
		}
		for s := range int64(seconds) {
			sum += math.Exp(d.at(s))
		}
		if math.Abs(sum-1) > 1e-9 {
			t.Errorf("it sums to %v", sum)
		}
	}
}

// Shrunk, smoothed and counted histograms are histograms.
func TestHistogramsStayHistograms(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 5))
	for range 50 {
		var counts Histogram
		for b := range counts {
			counts[b] = float64(rng.IntN(3) * rng.IntN(1000))
		}
		for name, h := range map[string]Histogram{"smooth": counts.smooth(), "shrink": randomHistogram(rng).shrink(counts, timesWeight)} {
			sum := 0.0
			for b, share := range h {
				sum += share
				if share <= 0 {
					t.Errorf("%s: bin %d has %v", name, b, share)
				}
			}
			if math.Abs(sum-1) > 1e-12 {
				t.Errorf("%s: it sums to %v", name, sum)
			}
		}
	}
}

// Without counts a histogram stays as it is, and with very many it is theirs.
func TestShrink(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 5))
	h, truth := randomHistogram(rng), randomHistogram(rng)
	for b, share := range h.shrink(Histogram{}, timesWeight) {
		if math.Abs(share-h[b]) > 1e-15 {
			t.Errorf("bin %d without counts: got %v, want %v", b, share, h[b])
		}
	}
	counts := truth
	for b := range counts {
		counts[b] *= 1e6
	}
	for b, share := range h.shrink(counts, timesWeight) {
		if math.Abs(share-truth[b]) > 1e-4 {
			t.Errorf("bin %d with many: got %v, want %v", b, share, truth[b])
		}
	}
}

func TestSilent(t *testing.T) {
	v := View{{First: 100, Last: 110}, {First: 120, Last: 130}, {First: 131, Last: 140}}
	for _, row := range []struct {
		at       int64
		interval int
		silent   bool
	}{
		{50, 0, false}, {100, 0, false}, {111, 0, false}, {112, 0, true}, {118, 0, true}, {119, 0, false}, {120, 1, false},
		{130, 1, false}, {131, 2, false}, {141, 2, false}, {1000, 2, false},
	} {
		if got := v.at(row.at); got != row.interval {
			t.Errorf("%d is in interval %d, want %d", row.at, got, row.interval)
		}
		if got := v.silent(row.at); got != row.silent {
			t.Errorf("silent at %d: %v, want %v", row.at, got, row.silent)
		}
	}
}

func TestDigits(t *testing.T) {
	for _, row := range []struct {
		n    int
		want float64
	}{{-5, 1}, {0, 1}, {9, 1}, {10, 2}, {99, 2}, {100, 3}, {999999, 6}, {math.MaxInt64, 19}} {
		if got := digits(row.n); got != row.want {
			t.Errorf("%d has %v digits, want %v", row.n, got, row.want)
		}
	}
}
