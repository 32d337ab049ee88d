package analyze

import (
	"cmp"
	"math"
	"slices"
)

// A pairing is one possible match of row i with column j.
type pairing struct {
	i, j int
	cost float64
}

// An assignment is what assign decided for one row.
type assignment struct {
	col        int     // -1: unmatched
	confidence float64 // 1 when nothing else comes near; 1/n among n equal choices
	others     []int   // columns that come near, in order
}

// denseRows is the largest component that is solved exactly. The exact
// solution costs time in the cube of the rows; larger components, which
// bursts of thousands of equal connections make, are matched greedily and
// say so by their confidence.
const denseRows = 400

// nearProbability is the share above which another column is a candidate.
const nearProbability = 0.05

// assign matches rows to columns at the least total cost, where a row left
// alone costs unmatched. Costs are read as negative log-likelihoods: the
// confidence of a match is its share against the best assignments that
// differ in it.
func assign(rows, cols int, pairs []pairing, unmatched float64) []assignment {
	out := make([]assignment, rows)
	for i := range out {
		out[i] = assignment{col: -1, confidence: 1}
	}
	for _, c := range components(rows, cols, pairs) {
		if len(c.rows) > denseRows {
			c.greedy(out, unmatched)
		} else {
			c.exact(out, unmatched)
		}
	}
	return out
}

// A component is a set of rows and columns connected by pairings.
type component struct {
	rows, cols []int
	pairs      []pairing
}

func components(rows, cols int, pairs []pairing) []component {
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
	linked := make([]bool, rows+cols)
	for _, p := range pairs {
		parent[find(p.i)] = find(rows + p.j)
		linked[p.i], linked[rows+p.j] = true, true
	}
	index := map[int]int{}
	var cs []component
	at := func(x int) *component {
		root := find(x)
		k, ok := index[root]
		if !ok {
			k = len(cs)
			index[root] = k
			cs = append(cs, component{})
		}
		return &cs[k]
	}
	for x := range parent {
		switch {
		case !linked[x]:
		case x < rows:
			c := at(x)
			c.rows = append(c.rows, x)
		default:
			c := at(x)
			c.cols = append(c.cols, x-rows)
		}
	}
	for _, p := range pairs {
		c := at(p.i)
		c.pairs = append(c.pairs, p)
	}
	return cs
}

// greedy takes the cheapest pairings first. A row's confidence is its share
// among the columns that were as good for it.
func (c component) greedy(out []assignment, unmatched float64) {
	slices.SortFunc(c.pairs, func(a, b pairing) int {
		return cmp.Or(cmp.Compare(a.cost, b.cost), cmp.Compare(a.i, b.i), cmp.Compare(a.j, b.j))
	})
	taken := map[int]bool{}
	best := map[int]float64{}
	for _, p := range c.pairs {
		if out[p.i].col < 0 && !taken[p.j] && p.cost < unmatched {
			out[p.i].col, best[p.i] = p.j, p.cost
			taken[p.j] = true
		}
	}
	weight := map[int]float64{}
	for _, p := range c.pairs {
		if b, ok := best[p.i]; ok && p.j != out[p.i].col {
			w := math.Exp(min(0, b-p.cost))
			weight[p.i] += w
			if w > nearProbability && len(out[p.i].others) < 8 {
				out[p.i].others = append(out[p.i].others, p.j)
			}
		}
	}
	for i := range best {
		out[i].confidence = 1 / (1 + weight[i])
	}
}

// exact solves the component by the Hungarian method and measures, for
// every match, how much the best assignment without it would cost more.
func (c component) exact(out []assignment, unmatched float64) {
	m := newMatrix(c, unmatched)
	m.solve()
	for a, i := range c.rows {
		b := m.colOf[a]
		if b < len(c.cols) {
			out[i].col = c.cols[b]
		}
		total := 1.0
		for _, alt := range m.alternatives(a) {
			w := math.Exp(-alt.margin)
			total += w
			if w > nearProbability && alt.col < len(c.cols) {
				out[i].others = append(out[i].others, c.cols[alt.col])
			}
		}
		out[i].confidence = 1 / total
	}
}

// A matrix is a component's costs: n rows, and columns followed by one
// "stays alone" column for each row.
type matrix struct {
	n, m  int
	cost  [][]float64
	u, v  []float64 // potentials; cost - u - v is at least 0, and 0 on the matches
	rowOf []int     // of a column, -1 when free
	colOf []int     // of a row
}

const impossible = 1e12

func newMatrix(c component, unmatched float64) *matrix {
	n, real := len(c.rows), len(c.cols)
	m := &matrix{n: n, m: real + n, u: make([]float64, n), v: make([]float64, real+n), rowOf: make([]int, real+n), colOf: make([]int, n)}
	rowAt, colAt := positions(c.rows), positions(c.cols)
	for a := range n {
		row := make([]float64, m.m)
		for b := range row {
			row[b] = impossible
		}
		row[real+a] = unmatched
		m.cost = append(m.cost, row)
	}
	for _, p := range c.pairs {
		a, b := rowAt[p.i], colAt[p.j]
		m.cost[a][b] = min(m.cost[a][b], p.cost)
	}
	for b := range m.rowOf {
		m.rowOf[b] = -1
	}
	return m
}

func positions(xs []int) map[int]int {
	m := make(map[int]int, len(xs))
	for k, x := range xs {
		m[x] = k
	}
	return m
}

// solve adds the rows one by one, each along the cheapest augmenting path
// (Jonker and Volgenant's form of the Hungarian method).
func (m *matrix) solve() {
	for a := range m.n {
		m.augment(a)
	}
}

func (m *matrix) augment(start int) {
	dist := make([]float64, m.m)
	prev := make([]int, m.m) // the row from which a column was reached
	done := make([]bool, m.m)
	for b := range dist {
		dist[b] = math.Inf(1)
	}
	row, base, last := start, 0.0, -1
	for {
		next := -1
		for b := range m.m {
			if done[b] {
				continue
			}
			if d := base + m.cost[row][b] - m.u[row] - m.v[b]; d < dist[b] {
				dist[b], prev[b] = d, row
			}
			if next < 0 || dist[b] < dist[next] {
				next = b
			}
		}
		done[next] = true
		if m.rowOf[next] < 0 {
			last = next
			break
		}
		row, base = m.rowOf[next], dist[next]
	}
	m.u[start] += dist[last]
	for b := range m.m {
		if done[b] && b != last {
			m.u[m.rowOf[b]] += dist[last] - dist[b]
			m.v[b] -= dist[last] - dist[b]
		}
	}
	for b := last; ; {
		a := prev[b]
		m.rowOf[b] = a
		if a == start {
			m.colOf[a] = b
			return
		}
		b, m.colOf[a] = m.colOf[a], b
	}
}

// An alternative is another column for a row, and what the best assignment
// with it costs more.
type alternative struct {
	col    int
	margin float64
}

// farAway is a margin whose weight does not matter.
const farAway = 12

// alternatives returns the columns that row a could have at a margin below
// farAway. Taking a column from its owner sends the owner along the cheapest
// path of exchanges to the column that a leaves.
func (m *matrix) alternatives(a int) []alternative {
	back := m.distancesTo(a)
	var alts []alternative
	for b := range m.m {
		if b == m.colOf[a] || m.cost[a][b] >= impossible {
			continue
		}
		if margin := m.reduced(a, b) + back[m.owner(b)]; margin < farAway {
			alts = append(alts, alternative{b, max(0, margin)})
		}
	}
	return alts
}

func (m *matrix) reduced(a, b int) float64 { return m.cost[a][b] - m.u[a] - m.v[b] }

// owner returns the row that has column b; nobody, written n, has the free
// ones.
func (m *matrix) owner(b int) int {
	if m.rowOf[b] < 0 {
		return m.n
	}
	return m.rowOf[b]
}

// distancesTo returns, for every row and for nobody, the cheapest chain of
// exchanges by which it gets the column of row a, each taking the next one's
// column. Row a itself takes no part.
func (m *matrix) distancesTo(a int) []float64 {
	toFree := make([]float64, m.n) // the cheapest free column of each row
	for k := range toFree {
		toFree[k] = math.Inf(1)
		for b, owner := range m.rowOf {
			if owner < 0 {
				toFree[k] = min(toFree[k], m.reduced(k, b))
			}
		}
	}
	take := func(x, y int) float64 { // x takes the column of y
		switch {
		case x == y:
			return math.Inf(1)
		case x == m.n:
			return -m.v[m.colOf[y]]
		case y == m.n:
			return toFree[x]
		}
		return m.reduced(x, m.colOf[y])
	}
	dist := make([]float64, m.n+1)
	done := make([]bool, m.n+1)
	for x := range dist {
		dist[x] = take(x, a)
	}
	done[a] = true
	for {
		next := -1
		for x := range dist {
			if !done[x] && (next < 0 || dist[x] < dist[next]) {
				next = x
			}
		}
		if next < 0 || dist[next] > farAway {
			return dist
		}
		done[next] = true
		for x := range dist {
			if !done[x] {
				dist[x] = min(dist[x], take(x, next)+dist[next])
			}
		}
	}
}
