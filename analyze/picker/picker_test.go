package picker

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func sampleOf(ports ...uint16) *Sample {
	s := new(Sample)
	for i, p := range ports {
		s.Add(int64(i), p, uint64(i))
	}
	return s
}

func uniform(r *rand.Rand, n, low, high int) []uint16 {
	out := make([]uint16, n)
	for i := range out {
		out[i] = uint16(low + r.IntN(high-low+1))
	}
	return out
}

func BenchmarkInfer(b *testing.B) {
	for _, by := range []Chooser{Server, ClientOS} {
		for _, n := range []int{2, 20, 200, 1024} {
			b.Run(fmt.Sprintf("%v/%d", by, n), func(b *testing.B) {
				s := sampleOf(uniform(rand.New(rand.NewPCG(1, 2)), n, 50000, 50199)...)
				for b.Loop() {
					Infer(s, by, Options{Entries: 4})
				}
			})
		}
	}
}

func TestInferTellsRanges(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, test := range []struct {
		by        Chooser
		n         int
		low, high int
		safe      string
	}{
		{Server, 20, 50000, 50099, "50000-50100"},
		{Server, 2000, 50000, 50099, "50000-50099"},
		{Server, 200, 40000, 40199, "40000-40200"},
		{Server, 20, 32768, 60999, "32768-60999"},
		{Server, 20, 49152, 65535, "49152-65535"},
		{Server, 20, 1024, 65535, "1024-65535"},
		{Server, 2, 8192, 8200, "8192-8200"},
		{ClientOS, 1, 32768, 60999, "32768-65535"},
		{ClientOS, 50, 32768, 60999, "32768-60999"},
		{ClientOS, 50, 49152, 65535, "49152-65535"},
		{ClientOS, 20, 1024, 65535, "1024-65535"},
		{NATGateway, 20, 30000, 30010, "1024-65535"},
	} {
		e := Infer(sampleOf(uniform(r, test.n, test.low, test.high)...), test.by, Options{Entries: 4})
		if got := e.Safe.Ports.String(); got != test.safe {
			t.Errorf("%d connections within %d-%d: safe is %s, want %s", test.n, test.low, test.high, got, test.safe)
		}
	}
}
