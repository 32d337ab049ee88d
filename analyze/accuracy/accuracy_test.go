package accuracy

import (
	"flag"
	"math"
	"os"
	"testing"

	"ephemera/analyze"
	"ephemera/analyze/simulate"
)

var long = flag.Bool("accuracy", false, "measure on all presets with several seeds, and print the tables")

// seeds is how many are measured at length.
const seeds = 5

// short is how many sessions a preset has in the short run.
const short = 120

// floors are the least shares that the short run must reach over all
// presets. To be raised when the analysis has become better.
var floors = []struct {
	name  string
	floor float64
	of    func(*Score) Ratio
}{
	{"control found", 0.98, func(s *Score) Ratio { return s.ControlFound }},
	{"control true", 0.98, func(s *Score) Ratio { return s.ControlTrue }},
	{"data found", 0.9, func(s *Score) Ratio { return s.Passive.Found }},
	{"data true", 0.9, func(s *Score) Ratio { return s.Passive.True }},
	{"one open", 0.85, func(s *Score) Ratio { return s.Passive.One }},
	{"several open", 0.3, func(s *Score) Ratio { return s.Passive.Several }},
	{"claims true", 0.7, func(s *Score) Ratio { return s.Passive.ClaimTrue }},
	{"claims found", 0.25, func(s *Score) Ratio { return s.Passive.ClaimFound }},
	{"covered", 0.9, func(s *Score) Ratio { return s.Passive.Covered }},
	{"mapping found", 0.9, func(s *Score) Ratio { return s.MappingFound }},
	{"mapping true", 0.9, func(s *Score) Ratio { return s.MappingTrue }},
	{"count within 1", 0.3, func(s *Score) Ratio { return s.CountNear }},
}

// Ceilings of the short run.
const (
	maxDecoys    = 0.2
	maxDeviation = 0.6
)

func TestAccuracy(t *testing.T) {
	var names []string
	var scores []*Score
	for _, p := range simulate.Presets() {
		n, c := seeds, p.Config
		if !*long {
			n = 1
			c.Sessions = min(c.Sessions, short)
		}
		total := &Score{}
		for seed := range uint64(n) {
			s, err := Measure(c, HeldOut+seed, analyze.Options{})
			if err != nil {
				t.Fatal(err)
			}
			total.Add(s)
		}
		names, scores = append(names, p.Name), append(scores, total)
	}
	all := Total(scores)
	if *long {
		Write(os.Stdout, names, scores)
		return
	}
	for _, f := range floors {
		if r := f.of(all); !(r.Share() >= f.floor) {
			t.Errorf("%s: got %s of %d, want at least %.1f%%", f.name, r, r.All, 100*f.floor)
		}
	}
	if all.Decoys.Share() > maxDecoys {
		t.Errorf("decoys: got %s, want at most %.1f%%", all.Decoys, 100*maxDecoys)
	}
	if d := all.Deviation(); math.Abs(d) > maxDeviation {
		t.Errorf("confidence: the largest deviation is %.3f, want at most %.3f", d, maxDeviation)
	}
}
