package simulate

import (
	"math"
	"time"

	"ephemera/ingest/flow"
)

// A way is one direction of a connection.
type way uint8

const (
	up   way = iota // from the end that opens it
	down            // back
)

// A conn is a connection between a client in the VPC and a server. All its
// times are those at the client's interface: a packet up at its sending, one
// down at its arrival. The server's doings are a round trip further on.
type conn struct {
	w      *world
	wire   int32
	nat    bool
	taps   [2][3]tap // by way, in the order in which packets pass
	points int       // taps of each way
	ends   [2]endpoint
	passed [2]time.Duration // when the last packet passed, by way
	last   time.Duration
	rtt    time.Duration
	header int // bytes of IP and TCP headers
	mss    int // payload of a full segment
	ip     int // bytes of the IP header
	system stack
	// blocked tells that no connection comes about.
	blocked bool
}

// An endpoint is what one end of a connection knows of the segments that it
// has to acknowledge.
type endpoint struct {
	delay   time.Duration // of acknowledgements, when there is nothing to send
	quick   int           // segments that are still acknowledged at once
	replies int           // answers in time; the third makes it a dialogue
	patient int           // as many answers make it one
	owes    int           // segments not acknowledged
	due     time.Duration
	heard   time.Duration
}

// dial opens a connection at a time and returns when it is established, or
// when the client's patience ends if it is blocked: by the client's security
// group if it denies the destination, or on the way back, by the network ACL
// of the NAT gateway's subnet.
func (w *world) dial(at time.Duration, c *client, to place, p path, denied bool, patience time.Duration) (*conn, time.Duration) {
	k := w.newConn(at, c, to, p)
	switch x := &w.log.wires[k.wire]; {
	case denied:
		k.taps[up][0].reject()
		x.stopped = true
	case k.nat && c.gateway.denies(x.natPort):
		k.taps[down][0].reject()
	default:
		return k, k.handshake(at)
	}
	k.blocked = true
	gaveUp := min(patience, k.system.gaveUp)
	for _, t := range k.system.synAt {
		if t >= gaveUp {
			break
		}
		k.packet(up, at+t, k.syn(), flow.SYN)
		if !denied {
			k.packet(down, at+t+k.rtt, k.syn(), flow.SYN|flow.ACK)
		}
	}
	k.close(at + gaveUp)
	return k, at + gaveUp
}

// newConn makes a connection without packets.
func (w *world) newConn(at time.Duration, c *client, to place, p path) *conn {
	port := c.ports.port(w, at, to.addr, to.port)
	k := w.newWire(c, wire{
		tuple: flow.Tuple{Src: c.addr, SrcPort: port, Dst: to.addr, DstPort: to.port, Proto: flow.TCP}, host: c, gateway: c.gateway, first: at,
	}, at)
	k.rtt = p.rtt + w.about(300*time.Microsecond, 0.5)
	k.system = stacks[c.system]
	k.ip = 20
	if c.v6 {
		k.ip = 40
	}
	k.header, k.mss = k.ip+20, 1480-k.ip
	if k.system.timestamps && stacks[p.system].timestamps {
		k.header, k.mss = k.ip+32, 1468-k.ip
	}
	k.mss -= p.tunnel
	k.ends[up], k.ends[down] = newEndpoint(w, c.system), newEndpoint(w, p.system)
	return k
}

// newWire registers a connection of a client and draws its NAT port.
func (w *world) newWire(c *client, x wire, at time.Duration) *conn {
	k := &conn{w: w, wire: int32(len(w.log.wires)), nat: c.gateway != nil, last: at, passed: [2]time.Duration{at, at}}
	c.ports.keep(x.tuple.SrcPort, never)
	lan := 200*time.Microsecond + w.within(300*time.Microsecond)
	if k.nat {
		g := c.gateway
		x.natAddr = g.addrs[c.natAddr]
		x.natPort = g.port(w, at, c.natAddr)
		g.ports[c.natAddr].keep(x.natPort, never)
		k.points = 3
		k.taps[up] = [3]tap{k.tap(p1, c.iface, 0), k.tap(p2, g.iface, lan), k.tap(p3, g.iface, lan)}
		k.taps[down] = [3]tap{k.tap(p4, g.iface, -lan), k.tap(p5, g.iface, -lan), k.tap(p6, c.iface, 0)}
	} else {
		k.points = 1
		k.taps[up][0], k.taps[down][0] = k.tap(p1, c.iface, 0), k.tap(p6, c.iface, 0)
	}
	w.log.wires = append(w.log.wires, x)
	return k
}

func (k *conn) tap(p point, i *iface, delay time.Duration) tap {
	return tap{entry: entry{wire: k.wire, point: p, action: flow.Accept}, iface: i, delay: delay}
}

func (t *tap) reject() { t.stop, t.action = true, flow.Reject }

func newEndpoint(w *world, s System) endpoint {
	e := endpoint{delay: stacks[s].ackDelay, quick: stacks[s].quickAcks, patient: 1, heard: -time.Hour}
	if w.chance(0.5) {
		e.patient = 3
	}
	return e
}

// run sends n packets of bytes in all between two times.
func (k *conn) run(d way, from, to time.Duration, n int, bytes int64, flags flow.TCPFlags) {
	if n == 0 {
		return
	}
	from = max(from, k.passed[d])
	to = max(from, to)
	k.passed[d], k.last = to, max(k.last, to)
	for i := range k.points {
		t := &k.taps[d][i]
		t.count(k.w.log, from, to, n, bytes, flags)
		if t.stop {
			return
		}
	}
}

func (k *conn) packet(d way, at time.Duration, bytes int, flags flow.TCPFlags) {
	k.run(d, at, at, 1, int64(bytes), flags)
}

func (k *conn) syn() int { return k.ip + 20 + k.system.synOptions }

// handshake opens the connection and returns when it is established.
func (k *conn) handshake(at time.Duration) time.Duration {
	k.packet(up, at, k.syn(), flow.SYN)
	synAck := k.syn()
	if k.header == k.ip+20 {
		synAck = k.ip + 32
	}
	k.packet(down, at+k.rtt, synAck, flow.SYN|flow.ACK)
	k.packet(up, at+k.rtt, k.header, 0)
	return at + k.rtt
}

// send sends a message of some bytes, and what was to be acknowledged goes
// with it or before.
func (k *conn) send(d way, at time.Duration, bytes int) {
	k.settle(at)
	me, peer := &k.ends[d], &k.ends[1-d]
	if at-me.heard < me.delay+k.rtt {
		me.replies++
	}
	me.owes = 0
	for bytes > 0 {
		n := min(bytes, k.mss)
		k.packet(d, at, k.header+n, 0)
		bytes -= n
		peer.hear(k, 1-d, at, n == k.mss)
	}
}

// hear takes a segment that arrives at the end which sends in direction d.
func (e *endpoint) hear(k *conn, d way, at time.Duration, full bool) {
	if d == down {
		at += k.rtt // until its acknowledgement passes the client
	}
	e.heard = at
	e.owes++
	delay := e.delay
	if e.quick > 0 && e.replies < e.patient {
		e.quick--
		delay = 0
	}
	if e.owes >= 2 && full {
		delay = 0
	}
	if e.owes == 1 || at+delay < e.due {
		e.due = at + delay
	}
	if e.owes >= 2 && full {
		k.acknowledge(d, e)
	}
}

// acknowledge sends an acknowledgement alone.
func (k *conn) acknowledge(d way, e *endpoint) {
	k.packet(d, e.due, k.header, 0)
	e.owes = 0
}

// settle sends the acknowledgements that cannot wait until a time.
func (k *conn) settle(at time.Duration) {
	for d := range k.ends {
		if e := &k.ends[d]; e.owes > 0 && e.due < at {
			k.acknowledge(way(d), e)
		}
	}
}

// bulk sends many bytes at a rate in bytes per second, and returns when the
// last one passed the client. Congestion windows open as in slow start.
func (k *conn) bulk(d way, at time.Duration, bytes int64, rate float64) time.Duration {
	if bytes <= 0 {
		return at
	}
	k.settle(at + k.rtt/2)
	n := int((bytes + int64(k.mss) - 1) / int64(k.mss))
	perTrip := max(10, int(rate*k.rtt.Seconds())/k.mss)
	ackOf := pick(k.w, []int{2, 2, 2, 3, 4, 8})
	for window := 10; n > 0; window *= 2 {
		m, took := min(n, window), k.rtt
		if window >= perTrip || m == n {
			if window >= perTrip {
				m = n
			}
			took = max(time.Duration(m)*time.Microsecond*12, time.Duration(float64(m*k.mss)/rate*float64(time.Second)))
		}
		payload := min(bytes, int64(m)*int64(k.mss))
		k.burst(d, at, at+took, m, payload, ackOf)
		at += took
		n, bytes = n-m, bytes-payload
	}
	return at
}

// burst sends n segments, and their acknowledgements, with what loss on the
// internet adds: segments sent again, and acknowledgements with SACK blocks.
// Of a download that is lost nothing is seen but the second sending.
func (k *conn) burst(d way, from, to time.Duration, n int, payload int64, ackOf int) {
	lost := k.w.lostOf(n)
	sent, bytes := n, payload+int64(n*k.header)
	if d == up {
		sent, bytes = n+lost, bytes+int64(lost*(k.mss+k.header))
	}
	k.run(d, from, to, sent, bytes, 0)
	acks := max(1, n/ackOf)
	ackBytes := int64(acks * k.header)
	for range lost {
		m := k.w.between(1, 12)
		acks += m
		ackBytes += int64(m * (k.header + 12))
	}
	delay := time.Duration(0)
	if d == up {
		delay = k.rtt
	}
	k.run(1-d, from+delay, to+delay, acks, ackBytes, 0)
}

// lostOf draws how many of n packets are lost.
func (w *world) lostOf(n int) (lost int) {
	p := w.PacketLoss
	if p == 0 {
		return 0
	}
	if mean := p * float64(n); mean > 50 {
		return max(0, int(mean+w.rnd.NormFloat64()*math.Sqrt(mean)))
	}
	for i := skip(w, p); i < n; i += 1 + skip(w, p) {
		lost++
	}
	return lost
}

// skip draws how many packets pass before one is lost.
func skip(w *world, p float64) int { return int(min(1e9, w.rnd.ExpFloat64()/p)) }

// fin closes the connection from one end; the other closes its own a while
// after it has heard of it. It returns when the client has seen both.
func (k *conn) fin(first way, at, pause time.Duration) time.Duration {
	k.settle(at)
	k.packet(first, at, k.header, flow.FIN)
	answered := at + pause
	if first == up {
		answered += k.rtt
	}
	if pause > k.ends[1-first].delay {
		k.packet(1-first, answered-pause, k.header, 0)
	}
	k.packet(1-first, answered, k.header, flow.FIN)
	last := answered
	if first == down {
		last += k.rtt
	}
	k.packet(first, last, k.header, 0)
	k.straggler(last)
	k.close(last)
	return answered
}

// straggler now and then sends the server's last packet again, seconds after
// the client's security group has closed the connection.
func (k *conn) straggler(closed time.Duration) {
	if !k.w.chance(0.005) {
		return
	}
	k.flush()
	client := &k.taps[down][k.points-1]
	client.reject()
	at := closed + time.Second + k.w.within(20*time.Second)
	for i := range k.points {
		k.taps[down][i].count(k.w.log, at, at, 1, int64(k.header), flow.FIN)
	}
	k.flush()
}

// reset ends the connection with RST.
func (k *conn) reset(d way, at time.Duration) {
	k.settle(at)
	k.packet(d, at, k.ip+20, flow.RST)
	k.close(at)
}

// forget makes the NAT gateway forget the connection: packets from inside end
// there, and so do those from the server.
func (k *conn) forget() {
	k.taps[up][1].stop, k.taps[down][0].stop = true, true
}

// refuse is a packet from the client to a NAT gateway that has forgotten the
// connection, and its answer.
func (k *conn) refuse(at time.Duration, bytes int) {
	k.packet(up, at, k.header+bytes, 0)
	for i := 1; i < 3; i++ {
		k.taps[down][i].count(k.w.log, at+time.Millisecond, at+time.Millisecond, 1, int64(k.ip+20), flow.RST)
	}
	k.last = max(k.last, at+time.Millisecond)
}

// close ends the connection for the hosts: no packet follows, but for those
// of an end that does not know it yet.
func (k *conn) close(at time.Duration) {
	x := &k.w.log.wires[k.wire]
	x.last = max(k.last, at)
	if x.host != nil {
		x.host.ports.keep(x.tuple.SrcPort, at+timeWait)
	}
	if k.nat {
		x.gateway.ports[x.host.natAddr].keep(x.natPort, at+natKeeps)
	}
	k.flush()
}

// flush hands on the records that are open.
func (k *conn) flush() {
	for d := range k.taps {
		for i := range k.points {
			k.taps[d][i].flush(k.w.log)
		}
	}
}
