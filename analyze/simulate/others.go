package simulate

import (
	"time"

	"ephemera/ingest/flow"
)

// once is an actor that acts once.
type once func(at time.Duration)

func (f once) act(at time.Duration) time.Duration {
	f(at)
	return never
}

// plan draws when everything begins.
func (w *world) plan() {
	left := w.Sessions
	for range w.BruteForce {
		n := min(left/2, w.between(120, 400))
		w.bruteForce(n)
		left -= n
	}
	warm := min(w.Duration/10, 10*time.Minute)
	for left > 0 {
		n := w.Parallelism
		if !w.All {
			n = w.between(1, n)
		}
		n = min(n, left)
		left -= n
		at := w.within(w.Duration+warm) - warm
		if w.chance(w.Cron) {
			at = at.Truncate(time.Minute) + w.about(700*time.Millisecond, 1)
		}
		w.batch(at, n)
	}
	for range int(w.Scans * float64(w.Sessions)) {
		w.start(w.within(w.Duration), once(w.scan))
	}
}

// batch plans sessions that one client opens at once at one server.
func (w *world) batch(at time.Duration, n int) {
	c, s := pick(w, w.clients), pick(w, w.servers)
	h := w.habit(c, s)
	pace := w.about(120*time.Millisecond, 1)
	decoys := int(w.Decoys*float64(n) + w.rnd.Float64())
	for range decoys {
		w.start(max(at, 0)+w.about(10*time.Second, 1.5), once(func(at time.Duration) { w.decoy(at, c, s) }))
	}
	for range n {
		x := &session{w: w, client: c, server: s, habit: h, pause: -1}
		if w.Transfers > 0 && !w.chance(0.05) {
			x.left = int(w.spread(w.Transfers, 0.7) + 0.5)
		}
		if w.chance(w.Idle) {
			x.pause = w.rnd.IntN(x.left + 1)
		}
		w.start(at, x)
		at += w.about(pace, 0.7)
	}
}

// bruteForce plans failing logins of one client at one server.
func (w *world) bruteForce(n int) {
	c, s := pick(w, w.clients), pick(w, w.servers)
	h := *w.habit(c, s)
	at := w.within(w.Duration)
	for range n {
		w.start(at, &session{w: w, client: c, server: s, habit: &h, pause: -1, guess: true})
		at += w.about(time.Minute/time.Duration(n), 0.5)
	}
}

// decoy makes a connection that is not FTP, of a client that has to do with
// an FTP server.
func (w *world) decoy(at time.Duration, c *client, s *server) {
	to := place{s.addr, pick(w, s.services)}
	if c.v6 {
		to.addr = s.v6
	}
	switch x := w.rnd.Float64(); {
	case x < 0.45:
		w.other(HTTP, w.http(at, c, to, s.path))
	case x < 0.5:
		w.other(LongLived, w.longLived(at, c, to, s.path))
	case x < 0.8 && !c.v6:
		w.other(HTTPS, w.https(at, c, place{pick(w, w.elsewhere), 443}))
	case !c.v6:
		w.other(DNS, w.dns(at, c, place{w.elsewhere[0], 53}))
	}
}

func (w *world) other(kind string, wire int32) {
	w.log.wires[wire].other = int32(len(w.traffic.Others)) + 1
	w.traffic.Others = append(w.traffic.Others, Other{Kind: kind})
}

// http makes a connection with some requests and responses.
func (w *world) http(at time.Duration, c *client, to place, p path) int32 {
	k, at := w.dial(at, c, to, p, false, time.Minute)
	if k.blocked {
		return k.wire
	}
	for range 1 + int(w.rnd.ExpFloat64()) {
		k.send(up, at, w.between(80, 900))
		at += k.rtt + w.about(5*time.Millisecond, 1)
		at = k.bulk(down, at, int64(w.spread(3000, 1.6))+200, 5e6)
		at += w.about(50*time.Millisecond, 1.5)
	}
	k.fin(pick(w, []way{up, down}), at, w.about(time.Millisecond, 1))
	return k.wire
}

// longLived makes a connection with a message now and then, as agents and
// databases have it.
func (w *world) longLived(at time.Duration, c *client, to place, p path) int32 {
	end := at + w.about(20*time.Minute, 1.2)
	step := 5*time.Second + w.within(55*time.Second)
	k, at := w.dial(at, c, to, p, false, time.Minute)
	if k.blocked {
		return k.wire
	}
	for ; at < end; at += w.about(step, 0.1) {
		k.send(up, at, w.between(20, 300))
		k.send(down, at+k.rtt+w.about(time.Millisecond, 1), w.between(20, 300))
	}
	k.fin(up, at, w.about(time.Millisecond, 1))
	return k.wire
}

// https makes a connection with TLS.
func (w *world) https(at time.Duration, c *client, to place) int32 {
	k, at := w.dial(at, c, to, path{rtt: 5*time.Millisecond + w.within(w.RTT), system: Linux}, false, time.Minute)
	if k.blocked {
		return k.wire
	}
	k.send(up, at, 517)
	at += k.rtt + w.about(2*time.Millisecond, 0.5)
	k.send(down, at, w.between(2500, 5200))
	k.send(up, at, 80)
	for range 1 + int(2*w.rnd.ExpFloat64()) {
		k.send(up, at, w.between(100, 1500))
		at = k.bulk(down, at+k.rtt+w.about(20*time.Millisecond, 1), int64(w.spread(8000, 1.8)), 10e6)
		at += w.about(200*time.Millisecond, 2)
	}
	k.fin(up, at, w.about(time.Millisecond, 1))
	return k.wire
}

// dns makes a question and its answer.
func (w *world) dns(at time.Duration, c *client, to place) int32 {
	k := w.newWire(c, wire{
		tuple: flow.Tuple{Src: c.addr, SrcPort: uint16(w.between(1024, 65535)), Dst: to.addr, DstPort: to.port, Proto: flow.UDP},
		host:  c, gateway: c.gateway, first: at,
	}, at)
	if x := &w.log.wires[k.wire]; c.gateway.denies(x.natPort) {
		k.taps[down][0].reject()
	}
	k.packet(up, at, w.between(55, 90), 0)
	k.packet(down, at+10*time.Millisecond, w.between(80, 400), 0)
	k.close(at + 10*time.Millisecond)
	return k.wire
}

// scan makes a probe of a NAT gateway from the internet.
func (w *world) scan(at time.Duration) {
	g := pick(w, w.gateways)
	from := place{flow.AddrFrom4(uint32(w.between(0x50000000, 0x5fffffff))), uint16(w.between(1024, 65535))}
	port := uint16(w.between(1, 65535))
	if w.chance(0.5) {
		port = pick(w, []uint16{21, 22, 23, 80, 443, 3389, 8080, 990, 2121})
	}
	patience := time.Second
	if w.chance(0.3) {
		patience = 8 * time.Second
	}
	w.other(Scan, w.knock(at, patience, g, from, place{pick(w, g.addrs), port}, Linux))
}

// knock makes SYNs from the internet to a NAT gateway, which drops them.
func (w *world) knock(at, patience time.Duration, g *gateway, from, to place, system System) int32 {
	k := &conn{w: w, wire: int32(len(w.log.wires)), points: 1, ip: 20, system: stacks[system], last: at, passed: [2]time.Duration{at, at}}
	w.log.wires = append(w.log.wires, wire{
		tuple:   flow.Tuple{Src: from.addr, SrcPort: from.port, Dst: to.addr, DstPort: to.port, Proto: flow.TCP},
		gateway: g, first: at,
	})
	k.taps[up][0] = k.tap(p4, g.iface, 0)
	if g.denies(to.port) {
		k.taps[up][0].reject()
	}
	for _, t := range k.system.synAt {
		if t < patience {
			k.packet(up, at+t, k.syn(), flow.SYN)
		}
	}
	k.close(k.last)
	return k.wire
}

// finish puts the log and the truth together.
func (w *world) finish() {
	t := w.traffic
	t.Records = w.log.deliver()
	sessions := make([]int, len(t.Sessions))
	t.Sessions = keepSeen(w, t.Sessions, func(x *wire) int32 { return x.session }, func(s *Session, x *wire) {
		s.Ends, s.Life, s.NATAddr, s.NATPort = x.tuple, x.life(w), x.natAddr, x.natPort
	}, sessions)
	t.Data = keepSeen(w, t.Data, func(x *wire) int32 { return x.data }, func(d *DataConnection, x *wire) {
		d.Ends, d.Life, d.NATAddr, d.NATPort = x.tuple, x.life(w), x.natAddr, x.natPort
		d.Session = sessions[d.Session]
	}, nil)
	t.Others = keepSeen(w, t.Others, func(x *wire) int32 { return x.other }, func(o *Other, x *wire) {
		o.Ends, o.Life = x.tuple, x.life(w)
	}, nil)
	for i := range w.log.wires {
		if x := &w.log.wires[i]; x.host != nil && x.gateway != nil && x.visible(w) && !x.stopped {
			t.Mappings = append(t.Mappings, Mapping{x.tuple, x.life(w), x.natAddr, x.gateway.addrs[0], x.natPort})
		}
	}
}

// visible tells whether the log can have a record of the connection: late
// ones tell of what was before.
func (x *wire) visible(w *world) bool { return x.first < w.Duration && x.last >= -w.Late-w.Window }

func (x *wire) life(w *world) Life {
	return Life{Start: unix(x.first), End: unix(x.last), Records: int(x.records), Cut: x.first < 0 || x.last >= w.Duration}
}

// keepSeen completes the rows of a table of the truth from their wires, and
// drops those that the log cannot hold. Moved, if not nil, takes where each
// row went, -1 if it was dropped.
func keepSeen[T any](w *world, rows []T, index func(*wire) int32, complete func(*T, *wire), moved []int) []T {
	visible := make([]bool, len(rows))
	for i := range w.log.wires {
		x := &w.log.wires[i]
		if n := index(x) - 1; n >= 0 && x.visible(w) {
			complete(&rows[n], x)
			visible[n] = true
		}
	}
	kept := rows[:0]
	for n := range rows {
		if moved != nil {
			moved[n] = -1
		}
		if visible[n] {
			if moved != nil {
				moved[n] = len(kept)
			}
			kept = append(kept, rows[n])
		}
	}
	return kept
}
