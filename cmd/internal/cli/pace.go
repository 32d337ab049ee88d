package cli

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Collecting garbage when the heap has doubled, as Go does by default, is too
// often for a small heap and leaves too much to a large one. It is done when
// so much was allocated, but at least half and at most eight times what is in
// use.
const (
	allocatedBetween = 96 << 20 // bytes
	leastPercent     = 50
	mostPercent      = 800
)

// paceEvery is how often it is looked at: a collection takes longer to come.
const paceEvery = 20 * time.Millisecond

// paceGarbage adapts how often garbage is collected to what is in use, until
// stop is called. The user's GOGC or GOMEMLIMIT goes before.
func paceGarbage() (stop func()) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	done, stopped := make(chan struct{}), make(chan struct{})
	before := debug.SetGCPercent(mostPercent)
	go func() {
		defer close(stopped)
		tick := time.NewTicker(paceEvery)
		defer tick.Stop()
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		last := mostPercent
		for {
			select {
			case <-tick.C:
			case <-done:
				debug.SetGCPercent(before)
				return
			}
			metrics.Read(live)
			// Setting it stops the world for a moment: not for little.
			if p := gcPercent(live[0].Value.Uint64()); p < last*9/10 || p > last*11/10 {
				debug.SetGCPercent(p)
				last = p
			}
		}
	}()
	return func() {
		close(done)
		<-stopped
	}
}

// gcPercent is the percentage of the bytes in use that may be allocated until
// garbage is collected.
func gcPercent(live uint64) int {
	return int(min(mostPercent, max(leastPercent, 100*allocatedBetween/max(live, 1))))
}
