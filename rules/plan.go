package rules

import (
	"cmp"
	"fmt"
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
