package rules

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ephemera/ingest/flow"
)

// aclOf reads entries such as "100 allow tcp 80-443 10.0.0.0/8", one a line,
// all of egress.
func aclOf(t testing.TB, text string) *NetworkACL {
	t.Helper()
	a := &NetworkACL{ID: "acl-1"}
	for line := range strings.Lines(text) {
		var number int
		var action, protocol, ports, peer string
		if n, _ := fmt.Sscan(line, &number, &action, &protocol, &ports, &peer); n == 0 {
			continue
		}
		e := Entry{
			RuleNumber: number, Egress: true, Allow: action == "allow", ICMPType: -1, ICMPCode: -1,
			Protocol: map[string]int{"all": -1, "tcp": 6, "udp": 17, "icmp": 1}[protocol], Prefix: netip.MustParsePrefix(peer),
		}
		if ports != "any" {
			set, err := ParsePorts(ports)
			if err != nil {
				t.Fatal(err)
			}
			e.Ports, e.HasPorts = set.Ranges()[0], true
		}
		a.Entries = append(a.Entries, e)
	}
	return a
}

func aclSet(acls ...*NetworkACL) RuleSet { return RuleSet{ACLs: acls} }

func showSteps(steps []Step) string {
	var words []string
	for _, s := range steps {
		words = append(words, fmt.Sprint(s.Op.short(), s.Entry.RuleNumber))
	}
	return strings.Join(words, " ")
}

func (op Op) short() string { return [...]string{"+", "=", "-", "+", "-"}[op] }

func TestPlanOfACL(t *testing.T) {
	for _, c := range []struct{ name, from, to, want string }{
		{"nothing to do", "100 allow tcp 80 0.0.0.0/0", "100 allow tcp 80 0.0.0.0/0", ""},
		{"replace", "100 allow tcp 80 0.0.0.0/0", "100 allow tcp 81 0.0.0.0/0", "=100"},
		{"narrow one entry into five, one of which has its number",
			`100 allow tcp 22 10.0.0.0/8
			 110 allow tcp 1024-65535 0.0.0.0/0`,
			`100 allow tcp 22 10.0.0.0/8
			 110 allow tcp 1024-2000 10.1.0.0/16
			 111 allow tcp 1024-2000 10.2.0.0/16
			 112 allow tcp 1024-2000 10.3.0.0/16
			 113 allow tcp 40000-40199 10.4.0.0/16
			 114 allow tcp 50000-50199 10.4.0.0/16`,
			"+111 +112 +113 +114 =110"},
		{"and back",
			`100 allow tcp 22 10.0.0.0/8
			 110 allow tcp 1024-2000 10.1.0.0/16
			 111 allow tcp 1024-2000 10.2.0.0/16`,
			`100 allow tcp 22 10.0.0.0/8
			 110 allow tcp 1024-65535 0.0.0.0/0`,
			"=110 -111"},
		{"a deny goes last", "90 deny tcp 5000 0.0.0.0/0\n 100 allow tcp 80 0.0.0.0/0", "100 allow tcp 1024-65535 0.0.0.0/0", "=100 -90"},
		{"a deny comes first", "100 allow tcp 80 0.0.0.0/0", "90 deny tcp 5000 0.0.0.0/0\n 100 allow tcp 80-65535 0.0.0.0/0", "+90 =100"},
		{"two change places",
			"100 allow tcp 80 0.0.0.0/0\n 110 allow tcp 443 0.0.0.0/0",
			"100 allow tcp 443 0.0.0.0/0\n 110 allow tcp 80 0.0.0.0/0",
			"+101 =100 =110 -101"},
		{"twelve change places in pairs", ports(12, 0), ports(12, 1),
			"+101 +121 +141 +161 +181 +201 =100 =110 =120 =130 =140 =150 =160 =170 =180 =190 =200 =210 -101 -121 -141 -161 -181 -201"},
		{"a family changes hands",
			"100 allow tcp 80 10.0.0.0/8", "100 allow tcp 80 2001:db8::/32", "-100 +100"},
	} {
		from, to := aclSet(aclOf(t, c.from)), aclSet(aclOf(t, c.to))
		steps, warnings := Plan(from, to, Quota{})
		if got := showSteps(steps); got != c.want || len(warnings) > 0 {
			t.Errorf("%s: got %s %q, want %s", c.name, got, warnings, c.want)
		}
		checkPlan(t, from, to, Quota{})
	}
}

// ports returns n entries for as many ports. With swap 1, pairs of them have
// each other's numbers.
func ports(n, swap int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%d allow tcp %d 10.0.0.0/8\n", 100+10*i, 1000+(i^swap))
	}
	return b.String()
}

// checkPlan follows the steps and compares every state with both ends. It
// reports whether there were warnings.
func checkPlan(t *testing.T, from, to RuleSet, q Quota) (warned bool) {
	t.Helper()
	steps, warnings := Plan(from, to, q)
	if again, _ := Plan(from, to, q); !slices.Equal(steps, again) {
		t.Fatalf("got %v and then %v", steps, again)
	}
	oracle := newOracle(from, to)
	now := from
	for i, st := range steps {
		next, err := now.Apply(st)
		if err != nil {
			t.Fatalf("%v: step %d: %v", steps, i+1, err)
		}
		now = next
		isWarned := strings.Contains(strings.Join(warnings, "\n"), fmt.Sprintf("step %d (", i+1))
		if fault := oracle.fault(now); (fault != "") != isWarned {
			t.Fatalf("step %d of\n%v\nfrom %v\nto %v: %q, and the warnings are %q", i+1, steps, from.ACLs, to.ACLs, fault, warnings)
		}
		if size, most := size(now), max(size(from), q.orDefault().most(now)); size > most {
			t.Fatalf("step %d of\n%v\nfrom %v\nto %v: %d, and the quota is %d", i+1, steps, from.ACLs, to.ACLs, size, most)
		}
	}
	if got, want := contents(now), contents(to); got != want {
		t.Fatalf("got %s\nwant %s", got, want)
	}
	return len(warnings) > 0
}

// most returns the quota for the rule set, which is of one kind of filter.
func (q Quota) most(s RuleSet) int { return pick(len(s.ACLs) > 0, q.Entries, q.GroupRules) }

// size returns the most entries or rules that count together.
func size(s RuleSet) int {
	most := 0
	for _, dir := range []flow.Direction{flow.Ingress, flow.Egress} {
		for _, a := range s.ACLs {
			most = max(most, entriesOf(a, dir))
		}
		for _, g := range s.Groups {
			most = max(most, rulesOf(g, dir))
		}
	}
	return most
}

// An oracle knows the verdicts of both ends on edge packets.
type oracle struct {
	probes    []probe
	was, will [2][]bool // by direction
}

func newOracle(from, to RuleSet) *oracle {
	o := &oracle{probes: slices.Concat(
		edgesOfACLs(slices.Concat(from.ACLs, to.ACLs)...), edgesOfGroups(slices.Concat(from.Groups, to.Groups)...))}
	for i, dir := range []flow.Direction{flow.Ingress, flow.Egress} {
		for _, p := range o.probes {
			o.was[i] = append(o.was[i], literalVerdict(from, dir, p))
			o.will[i] = append(o.will[i], literalVerdict(to, dir, p))
		}
	}
	return o
}

// literalVerdict is that of the one filter in the rule set.
func literalVerdict(s RuleSet, dir flow.Direction, p probe) bool {
	if len(s.ACLs) > 0 {
		return literallyAllowed(s.ACLs[0], dir, p)
	}
	return literallyAnyAllows(s.Groups[0], dir, p)
}

// fault says for which packet a state on the way is wrong, or nothing.
func (o *oracle) fault(now RuleSet) string {
	for i, dir := range []flow.Direction{flow.Ingress, flow.Egress} {
		for j, p := range o.probes {
			is, was, will := literalVerdict(now, dir, p), o.was[i][j], o.will[i][j]
			if is && !was && !will || !is && was && will {
				return fmt.Sprintf("%s %+v is %t, was %t, will be %t", dir, p, is, was, will)
			}
		}
	}
	return ""
}

// entriesOf returns the greater number of entries of both families, with the
// default deny.
func entriesOf(a *NetworkACL, dir flow.Direction) int {
	var n4, n6 int
	for _, e := range a.Entries {
		switch {
		case e.Egress != (dir == flow.Egress):
		case e.Prefix.Addr().Is6():
			n6++
		default:
			n4++
		}
	}
	return max(n4, n6) + 1
}

// rulesOf returns the greater number of rules of both families.
func rulesOf(g *SecurityGroup, dir flow.Direction) int {
	var n4, n6 int
	for _, r := range g.Rules(dir) {
		if r.GroupRef+r.PrefixList != "" || r.Prefix.Addr().Is6() {
			n6++
		}
		if !r.Prefix.Addr().Is6() {
			n4++
		}
	}
	return max(n4, n6)
}

// contents writes down a rule set; rules that differ in words only are one.
func contents(s RuleSet) string {
	var words []string
	for _, a := range s.ACLs {
		for _, e := range a.Entries {
			words = append(words, fmt.Sprint(a.ID, e.Direction(), e.RuleNumber, entryClause(e)))
		}
	}
	for _, g := range s.Groups {
		for _, dir := range []flow.Direction{flow.Ingress, flow.Egress} {
			for _, r := range g.Rules(dir) {
				words = append(words, fmt.Sprint(g.ID, dir, ruleClause(r)))
			}
		}
	}
	slices.Sort(words)
	return strings.Join(slices.Compact(words), "\n")
}

// sortedACL draws a network ACL as EC2 would hold it.
func sortedACL(rng *rand.Rand) *NetworkACL {
	a := mixedACL(rng, "acl-1")
	for i := range a.Entries {
		if !a.Entries[i].Prefix.IsValid() {
			a.Entries[i].Prefix = netip.MustParsePrefix("10.0.0.0/28")
		}
	}
	a.Sort()
	return a
}

// edited returns a copy with a few entries changed, added, deleted, or moved.
func edited(rng *rand.Rand, a *NetworkACL) *NetworkACL {
	b := a.Clone()
	for range 1 + rng.IntN(5) {
		n := rng.IntN(14)*10 + 5*rng.IntN(2) + 5
		e := mixedEntry(rng, n)
		if !e.Prefix.IsValid() {
			continue
		}
		at := slices.IndexFunc(b.Entries, func(x Entry) bool { return x.RuleNumber == n && x.Egress == e.Egress })
		switch {
		case at < 0:
			b.Entries = append(b.Entries, e)
		case rng.IntN(2) == 0:
			b.Entries[at] = e
		default:
			other := rng.IntN(len(b.Entries))
			if b.Entries[at].Egress == b.Entries[other].Egress { // change places
				x, y := &b.Entries[at], &b.Entries[other]
				x.RuleNumber, y.RuleNumber = y.RuleNumber, x.RuleNumber
				break
			}
			b.Entries = slices.Delete(b.Entries, at, at+1)
		}
	}
	b.Sort()
	return b
}

func TestPlanAgainstFirstMatch(t *testing.T) {
	rng := rand.New(rand.NewPCG(44, 1))
	n, warned := rounds(200), 0
	for i := range n {
		from := sortedACL(rng)
		to := edited(rng, from)
		if i%4 == 0 {
			to = sortedACL(rng)
		}
		for _, way := range [][2]*NetworkACL{{from, to}, {to, from}} {
			if checkPlan(t, aclSet(way[0]), aclSet(way[1]), Quota{}) {
				warned++
			}
		}
	}
	if warned > 0 {
		t.Errorf("%d of %d plans could not keep what is demanded", warned, 2*n)
	}
}

// TestPlanUnderTightQuota leaves room for none, one or two entries more than
// the larger side has.
func TestPlanUnderTightQuota(t *testing.T) {
	rng := rand.New(rand.NewPCG(44, 2))
	var plans, warned [3]int
	for i := range 150 + rounds(150) {
		n := 3 + rng.IntN(4)
		from, to := portsACL(rng, n), portsACL(rng, n)
		if i >= 150 {
			from = sortedACL(rng)
			to = edited(rng, from)
		}
		room := i % 3
		plans[room]++
		if checkPlan(t, aclSet(from), aclSet(to), Quota{Entries: max(size(aclSet(from)), size(aclSet(to))) + room}) {
			warned[room]++
		}
	}
	t.Logf("with room for 0, 1 and 2 entries, of %v plans %v have warnings", plans, warned)
	if warned[0] == 0 {
		t.Error("no plan was ever hard to make: the test shows nothing")
	}
}

// portsACL draws a network ACL whose entries are all for the same peers, so
// that little can be done without touching what others do.
func portsACL(rng *rand.Rand, entries int) *NetworkACL {
	a := &NetworkACL{ID: "acl-1"}
	for n := range entries {
		a.Entries = append(a.Entries, Entry{
			RuleNumber: 10*n + 10, Allow: rng.IntN(3) > 0, Protocol: 6, ICMPType: -1, ICMPCode: -1,
			Prefix: netip.MustParsePrefix("10.0.0.0/8"), HasPorts: true, Ports: smallPorts(rng),
		})
	}
	return a
}

// portsGroup draws a security group of the same kind.
func portsGroup(rng *rand.Rand) *SecurityGroup {
	g := &SecurityGroup{ID: "sg-9"}
	for range 1 + rng.IntN(6) {
		g.Ingress = append(g.Ingress, GroupRule{Protocol: 6, Prefix: netip.MustParsePrefix("10.0.0.0/8"), HasPorts: true, Ports: smallPorts(rng)})
	}
	return distinct(g)
}

func smallPorts(rng *rand.Rand) PortRange {
	from := uint16(rng.IntN(12))
	return PortRange{from, from + uint16(rng.IntN(6))}
}

// bestOrder tries all orders of at most six changes and returns the least
// hardness of the demands that one can keep.
func bestOrder(tr *transition) int {
	for hardness, demand := range demands {
		if orderExists(tr, tr.from, tr.changes(), demand) {
			return hardness
		}
	}
	return len(demands)
}

func orderExists(tr *transition, now table, left []move, demand func(breach) bool) bool {
	if len(left) == 0 {
		return true
	}
	for i, m := range left {
		if !now.isLegal(m) || !demand(tr.breach(now.after(m))) {
			continue
		}
		if orderExists(tr, now.after(m), slices.Delete(slices.Clone(left), i, i+1), demand) {
			return true
		}
	}
	return false
}

// hardnessOf returns which of the demands a row of moves keeps.
func hardnessOf(tr *transition, moves []move) int {
	return slices.IndexFunc(demands, func(demand func(breach) bool) bool { return tr.keeps(moves, demand) })
}

func TestPlanAgainstEveryOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(44, 3))
	seen, better := map[int]int{}, 0
	for i := range 3000 {
		from := sortedACL(rng)
		to := edited(rng, from)
		if i%2 == 0 {
			n := 3 + rng.IntN(4)
			from, to = portsACL(rng, n), portsACL(rng, n)
		}
		dir := pick(i%2 == 0, flow.Ingress, flow.Egress)
		tr := transitionOf(from, to, dir, max(entriesOf(from, dir), entriesOf(to, dir))-1)
		if n := len(tr.changes()); n == 0 || n > 6 {
			continue
		}
		got, best := hardnessOf(tr, tr.plan()), bestOrder(tr)
		seen[best]++
		if got < 0 || got > best {
			t.Fatalf("from %v\nto %v: the plan keeps demand %d, and some order demand %d", from, to, got, best)
		}
		if got < best {
			better++
		}
	}
	t.Logf("demands kept by the best order: %v; a detour does better in %d", seen, better)
	if seen[0] == 0 || seen[1] == 0 || seen[2] == 0 || better == 0 {
		t.Error("some case never came up")
	}
}

func transitionOf(from, to *NetworkACL, dir flow.Direction, most int) *transition {
	tr := &transition{id: from.ID, dir: dir, layer: NACL, most: most}
	tr.from, tr.olds = tr.entryTable(from.filter(dir))
	tr.to, tr.news = tr.entryTable(to.filter(dir))
	tr.survey(from.filter(dir), to.filter(dir))
	return tr
}

// TestDetour takes the way that is always there when the quota and the numbers
// leave room for copies of all new entries.
func TestDetour(t *testing.T) {
	rng := rand.New(rand.NewPCG(44, 5))
	ways := 0
	for i := range 800 {
		from := sortedACL(rng)
		to := edited(rng, from)
		if i%2 == 0 {
			to = sortedACL(rng)
		}
		tr := transitionOf(from, to, flow.Egress, 100)
		if len(tr.changes()) == 0 {
			continue
		}
		begun := tr.changes()[:1]
		if !tr.keeps(begun, demands[0]) || i%3 > 0 {
			begun = nil
		}
		way := tr.detour(begun)
		if way == nil {
			continue
		}
		ways++
		if !tr.keeps(way, demands[0]) {
			t.Fatalf("from %v\nto %v: %v does not keep what is demanded", from, to, way)
		}
		now := tr.from
		for _, m := range way {
			now = now.after(m)
		}
		if !slices.Equal(now, tr.to) {
			t.Fatalf("from %v\nto %v: %v leads to %v", from, to, way, now)
		}
	}
	if ways < 600 {
		t.Errorf("there were only %d detours", ways)
	}
}

func TestDetourWithoutNumbers(t *testing.T) {
	from := aclOf(t, "1 allow tcp 80 10.0.0.0/8\n 2 allow tcp 81 10.0.0.0/8\n 32765 allow tcp 82 10.0.0.0/8\n 32766 allow tcp 83 10.0.0.0/8")
	to := aclOf(t, "1 allow tcp 83 10.0.0.0/8\n 2 allow tcp 82 10.0.0.0/8\n 32765 allow tcp 81 10.0.0.0/8\n 32766 allow tcp 80 10.0.0.0/8")
	if way := transitionOf(from, to, flow.Egress, 100).detour(nil); way != nil {
		t.Errorf("got %v, want none", way)
	}
	if checkPlan(t, aclSet(from), aclSet(to), Quota{}) {
		t.Error("numbers between are free, and yet the plan has warnings")
	}
}

// TestEmptyAndFill takes the order that is left when a search gives up.
func TestEmptyAndFill(t *testing.T) {
	rng := rand.New(rand.NewPCG(44, 6))
	for range 500 {
		from, to := sortedACL(rng), sortedACL(rng)
		most := max(entriesOf(from, flow.Egress), entriesOf(to, flow.Egress)) - 1
		tr := transitionOf(from, to, flow.Egress, most)
		if tr.overfull() == "" && !tr.keeps(append([]move{}, tr.emptyAndFill()...), demands[2]) {
			t.Fatalf("from %v\nto %v: %v exceeds the quota", from, to, tr.emptyAndFill())
		}
	}
}

func groupSet(groups ...*SecurityGroup) RuleSet { return RuleSet{Groups: groups} }

// distinct drops the rules that EC2 would take for duplicates.
func distinct(g *SecurityGroup) *SecurityGroup {
	for _, list := range []*[]GroupRule{&g.Ingress, &g.Egress} {
		var kept []GroupRule
		for _, r := range *list {
			if !slices.ContainsFunc(kept, func(k GroupRule) bool { return ruleClause(k) == ruleClause(r) }) {
				kept = append(kept, r)
			}
		}
		*list = kept
	}
	return g
}

func TestPlanOfGroupsAgainstUnion(t *testing.T) {
	rng := rand.New(rand.NewPCG(44, 4))
	var loose, tight int
	for i := range rounds(160) {
		from, to := portsGroup(rng), portsGroup(rng)
		if i%2 == 0 {
			from, to = distinct(mixedGroup(rng, "sg-9")), distinct(mixedGroup(rng, "sg-9"))
		}
		if checkPlan(t, groupSet(from), groupSet(to), Quota{}) {
			loose++
		}
		if checkPlan(t, groupSet(from), groupSet(to), Quota{GroupRules: max(size(groupSet(from)), size(groupSet(to)), 1)}) {
			tight++
		}
	}
	t.Logf("%d plans have warnings with room, and %d without", loose, tight)
	if loose > 0 || tight == 0 {
		t.Error("with room there have to be none, and without there have to be some")
	}
}

func TestPlanWarnings(t *testing.T) {
	full := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "%d allow tcp %d 10.0.0.0/8\n", 1000+i, 1000+i)
		}
		return b.String()
	}
	for _, c := range []struct {
		name, from, to string
		q              Quota
		steps, want    string
	}{
		{"no room to change places",
			full(17) + "100 allow tcp 80 10.0.0.0/8\n 110 allow tcp 443 10.0.0.0/8",
			full(17) + "100 allow tcp 443 10.0.0.0/8\n 110 allow tcp 80 10.0.0.0/8", Quota{},
			"=100 =110", "step 1 (replace rule 100 of acl-1, egress) stops what was allowed and will be again: tcp 80 peers 10.0.0.0/8"},
		{"room with a higher quota",
			full(17) + "100 allow tcp 80 10.0.0.0/8\n 110 allow tcp 443 10.0.0.0/8",
			full(17) + "100 allow tcp 443 10.0.0.0/8\n 110 allow tcp 80 10.0.0.0/8", Quota{Entries: 21},
			"+101 =100 =110 -101", ""},
		{"more than the quota", "100 allow tcp 80 10.0.0.0/8", full(20), Quota{},
			"", "acl-1, egress: the new rules are 20 for IPv4, and the quota is 19 beside the default deny: raise it first, or take fewer"},
		{"more than the quota already", full(25), full(24), Quota{}, "-1024", ""},
	} {
		steps, warnings := Plan(aclSet(aclOf(t, c.from)), aclSet(aclOf(t, c.to)), c.q)
		if got := strings.Join(warnings, "\n"); got != c.want || showSteps(steps) != c.steps {
			t.Errorf("%s: got %s with %q, want %s with %q", c.name, showSteps(steps), got, c.steps, c.want)
		}
	}
}

// TestPlanWithOneFreeEntry has rule numbers change hands where there is room
// for one copy at a time.
func TestPlanWithOneFreeEntry(t *testing.T) {
	rotated := "100 allow tcp 1011 10.0.0.0/8\n"
	for i := range 11 {
		rotated += fmt.Sprintf("%d allow tcp %d 10.0.0.0/8\n", 110+10*i, 1000+i)
	}
	for _, wanted := range []string{ports(12, 1), rotated} {
		from, to := aclSet(aclOf(t, ports(12, 0))), aclSet(aclOf(t, wanted))
		if checkPlan(t, from, to, Quota{Entries: 14}) || checkPlan(t, to, from, Quota{Entries: 14}) {
			t.Errorf("to %s: there are warnings", wanted)
		}
	}
}

// TestPlanOfSeveral has one filter after the other, and counts the steps of
// all.
func TestPlanOfSeveral(t *testing.T) {
	rng := rand.New(rand.NewPCG(44, 7))
	from, to := aclOf(t, ports(19, 0)), aclOf(t, ports(19, 1))
	first, firstTo := sortedACL(rng), sortedACL(rng)
	first.ID, firstTo.ID = "acl-0", "acl-0"
	group, groupTo := distinct(mixedGroup(rng, "sg-9")), distinct(mixedGroup(rng, "sg-9"))
	old := RuleSet{ACLs: []*NetworkACL{first, from}, Groups: []*SecurityGroup{group}}
	wanted := RuleSet{ACLs: []*NetworkACL{to, firstTo}, Groups: []*SecurityGroup{groupTo}}
	oldBefore, wantedBefore := contents(old), contents(wanted)
	steps, warnings := Plan(old, wanted, Quota{})
	now := old
	for i, st := range steps {
		var err error
		if now, err = now.Apply(st); err != nil {
			t.Fatalf("step %d: %v", i+1, err)
		}
	}
	if got, want := contents(now), contents(wanted); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if contents(old) != oldBefore || contents(wanted) != wantedBefore {
		t.Error("the rule sets given changed")
	}
	at := slices.IndexFunc(steps, func(s Step) bool { return s.ID == "acl-1" && s.Entry.RuleNumber == 100 })
	want := fmt.Sprintf("step %d (replace rule 100 of acl-1, egress) stops what was allowed and will be again: tcp 1000 peers 10.0.0.0/8", at+1)
	if at <= 0 || len(warnings) == 0 || warnings[0] != want {
		t.Errorf("got %q, want %q first", warnings, want)
	}
}

// TestPlanOfOddEntries has entries that EC2 would not hold. There may be no
// way, but there has to be an end.
func TestPlanOfOddEntries(t *testing.T) {
	rng := rand.New(rand.NewPCG(44, 8))
	odd := func() *NetworkACL {
		a := mixedACL(rng, "acl-1")
		for i := range a.Entries {
			e := &a.Entries[i]
			e.RuleNumber = []int{e.RuleNumber, e.RuleNumber, 100, 0, -7, 32766, DefaultRule, DefaultRule6, 1 << 40}[rng.IntN(9)]
			e.Protocol = []int{e.Protocol, 300, -9}[rng.IntN(3)]
			e.Prefix = []netip.Prefix{e.Prefix, {}, netip.PrefixFrom(netip.Addr{}, 3)}[rng.IntN(3)]
		}
		return a
	}
	for range 500 {
		from, to := odd(), odd()
		steps, _ := Plan(aclSet(from), aclSet(to), Quota{Entries: rng.IntN(12) - 2})
		for _, st := range steps {
			if st.Entry.IsDefault() {
				t.Fatalf("from %v\nto %v: %v touches a default deny", from, to, st)
			}
		}
	}
}

func TestPlanOfOneSideOnly(t *testing.T) {
	from := RuleSet{ACLs: []*NetworkACL{{ID: "acl-1"}}, Groups: []*SecurityGroup{{ID: "sg-1"}}}
	to := RuleSet{ACLs: []*NetworkACL{{ID: "acl-2"}}, Groups: []*SecurityGroup{{ID: "sg-2"}}}
	steps, warnings := Plan(from, to, Quota{})
	want := []string{
		"acl-1 is not among the new rules: it stays as it is",
		"sg-1 is not among the new rules: it stays as it is",
		"acl-2 is not among the old rules: no step creates it",
		"sg-2 is not among the old rules: no step creates it",
	}
	if len(steps) > 0 || !slices.Equal(warnings, want) {
		t.Errorf("got %v and %q, want %q", steps, warnings, want)
	}
}

// TestPlanKeepsWhatIsGiven expects the entries of the steps as they stand in
// the rule sets, and default denies left alone.
func TestPlanKeepsWhatIsGiven(t *testing.T) {
	deny := Entry{RuleNumber: DefaultRule, Protocol: -1, Prefix: netip.MustParsePrefix("0.0.0.0/0")}
	odd := Entry{RuleNumber: 100, Allow: true, Protocol: -1, HasPorts: true, Prefix: netip.MustParsePrefix("10.1.2.3/8"), ICMPType: 7}
	steps, _ := Plan(aclSet(&NetworkACL{ID: "acl-1", Entries: []Entry{deny}}), aclSet(&NetworkACL{ID: "acl-1", Entries: []Entry{odd}}), Quota{})
	if len(steps) != 1 || steps[0].Entry != odd || steps[0].Op != CreateEntry {
		t.Errorf("got %v, want one that creates %v", steps, odd)
	}
	old := GroupRule{Protocol: -1, Prefix: netip.MustParsePrefix("10.0.0.0/8"), Description: "old"}
	renamed := old
	renamed.Description = "new"
	steps, _ = Plan(groupSet(&SecurityGroup{ID: "sg-1", Ingress: []GroupRule{old}}), groupSet(&SecurityGroup{ID: "sg-1", Ingress: []GroupRule{renamed}}), Quota{})
	if len(steps) != 0 {
		t.Errorf("got %v for another description, want nothing", steps)
	}
	steps, _ = Plan(groupSet(&SecurityGroup{ID: "sg-1", Ingress: []GroupRule{old}}), groupSet(&SecurityGroup{ID: "sg-1", Egress: []GroupRule{renamed}}), Quota{})
	if len(steps) != 2 || steps[0].Rule != old || steps[1].Rule != renamed {
		t.Errorf("got %v, want the rules with their descriptions", steps)
	}
}

func BenchmarkPlan(b *testing.B) {
	one, two := manyEntries(1), manyEntries(2)
	swapped := one.Clone()
	swapped.Entries[3].RuleNumber, swapped.Entries[30].RuleNumber = 310, 40
	swapped.Sort()
	for _, c := range []struct {
		name     string
		from, to *NetworkACL
		q        Quota
	}{
		{"unrelated", one, two, Quota{Entries: 100}},
		{"unrelated, full", one, two, Quota{Entries: 41}},
		{"swapped", one, swapped, Quota{Entries: 100}},
		{"swapped, full", aclOf(b, ports(36, 0)), aclOf(b, ports(36, 1)), Quota{Entries: 37}},
		{"half new, full", aclOf(b, ports(36, 0)), aclOf(b, ports(18, 1)+strings.ReplaceAll(ports(18, 1), "allow tcp 1", "allow tcp 2")), Quota{Entries: 37}},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				Plan(aclSet(c.from), aclSet(c.to), c.q)
			}
		})
	}
}
