package analyze

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"ephemera/ingest/flow"
)

// randomKeys makes different keys, of which each second one has the hash of
// the one before.
func randomKeys(rng *rand.Rand, n int) []groupKey {
	ifaces := []*Interface{{number: 0}, {number: 1}, {number: 7}}
	seen := map[groupKey]bool{}
	var keys []groupKey
	for len(keys) < n {
		k := groupKey{iface: ifaces[rng.IntN(len(ifaces))]}
		fill(rng, reflect.ValueOf(&k.tuple).Elem())
		k.tuple.DstPort = uint16(rng.Uint32())
		for range 2 {
			if !seen[k] {
				seen[k] = true
				keys = append(keys, k)
			}
			k.tuple = sameHash(k.tuple)
		}
	}
	return keys
}

// sameHash returns another five-tuple with the hash of t, which begins with
// the exclusive or of the ports and the upper half of the source.
func sameHash(t flow.Tuple) flow.Tuple {
	a := [16]byte{}
	if t.Src.IsValid() {
		a = t.Src.Netip().As16()
	}
	a[5] ^= 1
	t.Src = flow.AddrFrom(netip.AddrFrom16(a))
	t.SrcPort ^= 1
	return t
}

// A groupTable against a map: with more and more keys, of which many are
// removed, at once recycled or not.
func TestGroupTableAgainstMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 1))
	keys := randomKeys(rng, 4000)
	table, want := newGroupTable(), map[groupKey]*group{}
	taken := map[*group]bool{} // in the table, or not recycled yet
	var removed []*group
	for n := range 60_000 {
		k := keys[rng.IntN(900+n/20)]
		if g := want[k]; g != nil && rng.IntN(3) == 0 {
			table.remove(g)
			delete(want, k)
			removed = append(removed, g)
		} else {
			got, made := table.get(k, k.hash()), g == nil
			if !made && got != g || made && taken[got] || got.key != k {
				t.Fatalf("step %d, %v: got %p of %v, want %p; taken: %t", n, k, got, got.key, g, taken[got])
			}
			if blank := (&group{key: k, hash: k.hash(), freshAt: notFresh, windows: got.first[:0]}); made && !reflect.DeepEqual(got, blank) {
				t.Fatalf("step %d: a group begins with %+v", n, got)
			}
			want[k], taken[got] = got, true
			got.accepted, got.parts = true, true
			got.windows = append(got.windows, window{start: int64(n)})
		}
		for len(removed) > 0 && rng.IntN(3) == 0 {
			table.recycle(removed[0])
			delete(taken, removed[0])
			removed = removed[1:]
		}
		if n%5000 == 0 {
			all := map[groupKey]*group{}
			visits := 0
			table.all(func(g *group) { all[g.key] = g; visits++ })
			if !maps.Equal(all, want) || table.n != len(want) || visits != len(want) {
				t.Fatalf("step %d: got %d of %d groups in %d visits, want %d", n, len(all), table.n, visits, len(want))
			}
		}
	}
}

// What a group knows of its windows, in whatever order they come, against
// looking at all of them.
func TestGroupKnowsItsWindows(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 2))
	whole, split := 0, 0
	for n := range 4000 {
		c := newCollector()
		key := groupKey{&Interface{heard: newHeard()}, flow.Tuple{Proto: []flow.Proto{flow.TCP, flow.UDP}[n%2]}}
		for _, s := range randomSightings(rng, key) {
			c.put(&s)
		}
		c.flush()
		g := c.groups.get(key, key.hash())
		ws := slices.Clone(g.windows)
		knows := []int64{g.firstStart, g.firstEnd, g.lastEnd, g.firstClose, g.lastSYN}
		if want := timesOf(ws); !slices.Equal(knows, want) {
			t.Fatalf("%+v: got the times %v, want %v", ws, knows, want)
		}
		kept, _ := dedupe(slices.Clone(ws))
		if parts := splitReuse(kept, key.tuple.Proto); !g.parts && (len(parts) != 1 || len(g.headers) > 1 || severalLogs(ws)) {
			t.Fatalf("%+v: it is said to be one connection, and is %d, with %d pairs of header addresses", ws, len(parts), len(g.headers))
		} else if len(parts) > 1 {
			split++
		}
		if short := g.lastEnd-g.firstStart <= silenceTCP && g.lastSYN <= g.firstClose; short && len(g.headers) < 2 && !severalLogs(ws) {
			if whole++; g.parts {
				t.Fatalf("%+v: it is said to have parts", ws)
			}
		}
	}
	if whole < 500 || split < 500 {
		t.Errorf("%d groups of one connection and %d of several prove little", whole, split)
	}
}

// randomSightings makes windows of a five-tuple in any order, some twice.
func randomSightings(rng *rand.Rand, k groupKey) []sighting {
	headers := []header{{}, {hostAt("10.0.1.5"), hostAt("10.0.2.9")}, {hostAt("10.0.1.5"), hostAt("10.0.2.10")}}[:1+rng.IntN(2)+rng.IntN(8)/7]
	span := []int64{60, 600, 3000}[rng.IntN(3)]
	var ss []sighting
	for range 1 + rng.IntN(7) {
		w := window{start: 1000 + rng.Int64N(span), packets: 1 + rng.Uint64N(2), log: rng.Uint32N(20) / 19, header: -1, forward: rng.IntN(2) == 0, action: flow.Accept}
		w.end = w.start + rng.Int64N(60)
		w.flags = []flow.TCPFlags{0, 0, 0, flow.SYN, flow.SYN | flow.ACK, flow.SYN | flow.FIN, flow.FIN, flow.RST}[rng.IntN(8)]
		s := sighting{iface: k.iface, tuple: k.tuple, header: headers[rng.IntN(len(headers))], window: w}
		for range 1 + rng.IntN(5)/4 {
			ss = append(ss, s)
		}
	}
	rng.Shuffle(len(ss), func(i, j int) { ss[i], ss[j] = ss[j], ss[i] })
	return ss
}

func timesOf(ws []window) []int64 {
	times := []int64{forever, forever, 0, forever, 0}
	for _, w := range ws {
		times[0], times[1], times[2] = min(times[0], w.start), min(times[1], w.end), max(times[2], w.end)
		if w.flags&(flow.FIN|flow.RST) != 0 {
			times[3] = min(times[3], w.end)
		}
		if w.flags&flow.SYN != 0 {
			times[4] = max(times[4], w.start)
		}
	}
	return times
}

// What a stock is handed, against looking at all groups: each one that may
// hold something that is over, once, and no other. Records come in any order,
// some too late.
func TestDueAgainstScan(t *testing.T) {
	due, kept := 0, 0
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(9, 10+seed))
		c, ports := newCollector(), newPortMeaning(defaultControlPorts)
		keys := randomCollectorKeys(rng, c, 40)
		put, out := 0, 0
		count := func(legs []*Leg) {
			for _, l := range legs {
				out += len(l.windows)
			}
		}
		for stock := int64(6000); stock < 6000+60*step; stock += step * (1 + rng.Int64N(20)/19*6) {
			for range rng.IntN(25) {
				for _, s := range randomSightings(rng, keys[rng.IntN(len(keys))]) {
					shift := stock - 1000 + rng.Int64N(4*step) - 2*step
					s.window.start, s.window.end = s.window.start+shift, s.window.end+shift
					if rng.IntN(2) == 0 { // at the very limit of some stock
						s.window.end += 100 - s.window.end%100
					}
					c.put(&s)
					put++
				}
			}
			c.flush()
			limit := stock - stillOpen
			var got, want []*group
			c.groups.all(func(g *group) {
				if times := timesOf(g.windows); !g.parts && times[2] < limit || g.parts && times[1] < limit {
					want = append(want, g)
				} else {
					kept++
				}
			})
			got = c.takeDue(limit)
			if !slices.Equal(sortedGroups(got), sortedGroups(want)) {
				t.Fatalf("seed %d, stock %d: handed out %d, want %d", seed, stock, len(got), len(want))
			}
			due += len(got)
			for _, g := range got {
				c.queue(g) // as if nothing had been handed out
			}
			count(c.takeStock(limit, stock, ports))
		}
		count(c.takeStock(forever, forever, ports))
		if out += c.coverage.Duplicates; out != put || c.held != 0 || c.groups.n != 0 {
			t.Errorf("seed %d: %d of %d windows came out, %d are held, and %d groups", seed, out, put, c.held, c.groups.n)
		}
	}
	if due < 1000 || kept < 1000 {
		t.Errorf("%d groups handed out and %d kept prove little", due, kept)
	}
}

func randomCollectorKeys(rng *rand.Rand, c *collector, n int) []groupKey {
	var keys []groupKey
	for i := range n {
		iface := c.iface(&flow.Record{InterfaceID: fmt.Sprint("eni-", rng.IntN(3))})
		tuple, _ := nthTuple(i).Canonical()
		keys = append(keys, groupKey{iface, tuple})
	}
	return keys
}

// takeStock is what an assembler does.
func (c *collector) takeStock(limit, seen int64, p *portMeaning) []*Leg {
	c.learn(seen, p)
	c.rankInterfaces()
	due := c.dueGroups(limit)
	p.publish()
	c.settleInterfaces(seen, topology{})
	legs := c.legsOf(due, limit, seen, p)
	c.putBack(due)
	return legs
}

func sortedGroups(gs []*group) []*group {
	return slices.SortedFunc(slices.Values(gs), func(a, b *group) int {
		return cmp.Or(cmp.Compare(a.key.iface.number, b.key.iface.number), a.key.tuple.Compare(b.key.tuple))
	})
}

// What a coarse flow log says of a connection is dropped where a finer one
// says it, too. It holds the connection back in no order.
func TestDroppedWindowHoldsNothingBack(t *testing.T) {
	windows := []window{
		{start: 6000, end: 7500, packets: 4, log: 1, header: -1, forward: true},
		{start: 6000, end: 6010, packets: 1, log: 2, header: -1, forward: true, hasFlags: true, flags: flow.SYN},
		{start: 6700, end: 6710, packets: 1, log: 2, header: -1, forward: true, hasFlags: true, flags: flow.ACK},
		{start: 6720, end: 6730, packets: 1, log: 2, header: -1, forward: true, hasFlags: true, flags: flow.ACK},
	}
	const end, last = 6730, 9000
	for _, order := range [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 0, 3, 2}, {2, 3, 0, 1}} {
		c, ports := newCollector(), newPortMeaning(defaultControlPorts)
		iface := c.iface(&flow.Record{InterfaceID: "eni-1"})
		for _, k := range order {
			c.put(&sighting{iface: iface, tuple: flow.Tuple{Src: mustAddr("10.0.0.1"), Dst: mustAddr("10.0.0.2"), SrcPort: 40000, DstPort: 21, Proto: flow.TCP}, window: windows[k]})
		}
		var closed int64
		for stock := int64(6300); stock <= last; stock += step {
			for _, l := range c.takeStock(stock-stillOpen, stock, ports) {
				if l.End == end {
					closed = stock
				}
			}
		}
		if want := stockOf(end) * step; closed != want {
			t.Errorf("in the order %v it is over at the stock of %d, want %d", order, closed, want)
		}
	}
}
