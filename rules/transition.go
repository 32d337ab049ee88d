package rules

import (
	"cmp"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"

	"ephemera/ingest/flow"
)

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
