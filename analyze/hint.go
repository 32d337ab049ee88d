package analyze

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"ephemera/ingest/flow"
)

// This file looks for FTP control connections on ports that nobody named. It
// takes nothing for FTP: what it finds is a Finding, which tells how to ask
// for more, and changes no table.
//
// FTP gives itself away by two kinds of connections between one client and
// one server. A dialogue goes to a fixed port, with small packets both ways.
// A transfer goes to a port that is another one nearly every time, and has
// payload in one direction only, or is under TLS if the dialogue is. Transfers
// begin while a dialogue is open, hardly ever else, one at a time for each,
// and every one of them costs the dialogue its commands and replies.
//
// HTTP, databases, SSH and brokers have dialogues without such transfers;
// RPC and container platforms use a few ports again and again; and peers of
// peer-to-peer protocols speak both ways. What it gets wrong: a protocol made
// like FTP (NDMP, GridFTP on other ports) is reported; a server with two such
// ports, neither of them named, is not, nor one with few passive ports, nor
// TLS in sessions that are open all the time.

// The bounds of what is kept. Connections are taken in the order of their
// end, so what is dropped for want of room is the same in every run.
const (
	// hintMemory is how long, in seconds, a client and a server are silent
	// until what they had to say is looked at.
	hintMemory = 3600
	// heldOfPair and heldHints are the most connections that are kept, of one
	// client and server and of all.
	heldOfPair = 1 << 10
	heldHints  = 1 << 16
	// hintServers and hintPorts are the most servers, and the most ports of a
	// server, for which evidence is kept.
	hintServers = 512
	hintPorts   = 8
)

// What a connection looks like: bits, as a short transfer under TLS can look
// like a dialogue too.
type hintKind uint8

const (
	hintNamed    hintKind = 1 << iota // to a port that is known for a control port
	hintDialogue                      // small packets both ways
	hintTransfer                      // payload one way
	hintTLS                           // a transfer under TLS, or anything under TLS
)

// A hintConnection is what is kept of one connection.
type hintConnection struct {
	client, server         flow.Addr
	clientPort, serverPort uint16
	kind                   hintKind
	encrypted              bool // the dialogue
	again                  bool // a transfer from the client port of another one
	start, end             int64
	over                   int64  // the end of its last leg
	toServer, toClient     int    // payload bytes
	packets                uint64 // to the server
	inside                 int    // transfers that began in the dialogue
}

// covers reports whether the connection was open at time t; see during.
func (c *hintConnection) covers(t int64) bool { return c.start <= t && t <= c.end+1 }

// hints collects the evidence.
type hints struct {
	control          *portFlags
	clients, servers []netip.Prefix
	waiting          []hintConnection // handed on since the last advance
	pairs            map[pairKey][]hintConnection
	held             int // connections in pairs
	evidence         map[flow.Addr]*hintServer
}

func newHints(control *portFlags, clients, servers []netip.Prefix) *hints {
	return &hints{control: control, clients: clients, servers: servers, pairs: map[pairKey][]hintConnection{}, evidence: map[flow.Addr]*hintServer{}}
}

// add takes one connection that is over.
func (h *hints) add(c *Connection) {
	t, l := c.Tuple, c.best()
	if t.Proto != flow.TCP || c.Unsolicited || !t.Dst.IsValid() || l.FromInitiator.Accepted == 0 || l.FromResponder.Accepted == 0 {
		return
	}
	if !matches(h.clients, t.Src) || !matches(h.servers, t.Dst) {
		return
	}
	x := hintConnection{client: t.Src, server: t.Dst, clientPort: t.SrcPort, serverPort: t.DstPort, start: c.Start, end: c.End, over: c.lastEnd(), packets: l.FromInitiator.Accepted}
	x.toServer, x.toClient = payloads(l)
	switch {
	case h.control.has(t.DstPort):
		x.kind = hintNamed
	case t.SrcPort >= 1024 && !otherServices[t.DstPort]:
		x.kind = transferKind(x, l) | x.dialogue(l)
	}
	if x.kind != 0 {
		h.waiting = append(h.waiting, x)
	}
}

// Mean payloads of a control connection's packets, at most: commands and
// replies are short lines; under TLS, in a short session, the certificates
// make most of it.
const (
	dialogueToServer = 150
	dialogueToClient = 400
)

// The least payloads of a control connection under TLS: a handshake with
// certificates, and a login. What has small packets but less than this is in
// the clear, or no FTP.
const (
	encryptedLogin    = 600
	encryptedGreeting = 1000
)

// dialogue tells whether the connection can be an FTP control connection.
func (c *hintConnection) dialogue(l *Leg) hintKind {
	to, from := int(l.FromInitiator.Accepted), int(l.FromResponder.Accepted)
	if to < ableToServer || from < ableToClient || c.toServer == 0 || c.toClient == 0 ||
		c.toServer > dialogueToServer*to || c.toClient > dialogueToClient*from {
		return 0
	}
	c.encrypted = c.toServer >= encryptedLogin && c.toClient >= encryptedGreeting &&
		(c.toServer > encryptedToServer*to || c.toClient > encryptedToClient*from)
	return hintDialogue
}

// transferKind tells whether the connection can be an FTP data connection.
func transferKind(c hintConnection, l *Leg) hintKind {
	minor, major, packets := c.toServer, c.toClient, l.FromInitiator.Accepted
	if minor > major {
		minor, major, packets = major, minor, l.FromResponder.Accepted
	}
	switch {
	case c.serverPort < 1024 || major == 0:
		return 0
	case acks(minor, packets) <= 0.1:
		return hintTransfer
	case minor >= handshakeBytes:
		return hintTLS
	}
	return 0
}

// advance is told that all connections that ended before some time were
// handed on.
func (h *hints) advance(int64) {
	slices.SortFunc(h.waiting, func(a, b hintConnection) int {
		return cmp.Or(cmp.Compare(a.over, b.over), cmp.Compare(a.start, b.start), a.client.Compare(b.client), a.server.Compare(b.server),
			cmp.Compare(a.clientPort, b.clientPort), cmp.Compare(a.serverPort, b.serverPort), cmp.Compare(a.packets, b.packets))
	})
	for _, c := range h.waiting {
		h.take(c)
	}
	h.waiting = h.waiting[:0]
}

// take puts a connection to those of its client and server, and settles those
// before a silence, or if there are too many.
func (h *hints) take(c hintConnection) {
	k := pairKey{c.client, c.server}
	held := h.pairs[k]
	switch n := len(held); {
	case n > 0 && held[n-1].over < c.over-hintMemory:
		held = h.settle(k, held, n)
	case n >= heldOfPair:
		held = h.settle(k, held, n/2)
	}
	if c.kind&(hintTransfer|hintTLS) != 0 {
		c.again = slices.ContainsFunc(held, func(x hintConnection) bool { return x.clientPort == c.clientPort && x.serverPort != c.serverPort })
	}
	h.pairs[k] = append(held, c)
	h.held++
	if h.held >= heldHints {
		h.makeRoom()
	}
}

// makeRoom settles the half of the pairs that were not heard of for longest.
func (h *hints) makeRoom() {
	last := func(k pairKey) int64 { return h.pairs[k][len(h.pairs[k])-1].over }
	keys := slices.SortedFunc(maps.Keys(h.pairs), func(a, b pairKey) int {
		return cmp.Or(cmp.Compare(last(a), last(b)), a.compare(b))
	})
	for _, k := range keys[:(len(keys)+1)/2] {
		h.settle(k, h.pairs[k], len(h.pairs[k]))
		delete(h.pairs, k)
	}
}

func (k pairKey) compare(l pairKey) int {
	return cmp.Or(k.client.Compare(l.client), k.server.Compare(l.server))
}

// settle counts the first n connections of a pair, and returns the others.
func (h *hints) settle(k pairKey, held []hintConnection, n int) []hintConnection {
	covered := map[uint16]float64{}
	for i := range held[:n] {
		if held[i].kind&(hintTransfer|hintTLS) != 0 {
			h.settleTransfer(k.server, held, i, covered)
		}
	}
	if s := h.evidence[k.server]; s != nil {
		for _, c := range held[:n] {
			if c.kind&hintDialogue != 0 {
				s.addDialogue(c)
			}
		}
	}
	h.held -= n
	return slices.Delete(held, 0, n)
}

// settleTransfer counts a transfer at the dialogues that it began in. One
// that began in a session with a named port is explained. covered keeps the
// coverage of ports.
func (h *hints) settleTransfer(server flow.Addr, held []hintConnection, i int, covered map[uint16]float64) {
	var at []hintAt
	for j := range held {
		d := &held[j]
		switch {
		case !d.covers(held[i].start):
		case d.kind == hintNamed:
			return
		case d.kind&hintDialogue != 0 && d.serverPort != held[i].serverPort && (d.encrypted || held[i].kind == hintTransfer):
			d.inside++
			at = open(at, d.serverPort)
		}
	}
	s := h.evidence[server]
	if s == nil && len(at) == 0 {
		return
	}
	if s == nil {
		s = h.server(server)
	}
	for j := range at {
		port := at[j].port
		if _, known := covered[port]; !known {
			covered[port] = coverage(held, port)
		}
		at[j].running, at[j].chance = running(held, held[i], port), covered[port]
	}
	s.addTransfer(held[i], at)
}

// hintAt is a port, how many dialogues with it are open, how many transfers
// to other ports are under way, and the coverage of the port.
type hintAt struct {
	port          uint16
	open, running int
	chance        float64
}

// open counts one more dialogue with a port. Of a transfer among dialogues
// with many ports, the first few are counted.
func open(at []hintAt, port uint16) []hintAt {
	for i := range at {
		if at[i].port == port {
			at[i].open++
			return at
		}
	}
	if len(at) == hintPorts {
		return at
	}
	return append(at, hintAt{port: port, open: 1})
}

// running counts the transfers of the same kind to other ports than port that
// were under way when c began, by more than the second that times are rounded
// to, c among them.
func running(held []hintConnection, c hintConnection, port uint16) int {
	n := 1
	for _, x := range held {
		if x.serverPort != port && x.kind&^hintDialogue == c.kind&^hintDialogue && x.start < c.start && x.end > c.start+1 {
			n++
		}
	}
	return n
}

// besides is how long, in seconds, a client and a server could have had
// connections before the first and after the last one, and had none.
const besides = 60

// coverage is the share of the time of a client and a server in which they
// had a dialogue with the port: the probability that a transfer begins in one
// by chance.
func coverage(held []hintConnection, port uint16) float64 {
	var ds []hintConnection
	first, last := held[0].start, held[0].end
	for _, c := range held {
		first, last = min(first, c.start), max(last, c.end)
		if c.kind&hintDialogue != 0 && c.serverPort == port {
			ds = append(ds, c)
		}
	}
	slices.SortFunc(ds, func(a, b hintConnection) int { return cmp.Compare(a.start, b.start) })
	covered, until := int64(0), first
	for _, d := range ds {
		covered += max(0, d.end-max(d.start, until))
		until = max(until, d.end)
	}
	return float64(covered) / float64(last-first+2*besides)
}

// server makes room for the evidence of one more server.
func (h *hints) server(a flow.Addr) *hintServer {
	if len(h.evidence) >= hintServers {
		byLast := slices.SortedFunc(maps.Keys(h.evidence), func(a, b flow.Addr) int {
			return cmp.Or(cmp.Compare(h.evidence[a].last, h.evidence[b].last), a.Compare(b))
		})
		for _, old := range byLast[:hintServers/2] {
			delete(h.evidence, old)
		}
	}
	h.evidence[a] = &hintServer{ports: map[uint16]*hintPort{}}
	return h.evidence[a]
}

// A portTally counts connections by the server's port, in the clear and under
// TLS. Ports that are a multiple of its size apart share a count: passive
// ranges are mostly shorter, and a longer one has more ports than are needed.
type portTally [2][256]uint16

func (t *portTally) add(c hintConnection) {
	n := &t[tallyOf(c.kind)][c.serverPort%256]
	*n = max(*n, *n+1) // does not wrap
}

// The kinds of transfers in a portTally.
const (
	inTheClear = iota
	underTLS
)

func tallyOf(k hintKind) int {
	if k&hintTLS != 0 {
		return underTLS
	}
	return inTheClear
}

// usual is the most that a port is used among ports that are drawn anew for
// every transfer: services keep theirs. See portUse.term.
func usual(counts *[256]uint16) uint16 {
	var used []uint16
	for _, n := range counts {
		if n > 0 {
			used = append(used, n)
		}
	}
	if len(used) == 0 {
		return 0
	}
	slices.Sort(used)
	return used[len(used)/2]*3 + 2
}

// hintServer is the evidence of one server: the transfers with it that no
// named port explains, and the ports of the dialogues that they began in.
type hintServer struct {
	all   portTally
	ports map[uint16]*hintPort
	last  int64 // when the last transfer was over
}

// hintPort is the evidence of one port of a server.
type hintPort struct {
	inside   portTally // transfers that began in a dialogue
	overlaps int       // of them, while there were more of them than dialogues
	again    int       // of them, from one client port
	chance   int       // of them under TLS, thousandths that would have by chance
	// dialogues are all of them, busy those with transfers; the totals are of
	// the busy ones.
	dialogues, busy    int
	toServer, toClient int
	packets            uint64
	seconds            int64
}

func (s *hintServer) addTransfer(c hintConnection, at []hintAt) {
	s.last = max(s.last, c.over)
	s.all.add(c)
	for _, x := range at {
		p := s.ports[x.port]
		if p == nil && len(s.ports) >= hintPorts {
			continue
		}
		if p == nil {
			p = &hintPort{}
			s.ports[x.port] = p
		}
		p.inside.add(c)
		if x.running > x.open {
			p.overlaps++
		}
		if c.again {
			p.again++
		}
		if c.kind&hintTLS != 0 {
			p.chance += int(1000 * x.chance)
		}
	}
}

func (s *hintServer) addDialogue(c hintConnection) {
	p := s.ports[c.serverPort]
	if p == nil {
		return
	}
	p.dialogues++
	if c.inside > 0 {
		p.busy++
		p.toServer += c.toServer
		p.toClient += c.toClient
		p.packets += c.packets
		p.seconds += c.end - c.start
	}
}

// A hint is a port of servers that looks like an FTP control port.
type hint struct {
	port    uint16
	servers []flow.Addr
	// connections to the port with transfers in them.
	connections int
	// transfers are those of the servers that no named port explains; inside
	// those that began in one of connections, to that many different ports.
	transfers, inside, ports int
	seconds                  int64
}

// What it takes to call a port FTP.
const (
	leastDialogues = 2   // with transfers in them
	leastTransfers = 6   // in dialogues
	leastPorts     = 5   // that transfers went to
	leastInside    = 0.9 // of the transfers, in dialogues
	mostOverlaps   = 0.25
	mostAgain      = 0.1
	// mostChance is the share, in thousandths, of the transfers under TLS that
	// could begin in dialogues by chance. A channel that is always open proves
	// nothing.
	mostChance = 800
	// A transfer costs at least PASV, RETR and two replies, in packets to the
	// server and bytes of payload; and a dialogue with hundreds of packets
	// for each transfer is about something else.
	packetsPerTransfer, mostPacketsPerTransfer = 2, 100
	bytesToServer, bytesToClient               = 16, 60
)

// manyPorts are so many, for transfers in the clear and under TLS, that no
// more are needed. Fewer must be half as many as transfers: services come
// back to theirs. Under TLS nothing else tells services from transfers.
var manyPorts = [2]int{10, 20}

// judge tells whether the evidence is enough.
func (s *hintServer) judge(port uint16) (hint, bool) {
	p := s.ports[port]
	x := hint{port: port, connections: p.busy, seconds: p.seconds}
	least, tls := 0, 0 // different ports, transfers under TLS
	for kind := range s.all {
		transfers, inside, ports := s.count(port, kind)
		if inside == 0 {
			continue // FTP in the clear beside other services under TLS
		}
		x.transfers += transfers
		x.inside += inside
		x.ports += ports
		least += min(inside/2, manyPorts[kind])
		if kind == underTLS {
			tls = inside
		}
	}
	n := float64(x.inside)
	return x, x.connections >= leastDialogues && p.busy*4 >= p.dialogues &&
		x.inside >= leastTransfers && x.ports >= max(leastPorts, least) && n >= leastInside*float64(x.transfers) &&
		float64(p.overlaps) <= mostOverlaps*n && float64(p.again) <= mostAgain*n && p.commands(x.inside) &&
		p.chance <= mostChance*tls
}

// count counts the transfers of one kind, and those that began in a dialogue
// with a port, without those of services.
func (s *hintServer) count(port uint16, kind int) (transfers, inside, ports int) {
	most := usual(&s.all[kind])
	for b, all := range s.all[kind] {
		if all > most || kind == underTLS && b == int(port%256) {
			continue // a service, or the dialogues themselves
		}
		transfers += int(all)
		if in := int(s.ports[port].inside[kind][b]); in > 0 {
			inside += in
			ports++
		}
	}
	return transfers, inside, ports
}

// commands reports whether the dialogues can have commanded so many transfers.
func (p *hintPort) commands(transfers int) bool {
	return p.packets >= packetsPerTransfer*uint64(transfers) && p.packets <= mostPacketsPerTransfer*uint64(transfers) &&
		p.toServer >= bytesToServer*transfers && p.toClient >= bytesToClient*transfers
}

// found returns the ports that look like FTP, in order. Of one server it is
// the one with most transfers in its dialogues, and of several with the same
// ones that whose dialogues fit them most tightly.
func (h *hints) found() []hint {
	h.advance(forever)
	for _, k := range slices.SortedFunc(maps.Keys(h.pairs), pairKey.compare) {
		h.settle(k, h.pairs[k], len(h.pairs[k]))
	}
	clear(h.pairs)
	byPort := map[uint16]hint{}
	for _, a := range slices.SortedFunc(maps.Keys(h.evidence), flow.Addr.Compare) {
		best, ok := h.evidence[a].best()
		if !ok {
			continue
		}
		x := byPort[best.port]
		x.port = best.port
		x.servers = append(x.servers, a)
		x.connections += best.connections
		x.transfers += best.transfers
		x.inside += best.inside
		x.ports += best.ports
		byPort[best.port] = x
	}
	var found []hint
	for _, port := range sortedKeys(byPort) {
		found = append(found, byPort[port])
	}
	return found
}

func (s *hintServer) best() (best hint, ok bool) {
	for _, port := range sortedKeys(s.ports) {
		x, enough := s.judge(port)
		if enough && (!ok || cmp.Or(cmp.Compare(x.inside, best.inside), cmp.Compare(best.seconds, x.seconds)) > 0) {
			best, ok = x, true
		}
	}
	return best, ok
}

// otherServices have ports that nobody gives to FTP. Some of them have small
// packets both ways beside traffic on other ports.
var otherServices = portSet(
	20, 22, 23, 25, 43, 53, 80, 88, 110, 111, 135, 139, 143, 179, 389, 443, 445, 464, 465, 514, 515, 543, 544, 548, 554, 587, 593, 631, 636,
	853, 873, 989, 992, 993, 995, 1080, 1099, 1352, 1433, 1434, 1494, 1521, 1720, 1723, 1883, 2049, 2181, 2375, 2376, 2379, 2380, 2598,
	3128, 3260, 3268, 3269, 3306, 3389, 4369, 4505, 4506, 5044, 5060, 5061, 5222, 5269, 5432, 5601, 5671, 5672, 5900, 5901, 5938, 5984,
	5985, 5986, 6379, 6443, 6881, 7077, 7946, 8080, 8086, 8300, 8301, 8443, 8500, 8554, 8883, 9042, 9090, 9092, 9093, 9100, 9160, 9200,
	9300, 9389, 10000, 10050, 10051, 10080, 10250, 11211, 15672, 24224, 26379, 27017, 51413,
)

func portSet(ports ...uint16) map[uint16]bool {
	s := make(map[uint16]bool, len(ports))
	for _, p := range ports {
		s[p] = true
	}
	return s
}
