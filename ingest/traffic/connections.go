package traffic

import (
	"math/rand/v2"

	"ephemera/ingest/flow"
)

// Ports that hosts and NAT gateways take.
const (
	linuxLow, linuxHigh     = 32768, 60999
	gatewayLow, gatewayHigh = 1024, 65535
)

// Traffic paths, as the field traffic-path numbers them.
const (
	pathVPC      = 1
	pathInternet = 8
)

// spreads are the distributions that the traffic is drawn from: lives in
// milliseconds, sizes in bytes.
type spreads struct {
	short, middle, pool, stream *spread
	request, response, file     *spread
	thought, transferTime       *spread
}

func newSpreads() *spreads {
	return &spreads{
		short:        newSpread(7_000, 1.5, maxLife),
		middle:       newSpread(14_000, 1.5, maxLife),
		pool:         newSpread(70_000, 1.8, maxLife),
		stream:       newSpread(30_000, 1.5, maxLife),
		request:      newSpread(800, 1, 1<<20),
		response:     newSpread(5_000, 1.8, 1<<28),
		file:         newSpread(200_000, 2, 1<<30),
		thought:      newSpread(1_500, 1.2, 120_000),
		transferTime: newSpread(900, 1.5, 600_000),
	}
}

// service is what tiers ask other tiers for.
type service struct {
	from, to tier
	port     uint16
	life     func(*spreads) *spread
}

func short(s *spreads) *spread  { return s.short }
func middle(s *spreads) *spread { return s.middle }
func pool(s *spreads) *spread   { return s.pool }

// services are those inside the VPC, the popular ones first.
var services = []service{
	{edge, web, 8080, short},
	{web, app, 443, short},
	{app, data, 5432, pool},
	{app, app, 8080, middle},
	{app, data, 6379, pool},
	{web, app, 8443, short},
	{app, search, 9200, short},
	{work, data, 5432, pool},
	{work, app, 443, middle},
	{work, data, 6379, short},
	{batch, app, 443, middle},
	{work, search, 9200, middle},
}

// forbidden are services that security groups do not let these tiers use.
var forbidden = []service{
	{from: web, to: data, port: 5432},
	{from: batch, to: search, port: 9200},
	{from: batch, to: data, port: 6379},
	{from: work, to: app, port: 9300},
}

// peers is who is talked to, the popular ones first.
type peers struct {
	tiers    [numTiers]zipf
	services zipf
	browsers zipf // of 198.18.0.0/16
	sites    zipf // of 198.19.0.0/18
	scanners zipf // of 198.19.128.0/18
	clocks   zipf // of 192.0.2.0/28
	servers  []*ftpServer
	server   zipf
}

func newPeers(rnd *rand.Rand, n *network) *peers {
	p := &peers{
		services: newZipf(len(services), 1), browsers: newZipf(40_000, 0.8), sites: newZipf(1_500, 1),
		scanners: newZipf(3_000, 0.7), clocks: newZipf(5, 0.5), servers: newServers(rnd),
	}
	p.server = newZipf(len(p.servers), 0.9)
	for t, list := range n.tiers {
		p.tiers[t] = newZipf(len(list), 0.9)
	}
	return p
}

// The peers' addresses are those that RFC 2544 and RFC 5737 keep for
// measuring and for documentation.
func (p *peers) browser(rnd *rand.Rand) uint32 {
	return 198<<24 | 18<<16 | uint32(p.browsers.draw(rnd))*40503&0xffff
}
func (p *peers) site(rnd *rand.Rand) uint32 { return 198<<24 | 19<<16 | uint32(p.sites.draw(rnd)) }
func (p *peers) scanner(rnd *rand.Rand) uint32 {
	return 198<<24 | 19<<16 | 0x8000 | uint32(p.scanners.draw(rnd))
}
func (p *peers) clock(rnd *rand.Rand) uint32 { return 192<<24 | 2<<8 | uint32(p.clocks.draw(rnd)+1) }

// drawn draws an interface of a tier.
func (w *world) drawn(t tier) int { return among(w.rnd, w.peers.tiers[t], w.net.tiers[t]) }

// pair draws an interface each of two tiers, not the same one.
func (w *world) pair(from, to tier) (a, b int) {
	a, b = w.drawn(from), w.drawn(to)
	for a == b {
		b = w.drawn(to)
	}
	return a, b
}

// newTCP returns a TCP connection without points and bursts. One in fifty
// is reset by its initiator.
func (w *world) newTCP() *conn {
	c := &conn{proto: flow.TCP}
	c.open = [2]flow.TCPFlags{flow.SYN, flow.SYN | flow.ACK}
	c.close = [2]flow.TCPFlags{flow.FIN, flow.FIN}
	if w.rnd.IntN(50) == 0 {
		c.close[forth] = flow.RST
	}
	return c
}

// exchange is a burst of requests and responses, and the packets that open
// and close the connection.
func (w *world) exchange(at, life int64) burst {
	s, rnd := w.spreads, w.rnd
	times := 1 + min(life/(2_000+rnd.Int64N(18_000)), 2000)
	up, down := times*s.request.draw(rnd), times*s.response.draw(rnd)
	b := burst{from: at, to: at + life}
	b.packets[forth] = 4 + times + up/1400 + down/2900
	b.packets[back] = 3 + times + down/1400 + up/2900
	b.bytes[forth] = up + 52*b.packets[forth]
	b.bytes[back] = down + 52*b.packets[back]
	return b
}

// internal is a connection to a service inside the VPC.
func (w *world) internal(at int64) *conn {
	s := &services[w.peers.services.draw(w.rnd)]
	from, to := w.pair(s.from, s.to)
	c := w.newTCP()
	w.direct(c, from, to, s.port)
	c.bursts = []burst{w.exchange(at, s.life(w.spreads).draw(w.rnd))}
	return c
}

// direct adds the points of a connection between two interfaces.
func (w *world) direct(c *conn, from, to int, port uint16) {
	a, b := w.net.interfaces[from].addr, w.net.interfaces[to].addr
	own := w.claim(c, a, b, port, linuxLow, linuxHigh)
	there := point{src: a, dst: b, pktSrc: a, pktDst: b, srcPort: own, dstPort: port, way: forth}
	here := there.reversed()
	c.points = append(make([]point, 0, 4),
		there.seenBy(from, pathVPC), there.seenBy(to, 0), here.seenBy(to, pathVPC), here.seenBy(from, 0))
}

func (p point) reversed() point {
	p.src, p.dst, p.pktSrc, p.pktDst = p.dst, p.src, p.pktDst, p.pktSrc
	p.srcPort, p.dstPort = p.dstPort, p.srcPort
	p.way = back - p.way
	return p
}

// seenBy returns p at an interface. On the way out of it there is a traffic
// path.
func (p point) seenBy(iface int, path uint8) point {
	p.iface, p.path = uint16(iface), path
	return p
}

// inbound is a connection from the internet to a load balancer.
func (w *world) inbound(at int64) *conn {
	to, from := w.drawn(edge), w.peers.browser(w.rnd)
	c := w.newTCP()
	b := w.net.interfaces[to].addr
	own := w.claim(c, from, b, 443, gatewayLow, gatewayHigh)
	in := point{src: from, dst: b, pktSrc: from, pktDst: b, srcPort: own, dstPort: 443, way: forth}
	c.points = []point{in.seenBy(to, 0), in.reversed().seenBy(to, pathInternet)}
	c.bursts = []burst{w.exchange(at, w.spreads.middle.draw(w.rnd))}
	return c
}

var outboundTiers = []tier{app, work, web, batch}

// outbound is an HTTPS connection through a NAT gateway.
func (w *world) outbound(at int64) *conn {
	client := w.drawn(outboundTiers[min(w.rnd.IntN(6), 3)])
	c := w.newTCP()
	w.translated(c, client, w.peers.site(w.rnd), 443)
	c.bursts = []burst{w.exchange(at, w.spreads.middle.draw(w.rnd))}
	return c
}

// translated adds the six points of a connection through the NAT gateway of
// the client's zone.
func (w *world) translated(c *conn, client int, server uint32, port uint16) {
	i := w.net.interfaces[client]
	gateway := w.net.gateways[i.subnet.zone]
	a, n := i.addr, w.net.interfaces[gateway].addr
	own := w.claim(c, a, server, port, linuxLow, linuxHigh)
	translated := w.claim(c, n, server, port, gatewayLow, gatewayHigh)

	out := point{src: a, dst: server, pktSrc: a, pktDst: server, srcPort: own, dstPort: port, way: forth}
	in := out // what the gateway sees goes to itself, so to say
	in.dst = n
	beyond := point{src: n, dst: server, pktSrc: n, pktDst: server, srcPort: translated, dstPort: port, way: forth}
	c.points = append(make([]point, 0, 6),
		out.seenBy(client, pathVPC), in.seenBy(gateway, 0), beyond.seenBy(gateway, pathInternet),
		beyond.reversed().seenBy(gateway, 0), in.reversed().seenBy(gateway, pathVPC), out.reversed().seenBy(client, 0))
}

var logTiers = []tier{web, app, work, batch, data}

// datagram is a question for the time, through a NAT gateway, or a stream of
// system logs, which nobody answers.
func (w *world) datagram(at int64) *conn {
	c := &conn{proto: flow.UDP}
	if chance(w.rnd, 60) {
		w.translated(c, w.drawn(logTiers[w.rnd.IntN(len(logTiers))]), w.peers.clock(w.rnd), 123)
		c.bursts = []burst{{from: at, to: at + 20, packets: [2]int64{1, 1}, bytes: [2]int64{76, 76}}}
		return c
	}
	from, to := w.pair(logTiers[w.rnd.IntN(len(logTiers))], search)
	w.direct(c, from, to, 514)
	c.points = c.points[:2]
	life := w.spreads.stream.draw(w.rnd)
	lines := 1 + life/(200+w.rnd.Int64N(5_000))
	c.bursts = []burst{{from: at, to: at + life, packets: [2]int64{lines}, bytes: [2]int64{lines * (90 + w.rnd.Int64N(200))}}}
	return c
}

// scanned are the ports that scanners look for. Those from 1024 on pass the
// network ACL, and are stopped by the security group.
var scanned = []uint16{23, 22, 8080, 445, 3389, 80, 21, 5900, 2375, 8443, 25, 1433}

var scannedZipf = newZipf(len(scanned), 0.8)

// denied is a connection that does not come to be: three in four are scans
// from the internet.
func (w *world) denied(at int64) *conn {
	if chance(w.rnd, 75) {
		return w.scan(at)
	}
	s := &forbidden[w.rnd.IntN(len(forbidden))]
	from, to := w.pair(s.from, s.to)
	c := &conn{proto: flow.TCP, all: flow.SYN}
	w.direct(c, from, to, s.port)
	c.points = c.points[:2]
	c.points[1].reject = true
	c.bursts = attempts(at, 3)
	return c
}

// scan knocks at a public interface. A NAT gateway has no security group,
// so it is asked for low ports only, which the network ACL denies.
func (w *world) scan(at int64) *conn {
	to := w.drawn(edge)
	port := among(w.rnd, scannedZipf, scanned)
	if port < 1024 && chance(w.rnd, 50) {
		to = w.net.gateways[w.rnd.IntN(zones)]
	}
	c := &conn{proto: flow.TCP, all: flow.SYN}
	from, b := w.peers.scanner(w.rnd), w.net.interfaces[to].addr
	own := w.claim(c, from, b, port, gatewayLow, gatewayHigh)
	p := point{src: from, dst: b, pktSrc: from, pktDst: b, srcPort: own, dstPort: port, reject: true}
	c.points = []point{p.seenBy(to, 0)}
	c.bursts = attempts(at, 1+w.rnd.IntN(2))
	return c
}

// attempts is the first packet of a TCP connection, repeated as Linux does
// it: after 1, 2, 4 seconds and so on.
func attempts(at int64, n int) []burst {
	bursts := make([]burst, n)
	for k := range bursts {
		t := at + 1000*(1<<k-1)
		bursts[k] = burst{from: t, to: t, packets: [2]int64{1}, bytes: [2]int64{60}}
	}
	return bursts
}
