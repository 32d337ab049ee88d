package picker

import (
	"math"
	"math/rand/v2"
	"testing"

	"ephemera/rules"
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
		sum += lower.weight(a) * (inverse[1] + row)
	}
	return sum
}

func TestTotal(t *testing.T) {
	if testing.Short() {
		t.Skip("looks at two thousand million ranges")
	}
	if got, want := configurable.total, slowTotal(configurable); math.Abs(got/want-1) > 1e-6 {
		t.Errorf("total is %v, want %v", got, want)
	}
}

// smallUniverse can be enumerated. It has a port of every roundness.
func smallUniverse() universe {
	u := universe{low: 9_800, high: 10_250}
	u.total = slowTotal(u)
	return u
}

// Every end is in one bin, with its weight, and the roundest of a bin stands
// for it.
func TestBins(t *testing.T) {
	for _, u := range []universe{configurable, smallUniverse()} {
		for _, upper := range []bool{false, true} {
			e := edge{u, upper}
			for _, port := range []int{u.low, u.low + 1, 10_000, (u.low + u.high) / 2, u.high - 1, u.high} {
				testBins(t, e, port)
			}
		}
	}
}

func testBins(t *testing.T, e edge, port int) {
	t.Helper()
	step := -1
	if e.upper {
		step = 1
	}
	next := port
	for i, b := range e.bins(port) {
		weight, best := 0.0, 0.0
		for weight < b.weight-1e-6 {
			weight += e.weight(next)
			best = max(best, e.weight(next))
			next += step
		}
		if math.Abs(weight-b.weight) > 1e-6 {
			t.Fatalf("bin %d from %d: weight is %v, want %v", i, port, b.weight, weight)
		}
		if e.weight(b.port) != best || (b.port-port)*step < 0 || (next-b.port)*step <= 0 {
			t.Fatalf("bin %d from %d: %d stands for it, its weight is %v, want %v", i, port, b.port, e.weight(b.port), best)
		}
	}
	if end := map[bool]int{false: e.u.low - 1, true: e.u.high + 1}[e.upper]; next != end {
		t.Fatalf("bins from %d end before %d, want %d", port, next, end)
	}
}

// slowLikelihood is the likelihood in so many words.
func slowLikelihood(ports []uint16, width int) float64 {
	sum := 0.0
	for _, m := range models {
		product := 1 / float64(width)
		for i := 1; i < len(ports); i++ {
			step := 0.0
			for back := 1; back <= min(16, i); back++ {
				if d := int(ports[i]) - int(ports[i-back]); d >= 1 && d <= 1024 {
					step += 1 / float64(d) / 7.5091756722781 / float64(back) / 3.3807289932290 // the sums of 1/d
				}
			}
			product *= m.fresh/float64(width) + (1-m.fresh)*step
		}
		sum += m.prior * product
	}
	return math.Log(sum)
}

func likelihoodOf(narrowest int, ports []uint16) *likelihood {
	h := history{narrowest: narrowest}
	h.add(ports)
	return h.likelihood
}

// walkAndJump is a mixture of picking anywhere and going up by small steps.
func walkAndJump(r *rand.Rand, n int, fresh float64, low, high int) []uint16 {
	out := uniform(r, n, low, high)
	for i := 1; i < n; i++ {
		if next := int(out[i-1]) + 1 + r.IntN(4); next <= high && r.Float64() > fresh {
			out[i] = uint16(next)
		}
	}
	return out
}

func TestLikelihood(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		ports := walkAndJump(r, 1+r.IntN(40), r.Float64(), 20000, 20000+r.IntN(400))
		l := likelihoodOf(width(ports), ports)
		for range 5 {
			w := width(ports) + r.IntN(30000)
			if got, want := l.at(w), slowLikelihood(ports, w); math.Abs(got-want) > .02 {
				t.Fatalf("%d ports, width %d: likelihood is %v, want %v", len(ports), w, got, want)
			}
		}
	}
}

// A slowRange is a range of the enumeration with its probability.
type slowRange struct {
	low, high   int
	probability float64
}

// slowPosterior weighs all ranges one by one: first the known ones, then all
// that can be configured.
func slowPosterior(ranges []known, configured float64, u universe, ports []uint16) []slowRange {
	low, high := span(ports)
	var out []slowRange
	sum := 0.0
	byWidth := map[int]float64{}
	add := func(a, b int, prior float64) {
		p, width := 0.0, b-a+1
		if a <= low && high <= b {
			if byWidth[width] == 0 {
				byWidth[width] = math.Exp(slowLikelihood(ports, width))
			}
			p = prior * byWidth[width]
		}
		sum += p
		out = append(out, slowRange{a, b, p})
	}
	for _, k := range ranges {
		add(int(k.ports.From), int(k.ports.To), k.prior)
	}
	for a := u.low; a <= low; a++ {
		for b := high; b <= u.high; b++ {
			weight := pairWeight(edge{u, false}.weight(a), edge{u, true}.weight(b), b-a+1)
			add(a, b, configured*weight/u.total)
		}
	}
	for i := range out {
		out[i].probability /= sum
	}
	return out
}

func span(ports []uint16) (low, high int) {
	low, high = 65535, 0
	for _, p := range ports {
		low, high = min(low, int(p)), max(high, int(p))
	}
	return low, high
}

// The posterior of the program looks at bins of ends; that of the oracle at
// all ends. They agree in what matters: how likely the known ranges are, how
// sure the safe range is, and what a proposal loses.
func TestPosterior(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	u := smallUniverse()
	ranges := []known{
		{"left", rules.PortRange{From: 9_850, To: 10_049}, .1},
		{"right", rules.PortRange{From: 9_990, To: 10_250}, .1},
		{"small", rules.PortRange{From: 10_000, To: 10_008}, .1},
		{"all", rules.PortRange{From: 9_800, To: 10_250}, .1},
	}
	for range 60 {
		a := u.low + r.IntN(u.high-u.low)
		b := a + r.IntN(u.high-a+1)
		ports := walkAndJump(r, 1+r.IntN(12), []float64{1, .5, .05}[r.IntN(3)], a, b)
		low, high := span(ports)
		p := newPosterior(ranges, .6, u, low, high, likelihoodOf(high-low+1, ports))
		want := slowPosterior(ranges, .6, u, ports)
		for i, f := range p.known {
			if math.Abs(f.Probability-want[i].probability) > .03 {
				t.Errorf("%d: %s has probability %.3f, want %.3f", ports, f.Name, f.Probability, want[i].probability)
			}
		}
		safe, s := p.safe(), rules.Ports(rules.PortRange{From: uint16(low), To: uint16(min(high+10, u.high))})
		within, beyond := 0.0, 0.0
		for _, r := range want {
			if int(safe.From) <= r.low && r.high <= int(safe.To) {
				within += r.probability
			}
			missing := max(0, low-r.low) + max(0, r.high-int(s.Max()))
			beyond += r.probability * float64(missing) / float64(r.high-r.low+1)
		}
		if within < certainty-.03 {
			t.Errorf("%d: safe is %v, it holds the range with probability %.3f", ports, safe, within)
		}
		if math.Abs(p.beyond(s)-beyond) > .03 {
			t.Errorf("%d: a share of %.3f is beyond %v, want %.3f", ports, p.beyond(s), s, beyond)
		}
	}
}
