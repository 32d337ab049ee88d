package accuracy

import (
	"runtime"
	"strconv"
	"testing"
	"time"

	"ephemera/analyze"
	"ephemera/analyze/simulate"
)

// BenchmarkSessions analyses a day with many FTP sessions; the metric that
// counts is the time of one whole analysis.
func BenchmarkSessions(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			t := simulate.Run(simulate.Config{
				Seed: 1, Sessions: n, Duration: 24 * time.Hour, Clients: 40, Servers: 8, Parallelism: 4, Transfers: 3, TLS: 0.2, Decoys: 0.2, Rich: true,
			})
			runtime.GC()
			b.ResetTimer()
			for b.Loop() {
				r, err := analyze.Run(stream(t.Records), analyze.Options{Ordered: true})
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(r.Data.Len()), "data")
				r.Close()
			}
		})
	}
}
