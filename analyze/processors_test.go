package analyze

import (
	"runtime"
	"testing"
	"time"

	"ephemera/analyze/simulate"
)

// The number of processors changes nothing.
func TestAnyNumberOfProcessors(t *testing.T) {
	traffic := simulate.Run(simulate.Config{
		Seed: 3, Sessions: 100, Clients: 10, Servers: 4, Parallelism: 3, Transfers: 3, TLS: 0.3, Active: 0.1, Decoys: 0.1, Duration: time.Hour, Rich: true,
	})
	if n := len(traffic.Records); n < 20*fewGroups {
		t.Fatalf("%d records prove little", n)
	}
	processors := []int{1, 2, 8}
	if testing.Short() {
		processors = []int{1, 8}
	}
	var want string
	for _, o := range []Options{{}, {Ordered: true}} {
		for _, n := range processors {
			before := runtime.GOMAXPROCS(n)
			got := asJSON(t, analysed(t, traffic.Records, o))
			runtime.GOMAXPROCS(before)
			if want == "" {
				want = got
			}
			if got != want {
				t.Errorf("ordered %v, on %d processors: another result than on one: %s", o.Ordered, n, firstDifference(got, want))
			}
		}
	}
}
