// Package accuracy measures how well the analysis finds the truth: it lets it
// run on simulated traffic and compares what it says with what was simulated.
//
//	s, err := accuracy.Measure(preset.Config, accuracy.HeldOut, analyze.Options{})
//
// What is measured holds for what was simulated. Priors are to be fitted on
// seeds below HeldOut, so that nothing is measured that was fitted on.
package accuracy

import (
	"iter"
	"math"
	"slices"

	"ephemera/analyze"
	"ephemera/analyze/simulate"
	"ephemera/ingest/flow"
)

// HeldOut is the first seed that is kept for measuring.
const HeldOut = 1000

// A Ratio counts how many of all have a property.
type Ratio struct{ N, All int }

// Share is N of All; NaN of none.
func (r Ratio) Share() float64 { return float64(r.N) / float64(r.All) }

func (r *Ratio) count(yes bool) {
	r.All++
	if yes {
		r.N++
	}
}

func (r Ratio) plus(o Ratio) Ratio { return Ratio{r.N + o.N, r.All + o.All} }

// Score says how the result of an analysis compares with the truth. What the
// log holds no record of is in no count of the truth.
type Score struct {
	// ControlFound is of the true control connections, ControlTrue of those
	// in the result.
	ControlFound, ControlTrue Ratio
	// Passive and Active are data connections by mode.
	Passive, Active DataScore
	// Decoys is how many of the other connections of the hosts are called
	// data connections.
	Decoys Ratio
	// CountExact, CountNear and CountInside are of the sessions that got past
	// the login: whether the number of data connections is right, at most one
	// off, or within what is said to be possible.
	CountExact, CountNear, CountInside Ratio
	// MappingFound is of the true mappings, MappingTrue of those in the result.
	MappingFound, MappingTrue Ratio
	// Stated are the best guesses at the session of a passive data connection,
	// by the tenth of the stated confidence.
	Stated [10]Tenth
}

// DataScore is about data connections of one mode.
type DataScore struct {
	// Found is of the true ones, True of those in the result.
	Found, True Ratio
	// One and Several are the true ones by how many control connections of
	// the client and the server were open in that second: whether the best
	// guess is the right session.
	One, Several Ratio
	// ClaimTrue is of those that are given to a session, ClaimFound of the
	// true ones: whether that is done, and right.
	ClaimTrue, ClaimFound Ratio
	// Covered is of those found: whether the candidates hold the right
	// session. Candidates is how many there are of all of them.
	Covered    Ratio
	Candidates int
}

// A Tenth holds guesses of nearly equal confidence.
type Tenth struct {
	Right  Ratio
	Stated float64 // sum of the confidences
}

// Deviation is how far the share of right guesses is from the mean stated
// confidence.
func (t Tenth) Deviation() float64 { return t.Right.Share() - t.Stated/float64(t.Right.All) }

// enough is the fewest guesses of which a share says something.
const enough = 50

// Deviation is the largest deviation of the tenths with enough guesses: above
// 0 where too little is stated, below where too much.
func (s *Score) Deviation() float64 {
	worst := 0.0
	for _, t := range s.Stated {
		if d := t.Deviation(); t.Right.All >= enough && math.Abs(d) > math.Abs(worst) {
			worst = d
		}
	}
	return worst
}

// Add adds another score.
func (s *Score) Add(o *Score) {
	for _, p := range []struct {
		to   *Ratio
		from Ratio
	}{
		{&s.ControlFound, o.ControlFound}, {&s.ControlTrue, o.ControlTrue}, {&s.Decoys, o.Decoys},
		{&s.CountExact, o.CountExact}, {&s.CountNear, o.CountNear}, {&s.CountInside, o.CountInside},
		{&s.MappingFound, o.MappingFound}, {&s.MappingTrue, o.MappingTrue},
	} {
		*p.to = p.to.plus(p.from)
	}
	s.Passive.add(&o.Passive)
	s.Active.add(&o.Active)
	for i, t := range o.Stated {
		s.Stated[i].Right = s.Stated[i].Right.plus(t.Right)
		s.Stated[i].Stated += t.Stated
	}
}

func (d *DataScore) add(o *DataScore) {
	d.Found, d.True = d.Found.plus(o.Found), d.True.plus(o.True)
	d.One, d.Several = d.One.plus(o.One), d.Several.plus(o.Several)
	d.ClaimTrue, d.ClaimFound = d.ClaimTrue.plus(o.ClaimTrue), d.ClaimFound.plus(o.ClaimFound)
	d.Covered = d.Covered.plus(o.Covered)
	d.Candidates += o.Candidates
}

// Measure simulates with a seed, analyses, and compares.
func Measure(c simulate.Config, seed uint64, o analyze.Options) (*Score, error) {
	c.Seed = seed
	t := simulate.Run(c)
	o.Ordered = true
	r, err := analyze.Run(stream(t.Records), o)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	s := Compare(t, r)
	return s, r.Err()
}

// stream yields records as a source does.
func stream(rs []flow.Record) iter.Seq2[*flow.Record, error] {
	return func(yield func(*flow.Record, error) bool) {
		var r flow.Record
		for i := range rs {
			if r = rs[i]; !yield(&r, nil) {
				return
			}
		}
	}
}

// Compare compares a result with the truth.
func Compare(t *simulate.Traffic, r *analyze.Result) *Score {
	c := &comparison{truth: t, late: t.Config.Late.Seconds() + 2, score: &Score{}, sessionOf: map[string]int{}}
	c.sessions(r)
	c.data(r)
	c.counts(r)
	c.mappings(r)
	return c.score
}

// A comparison is one on its way.
type comparison struct {
	truth *simulate.Traffic
	late  float64 // seconds by which times of the log can be off
	score *Score
	// sessionOf is the true session of a session in the result.
	sessionOf map[string]int
}

// A life is a row of the truth as what a row of the result is compared with.
type life struct {
	index      int
	start, end float64
	taken      bool
}

// A book finds rows of the truth by their ends and time.
type book[K comparable] map[K][]*life

func (b book[K]) add(key K, index int, l simulate.Life) {
	b[key] = append(b[key], &life{index, l.Start, l.End, false})
}

// take returns the row with these ends that is nearest in time and not taken
// yet; -1 if there is none.
func (b book[K]) take(key K, start, end analyze.Time, late float64) int {
	var best *life
	for _, l := range b[key] {
		if l.taken || float64(start) > l.end+late || float64(end)+1 < l.start-late {
			continue
		}
		if best == nil || math.Abs(float64(start)-l.start) < math.Abs(float64(start)-best.start) {
			best = l
		}
	}
	if best == nil {
		return -1
	}
	best.taken = true
	return best.index
}

// sessions compares the control connections.
func (c *comparison) sessions(r *analyze.Result) {
	b := book[flow.Tuple]{}
	for i, s := range c.truth.Sessions {
		if s.Records > 0 {
			b.add(s.Ends, i, s.Life)
			c.score.ControlFound.All++
		}
	}
	for s := range r.Sessions.All() {
		i := b.take(tuple(flow.TCP, s.ClientAddr, s.ClientPort, s.ServerAddr, s.ServerPort), s.Start, s.End, c.late)
		c.score.ControlTrue.count(i >= 0)
		if i >= 0 {
			c.score.ControlFound.N++
			c.sessionOf[s.ID] = i
		}
	}
}

func tuple(p flow.Proto, src flow.Addr, srcPort uint16, dst flow.Addr, dstPort uint16) flow.Tuple {
	return flow.Tuple{Src: src, SrcPort: srcPort, Dst: dst, DstPort: dstPort, Proto: p}
}

// dataKey tells data connections apart. An active one has no client: only
// the NAT gateway's address is in the log, and that may be its primary one.
type dataKey struct {
	active bool
	ends   flow.Tuple // from the client
}

func keyOf(active bool, ends flow.Tuple) dataKey {
	if active {
		ends = ends.Reverse()
		ends.Src = flow.Addr{}
	}
	return dataKey{active, ends}
}

// data compares the data connections.
func (c *comparison) data(r *analyze.Result) {
	b, others := book[dataKey]{}, book[flow.Tuple]{}
	open := c.openings()
	for i, d := range c.truth.Data {
		if d.Records > 0 {
			b.add(keyOf(d.Active, d.Ends), i, d.Life)
			s := c.mode(d.Active)
			s.Found.All++
			s.ClaimFound.All++
			open.split(s, &c.truth.Data[i]).All++
		}
	}
	for i, o := range c.truth.Others {
		if o.Records > 0 && o.Kind != simulate.Scan {
			others.add(o.Ends, i, o.Life)
			c.score.Decoys.All++
		}
	}
	for d := range r.Data.All() {
		ends := tuple(flow.TCP, d.ClientAddr, d.ClientPort, d.ServerAddr, d.ServerPort)
		active := d.Mode == "active"
		key := dataKey{active, ends}
		if active {
			key.ends.Src = flow.Addr{}
		}
		i := b.take(key, d.Start, d.End, c.late)
		if i < 0 && others.take(ends, d.Start, d.End, c.late) >= 0 {
			c.score.Decoys.N++
		}
		c.row(&d, i, open)
	}
}

func (c *comparison) mode(active bool) *DataScore {
	if active {
		return &c.score.Active
	}
	return &c.score.Passive
}

// row compares one data connection of the result with the true one, -1 if
// there is none.
func (c *comparison) row(d *analyze.DataConnection, i int, open openings) {
	s := c.mode(d.Mode == "active")
	s.True.count(i >= 0)
	is := func(id string) bool {
		session, ok := c.sessionOf[id]
		return ok && i >= 0 && session == c.truth.Data[i].Session
	}
	best := d.SessionID
	if best == "" && len(d.Candidates) > 0 {
		best = d.Candidates[0]
	}
	right := is(best)
	if d.SessionID != "" {
		s.ClaimTrue.count(right)
		if right {
			s.ClaimFound.N++
		}
	}
	if d.Mode != "active" {
		t := &c.score.Stated[min(9, int(10*d.Confidence))]
		t.Right.count(right)
		t.Stated += d.Confidence
	}
	if i < 0 {
		return
	}
	s.Found.N++
	s.Candidates += len(d.Candidates)
	s.Covered.count(slices.ContainsFunc(d.Candidates, is))
	if right {
		open.split(s, &c.truth.Data[i]).N++
	}
}

// openings are the true control connections of each client and server; of
// each server alone under a client that is not valid.
type openings map[[2]flow.Addr][]*simulate.Session

func (c *comparison) openings() openings {
	o := openings{}
	for i := range c.truth.Sessions {
		s := &c.truth.Sessions[i]
		for _, client := range []flow.Addr{s.Src, {}} {
			k := [2]flow.Addr{client, s.Dst}
			o[k] = append(o[k], s)
		}
	}
	return o
}

// split returns the ratio in which a data connection counts: that of those
// for which only one control connection was open, or the other.
func (o openings) split(s *DataScore, d *simulate.DataConnection) *Ratio {
	key, n := [2]flow.Addr{d.Src, d.Dst}, 0
	if d.Active {
		key = [2]flow.Addr{{}, d.Src}
	}
	second := math.Floor(d.Start)
	for _, x := range o[key] {
		if math.Floor(x.Start) <= second && second <= x.End {
			n++
		}
	}
	if n > 1 {
		return &s.Several
	}
	return &s.One
}

// counts compares how many data connections each session had.
func (c *comparison) counts(r *analyze.Result) {
	count := make([]int, len(c.truth.Sessions))
	for _, d := range c.truth.Data {
		if d.Records > 0 {
			count[d.Session]++
		}
	}
	for s := range r.Sessions.All() {
		i, ok := c.sessionOf[s.ID]
		if !ok || c.truth.Sessions[i].Outcome == simulate.Blocked || c.truth.Sessions[i].Outcome == simulate.LoginFailed {
			continue
		}
		off := s.DataConnections - count[i]
		c.score.CountExact.count(off == 0)
		c.score.CountNear.count(-1 <= off && off <= 1)
		c.score.CountInside.count(s.DataLow <= count[i] && count[i] <= s.DataHigh)
	}
}

// mappings compares the NAT gateways' ports. A log without header addresses
// shows the primary address of a gateway for all of them.
func (c *comparison) mappings(r *analyze.Result) {
	b := book[flow.Tuple]{}
	for i, m := range c.truth.Mappings {
		if m.Records > 0 {
			b.add(m.Ends, i, m.Life)
			c.score.MappingFound.All++
		}
	}
	for m := range r.Mappings.All() {
		i := b.take(tuple(flow.Proto(m.Protocol), m.ClientAddr, m.ClientPort, m.ServerAddr, m.ServerPort), m.Start, m.End, c.late)
		right := false
		if i >= 0 {
			x := &c.truth.Mappings[i]
			right = m.NATPort == x.NATPort && (m.NATAddr == x.NATAddr || m.NATAddr == x.Primary)
		}
		c.score.MappingTrue.count(right)
		if right {
			c.score.MappingFound.N++
		}
	}
}

// Total adds scores up.
func Total(scores []*Score) *Score {
	t := &Score{}
	for _, s := range scores {
		t.Add(s)
	}
	return t
}
