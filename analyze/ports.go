package analyze

import (
	"cmp"
	"fmt"
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
	peers map[netip.Prefix]*portUseAt
}

// portUseAt is the demand of one peer.
type portUseAt struct {
	connections     int
	used, attempted rules.PortBitmap
	wanted          rules.PortBitmap // attempted by what surely was FTP
	entries         map[string]bool  // the rules that let packets pass, in words
	sample          picker.Sample    // of what passed, where somebody picks the port
}

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
	uses     map[ruleKey]*ruleUse // of FTP connections only
	pickers  *pickers
}

func newDemand(t topology, a *attributor, o Options) *demand {
	return &demand{
		topo: t, attr: a, entries: o.Entries, observed: o.Observed, slots: map[slotKey]*slotUse{}, uses: map[ruleKey]*ruleUse{}, pickers: newPickers(o),
	}
}

// add counts one connection at every filter on its way.
func (d *demand) add(c *Connection, r roles) {
	if c.Unsolicited || !answered(c) && !r.isFTP() {
		return
	}
	d.pickers.addServer(c, r)
	id := c.Tuple.Hash()
	for _, h := range r.hops(c) {
		if !h.reached && !r.isFTP() {
			continue
		}
		purpose, chosenBy := r.purpose(c, h)
		for _, v := range filtersAt(d.attr.checkAt(h), h) {
			k := slotKey{v.Layer, v.ID, h.direction, h.tuple.Proto, purpose, chosenBy, !h.peer().Is4()}
			p := d.slot(k).add(h, v.Rule, r)
			if h.passed && chosenBy != ChosenFixed {
				p.sample.Add(c.Start, h.tuple.DstPort, id)
			}
			d.pickers.add(k, c, h, id)
			if r.isFTP() {
				d.use(ruleKey{h.point, v.Layer, v.ID, h.direction, purpose, chosenBy}).add(c, h, v, r)
			}
		}
	}
}

// answered reports whether what reached an interface of the VPC from
// outside was answered. A scan that the rules let in is no demand. What
// starts inside always counts, and so does what was rejected on its way.
func answered(c *Connection) bool {
	return c.Server == nil || c.Client != nil || c.Server.FromResponder.Packets() > 0
}

// filtersAt returns the filters at a hop with what decides there. Where the
// rules are not known, the subnet or the interface stands for them.
func filtersAt(check rules.Check, h hop) []rules.Verdict {
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
		s = &slotUse{peers: map[netip.Prefix]*portUseAt{}}
		d.slots[k] = s
	}
	return s
}

func (s *slotUse) add(h hop, rule string, r roles) *portUseAt {
	p := s.peer(h.peer())
	p.attempted.Add(h.tuple.DstPort)
	if r.isFTP() && r.certain() {
		p.wanted.Add(h.tuple.DstPort)
	}
	if h.passed {
		p.used.Add(h.tuple.DstPort)
		p.connections++
		if rule != "" {
			p.entries[rule] = true
		}
	}
	return p
}

// peer returns the demand of the network that a is in.
func (s *slotUse) peer(a flow.Addr) *portUseAt {
	for {
		prefix := a.Prefix(s.bits(a))
		if p := s.peers[prefix]; p != nil {
			return p
		}
		if len(s.peers) < maxPeers {
			p := &portUseAt{entries: map[string]bool{}}
			s.peers[prefix] = p
			return p
		}
		s.widen()
	}
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
	s.peers = make(map[netip.Prefix]*portUseAt, len(old))
	for p, use := range old {
		a := flow.AddrFrom(p.Addr())
		wide := a.Prefix(s.bits(a))
		if s.peers[wide] == nil {
			s.peers[wide] = use
		} else {
			s.peers[wide].merge(use)
		}
	}
}

func (p *portUseAt) merge(o *portUseAt) {
	p.connections += o.connections
	p.used.AddSet(o.used.Set())
	p.attempted.AddSet(o.attempted.Set())
	p.wanted.AddSet(o.wanted.Set())
	p.sample.Merge(&o.sample)
	for e := range o.entries {
		p.entries[e] = true
	}
}

// rows makes the table of port demand.
func (d *demand) rows() []PortDemand {
	var rows []PortDemand
	for _, k := range slices.SortedFunc(maps.Keys(d.slots), slotKey.compare) {
		s := d.slots[k]
		for _, p := range slices.SortedFunc(maps.Keys(s.peers), netip.Prefix.Compare) {
			rows = append(rows, d.row(k, p, s.peers[p]))
		}
	}
	return rows
}

func (d *demand) row(k slotKey, peer netip.Prefix, p *portUseAt) PortDemand {
	used, attempted := p.used.Set(), p.attempted.Set()
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
