package questions

import (
	"math"

	"ephemera/ingest/flow"
)

// held is a record that waits until it is known whether it is part of the
// answer, in 32 bytes: what nearly all records are.
type held struct {
	hosts uint64
	flow  uint64
	// packets takes the lower half, the start in Unix seconds the upper.
	startPackets uint64
	// bytes take the lower 46 bits, end-start the next 16, the action the
	// upper two.
	actionSpanBytes uint64
}

// heldWide is a record that does not fit into held: of IPv6, or with figures
// out of the ordinary.
type heldWide struct {
	key  key16
	sums sums
}

const (
	maxHeldBytes = 1<<46 - 1
	maxHeldSpan  = 1<<16 - 1
)

// pack returns r as held, and whether it fits.
func pack(interfaceNumber uint32, r *flow.Record) (held, bool) {
	src, dst, ok := ipv4(r.Src, r.Dst)
	span := uint64(r.End) - uint64(r.Start) // huge where End is before Start
	if !ok || uint64(r.Start)|r.Packets > math.MaxUint32 || span > maxHeldSpan || r.Bytes > maxHeldBytes {
		return held{}, false
	}
	return held{
		hosts:           packHosts(src, dst),
		flow:            packFlow(interfaceNumber, r.SrcPort, r.DstPort),
		startPackets:    uint64(r.Start)<<32 | r.Packets,
		actionSpanBytes: uint64(r.Action)<<62 | span<<46 | r.Bytes,
	}, true
}

func (h *held) start() int64    { return int64(h.startPackets >> 32) }
func (h *held) end() int64      { return h.start() + int64(h.actionSpanBytes>>46&maxHeldSpan) }
func (h *held) packets() uint64 { return uint64(uint32(h.startPackets)) }
func (h *held) bytes() uint64   { return h.actionSpanBytes & maxHeldBytes }
func (h *held) action() flow.Action {
	return flow.Action(h.actionSpanBytes >> 62)
}

func (h *held) key() key4 {
	return key4{h.hosts, h.flow, packKind(flow.TCP, h.action())}
}

func (h *held) sums() sums {
	return sums{1, h.packets(), h.bytes(), h.start(), h.end()}
}

// queue holds records in the order of their coming, in chunks that are used
// again once they were taken out.
type queue struct {
	chunkLen int
	chunks   []*heldChunk // the last one is being filled
	free     []*heldChunk
}

// heldChunk is some thousand records that came one after the other.
type heldChunk struct {
	narrow []held
	wide   []heldWide
	newest int64 // the greatest end
}

// heldLen is the length of chunks, 128 KB of narrow records: short against
// the traffic of half an hour, long against what a chunk costs.
const heldLen = 4096

// add puts r at the end, and reports whether that began a new chunk.
func (q *queue) add(interfaceNumber uint32, r *flow.Record) bool {
	c, isNew := q.last()
	c.newest = max(c.newest, r.End)
	if h, ok := pack(interfaceNumber, r); ok {
		c.narrow = append(c.narrow, h)
		return isNew
	}
	c.wide = append(c.wide, heldWide{
		key16{r.Src, r.Dst, packFlow(interfaceNumber, r.SrcPort, r.DstPort), packKind(r.Proto, r.Action)},
		sums{1, r.Packets, r.Bytes, r.Start, r.End},
	})
	return isNew
}

// last returns the chunk that has room, and whether it was put there for it.
func (q *queue) last() (*heldChunk, bool) {
	if n := len(q.chunks); n > 0 {
		if c := q.chunks[n-1]; len(c.narrow) < q.chunkLen && len(c.wide) < q.chunkLen {
			return c, false
		}
	}
	c := q.spare()
	q.chunks = append(q.chunks, c)
	return c, true
}

func (q *queue) spare() *heldChunk {
	if n := len(q.free); n > 0 {
		c := q.free[n-1]
		q.free = q.free[:n-1]
		return c
	}
	return &heldChunk{narrow: make([]held, 0, q.chunkLen), newest: math.MinInt64}
}

// take passes chunks from the front to decide, as long as all their records
// end before end.
func (q *queue) take(end int64, decide func(*heldChunk)) {
	n := 0
	for ; n < len(q.chunks) && q.chunks[n].newest < end; n++ {
		c := q.chunks[n]
		decide(c)
		c.narrow, c.wide, c.newest = c.narrow[:0], c.wide[:0], math.MinInt64
		q.free = append(q.free, c)
	}
	q.chunks = q.chunks[:copy(q.chunks, q.chunks[n:])]
}
