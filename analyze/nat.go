package analyze

import (
	"cmp"
	"math"
	"slices"

	"ephemera/ingest/flow"
)

// Costs of a match, as negative log-likelihoods up to a constant. They are
// judgements, not fits.
//
// Translation keeps packets and bytes, and both sides of a NAT gateway are
// logged by one network interface, so that they also share the aggregation
// intervals: window for window the same seconds and the same counts. What
// differs lacks records, or is another connection.
const (
	// aloneCost is the cost of leaving a leg without its match, which
	// happens when records were lost (SKIPDATA) or the log begins or ends.
	aloneCost = 24
	// startSlack is the farthest apart that two views of one start can be:
	// flow logs may give it up to 60 s late.
	startSlack = 65
	// windowCost is the cost of a window that only one side has, splitCost
	// that of equal totals in other windows, flagsCost that of a window whose
	// TCP flags differ.
	windowCost = 6
	splitCost  = 4
	flagsCost  = 3
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
		outside, func(l *Leg) mapKey { return mapKey{l.Interface, l.Header.DstPort, l.Header.Proto} }, topology{})
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
		outside, func(l *Leg) endpoint { return destination(l.Header) }, t)
}

func destination(t flow.Tuple) endpoint { return endpoint{t.Dst, t.DstPort, t.Proto} }

// matchBy maps connections to outside legs of the same key.
func matchBy[K comparable](cs []*Connection, ofConnection func(*Connection) K, legs []*Leg, ofLeg func(*Leg) K, t topology) {
	rows, order := groupBy(cs, ofConnection)
	cols, _ := groupBy(legs, ofLeg)
	for _, k := range order {
		if len(cols[k]) > 0 {
			mapSame(rows[k], cols[k], t)
		}
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

// A trace is what one side of a NAT gateway tells of the packets that pass
// it, for all legs of which it tells the same.
type trace struct {
	traceKey
	leg      *Leg
	near     bool // towards the initiator
	to, back flowSum
	start    int64
	members  []int
}

// traceKey holds what tells traces apart.
type traceKey struct {
	server  flow.Addr  // not valid when the log does not say
	nat     *Interface // the gateway's, of an outside leg
	gateway string     // the only one that an inside leg can have passed; empty when that is not known
	stand   bool       // of the client's interface, which stands in for the gateway's
	windows uint64     // hash of all windows; two that share one, of 2^64, would be taken for equals
}

// A flowSum is one direction of a trace.
type flowSum struct {
	windows        int
	packets, bytes uint64
	first, last    int64
}

// passes reports whether a window's packets are some that pass the gateway,
// or came out of it: on the side where they arrive, those that were accepted.
func (t *trace) passes(w *window) bool { return w.forward != t.near || w.action != flow.Reject }

// read sums up the leg.
func (t *trace) read() {
	for k := range t.leg.windows {
		w := &t.leg.windows[k]
		if !t.passes(w) {
			continue
		}
		s, mark := &t.back, uint64(w.flags)
		if w.forward {
			s, mark = &t.to, mark|1<<8
		}
		if s.windows == 0 {
			s.first = w.start
		}
		s.windows++
		s.packets += w.packets
		s.bytes += w.bytes
		s.last = max(s.last, w.end)
		if t.start == 0 || w.start < t.start {
			t.start = w.start
		}
		for _, x := range [...]uint64{mark, uint64(w.start), uint64(w.end), w.packets, w.bytes} {
			t.windows = mix(t.windows ^ x)
		}
	}
}

// mix scrambles the bits of x (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// near returns the leg nearest to the NAT gateway's outside.
func (c *Connection) near() *Leg { return cmp.Or(c.Inside, c.Client) }

// insideTraces groups connections by what is known of them before the NAT
// gateway, in order of time.
func insideTraces(cs []*Connection, t topology) []*trace {
	return traces(len(cs), func(i int) trace {
		c := cs[i]
		tr := trace{leg: c.near(), near: true}
		tr.server, tr.stand = c.Tuple.Dst, c.Inside == nil
		if tr.stand {
			tr.gateway = t.gatewayOf(c)
		}
		return tr
	})
}

// outsideTraces groups outside legs by what they tell, in order of time.
func outsideTraces(legs []*Leg) []*trace {
	return traces(len(legs), func(j int) trace {
		tr := trace{leg: legs[j]}
		tr.server, tr.nat = legs[j].Header.Dst, legs[j].Interface
		return tr
	})
}

// traces makes the traces of n members, which are in order of time.
func traces(n int, of func(int) trace) []*trace {
	all := make([]trace, 0, n) // never grows, so that its traces stay where they are
	number, first := make([]int32, n), make(map[uint64]int32, n)
	for k := range n {
		t := of(k)
		t.read()
		i, ok := first[t.hash()]
		if !ok {
			i = int32(len(all))
			first[t.hash()] = i
			all = append(all, t)
		}
		number[k] = i
	}
	members := grouped(number, len(all))
	sorted := make([]*trace, len(all))
	for i := range all {
		sorted[i] = &all[i]
		sorted[i].members = members.of(int32(i))
	}
	byStart := func(a, b *trace) int { return cmp.Compare(a.start, b.start) }
	if !slices.IsSortedFunc(sorted, byStart) {
		slices.SortStableFunc(sorted, byStart)
	}
	return sorted
}

// hash is the key in one number; two that share one, of 2^64, would be taken
// for equals.
func (k traceKey) hash() uint64 {
	h := k.server.TableHash(0) ^ k.windows
	if k.nat != nil {
		h += uint64(k.nat.number+1) << 32
	}
	if k.stand {
		h ^= 1
	}
	if k.gateway != "" {
		h = mix(h ^ uint64(hash(k.gateway)))
	}
	return mix(h)
}

// A grouping holds the members of groups in one slice.
type grouping struct {
	all          []int
	begins, ends []int32
}

// grouped puts 0, 1, 2 ... into groups by their numbers, which are below n.
func grouped(numbers []int32, n int) grouping {
	g := grouping{make([]int, len(numbers)), make([]int32, n), make([]int32, n)}
	for _, i := range numbers {
		g.ends[i]++
	}
	for i := 1; i < n; i++ {
		g.begins[i] = g.ends[i-1]
		g.ends[i] += g.ends[i-1]
	}
	next := slices.Clone(g.begins)
	for k, i := range numbers {
		g.all[next[i]] = k
		next[i]++
	}
	return g
}

// of returns the members of a group, in order.
func (g *grouping) of(i int32) []int { return g.all[g.begins[i]:g.ends[i]:g.ends[i]] }

func sizes(ts []*trace) []int {
	ns := make([]int, len(ts))
	for k, t := range ts {
		ns[k] = len(t.members)
	}
	return ns
}

// mapSame assigns the outside legs of one key. Within a class of connections
// of which the log tells the same, one is as good as the other.
func mapSame(cs []*Connection, legs []*Leg, t topology) {
	sortBy(cs, func(c *Connection) int64 { return c.near().Start }, func(a, b *Connection) int { return a.Tuple.Compare(b.Tuple) })
	sortBy(legs, func(l *Leg) int64 { return l.Start }, func(a, b *Leg) int {
		return cmp.Or(a.Header.Compare(b.Header), cmp.Compare(a.Interface.ID, b.Interface.ID))
	})
	rows, cols := insideTraces(cs, t), outsideTraces(legs)
	taken := make([]int, len(cols))
	for i, ps := range assign(sizes(rows), sizes(cols), prune(nearPairs(rows, cols), len(rows), len(cols)), aloneCost) {
		next := 0
		for _, p := range ps {
			for range p.n {
				c := cs[rows[i].members[next]]
				c.mapTo(legs, cols, rows[i], ps, p.col, taken[p.col])
				next++
				taken[p.col]++
			}
		}
	}
}

// sortBy sorts by a time, then by compare, and keeps equals in their order. It
// looks at each value's time once.
func sortBy[T any](vs []T, time func(T) int64, compare func(a, b T) int) {
	type timed struct {
		time  int64
		value T
		index int
	}
	ts := make([]timed, len(vs))
	for i, v := range vs {
		ts[i] = timed{time(v), v, i}
	}
	slices.SortFunc(ts, func(a, b timed) int {
		if a.time != b.time {
			return cmp.Compare(a.time, b.time)
		}
		return cmp.Or(compare(a.value, b.value), cmp.Compare(a.index, b.index))
	})
	for i := range ts {
		vs[i] = ts[i].value
	}
}

// Bounds of the candidates of a mapping.
const (
	// nearProbability is the share of the match's own probability above which
	// another leg is a candidate.
	nearProbability = 0.05
	// maxOthers is how many candidates are named.
	maxOthers = 8
)

// mapTo matches the connection, one of row, with the member of a column.
func (c *Connection) mapTo(legs []*Leg, cols []*trace, row *trace, ps []portion, col, member int) {
	prob := func(p portion) float64 { return p.mean / float64(len(row.members)*len(cols[p.col].members)) }
	c.Outside = legs[cols[col].members[member]]
	if !c.Tuple.Dst.IsValid() {
		c.Tuple.Dst = c.Outside.Header.Dst
	}
	own := prob(ps[slices.IndexFunc(ps, func(p portion) bool { return p.col == col })])
	c.Mapping = min(1, own)
	if c.Inside != nil && c.Client != nil {
		c.Mapping *= c.attached
	}
	if len(ps) == 1 && len(cols[col].members) == 1 {
		return // nothing else fits
	}
	near := slices.DeleteFunc(slices.Clone(ps), func(p portion) bool { return prob(p) <= nearProbability*own })
	slices.SortStableFunc(near, func(a, b portion) int { return cmp.Compare(prob(b), prob(a)) })
	for _, p := range near {
		members := cols[p.col].members
		c.unnamed += len(members)
		for k := 0; k < len(members) && len(c.Others) < maxOthers; k++ {
			// Those around its own place, so that each leg is named by somebody.
			if j := (member + k) % len(members); p.col != col || j != member {
				c.Others = append(c.Others, legs[members[j]])
			}
		}
	}
	c.unnamed -= 1 + len(c.Others)
}

// maxNear is the most traces that one is compared with for one reason. A busy
// resolver's port sees thousands within startSlack, nearly all in vain.
const maxNear = 64

// totals are what translation keeps: packets and bytes each way, and the
// server, where it is known.
type totals struct {
	to, toBytes, back, backBytes uint64
	server                       flow.Addr
}

func (t *trace) totals() totals {
	return totals{t.to.packets, t.to.bytes, t.back.packets, t.back.bytes, t.server}
}

// hash is the totals in one number; two that share one, of 2^64, would be
// compared in vain.
func (t totals) hash() uint64 {
	h := t.server.TableHash(0)
	for _, x := range [...]uint64{t.to, t.toBytes, t.back, t.backBytes} {
		h = mix(h ^ x)
	}
	return h
}

// A pairer finds the pairings of traces of both sides, in order of their
// start, that are worth weighing.
type pairer struct {
	rows, cols []*trace
	pairs      []pairing
}

// nearPairs returns the pairings that are worth weighing: those with equal
// totals, and, for whatever has none, those with an equal window and those of
// the same time.
func nearPairs(rows, cols []*trace) []pairing {
	p := pairer{rows: rows, cols: cols}
	rowDone, colDone := make([]bool, len(rows)), make([]bool, len(cols))
	equal, twin := p.index()
	rank := make([]int, len(equal.number))
	for i, r := range rows {
		alike := -1
		if j, ok := twin[traceKey{server: r.server, windows: r.windows}.hash()]; ok {
			if p.fits(i, j) {
				p.pairs = append(p.pairs, pairing{i, j, 0}) // which is what all windows alike cost
			}
			rowDone[i], colDone[j], alike = true, true, j
		}
		n, ok := equal.number[r.totals().hash()]
		if !ok {
			continue
		}
		for _, j := range around(equal.members.of(n), p.colStart, r.start, rank[n]) {
			if j != alike {
				p.pair(i, j)
			}
			rowDone[i], colDone[j] = true, true
		}
		rank[n]++
	}
	p.pairRest(rowDone, colDone)
	return p.pairs
}

// equals finds the columns of equal totals, by the hash of these.
type equals struct {
	number  map[uint64]int32
	members grouping
}

// index makes the indices of the columns: by their totals, and by all their
// windows, of which the last one of several counts.
func (p *pairer) index() (equal equals, twin map[uint64]int) {
	unnamed := slices.ContainsFunc(p.rows, func(r *trace) bool { return !r.server.IsValid() })
	equal.number, twin = make(map[uint64]int32, len(p.cols)), make(map[uint64]int, len(p.cols))
	var numbers []int32
	var cols []int
	add := func(j int, k totals) {
		n, ok := equal.number[k.hash()]
		if !ok {
			n = int32(len(equal.number))
			equal.number[k.hash()] = n
		}
		numbers, cols = append(numbers, n), append(cols, j)
	}
	for j, l := range p.cols {
		k := l.totals()
		add(j, k)
		twin[traceKey{server: l.server, windows: l.windows}.hash()] = j
		if unnamed { // rows without a server look for totals without one
			k.server = flow.Addr{}
			add(j, k)
		}
	}
	equal.members = grouped(numbers, len(equal.number))
	for i, k := range equal.members.all {
		equal.members.all[i] = cols[k]
	}
	return equal, twin
}

func (p *pairer) colStart(j int) int64 { return p.cols[j].start }

// fits reports whether the server and the gateway, as far as they are known,
// allow the pairing.
func (p *pairer) fits(i, j int) bool {
	r, c := p.rows[i], p.cols[j]
	if r.server.IsValid() && r.server != c.server {
		return false
	}
	g := c.nat.GatewayID
	return r.gateway == "" || g == "" || r.gateway == g
}

func (p *pairer) pair(i, j int) {
	if !p.fits(i, j) {
		return
	}
	if cost := translationCost(p.rows[i], p.cols[j]); cost < aloneCost {
		p.pairs = append(p.pairs, pairing{i, j, cost})
	}
}

// pairRest pairs what has no equal.
func (p *pairer) pairRest(rowDone, colDone []bool) {
	if !slices.Contains(rowDone, false) && !slices.Contains(colDone, false) {
		return
	}
	pairLonely(p.rows, rowDone, p.cols, p.pair)
	pairLonely(p.cols, colDone, p.rows, func(j, i int) { p.pair(i, j) })
}

// pairLonely pairs the traces of one side that are not done with those of the
// other that share a window or are near in time.
func pairLonely(traces []*trace, done []bool, others []*trace, pair func(i, j int)) {
	all, start := upTo(len(others)), func(j int) int64 { return others[j].start }
	marks := map[windowMark][]int{}
	for j, o := range others {
		o.marks(func(m windowMark) { marks[m] = append(marks[m], j) })
	}
	for i, t := range traces {
		if done[i] {
			continue
		}
		t.marks(func(m windowMark) {
			js := marks[m]
			for _, j := range js[:min(len(js), maxNear)] {
				pair(i, j)
			}
		})
		for _, j := range around(all, start, t.start, i) {
			pair(i, j)
		}
	}
}

func upTo(n int) []int {
	xs := make([]int, n)
	for k := range xs {
		xs[k] = k
	}
	return xs
}

// A windowMark is a window that two sides have in common, when records of
// others are lost.
type windowMark struct {
	forward        bool
	start, end     int64
	packets, bytes uint64
}

// marks visits the first and the last window of each direction.
func (t *trace) marks(visit func(windowMark)) {
	for _, forward := range []bool{true, false} {
		ws := t.leg.windows
		first, last := t.next(forward, -1), -1
		for k := first; k < len(ws); k = t.next(forward, k) {
			last = k
		}
		for _, k := range []int{first, last} {
			if k >= 0 && k < len(ws) && (k == first || last > first) {
				visit(windowMark{forward, ws[k].start, ws[k].end, ws[k].packets, ws[k].bytes})
			}
		}
	}
}

// next returns the window of one direction after the one at k, or the number
// of windows.
func (t *trace) next(forward bool, k int) int {
	ws := t.leg.windows
	for k++; k < len(ws); k++ {
		if ws[k].forward == forward && t.passes(&ws[k]) {
			break
		}
	}
	return k
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
func translationCost(in, out *trace) float64 {
	if in.stand {
		return timeCost(in.start, out.start) + in.to.cost(out.to) + in.back.cost(out.back) + lastCost(in.to, out.to)
	}
	return wayCost(in, out, true) + wayCost(in, out, false)
}

// cost compares the counts of one direction.
func (s flowSum) cost(o flowSum) float64 {
	return countCost(s.packets, o.packets) + countCost(s.bytes, o.bytes)/2
}

// wayCost compares one direction at both sides of one interface.
func wayCost(in, out *trace, forward bool) float64 {
	a, b := in.back, out.back
	if forward {
		a, b = in.to, out.to
	}
	if a.windows == 0 && b.windows == 0 {
		return 0
	}
	cost, alike := windowsCost(in, out, forward)
	whole := a.cost(b)
	if a.windows > 0 && b.windows > 0 {
		whole += ownTimeCost(a.first, b.first)
	}
	switch {
	case a.windows == 0 || b.windows == 0:
		return min(whole, float64(windowCost*max(a.windows, b.windows))) + ownTimeCost(in.start, out.start)
	case !alike:
		whole += splitCost + min(6, ownTimeCost(a.last, b.last))
	default:
		whole += min(6, ownTimeCost(a.last, b.last))
	}
	return min(cost, whole)
}

// ownTimeCost compares times that one interface gave.
func ownTimeCost(a, b int64) float64 {
	switch d := math.Abs(float64(a - b)); {
	case d == 0:
		return 0
	case d > startSlack:
		return aloneCost
	default:
		return 2 + (d-1)/8
	}
}

// windowsCost compares one direction window by window; alike tells whether
// the counts of all windows are the same.
func windowsCost(in, out *trace, forward bool) (cost float64, alike bool) {
	as, bs := in.leg.windows, out.leg.windows
	same, alike := 0, true
	i, j := in.next(forward, -1), out.next(forward, -1)
	for i < len(as) || j < len(bs) {
		var a, b window
		if i < len(as) {
			a = as[i]
		}
		if j < len(bs) {
			b = bs[j]
		}
		switch {
		case j == len(bs) || i < len(as) && a.end < b.start:
			cost, alike = cost+windowCost, false
			i = in.next(forward, i)
			continue
		case i == len(as) || b.end < a.start:
			cost, alike = cost+windowCost, false
			j = out.next(forward, j)
			continue
		case a.packets != b.packets || a.bytes != b.bytes:
			cost, alike = cost+2*windowCost, false
		default:
			same++
			cost += ownTimeCost(a.start, b.start) + ownTimeCost(a.end, b.end)
			if a.hasFlags && b.hasFlags && a.flags != b.flags {
				cost += flagsCost
			}
		}
		i, j = in.next(forward, i), out.next(forward, j)
	}
	if same == 0 {
		return math.Inf(1), alike
	}
	return cost, alike
}

// lastCost compares the last packets of one direction.
func lastCost(a, b flowSum) float64 {
	if a.last == 0 || b.last == 0 {
		return 0
	}
	return min(6, timeCost(a.last, b.last))
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

// gatewayOf returns the NAT gateway that the connection's route leads to;
// empty when that is not known.
func (t topology) gatewayOf(c *Connection) string {
	n := t.history.At(c.Client.Start)
	if n == nil {
		return ""
	}
	route, ok := n.NextHop(c.Client.Interface.SubnetID, c.Tuple.Dst)
	if !ok || !route.IsNATGateway() {
		return ""
	}
	return route.Target
}
