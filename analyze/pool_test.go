package analyze

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// A session with more transfers than wait for its end gets all of them.
func TestSessionWithMoreTransfersThanWait(t *testing.T) {
	const n = 2*longestPool + 150
	lines := []string{fmt.Sprintf("10.0.1.5:40000 > 10.0.0.220:20001 > 203.0.113.10:21 %dp/%db %dp/%db 100..%d", 12+5*n, 800+5*n*52+27*n, 10+5*n, 900+5*n*52+150*n, 200+7*n)}
	for k := range n {
		lines = append(lines, download(41000+k, 30000+k, 50000+k%2000, fmt.Sprintf("%d..%d", 110+7*k, 112+7*k)))
	}
	r := analysed(t, calls(rich, lines...), Options{Network: network(t)})
	if r.Sessions.Len() != 1 || r.Data.Len() != n {
		t.Fatalf("got %d sessions and %d data connections, want 1 and %d", r.Sessions.Len(), r.Data.Len(), n)
	}
	var s Session
	for s = range r.Sessions.All() {
		if s.DataConnections < n*9/10 || s.DataConnections > n {
			t.Errorf("the session has %d data connections, %d to %d; want about %d", s.DataConnections, s.DataLow, s.DataHigh, n)
		}
	}
	for d := range r.Data.All() {
		if !slices.Equal(d.Candidates, []string{s.ID}) || d.Confidence < 0.9 {
			t.Errorf("at %v: candidates %v at %v, want %s", d.Start, d.Candidates, d.Confidence, s.ID)
		}
	}
}

// randomShares are whole 4096ths, so that their sums are exact.
func randomShares(rng *rand.Rand) []float64 {
	shares := make([]float64, 1+rng.IntN(12))
	peak := rng.IntN(len(shares))
	for range 4096 {
		n := rng.IntN(len(shares))
		if rng.IntN(8) > 0 {
			n = peak
		}
		shares[n] += 1.0 / 4096
	}
	return shares
}

// interval against the definition: as many numbers as possible are left out,
// of which those below, and those above, have a fortieth at most; but the
// likeliest is not.
func TestCountInterval(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	for range 2000 {
		c := count{randomShares(rng)}
		sum := func(from, to int) (p float64) {
			for _, q := range c.shares[from:to] {
				p += q
			}
			return p
		}
		mode, low, high := c.interval()
		wantMode, wantLow, wantHigh := slices.Index(c.shares, slices.Max(c.shares)), 0, len(c.shares)-1
		for wantLow < wantMode && sum(0, wantLow+1) <= 0.025 {
			wantLow++
		}
		for wantHigh > wantMode && sum(wantHigh, len(c.shares)) <= 0.025 {
			wantHigh--
		}
		if mode != wantMode || low != wantLow || high != wantHigh {
			t.Errorf("%v: got %d, %d to %d; want %d, %d to %d", c.shares, mode, low, high, wantMode, wantLow, wantHigh)
		}
		if p := sum(low, high+1); p < 0.95 {
			t.Errorf("%v: %d to %d has %v", c.shares, low, high, p)
		}
	}
	if mode, low, high := (&count{}).interval(); mode != 0 || low != 0 || high != 0 {
		t.Errorf("of nothing: got %d, %d to %d", mode, low, high)
	}
}

// add against all combinations of the numbers.
func TestCountAdd(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 4))
	for range 200 {
		parts := [][]float64{randomShares(rng), randomShares(rng), randomShares(rng)}
		var c count
		for _, p := range parts {
			was := slices.Clone(p)
			c.add(p)
			if !slices.Equal(p, was) {
				t.Errorf("it changed %v into %v", was, p)
			}
		}
		want := make([]float64, len(c.shares))
		for i, p := range parts[0] {
			for j, q := range parts[1] {
				for k, r := range parts[2] {
					want[i+j+k] += p * q * r
				}
			}
		}
		for n, p := range c.shares {
			if math.Abs(p-want[n]) > 1e-12 {
				t.Errorf("%v: %d has %v, want %v", parts, n, p, want[n])
			}
		}
	}
}

// credible against trying all numbers of candidates.
func TestCredible(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 4))
	for range 500 {
		shares := randomShares(rng)
		slices.SortFunc(shares, func(a, b float64) int { return int(4096 * (b - a)) })
		d := &dataConn{candidates: make([]*session, len(shares)), shares: shares}
		d.isFTP = 1
		if rng.IntN(2) == 0 {
			d.isFTP = (1 + math.Max(0.7, rng.Float64())) / 2
			for k := range shares {
				shares[k] *= d.isFTP * 0.99 // the rest is of no candidate
			}
		}
		want := 1
		for sum := shares[0]; want < len(shares) && sum < 0.95*d.isFTP; want++ {
			sum += shares[want]
		}
		if got := len(d.credible()); got != want {
			t.Errorf("%v of %v: got %d candidates, want %d", shares, d.isFTP, got, want)
		}
	}
}

// A client that always has a session open with its server does not make its
// sessions wait for the end of the log.
func TestSessionsThatNeverRest(t *testing.T) {
	if testing.Short() {
		t.Skip("large")
	}
	const n = 700
	var lines []string
	for k := range n {
		at := 100 + 20*k
		lines = append(lines, fmt.Sprintf("10.0.1.5:%d > 10.0.0.220:%d > 203.0.113.10:21 14p/820b 12p/1200b %d..%d", 20000+2*k, 20000+2*k, at, at+30),
			download(20001+2*k, 20001+2*k, 50000+k, fmt.Sprintf("%d..%d", at+3, at+5)))
	}
	inFormats(t, func(t *testing.T, f logFormat) {
		most, groups := 0, 0
		r := analysed(t, calls(f, lines...), Options{Network: network(t), Weighed: func(w Weighed) { most, groups = max(most, len(w.Sessions)), groups+1 }})
		if r.Sessions.Len() != n || r.Data.Len() != n {
			t.Errorf("got %d sessions and %d data connections, want %d of each", r.Sessions.Len(), r.Data.Len(), n)
		}
		if most > 2*manySessions || groups < 2 {
			t.Errorf("%d sessions were weighed together, in %d groups", most, groups)
		}
	})
}

// A hundred sessions at a time and hundreds of transfers are too many ways to
// sample: they are given out in turn, which is said.
func TestTooManySessionsAtATime(t *testing.T) {
	var lines []string
	for k := range 110 {
		lines = append(lines, fmt.Sprintf("10.0.1.5:%d > 10.0.0.220:%d > 203.0.113.10:21 14p/820b 12p/1200b 100..%d", 20000+2*k, 20000+2*k, 160+k%7))
	}
	for k := range 120 {
		lines = append(lines, download(30001+2*k, 30001+2*k, 50000+k, fmt.Sprintf("%d..%d", 105+k/4, 106+k/4)))
	}
	r := analysed(t, calls(rich, lines...), Options{Network: network(t)})
	if r.Data.Len() != 120 || r.Sessions.Len() != 110 {
		t.Errorf("got %d data connections of %d sessions, want 120 of 110", r.Data.Len(), r.Sessions.Len())
	}
	for d := range r.Data.All() {
		if d.Confidence > 0.6 {
			t.Errorf("one of a hundred is stated with %v", d.Confidence)
		}
	}
	if !slices.ContainsFunc(r.Warnings, func(w string) bool { return strings.Contains(w, "one after the other") }) {
		t.Errorf("got warnings %q, want one of connections given out in turn", r.Warnings)
	}
}
