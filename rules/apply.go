package rules

import (
	"fmt"
	"slices"

	"ephemera/ingest/flow"
)

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
