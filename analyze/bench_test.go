package analyze

import (
	"math/rand/v2"
	"testing"
)

// BenchmarkRun analyses a day of the records that the tests make: FTP and
// other traffic through a NAT gateway, in both formats, with the rules known.
func BenchmarkRun(b *testing.B) {
	for _, f := range []logFormat{rich, plain} {
		for _, ordered := range []bool{true, false} {
			b.Run(f.name+map[bool]string{true: "/ordered", false: "/any-order"}[ordered], func(b *testing.B) {
				rng := rand.New(rand.NewPCG(3, 4))
				rs := inOrder(longLog(f, rng, 24), rng, 60)
				o := Options{Network: network(b), Ordered: ordered}
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Run(stream(rs), o); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(len(rs)*b.N)/b.Elapsed().Seconds(), "records/s")
			})
		}
	}
}
