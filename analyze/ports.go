package analyze

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"ephemera/analyze/picker"
	"ephemera/ingest/flow"
	"ephemera/rules"
)

// maxPeers is the most peers that a slot keeps apart. Beyond it they are
// kept as wider and wider networks, so that memory stays bounded however
// many addresses the traffic has.
const maxPeers = 128

// Prefix lengths of peers, from the narrowest.
var (
	widths4 = []int{32, 24, 16, 8, 0}
	widths6 = []int{128, 64, 48, 32, 0}
)

// A slotKey is a slot without its peer.
type slotKey struct {
	layer     rules.Layer
	filter    string
	direction flow.Direction
	proto     flow.Proto
	purpose   string
	chosenBy  string
	v6        bool
}

func (k slotKey) compare(l slotKey) int {
	return cmp.Or(cmp.Compare(k.layer, l.layer), cmp.Compare(k.filter, l.filter), cmp.Compare(k.direction, l.direction),
		cmp.Compare(k.purpose, l.purpose), cmp.Compare(k.proto, l.proto), cmp.Compare(k.chosenBy, l.chosenBy), compareBool(k.v6, l.v6))
}

// A slotUse is the demand at a slot by peer, in bounded memory: when there
// are too many peers, all of them are widened. The result depends only on
// the set of peers, not on their order.
type slotUse struct {
	width int // index into widths
	// peers are by the first address of their network.
	peers map[flow.Addr]*portUseAt

	// The peer of the connection before, which is often that of the next one.
	last    flow.Addr
	lastUse *portUseAt
}

// portUseAt is the demand of one peer.
type portUseAt struct {
	connections int
	fixed       rules.PortBitmap // passed, where nobody picks the port
	sample      picker.Sample    // of what passed, where somebody does
	stopped     rules.PortBitmap // attempted, and did not pass
	wanted      rules.PortBitmap // attempted by what surely was FTP
	entry       string           // of entries, the one met last, which is often that of the next connection
	entries     []string         // the rules that let packets pass, in words
}

// used returns the ports of what passed.
func (p *portUseAt) used() rules.PortSet { return p.fixed.Set().Union(p.sample.Used()) }

// attempted returns the ports of what passed and of what did not.
func (p *portUseAt) attempted() rules.PortSet { return p.used().Union(p.stopped.Set()) }

// demand collects which destination ports connections need at each filter.
// Only connections that had a right to exist count: what a NAT gateway drops
// silently, and late packets, widen nothing.
type demand struct {
	topo    topology
	attr    *attributor
	entries int
	// observed makes proposals of what FTP was seen to use, and no more.
	observed bool
	slots    map[slotKey]*slotUse
	gates    map[gateKey]*gateSet
	uses     map[ruleKey]*ruleUse // of FTP connections only
	pickers  *pickers
}

func newDemand(t topology, a *attributor, o Options) *demand {
	return &demand{
		topo: t, attr: a, entries: o.Entries, observed: o.Observed, slots: map[slotKey]*slotUse{}, gates: map[gateKey]*gateSet{}, uses: map[ruleKey]*ruleUse{}, pickers: newPickers(o),
	}
}

// add counts one connection at every filter on its way.
func (d *demand) add(c *Connection, r roles) {
	if c.Unsolicited || !answered(c) && !r.isFTP() {
		return
	}
	d.pickers.addServer(c, r)
	id := c.Tuple.Hash()
	var stops [maxStops]stop
	for _, s := range r.allStops(stops[:0], c) {
		var h hop
		if (r.isFTP() || s.way().Packets() > 0) && r.setHop(&h, c, s) {
			d.addHop(c, r, &h, id)
		}
	}
}

// addHop counts one connection at the filters of one hop. The id is the hash
// of its five-tuple.
func (d *demand) addHop(c *Connection, r roles, h *hop, id uint64) {
	gates := d.gatesAt(h, r.usage(c, h))
	for i := range gates {
		g := &gates[i]
		p := g.slot.peer(h.peer())
		p.add(h, r, g.rule)
		if h.passed {
			d.pass(g, p, c.Start, h.tuple.DstPort, id)
		}
		if r.isFTP() {
			k := g.key
			d.use(ruleKey{h.point, k.layer, k.filter, k.direction, k.purpose, k.chosenBy}).add(c, h, g.rule, r)
		}
	}
}

// A gate is a filter that connections of one kind meet, with what decides
// there and what is counted.
type gate struct {
	key    slotKey
	rule   string // in words; empty when it is not known
	slot   *slotUse
	behind *picker.Sample // of the clients that pick the ports; nil before the first
}

// pass counts the port of a connection that passed the gate.
func (d *demand) pass(g *gate, p *portUseAt, start int64, port uint16, id uint64) {
	if g.key.chosenBy == ChosenFixed {
		p.fixed.Add(port)
		return
	}
	fresh := p.sample.Add(start, port, id)
	if g.key.chosenBy != ChosenClient {
		return
	}
	if g.behind == nil {
		g.behind = d.pickers.hostsOf(g.key)
	}
	if fresh {
		g.behind.Add(start, port, id)
	} else {
		g.behind.AddAgain(start, port, id) // whoever added it to p added it there
	}
}

// A gateKey is all that decides which gates a hop has, packed: a log asks for
// few of them again and again.
type gateKey struct {
	answer *rules.Answer
	iface  *Interface // nil when the rules are known, and name the filters
	kind   uint64     // direction, protocol, use of the ports and more
}

// A gateSet holds the gates of one key. Where the rules are not known they
// are named by place, which an interface can change as its records tell more.
type gateSet struct {
	gates []gate
	place string
}

// maxGates is how many keys are remembered.
const maxGates = 1 << 16

// gatesAt returns the filters at a hop, whose packets have the given use.
func (d *demand) gatesAt(h *hop, u usage) []gate {
	answer := d.attr.checkAt(h)
	k := gateKey{answer: answer, kind: uint64(h.direction)<<32 | uint64(h.tuple.Proto)<<16 | uint64(u)<<8}
	if !h.peer().Is4() {
		k.kind |= 1
	}
	if !answer.Unknown {
		if s := d.gates[k]; s != nil {
			return s.gates
		}
		return d.makeGates(k, answer, h, u, "")
	}
	k.iface = h.iface
	if h.reply || h.iface.NAT {
		k.kind |= 2 // no security group
	}
	place := cmp.Or(h.iface.SubnetID, h.iface.ID)
	if s := d.gates[k]; s != nil && s.place == place {
		return s.gates
	}
	return d.makeGates(k, answer, h, u, place)
}

func (d *demand) makeGates(k gateKey, answer *rules.Answer, h *hop, u usage, place string) []gate {
	if len(d.gates) >= maxGates {
		clear(d.gates)
	}
	s := &gateSet{place: place}
	for _, v := range filtersAt(answer.Check, h) {
		key := slotKey{v.Layer, v.ID, h.direction, h.tuple.Proto, usages[u].purpose, usages[u].chosenBy, !h.peer().Is4()}
		s.gates = append(s.gates, gate{key: key, rule: v.Rule, slot: d.slot(key)})
	}
	d.gates[k] = s
	return s.gates
}

// answered reports whether what reached an interface of the VPC from
// outside was answered. A scan that the rules let in is no demand. What
// starts inside always counts, and so does what was rejected on its way.
func answered(c *Connection) bool {
	return c.Server == nil || c.Client != nil || c.Server.FromResponder.Packets() > 0
}

// filtersAt returns the filters at a hop with what decides there. Where the
// rules are not known, the subnet or the interface stands for them.
func filtersAt(check rules.Check, h *hop) []rules.Verdict {
	vs := slices.Clone(check.Verdicts)
	if !check.Unknown {
		return vs
	}
	has := func(l rules.Layer) bool {
		return slices.ContainsFunc(vs, func(v rules.Verdict) bool { return v.Layer == l })
	}
	if !has(rules.NACL) {
		vs = append(vs, rules.Verdict{Layer: rules.NACL, ID: cmp.Or(h.iface.SubnetID, h.iface.ID)})
	}
	if !has(rules.SG) && !h.reply && !h.iface.NAT {
		vs = append(vs, rules.Verdict{Layer: rules.SG, ID: cmp.Or(h.iface.SubnetID, h.iface.ID)})
	}
	return vs
}

func (d *demand) slot(k slotKey) *slotUse {
	s := d.slots[k]
	if s == nil {
		s = &slotUse{peers: map[flow.Addr]*portUseAt{}}
		d.slots[k] = s
	}
	return s
}

// add counts a connection of a peer at a hop. What the ports of those that
// passed are kept for, demand.pass knows.
func (p *portUseAt) add(h *hop, r roles, rule string) {
	if r.isFTP() && r.certain() {
		p.wanted.Add(h.tuple.DstPort)
	}
	if !h.passed {
		p.stopped.Add(h.tuple.DstPort)
		return
	}
	p.connections++
	p.addEntry(rule)
}

// addEntry notes a rule that let packets pass. There are few for a peer.
func (p *portUseAt) addEntry(rule string) {
	if rule == p.entry || rule == "" {
		return
	}
	p.entry = rule
	if !slices.Contains(p.entries, rule) {
		p.entries = append(p.entries, rule)
	}
}

// peer returns the demand of the network that a is in.
func (s *slotUse) peer(a flow.Addr) *portUseAt {
	if a == s.last {
		return s.lastUse
	}
	s.last, s.lastUse = a, s.find(a)
	return s.lastUse
}

func (s *slotUse) find(a flow.Addr) *portUseAt {
	for {
		network := s.network(a)
		if p := s.peers[network]; p != nil {
			return p
		}
		if len(s.peers) < maxPeers {
			p := &portUseAt{}
			s.peers[network] = p
			return p
		}
		s.widen()
	}
}

// network returns the first address of the network that a counts to.
func (s *slotUse) network(a flow.Addr) flow.Addr {
	if s.width == 0 {
		return a
	}
	return flow.AddrFrom(a.Prefix(s.bits(a)).Addr())
}

func (s *slotUse) bits(a flow.Addr) int {
	if a.Is4() {
		return widths4[s.width]
	}
	return widths6[s.width]
}

// widen puts the peers into the next wider networks.
func (s *slotUse) widen() {
	s.width++
	old := s.peers
	s.peers, s.last, s.lastUse = make(map[flow.Addr]*portUseAt, len(old)), flow.Addr{}, nil
	for a, use := range old {
		wide := s.network(a)
		if s.peers[wide] == nil {
			s.peers[wide] = use
		} else {
			s.peers[wide].merge(use)
		}
	}
}

func (p *portUseAt) merge(o *portUseAt) {
	p.connections += o.connections
	p.fixed.AddSet(o.fixed.Set())
	p.stopped.AddSet(o.stopped.Set())
	p.wanted.AddSet(o.wanted.Set())
	p.sample.Merge(&o.sample)
	for _, e := range o.entries {
		p.addEntry(e)
	}
}

// all yields the peers in order.
func (s *slotUse) all() iter.Seq2[netip.Prefix, *portUseAt] {
	return func(yield func(netip.Prefix, *portUseAt) bool) {
		for _, a := range slices.SortedFunc(maps.Keys(s.peers), flow.Addr.Compare) {
			first := a.Netip()
			if !a.IsValid() {
				first = netip.IPv6Unspecified() // which reads as no address
			}
			if !yield(netip.PrefixFrom(first, s.bits(a)), s.peers[a]) {
				return
			}
		}
	}
}

// rows makes the table of port demand.
func (d *demand) rows() []PortDemand {
	var rows []PortDemand
	for _, k := range slices.SortedFunc(maps.Keys(d.slots), slotKey.compare) {
		for peer, p := range d.slots[k].all() {
			rows = append(rows, d.row(k, peer, p))
		}
	}
	return rows
}

func (d *demand) row(k slotKey, peer netip.Prefix, p *portUseAt) PortDemand {
	used, attempted := p.used(), p.attempted()
	r := PortDemand{
		Slot:   slotName(k, peer),
		Filter: k.layer.String(), FilterID: k.filter, Direction: k.direction, Peer: peer.String(), Protocol: k.proto.String(),
		Purpose: k.purpose, PortChosenBy: k.chosenBy, Connections: p.connections, DistinctPorts: used.Len(),
		UnusedNow:       -1,
		Ranges:          ranges(rules.Cover(used, d.entries)),
		AttemptedRanges: ranges(rules.Cover(attempted, d.entries)),
	}
	r.Observed = r.Ranges
	if !used.IsEmpty() {
		r.Min, r.Max = used.Min(), used.Max()
	}
	if allowed, ok := d.allowed(k, peer); ok {
		r.AllowedNow = ranges(allowed)
		r.UnusedNow = allowed.Subtract(used).Len()
	}
	r.estimate(d.infer(p, k, peer))
	r.Curve = curve(used)
	return r
}

// estimate fills in what the ports seen say about those to come.
func (r *PortDemand) estimate(e picker.Estimate) {
	for _, f := range e.Fits {
		r.Fits = append(r.Fits, fitText(f))
	}
	r.Safe, r.KeepReason = ranges(e.Safe.Ports), e.Keep
	if r.Connections == 0 || r.PortChosenBy == ChosenFixed {
		return
	}
	safe, observed := round(e.Safe.Outside), round(e.Observed.Outside)
	r.OutsideProbability, r.ObservedOutside = &safe, &observed
	lost, tested := e.Safe.Lost, e.Safe.Tested
	r.BacktestLost, r.BacktestTotal = &lost, &tested
	low, high := round(e.Safe.Low), round(e.Safe.High)
	r.BacktestLow, r.BacktestHigh = &low, &high
}

// fitText writes a range that fits: "Linux 32768-60999=0.97".
func fitText(f picker.Fit) string { return fmt.Sprintf("%s %s=%.2g", f.Name, f.Ports, f.Probability) }

// maxCurve is how many entries the curve of a slot goes up to: those of a
// network ACL in one direction, without the default deny.
const maxCurve = 19

// curve writes the price of covering ports: "1=182;2=120" for one entry that
// exposes 182 ports, or two that expose 120.
func curve(s rules.PortSet) []string {
	var points []string
	for _, p := range rules.CoverCurve(s, maxCurve) {
		points = append(points, fmt.Sprintf("%d=%d", p.Entries, p.Exposed))
	}
	return points
}

// allowed returns the ports that the filter lets through for all of peer,
// by the newest snapshot.
func (d *demand) allowed(k slotKey, peer netip.Prefix) (rules.PortSet, bool) {
	nets := d.topo.networks
	if len(nets) == 0 {
		return rules.PortSet{}, false
	}
	n := nets[len(nets)-1]
	if k.layer == rules.SG {
		groups := strings.Split(k.filter, ";")
		if n.Group(groups[0]) == nil {
			return rules.PortSet{}, false
		}
		return n.GroupPorts(groups, k.direction, flow.AddrFrom(peer.Addr()), k.proto), true
	}
	acl := n.ACL(k.filter)
	if acl == nil {
		return rules.PortSet{}, false
	}
	every, _ := acl.AllowedPorts(k.direction, peer, k.proto)
	return every, true
}

func ranges(s rules.PortSet) []string {
	var out []string
	for _, r := range s.Ranges() {
		out = append(out, r.String())
	}
	return out
}

// natRange is what a NAT gateway picks source ports from, whatever was
// observed. Source: VPC User Guide, "Network ACLs", ephemeral ports.
var natRange = rules.PortRange{From: 1024, To: 65535}
