package analyze

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"ephemera/ingest/flow"
)

// longLog makes the records of some hours of traffic through a NAT gateway:
// sessions with their data connections, other traffic, and rejects.
func longLog(f logFormat, rng *rand.Rand, hours int) []flow.Record {
	var lines []string
	port := 0
	next := func() int { port++; return 20000 + port%40000 }
	dial := func(client, start, length int, server string, up, down int, dies string) {
		lines = append(lines, fmt.Sprintf("10.0.1.%d:%d > 10.0.0.220:%d > %s %dp/%db %dp/%db %d..%d%s",
			client, 32768+next()%28000, next(), server, up, up*60, down, down*400, start, start+length, dies))
	}
	for at := 1000; at < 1000+hours*3600; at += 40 + rng.IntN(80) {
		client := 5 + rng.IntN(3)
		switch rng.IntN(4) {
		case 0:
			length := 30 + rng.IntN(3000)
			dial(client, at, length, "203.0.113.10:21", 20+rng.IntN(9), 18, "")
			for k := range rng.IntN(3) {
				dial(client, at+5+k*60, rng.IntN(50), fmt.Sprintf("203.0.113.10:%d", 50000+rng.IntN(100)), 6+rng.IntN(9), 8, "")
			}
		case 1:
			dial(client, at, rng.IntN(9), "203.0.113.10:21", 4, 4, " dies P4")
		default:
			dial(client, at, rng.IntN(900), "198.51.100.7:443", 9+rng.IntN(40), 20, "")
		}
	}
	return calls(f, lines...)
}

// inOrder sorts records by their end, but for at most disorder seconds.
func inOrder(rs []flow.Record, rng *rand.Rand, disorder int64) []flow.Record {
	type timed struct {
		r  flow.Record
		at int64
	}
	ts := make([]timed, len(rs))
	for i, r := range rs {
		ts[i] = timed{r, r.End + rng.Int64N(disorder)}
	}
	slices.SortStableFunc(ts, func(a, b timed) int { return cmp.Compare(a.at, b.at) })
	out := make([]flow.Record, len(rs))
	for i, t := range ts {
		out[i] = t.r
	}
	return out
}

// Forgetting what is over changes nothing, whatever the disorder within the
// promise, and so does putting what waits into files.
func TestOrderedLogGivesTheSame(t *testing.T) {
	hours, shuffles := 8, 3
	if testing.Short() {
		hours, shuffles = 2, 1
	}
	inFormats(t, func(t *testing.T, f logFormat) {
		rng := rand.New(rand.NewPCG(3, 1))
		rs := longLog(f, rng, hours)
		for known, o := range map[string]Options{"rules known": {Network: network(t)}, "rules unknown": {}} {
			want := asJSON(t, analysed(t, rs, o))
			o.Ordered = true
			for range shuffles {
				if got := asJSON(t, analysed(t, inOrder(rs, rng, maxDisorder-60), o)); got != want {
					t.Fatalf("%s: another result: %s", known, firstDifference(got, want))
				}
			}
			for _, memory := range []int64{1, 50_000} {
				for o.Memory, o.Ordered = memory, false; ; o.Ordered = true {
					if got := asJSON(t, analysed(t, inOrder(rs, rng, maxDisorder-60), o)); got != want {
						t.Fatalf("%s, %d bytes of memory, ordered %v: another result: %s", known, memory, o.Ordered, firstDifference(got, want))
					}
					if o.Ordered {
						break
					}
				}
			}
		}
	})
}

// What an assembler holds follows the traffic of an hour, not the hours.
func TestOrderedLogIsForgotten(t *testing.T) {
	most := func(hours int) int {
		rng := rand.New(rand.NewPCG(3, 2))
		o := Options{Network: network(t), Ordered: true}
		a := newAssembler(o, newPortMeaning(defaultControlPorts), func(*Connection) {})
		n := 0
		rs := inOrder(longLog(rich, rng, hours), rng, maxDisorder-60)
		err := a.read(func(yield func(*flow.Record, error) bool) {
			for i := range rs {
				if !yield(&rs[i], nil) {
					return
				}
				a.wait()
				n = max(n, a.collector.groups.n+len(a.pending))
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if left := a.collector.groups.n + len(a.pending) + len(a.collector.fresh); left != 0 {
			t.Errorf("%d groups and legs are left at the end", left)
		}
		return n
	}
	if short, long := most(4), most(24); long > short*3/2 {
		t.Errorf("at most %d groups and legs in 24 hours, and %d in 4", long, short)
	}
}

func TestRecordsBehindTheirTimeAreCounted(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	rs := inOrder(longLog(rich, rng, 3), rng, 60)
	rs = append(rs[1:], rs[0])
	if got := analysed(t, rs, Options{Ordered: true}); got.Coverage.Late != 1 || len(got.Warnings) == 0 {
		t.Errorf("an ordered log: %d late records, warnings %q; want 1 and a warning", got.Coverage.Late, got.Warnings)
	}
	if got := analysed(t, rs, Options{}).Coverage.Late; got != 0 {
		t.Errorf("any other log: %d late records, want 0", got)
	}
}
