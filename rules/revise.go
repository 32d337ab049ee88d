package rules

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ephemera/ingest/flow"
)

// ReviseOptions say what a proposal may do. The zero value repairs and
// narrows within AWS's quotas.
type ReviseOptions struct {
	Quota Quota
	// NoRepair leaves what stops connections as it is, and NoNarrow what is
	// wider than needed.
	NoRepair, NoNarrow bool
	// Keep says of network ACLs and security groups, by ID, why they must not
	// be narrowed: interfaces that have them and are not in the log.
	Keep map[string]string
}

// A Proposal is a revision of a network's rules that was proved to let
// through all that its requirements need, and to open nothing but what they
// ask for.
type Proposal struct {
	Revision Revision
	// Changes are all entries and rules of the network ACLs and security
	// groups that the requirements name, in order of evaluation, those at
	// last that are taken away.
	Changes []Change
	Kept    []Kept
	Proof   Proof
}

// A Change says what becomes of an entry of a network ACL or of a rule of a
// security group.
type Change struct {
	Layer     Layer
	ID        string
	Name      string
	Direction flow.Direction
	Kind      ChangeKind

	// Entry is valid for network ACLs, Rule for security groups.
	Entry Entry
	Rule  GroupRule

	// Replaces is in words what it takes the place of, which lets through
	// ReplacedPorts ports from or to ReplacedPeers.
	Replaces      string
	ReplacedPeers netip.Prefix
	ReplacedPorts int

	Slots       []string
	Connections int // of its slots
	Note        string
}

// ChangeKind is what becomes of an entry or rule.
type ChangeKind string

// The kinds of changes.
const (
	ChangeAdd     ChangeKind = "add"
	ChangeReplace ChangeKind = "replace" // under the same rule number
	ChangeRemove  ChangeKind = "remove"
	ChangeKeep    ChangeKind = "keep"
)

// A Kept is an entry or rule that target traffic passes and that stays as
// wide as it is.
type Kept struct {
	ID        string
	Name      string
	Direction flow.Direction
	Rule      string // in words
	Why       string
}

// A Proof says what was checked of a proposal before it was shown.
type Proof struct {
	// Needed counts the ports of peers that the requirements need. Each was
	// found to be let through by the proposed rules.
	Needed int
	// Opened and Closed are the packets that only the proposed rules let
	// through, and that only today's do, by filter and direction.
	Opened, Closed []FilterPackets
}

// FilterPackets are packets at one filter in one direction.
type FilterPackets struct {
	ID        string
	Direction flow.Direction
	Packets   []Packets
}

// Revise proposes rules that serve the requirements: it repairs what stops
// them, and narrows the entries and rules through which target traffic
// passes to what they ask for. What no target traffic passes stays as it is,
// and so do entries for all protocols, which are no port range. A network
// ACL or security group of which the proposal cannot be proved stays as it
// is, too, and is named in Kept.
func Revise(n *Network, reqs []Requirement, o ReviseOptions) *Proposal {
	p := &Proposal{Revision: Revision{Notes: map[NoteKey]string{}}}
	reqs = slices.SortedStableFunc(slices.Values(reqs), compareRequirements)
	for _, f := range filtersOf(reqs) {
		switch {
		case f.layer == NACL && n.ACL(f.id) != nil:
			p.reviseACL(n.ACL(f.id), reqs, o)
		case f.layer == SG && n.Group(f.id) != nil:
			p.reviseGroup(n.Group(f.id), reqs, o)
		}
	}
	return p
}

type filterID struct {
	layer Layer
	id    string
}

func filtersOf(reqs []Requirement) []filterID {
	var fs []filterID
	for i := range reqs {
		if f := (filterID{reqs[i].Layer, reqs[i].ID}); reqs[i].Target && !slices.Contains(fs, f) {
			fs = append(fs, f)
		}
	}
	slices.SortFunc(fs, func(a, b filterID) int { return cmp.Or(cmp.Compare(a.layer, b.layer), cmp.Compare(a.id, b.id)) })
	return fs
}

func requirementsAt(reqs []Requirement, l Layer, id string, dir flow.Direction) []*Requirement {
	var rs []*Requirement
	for i := range reqs {
		if reqs[i].meets(l, id, dir) {
			rs = append(rs, &reqs[i])
		}
	}
	return rs
}

// A draft is an entry on its way into a proposal.
type draft struct {
	Entry
	kind   ChangeKind
	was    *Entry // whose place it takes
	shares []share
	note   string
}

// A reviser works on one direction of a network ACL or security group. Rules
// of groups are worked on as entries, whose order means nothing.
type reviser struct {
	layer  Layer
	dir    flow.Direction
	reqs   []*Requirement
	list   []draft
	gone   []draft
	quota  int // entries of one family that the list may hold
	meant  []Packets
	kept   []Kept
	filter string
	// unrepaired are the requirements that the quota leaves no room for.
	unrepaired []*Requirement
}

func (p *Proposal) reviseACL(acl *NetworkACL, reqs []Requirement, o ReviseOptions) {
	to := acl.Clone()
	to.Entries = nil
	var changes []Change
	var kept []Kept
	var unrepaired []*Requirement
	var meant [2][]Packets
	for i, dir := range []flow.Direction{flow.Ingress, flow.Egress} {
		r := newReviser(NACL, acl.ID, dir, requirementsAt(reqs, NACL, acl.ID, dir), o.Quota.orDefault().Entries-1)
		var last []Entry // the default denies
		for _, e := range acl.Entries {
			switch {
			case e.Direction() != dir:
			case e.IsDefault():
				last = append(last, e)
			default:
				r.list = append(r.list, draft{Entry: e, kind: ChangeKeep})
			}
		}
		r.run(o, o.Keep[acl.ID])
		if err := r.number(); err != nil {
			p.keepAll(NACL, acl.ID, acl.Name, err.Error())
			return
		}
		for _, d := range r.list {
			to.Entries = append(to.Entries, d.Entry)
		}
		to.Entries = append(to.Entries, last...)
		changes, kept, meant[i] = append(changes, r.changes(acl.Name)...), append(kept, r.kept...), r.meant
		unrepaired = append(unrepaired, r.unrepaired...)
	}
	proof, err := prove(filterID{NACL, acl.ID}, acl, to, reqs, meant, unrepaired)
	if err != nil {
		p.keepAll(NACL, acl.ID, acl.Name, "a change could not be proved: "+err.Error())
		return
	}
	p.take(acl.Name, changes, kept, proof)
	if slices.ContainsFunc(changes, Change.changes) {
		p.Revision.From.ACLs, p.Revision.To.ACLs = append(p.Revision.From.ACLs, acl), append(p.Revision.To.ACLs, to)
	}
}

func (p *Proposal) reviseGroup(g *SecurityGroup, reqs []Requirement, o ReviseOptions) {
	to := g.Clone()
	var changes []Change
	var kept []Kept
	var unrepaired []*Requirement
	var meant [2][]Packets
	for i, dir := range []flow.Direction{flow.Ingress, flow.Egress} {
		r := newReviser(SG, g.ID, dir, requirementsAt(reqs, SG, g.ID, dir), o.Quota.orDefault().GroupRules)
		symbolic := map[int]GroupRule{} // by index+1 in RuleNumber, which groups do not use
		for k, rule := range g.Rules(dir) {
			symbolic[k+1] = rule
			r.list = append(r.list, draft{Entry: rule.entry(dir, k+1), kind: ChangeKeep})
		}
		r.run(o, o.Keep[g.ID])
		rules := r.groupRules(symbolic)
		if dir == flow.Egress {
			to.Egress = rules
		} else {
			to.Ingress = rules
		}
		changes, kept, meant[i] = append(changes, r.groupChanges(g.Name, symbolic)...), append(kept, r.kept...), r.meant
		unrepaired = append(unrepaired, r.unrepaired...)
	}
	proof, err := prove(filterID{SG, g.ID}, g, to, reqs, meant, unrepaired)
	if err != nil {
		p.keepAll(SG, g.ID, g.Name, "a change could not be proved: "+err.Error())
		return
	}
	p.take(g.Name, changes, kept, proof)
	if slices.ContainsFunc(changes, Change.changes) {
		p.Revision.From.Groups, p.Revision.To.Groups = append(p.Revision.From.Groups, g), append(p.Revision.To.Groups, to)
	}
}

func (p *Proposal) keepAll(l Layer, id, name, why string) {
	p.Kept = append(p.Kept, Kept{ID: id, Name: name, Rule: pick(l == NACL, "all entries", "all rules"), Why: why})
}

func (p *Proposal) take(name string, changes []Change, kept []Kept, proof Proof) {
	for i := range kept {
		kept[i].Name = name
	}
	p.Changes, p.Kept = append(p.Changes, changes...), append(p.Kept, kept...)
	p.Proof.Needed += proof.Needed
	p.Proof.Opened, p.Proof.Closed = append(p.Proof.Opened, proof.Opened...), append(p.Proof.Closed, proof.Closed...)
	for _, c := range changes {
		if c.changes() {
			p.Revision.Notes[c.key()] = c.Note
		}
	}
}

func (c Change) changes() bool { return c.Kind != ChangeKeep }

func (c Change) key() NoteKey {
	k := EntryKey(c.ID, c.Entry)
	if c.Layer == SG {
		k = RuleKey(c.ID, c.Direction, c.Rule)
	}
	k.Gone = c.Kind == ChangeRemove
	return k
}

func newReviser(l Layer, id string, dir flow.Direction, reqs []*Requirement, quota int) *reviser {
	return &reviser{layer: l, filter: id, dir: dir, reqs: reqs, quota: quota}
}

// run repairs first and then narrows what is there, so that what a repair
// lets in is served, too.
func (r *reviser) run(o ReviseOptions, keep string) {
	if !o.NoRepair {
		r.repair()
	}
	if !o.NoNarrow {
		r.narrow(keep)
	}
}

// narrowEnough is how many ports an entry may be for that is not looked at:
// somebody has chosen them.
const narrowEnough = 2048

// narrow replaces every entry that target traffic passes by narrower ones.
func (r *reviser) narrow(keep string) {
	before := slices.Clone(r.list)
	r.list = nil
	for i, d := range before {
		o, ok := d.opening()
		shares := r.sharesOf(before, i, o)
		if !d.Allow || !isTarget(shares) {
			r.list = append(r.list, d)
			continue
		}
		budget := r.quota - r.countFamily(before[i+1:], d.Prefix) - r.countFamily(r.list, d.Prefix)
		as, why := narrow(o, shares, budget)
		switch {
		case !ok:
			as, why = nil, "it is for all traffic and no range of ports: narrowing it would mean to list all that passes"
		case o.ports.Len() <= narrowEnough:
			as, why = nil, fmt.Sprintf("it is for %d ports only", o.ports.Len())
		case keep != "":
			as, why = nil, keep
		}
		if why != "" {
			if d.kind == ChangeKeep {
				r.kept = append(r.kept, Kept{ID: r.filter, Direction: r.dir, Rule: r.words(d.Entry), Why: why})
			}
			r.list = append(r.list, d)
			continue
		}
		r.replace(d, as, shares, r.roomBehind(before, i))
	}
}

// roomBehind returns how many rule numbers are free between the entry at i and
// the next one.
func (r *reviser) roomBehind(list []draft, i int) int {
	for _, d := range list[i+1:] {
		if d.RuleNumber != 0 {
			return d.RuleNumber - list[i].RuleNumber - 1
		}
	}
	return maxRule - list[i].RuleNumber
}

// opening returns what an entry lets through, if it is one for TCP ports.
// Entries for all protocols are not for a range of ports, and narrowing them
// would mean to list all there is.
func (d draft) opening() (opening, bool) {
	return opening{d.Prefix, d.ports(flow.TCP)}, d.Allow && d.Protocol == int(flow.TCP) && d.HasPorts && d.Prefix.IsValid()
}

// sharesOf returns what the requirements pass of the entry at i.
func (r *reviser) sharesOf(list []draft, i int, o opening) []share {
	if !o.prefix.IsValid() || !list[i].covers(flow.TCP) {
		return nil
	}
	var shares []share
	for _, q := range r.reqs {
		if s, ok := shareOf(q, o, r.decidedBefore(list[:i], q)); ok {
			shares = append(shares, s)
		}
	}
	return shares
}

// decidedBefore returns the ports at which one of the entries decides for all
// peers of the requirement. A security group's rules add up, and what two of
// them allow is left to both.
func (r *reviser) decidedBefore(list []draft, q *Requirement) PortSet {
	var decided []PortRange
	for _, d := range list {
		if r.layer == NACL && d.decidesFor(q) {
			decided = append(decided, d.ports(q.Protocol))
		}
	}
	return Ports(decided...)
}

func (r *reviser) countFamily(list []draft, p netip.Prefix) int {
	n := 0
	for _, d := range list {
		if !d.Prefix.IsValid() || d.Prefix.Addr().Is4() == p.Addr().Is4() { // a reference counts for both
			n++
		}
	}
	return n
}

// replace puts allowances in the place of an entry. The one for the widest
// peers keeps the entry's number, and the others follow as far as there is
// room behind it; their order means nothing.
func (r *reviser) replace(old draft, as []Allowance, shares []share, room int) {
	var pieces []draft
	for _, a := range as {
		for _, ports := range a.Ports.Ranges() {
			e := old.Entry
			e.Prefix, e.Ports, e.RuleNumber = a.Peer, ports, 0
			pieces = append(pieces, draft{Entry: e, kind: ChangeAdd, was: old.origin(), shares: sharesAt(shares, old.Prefix, a.Peer, ports)})
		}
	}
	if slices.ContainsFunc(pieces, func(d draft) bool { return d.Prefix == old.Prefix && d.Ports == old.Ports }) {
		r.list = append(r.list, old)
		return
	}
	slices.SortStableFunc(pieces, func(a, b draft) int {
		return cmp.Or(cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()), cmp.Compare(b.Ports.Len(), a.Ports.Len()))
	})
	if r.layer == NACL && old.RuleNumber != 0 {
		pieces[0].RuleNumber, pieces[0].kind = old.RuleNumber, ChangeReplace
	} else if old.kind == ChangeKeep {
		old.kind, old.note = ChangeRemove, "narrower ones take its place"
		r.gone = append(r.gone, old)
	}
	for i := range pieces {
		pieces[i].note = noteOf(pieces[i].shares)
	}
	before := max(0, len(pieces)-1-room)
	r.list = append(r.list, slices.Concat(pieces[1:1+before], pieces[:1], pieces[1+before:])...)
}

// origin returns today's entry that a draft stands for or takes the place of;
// nil for one that is new.
func (d draft) origin() *Entry {
	if d.was != nil || d.kind == ChangeAdd {
		return d.was
	}
	return &d.Entry
}

// sharesAt returns the shares that a piece serves: those of just its peers
// where there are any, or else those of some of them.
func sharesAt(shares []share, of netip.Prefix, peer netip.Prefix, ports PortRange) []share {
	var same, some []share
	for _, s := range shares {
		scope, _ := overlap(s.Scope, of)
		if s.ports.Intersect(Ports(ports)).IsEmpty() || !scope.Overlaps(peer) {
			continue
		}
		some = append(some, s)
		if scope == peer {
			same = append(same, s)
		}
	}
	if len(same) > 0 {
		return same
	}
	return some
}

// noteOf says what a piece is for.
func noteOf(shares []share) string {
	var target, others []string
	for _, s := range shares {
		words := s.Slot
		if s.Note != "" {
			words += " (" + s.Note + ")"
		}
		if s.Target {
			target = append(target, words)
		} else {
			others = append(others, s.Slot)
		}
	}
	target = append(target, some(others)...)
	return strings.Join(target, "; ")
}

// some shortens a list for people.
func some(words []string) []string {
	const most = 4
	if len(words) <= most {
		return words
	}
	return append(slices.Clone(words[:most]), fmt.Sprintf("and %d more", len(words)-most))
}

func (r *reviser) words(e Entry) string {
	if r.layer == NACL {
		return e.String()
	}
	return e.groupRule().Words(r.dir)
}

// number gives the entries of a network ACL their numbers.
func (r *reviser) number() error {
	entries := make([]Entry, len(r.list))
	for i, d := range r.list {
		entries[i] = d.Entry
	}
	numbered, err := Number(entries)
	if err != nil {
		return err
	}
	for i := range r.list {
		d := &r.list[i]
		if d.RuleNumber != 0 && d.RuleNumber != numbered[i].RuleNumber {
			was := d.origin()
			r.gone = append(r.gone, draft{Entry: *was, kind: ChangeRemove, note: "it moves to another rule number"})
			if d.kind == ChangeKeep {
				d.note = "moved to make room"
			}
			d.kind, d.was = ChangeAdd, was
		}
		d.Entry = numbered[i]
	}
	return nil
}

// changes makes the rows of a network ACL.
func (r *reviser) changes(name string) []Change {
	var rows []Change
	for _, d := range slices.Concat(r.list, r.gone) {
		rows = append(rows, r.change(name, d))
	}
	return rows
}

func (r *reviser) change(name string, d draft) Change {
	c := Change{
		Layer: r.layer, ID: r.filter, Name: name, Direction: r.dir, Kind: d.kind, Entry: d.Entry,
		Note: d.note,
	}
	if d.was != nil {
		c.Replaces, c.ReplacedPeers, c.ReplacedPorts = r.words(*d.was), d.was.Prefix, d.was.ports(flow.TCP).Len()
	}
	for _, s := range d.shares {
		c.Slots = append(c.Slots, s.Slot)
		c.Connections += s.Connections
	}
	return c
}

// entry returns the rule as an entry, numbered by its place in the group. A
// peer that is a security group or a prefix list leaves it without a prefix,
// and so without anything to narrow.
func (r GroupRule) entry(dir flow.Direction, number int) Entry {
	return Entry{
		RuleNumber: number, Allow: true, Egress: dir == flow.Egress, Protocol: r.Protocol, Prefix: r.Prefix,
		Ports: r.Ports, HasPorts: r.HasPorts, ICMPType: r.ICMPType, ICMPCode: r.ICMPCode,
	}
}

func (e Entry) groupRule() GroupRule {
	return GroupRule{
		Protocol: e.Protocol, Ports: e.Ports, HasPorts: e.HasPorts, ICMPType: e.ICMPType, ICMPCode: e.ICMPCode, Prefix: e.Prefix,
	}
}

// rule returns the rule of a draft: what was there, or a new one.
func (d draft) rule(were map[int]GroupRule) GroupRule {
	if was, ok := were[d.RuleNumber]; ok {
		return was
	}
	return d.groupRule()
}

func (r *reviser) groupRules(were map[int]GroupRule) []GroupRule {
	var rules []GroupRule
	for _, d := range r.list {
		rule := d.rule(were)
		switch i := slices.IndexFunc(rules, rule.Same); {
		case i < 0:
			rules = append(rules, rule)
		case d.kind == ChangeKeep:
			rules[i] = rule // with its description
		}
	}
	return rules
}

func (r *reviser) groupChanges(name string, were map[int]GroupRule) []Change {
	var rows []Change
	for _, d := range slices.Concat(r.list, r.gone) {
		c := r.change(name, d)
		c.Rule, c.Entry = d.rule(were), Entry{}
		if c.Kind == ChangeAdd && slices.ContainsFunc(rows, func(x Change) bool { return x.Rule.Same(c.Rule) }) {
			continue
		}
		if c.Kind == ChangeAdd && slices.ContainsFunc(r.list, func(x draft) bool { return x.kind == ChangeKeep && x.rule(were).Same(c.Rule) }) {
			continue // it is there already
		}
		rows = append(rows, c)
	}
	return rows
}
