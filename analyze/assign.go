package analyze

import (
	"cmp"
	"math"
	"slices"
)

// A pairing is one possible match: any member of row class i with any member
// of column class j. Its cost is a negative log-likelihood.
type pairing struct {
	i, j int
	cost float64
}

// A portion is what assign decided about one row class and one column class.
type portion struct {
	col int
	n   int // members that the best assignment matches
	// mean is how many members are matched on average over all assignments,
	// each as probable as its costs say. Nothing tells the members of a class
	// apart: that one of a rows is matched with one of b columns has the
	// probability mean/(a*b).
	mean float64
}

// assign matches the members of row classes with those of column classes at
// the least total cost, where a row left alone costs unmatched, and a column
// nothing. rows and cols are the classes' sizes. It returns the portions of
// each row class, in order of col.
//
// Costs must not be negative. Time and memory are bounded: where the best
// assignment takes more than maxWork to find, the rest is matched greedily,
// and says so by its probability.
func assign(rows, cols []int, pairs []pairing, unmatched float64) [][]portion {
	out := make([][]portion, len(rows))
	pairs = distinct(pairs)
	rowPairs, colPairs := make([]int, len(rows)), make([]int, len(cols))
	for _, p := range pairs {
		rowPairs[p.i]++
		colPairs[p.j]++
	}
	var contested []pairing
	portions := make([]portion, len(pairs))
	for k, p := range pairs {
		if rowPairs[p.i] > 1 || colPairs[p.j] > 1 || rows[p.i] > 1 || cols[p.j] > 1 {
			contested = append(contested, p)
		} else if p.cost < unmatched {
			portions[k] = portion{p.j, 1, matchedAlone(p.cost, unmatched)}
			out[p.i] = portions[k : k+1 : k+1]
		}
	}
	for _, c := range components(len(rows), len(cols), contested) {
		t := newTransport(rows, cols, c, unmatched)
		t.solve()
		t.weigh()
		t.portions(out)
	}
	return out
}

// matchedAlone is the probability of a match of one with one, which nothing
// else competes with.
func matchedAlone(cost, unmatched float64) float64 { return 1 / (1 + math.Exp(cost-unmatched)) }

// distinct sorts pairings, and keeps the cheapest of each row and column.
func distinct(pairs []pairing) []pairing {
	slices.SortFunc(pairs, func(a, b pairing) int {
		return cmp.Or(cmp.Compare(a.i, b.i), cmp.Compare(a.j, b.j), cmp.Compare(a.cost, b.cost))
	})
	return slices.CompactFunc(pairs, func(a, b pairing) bool { return a.i == b.i && a.j == b.j })
}

// components splits pairings into those that have no row or column in
// common, in order of the first.
func components(rows, cols int, pairs []pairing) [][]pairing {
	if len(pairs) == 0 {
		return nil
	}
	parent := make([]int, rows+cols)
	for i := range parent {
		parent[i] = i
	}
	find := func(x int) int {
		for parent[x] != x {
			parent[x] = parent[parent[x]]
			x = parent[x]
		}
		return x
	}
	for _, p := range pairs {
		parent[find(p.i)] = find(rows + p.j)
	}
	number := map[int]int{}
	var cs [][]pairing
	for _, p := range pairs {
		root := find(p.i)
		k, ok := number[root]
		if !ok {
			k = len(cs)
			number[root] = k
			cs = append(cs, nil)
		}
		cs[k] = append(cs[k], p)
	}
	return cs
}

// A transport is the transportation problem of one component.
type transport struct {
	rows, cols       []int // the caller's classes
	supply, capacity []int // sizes of the classes
	unmatched        float64

	arcs         []arc // by row, then by column
	out, into    [][]int32
	alone, spare []int     // members that are not matched
	u, v         []float64 // potentials; cost - u - v is at least 0, and 0 where something flows

	search search
	work   int // arcs looked at
}

// An arc is a pairing in the numbers of a transport.
type arc struct {
	row, col int32
	flow     int
	cost     float64
	mean     float64
}

// maxWork bounds the search for the best assignment of one component, in
// arcs looked at: about half a second.
const maxWork = 30_000_000

func newTransport(rows, cols []int, pairs []pairing, unmatched float64) *transport {
	t := &transport{unmatched: unmatched, arcs: make([]arc, len(pairs))}
	colAt := map[int]int32{}
	for k, p := range pairs { // in order of rows
		if len(t.rows) == 0 || t.rows[len(t.rows)-1] != p.i {
			t.rows = append(t.rows, p.i)
			t.supply = append(t.supply, rows[p.i])
			t.out = append(t.out, nil)
		}
		j, ok := colAt[p.j]
		if !ok {
			j = int32(len(t.cols))
			colAt[p.j] = j
			t.cols = append(t.cols, p.j)
			t.capacity = append(t.capacity, cols[p.j])
			t.into = append(t.into, nil)
		}
		i := int32(len(t.rows) - 1)
		t.arcs[k] = arc{row: i, col: j, cost: p.cost}
		t.out[i], t.into[j] = append(t.out[i], int32(k)), append(t.into[j], int32(k))
	}
	t.alone, t.spare = make([]int, len(t.rows)), slices.Clone(t.capacity)
	t.u, t.v = make([]float64, len(t.rows)), make([]float64, len(t.cols))
	t.search = newSearch(len(t.rows) + len(t.cols))
	return t
}

// reduced is the cost of an arc beyond the potentials of its ends.
func (t *transport) reduced(a *arc) float64 { return max(0, a.cost-t.u[a.row]-t.v[a.col]) }

// solve finds the assignment of least cost: row class by row class, along
// the cheapest augmenting paths.
func (t *transport) solve() {
	for i, left := range t.supply {
		for left > 0 && t.work < maxWork {
			left -= t.augment(int32(i), left)
		}
		if left > 0 {
			t.take(i, left)
		}
	}
}

// take matches members of row i with the nearest columns that are not taken.
func (t *transport) take(i, left int) {
	arcs := slices.Clone(t.out[i])
	slices.SortStableFunc(arcs, func(a, b int32) int { return cmp.Compare(t.arcs[a].cost, t.arcs[b].cost) })
	for _, k := range arcs {
		a := &t.arcs[k]
		if a.cost < t.unmatched {
			n := min(left, t.spare[a.col])
			a.flow += n
			t.spare[a.col] -= n
			left -= n
		}
	}
	t.alone[i] += left
}

// augment matches up to left members of row start, all along one path: each
// row on it but the last gets a column that the next row gives up. The last
// gets one that is not taken, or stays alone. It returns how many members it
// matched.
func (t *transport) augment(start int32, left int) int {
	s, rows := &t.search, int32(len(t.rows))
	s.begin()
	s.reach(start, 0, -1)
	best, end := math.Inf(1), int32(-1)
	for {
		x, d, ok := s.next()
		if !ok || d >= best {
			break
		}
		switch {
		case x < rows:
			if alone := d + t.unmatched - t.u[x]; alone < best {
				best, end = alone, x
			}
			for _, k := range t.out[x] {
				if a := &t.arcs[k]; d+t.reduced(a) < best {
					s.reach(rows+a.col, d+t.reduced(a), k)
				}
			}
			t.work += len(t.out[x])
		case t.spare[x-rows] > 0:
			best, end = d, x
		default:
			for _, k := range t.into[x-rows] {
				if a := &t.arcs[k]; a.flow > 0 {
					s.reach(a.row, d, k)
				}
			}
			t.work += len(t.into[x-rows])
		}
	}
	for _, x := range s.reached {
		if d := best - s.dist[x]; d > 0 && x < rows {
			t.u[x] += d
		} else if d > 0 {
			t.v[x-rows] -= d
		}
	}
	return t.push(start, end, left)
}

// push sends members along the path that a search found.
func (t *transport) push(start, end int32, left int) int {
	rows := int32(len(t.rows))
	n := left
	if end >= rows {
		n = min(n, t.spare[end-rows])
	}
	t.walk(start, end, func(a *arc, toRow bool) {
		if toRow {
			n = min(n, a.flow)
		}
	})
	t.walk(start, end, func(a *arc, toRow bool) {
		if toRow {
			a.flow -= n
		} else {
			a.flow += n
		}
	})
	if end >= rows {
		t.spare[end-rows] -= n
	} else {
		t.alone[end] += n
	}
	return n
}

// walk calls visit for each arc of the path, from its end.
func (t *transport) walk(start, end int32, visit func(a *arc, toRow bool)) {
	rows := int32(len(t.rows))
	for x := end; x != start; {
		a := &t.arcs[t.search.from[x]]
		visit(a, x < rows)
		if x < rows {
			x = rows + a.col
		} else {
			x = a.row
		}
	}
}

// A search is the state of Dijkstra's algorithm, which serves for many
// searches without being made anew.
type search struct {
	dist    []float64
	from    []int32 // the arc by which a node was reached
	done    []bool
	reached []int32
	heap    []reach
}

// A reach is an entry of the queue.
type reach struct {
	dist float64
	node int32
}

func newSearch(nodes int) search {
	s := search{dist: make([]float64, nodes), from: make([]int32, nodes), done: make([]bool, nodes)}
	for x := range s.dist {
		s.dist[x] = math.Inf(1)
	}
	return s
}

func (s *search) begin() {
	for _, x := range s.reached {
		s.dist[x], s.done[x] = math.Inf(1), false
	}
	s.reached, s.heap = s.reached[:0], s.heap[:0]
}

func (s *search) reach(x int32, d float64, by int32) {
	if d >= s.dist[x] {
		return
	}
	if math.IsInf(s.dist[x], 1) {
		s.reached = append(s.reached, x)
	}
	s.dist[x], s.from[x] = d, by
	s.heap = append(s.heap, reach{d, x})
	for k := len(s.heap) - 1; k > 0; {
		up := (k - 1) / 2
		if !s.heap[k].before(s.heap[up]) {
			break
		}
		s.heap[k], s.heap[up] = s.heap[up], s.heap[k]
		k = up
	}
}

// next returns the nearest node that was not returned yet.
func (s *search) next() (x int32, d float64, ok bool) {
	for len(s.heap) > 0 {
		top := s.heap[0]
		last := len(s.heap) - 1
		s.heap[0] = s.heap[last]
		s.heap = s.heap[:last]
		for k := 0; ; {
			low := 2*k + 1
			if low >= last {
				break
			}
			if low+1 < last && s.heap[low+1].before(s.heap[low]) {
				low++
			}
			if !s.heap[low].before(s.heap[k]) {
				break
			}
			s.heap[k], s.heap[low] = s.heap[low], s.heap[k]
			k = low
		}
		if !s.done[top.node] {
			s.done[top.node] = true
			return top.node, top.dist, true
		}
	}
	return 0, 0, false
}

func (r reach) before(q reach) bool {
	if r.dist != q.dist {
		return r.dist < q.dist
	}
	return r.node < q.node
}

// portions hands out the result.
func (t *transport) portions(out [][]portion) {
	for i, arcs := range t.out {
		ps := make([]portion, len(arcs))
		for k, a := range arcs {
			a := t.arcs[a]
			ps[k] = portion{t.cols[a.col], a.flow, a.mean}
		}
		out[t.rows[i]] = ps
	}
}

// exactWork is the size of the components, in steps, whose averages are
// computed over every single assignment.
const exactWork = 1 << 16

// weigh computes the averages over all assignments. They are relative to the
// best: what costs more by d counts exp(-d) as much.
func (t *transport) weigh() {
	states, members := 1, 0
	for _, n := range t.capacity {
		if states *= n + 1; states > exactWork {
			break
		}
	}
	for _, n := range t.supply {
		members += n
	}
	if states <= exactWork && members <= exactWork && states*members*(1+len(t.arcs)/len(t.rows)) <= exactWork {
		t.weighAll(states, members)
	} else {
		t.balance()
	}
}

// weighAll sums over all assignments, member by member of the rows; a state
// is how many members of each column class are left.
func (t *transport) weighAll(states, members int) {
	strides := make([]int, len(t.cols))
	for stride, j := 1, 0; j < len(t.cols); j++ {
		strides[j] = stride
		stride *= t.capacity[j] + 1
	}
	left := func(s int, j int32) int { return s / strides[j] % (t.capacity[j] + 1) }

	var order []int // the row class of each member
	for i, n := range t.supply {
		for range n {
			order = append(order, i)
		}
	}
	weight := make([]float64, len(t.arcs))
	for k := range t.arcs {
		weight[k] = math.Exp(-t.reduced(&t.arcs[k]))
	}
	// after[m][s] is the weight of all that members from m on can do.
	after := make([][]float64, members+1)
	for m := range after {
		after[m] = make([]float64, states)
	}
	for s := range states {
		spare := 0.0
		for j := range t.cols {
			spare += t.v[j] * float64(left(s, int32(j)))
		}
		after[members][s] = math.Exp(spare)
	}
	for m := members - 1; m >= 0; m-- {
		alone := t.aloneWeight(order[m])
		for s := range states {
			sum := alone * after[m+1][s]
			for _, k := range t.out[order[m]] {
				if n := left(s, t.arcs[k].col); n > 0 {
					sum += float64(n) * weight[k] * after[m+1][s-strides[t.arcs[k].col]]
				}
			}
			after[m][s] = sum
		}
	}
	total := after[0][states-1]
	before := make([]float64, states)
	before[states-1] = 1
	for m, i := range order {
		next := make([]float64, states)
		for s, b := range before {
			if b == 0 {
				continue
			}
			next[s] += b * t.aloneWeight(i)
			for _, k := range t.out[i] {
				a := &t.arcs[k]
				if n := left(s, a.col); n > 0 {
					w := b * float64(n) * weight[k]
					next[s-strides[a.col]] += w
					a.mean += w * after[m+1][s-strides[a.col]] / total
				}
			}
		}
		before = next
	}
}

// aloneWeight is the weight of a member of row i that stays alone.
func (t *transport) aloneWeight(i int) float64 { return math.Exp(min(0, t.u[i]-t.unmatched)) }

// Bounds of balance: what a sum may be off, relatively; and the arcs that it
// looks at, about a quarter of a second.
const (
	balanced    = 1e-3
	balanceWork = 20_000_000
)

// balance estimates the averages by scaling the weights of rows and columns
// until the sums are the classes' sizes (Sinkhorn's method). As many members
// stay alone or spare as in the best assignment.
//
// The sum over all assignments is a permanent, which nobody can compute for
// hundreds of rows. This estimate is exact among equals, and else too
// cautious: it takes each row's doubt for its own, where exchanges need two.
func (t *transport) balance() {
	weight := make([]float64, len(t.arcs))
	for k := range t.arcs {
		weight[k] = math.Exp(-t.reduced(&t.arcs[k]))
	}
	alone, spare := float64(sum(t.alone)), float64(sum(t.spare))
	rows, cols := ones(len(t.rows)), ones(len(t.cols))
	aloneScale, spareScale := 1.0, 1.0
	rowSum, colSum := make([]float64, len(t.rows)), make([]float64, len(t.cols))
	for round := 0; round < max(4, balanceWork/len(t.arcs)); round++ {
		clear(rowSum)
		for k, a := range t.arcs {
			rowSum[a.row] += weight[k] * cols[a.col]
		}
		off := 0.0
		for i := range rows {
			if alone > 0 {
				rowSum[i] += t.aloneWeight(i) * aloneScale
			}
			off = max(off, math.Abs(rows[i]*rowSum[i]/float64(t.supply[i])-1))
			rows[i] = float64(t.supply[i]) / rowSum[i]
		}
		if spare > 0 {
			s := 0.0
			for j := range cols {
				s += math.Exp(t.v[j]) * cols[j]
			}
			spareScale = spare / s
		}
		clear(colSum)
		for k, a := range t.arcs {
			colSum[a.col] += weight[k] * rows[a.row]
		}
		for j := range cols {
			if spare > 0 {
				colSum[j] += math.Exp(t.v[j]) * spareScale
			}
			cols[j] = float64(t.capacity[j]) / colSum[j]
		}
		if alone > 0 {
			s := 0.0
			for i := range rows {
				s += t.aloneWeight(i) * rows[i]
			}
			aloneScale = alone / s
		}
		if off < balanced {
			break
		}
	}
	clear(rowSum)
	for k := range t.arcs {
		a := &t.arcs[k]
		a.mean = weight[k] * rows[a.row] * cols[a.col]
		rowSum[a.row] += a.mean
	}
	for k := range t.arcs {
		a := &t.arcs[k]
		a.mean *= min(1, float64(t.supply[a.row])/rowSum[a.row])
		if alone == 0 {
			a.mean /= 1 + t.aloneWeight(int(a.row))
		}
	}
}

func ones(n int) []float64 {
	xs := make([]float64, n)
	for i := range xs {
		xs[i] = 1
	}
	return xs
}

func sum(xs []int) int {
	n := 0
	for _, x := range xs {
		n += x
	}
	return n
}
