package simulate

import (
	"encoding/binary"
	"math"
	"net/netip"
	"time"

	"ephemera/ingest/flow"
)

// System is an operating system.
type System uint8

// The operating systems.
const (
	Linux System = iota
	Windows
	MacOS
)

// A stack is what an operating system's TCP is known by.
type stack struct {
	lo, hi     uint16 // ephemeral ports
	timestamps bool
	synOptions int // bytes of TCP options in a SYN, time stamps included
	ackDelay   time.Duration
	quickAcks  int // segments acknowledged at once, until the connection turns out to be a dialogue
	// synAt is when the opening packet is sent, again and again, and gaveUp
	// when connect fails at last.
	synAt  []time.Duration
	gaveUp time.Duration
}

// Sources: Linux ip-sysctl (ip_local_port_range, tcp_syn_retries 6,
// tcp_synack_retries 5) and tcp_input.c (quick acknowledgements); Windows
// TcpInitialRtt and MaxSynRetransmissions as netsh shows them; macOS
// net.inet.ip.portrange and net.inet.tcp.
var stacks = [...]stack{
	Linux:   {32768, 60999, true, 20, 40 * time.Millisecond, 16, seconds(0, 1, 3, 7, 15, 31, 63), 127 * time.Second},
	Windows: {49152, 65535, false, 12, 40 * time.Millisecond, 0, seconds(0, 1, 3, 7, 15), 21 * time.Second},
	MacOS:   {49152, 65535, true, 24, 100 * time.Millisecond, 4, seconds(0, 1, 2, 3, 4, 5, 7, 11, 19, 35), 75 * time.Second},
}

func seconds(s ...int) []time.Duration {
	ts := make([]time.Duration, len(s))
	for i, n := range s {
		ts[i] = time.Duration(n) * time.Second
	}
	return ts
}

// Times for which a used port is not used again.
const (
	timeWait = 60 * time.Second
	natKeeps = 350 * time.Second // of silence, and of what was never closed
)

// A client is a host in a private subnet.
type client struct {
	index    int
	addr     flow.Addr
	v6       bool
	system   System
	ports    allocator
	gateway  *gateway // nil with IPv6
	natAddr  int      // of the gateway's, for all connections of the client
	iface    *iface
	software []*software
}

// An allocator draws the ports of outgoing connections.
type allocator interface {
	port(w *world, at time.Duration, to flow.Addr, port uint16) uint16
	// keep says that the port last drawn is in use up to a time.
	keep(port uint16, until time.Duration)
}

// used tells until when each port of a range is used, in seconds.
type used struct {
	lo, hi uint16
	until  []int32
}

func newUsed(lo, hi uint16) used { return used{lo, hi, make([]int32, int(hi)-int(lo)+1)} }

func (u used) free(port uint16, at time.Duration) bool {
	return time.Duration(u.until[port-u.lo])*time.Second <= at
}

func (u used) keep(port uint16, until time.Duration) {
	if port >= u.lo && port <= u.hi {
		u.until[port-u.lo] = int32(min(until/time.Second+1, math.MaxInt32))
	}
}

func newAllocator(w *world, s System) allocator {
	lo, hi := stacks[s].lo, stacks[s].hi
	base := newUsed(lo, hi)
	switch s {
	case Windows:
		return &sequentialPorts{used: base, next: uint16(w.between(int(lo), int(hi))), others: w.rnd.Float64() * 0.4}
	case MacOS:
		return &randomPorts{base}
	}
	return &linuxPorts{used: base, randomStep: w.chance(0.7), offsets: map[linuxDestination]uint32{}}
}

// linuxPorts allocates like connect() in Linux: from an offset that depends
// on the destination and moves on with each connection there, in steps of
// two, so that as long as there are any the ports have the parity of the
// lowest one. Newer kernels move on by a random step.
type linuxPorts struct {
	used
	randomStep bool
	offsets    map[linuxDestination]uint32
}

type linuxDestination struct {
	addr flow.Addr
	port uint16
}

func (l *linuxPorts) port(w *world, at time.Duration, to flow.Addr, port uint16) uint16 {
	d := linuxDestination{to, port}
	offset, known := l.offsets[d]
	if !known {
		offset = w.rnd.Uint32N(1 << 24)
	}
	n := uint32(l.hi-l.lo) + 1
	step := uint32(0)
	for parity := range uint32(2) {
		for step = 0; step < n; step += 2 {
			p := l.lo + uint16((offset&^1+parity+step)%n)
			if l.free(p, at) {
				if l.randomStep {
					step = max(step, 2*w.rnd.Uint32N(8))
				}
				l.offsets[d] = offset + step + 2
				return p
			}
		}
	}
	return l.lo
}

// sequentialPorts allocates one port after the other, whatever the
// destination, as Windows does; other programs of the host take some, too.
type sequentialPorts struct {
	used
	next   uint16
	others float64 // share of the ports that other programs take
}

func (s *sequentialPorts) port(w *world, at time.Duration, _ flow.Addr, _ uint16) uint16 {
	for range int(s.hi-s.lo) + 1 {
		p := s.next
		if s.next++; p >= s.hi {
			s.next = s.lo
		}
		if s.free(p, at) && !w.chance(s.others) {
			return p
		}
	}
	return s.lo
}

// randomPorts draws any free port of a range.
type randomPorts struct{ used }

func (r *randomPorts) port(w *world, at time.Duration, _ flow.Addr, _ uint16) uint16 {
	p := r.lo
	for range 200 {
		if p = uint16(w.between(int(r.lo), int(r.hi))); r.free(p, at) {
			break
		}
	}
	return p
}

// A gateway is a NAT gateway with its network interface.
type gateway struct {
	addrs  []flow.Addr // the first one is the primary one
	iface  *iface
	ports  []randomPorts // by address
	denied [2]int        // the ports at which the network ACL denies replies: from, up to but not including
}

// port draws a port of the address, as AWS documents it: from 1024 to 65535.
func (g *gateway) port(w *world, at time.Duration, addr int) uint16 {
	return g.ports[addr].port(w, at, flow.Addr{}, 0)
}

func (g *gateway) denies(port uint16) bool {
	return int(port) >= g.denied[0] && int(port) < g.denied[1]
}

// A server is an FTP server on the internet.
type server struct {
	index    int
	addr, v6 flow.Addr
	daemon   *daemon
	lo, hi   uint16 // passive range
	passive  allocator
	denied   [2]int // passive ports that the clients' security group denies
	path
	rate     float64
	services []uint16 // high ports of other services
	tls13    bool
	chain    int // bytes of its certificates
	resumes  bool
	implicit bool // sessions with TLS go to port 990
}

// A path leads to a host on the internet.
type path struct {
	rtt    time.Duration
	tunnel int // bytes that a tunnel on the way takes from each segment
	system System
}

func (s *server) denies(port uint16) bool { return int(port) >= s.denied[0] && int(port) < s.denied[1] }

// build makes the hosts.
func (w *world) build() {
	for i := range w.NATGateways {
		w.gateways = append(w.gateways, w.newGateway(i))
	}
	for i := range w.Clients {
		w.clients = append(w.clients, w.newClient(i))
	}
	for i := range w.Servers {
		w.servers = append(w.servers, w.newServer(i))
	}
	for range 12 {
		w.elsewhere = append(w.elsewhere, flow.AddrFrom4(uint32(w.between(0x17000000, 0x2fffffff))))
	}
}

func (w *world) newGateway(i int) *gateway {
	g := &gateway{iface: w.log.newIface("eni-0a7%014x", i, "subnet-public", "")}
	for k := range w.NATAddresses {
		g.addrs = append(g.addrs, flow.AddrFrom4(10<<24|uint32(i+1)<<4|uint32(200+k)))
		g.ports = append(g.ports, randomPorts{newUsed(1024, 65535)})
	}
	if n := int(w.BlockedReplies * 64512); n > 0 {
		g.denied[0] = w.between(1024, 65536-n)
		g.denied[1] = g.denied[0] + n
	}
	return g
}

func (w *world) newClient(i int) *client {
	c := &client{index: i, system: pick(w, w.Systems), v6: w.chance(w.IPv6)}
	c.iface = w.log.newIface("eni-0c1%014x", i, "subnet-private", "i-0c%015x")
	c.ports = newAllocator(w, c.system)
	if c.v6 {
		c.addr = addr6(0x2600_1f18_0000_0100, uint64(i+16))
	} else {
		c.addr = flow.AddrFrom4(10<<24 | 1<<16 | uint32(i/200)<<8 | uint32(i%200+10))
		c.gateway = pick(w, w.gateways)
		c.natAddr = w.rnd.IntN(w.NATAddresses)
	}
	for range w.between(1, 2) {
		c.software = append(c.software, pick(w, softwareOf[c.system]))
	}
	return c
}

func (w *world) newServer(i int) *server {
	d := &daemons[pick(w, w.Daemons)]
	s := &server{
		index: i, addr: flow.AddrFrom4(203<<24 | 113<<8 | uint32(i/200)<<16 | uint32(i%200+10)), v6: addr6(0x2001_0db8_0000_0001, uint64(i+16)),
		daemon: d, rate: w.spread(w.Rate, 0.8),
		tls13: w.chance(0.6), chain: w.between(900, 4800), resumes: w.chance(0.6), implicit: d.implicit && w.chance(0.3),
	}
	s.path = w.newPath(d.system)
	s.lo, s.hi = d.passiveRange(w)
	base := newUsed(s.lo, s.hi)
	if d.sequential && w.chance(0.6) {
		s.passive = &sequentialPorts{used: base, next: uint16(w.between(int(s.lo), int(s.hi))), others: w.rnd.Float64() * 0.7}
	} else {
		s.passive = &randomPorts{base}
	}
	if n := int(w.BlockedPassive * float64(int(s.hi)-int(s.lo)+1)); n > 0 {
		s.denied[0] = w.between(int(s.lo), int(s.hi)+1-n)
		s.denied[1] = s.denied[0] + n
	}
	for range w.between(1, 3) {
		port := pick(w, []uint16{8080, 8443, 9000, 5432, 27017, 3000, 8888, 10050})
		if w.chance(0.4) {
			port = uint16(w.between(int(s.lo), int(s.hi)))
		}
		s.services = append(s.services, port)
		base.keep(port, never)
	}
	return s
}

func (w *world) newPath(peer System) path {
	p := path{rtt: time.Millisecond + w.within(w.RTT), system: peer}
	if w.chance(0.15) {
		p.tunnel = pick(w, []int{8, 40, 100})
	}
	return p
}

func addr6(hi, lo uint64) flow.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], hi)
	binary.BigEndian.PutUint64(b[8:], lo)
	return flow.AddrFrom(netip.AddrFrom16(b))
}
