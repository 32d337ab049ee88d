package analyze

import (
	"cmp"
	"runtime"
	"slices"

	"ephemera/analyze/pair"
	"ephemera/ingest/flow"
)

// longestPool is how many data connections wait for a client's sessions to
// end. When there are more, the older half is decided without what is still
// to come.
const longestPool = 400

// A pool is the open sessions of one client with one server, and the data
// connections that may be theirs.
type pool struct {
	sessions []*session
	open     int
	data     []*dataConn // in time order
}

// pools weigh data connections as soon as the sessions that they can belong
// to have ended.
type pools struct {
	model   *pair.Model
	byPair  map[pairKey]*pool
	decided func(*dataConn)
	row     func(*session)
	weighed func(Weighed)
	// enough, when not nil, tells of groups that need not be decided.
	enough func(*pair.Group) bool

	// inTurn counts data connections of which too many sessions fit.
	inTurn int

	ahead   []weighing
	workers chan struct{}
}

func newPools(m *pair.Model, decided func(*dataConn), row func(*session)) *pools {
	return &pools{model: m, byPair: map[pairKey]*pool{}, decided: decided, row: row, workers: make(chan struct{}, runtime.GOMAXPROCS(0))}
}

func (ps *pools) open(s *session) {
	if !s.able {
		return
	}
	k := s.pairKey()
	p := ps.byPair[k]
	if p == nil {
		p = &pool{}
		ps.byPair[k] = p
	}
	s.control = s.asControl()
	p.sessions = append(p.sessions, s)
	p.open++
}

func (ps *pools) close(s *session) {
	if !s.able {
		ps.row(s)
		return
	}
	k := s.pairKey()
	p := ps.byPair[k]
	if p.open--; p.open == 0 {
		delete(ps.byPair, k)
		ps.decide(p)
	} else if len(p.sessions) > 2*p.open+manySessions {
		ps.releaseOlder(p, s.end+1)
	}
}

// manySessions is how many sessions that have ended a pool keeps before it
// looks for those that no data connection waits for.
const manySessions = 256

// releaseOlder lets go of the sessions that ended before the waiting data
// connections, and those to come from now on, began.
func (ps *pools) releaseOlder(p *pool, now int64) {
	isOver := func(s *session) bool { return s.closed && (len(p.data) == 0 || s.end+1 < p.data[0].conn.Start) }
	for _, s := range p.sessions {
		if isOver(s) {
			ps.release(s)
		}
	}
	p.sessions = slices.DeleteFunc(p.sessions, isOver)
	if len(p.sessions) > 2*p.open+manySessions && len(p.data) > 0 {
		ps.decideOlder(p, now)
	}
}

// add takes the next connection that may be data.
func (ps *pools) add(d *dataConn) {
	if d.conn.Unsolicited {
		ps.attempt(d)
		return
	}
	p := ps.byPair[d.candidates[0].pairKey()]
	p.data = append(p.data, d)
	if len(p.data) >= longestPool {
		ps.decideOlder(p, d.conn.Start)
	}
}

// aheadPools is how many pools are weighed while older ones wait for their
// turn to be finished. It is fixed, so that the number of processors changes
// the order of nothing.
const aheadPools = 64

// A weighing is a pool that is being decided.
type weighing struct {
	pool  *pool
	group *pair.Group
	post  chan *pair.Posterior
}

// decide decides a whole pool, at the same time as others.
func (ps *pools) decide(p *pool) {
	w := weighing{p, p.group(pair.Forever), make(chan *pair.Posterior, 1)}
	if ps.enough != nil && ps.enough(w.group) {
		return
	}
	go func() {
		ps.workers <- struct{}{}
		w.post <- pair.Decide(ps.model, w.group)
		<-ps.workers
	}()
	if ps.ahead = append(ps.ahead, w); len(ps.ahead) > aheadPools {
		ps.finishFirst()
	}
}

// flush finishes what is being decided.
func (ps *pools) flush() {
	for len(ps.ahead) > 0 {
		ps.finishFirst()
	}
}

// finishFirst finishes the oldest pool that is being decided.
func (ps *pools) finishFirst() {
	w := ps.ahead[0]
	ps.ahead = ps.ahead[1:]
	post := <-w.post
	ps.inTurn += post.InTurn
	ps.tell(w.pool, w.group, post)
	for i, d := range w.pool.data {
		d.take(post.Answers[i])
		ps.finish(d)
	}
	for i, s := range w.pool.sessions {
		s.count.add(post.Counts[i])
	}
	for _, s := range w.pool.sessions {
		ps.release(s)
	}
}

// tell tells weighed of a group.
func (ps *pools) tell(p *pool, g *pair.Group, post *pair.Posterior) {
	if ps.weighed == nil {
		return
	}
	w := Weighed{Group: g, Posterior: post}
	for _, s := range p.sessions {
		w.Sessions = append(w.Sessions, s.conn)
	}
	for _, d := range p.data {
		w.Data = append(w.Data, d.conn)
	}
	ps.weighed(w)
}

// decideOlder decides the older half of a pool's data connections. All that
// began before now have come.
func (ps *pools) decideOlder(p *pool, now int64) {
	g := p.group(now)
	post := pair.Decide(ps.model, g)
	ps.inTurn += post.InTurn
	ps.tell(p, g, post)
	half := (len(p.data) + 1) / 2
	for i, d := range p.data[:half] {
		a := post.Answers[i]
		if k := a.Best(); a.Shares[k] > a.Foreign {
			g.Settle(ps.model, g.Data[i], k)
		}
		d.take(a)
		for k, s := range d.candidates {
			s.count.add([]float64{1 - d.shares[k], d.shares[k]})
		}
		ps.finish(d)
	}
	p.data = slices.Clone(p.data[half:])
	ps.releaseOlder(p, now)
}

func (ps *pools) finish(d *dataConn) {
	if d.isFTP > 0.5 {
		for _, s := range d.candidates {
			s.possible.add(d)
		}
		d.best().data.add(d)
		if len(d.best().attempts) > 0 {
			d.best().given = append(d.best().given, d)
		}
	}
	ps.decided(d)
}

// attempt takes a packet of a server to a NAT gateway that may be an attempt
// at active mode. It names no client, so all that have a session with the
// server are candidates; it waits until their other data connections are
// decided.
func (ps *pools) attempt(d *dataConn) {
	d.waiting = len(d.candidates)
	for _, s := range d.candidates {
		s.attempts = append(s.attempts, d)
	}
}

// release lets go of a session whose own pool is decided.
func (ps *pools) release(s *session) {
	if len(s.attempts) == 0 {
		ps.row(s)
		return
	}
	for _, d := range slices.Clone(s.attempts) {
		if d.waiting--; d.waiting == 0 {
			ps.decideAttempt(d)
		}
	}
}

// decideAttempt weighs an attempt against what its candidates were given.
func (ps *pools) decideAttempt(d *dataConn) {
	p := &pool{sessions: d.candidates, data: []*dataConn{d}}
	for _, s := range d.candidates {
		p.data = append(p.data, s.given...)
	}
	g := p.group(pair.Forever)
	i := slices.Index(p.data, d)
	sessions := d.candidates
	d.take(pair.Decide(ps.model, g).Answers[i])
	for k, s := range d.candidates {
		s.count.add([]float64{1 - d.shares[k], d.shares[k]})
	}
	ps.finish(d)
	for _, s := range sessions {
		s.attempts = slices.DeleteFunc(s.attempts, func(a *dataConn) bool { return a == d })
		if len(s.attempts) == 0 {
			ps.row(s)
		}
	}
}

// group puts a pool into the terms of pairing.
func (p *pool) group(until int64) *pair.Group {
	g := &pair.Group{Until: until}
	slices.SortStableFunc(p.data, func(a, b *dataConn) int {
		return cmp.Or(cmp.Compare(a.conn.Start, b.conn.Start), cmp.Compare(a.conn.End, b.conn.End))
	})
	index := map[*session]int{}
	for i, s := range p.sessions {
		index[s] = i
		s.control.Attempted = len(s.attempts) > 0
		g.Controls = append(g.Controls, s.control)
	}
	for _, d := range p.data {
		x := d.asData()
		for _, s := range d.weighable() {
			x.Candidates = append(x.Candidates, index[s])
		}
		g.Data = append(g.Data, x)
	}
	return g
}

// weighable returns the sessions that the data connection is weighed for: all
// candidates, or the best if that was decided.
func (d *dataConn) weighable() []*session {
	if d.shares != nil {
		return d.candidates[:1]
	}
	return d.candidates
}

// take takes what was found, and puts the likeliest candidate first.
func (d *dataConn) take(a pair.Answer) {
	order := make([]int, len(d.candidates))
	for k := range order {
		order[k] = k
	}
	slices.SortStableFunc(order, func(a1, b int) int { return cmp.Compare(a.Shares[b], a.Shares[a1]) })
	candidates, shares := make([]*session, len(order)), make([]float64, len(order))
	for i, k := range order {
		candidates[i], shares[i] = d.candidates[k], a.Shares[k]
	}
	d.candidates, d.shares, d.isFTP = candidates, shares, 1-a.Foreign
}

// credible returns the fewest candidates that hold the right one with a
// probability of 95 %, if there is one.
func (d *dataConn) credible() []*session {
	sum := 0.0
	for k, p := range d.shares {
		if sum += p; sum >= 0.95*d.isFTP {
			return d.candidates[:k+1]
		}
	}
	return d.candidates
}

// asControl puts a session into the terms of pairing.
func (s *session) asControl() *pair.Control {
	c, l := s.conn, s.conn.best()
	to, from := payloads(l)
	k := &pair.Control{
		Kind:  pair.Kind{Server: c.Tuple.Dst.String(), Port: c.Tuple.DstPort, Encrypted: s.encrypted()},
		Start: c.Start, End: s.end, Begun: l.Opened || !l.HasFlags, Ended: l.Closed || !l.HasFlags,
		Totals: pair.Totals{
			ToServer: float64(l.FromInitiator.Accepted), ToClient: float64(l.FromResponder.Accepted),
			PayloadToServer: float64(to), PayloadToClient: float64(from),
		},
	}
	var seen []*Interface
	for _, l := range c.legs() {
		if v := l.view(); len(v) > 1 && !slices.Contains(seen, l.Interface) {
			k.Views = append(k.Views, v)
			seen = append(seen, l.Interface)
		}
	}
	return k
}

// view puts the windows of both ways together, one for each aggregation
// interval.
func (l *Leg) view() pair.View {
	var v pair.View
	var has [2]bool
	for _, w := range l.windows {
		if w.action == flow.Reject {
			continue
		}
		way := 0
		if w.forward {
			way = 1
		}
		last := len(v) - 1
		if last < 0 || w.start > v[last].Last || has[way] {
			v = append(v, pair.Interval{First: w.start, Last: w.end})
			has = [2]bool{}
			last++
		}
		has[way] = true
		v[last].Last = max(v[last].Last, w.end)
		v[last].Packets += float64(w.packets)
	}
	return v
}

// asData puts a connection into the terms of pairing, without its candidates.
func (d *dataConn) asData() *pair.Data {
	c := d.conn
	to, from := payloads(c.best())
	x := &pair.Data{
		Start: c.Start, End: c.End, Established: d.fate.established, Active: d.active,
		Port: c.Tuple.DstPort, Shape: shapeOf(d), Odds: d.odds, Upload: to > from, Size: max(to, from),
	}
	if d.active {
		x.Upload = from > to
	}
	if last := c.best().FromInitiator.Last; !x.Established && last > 0 {
		x.End = last // the other side repeats its answer when the initiator is gone
	}
	return x
}

// A count is a distribution over numbers of data connections.
type count struct{ shares []float64 }

// add adds an independent number.
func (c *count) add(shares []float64) {
	if len(c.shares) == 0 {
		c.shares = slices.Clone(shares)
		return
	}
	sum := make([]float64, len(c.shares)+len(shares)-1)
	for i, p := range c.shares {
		for j, q := range shares {
			sum[i+j] += p * q
		}
	}
	c.shares = sum
}

// interval returns the likeliest number, and an interval that has the right
// one with a probability of 95 %.
func (c *count) interval() (mode, low, high int) {
	for n, p := range c.shares {
		if p > c.shares[mode] {
			mode = n
		}
	}
	below := 0.0
	for n, p := range c.shares {
		if below+p <= 0.025 {
			low = n + 1
		}
		if below < 0.975 {
			high = n
		}
		below += p
	}
	return mode, min(low, mode), max(high, mode)
}
