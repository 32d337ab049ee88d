package analyze

import (
	"cmp"
	"math"
	"slices"

	"ephemera/ingest/flow"
)

// Costs of a match, as negative log-likelihoods up to a constant. They are
// judgements, not fits: translation keeps counts exactly, so a difference
// means lost records or another connection; times agree to a second, and
// are documented to be late by up to 60.
const (
	// aloneCost is the cost of leaving a leg without its match, which
	// happens when records were lost (SKIPDATA) or the log begins or ends.
	aloneCost = 40
	// startSlack is the farthest apart that two views of one start can be.
	startSlack = 65
)

func timeCost(a, b int64) float64 {
	switch d := math.Abs(float64(a - b)); {
	case d > startSlack:
		return aloneCost
	case d <= 2:
		return d * d / 2
	default:
		return 2 + (d-2)/4
	}
}

func countCost(a, b uint64) float64 {
	if a == b {
		return 0
	}
	d := max(a, b) - min(a, b)
	return min(12, 5+2*math.Log(float64(d)))
}

// mapKey is what the inside and the outside of a NAT gateway share for
// certain.
type mapKey struct {
	nat   *Interface
	dport uint16
	proto flow.Proto
}

// mapPorts finds the outside leg of every connection with an inside leg: the
// one with the same server, the same counts each way and the same times, all
// concurrent connections together.
func mapPorts(cs []*Connection, outside []*Leg) {
	entered := slices.DeleteFunc(slices.Clone(cs), func(c *Connection) bool {
		return c.Inside == nil || c.Inside.FromInitiator.Accepted == 0 && c.Inside.FromResponder.Packets() == 0
	})
	matchBy(entered, func(c *Connection) mapKey { return mapKey{c.Inside.Interface, c.Tuple.DstPort, c.Tuple.Proto} },
		outside, func(l *Leg) mapKey { return mapKey{l.Interface, l.Header.DstPort, l.Header.Proto} })
}

// mapWithoutInside finds connections for outside legs that were left over: a
// NAT gateway opens none of its own, so the records of their inside must be
// missing. The legs at the clients' interfaces stand in for it.
func mapWithoutInside(t topology, cs []*Connection, outside []*Leg) {
	servers := map[endpoint]bool{}
	for _, l := range outside {
		servers[destination(l.Header)] = true
	}
	entered := slices.DeleteFunc(slices.Clone(cs), func(c *Connection) bool {
		return !servers[destination(c.Tuple)] || c.Client == nil || c.Inside != nil || c.Server != nil ||
			c.Client.FromInitiator.Accepted == 0 || !t.mayPassNAT(c)
	})
	matchBy(entered, func(c *Connection) endpoint { return destination(c.Tuple) },
		outside, func(l *Leg) endpoint { return destination(l.Header) })
}

func destination(t flow.Tuple) endpoint { return endpoint{t.Dst, t.DstPort, t.Proto} }

// matchBy maps connections to outside legs of the same key.
func matchBy[K comparable](cs []*Connection, ofConnection func(*Connection) K, legs []*Leg, ofLeg func(*Leg) K) {
	rows, order := groupBy(cs, ofConnection)
	cols, _ := groupBy(legs, ofLeg)
	for _, k := range order {
		mapSame(rows[k], cols[k])
	}
}

// groupBy splits values by a key, and returns the keys in the order in which
// they come first.
func groupBy[K comparable, V any](vs []V, key func(V) K) (groups map[K][]V, order []K) {
	groups = map[K][]V{}
	for _, v := range vs {
		k := key(v)
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], v)
	}
	return groups, order
}

// mapSame assigns the outside legs of one key.
func mapSame(cs []*Connection, legs []*Leg) {
	slices.SortStableFunc(legs, func(a, b *Leg) int { return cmp.Compare(a.Start, b.Start) })
	pairs := nearPairs(cs, legs)
	pairs = prune(pairs, len(cs), len(legs))
	for i, a := range assign(len(cs), len(legs), pairs, aloneCost) {
		if a.col < 0 {
			continue
		}
		c := cs[i]
		c.Outside, c.Mapping = legs[a.col], a.confidence
		if !c.Tuple.Dst.IsValid() {
			c.Tuple.Dst = c.Outside.Header.Dst
		}
		for _, j := range a.others {
			c.Others = append(c.Others, legs[j])
		}
	}
}

// maxNear is the most legs that a connection is compared with. A busy
// resolver's port sees thousands within startSlack, nearly all in vain.
const maxNear = 64

// totals are what translation keeps: packets and bytes each way, and the
// server, where it is known.
type totals struct {
	to, toBytes, fro, froBytes uint64
	server                     flow.Addr
}

func insideTotals(c *Connection) totals {
	l := c.near()
	return totals{l.FromInitiator.Accepted, l.FromInitiator.AcceptedBytes, l.FromResponder.Packets(), l.FromResponder.Bytes(), c.Tuple.Dst}
}

func outsideTotals(l *Leg) totals {
	return totals{l.FromInitiator.Packets(), l.FromInitiator.Bytes(), l.FromResponder.Accepted, l.FromResponder.AcceptedBytes, l.Header.Dst}
}

// near returns the leg nearest to the NAT gateway's outside.
func (c *Connection) near() *Leg { return cmp.Or(c.Inside, c.Client) }

// nearPairs returns the pairings of connections with outside legs, in order
// of their start, that are worth weighing: those with equal totals, and, for
// whatever has none, those of the same time.
func nearPairs(cs []*Connection, legs []*Leg) []pairing {
	rows := make([]int, len(cs))
	for i := range rows {
		rows[i] = i
	}
	slices.SortStableFunc(rows, func(a, b int) int { return cmp.Compare(cs[a].near().Start, cs[b].near().Start) })
	cols := make([]int, len(legs))
	equal := map[totals][]int{}
	for j, l := range legs {
		cols[j] = j
		k := outsideTotals(l)
		equal[k] = append(equal[k], j)
		k.server = flow.Addr{}
		equal[k] = append(equal[k], j)
	}
	var pairs []pairing
	rowDone, colDone := make([]bool, len(cs)), make([]bool, len(legs))
	pair := func(i, j int) {
		if d := cs[i].Tuple.Dst; d.IsValid() && d != legs[j].Header.Dst {
			return
		}
		if cost := translationCost(cs[i].near(), legs[j]); cost < aloneCost {
			pairs = append(pairs, pairing{i, j, cost})
		}
	}
	legStart := func(j int) int64 { return legs[j].Start }
	rank := map[totals]int{}
	for _, i := range rows {
		k := insideTotals(cs[i])
		for _, j := range around(equal[k], legStart, cs[i].near().Start, rank[k]) {
			pair(i, j)
			rowDone[i], colDone[j] = true, true
		}
		rank[k]++
	}
	for r, i := range rows {
		if !rowDone[i] {
			for _, j := range around(cols, legStart, cs[i].near().Start, r) {
				pair(i, j)
			}
		}
	}
	rowStart := func(i int) int64 { return cs[i].near().Start }
	for j, l := range legs {
		if !colDone[j] {
			for _, i := range around(rows, rowStart, l.Start, j) {
				if rowDone[i] {
					pair(i, j)
				}
			}
		}
	}
	return pairs
}

// around returns those of xs, in order of their start, that begin within
// startSlack of t. If they are too many, it keeps the nearest, and of those
// that begin together the ones around the given rank: what begins together
// is mostly seen in one order on both sides.
func around(xs []int, start func(int) int64, t int64, rank int) []int {
	at := func(t int64) int {
		k, _ := slices.BinarySearchFunc(xs, t, func(x int, t int64) int { return cmp.Compare(start(x), t) })
		return k
	}
	low, high := at(t-startSlack), at(t+startSlack+1)
	if high-low <= maxNear {
		return xs[low:high]
	}
	center := min(max(rank, at(t-1)), at(t+2))
	from := min(max(low, center-maxNear/2), high-maxNear)
	return xs[from : from+maxNear]
}

// translationCost compares the two sides of a NAT gateway. What it accepted
// on one side must arrive on the other, passed there or not.
func translationCost(in, out *Leg) float64 {
	return timeCost(in.Start, out.Start) +
		countCost(in.FromInitiator.Accepted, out.FromInitiator.Packets()) +
		countCost(in.FromInitiator.AcceptedBytes, out.FromInitiator.Bytes())/2 +
		countCost(out.FromResponder.Accepted, in.FromResponder.Packets()) +
		countCost(out.FromResponder.AcceptedBytes, in.FromResponder.Bytes())/2 +
		lastCost(in.FromInitiator, out.FromInitiator)
}

// lastCost compares the last packets of one direction.
func lastCost(a, b Way) float64 {
	if a.Last == 0 || b.Last == 0 {
		return 0
	}
	return min(6, timeCost(a.Last, b.Last))
}

// hopeless is how much worse than the best of its row and its column a
// pairing must be to be left out. It keeps components small: a day of DNS
// queries to one resolver is one chain of barely possible pairings.
const hopeless = 14

func prune(pairs []pairing, rows, cols int) []pairing {
	bestRow, bestCol := make([]float64, rows), make([]float64, cols)
	for i := range bestRow {
		bestRow[i] = math.Inf(1)
	}
	for j := range bestCol {
		bestCol[j] = math.Inf(1)
	}
	for _, p := range pairs {
		bestRow[p.i], bestCol[p.j] = min(bestRow[p.i], p.cost), min(bestCol[p.j], p.cost)
	}
	return slices.DeleteFunc(pairs, func(p pairing) bool {
		return p.cost > bestRow[p.i]+hopeless && p.cost > bestCol[p.j]+hopeless
	})
}
