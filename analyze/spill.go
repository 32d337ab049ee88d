package analyze

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"unsafe"

	"ephemera/ingest/flow"
)

// A spill holds, in temporary files, what there is no room for in memory.
// Nothing depends on whether there is one: sightings and groups come back
// before they are asked for.
//
// Of an ordered log, a stock needs the sightings that end before it; those
// that end later wait in the file of their step. Groups that nothing more can
// come to before they are over are parked in the file of the stock that closes
// them. What is left in memory is the traffic of one step.
//
// Of any other log, all sightings are sorted by time, and then taken as an
// ordered log without disorder.
type spill struct {
	ifaces map[string]*Interface
	// until is the end of the step whose sightings go to their groups; those
	// that end later are in later, by the number of their step.
	until  int64
	later  map[int64]*sorter[sighting]
	parked map[int64]*sorter[parkedGroup] // by the number of the stock
	// parkedKeys are the hashes of the keys of parked groups. What more comes to
	// one stays in memory until that is back.
	parkedKeys map[uint64]bool
	all        *sorter[sighting] // of a log that is not ordered
	added      int64             // sightings and groups
	err        error             // the first one of the files
}

// A parkedGroup is a group of one connection that waits for its end.
type parkedGroup struct {
	iface    *Interface
	tuple    flow.Tuple
	headers  []header
	windows  []window
	accepted bool
}

// groupSize is about what a group takes, with its place in the table, and the
// leg that it becomes.
const groupSize = int64(unsafe.Sizeof(group{}) + 2*unsafe.Sizeof(groupSlot{}) + unsafe.Sizeof(Leg{}) + unsafe.Sizeof(Connection{}))

// size is about how many bytes the groups take.
func (c *collector) size() int64 {
	return int64(c.groups.n)*groupSize + 2*int64(c.held)*int64(unsafe.Sizeof(window{}))
}

// makeRoom has the collector spill from now on, if it takes too much memory.
func (a *assembler) makeRoom() {
	c := a.collector
	if a.memory == 0 || c.spill != nil || c.size() < a.memory {
		return
	}
	c.spill = &spill{ifaces: c.interfaces, until: a.stock + step, later: map[int64]*sorter[sighting]{}, parked: map[int64]*sorter[parkedGroup]{}, parkedKeys: map[uint64]bool{}}
	if !c.ordered {
		c.spill.all = newSorter(func(x, y sighting) int { return 0 }, c.spill.sighting, math.MaxInt)
		c.empty()
	}
}

// empty spills all groups, of which no stock was taken yet.
func (c *collector) empty() {
	c.flush()
	c.groups.all(func(g *group) {
		for _, w := range g.windows {
			c.spill.all.add(sighting{iface: g.key.iface, tuple: g.key.tuple, header: g.headerOf(w), window: w})
		}
	})
	c.groups, c.due, c.inParts, c.fresh, c.held = newGroupTable(), map[int64]*group{}, nil, map[int64][]*group{}, 0
}

// headerOf returns the header addresses of one of the group's windows.
func (g *group) headerOf(w window) header {
	if w.header < 0 {
		return header{}
	}
	return g.headers[w.header]
}

// take puts a sighting to its group, now or when its time has come.
func (c *collector) take(s *sighting) {
	switch {
	case c.spill == nil:
		c.put(s)
	case c.spill.all != nil:
		c.spill.all.add(*s)
	case s.window.end < c.spill.until:
		c.put(s)
	default:
		n := s.window.end / step
		if c.spill.later[n] == nil {
			c.spill.later[n] = newSorter(func(x, y sighting) int { return 0 }, c.spill.sighting, math.MaxInt)
		}
		c.spill.later[n].add(*s)
	}
}

// open takes the sightings that end before until, a multiple of step, to their
// groups, when stock was taken at the step before.
func (c *collector) open(until int64) {
	if c.spill == nil || c.spill.all != nil {
		return
	}
	c.park(until - step)
	c.spill.until = until
	for n, s := range c.spill.later {
		if n*step >= until {
			continue
		}
		delete(c.spill.later, n)
		for x := range s.all() {
			c.put(&x)
		}
		c.spill.closeFile(s.err, s.close)
	}
}

// park spills groups to which no sighting comes any more that ends before
// them, when all are known that end before seen.
func (c *collector) park(seen int64) {
	c.flush()
	lists := slices.Collect(maps.Values(c.due))
	clear(c.due)
	for _, g := range lists {
		for next := g; next != nil; {
			g, next = next, next.next
			g.queued = false
			switch {
			case g.removed:
				c.groups.recycle(g)
			case g.parts:
			case g.lastEnd < seen && g.freshAt == notFresh && !c.spill.parkedKeys[g.hash]:
				c.spill.park(g)
				c.held -= len(g.windows)
				c.drop(g)
			default:
				c.queue(g)
			}
		}
	}
}

func (s *spill) park(g *group) {
	s.parkedKeys[g.hash] = true
	n := stockOf(g.lastEnd)
	if s.parked[n] == nil {
		s.parked[n] = newSorter(func(x, y parkedGroup) int { return 0 }, s.group, math.MaxInt)
	}
	s.parked[n].add(parkedGroup{g.key.iface, g.key.tuple, g.headers, g.windows, g.accepted})
}

// unpark takes the groups back that are over at limit, the time of a stock less
// stillOpen, unless more has come to them.
func (c *collector) unpark(limit int64) {
	if c.spill == nil {
		return
	}
	for n, s := range c.spill.parked {
		if limit < forever && n*step > limit+stillOpen {
			continue
		}
		delete(c.spill.parked, n)
		for p := range s.all() {
			c.unparkGroup(p)
		}
		c.spill.closeFile(s.err, s.close)
	}
}

func (c *collector) unparkGroup(p parkedGroup) {
	k := groupKey{p.iface, p.tuple}
	h := k.hash()
	delete(c.spill.parkedKeys, h)
	g := c.groups.get(k, h)
	g.counted = true
	for _, w := range p.windows {
		if w.header >= 0 {
			w.header = g.number(p.headers[w.header])
		}
		g.add(w)
	}
	g.accepted = g.accepted || p.accepted
	c.held += len(p.windows)
	c.queue(g)
}

// readSpilled takes what was spilled, in order of time, when all records are
// read.
func (a *assembler) readSpilled() {
	s := a.collector.spill
	switch {
	case s == nil:
	case s.all == nil:
		if len(s.later) > 0 {
			a.advance((slices.Max(slices.Collect(maps.Keys(s.later))) + 1) * step)
		}
	default:
		all := s.all
		s.all = nil
		for x := range all.all() {
			a.advance(x.window.end)
			a.collector.put(&x)
		}
		s.closeFile(all.err, all.close)
	}
}

// isEmpty reports whether nothing is spilled that the next stocks need.
func (s *spill) isEmpty() bool { return s == nil || len(s.later) == 0 && len(s.parked) == 0 }

// closeFile removes a file that was read to its end, or with an error.
func (s *spill) closeFile(err error, remove func()) {
	s.err = cmp.Or(s.err, err)
	remove()
}

// close removes all files.
func (s *spill) close() {
	if s == nil {
		return
	}
	for _, l := range s.later {
		l.close()
	}
	for _, p := range s.parked {
		p.close()
	}
	if s.all != nil {
		s.all.close()
	}
}

// sighting passes a sighting to a coder.
func (s *spill) sighting(c *coder, v *sighting) {
	end := v.window.end
	c.unix(&end)
	s.number(c)
	s.iface(c, &v.iface)
	c.tuple(&v.tuple)
	v.header.code(c)
	v.window.code(c, window{})
}

// group passes a group to a coder.
func (s *spill) group(c *coder, v *parkedGroup) {
	s.number(c)
	s.iface(c, &v.iface)
	c.tuple(&v.tuple)
	items(c, &v.headers, func(h *header) { h.code(c) })
	last := window{}
	items(c, &v.windows, func(w *window) {
		w.code(c, last)
		last = *w
		if w.header >= int32(len(v.headers)) {
			c.fail()
		}
	})
	c.bool(&v.accepted)
}

// number ends a key that no other value has, so that values need not be read to
// be compared.
func (s *spill) number(c *coder) {
	n := s.added
	c.unix(&n)
	c.endKey()
	s.added++
}

func (h *header) code(c *coder) {
	c.addr(&h.src)
	c.addr(&h.dst)
}

func (s *spill) iface(c *coder, v **Interface) {
	var id string
	if !c.reading {
		id = (*v).ID
	}
	if c.name(&id); c.reading {
		if *v = s.ifaces[id]; *v == nil {
			c.fail()
		}
	}
}
