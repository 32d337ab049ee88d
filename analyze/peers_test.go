package analyze

import (
	"math/rand/v2"
	"testing"

	"ephemera/ingest/flow"
)

// A peerTable against a map of who talked to whom.
func TestPeerTableAgainstMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(10, 1))
	var ends []endpoint
	for i := range 3000 {
		ends = append(ends, endpoint{flow.AddrFrom4(0x0a000000 + uint32(i%500)), uint16(1024 + i), []flow.Proto{flow.TCP, flow.UDP}[i%2]})
	}
	table, peers, last := newPeerTable(), map[endpoint]map[endpoint]bool{}, map[endpoint]int64{}
	note := func(a, b endpoint, at int64) {
		if peers[a] == nil {
			peers[a] = map[endpoint]bool{}
		}
		peers[a][b] = true
		last[a] = max(last[a], at)
	}
	forgotten, listening := 0, 0
	for now := int64(1000); now < 41_000; now++ {
		a, b := ends[rng.IntN(1+rng.IntN(len(ends)))], ends[rng.IntN(len(ends))]
		if a.proto != b.proto || a == b {
			continue
		}
		at := now - rng.Int64N(300)
		table.count(a, b, at)
		note(a, b, at)
		note(b, a, at)
		if now%2000 > 0 {
			continue
		}
		before := now - 1500
		table.forget(before)
		for e := range peers {
			if len(peers[e]) < manyPeers && last[e] < before {
				delete(peers, e)
				delete(last, e)
				forgotten++
			}
		}
		for _, e := range ends {
			want := len(peers[e]) >= manyPeers
			if got := table.listens(e); got != want {
				t.Fatalf("at %d, %+v listens: got %t, want %t: it had %d peers", now, e, got, want, len(peers[e]))
			}
			if want {
				listening++
			}
		}
		if table.n != len(peers) {
			t.Fatalf("at %d: got %d endpoints, want %d", now, table.n, len(peers))
		}
	}
	if forgotten < 1000 || listening < 1000 {
		t.Errorf("%d endpoints forgotten and %d listening prove little", forgotten, listening)
	}
}
