package traffic

import "ephemera/ingest/flow"

// record is a flow log record, in as few bytes as will do: there are two
// objects of them in memory.
type record struct {
	start, end          int64 // Unix seconds
	bytes               uint64
	packets             uint32
	src, dst            uint32
	pktSrc, pktDst      uint32
	iface               uint16
	srcPort, dstPort    uint16
	proto               flow.Proto
	flags               flow.TCPFlags
	path                uint8 // traffic path; 0 for ingress
	reject, noData, ftp bool
}

// A point is where a connection is seen in one of its directions.
type point struct {
	src, dst         uint32
	pktSrc, pktDst   uint32
	srcPort, dstPort uint16
	iface            uint16
	way              way
	path             uint8 // traffic path; 0 for ingress
	reject           bool
}

// way is the direction of packets as the connection's initiator sees it.
type way uint8

const (
	forth way = iota
	back
)

// A burst is packets that are spread evenly over a time; the first is at its
// beginning, the last at its end.
type burst struct {
	from, to int64 // Unix milliseconds
	packets  [2]int64
	bytes    [2]int64
}

// passed returns how many packets have passed before the time at.
func (b *burst) passed(w way, at int64) int64 {
	n := b.packets[w]
	switch {
	case at <= b.from || n == 0:
		return 0
	case at > b.to:
		return n
	case n == 1:
		return 1
	}
	// Packet k passes at from + k*life/(n-1), so k packets have passed when
	// that is at or behind at.
	life := b.to - b.from
	return ((at-b.from)*(n-1) + life - 1) / life
}

// at is when packet k passes.
func (b *burst) at(w way, k int64) int64 {
	if b.packets[w] == 1 {
		return b.from
	}
	return b.from + k*(b.to-b.from)/(b.packets[w]-1)
}

// sum is the bytes in the first k packets.
func (b *burst) sum(w way, k int64) int64 { return b.bytes[w] * k / b.packets[w] }

// A conn is a connection, or packets that were answered by nobody.
type conn struct {
	points []point
	bursts []burst // in the order of time
	claims []claim // its ports
	proto  flow.Proto
	ftp    bool

	// The first and the last packet of a way have these flags, and every
	// packet those of all.
	open, close [2]flow.TCPFlags
	all         flow.TCPFlags
}

func (c *conn) begin() int64 { return c.bursts[0].from }
func (c *conn) end() int64   { return c.bursts[len(c.bursts)-1].to }

// sight is what a point sees of a way within a window.
type sight struct {
	packets, bytes int64
	first, last    int64 // Unix milliseconds
	flags          flow.TCPFlags
}

// seen returns what passes from the time from on, before the time to.
func (c *conn) seen(w way, from, to int64) sight {
	var s sight
	for i := range c.bursts {
		b := &c.bursts[i]
		if b.from >= to {
			break
		}
		k, end := b.passed(w, from), b.passed(w, to)
		if k == end {
			continue
		}
		if s.packets == 0 {
			s.first, s.flags = b.at(w, k), c.all
		}
		s.last = b.at(w, end-1)
		s.packets += end - k
		s.bytes += b.sum(w, end) - b.sum(w, k)
		if i == 0 && k == 0 {
			s.flags |= c.open[w]
		}
		if i == len(c.bursts)-1 && end == b.packets[w] {
			s.flags |= c.close[w]
		}
	}
	return s
}

const windowMillis = 60_000

// records returns how many records the connection makes between two times.
func (c *conn) records(n *network, from, to int64) int {
	count := 0
	for i := range c.points {
		p := &c.points[i]
		phase := n.interfaces[p.iface].phase * 1000
		at := max(c.begin(), from)
		for at -= (at - phase) % windowMillis; at <= c.end() && at < to; at += windowMillis {
			if s := c.seen(p.way, at, at+windowMillis); s.packets > 0 && s.last >= from && s.last < to {
				count++
			}
		}
	}
	return count
}

// record makes the record of a point's window, if the point saw packets.
func (c *conn) record(p *point, from, to int64, r *record) bool {
	s := c.seen(p.way, from, to)
	if s.packets == 0 {
		return false
	}
	*r = record{
		start: s.first / 1000, end: s.last / 1000, bytes: uint64(s.bytes), packets: uint32(s.packets),
		src: p.src, dst: p.dst, pktSrc: p.pktSrc, pktDst: p.pktDst, iface: p.iface, srcPort: p.srcPort, dstPort: p.dstPort,
		proto: c.proto, flags: s.flags, path: p.path, reject: p.reject, ftp: c.ftp,
	}
	return true
}
