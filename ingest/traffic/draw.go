package traffic

import (
	"math"
	"math/rand/v2"
	"slices"
)

// A spread is a log-normal distribution of whole numbers, drawn from a table
// of quantiles: a table lookup is cheap, and rounded entries are the same on
// every machine.
type spread [512]int64

// newSpread has the median; 16 % are above median*e^sigma. No number is
// above the limit.
func newSpread(median, sigma float64, limit int64) *spread {
	var s spread
	for i := range s {
		p := (float64(i) + 0.5) / float64(len(s))
		z := math.Sqrt2 * math.Erfinv(2*p-1)
		s[i] = min(int64(math.Round(median*math.Exp(sigma*z))), limit)
	}
	return &s
}

// draw takes a number between two neighbours in the table.
func (s *spread) draw(rnd *rand.Rand) int64 {
	i := rnd.IntN(len(s) - 1)
	return s[i] + rnd.Int64N(s[i+1]-s[i]+1)
}

// A zipf draws 0 to n-1 with chances that fall as 1/(k+3)^exponent: some are
// popular, none has nearly all.
type zipf []uint32

func newZipf(n int, exponent float64) zipf {
	z := make(zipf, n)
	var sum, total float64
	for k := range z {
		total += math.Pow(float64(k+3), -exponent)
	}
	for k := range z {
		sum += math.Pow(float64(k+3), -exponent)
		z[k] = uint32(math.Round(min(sum/total, 1) * math.MaxUint32))
	}
	return z
}

func (z zipf) draw(rnd *rand.Rand) int {
	i, _ := slices.BinarySearch(z, rnd.Uint32())
	return min(i, len(z)-1)
}

// among draws an element, the first ones more often.
func among[T any](rnd *rand.Rand, z zipf, list []T) T { return list[z.draw(rnd)] }

// chance is true in percent of all cases.
func chance(rnd *rand.Rand, percent int) bool { return rnd.IntN(100) < percent }
