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
			"+120 +130 -110 -100 +100 +110 -130 -120"},
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

// checkPlan follows the steps and compares every state with both ends.
func checkPlan(t *testing.T, from, to RuleSet, q Quota) (warned bool) {
	t.Helper()
	steps, warnings := Plan(from, to, q)
	again, _ := Plan(from, to, q)
	if showSteps(steps) != showSteps(again) || len(steps) != len(again) {
		t.Fatalf("got %v and then %v", steps, again)
	}
	if len(steps) == 0 && len(warnings) > 0 {
		return true
	}
	now := from
	for i, st := range steps {
		next, err := now.Apply(st)
		if err != nil {
			t.Fatalf("%v: step %d: %v", steps, i+1, err)
		}
		now = next
		warnedOf := strings.Join(warnings, "\n")
		atStep := strings.Contains(warnedOf, fmt.Sprintf("step %d (", i+1))
		fault := faultOf(from, to, now, q)
		if strings.HasPrefix(fault, "quota") || (fault != "") != atStep {
			t.Fatalf("step %d of\n%v\nfrom %v\nto %v: %q, and the warnings are %q", i+1, steps, from.ACLs, to.ACLs, fault, warnings)
		}
	}
	if got, want := contents(now), contents(to); got != want {
		t.Fatalf("got %s\nwant %s", got, want)
	}
	return len(warnings) > 0
}

// faultOf says what the literal evaluation of edge packets finds wrong.
func faultOf(from, to, now RuleSet, q Quota) string {
	q = q.orDefault()
	for i := range now.ACLs {
		f, g, n := from.ACLs[i], to.ACLs[i], now.ACLs[i]
		for _, dir := range []flow.Direction{flow.Ingress, flow.Egress} {
			if entriesOf(n, dir) > max(q.Entries, entriesOf(f, dir)) {
				return "quota"
			}
			for _, p := range edgesOfACLs(f, g) {
				was, will, is := literallyAllowed(f, dir, p), literallyAllowed(g, dir, p), literallyAllowed(n, dir, p)
				if is && !was && !will || !is && was && will {
					return fmt.Sprintf("%s %+v is %t, was %t, will be %t", dir, p, is, was, will)
				}
			}
		}
	}
	for i := range now.Groups {
		f, g, n := from.Groups[i], to.Groups[i], now.Groups[i]
		for _, dir := range []flow.Direction{flow.Ingress, flow.Egress} {
			if len(n.Rules(dir)) > 2*max(q.GroupRules, len(f.Rules(dir))) {
				return "quota"
			}
			for _, p := range edgesOfGroups(f, g) {
				was, will, is := literallyAnyAllows(f, dir, p), literallyAnyAllows(g, dir, p), literallyAnyAllows(n, dir, p)
				if is && !was && !will || !is && was && will {
					return fmt.Sprintf("%s %+v is %t, was %t, will be %t", dir, p, is, was, will)
				}
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
	n, warned := rounds(300), 0
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
