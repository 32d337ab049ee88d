package main

import (
	"encoding/json"
	"testing"
	"time"

	"ephemera/analyze/pair"
	"ephemera/analyze/simulate"
)

// Priors fitted to one simulated log can be written, read and used, and find
// most of what they were fitted to.
func TestFitAndMeasure(t *testing.T) {
	c := simulatedCase(simulate.Preset{Name: "small", Config: simulate.Config{
		Sessions: 120, Duration: 20 * time.Minute, Parallelism: 3, TLS: 0.3, Decoys: 0.2, Rich: true,
	}}, 3)
	start := pair.StartPriors()
	b, err := json.Marshal(pair.Fit([]pair.Lesson{{Learner: c.learn(start), Weight: 1}}, start))
	if err != nil {
		t.Fatal(err)
	}
	var p pair.Priors
	if err := json.Unmarshal(b, &p); err != nil {
		t.Fatal(err)
	}
	f := c.measure(pair.NewModel(&p))
	if n := f.one + f.several; n < 200 || f.oneRight+f.severalRight < n*6/10 || f.held < 0.95*float64(n) {
		t.Errorf("fitted to itself: %v", f)
	}
	if f.decoysClaimed > f.decoys/4 {
		t.Errorf("%d of %d decoys are claimed", f.decoysClaimed, f.decoys)
	}
}
