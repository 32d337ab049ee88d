package picker

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

// added is what Add is told of a connection.
type added struct {
	hash  uint64
	start int64
	port  uint16
}

// slowPorts keeps all connections, and looks at the smallest hashes last.
func slowPorts(all []added) (ports []uint16) {
	all = slices.Clone(all)
	for i := range all {
		all[i].hash = mix(all[i].hash)
	}
	slices.SortFunc(all, func(c, d added) int {
		return cmp.Or(cmp.Compare(c.hash, d.hash), cmp.Compare(c.start, d.start), cmp.Compare(c.port, d.port))
	})
	all = all[:min(len(all), SampleSize)]
	slices.SortStableFunc(all, func(c, d added) int { return cmp.Compare(c.start, d.start) })
	for _, c := range all {
		ports = append(ports, c.port)
	}
	return ports
}

// However connections are spread over samples and in which order they are
// added and merged, the sample is the same.
func TestSampleIsOneOfAll(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, n := range []int{0, 1, 2, 1000, 1023, 1024, 1025, 1279, 1280, 1281, 5000} {
		all := make([]added, n)
		for i := range all {
			all[i] = added{r.Uint64N(uint64(4*n) + 1), r.Int64N(500) - 50, uint16(r.Uint32())}
		}
		want := slowPorts(all)
		for range 3 {
			r.Shuffle(n, func(i, j int) { all[i], all[j] = all[j], all[i] })
			parts := make([]Sample, 4)
			for _, c := range all {
				parts[r.IntN(r.IntN(4)+1)].Add(c.start, c.port, c.hash)
			}
			left, right := new(Sample), new(Sample)
			for i := range parts { // ((0+1)+2)+3, and 0+(1+(2+3))
				left.Merge(&parts[i])
				more := new(Sample)
				more.Merge(&parts[len(parts)-1-i])
				more.Merge(right)
				right = more
			}
			for name, s := range map[string]*Sample{"left": left, "right": right} {
				if got := s.Ports(); !slices.Equal(got, want) {
					t.Fatalf("%d connections, merged from the %s: ports are %d, want %d", n, name, got, want)
				}
				if s.Count() != n {
					t.Fatalf("count is %d, want %d", s.Count(), n)
				}
				for _, c := range all {
					if !s.Used().Contains(c.port) {
						t.Fatalf("%d is not among the used ports", c.port)
					}
				}
			}
		}
	}
}

// Merging with itself counts everything twice, and does not go on for ever.
func TestMergeWithItself(t *testing.T) {
	s := sampleOf(1, 2, 3)
	s.Merge(s)
	if got, want := s.Ports(), []uint16{1, 1, 2, 2, 3, 3}; s.Count() != 6 || !slices.Equal(got, want) {
		t.Errorf("%d connections, ports %d, want %d", s.Count(), got, want)
	}
}

func BenchmarkSampleAdd(b *testing.B) {
	var s Sample
	r := rand.New(rand.NewPCG(9, 10))
	b.ReportAllocs()
	for b.Loop() {
		x := r.Uint64()
		s.Add(int64(x>>40), uint16(x), x)
	}
}
