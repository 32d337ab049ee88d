package traffic

import (
	"math/rand/v2"

	"ephemera/ingest/flow"
)

// kind is a kind of traffic.
type kind uint8

const (
	internal kind = iota // between the VPC's interfaces
	inbound              // from the internet to the load balancers
	outbound             // HTTPS through the NAT gateways
	datagram             // time and system logs, UDP
	ftp
	denied // REJECT records, those of FTP included
	numKinds
)

// shares are the kinds' records in thousandths of all with traffic.
var shares = [numKinds]int{internal: 520, inbound: 165, outbound: 235, datagram: 40, ftp: 10, denied: 30}

const (
	roundSeconds = 60
	// maxLife bounds how long a connection lasts, in milliseconds.
	maxLife = 4 * 3600 * 1000
)

// world is the traffic as it goes on.
type world struct {
	rnd     *rand.Rand
	net     *network
	from    int64 // Unix seconds
	to      int64
	spreads *spreads
	peers   *peers

	open   []*conn
	claims map[claim]struct{}

	// due is how many records of each kind are missing so far, times a
	// thousand times the number of rounds.
	due     [numKinds]int64
	records int64

	seen    []bool // interfaces that had traffic in this round
	pending [3]object
	first   int // the object that is pending first
}

func newWorld(rnd *rand.Rand, n *network, c Config) *world {
	w := &world{
		rnd: rnd, net: n, from: c.Start.Unix(), to: c.Start.Add(c.Duration).Unix(),
		spreads: newSpreads(), peers: newPeers(rnd, n), records: int64(c.Records),
		claims: make(map[claim]struct{}), seen: make([]bool, len(n.interfaces)),
	}
	for k := range w.pending {
		w.pending[k] = w.object(k)
	}
	return w
}

// run hands the objects over, in their order. It begins before the log
// does, with what is still open then, and ends when the last window has.
func (w *world) run(write func(object)) {
	for now := w.from - maxLife/1000; now <= w.to; now += roundSeconds {
		w.start(now)
		if now < w.from {
			continue
		}
		w.emit(now)
		w.retire(now * 1000)
		// The next round's windows begin now, at the earliest.
		for w.first < w.objects() && now >= w.from+int64(w.first+1)*objectSeconds {
			w.deliver(write)
		}
	}
}

func (w *world) objects() int { return int((w.to - w.from) / objectSeconds) }

// start starts what begins in this round, as much as is due.
func (w *world) start(now int64) {
	rounds := (w.to - w.from) / roundSeconds
	for k := range w.due {
		w.due[k] += w.records * int64(shares[k])
	}
	for k := range numKinds {
		for w.due[k] > 0 {
			at := now*1000 + w.rnd.Int64N(roundSeconds*1000)
			for _, c := range w.make(k, at) {
				w.account(c, 1000*rounds, k)
			}
		}
	}
}

// account takes the records of c off those that are due, and keeps c if it
// is to be seen. A connection that was stopped counts as denied with one of
// its points, with the others as its kind.
func (w *world) account(c *conn, unit int64, k kind) {
	rejects := 0
	if last := &c.points[len(c.points)-1]; last.reject {
		stopped := *c
		stopped.points = c.points[len(c.points)-1:]
		rejects = stopped.records(w.net, 0, maxTime)
	}
	if k == denied {
		k = internal // of it are the records before the one that says so
	}
	w.due[denied] -= int64(rejects) * unit
	w.due[k] -= int64(c.records(w.net, 0, maxTime)-rejects) * unit
	if c.end() >= w.from*1000 {
		w.open = append(w.open, c)
		return
	}
	w.release(c)
}

const maxTime = 1 << 62

func (w *world) make(k kind, at int64) []*conn {
	switch k {
	case internal:
		return []*conn{w.internal(at)}
	case inbound:
		return []*conn{w.inbound(at)}
	case outbound:
		return []*conn{w.outbound(at)}
	case datagram:
		return []*conn{w.datagram(at)}
	case ftp:
		return w.session(at)
	}
	return []*conn{w.denied(at)}
}

// emit makes the records of the windows that end in this round: one of each
// interface.
func (w *world) emit(now int64) {
	clear(w.seen)
	var r record
	for _, c := range w.open {
		for i := range c.points {
			p := &c.points[i]
			end := (now + w.net.interfaces[p.iface].phase) * 1000
			if c.begin() < end && c.record(p, end-windowMillis, end, &r) {
				w.seen[p.iface] = true
				w.keep(&r)
			}
		}
	}
	for k, i := range w.net.interfaces {
		if !w.seen[k] {
			end := now + i.phase
			w.keep(&record{start: end - roundSeconds, end: end - 1, iface: uint16(k), noData: true})
		}
	}
}

// keep puts r into the object that holds the time of its end.
func (w *world) keep(r *record) {
	if r.end < w.from || r.end >= w.to {
		return
	}
	o := &w.pending[int((r.end-w.from)/objectSeconds)-w.first]
	o.records = append(o.records, *r)
}

// retire forgets what all points have seen to its end.
func (w *world) retire(now int64) {
	kept := w.open[:0]
	for _, c := range w.open {
		if c.end() < now {
			w.release(c)
			continue
		}
		kept = append(kept, c)
	}
	clear(w.open[len(kept):])
	w.open = kept
}

func (w *world) object(k int) object {
	return object{start: w.from + int64(k)*objectSeconds, hash: w.rnd.Uint32()}
}

// deliver hands over the first pending object.
func (w *world) deliver(write func(object)) {
	o := w.pending[0]
	o.records = w.shuffled(o.records)
	write(o)
	copy(w.pending[:], w.pending[1:])
	w.first++
	w.pending[len(w.pending)-1] = w.object(w.first + len(w.pending) - 1)
}

// shuffled returns the records of one interface behind those of another, the
// interfaces in a random order, and so the records of each.
func (w *world) shuffled(records []record) []record {
	w.rnd.Shuffle(len(records), func(a, b int) { records[a], records[b] = records[b], records[a] })
	counts := make([]int, len(w.net.interfaces))
	for i := range records {
		counts[records[i].iface]++
	}
	next, at := make([]int, len(counts)), 0
	for _, k := range w.rnd.Perm(len(counts)) {
		next[k] = at
		at += counts[k]
	}
	out := make([]record, len(records))
	for i := range records {
		k := records[i].iface
		out[next[k]] = records[i]
		next[k]++
	}
	return out
}

// A claim is a port that is in use: of a host or NAT gateway, towards a
// server's address and port.
type claim struct {
	from, to         uint32
	fromPort, toPort uint16
	proto            flow.Proto
}

// claim takes a free port from lo to hi for c. Where nearly all are taken it
// takes them anyway, after a hundred tries.
func (w *world) claim(c *conn, from, to uint32, toPort, lo, hi uint16) uint16 {
	k := claim{from: from, to: to, toPort: toPort, proto: c.proto}
	for range 100 {
		k.fromPort = lo + uint16(w.rnd.IntN(int(hi-lo)+1))
		if _, taken := w.claims[k]; !taken {
			break
		}
	}
	w.claims[k] = struct{}{}
	c.claims = append(c.claims, k)
	return k.fromPort
}

func (w *world) release(c *conn) {
	for _, k := range c.claims {
		delete(w.claims, k)
	}
}
