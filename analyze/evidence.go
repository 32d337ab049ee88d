package analyze

import (
	"math"
	"slices"

	"ephemera/analyze/pair"
	"ephemera/ingest/flow"
)

// This file decides whether a connection between an FTP client and its
// server, opened while they had a control connection, is a data connection
// or another service. Each term is a log-likelihood ratio in nats. The
// numbers are judgements from captures of vsftpd, ProFTPD and HTTP servers,
// rounded; none of them decides alone except a plainly foreign shape.

// openSessionPrior says that a connection to a high port of an FTP server,
// during a session with it, is nearly always its data.
const openSessionPrior = 5

// handshakeBytes is the least that TLS needs in its lesser direction: a
// resumed session of ProFTPD was seen to take 265 bytes.
const handshakeBytes = 200

// A service is a server's port.
type service struct {
	server flow.Addr
	port   uint16
}

func serviceOf(c *Connection) service { return service{c.Tuple.Dst, c.Tuple.DstPort} }

// A portUse is how a server's port was used.
type portUse struct {
	total    int
	outside  int // while the client had no control connection to the server
	transfer int // in the shape of a transfer
	request  int // in the shape of a request
	// passive is set when a candidate was not in active mode.
	passive bool
}

// evidence holds what all candidates together tell about each.
type evidence struct {
	uses         map[service]*portUse
	median       map[flow.Addr]int      // uses of a port, the median over the server's ports
	passive      map[flow.Addr][]uint16 // different ports that look passive, in order
	alone        map[flow.Addr]float64  // share of those ports that have no neighbour
	candidates   int
	passiveRange func(flow.Addr, uint16) (known, inside bool)
}

func newEvidence(passiveRange func(flow.Addr, uint16) (known, inside bool)) *evidence {
	return &evidence{passiveRange: passiveRange, uses: map[service]*portUse{}, median: map[flow.Addr]int{}, passive: map[flow.Addr][]uint16{}, alone: map[flow.Addr]float64{}}
}

func (e *evidence) use(s service) *portUse {
	u := e.uses[s]
	if u == nil {
		u = &portUse{}
		e.uses[s] = u
	}
	return u
}

// see counts a connection to a port of a server. Outside means that its
// client had no control connection to the server.
func (e *evidence) see(s service, outside bool) {
	u := e.use(s)
	u.total++
	if outside {
		u.outside++
	}
}

// add counts a candidate.
func (e *evidence) add(d *dataConn) {
	e.candidates++
	u := e.use(serviceOf(d.conn))
	u.passive = u.passive || !d.active
	switch shapeOf(d) {
	case pair.ShapeTransfer:
		u.transfer++
	case pair.ShapeRequest:
		u.request++
	}
}

// conclude sums up when everything was counted.
func (e *evidence) conclude() {
	e.findMedians()
	e.findPassive()
}

func (e *evidence) findMedians() {
	counts := map[flow.Addr][]int{}
	for s, u := range e.uses {
		counts[s.server] = append(counts[s.server], u.total)
	}
	for server, n := range counts {
		slices.Sort(n)
		e.median[server] = n[len(n)/2]
	}
}

// findPassive collects the ports that can be the server's passive ones: of
// candidates in the shape of a transfer, or, where all were stopped, of all
// that nothing speaks against.
func (e *evidence) findPassive() {
	clear, rest := map[flow.Addr][]uint16{}, map[flow.Addr][]uint16{}
	for s, u := range e.uses {
		switch {
		case !u.passive || u.request > 0 || u.outside > 0:
		case u.transfer > 0:
			clear[s.server] = append(clear[s.server], s.port)
		default:
			rest[s.server] = append(rest[s.server], s.port)
		}
	}
	for server := range e.median {
		ports := clear[server]
		if len(ports) < fewPassive {
			ports = append(ports, rest[server]...)
		}
		slices.Sort(ports)
		alone := 0
		for _, p := range ports {
			if neighbours(ports, p) == 0 {
				alone++
			}
		}
		e.passive[server], e.alone[server] = ports, float64(alone+1)/float64(len(ports)+2)
	}
}

// fewPassive is how many passive ports must be known before their density
// means anything.
const fewPassive = 4

// logOdds adds up the evidence that the candidate is a data connection.
func (e *evidence) logOdds(d *dataConn) float64 {
	if d.active {
		return openSessionPrior + activeTerm(d.conn.Tuple.SrcPort)
	}
	u := e.uses[serviceOf(d.conn)]
	return openSessionPrior + u.term(e.median[d.conn.Tuple.Dst]) + e.rangeTerm(d) + serviceTerm(d.conn.Tuple.DstPort) + d.elsewhereTerm()
}

// term: passive ports are drawn anew for every transfer; services keep
// theirs, are used without any control connection, and have siblings of a
// foreign shape.
func (u *portUse) term(median int) float64 {
	t := -2 * float64(min(u.outside, 4))
	if u.total > 3*max(1, median)+2 {
		t -= 3
	}
	return t - 3*float64(min(max(0, u.request-u.transfer), 3))
}

// activeTerm: nothing but FTP sends from the ports of active data.
func activeTerm(port uint16) float64 {
	if isActiveSource(port) {
		return 4
	}
	return 0
}

// serviceTerm: a well-known service's port is seldom in a passive range.
func serviceTerm(port uint16) float64 {
	if wellKnown.has(port) {
		return -4
	}
	return 0
}

// neighbourhood is how near two passive ports of one server are when they
// come from one configured range, which is mostly a hundred ports or more.
const neighbourhood = 50

// neighbours counts the other ports near p.
func neighbours(ports []uint16, p uint16) int {
	low, _ := slices.BinarySearch(ports, uint16(max(0, int(p)-neighbourhood)))
	n := 0
	for _, q := range ports[low:] {
		if int(q) > int(p)+neighbourhood {
			break
		}
		if q != p {
			n++
		}
	}
	return n
}

// What a named range is worth: other services are seldom in it, and no data
// is outside.
const (
	insideRange  = 3
	outsideRange = -12
)

// elsewhereTerm: data to another address than the control connection's is
// rare, and connections between neighbours of a server and its clients are
// not.
func (d *dataConn) elsewhereTerm() float64 {
	if d.elsewhere {
		return -11
	}
	return 0
}

// rangeTerm: the density of the server's other passive ports around this one
// against ports spread over 1024-65535. A server with a configured range has
// none outside it; one without a range has them everywhere, and then this
// says nothing.
//
// Where the operator has named the range, that decides.
func (e *evidence) rangeTerm(d *dataConn) float64 {
	server, port := d.candidates[0].conn.Tuple.Dst, d.conn.Tuple.DstPort
	switch known, inside := e.passiveRange(server, port); {
	case inside:
		return insideRange
	case known:
		return outsideRange
	}
	ports := e.passive[server]
	if len(ports) < fewPassive {
		return 0
	}
	const all, near = 65536 - 1024, 2*neighbourhood + 1
	background := e.alone[server]
	density := float64(neighbours(ports, port)) / float64(len(ports)) / near
	return min(3, math.Log(background+(1-background)*density*all))
}

// shapeOf classifies the payloads of a candidate.
func shapeOf(d *dataConn) pair.Shape {
	l := d.conn.best()
	if !d.fate.established || l.FromInitiator.Accepted == 0 || l.FromResponder.Accepted == 0 {
		return pair.ShapeUnknown
	}
	to, from := payloads(l)
	minor, packets := to, l.FromInitiator.Accepted
	if from < to {
		minor, packets = from, l.FromResponder.Accepted
	}
	switch {
	case acks(minor, packets) <= 0.1:
		return pair.ShapeTransfer
	case acks(minor, packets) <= 0.4:
		return pair.ShapeLossy
	case minor < handshakeBytes:
		return pair.ShapeRequest
	}
	return pair.ShapeHandshake
}

// Selective acknowledgements lengthen the headers of a direction without
// payload: by 12 bytes for one block, by 20 and 28 for two and three, which
// only long transfers over lossy ways need.
const (
	ackBlock    = 12
	manyPackets = 100
)

// noPayload is what a direction without payload can seem to have: longer
// options of the first packet (macOS), a repeated one, a byte for FIN.
const noPayload = 16

// acks explains a direction's payload by selective acknowledgements: it
// returns the share of packets that would have to carry one, or 1 when that
// is no explanation.
func acks(payload int, packets uint64) float64 {
	switch {
	case payload <= noPayload:
		return 0
	case payload%ackBlock == 0, payload%4 == 0 && packets >= manyPackets:
		return float64(payload/ackBlock) / float64(packets)
	}
	return 1
}

// payloads estimates the bytes above TCP each way. TCP headers are 32 bytes
// with time stamps, which both sides use or none, and 20 without; the first
// packet's options add 8 or 12.
func payloads(l *Leg) (toResponder, toInitiator int) {
	header, syn := ipHeader(l)+32, 8
	if short(l.FromInitiator, header) || short(l.FromResponder, header) {
		header, syn = ipHeader(l)+20, 12
	}
	above := func(w Way) int { return max(0, int(w.AcceptedBytes)-header*int(w.Accepted)-syn) }
	return above(l.FromInitiator), above(l.FromResponder)
}

// ipHeader returns the size of the IP headers of the leg's packets, in bytes.
func ipHeader(l *Leg) int {
	if l.Header.Src.Is4() {
		return 20
	}
	return 40
}

// short reports whether the packets are too short for such headers.
func short(w Way, header int) bool { return int(w.AcceptedBytes) < header*int(w.Accepted) }

// Mean payloads of a control connection's packets above which it is
// encrypted: commands and replies of FTP are short lines.
const (
	encryptedToServer = 25
	encryptedToClient = 60
)

// encrypted reports whether the session is under TLS, to all appearance.
func (s *session) encrypted() bool {
	l := s.conn.best()
	to, from := payloads(l)
	return s.conn.Tuple.DstPort == implicitTLS ||
		to > encryptedToServer*int(l.FromInitiator.Accepted) || from > encryptedToClient*int(l.FromResponder.Accepted)
}
