package analyze

import (
	"cmp"
	"net/netip"

	"ephemera/ingest/flow"
)

// InitiatorEvidence is what tells who opened a connection.
type InitiatorEvidence uint8

// The kinds of evidence, from the strongest.
const (
	BySYN      InitiatorEvidence = iota // a SYN without ACK
	ByAnswer                            // SYN with ACK came from the other side
	ByControl                           // a known control port
	ByListener                          // a port seen listening: many peers, or a well-known service
	ByTime                              // the earlier first packet
	ByClient                            // the hosts' roles in an FTP control connection
	ByTopology                          // a private address and the internet
	ByOneWay                            // packets in one direction only: the first, or a straggler
	ByNothing                           // a guess
)

// initiator tells whether the side of tuple.Src opened the connection, and
// by what evidence.
func initiator(i *Interface, seen, head flow.Tuple, ws []window, p *portMeaning) (forward bool, by InitiatorEvidence) {
	if f, by, ok := initiatorByFlags(ws); ok {
		return f, by
	}
	src, dst := destination(head.Reverse()), destination(head)
	if c, d := p.control.has(src.port), p.control.has(dst.port); c != d && head.Proto == flow.TCP {
		return d, ByControl
	}
	if c := p.listening(src, dst); c != 0 {
		return c < 0, ByListener
	}
	if f, ok := initiatorByTime(ws, 1); ok {
		return f, ByTime
	}
	if one, f := oneWay(ws); one {
		return f, ByOneWay
	}
	if c := p.client(head); c != 0 {
		return c > 0, ByClient
	}
	if s, d := isPrivate(head.Src), isPrivate(head.Dst); s != d {
		return s, ByTopology
	}
	return i.owns(seen.Src), ByNothing
}

// initiatorByFlags looks for a SYN without ACK, then for the answer to one.
// It tests bits: flags are ORed over the window.
func initiatorByFlags(ws []window) (forward bool, by InitiatorEvidence, ok bool) {
	for _, w := range ws {
		if w.flags.Has(flow.SYN) && !w.flags.Has(flow.ACK) {
			return w.forward, BySYN, true
		}
	}
	for _, w := range ws {
		if w.flags.Has(flow.SYN | flow.ACK) {
			return !w.forward, ByAnswer, true
		}
	}
	return false, 0, false
}

// initiatorByTime compares the first packets of the two directions, if they
// are more than slack seconds apart.
func initiatorByTime(ws []window, slack int64) (forward, ok bool) {
	var first [2]int64
	for _, w := range ws {
		k := 0
		if w.forward {
			k = 1
		}
		if first[k] == 0 || w.start < first[k] {
			first[k] = w.start
		}
	}
	if first[0] == 0 || first[1] == 0 {
		return false, false
	}
	d := first[0] - first[1]
	return d > 0, d > slack || -d > slack
}

func oneWay(ws []window) (one, forward bool) {
	for _, w := range ws {
		if w.forward != ws[0].forward {
			return false, false
		}
	}
	return true, ws[0].forward
}

// agree turns the legs of one connection at several interfaces the same way
// round: that of the leg with the strongest evidence.
func (f *families) agree() {
	for _, l := range f.legs {
		if !f.begins(l) || f.alone(l) {
			continue
		}
		best := l
		f.each(l, func(m *Leg) {
			if m.Initiator < best.Initiator {
				best = m
			}
		})
		f.each(l, func(m *Leg) {
			if m.Initiator > best.Initiator && m.Header != best.Header {
				m.turn(m.Seen.Dst)
				m.Initiator = best.Initiator
			}
		})
	}
}

// A portMeaning knows which ports mean a service here: by convention, by the
// user's word, and by having been seen with many peers.
type portMeaning struct {
	control *portFlags
	peers   peerTable
	ftp     map[pairKey]bool      // who is a client of whom
	found   []flow.Addr           // servers that were learned since publish was called
	servers map[flow.Addr]bool    // who has a control port that something was let through to
	near    map[netip.Prefix]bool // their neighbourhoods
}

type endpoint struct {
	addr  flow.Addr
	port  uint16
	proto flow.Proto
}

func newPortMeaning(control []uint16) *portMeaning {
	p := &portMeaning{control: &portFlags{}, peers: newPeerTable(), ftp: map[pairKey]bool{}, servers: map[flow.Addr]bool{}, near: map[netip.Prefix]bool{}}
	for _, port := range control {
		p.control.add(port)
	}
	return p
}

// learn counts the group's endpoints as each other's peers.
func (p *portMeaning) learn(g *group) {
	if len(g.headers) == 0 {
		p.learnTuple(g.key.tuple, g)
	}
	for _, h := range g.headers {
		t := g.key.tuple
		t.Src, t.Dst = h.src, h.dst
		p.learnTuple(t, g)
	}
}

// memory is how long an endpoint that is not known to listen is remembered
// at least, in seconds.
const memory = 3600

// forget drops what was last heard of long before the time now, but for those
// that listen.
func (p *portMeaning) forget(now int64) { p.peers.forget(now - memory) }

// touch loads what learnTuple will want; see groupTable.touch.
func (p *portMeaning) touch(t flow.Tuple) int64 {
	return p.peers.touch(destination(t.Reverse()), destination(t))
}

func (p *portMeaning) learnTuple(t flow.Tuple, g *group) {
	if t.Proto == flow.TCP && p.control.has(t.DstPort) != p.control.has(t.SrcPort) {
		if p.control.has(t.SrcPort) {
			t = t.Reverse()
		}
		p.ftp[pairKey{t.Src, t.Dst}] = true
		if g.accepted && !p.servers[t.Dst] {
			p.found = append(p.found, t.Dst)
		}
	}
	p.peers.count(destination(t.Reverse()), destination(t), g.firstEnd)
}

// publish makes servers of those found. What is read of servers and near stays
// as it is between its calls, whatever is learned.
func (p *portMeaning) publish() {
	for _, a := range p.found {
		p.servers[a] = true
		if n := neighbourhoodOf(a); n.IsValid() {
			p.near[n] = true
		}
	}
	p.found = p.found[:0]
}

// hash is FNV-1a: the same in every run, where the order of something
// depends on it.
func hash[T string | []byte](text T) uint32 {
	h := uint32(2166136261)
	for i := range len(text) {
		h = (h ^ uint32(text[i])) * 16777619
	}
	return h
}

// listening compares two endpoints: positive when a is the one that
// listens, negative when b is, 0 when the log does not tell.
func (p *portMeaning) listening(a, b endpoint) int {
	if s, t := wellKnown.has(a.port), wellKnown.has(b.port); s != t {
		return compareBool(s, t)
	}
	return cmp.Compare(p.seenWith(a), p.seenWith(b))
}

// client tells, from the hosts' FTP control connections, who opens a
// connection between them: positive for t.Src, negative for t.Dst, 0 when
// they have none, or both ways. In passive mode that is the client; in
// active mode the server, from its own port.
func (p *portMeaning) client(t flow.Tuple) int {
	if t.Proto != flow.TCP {
		return 0
	}
	c := compareBool(p.ftp[pairKey{t.Src, t.Dst}], p.ftp[pairKey{t.Dst, t.Src}])
	if c > 0 && isActiveSource(t.DstPort) || c < 0 && isActiveSource(t.SrcPort) {
		return -c
	}
	return c
}

func (p *portMeaning) seenWith(e endpoint) int {
	if p.peers.listens(e) {
		return 1
	}
	return 0
}

// wellKnown are services whose port, against a port that is none, names the
// server. Port 20 is not among them: active FTP data is opened from it. No
// rule says that the lower port is the server: it would turn passive FTP
// (33000 to 50000) and active data (20 to 40001) round.
var wellKnown = flagged(
	22, 25, 53, 80, 110, 123, 143, 389, 443, 445, 465, 587,
	636, 853, 993, 995, 1433, 3306, 3389, 5432, 8080, 8443,
)

// portFlags is a set of ports.
type portFlags [1 << 10]uint64

func flagged(ports ...uint16) *portFlags {
	f := &portFlags{}
	for _, p := range ports {
		f.add(p)
	}
	return f
}

func (f *portFlags) add(port uint16)      { f[port>>6] |= 1 << (port & 63) }
func (f *portFlags) has(port uint16) bool { return f[port>>6]>>(port&63)&1 != 0 }

// ports lists the set in order.
func (f *portFlags) ports() []uint16 {
	var ps []uint16
	for p := range 1 << 16 {
		if f.has(uint16(p)) {
			ps = append(ps, uint16(p))
		}
	}
	return ps
}
