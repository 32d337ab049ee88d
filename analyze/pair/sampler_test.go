package pair

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// A long chain comes as near to the exact probabilities as chance lets it,
// so that no step of the sampler favours anything.
func TestChainHasTheRightDistribution(t *testing.T) {
	var probabilities, numbers deviations
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 2))
		p := randomPriors(rng)
		g := randomGroup(rng, p, 2+rng.IntN(2), 3+rng.IntN(3))
		r := zeroPosterior(g)
		s := newState(modelOf(p), g, 1)
		s.greedy()
		const sweeps = 6000
		for n := range sweeps {
			s.sweep(n, 1, r.keep)
			s.exchanges(1)
			for i, l := range s.lines {
				r.Counts[i][len(l.members)]++
			}
		}
		r.over(sweeps)
		compare(&probabilities, &numbers, fmt.Sprint("seed ", seed), r, exact(p, g))
	}
	t.Logf("probabilities: mean %.4f, most %.4f; numbers: mean %.4f, most %.4f", probabilities.mean(), probabilities.max, numbers.mean(), numbers.max)
	if probabilities.max > 0.06 {
		t.Error(probabilities.where)
	}
	if numbers.max > 0.03 {
		t.Error(numbers.where)
	}
}

// Decide against counting all states.
func TestDecideAgainstAllStates(t *testing.T) {
	var probabilities, numbers deviations
	for seed := range uint64(120) {
		rng := rand.New(rand.NewPCG(seed, 3))
		p := randomPriors(rng)
		g := randomGroup(rng, p, 1+rng.IntN(3), 1+rng.IntN(5))
		compare(&probabilities, &numbers, fmt.Sprint("seed ", seed), Decide(modelOf(p), g), exact(p, g))
	}
	t.Logf("probabilities: mean %.4f, most %.4f; numbers: mean %.4f, most %.4f", probabilities.mean(), probabilities.max, numbers.mean(), numbers.max)
	if probabilities.max > 0.15 || probabilities.mean() > 0.01 {
		t.Errorf("mean %.4f, %s", probabilities.mean(), probabilities.where)
	}
	if numbers.max > 0.1 || numbers.mean() > 0.01 {
		t.Errorf("mean %.4f, %s", numbers.mean(), numbers.where)
	}
}
