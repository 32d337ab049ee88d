package rules

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"ephemera/ingest/flow"
)

// passage says what passes one filter in one direction, by going through its
// entries or rules one by one.
func (f filterID) passage(s RuleSet, dir flow.Direction) func(probe) bool {
	if f.layer == SG {
		return func(p probe) bool { return literallyAnyAllows(s.Group(f.id), dir, p) }
	}
	var entries []Entry
	for _, e := range s.ACL(f.id).Entries {
		if e.Direction() == dir {
			entries = append(entries, e)
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int { return a.RuleNumber - b.RuleNumber })
	return func(p probe) bool {
		for _, e := range entries {
			if p.ref == "" && e.Prefix.Contains(p.peer) && p.hits(e.Protocol, e.Ports, e.HasPorts, e.ICMPType, e.ICMPCode) {
				return e.Allow
			}
		}
		return false
	}
}

// A revised is a random network with what is asked of it, and a proposal.
type revised struct {
	from, to RuleSet // all filters, those that do not change, too
	reqs     []Requirement
	options  ReviseOptions
	p        *Proposal
	probes   []probe
}

// reviseRanges are what random entries and requirements are made of: wide
// ranges that can be narrowed, and narrow ones that nobody looks at.
var reviseRanges = []PortRange{
	{1024, 65535}, {0, 65535}, {32768, 65535}, {32768, 60999}, {49152, 65535}, {1024, 32767}, {40000, 50000}, {10000, 12047}, {10000, 12048},
	{21, 21}, {443, 443}, {3389, 3389}, {50000, 50099}, {50100, 50199}, {50000, 50000}, {65535, 65535}, {1024, 1024}, {60000, 65000}, {5000, 30000},
}

func drawRange(rng *rand.Rand) PortRange {
	if rng.IntN(6) > 0 {
		return reviseRanges[rng.IntN(len(reviseRanges))]
	}
	a, b := uint16(rng.IntN(65536)), uint16(rng.IntN(65536))
	return PortRange{min(a, b), max(a, b)}
}

// drawPrefix draws from a few networks of both families that contain one
// another.
func drawPrefix(rng *rand.Rand) netip.Prefix {
	base := netip.MustParsePrefix([]string{"10.0.1.0/28", "203.0.113.0/28", "2001:db8::/124"}[[]int{0, 1, 1, 2}[rng.IntN(4)]])
	b := base.Addr().AsSlice()
	b[len(b)-1] |= byte(rng.IntN(16))
	a, _ := netip.AddrFromSlice(b)
	bits := []int{0, 8, base.Bits(), base.Bits() + 1, base.Bits() + 2, base.Bits() + 4}[[]int{0, 0, 0, 1, 2, 2, 3, 4, 5, 5}[rng.IntN(10)]]
	return netip.PrefixFrom(a, bits).Masked()
}

// reviseNetwork draws network ACLs and security groups.
func reviseNetwork(rng *rand.Rand) *Network {
	n := &Network{acls: map[string]*NetworkACL{}, groups: map[string]*SecurityGroup{}}
	for _, id := range []string{"acl-1", "acl-2"} {
		a := &NetworkACL{ID: id}
		for _, dir := range []flow.Direction{flow.Ingress, flow.Egress} {
			number := 0
			most := 2 + rng.IntN(12)
			if rng.IntN(5) == 0 {
				most = 19
			}
			for range most {
				number += 1 + rng.IntN(3)*rng.IntN(30)
				e := mixedEntry(rng, number)
				e.Egress = dir == flow.Egress
				e.Prefix, e.Allow = drawPrefix(rng), rng.IntN(4) > 0
				if rng.IntN(3) > 0 {
					e.Protocol = 6
				}
				if e.Protocol == 6 || e.Protocol == 17 {
					e.Ports, e.HasPorts, e.ICMPType, e.ICMPCode = drawRange(rng), rng.IntN(12) > 0, -1, -1
				}
				a.Entries = append(a.Entries, e)
			}
			for _, family := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
				a.Entries = append(a.Entries, defaultEntry(dir, family))
			}
		}
		a.Sort()
		n.acls[id] = a
	}
	for _, id := range []string{"sg-1", "sg-2"} {
		g := &SecurityGroup{ID: id}
		for _, list := range []*[]GroupRule{&g.Ingress, &g.Egress} {
			for range rng.IntN(7) {
				r := mixedRule(rng)
				if r.Prefix.IsValid() {
					r.Prefix = drawPrefix(rng)
				}
				if rng.IntN(3) > 0 {
					r.Protocol = 6
				}
				if r.Protocol == 6 || r.Protocol == 17 {
					r.Ports, r.HasPorts, r.ICMPType, r.ICMPCode = drawRange(rng), true, -1, -1
				}
				r.Description = []string{"", "by hand"}[rng.IntN(2)]
				*list = append(*list, r)
			}
		}
		n.groups[id] = distinct(g)
	}
	return n
}

// sometimes returns a random part of the ports: single ones, or ranges.
func sometimes(rng *rand.Rand, of PortSet) PortSet {
	var some []PortRange
	for _, r := range of.Ranges() {
		for range rng.IntN(4) {
			a := r.From + uint16(rng.IntN(r.Len()))
			b := min(int(r.To), int(a)+[]int{0, 0, 1, 99, 5000}[rng.IntN(5)])
			some = append(some, PortRange{a, uint16(b)})
		}
	}
	return Ports(some...)
}

// literalPorts returns the ports of proto that a filter lets through from or
// to every address of the prefix, and from or to some, port by port where an
// answer can change.
func literalPorts(pass func(probe) bool, peer netip.Prefix, proto flow.Proto, edges []uint16) (every, some PortSet) {
	peers := []netip.Addr{}
	for a := peer.Addr(); peer.Contains(a) && len(peers) < 16; a = a.Next() {
		peers = append(peers, a)
	}
	peers = append(peers, lastAddr(peer))
	for i, edge := range edges {
		r := PortRange{edge, 65535}
		if i+1 < len(edges) {
			r.To = edges[i+1] - 1
		}
		n := 0
		for _, a := range peers {
			if pass(probe{peer: a, proto: proto, port: edge}) {
				n++
			}
		}
		if n == len(peers) {
			every = every.Union(Ports(r))
		}
		if n > 0 {
			some = some.Union(Ports(r))
		}
	}
	return every, some
}

// edgesOf returns the ports at which an answer can change.
func edgesOf(ranges []PortRange) []uint16 {
	edges := []uint16{0}
	for _, r := range ranges {
		edges = append(edges, r.From)
		if r.To < 65535 {
			edges = append(edges, r.To+1)
		}
	}
	slices.Sort(edges)
	return slices.Compact(edges)
}

// drawRequirement asks something of a filter, as a log of it could.
func drawRequirement(rng *rand.Rand, all RuleSet, slot int) Requirement {
	f := []filterID{{NACL, "acl-1"}, {NACL, "acl-1"}, {NACL, "acl-1"}, {NACL, "acl-2"}, {SG, "sg-1"}, {SG, "sg-1"}}[rng.IntN(6)]
	q := Requirement{
		Layer: f.layer, ID: f.id, Direction: pick(rng.IntN(2) == 0, flow.Ingress, flow.Egress), Protocol: flow.TCP,
		Slot: fmt.Sprint("slot-", slot), Connections: 1 + rng.IntN(50), Target: rng.IntN(2) == 0,
	}
	if !q.Target && rng.IntN(4) == 0 {
		q.Protocol = flow.UDP
	}
	for q.Peer = drawPrefix(rng); q.Peer.Bits() < 24; {
		q.Peer = drawPrefix(rng)
	}
	if rng.IntN(3) > 0 {
		q.Peer = netip.PrefixFrom(q.Peer.Addr(), q.Peer.Addr().BitLen())
	}
	q.Scope = netip.PrefixFrom(q.Peer.Addr(), []int{q.Peer.Bits(), q.Peer.Bits() - 2, 24, 0}[rng.IntN(4)]).Masked()
	every, some := literalPorts(f.passage(all, q.Direction), q.Peer, q.Protocol, edgesOf(rangesOf(all)))
	q.Used = sometimes(rng, every)
	if q.Target && rng.IntN(2) == 0 {
		q.Stopped = sometimes(rng, AllPorts().Subtract(some))
	}
	if q.Target || rng.IntN(3) == 0 {
		q.Allow = Ports(drawRange(rng))
	}
	if rng.IntN(15) == 0 {
		q.Wide = "somebody says so"
	}
	return q
}

func rangesOf(s RuleSet) []PortRange {
	var ranges []PortRange
	for _, a := range s.ACLs {
		for _, e := range a.Entries {
			if e.HasPorts {
				ranges = append(ranges, e.Ports)
			}
		}
	}
	for _, g := range s.Groups {
		for _, r := range slices.Concat(g.Ingress, g.Egress) {
			if r.HasPorts {
				ranges = append(ranges, r.Ports)
			}
		}
	}
	return ranges
}

func prefixesOf(s RuleSet) []netip.Prefix {
	var prefixes []netip.Prefix
	for _, a := range s.ACLs {
		for _, e := range a.Entries {
			prefixes = append(prefixes, e.Prefix)
		}
	}
	for _, g := range s.Groups {
		for _, r := range slices.Concat(g.Ingress, g.Egress) {
			prefixes = append(prefixes, r.Prefix)
		}
	}
	return prefixes
}

// revise revises a network, and completes what the revision leaves out.
func revise(n *Network, reqs []Requirement, o ReviseOptions) *revised {
	r := &revised{from: RuleSet{n.ACLs(), n.Groups()}, reqs: reqs, options: o, p: Revise(n, reqs, o)}
	after := n.With(r.p.Revision.To.ACLs, r.p.Revision.To.Groups)
	r.to = RuleSet{after.ACLs(), after.Groups()}
	prefixes, ranges := slices.Concat(prefixesOf(r.from), prefixesOf(r.to)), slices.Concat(rangesOf(r.from), rangesOf(r.to))
	for _, q := range reqs {
		prefixes = append(prefixes, q.Peer, q.Scope)
		ranges = slices.Concat(ranges, q.Used.r, q.Stopped.r, q.Allow.r)
	}
	r.probes = crossed(prefixes, ranges)
	return r
}

// crossed crosses the edges of peers and ports, and adds what has no ports.
func crossed(prefixes []netip.Prefix, ranges []PortRange) []probe {
	var ports []uint16
	for _, edge := range edgesOf(ranges) {
		ports = append(ports, edge, edge-1)
	}
	slices.Sort(ports)
	ports = slices.Compact(ports)
	var probes []probe
	for _, p := range edgePeers(prefixes) {
		for _, p.port = range ports {
			p.proto = flow.TCP
			probes = append(probes, p)
		}
		for _, p.port = range []uint16{0, 1024, 40000, 65535} {
			p.proto = flow.UDP
			probes = append(probes, p)
		}
		p.port = 0
		for _, p.proto = range []flow.Proto{flow.ICMP, flow.ICMPv6, 47} {
			probes = append(probes, p)
		}
	}
	return probes
}

// keptWhole reports whether the filter was given up.
func (r *revised) keptWhole(id string) bool {
	return slices.ContainsFunc(r.p.Kept, func(k Kept) bool { return k.ID == id && (k.Rule == "all entries" || k.Rule == "all rules") })
}

// givenUp reports whether the requirement's repair finds no room.
func (r *revised) givenUp(q *Requirement) bool {
	return r.keptWhole(q.ID) || slices.ContainsFunc(r.p.Kept, func(k Kept) bool {
		return k.ID == q.ID && k.Direction == q.Direction && k.Rule == "what stops "+q.Slot
	})
}

// asks reports whether a requirement asks to let the probe through.
func (r *Requirement) asks(f filterID, dir flow.Direction, p probe) bool {
	return r.meets(f.layer, f.id, dir) && p.ref == "" && r.Protocol == p.proto && r.Scope.Contains(p.peer) && r.ports().Contains(p.port)
}

// fault says what is wrong with a proposal; empty when nothing is.
func (r *revised) fault() string {
	for _, f := range []filterID{{NACL, "acl-1"}, {NACL, "acl-2"}, {SG, "sg-1"}, {SG, "sg-2"}} {
		for _, dir := range []flow.Direction{flow.Ingress, flow.Egress} {
			if words := r.faultAt(f, dir); words != "" {
				return fmt.Sprintf("%s %s: %s", f.id, dir, words)
			}
		}
		if words := r.faultOfRows(f); words != "" {
			return fmt.Sprintf("%s: %s", f.id, words)
		}
	}
	return ""
}

func (r *revised) faultAt(f filterID, dir flow.Direction) string {
	before, after := f.passage(r.from, dir), f.passage(r.to, dir)
	opened, closed := proofAt(r.p.Proof.Opened, f.id, dir), proofAt(r.p.Proof.Closed, f.id, dir)
	for _, p := range r.probes {
		was, is := before(p), after(p)
		for i := range r.reqs {
			q := &r.reqs[i]
			if !q.meets(f.layer, f.id, dir) || p.ref != "" || q.Protocol != p.proto || !q.Peer.Contains(p.peer) {
				continue
			}
			if q.Used.Contains(p.port) && was && !is {
				return fmt.Sprintf("%+v is used by %s, and closed", p, q.Slot)
			}
			if q.Stopped.Contains(p.port) && !is && !r.options.NoRepair && !r.givenUp(q) {
				return fmt.Sprintf("%+v is stopped of %s, and still is", p, q.Slot)
			}
		}
		switch {
		case is && !was && !slices.ContainsFunc(r.reqs, func(q Requirement) bool { return !q.Stopped.IsEmpty() && q.asks(f, dir, p) }):
			return fmt.Sprintf("%+v is opened, and nobody asks for it", p)
		case is && !was && r.options.NoRepair:
			return fmt.Sprintf("%+v is opened although nothing is to be repaired", p)
		case was && !is && r.options.NoNarrow:
			return fmt.Sprintf("%+v is closed although nothing is to be narrowed", p)
		case holds(opened, p) != (is && !was):
			return fmt.Sprintf("%+v: the proof says of opened %t, the verdicts are %t and then %t", p, holds(opened, p), was, is)
		case holds(closed, p) != (was && !is):
			return fmt.Sprintf("%+v: the proof says of closed %t, the verdicts are %t and then %t", p, holds(closed, p), was, is)
		}
	}
	return r.faultOfSize(f, dir)
}

func proofAt(fs []FilterPackets, id string, dir flow.Direction) []Packets {
	var all []Packets
	for _, f := range fs {
		if f.ID == id && f.Direction == dir {
			all = append(all, f.Packets...)
		}
	}
	return all
}

// faultOfSize checks quotas, and the rule numbers.
func (r *revised) faultOfSize(f filterID, dir flow.Direction) string {
	quota := r.options.Quota.orDefault()
	if f.layer == SG {
		if was, is := rulesOf(r.from.Group(f.id), dir), rulesOf(r.to.Group(f.id), dir); is > max(was, quota.GroupRules) {
			return fmt.Sprintf("%d rules", is)
		}
		return ""
	}
	// The default denies stand among the entries, and are counted already.
	if was, is := entriesOf(r.from.ACL(f.id), dir)-1, entriesOf(r.to.ACL(f.id), dir)-1; is > max(was, quota.Entries) {
		return fmt.Sprintf("%d entries", is)
	}
	last := 0
	var defaults []Entry
	for _, e := range r.to.ACL(f.id).Entries {
		switch {
		case e.Direction() != dir:
			continue
		case e.IsDefault():
			defaults = append(defaults, e)
		case e.RuleNumber > maxRule:
			return fmt.Sprintf("rule number %d", e.RuleNumber)
		}
		if e.RuleNumber <= last {
			return fmt.Sprintf("rule %d comes behind %d", e.RuleNumber, last)
		}
		last = e.RuleNumber
	}
	if want := []Entry{defaultEntry(dir, netip.IPv4Unspecified()), defaultEntry(dir, netip.IPv6Unspecified())}; !slices.Equal(defaults, want) {
		return fmt.Sprintf("the default denies are %v", defaults)
	}
	return r.faultOfBystanders(f, dir)
}

// faultOfBystanders checks that entries which nothing that is asked for can
// meet stay, in the same order.
func (r *revised) faultOfBystanders(f filterID, dir flow.Direction) string {
	var want []string
	for _, e := range r.from.ACL(f.id).Entries {
		if e.Direction() != dir || slices.ContainsFunc(r.reqs, func(q Requirement) bool {
			return q.meets(f.layer, f.id, dir) && (q.Target || !q.Stopped.IsEmpty()) && e.Prefix.Overlaps(q.Peer) &&
				(e.Protocol == AllProtocols || e.Protocol == int(q.Protocol)) && !Ports(e.ports(q.Protocol)).Intersect(q.ports()).IsEmpty()
		}) {
			continue
		}
		want = append(want, entryWords(e))
	}
	for _, e := range r.to.ACL(f.id).Entries {
		if len(want) > 0 && e.Direction() == dir && entryWords(e) == want[0] {
			want = want[1:]
		}
	}
	if len(want) > 0 {
		return fmt.Sprintf("%q is gone or has another place", want[0])
	}
	return ""
}

// entryWords is an entry without its number.
func entryWords(e Entry) string {
	_, words, _ := strings.Cut(strings.TrimPrefix(e.String(), "rule "), " ")
	return words
}

// faultOfRows carries out what the rows say.
func (r *revised) faultOfRows(f filterID) string {
	var rows []Change
	for _, c := range r.p.Changes {
		if c.ID == f.id && c.Layer == f.layer {
			rows = append(rows, c)
		}
	}
	if r.keptWhole(f.id) && len(rows) > 0 {
		return fmt.Sprintf("it is kept, and has %d rows", len(rows))
	}
	if len(rows) == 0 {
		if got, want := contents(only(r.to, f)), contents(only(r.from, f)); got != want {
			return "it changes, and there is no row"
		}
		return ""
	}
	for _, c := range rows {
		if c.changes() && c.Note == "" {
			return fmt.Sprintf("no note on %s %s", c.Kind, c.words())
		}
		if _, ok := r.p.Revision.Notes[c.key()]; ok != c.changes() {
			return fmt.Sprintf("the revision has a note on %s %s: %t", c.Kind, c.words(), ok)
		}
		if c.Replaces == "" != (c.ReplacedPorts == 0) {
			return fmt.Sprintf("%s %s takes the place of %q, %d ports", c.Kind, c.words(), c.Replaces, c.ReplacedPorts)
		}
	}
	if f.layer == SG {
		return r.faultOfGroupRows(f, rows)
	}
	return r.faultOfACLRows(f, rows)
}

func only(s RuleSet, f filterID) RuleSet {
	if f.layer == SG {
		return RuleSet{Groups: []*SecurityGroup{s.Group(f.id)}}
	}
	return RuleSet{ACLs: []*NetworkACL{s.ACL(f.id)}}
}

func (r *revised) faultOfACLRows(f filterID, rows []Change) string {
	has := map[string]Entry{}
	key := func(e Entry) string { return fmt.Sprint(e.Direction(), e.RuleNumber) }
	for _, e := range r.from.ACL(f.id).Entries {
		has[key(e)] = e
	}
	for _, c := range rows {
		if was, ok := has[key(c.Entry)]; (c.Kind == ChangeRemove || c.Kind == ChangeKeep) && (!ok || was != c.Entry) {
			return fmt.Sprintf("%s %s: there is %s", c.Kind, c.Entry, was)
		}
		if c.Kind == ChangeRemove {
			delete(has, key(c.Entry))
		}
	}
	for _, c := range rows {
		was, ok := has[key(c.Entry)]
		switch {
		case c.Kind == ChangeReplace && (!ok || c.Replaces != was.String()):
			return fmt.Sprintf("%s replaces %q, and there is %s", c.Entry, c.Replaces, was)
		case c.Kind == ChangeAdd && ok:
			return fmt.Sprintf("%s is added, and there is %s", c.Entry, was)
		}
		if c.Kind == ChangeAdd || c.Kind == ChangeReplace {
			has[key(c.Entry)] = c.Entry
		}
	}
	for _, e := range r.to.ACL(f.id).Entries {
		if has[key(e)] != e {
			return fmt.Sprintf("no row makes %s", e)
		}
		delete(has, key(e))
	}
	for _, e := range has {
		return fmt.Sprintf("no row takes away %s", e)
	}
	var listed, want []Entry
	for _, c := range rows {
		if c.Kind != ChangeRemove {
			listed = append(listed, c.Entry)
		}
	}
	for _, e := range r.to.ACL(f.id).Entries {
		if !e.IsDefault() {
			want = append(want, e)
		}
	}
	if !slices.Equal(listed, want) {
		return fmt.Sprintf("rows in the order %v, want %v", listed, want)
	}
	return ""
}

func (r *revised) faultOfGroupRows(f filterID, rows []Change) string {
	type directed struct {
		flow.Direction
		GroupRule
	}
	has := map[directed]int{}
	for _, dir := range []flow.Direction{flow.Ingress, flow.Egress} {
		for _, x := range r.from.Group(f.id).Rules(dir) {
			has[directed{dir, x}]++
		}
	}
	for _, c := range rows {
		k := directed{c.Direction, c.Rule}
		switch {
		case c.Kind == ChangeReplace:
			return "a rule of a group has no number to be replaced under"
		case c.Kind == ChangeKeep && has[k] != 1, c.Kind == ChangeRemove && has[k] != 1:
			return fmt.Sprintf("%s %s, of which there are %d", c.Kind, c.words(), has[k])
		case c.Kind == ChangeAdd && has[k] != 0:
			return fmt.Sprintf("add %s, which is there", c.words())
		case c.Kind == ChangeAdd:
			has[k]++
		case c.Kind == ChangeRemove:
			has[k]--
		}
	}
	for _, dir := range []flow.Direction{flow.Ingress, flow.Egress} {
		for _, x := range r.to.Group(f.id).Rules(dir) {
			has[directed{dir, x}]--
		}
	}
	for k, n := range has {
		if n != 0 {
			return fmt.Sprintf("by its rows %s %s is there %d times more than it is", k.Direction, k.GroupRule.Words(k.Direction), n)
		}
	}
	return ""
}

// drawRevised draws a network, requirements and options.
func drawRevised(rng *rand.Rand) (*Network, []Requirement, ReviseOptions) {
	n := reviseNetwork(rng)
	all := RuleSet{n.ACLs(), n.Groups()}
	var reqs []Requirement
	for k := range 1 + rng.IntN(16) {
		reqs = append(reqs, drawRequirement(rng, all, k))
	}
	o := ReviseOptions{NoRepair: rng.IntN(5) == 0, NoNarrow: rng.IntN(5) == 0}
	if rng.IntN(3) == 0 {
		o.Quota = Quota{Entries: 2 + rng.IntN(25), GroupRules: 1 + rng.IntN(8)}
	}
	if rng.IntN(8) == 0 {
		o.Keep = map[string]string{"acl-1": "eni-9 has it, too"}
	}
	return n, reqs, o
}

// reviseRounds is how many random networks are revised, and reviseProbes how
// many random packets, besides those at every edge, are sent through each of
// the four filters, both ways: a million.
const (
	reviseRounds = 250
	reviseProbes = 500
)

// randomProbes draws packets, half of them from where the rules are.
func randomProbes(rng *rand.Rand, n int) []probe {
	probes := make([]probe, n)
	for i := range probes {
		p := &probes[i]
		p.peer, p.port = netip.AddrFrom4([4]byte{byte(rng.IntN(256)), byte(rng.IntN(256)), byte(rng.IntN(256)), byte(rng.IntN(256))}), uint16(rng.IntN(65536))
		if rng.IntN(2) == 0 {
			p.peer, p.port = drawPrefix(rng).Addr(), drawRange(rng).From
		}
		p.proto = []flow.Proto{flow.TCP, flow.TCP, flow.TCP, flow.UDP, flow.ICMP, 47}[rng.IntN(6)]
	}
	return probes
}

// What a proposal lets through is what it may and must, packet by packet; and
// it says of itself what it is.
func TestReviseAgainstFirstMatch(t *testing.T) {
	rng := rand.New(rand.NewPCG(61, 11))
	var changed, given, whole int
	for k := range rounds(reviseRounds) {
		n, reqs, o := drawRevised(rng)
		before := contents(RuleSet{n.ACLs(), n.Groups()})
		r := revise(n, reqs, o)
		r.probes = append(r.probes, randomProbes(rng, reviseProbes)...)
		if words := r.fault(); words != "" {
			t.Fatalf("network %d: %s\n%s", k, words, r)
		}
		if contents(RuleSet{n.ACLs(), n.Groups()}) != before {
			t.Fatalf("network %d was changed itself", k)
		}
		if got, want := r.p.Proof.Needed, r.needed(); got != want {
			t.Fatalf("network %d: %d ports of peers are said to be needed, want %d\n%s", k, got, want, r)
		}
		if sentences := r.p.Summary(); (len(sentences) > 0) != slices.ContainsFunc(r.p.Changes, Change.changes) {
			t.Fatalf("network %d: the summary is %q\n%s", k, sentences, r)
		}
		for _, f := range []filterID{{NACL, "acl-1"}, {NACL, "acl-2"}, {SG, "sg-1"}} {
			if r.keptWhole(f.id) {
				given++
				if !r.asksForNetworks(f) {
					t.Fatalf("network %d: %s is given up\n%s", k, f.id, r)
				}
			}
			changed += pick(contents(only(r.from, f)) != contents(only(r.to, f)), 1, 0)
		}
		whole += len(r.p.Kept)
	}
	t.Logf("%d filters are changed, %d given up; %d entries are named as kept", changed, given, whole)
	if changed < rounds(reviseRounds)/2 || given > changed/10 {
		t.Error("too few are changed, or too many given up")
	}
}

// asksForNetworks reports whether something is stopped of peers that are not
// single addresses: an entry between them can deny it for some of them.
func (r *revised) asksForNetworks(f filterID) bool {
	return slices.ContainsFunc(r.reqs, func(q Requirement) bool {
		return q.Layer == f.layer && q.ID == f.id && !q.Stopped.IsEmpty() && !q.Peer.IsSingleIP()
	})
}

// needed counts the used ports at the filters that were looked at.
func (r *revised) needed() int {
	n := 0
	for _, q := range r.reqs {
		if !r.keptWhole(q.ID) && slices.ContainsFunc(r.reqs, func(x Requirement) bool { return x.Target && x.ID == q.ID }) {
			n += q.Used.Len()
		}
	}
	return n
}

// String is for failures.
func (r *revised) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "options %+v\n", r.options)
	for _, q := range r.reqs {
		fmt.Fprintf(&b, "%s %s %s %s peer %s scope %s target %t wide %q\n    used %s\n    stopped %s\n    allow %s\n",
			q.Slot, q.ID, q.Direction, q.Protocol, q.Peer, q.Scope, q.Target, q.Wide, q.Used, q.Stopped, q.Allow)
	}
	for _, a := range r.from.ACLs {
		for _, e := range a.Entries {
			if !e.IsDefault() {
				fmt.Fprintln(&b, a.ID, e)
			}
		}
	}
	for _, g := range r.from.Groups {
		for _, dir := range []flow.Direction{flow.Ingress, flow.Egress} {
			for _, x := range g.Rules(dir) {
				fmt.Fprintln(&b, g.ID, x.Words(dir))
			}
		}
	}
	for _, c := range r.p.Changes {
		fmt.Fprintf(&b, "%s %s %s %s (%s) slots %v note %q\n", c.ID, c.Direction, c.Kind, c.words(), c.Replaces, c.Slots, c.Note)
	}
	for _, k := range r.p.Kept {
		fmt.Fprintf(&b, "kept %+v\n", k)
	}
	return b.String()
}

// The same is proposed again, and whatever order the requirements have.
func TestReviseIsDeterministic(t *testing.T) {
	rng := rand.New(rand.NewPCG(61, 2))
	for k := range rounds(400) {
		n, reqs, o := drawRevised(rng)
		want := Revise(n, reqs, o)
		if got := Revise(n, reqs, o); !reflect.DeepEqual(got, want) {
			t.Fatalf("network %d: another proposal the second time\n%s", k, revise(n, reqs, o))
		}
		shuffled := slices.Clone(reqs)
		rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if got := Revise(n, shuffled, o); !reflect.DeepEqual(got, want) {
			t.Fatalf("network %d: another proposal for another order\n%s\nand then\n%s", k, revise(n, reqs, o), revise(n, shuffled, o))
		}
	}
}

// Steps lead to what is proposed, and back.
func TestPlanOfProposals(t *testing.T) {
	rng := rand.New(rand.NewPCG(61, 3))
	for k := range rounds(120) {
		n, reqs, o := drawRevised(rng)
		v := Revise(n, reqs, o).Revision
		for _, way := range []Revision{v, v.Back()} {
			q := o.Quota.orDefault() // what holds more than the quota before has no plan
			for _, s := range []RuleSet{way.From, way.To} {
				for _, a := range s.ACLs {
					q.Entries = max(q.Entries, entriesOf(a, flow.Ingress), entriesOf(a, flow.Egress))
				}
				for _, g := range s.Groups {
					q.GroupRules = max(q.GroupRules, rulesOf(g, flow.Ingress), rulesOf(g, flow.Egress))
				}
			}
			steps, warnings := Plan(way.From, way.To, q)
			now := way.From
			for _, s := range steps {
				var err error
				if now, err = now.Apply(s); err != nil {
					t.Fatalf("network %d: %v", k, err)
				}
			}
			if contents(now) != contents(way.To) {
				t.Fatalf("network %d: %d steps lead to\n%s\nwant\n%s\n%q\n%s", k, len(steps), contents(now), contents(way.To), warnings, revise(n, reqs, o))
			}
		}
	}
}

// asked reads what is asked of the egress of acl-1 or sg-1, in words:
//
//	target 203.0.113.10 used 50000-50010 stopped 50011 allow 50000-50099
//
// "scope PREFIX" is the peer if missing, and "wide WORD" nothing.
func asked(t *testing.T, text string) []Requirement {
	t.Helper()
	var reqs []Requirement
	for line := range strings.Lines(strings.TrimSpace(text)) {
		q := Requirement{ID: "acl-1", Direction: flow.Egress, Protocol: flow.TCP, Slot: fmt.Sprint("slot-", len(reqs)), Connections: 1}
		w := strings.Fields(line)
		q.Target, q.Peer = w[0] == "target", netip.MustParsePrefix(w[1])
		q.Scope = q.Peer
		for ; len(w) > 2; w = w[2:] {
			set, err := ParsePorts(w[3])
			switch w[2] {
			case "used":
				q.Used = set
			case "stopped":
				q.Stopped = set
			case "allow":
				q.Allow = set
			case "wide":
				q.Wide, err = w[3], nil
			case "scope":
				q.Scope, err = netip.ParsePrefix(w[3])
			default:
				t.Fatal(line)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		reqs = append(reqs, q)
	}
	return reqs
}

// show writes what becomes of acl-1: its entries, and why something stays.
func (p *Proposal) show(from *NetworkACL) string {
	to := p.Revision.To.ACL(from.ID)
	if to == nil {
		to = from
	}
	var b strings.Builder
	for _, e := range to.Entries {
		fmt.Fprintln(&b, e)
	}
	for _, k := range p.Kept {
		fmt.Fprintf(&b, "kept %s: %s\n", k.Rule, k.Why)
	}
	return b.String()
}

func TestRevise(t *testing.T) {
	for _, c := range []struct {
		name, from, asked string
		options           ReviseOptions
		want              string
	}{
		{"narrowed to what it picks from", "100 allow tcp 1024-65535 0.0.0.0/0", "target 203.0.113.10/32 used 50003 allow 50000-50099", ReviseOptions{},
			"rule 100 allow tcp 50000-50099 to 203.0.113.10/32"},
		{"others keep what they use", "100 allow tcp 1024-65535 0.0.0.0/0",
			`target 203.0.113.10/32 used 50003 allow 50000-50099
			 other 198.51.100.7/32 used 8080 scope 0.0.0.0/0`, ReviseOptions{},
			`rule 100 allow tcp 8080 to 0.0.0.0/0
			 rule 110 allow tcp 50000-50099 to 203.0.113.10/32`},
		{"what a NAT gateway picks stays", "100 allow tcp 1024-65535 0.0.0.0/0", "target 203.0.113.10/32 used 50003 allow 1024-65535 scope 0.0.0.0/0 wide NAT", ReviseOptions{},
			`rule 100 allow tcp 1024-65535 to 0.0.0.0/0
			 kept rule 100 allow tcp 1024-65535 to 0.0.0.0/0: NAT`},
		{"a deny of what is asked for is passed before",
			`90 deny tcp 50000-51000 0.0.0.0/0
			 100 allow tcp 1024-65535 0.0.0.0/0`,
			"target 203.0.113.10/32 stopped 50010 allow 50000-50099", ReviseOptions{NoNarrow: true},
			`rule 10 allow tcp 50000-50099 to 203.0.113.10/32
			 rule 90 deny tcp 50000-51000 to 0.0.0.0/0
			 rule 100 allow tcp 1024-65535 to 0.0.0.0/0`},
		{"a broad deny is lifted for all",
			`90 deny tcp 50000-51000 0.0.0.0/0
			 100 allow tcp 1024-65535 0.0.0.0/0`,
			"target 203.0.113.10/32 stopped 50010 allow 1024-65535 scope 0.0.0.0/0", ReviseOptions{NoNarrow: true},
			"rule 100 allow tcp 1024-65535 to 0.0.0.0/0"},
		{"a narrow one for the peer alone",
			`90 deny tcp 3389 0.0.0.0/0
			 100 allow tcp 1024-65535 0.0.0.0/0`,
			"target 203.0.113.10/32 used 50010 stopped 3389 allow 1024-65535 scope 0.0.0.0/0", ReviseOptions{NoNarrow: true},
			`rule 10 allow tcp 3389 to 203.0.113.10/32
			 rule 90 deny tcp 3389 to 0.0.0.0/0
			 rule 100 allow tcp 1024-65535 to 0.0.0.0/0`},
		{"a deny of other ports stays",
			`90 deny tcp 3389 0.0.0.0/0
			 100 allow tcp 1024-40000 0.0.0.0/0`,
			"target 203.0.113.10/32 used 30000 stopped 50010 allow 1024-65535 scope 0.0.0.0/0", ReviseOptions{NoNarrow: true},
			`rule 90 deny tcp 3389 to 0.0.0.0/0
			 rule 100 allow tcp 1024-65535 to 0.0.0.0/0`},
		{"behind a deny that is lifted another one stays",
			`80 deny tcp 1024-65535 203.0.113.0/24
			 90 deny tcp 3389 0.0.0.0/0
			 100 allow tcp 1024-65535 0.0.0.0/0`,
			"target 203.0.113.10/32 stopped 50010 allow 1024-65535", ReviseOptions{NoNarrow: true},
			`rule 10 allow tcp 1024-3388 to 203.0.113.10/32
			 rule 20 allow tcp 3390-65535 to 203.0.113.10/32
			 rule 80 deny tcp 1024-65535 to 203.0.113.0/24
			 rule 90 deny tcp 3389 to 0.0.0.0/0
			 rule 100 allow tcp 1024-65535 to 0.0.0.0/0`},
		{"widened in place",
			`100 allow tcp 22 10.0.0.0/8
			 110 allow tcp 50000-50049 203.0.113.10/32`,
			"target 203.0.113.10/32 used 50003 stopped 50060 allow 50000-50099", ReviseOptions{},
			`rule 100 allow tcp 22 to 10.0.0.0/8
			 rule 110 allow tcp 50000-50099 to 203.0.113.10/32`},
		{"not widened for others", "110 allow tcp 50000-50049 203.0.113.0/24", "target 203.0.113.10/32 used 50003 stopped 50060 allow 50000-50099", ReviseOptions{},
			`rule 110 allow tcp 50000-50049 to 203.0.113.0/24
			 rule 120 allow tcp 50000-50099 to 203.0.113.10/32
			 kept rule 110 allow tcp 50000-50049 to 203.0.113.0/24: it is for 50 ports only`},
		{"nobody lets everybody in", "100 allow tcp 21 0.0.0.0/0", "target 203.0.113.10/32 stopped 50060 allow 50000-50099 scope 0.0.0.0/0", ReviseOptions{},
			`rule 100 allow tcp 21 to 0.0.0.0/0
			 rule 110 allow tcp 50000-50099 to 203.0.113.10/32`},
		{"with room the exact ports", "100 allow tcp 1024-65535 0.0.0.0/0", "target 203.0.113.10/32 used 2000-2009;3000-3009;9000-9009 allow 2000-2009;3000-3009;9000-9009;9020", ReviseOptions{},
			`rule 100 allow tcp 2000-2009 to 203.0.113.10/32
			 rule 110 allow tcp 3000-3009 to 203.0.113.10/32
			 rule 120 allow tcp 9000-9009 to 203.0.113.10/32
			 rule 130 allow tcp 9020 to 203.0.113.10/32`},
		{"with less room coarser ones", "100 allow tcp 1024-65535 0.0.0.0/0", "target 203.0.113.10/32 used 2000-2009;3000-3009;9000-9009 allow 2000-2009;3000-3009;9000-9009;9020",
			ReviseOptions{Quota: Quota{Entries: 3}},
			`rule 100 allow tcp 2000-3009 to 203.0.113.10/32
			 rule 110 allow tcp 9000-9020 to 203.0.113.10/32`},
		{"with none for all peers of the entry",
			`100 allow tcp 1024-65535 203.0.113.0/24
			 110 allow tcp 22 0.0.0.0/0`,
			`target 203.0.113.10/32 used 2000 allow 2000-2009
			 target 203.0.113.20/32 used 3000 allow 3000-3009`,
			ReviseOptions{Quota: Quota{Entries: 3}},
			`rule 100 allow tcp 2000-3009 to 203.0.113.0/24
			 rule 110 allow tcp 22 to 0.0.0.0/0`},
		{"where that is no narrower nothing changes",
			`100 allow tcp 1024-65535 203.0.113.0/24
			 110 allow tcp 22 0.0.0.0/0`,
			`target 203.0.113.10/32 used 1024 allow 1024-1030
			 target 203.0.113.20/32 used 65000 allow 65000-65535`,
			ReviseOptions{Quota: Quota{Entries: 3}},
			`rule 100 allow tcp 1024-65535 to 203.0.113.0/24
			 rule 110 allow tcp 22 to 0.0.0.0/0
			 kept rule 100 allow tcp 1024-65535 to 203.0.113.0/24: what passes here needs 64512 of its 64512 ports: slot-1 (536 ports), slot-0 (7 ports)`},
		{"no room to let it through",
			`100 allow tcp 21 0.0.0.0/0
			 110 allow tcp 22 0.0.0.0/0`,
			"target 203.0.113.10/32 stopped 50060 allow 50000-50099", ReviseOptions{Quota: Quota{Entries: 3}},
			`rule 100 allow tcp 21 to 0.0.0.0/0
			 rule 110 allow tcp 22 to 0.0.0.0/0
			 kept what stops slot-0: to let it through would take 3 of the 2 entries that the quota leaves`},
		{"for all protocols", "100 allow all any 0.0.0.0/0", "target 203.0.113.10/32 used 50003 allow 50000-50099", ReviseOptions{},
			`rule 100 allow all to 0.0.0.0/0
			 kept rule 100 allow all to 0.0.0.0/0: it is for all traffic and no range of ports: narrowing it would mean to list all that passes`},
		{"somebody has chosen its ports", "100 allow tcp 50000-50999 0.0.0.0/0", "target 203.0.113.10/32 used 50003 allow 50000-50099", ReviseOptions{},
			`rule 100 allow tcp 50000-50999 to 0.0.0.0/0
			 kept rule 100 allow tcp 50000-50999 to 0.0.0.0/0: it is for 1000 ports only`},
		{"interfaces that are not in the log", "100 allow tcp 1024-65535 0.0.0.0/0", "target 203.0.113.10/32 used 50003 allow 50000-50099",
			ReviseOptions{Keep: map[string]string{"acl-1": "eni-9 has it, too"}},
			`rule 100 allow tcp 1024-65535 to 0.0.0.0/0
			 kept rule 100 allow tcp 1024-65535 to 0.0.0.0/0: eni-9 has it, too`},
		{"they are repaired all the same", "100 allow tcp 50000-50049 203.0.113.10/32", "target 203.0.113.10/32 used 50003 stopped 50077 allow 50000-50099",
			ReviseOptions{Keep: map[string]string{"acl-1": "eni-9 has it, too"}},
			"rule 100 allow tcp 50000-50099 to 203.0.113.10/32"},
		{"numbers without room",
			`100 deny tcp 22 0.0.0.0/0
			 101 allow tcp 1024-65535 0.0.0.0/0
			 102 deny tcp 0-1023 0.0.0.0/0
			 103 allow udp 53 0.0.0.0/0`,
			`target 203.0.113.10/32 used 50003 allow 50000-50099
			 other 198.51.100.7/32 used 8080 scope 0.0.0.0/0`, ReviseOptions{},
			`rule 10 deny tcp 22 to 0.0.0.0/0
			 rule 20 allow tcp 50000-50099 to 203.0.113.10/32
			 rule 101 allow tcp 8080 to 0.0.0.0/0
			 rule 102 deny tcp 0-1023 to 0.0.0.0/0
			 rule 103 allow udp 53 to 0.0.0.0/0`},
		{"numbers without room at the end",
			`100 allow tcp 21 0.0.0.0/0
			 32766 allow tcp 1024-65535 0.0.0.0/0`,
			`target 203.0.113.10/32 used 50003 allow 50000-50099
			 other 198.51.100.7/32 used 8080 scope 0.0.0.0/0`, ReviseOptions{},
			`rule 100 allow tcp 21 to 0.0.0.0/0
			 rule 110 allow tcp 50000-50099 to 203.0.113.10/32
			 rule 32766 allow tcp 8080 to 0.0.0.0/0`},
	} {
		t.Run(c.name, func(t *testing.T) {
			acl := aclOf(t, c.from)
			n := &Network{acls: map[string]*NetworkACL{"acl-1": acl}, groups: map[string]*SecurityGroup{}}
			p := Revise(n, asked(t, c.asked), c.options)
			var want strings.Builder
			for line := range strings.Lines(c.want) {
				fmt.Fprintln(&want, strings.TrimSpace(line))
			}
			if got, want := p.show(acl), want.String(); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// Rules of groups that name another group or a prefix list are left alone, and
// what they do not allow gets a rule of its own.
func TestReviseGroups(t *testing.T) {
	refs := []GroupRule{
		{Protocol: 6, Ports: PortRange{1024, 65535}, HasPorts: true, ICMPType: -1, ICMPCode: -1, GroupRef: "sg-2"},
		{Protocol: 6, Ports: PortRange{21, 21}, HasPorts: true, ICMPType: -1, ICMPCode: -1, PrefixList: "pl-1", Description: "servers"},
	}
	wide := GroupRule{Protocol: 6, Ports: PortRange{1024, 65535}, HasPorts: true, ICMPType: -1, ICMPCode: -1, Prefix: netip.MustParsePrefix("0.0.0.0/0"), Description: "by hand"}
	some := wide
	some.Ports, some.Prefix = PortRange{50000, 50049}, netip.MustParsePrefix("203.0.113.10/32")
	for _, c := range []struct {
		name  string
		rules []GroupRule
		asked string
		quota int
		want  string
	}{
		{"beside references", refs, "target 203.0.113.10/32 stopped 50010 allow 50000-50099", 0,
			"tcp 1024-65535 to sg-2, tcp 21 to pl-1, +tcp 50000-50099 to 203.0.113.10/32"},
		{"references count", refs, "target 203.0.113.10/32 stopped 50010 allow 50000-50099", 2,
			"tcp 1024-65535 to sg-2, tcp 21 to pl-1"},
		{"narrowed", append(refs[:1:1], wide), "target 203.0.113.10/32 used 50010 allow 50000-50099", 0,
			"tcp 1024-65535 to sg-2, +tcp 50000-50099 to 203.0.113.10/32, -tcp 1024-65535 to 0.0.0.0/0"},
		{"narrowed to what is there", []GroupRule{wide, {Protocol: 6, Ports: PortRange{50000, 50099}, HasPorts: true, ICMPType: -1, ICMPCode: -1, Prefix: some.Prefix, Description: "FTP"}},
			"target 203.0.113.10/32 used 50010 allow 50000-50099", 0,
			"tcp 50000-50099 to 203.0.113.10/32, -tcp 1024-65535 to 0.0.0.0/0"},
		{"widened", []GroupRule{some}, "target 203.0.113.10/32 used 50010 stopped 50060 allow 50000-50099", 0,
			"+tcp 50000-50099 to 203.0.113.10/32, -tcp 50000-50049 to 203.0.113.10/32"},
	} {
		t.Run(c.name, func(t *testing.T) {
			reqs := asked(t, c.asked)
			for i := range reqs {
				reqs[i].Layer, reqs[i].ID = SG, "sg-1"
			}
			n := &Network{groups: map[string]*SecurityGroup{"sg-1": {ID: "sg-1", Egress: c.rules}}}
			p := Revise(n, reqs, ReviseOptions{Quota: Quota{GroupRules: c.quota}})
			var got []string
			for _, x := range p.Changes {
				got = append(got, map[ChangeKind]string{ChangeAdd: "+", ChangeRemove: "-", ChangeKeep: ""}[x.Kind]+x.Rule.Words(x.Direction))
			}
			if got := strings.Join(got, ", "); got != c.want {
				t.Errorf("got\n%s\nwant\n%s\nkept %v", got, c.want, p.Kept)
			}
			r := &revised{from: RuleSet{Groups: n.Groups()}, to: RuleSet{Groups: n.With(nil, p.Revision.To.Groups).Groups()}, p: p}
			if words := r.faultOfRows(filterID{SG, "sg-1"}); words != "" {
				t.Error(words)
			}
		})
	}
}

// Both families have a quota of their own, and what is asked for one says
// nothing of the other.
func TestReviseFamilies(t *testing.T) {
	acl := aclOf(t, `100 allow tcp 1024-65535 0.0.0.0/0
		110 allow tcp 1024-65535 ::/0
		120 allow tcp 22 ::/0`)
	n := &Network{acls: map[string]*NetworkACL{"acl-1": acl}}
	reqs := asked(t, "target 2001:db8::10/128 used 50003;60000 allow 50000-50099;60000")
	p := Revise(n, reqs, ReviseOptions{Quota: Quota{Entries: 4}})
	const want = `rule 100 allow tcp 1024-65535 to 0.0.0.0/0
rule 110 allow tcp 50000-50099 to 2001:db8::10/128
rule 115 allow tcp 60000 to 2001:db8::10/128
rule 120 allow tcp 22 to ::/0
`
	if got := p.show(acl); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
