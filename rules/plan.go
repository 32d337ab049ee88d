package rules

import (
	"cmp"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strings"

	"ephemera/ingest/flow"
)

// Quota is how much one direction of a filter holds, IPv4 and IPv6 each for
// itself. Zero means what AWS gives without asking.
// Source: VPC User Guide, "Amazon VPC quotas".
type Quota struct {
	Entries    int // of a network ACL, the default deny included; 20
	GroupRules int // of a security group; 60
}

// highestQuota is what AWS raises quotas to at most.
var highestQuota = Quota{Entries: 40, GroupRules: 1000}

func (q Quota) orDefault() Quota {
	return Quota{Entries: cmp.Or(q.Entries, 20), GroupRules: cmp.Or(q.GroupRules, 60)}
}

// Plan returns the steps that lead from one rule set to another. Network ACLs
// and security groups correspond by ID; default denies are left alone. The
// order is such that after each step
//
//  1. whatever both from and to allow is allowed,
//  2. nothing is allowed that neither from nor to allows, and
//  3. no direction holds more than the quota, or than it held in from where
//     that is more.
//
// Where the same rule number changes hands, that can take entries which exist
// for some steps only. Where no such order is found, 1 goes before 2, and 3
// is never given up. The warnings say which step breaks what, for which
// packets. There are no steps when to holds more than the quota, of which a
// warning tells.
//
// Rules of security groups that differ only in their descriptions are taken
// for the same. A rule that names a security group or a prefix list counts
// as one, for both families.
func Plan(from, to RuleSet, q Quota) (steps []Step, warnings []string) {
	p := planner{quota: q.orDefault()}
	for _, a := range from.ACLs {
		p.planACL(a, to.ACL(a.ID))
	}
	for _, g := range from.Groups {
		p.planGroup(g, to.Group(g.ID))
	}
	p.warnOfNew(from, to)
	if p.impossible {
		return nil, p.warnings
	}
	return p.steps, p.warnings
}

type planner struct {
	quota      Quota
	steps      []Step
	warnings   []string
	impossible bool
}

func (p *planner) warn(format string, args ...any) {
	p.warnings = append(p.warnings, fmt.Sprintf(format, args...))
}

// warnOfNew names what is in to alone.
func (p *planner) warnOfNew(from, to RuleSet) {
	for _, a := range to.ACLs {
		if from.ACL(a.ID) == nil {
			p.warn("%s is not among the old rules: no step creates it", a.ID)
		}
	}
	for _, g := range to.Groups {
		if from.Group(g.ID) == nil {
			p.warn("%s is not among the old rules: no step creates it", g.ID)
		}
	}
}

func (p *planner) planACL(from, to *NetworkACL) {
	if to == nil {
		p.warn("%s is not among the new rules: it stays as it is", from.ID)
		return
	}
	for _, dir := range []flow.Direction{flow.Ingress, flow.Egress} {
		t := &transition{id: from.ID, dir: dir, layer: NACL, most: p.quota.Entries - 1}
		old, wanted := from.filter(dir), to.filter(dir)
		t.from, t.olds = t.entryTable(old)
		t.to, t.news = t.entryTable(wanted)
		t.survey(old, wanted)
		p.take(t)
	}
}

func (p *planner) planGroup(from, to *SecurityGroup) {
	if to == nil {
		p.warn("%s is not among the new rules: it stays as it is", from.ID)
		return
	}
	for _, dir := range []flow.Direction{flow.Ingress, flow.Egress} {
		t := &transition{id: from.ID, dir: dir, layer: SG, most: p.quota.GroupRules}
		old, wanted := from.filter(dir), to.filter(dir)
		t.from, t.olds = t.ruleTable(old)
		t.to, t.news = t.ruleTable(wanted)
		t.survey(old, wanted)
		p.take(t)
	}
}

// entryTable returns the table of entries, which has no default deny.
func (t *transition) entryTable(entries []Entry) (tb table, given map[slot]Step) {
	given = make(map[slot]Step)
	for _, e := range entries {
		if _, taken := tb.find(e.RuleNumber); taken || e.IsDefault() {
			continue
		}
		s := slot{e.RuleNumber, t.clause(entryClause(e))}
		tb, given[s] = tb.with(s), Step{Entry: e}
	}
	return tb, given
}

func (t *transition) ruleTable(rules []GroupRule) (tb table, given map[slot]Step) {
	given = make(map[slot]Step)
	for _, r := range rules {
		i := t.clause(ruleClause(r))
		tb, given[slot{i, i}] = tb.with(slot{i, i}), Step{Rule: r}
	}
	return tb, given
}

// take adds the steps of one transition.
func (p *planner) take(t *transition) {
	if fault := t.overfull(); fault != "" {
		p.impossible = true
		p.warn("%s", fault)
		return
	}
	now := t.from
	for _, m := range t.plan() {
		step := t.step(m)
		p.steps = append(p.steps, step)
		now = now.after(m)
		where := fmt.Sprintf("step %d (%s)", len(p.steps), step)
		b := t.breach(now)
		if b.gaps > 0 {
			both := IntersectPackets(t.allowed(t.from), t.allowed(t.to))
			p.warn("%s stops what was allowed and will be again: %s", where, fewPackets(SubtractPackets(both, t.allowed(now))))
		}
		if b.holes > 0 {
			either := slices.Concat(t.allowed(t.from), t.allowed(t.to))
			p.warn("%s allows what was denied and will be again: %s", where, fewPackets(SubtractPackets(t.allowed(now), either)))
		}
	}
}

// fewPackets names the first packets of a list and counts the others.
func fewPackets(list []Packets) string {
	const few = 4
	var words []string
	for _, p := range list[:min(few, len(list))] {
		words = append(words, p.String())
	}
	if len(list) > few {
		words = append(words, fmt.Sprintf("and %d more", len(list)-few))
	}
	return strings.Join(words, ", ")
}

// String gives the step in words: "replace rule 110 of acl-1, egress",
// "revoke tcp 22 from 10.0.0.0/8 of sg-1, ingress".
func (s Step) String() string {
	verb := fmt.Sprintf("operation %d on", s.Op)
	if verbs := [...]string{"create", "replace", "delete", "authorize", "revoke"}; int(s.Op) < len(verbs) {
		verb = verbs[s.Op]
	}
	what := fmt.Sprintf("rule %d", s.Entry.RuleNumber)
	if s.Op == AuthorizeRule || s.Op == RevokeRule {
		what = s.Rule.Words(s.Direction)
	}
	return fmt.Sprintf("%s %s of %s, %s", verb, what, s.ID, s.Direction)
}

// A clause is an entry or a rule, whatever its number.
type clause struct {
	entry Entry // of a network ACL; its number is 0
	rule  GroupRule

	kind  kind
	peers peers
	allow bool
}

// entryClause returns the clause of an entry. What the entry's protocol does not
// use is set to one value, so that equal clauses match the same packets.
func entryClause(e Entry) clause {
	e.RuleNumber = 0
	e.Prefix = maskedOrAsIs(e.Prefix)
	e.Ports, e.HasPorts = usedPorts(e.Protocol, e.Ports, e.HasPorts)
	k := e.kind()
	e.ICMPType, e.ICMPCode = k.icmpType, k.icmpCode
	return clause{entry: e, kind: k, peers: prefixPeers(e.Prefix), allow: e.Allow}
}

func ruleClause(r GroupRule) clause {
	r.Description = ""
	r.Prefix = maskedOrAsIs(r.Prefix)
	r.Ports, r.HasPorts = usedPorts(r.Protocol, r.Ports, r.HasPorts)
	k := r.kind()
	r.ICMPType, r.ICMPCode = k.icmpType, k.icmpCode
	return clause{rule: r, kind: k, peers: r.peers(), allow: true}
}

func maskedOrAsIs(p netip.Prefix) netip.Prefix {
	if p.IsValid() {
		return p.Masked()
	}
	return p
}

// usedPorts returns the ports of an entry or rule in one form.
func usedPorts(protocol int, ports PortRange, hasPorts bool) (PortRange, bool) {
	switch {
	case protocol != int(flow.TCP) && protocol != int(flow.UDP):
		return PortRange{}, false
	case !hasPorts:
		return PortRange{0, 65535}, true
	}
	return ports, true
}

// ports returns the ports of packets of kind k that the clause matches.
func (i clause) ports(k kind) PortRange {
	if !k.hasPorts() || i.kind.protocol == AllProtocols {
		return PortRange{0, 65535}
	}
	return pick(i.rule.HasPorts, i.rule.Ports, i.entry.Ports)
}

// families tells against which quotas the clause counts: IPv4, IPv6.
func (i clause) families() [2]int {
	switch {
	case i.peers.ref != "":
		return [2]int{1, 1}
	case i.peers.from.Is6():
		return [2]int{0, 1}
	}
	return [2]int{1, 0}
}

// A slot holds the clause of a rule number. For security groups, the number is
// the clause's place among all clauses.
type slot struct{ number, clause int }

// A table is the slots of one direction, by number. Tables are immutable.
type table []slot

func (t table) find(number int) (at int, found bool) {
	return slices.BinarySearchFunc(t, number, func(s slot, n int) int { return cmp.Compare(s.number, n) })
}

// with returns the table with a slot put in, or put in the place of the one
// of the same number.
func (t table) with(s slot) table {
	at, found := t.find(s.number)
	if found {
		changed := slices.Clone(t)
		changed[at] = s
		return changed
	}
	return slices.Insert(slices.Clone(t), at, s)
}

func (t table) without(number int) table {
	at, found := t.find(number)
	if !found {
		return t
	}
	return slices.Delete(slices.Clone(t), at, at+1)
}

// A move is an operation on a table: CreateEntry, ReplaceEntry or DeleteEntry.
type move struct {
	op Op
	slot
}

// isLegal reports whether the number is free for what is created, and taken
// by what is replaced or deleted.
func (t table) isLegal(m move) bool {
	_, found := t.find(m.number)
	return found == (m.op != CreateEntry)
}

func (t table) after(m move) table {
	if m.op == DeleteEntry {
		return t.without(m.number)
	}
	return t.with(m.slot)
}

// A bitset is a set of classes of packets.
type bitset []uint64

func (b bitset) add(i int) bitset {
	for len(b) <= i/64 {
		b = append(b, 0)
	}
	b[i/64] |= 1 << (i % 64)
	return b
}

// A transition leads one direction of one filter from one table to another.
type transition struct {
	id       string
	dir      flow.Direction
	layer    Layer
	from, to table
	most     int // slots by family, before those already held are looked at

	clauses []clause
	matched []bitset // by clause: the classes of packets that it matches
	classes int      // number of classes; packets of one match the same clauses
	must    bitset   // what both from and to allow
	may     bitset   // what from or to allows
	limit   [2]int   // slots by family

	// olds and news hold the entries and rules of from and to as they were
	// given.
	olds, news map[slot]Step

	checked int // how many tables searches have looked at
}

// clause returns the place of a clause, which it adds when it is new.
func (t *transition) clause(i clause) int {
	if at := slices.Index(t.clauses, i); at >= 0 {
		return at
	}
	t.clauses = append(t.clauses, i)
	return len(t.clauses) - 1
}

// survey splits all packets into classes.
func (t *transition) survey(from, to filter) {
	s := newSpace(from, to)
	parts := s.parts()
	known := make(map[string]int)
	t.matched = make([]bitset, len(t.clauses))
	s.grow(0, s.kinds, kind{}, func(k kind) []stretch {
		for _, p := range parts {
			t.classify(known, p, k)
		}
		return nil
	})
	t.classes = len(known)
	for i := range t.matched {
		t.matched[i] = append(t.matched[i], make(bitset, t.words()-len(t.matched[i]))...)
	}
	before, after := t.allows(t.from), t.allows(t.to)
	for w := range before {
		t.must = append(t.must, before[w]&after[w])
		t.may = append(t.may, before[w]|after[w])
	}
	held := t.count(t.from)
	t.limit = [2]int{max(t.most, held[0]), max(t.most, held[1])}
}

func (t *transition) words() int { return (t.classes + 63) / 64 }

// classify adds the classes of the packets of kind k for the peers p.
func (t *transition) classify(known map[string]int, p peers, k kind) {
	var matching []int
	starts := []int{0} // where a range of ports begins
	for i, it := range t.clauses {
		if it.kind.matches(k) && it.peers.contains(p) {
			matching = append(matching, i)
			r := it.ports(k)
			starts = append(starts, int(r.From), int(r.To)+1)
		}
	}
	slices.Sort(starts)
	for _, port := range slices.Compact(starts) {
		if port > 65535 {
			break
		}
		var class bitset
		for _, i := range matching {
			if t.clauses[i].ports(k).contains(uint16(port)) {
				class = class.add(i)
			}
		}
		t.addClass(known, class)
	}
}

// addClass adds the class of packets that match the given clauses.
func (t *transition) addClass(known map[string]int, clauses bitset) {
	key := fmt.Sprint(clauses)
	if _, found := known[key]; found {
		return
	}
	n := len(known)
	known[key] = n
	for i := range t.clauses {
		if i/64 < len(clauses) && clauses[i/64]>>(i%64)&1 == 1 {
			t.matched[i] = t.matched[i].add(n)
		}
	}
}

// allows returns the classes of packets that the table allows. The first
// match decides; where all clauses allow, as those of security groups do, that
// is their union.
func (t *transition) allows(tb table) bitset {
	allowed, decided := make(bitset, t.words()), make(bitset, t.words())
	for _, s := range tb {
		allow := t.clauses[s.clause].allow
		for w, matched := range t.matched[s.clause] {
			if allow {
				allowed[w] |= matched &^ decided[w]
			}
			decided[w] |= matched
		}
	}
	return allowed
}

// count returns how many slots the table has for each family.
func (t *transition) count(tb table) (n [2]int) {
	for _, s := range tb {
		f := t.clauses[s.clause].families()
		n[0], n[1] = n[0]+f[0], n[1]+f[1]
	}
	return n
}

// overfull says why there is no way to the new rules, or nothing.
func (t *transition) overfull() string {
	held := t.count(t.to)
	for family, name := range [...]string{"IPv4", "IPv6"} {
		if held[family] > t.limit[family] {
			return fmt.Sprintf("%s, %s: the new rules are %d for %s, and the quota is %d%s: raise it first, or take fewer",
				t.id, t.dir, held[family], name, t.limit[family], pick(t.layer == NACL, " beside the default deny", ""))
		}
	}
	return ""
}

// A breach is how far a table is from what it has to keep.
type breach struct {
	gaps  int // classes of packets denied though both sides allow them
	holes int // classes of packets allowed though neither side allows them
	full  bool
}

func (t *transition) breach(tb table) breach {
	var b breach
	for w, allowed := range t.allows(tb) {
		b.gaps += bits.OnesCount64(t.must[w] &^ allowed)
		b.holes += bits.OnesCount64(allowed &^ t.may[w])
	}
	n := t.count(tb)
	b.full = n[0] > t.limit[0] || n[1] > t.limit[1]
	return b
}

// The demands on every table on the way, hardest first.
var demands = []func(breach) bool{
	func(b breach) bool { return !b.full && b.gaps == 0 && b.holes == 0 },
	func(b breach) bool { return !b.full && b.gaps == 0 },
	func(b breach) bool { return !b.full },
}

// What bounds the searches of one transition, so that they take some tenths of
// a second at worst.
const (
	maxChecks     = 20000 // tables that one search looks at
	maxHelpChecks = 500   // and one with entries that exist for some steps
	maxHelp       = 40000 // and all of those together
	maxHelpers    = 8     // entries that exist for some steps
)

// plan returns the moves under the hardest demand that can be kept.
func (t *transition) plan() []move {
	found, deepest := t.search(demands[0], nil, maxChecks)
	if found != nil {
		return found
	}
	if way := t.searchWithHelpers(deepest); way != nil {
		return way
	}
	for _, begun := range [][]move{deepest, nil} {
		if way := t.detour(begun); t.keeps(way, demands[0]) {
			return way
		}
	}
	for _, demand := range demands[1:] {
		if found, _ = t.search(demand, nil, maxChecks); found != nil {
			return found
		}
	}
	return t.emptyAndFill()
}

// searchWithHelpers searches with a few entries that exist for some steps:
// copies of those that stood in the way where the search got deepest.
func (t *transition) searchWithHelpers(deepest []move) []move {
	if t.layer != NACL {
		return nil
	}
	var helpers []move
	enough := t.checked + maxHelp
	for range maxHelpers {
		found, more, further := t.searchWithOneMore(helpers, deepest, enough)
		if found != nil || more == nil {
			return found
		}
		helpers, deepest = more, further
	}
	return nil
}

// searchWithOneMore adds one helper. When no way is found it returns the
// helpers with the first that leads beyond the deepest moves, and how far.
func (t *transition) searchWithOneMore(helpers, deepest []move, enough int) (found, more, further []move) {
	reached := len(deepest) - len(helpers)
	for _, h := range t.helpers(deepest, helpers) {
		if t.checked > enough {
			break
		}
		more := append(slices.Clip(helpers), move{CreateEntry, h}, move{DeleteEntry, h})
		found, further := t.search(demands[0], more, maxHelpChecks)
		if found != nil || len(further)-len(more) > reached {
			return found, more, further
		}
	}
	return nil, nil, nil
}

// helpers returns copies of the entries whose numbers are still to change
// hands after the moves made, right before and right behind their own places,
// and before and behind all.
func (t *transition) helpers(made, taken []move) []slot {
	var copies []slot
	for _, c := range t.changes() {
		if slices.Contains(made, c) {
			continue
		}
		for _, tb := range []table{t.from, t.to} {
			at, found := tb.find(c.number)
			if !found {
				continue
			}
			for _, n := range t.freeNumbers(tb[at].number, taken) {
				copies = append(copies, slot{n, tb[at].clause})
			}
		}
	}
	return copies
}

// freeNumbers returns the nearest number before and behind the given one that
// neither side nor a move has taken, and likewise before and behind all.
func (t *transition) freeNumbers(number int, taken []move) []int {
	isTaken := func(n int) bool {
		_, old := t.from.find(n)
		_, wanted := t.to.find(n)
		return old || wanted || slices.ContainsFunc(taken, func(m move) bool { return m.number == n })
	}
	var free []int
	add := func(n, step int) {
		for isTaken(n) {
			n += step
		}
		if n >= 1 && n <= maxRule && !slices.Contains(free, n) {
			free = append(free, n)
		}
	}
	lowest, highest := number, number
	for _, s := range slices.Concat(t.from, t.to) {
		lowest, highest = min(lowest, s.number), max(highest, s.number)
	}
	add(number+1, 1)
	add(number-1, -1)
	add(highest+1, 1)
	add(lowest-1, -1)
	return free
}

// keeps reports whether the moves exist and all tables on the way meet the
// demand.
func (t *transition) keeps(moves []move, demand func(breach) bool) bool {
	now := t.from
	for _, m := range moves {
		if !now.isLegal(m) {
			return false
		}
		if now = now.after(m); !demand(t.breach(now)) {
			return false
		}
	}
	return moves != nil
}

// changes returns the moves that have to be made, in some order: what is
// created, replaced and deleted. An entry that gives its number to one of the
// other family is deleted first, so that deletions alone always make room.
func (t *transition) changes() []move {
	moves := []move{}
	for _, s := range t.to {
		at, found := t.from.find(s.number)
		switch {
		case !found:
			moves = append(moves, move{CreateEntry, s})
		case t.from[at] == s:
		case t.clauses[t.from[at].clause].families() == t.clauses[s.clause].families():
			moves = append(moves, move{ReplaceEntry, s})
		default:
			moves = append(moves, move{DeleteEntry, t.from[at]}, move{CreateEntry, s})
		}
	}
	for _, s := range slices.Backward(t.from) {
		if _, found := t.to.find(s.number); !found {
			moves = append(moves, move{DeleteEntry, s})
		}
	}
	return byOperation(moves)
}

// byOperation sorts moves: what is created first, what is deleted last.
func byOperation(moves []move) []move {
	slices.SortStableFunc(moves, func(x, y move) int { return cmp.Compare(x.op, y.op) })
	return moves
}

// emptyAndFill returns the moves in the order that always fits the quota.
func (t *transition) emptyAndFill() []move {
	moves := t.changes()
	slices.SortStableFunc(moves, func(x, y move) int { return cmp.Compare(y.op, x.op) })
	return moves
}

// search looks for an order of the changes, and of further moves, in which
// every table meets the demand. When it finds none among as many tables as it
// may look at, it returns the longest row of moves that did.
func (t *transition) search(demand func(breach) bool, further []move, checks int) (found, deepest []move) {
	s := &search{
		transition: t, demand: demand, checks: checks, dead: make(map[string]bool),
		changes: byOperation(append(t.changes(), further...)),
	}
	s.made, s.done = []move{}, make([]byte, len(s.changes))
	if s.goOn(t.from) {
		return s.made, nil
	}
	return nil, s.deepest
}

// A search is the state of a depth-first search.
type search struct {
	*transition
	demand  func(breach) bool
	changes []move
	done    []byte // by change: 1 when it is made
	made    []move
	deepest []move
	dead    map[string]bool // values of done from which no way leads on
	checks  int             // how many tables it may yet look at
}

// goOn makes the changes that are left, and reports whether it could.
func (s *search) goOn(now table) bool {
	if len(s.made) == len(s.changes) {
		return true
	}
	if len(s.made) > len(s.deepest) {
		s.deepest = slices.Clone(s.made)
	}
	key := string(s.done)
	if s.dead[key] {
		return false
	}
	if s.tryClean(now) {
		return true
	}
	s.dead[key] = true
	return false
}

// tryClean goes on with each change after which nothing is breached and, when
// none of them leads to the end, with those that the demand lets pass, the
// least breach first.
func (s *search) tryClean(now table) bool {
	type unclean struct {
		change int
		breach
	}
	var later []unclean
	for i, m := range s.changes {
		if s.done[i] == 1 || !now.isLegal(m) {
			continue
		}
		if s.checks--; s.checks < 0 {
			return false
		}
		s.checked++
		b := s.breach(now.after(m))
		switch {
		case !s.demand(b):
		case b.gaps > 0 || b.holes > 0:
			later = append(later, unclean{i, b})
		case s.try(now, i):
			return true
		}
	}
	slices.SortStableFunc(later, func(x, y unclean) int {
		return cmp.Or(cmp.Compare(x.gaps, y.gaps), cmp.Compare(x.holes, y.holes))
	})
	return slices.ContainsFunc(later, func(u unclean) bool { return s.try(now, u.change) })
}

// try makes one change, goes on, and takes the change back if that fails.
func (s *search) try(now table, change int) bool {
	m := s.changes[change]
	s.done[change], s.made = 1, append(s.made, m)
	if s.goOn(now.after(m)) {
		return true
	}
	s.done[change], s.made = 0, s.made[:len(s.made)-1]
	return false
}

// detour returns moves that begin with those given and lead to the end by way
// of entries that exist for some steps only, or nil where no numbers are free
// for them. Between the entries that stay, the new ones are created in their
// order, all before or all behind the old ones; the old ones are deleted, the
// last first; then the new ones are created again with the numbers that they
// are to have; and their copies are deleted, the last first. At any time, a
// packet is treated as by the rules where the detour begins or as by those
// where it ends.
func (t *transition) detour(begun []move) []move {
	if t.layer != NACL {
		return nil
	}
	now := t.from
	for _, m := range begun {
		now = now.after(m)
	}
	before, old, wanted, behind := changedPart(now, t.to)
	copies := copiesBeside(before, old, wanted, behind)
	if copies == nil {
		return nil
	}
	moves := slices.Clone(begun)
	moves = append(moves, each(CreateEntry, copies)...)
	moves = append(moves, each(DeleteEntry, backwards(old))...)
	moves = append(moves, each(CreateEntry, wanted)...)
	return append(moves, each(DeleteEntry, backwards(copies))...)
}

// changedPart cuts off what two tables have in common at the beginning and
// at the end. The numbers before and behind are those next to what is left.
func changedPart(now, to table) (before int, old, wanted table, behind int) {
	behind = maxRule + 1
	for len(now) > 0 && len(to) > 0 && now[0] == to[0] {
		before, now, to = now[0].number, now[1:], to[1:]
	}
	for len(now) > 0 && len(to) > 0 && now[len(now)-1] == to[len(to)-1] {
		behind, now, to = now[len(now)-1].number, now[:len(now)-1], to[:len(to)-1]
	}
	return before, now, to, behind
}

// copiesBeside gives the wanted clauses numbers behind all those of old and
// wanted, or before all of them. It returns nil where there is no room.
func copiesBeside(before int, old, wanted table, behind int) table {
	lowest, highest := behind, before
	for _, s := range slices.Concat(old, wanted) {
		lowest, highest = min(lowest, s.number), max(highest, s.number)
	}
	var numbers []int
	switch n := len(wanted); {
	case behind-highest > n:
		numbers = between(highest, behind, n)
	case lowest-before > n:
		numbers = between(before, lowest, n)
	default:
		return nil
	}
	copies := slices.Clone(wanted)
	for i := range copies {
		copies[i].number = numbers[i]
	}
	return copies
}

func each(op Op, slots table) []move {
	var moves []move
	for _, s := range slots {
		moves = append(moves, move{op, s})
	}
	return moves
}

func backwards(t table) table {
	t = slices.Clone(t)
	slices.Reverse(t)
	return t
}

// step returns the step that a move is.
func (t *transition) step(m move) Step {
	if t.layer == SG {
		s := pick(m.op == DeleteEntry, t.olds, t.news)[m.slot]
		return Step{Op: pick(m.op == DeleteEntry, RevokeRule, AuthorizeRule), ID: t.id, Direction: t.dir, Rule: s.Rule}
	}
	s, known := pick(m.op == DeleteEntry, t.olds, t.news)[m.slot]
	if !known { // for some steps only
		s.Entry = t.clauses[m.clause].entry
		s.Entry.RuleNumber = m.number
	}
	return Step{Op: m.op, ID: t.id, Direction: t.dir, Entry: s.Entry}
}

// allowed returns all packets that the table allows.
func (t *transition) allowed(tb table) []Packets {
	if t.layer == SG {
		var f ruleFilter
		for _, s := range tb {
			f = append(f, t.clauses[s.clause].rule)
		}
		return allowed(f)
	}
	var f entryFilter
	for _, s := range tb {
		f = append(f, t.clauses[s.clause].entry)
	}
	return allowed(f)
}

// Apply carries out one step, and returns the rule set after it; s stays as
// it is. The error says why EC2 would refuse the step: a rule number that is
// taken, not there or out of range, a rule that exists already or does not,
// or more than the highest quota.
func (s RuleSet) Apply(st Step) (RuleSet, error) {
	after, err := s.apply(st)
	if err != nil {
		return RuleSet{}, fmt.Errorf("%s: %w", st, err)
	}
	return after, nil
}

func (s RuleSet) apply(st Step) (RuleSet, error) {
	switch st.Op {
	case CreateEntry, ReplaceEntry, DeleteEntry:
		i := slices.IndexFunc(s.ACLs, func(a *NetworkACL) bool { return a.ID == st.ID })
		if i < 0 {
			return s, fmt.Errorf("there is no network ACL %q", st.ID)
		}
		changed := s.ACLs[i].Clone()
		s.ACLs = slices.Clone(s.ACLs)
		s.ACLs[i] = changed
		return s, changed.apply(st)
	case AuthorizeRule, RevokeRule:
		i := slices.IndexFunc(s.Groups, func(g *SecurityGroup) bool { return g.ID == st.ID })
		if i < 0 {
			return s, fmt.Errorf("there is no security group %q", st.ID)
		}
		changed := s.Groups[i].Clone()
		s.Groups = slices.Clone(s.Groups)
		s.Groups[i] = changed
		return s, changed.apply(st)
	}
	return s, fmt.Errorf("operation %d is not known", st.Op)
}

func (a *NetworkACL) apply(st Step) error {
	e := st.Entry
	if e.RuleNumber < 1 || e.RuleNumber > maxRule {
		return fmt.Errorf("rule numbers go from 1 to %d", maxRule)
	}
	if e.Direction() != st.Direction {
		return fmt.Errorf("the entry is for %s", e.Direction())
	}
	at := slices.IndexFunc(a.Entries, func(x Entry) bool { return x.RuleNumber == e.RuleNumber && x.Egress == e.Egress })
	switch {
	case st.Op == CreateEntry && at >= 0:
		return fmt.Errorf("the rule number is taken by %s", a.Entries[at])
	case st.Op != CreateEntry && at < 0:
		return fmt.Errorf("there is no such rule number")
	case st.Op == CreateEntry:
		a.Entries = append(a.Entries, e)
		a.Sort()
	case st.Op == ReplaceEntry:
		a.Entries[at] = e
	case st.Op == DeleteEntry:
		a.Entries = slices.Delete(a.Entries, at, at+1)
	}
	n := 1 // the default deny
	for _, x := range a.Entries {
		if x.Egress == e.Egress && !x.IsDefault() && x.Prefix.Addr().Is6() == e.Prefix.Addr().Is6() {
			n++
		}
	}
	if st.Op != DeleteEntry && n > highestQuota.Entries {
		return fmt.Errorf("no network ACL can hold %d entries in one direction", n)
	}
	return nil
}

func (g *SecurityGroup) apply(st Step) error {
	list := pick(st.Direction == flow.Egress, &g.Egress, &g.Ingress)
	at := slices.IndexFunc(*list, func(r GroupRule) bool { return ruleClause(r) == ruleClause(st.Rule) })
	switch {
	case st.Op == AuthorizeRule && at >= 0:
		return fmt.Errorf("the rule exists already")
	case st.Op == RevokeRule && at < 0:
		return fmt.Errorf("there is no such rule")
	case st.Op == RevokeRule:
		*list = slices.Delete(*list, at, at+1)
		return nil
	}
	*list = append(*list, st.Rule)
	var n [2]int
	for _, r := range *list {
		f := ruleClause(r).families()
		n[0], n[1] = n[0]+f[0], n[1]+f[1]
	}
	if max(n[0], n[1]) > highestQuota.GroupRules {
		return fmt.Errorf("no security group can hold %d rules in one direction", max(n[0], n[1]))
	}
	return nil
}
