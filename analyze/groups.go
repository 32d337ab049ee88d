package analyze

import (
	"math/rand/v2"

	"ephemera/ingest/flow"
)

// groupTable finds groups by their key. A Go map does the same, at twice the
// cost: it hashes 56 bytes where a few multiplications do, and hands the key
// and the pointer over each time. Every record is looked up once, so this is
// where a good part of an analysis' time goes.
//
// It is open addressing with linear probing. Groups lie in chunks that never
// move; those that are removed are used again.
type groupTable struct {
	slots []groupSlot // a power of two; at most three quarters are taken
	n     int
	free  []*group
	fresh []group // the rest of the last chunk
}

// groupSlot holds the hash beside the group, so that a probe leaves the other
// groups on its way alone. The group is nil in a slot that is not taken.
type groupSlot struct {
	hash uint64
	*group
}

// groupChunk is how many groups are allocated at once.
const groupChunk = 256

func newGroupTable() *groupTable { return &groupTable{slots: make([]groupSlot, 1024)} }

func (k groupKey) hash() uint64 { return k.tuple.TableHash(tableSeed + uint64(k.iface.number)<<40) }

// tableSeed is another one in every run, so that nobody can make traffic that
// slows the tables down, or that one takes for other traffic.
var tableSeed = rand.Uint64()

// touch loads what get will want, without waiting for it: of several calls in
// a row the misses overlap, and cost a third. What it returns is of no use but
// to keep the compiler from leaving it out.
func (t *groupTable) touch(h uint64) int64 {
	if g := t.slots[h&uint64(len(t.slots)-1)].group; g != nil {
		return g.lastEnd + int64(g.key.tuple.SrcPort)
	}
	return 0
}

// get returns the group of a key with the hash h.
func (t *groupTable) get(k groupKey, h uint64) *group {
	mask := uint64(len(t.slots) - 1)
	i := h & mask
	for ; t.slots[i].group != nil; i = (i + 1) & mask {
		if s := &t.slots[i]; s.hash == h && s.key == k {
			return s.group
		}
	}
	g := t.make(k)
	g.hash = h
	t.slots[i] = groupSlot{h, g}
	if t.n++; 4*t.n > 3*len(t.slots) {
		t.grow()
	}
	return g
}

func (t *groupTable) make(k groupKey) *group {
	var g *group
	if n := len(t.free); n > 0 {
		g = t.free[n-1]
		t.free = t.free[:n-1]
	} else {
		if len(t.fresh) == 0 {
			t.fresh = make([]group, groupChunk)
		}
		g = &t.fresh[0]
		t.fresh = t.fresh[1:]
	}
	*g = group{key: k, freshAt: notFresh}
	g.windows = g.first[:0]
	return g
}

func (t *groupTable) grow() {
	old := t.slots
	t.slots = make([]groupSlot, 2*len(old))
	mask := uint64(len(t.slots) - 1)
	for _, s := range old {
		if s.group == nil {
			continue
		}
		i := s.hash & mask
		for t.slots[i].group != nil {
			i = (i + 1) & mask
		}
		t.slots[i] = s
	}
}

// remove takes a group out. It is not used again before recycle.
func (t *groupTable) remove(g *group) {
	mask := uint64(len(t.slots) - 1)
	i := g.hash & mask
	for t.slots[i].group != g {
		i = (i + 1) & mask
	}
	// What comes behind moves up, unless it would leave the way to it.
	for j := (i + 1) & mask; t.slots[j].group != nil; j = (j + 1) & mask {
		if home := t.slots[j].hash & mask; (j-home)&mask >= (j-i)&mask {
			t.slots[i] = t.slots[j]
			i = j
		}
	}
	t.slots[i] = groupSlot{}
	t.n--
}

// recycle gives a removed group back, that nobody points to any more.
func (t *groupTable) recycle(g *group) { t.free = append(t.free, g) }

// all calls visit for every group, in no order.
func (t *groupTable) all(visit func(*group)) {
	for _, s := range t.slots {
		if s.group != nil {
			visit(s.group)
		}
	}
}

// add puts a window in, and keeps up what the group knows of its windows.
func (g *group) add(w window) {
	if len(g.windows) == 0 {
		g.log, g.firstStart, g.firstEnd, g.lastEnd = w.log, w.start, w.end, w.end
		g.firstClose, g.lastSYN = forever, 0
	}
	// A silence shows when a window is put before or behind all others; one
	// between them makes none.
	if w.start-g.lastEnd > silenceTCP || g.firstStart-w.end > silenceTCP || w.log != g.log || len(g.headers) > 1 {
		g.parts = true
	}
	g.firstStart, g.firstEnd, g.lastEnd = min(g.firstStart, w.start), min(g.firstEnd, w.end), max(g.lastEnd, w.end)
	if w.closes() {
		g.firstClose = min(g.firstClose, w.end)
	}
	if w.flags.Has(flow.SYN) {
		g.lastSYN = max(g.lastSYN, w.start)
	}
	if g.lastSYN-reuseAfterClose > g.firstClose {
		g.parts = true
	}
	g.windows = append(g.windows, w)
}
