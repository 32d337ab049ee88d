package rules

import (
	"net/netip"
	"strings"
	"testing"

	"ephemera/ingest/flow"
)

func TestApply(t *testing.T) {
	set := aclSet(aclOf(t, "100 allow tcp 80 10.0.0.0/8"))
	for n := range 39 {
		set.ACLs[0].Entries = append(set.ACLs[0].Entries, Entry{RuleNumber: n + 1, Prefix: netip.MustParsePrefix("10.0.0.0/8")})
	}
	ssh := GroupRule{Protocol: 6, HasPorts: true, Ports: PortRange{22, 22}, Prefix: netip.MustParsePrefix("10.0.0.0/8")}
	set.Groups = []*SecurityGroup{{ID: "sg-1", Ingress: []GroupRule{ssh}}}
	for n := range 1000 {
		r := ssh
		r.Ports.To += uint16(n)
		set.Groups[0].Egress = append(set.Groups[0].Egress, r)
	}
	entry := func(number int, egress bool) Entry {
		return Entry{RuleNumber: number, Egress: egress, Protocol: -1, Prefix: netip.MustParsePrefix("10.0.0.0/8")}
	}
	entry6 := entry(50, false)
	entry6.Prefix = netip.MustParsePrefix("::/0")
	described := ssh
	described.Description = "ssh"
	other := ssh
	other.Protocol = 17
	before := contents(set)
	for _, c := range []struct {
		step Step
		want string // the error's end; empty where the step succeeds
	}{
		{Step{Op: CreateEntry, ID: "acl-1", Direction: flow.Egress, Entry: entry(1, true)}, ""},
		{Step{Op: CreateEntry, ID: "acl-1", Direction: flow.Egress, Entry: entry(100, true)}, "the rule number is taken by rule 100 allow tcp 80 to 10.0.0.0/8"},
		{Step{Op: CreateEntry, ID: "acl-1", Direction: flow.Ingress, Entry: entry(100, false)}, "can hold 41 entries in one direction"},
		{Step{Op: CreateEntry, ID: "acl-1", Direction: flow.Ingress, Entry: entry6}, ""},
		{Step{Op: CreateEntry, ID: "acl-1", Direction: flow.Egress, Entry: entry(0, true)}, "rule numbers go from 1 to 32766"},
		{Step{Op: CreateEntry, ID: "acl-1", Direction: flow.Egress, Entry: entry(2, false)}, "the entry is for ingress"},
		{Step{Op: DeleteEntry, ID: "acl-1", Direction: flow.Egress, Entry: entry(DefaultRule, true)}, "rule numbers go from 1 to 32766"},
		{Step{Op: ReplaceEntry, ID: "acl-1", Direction: flow.Egress, Entry: entry(100, true)}, ""},
		{Step{Op: ReplaceEntry, ID: "acl-1", Direction: flow.Egress, Entry: entry(101, true)}, "there is no such rule number"},
		{Step{Op: DeleteEntry, ID: "acl-1", Direction: flow.Egress, Entry: entry(100, true)}, ""},
		{Step{Op: DeleteEntry, ID: "acl-1", Direction: flow.Egress, Entry: entry(1, true)}, "there is no such rule number"},
		{Step{Op: DeleteEntry, ID: "acl-2", Direction: flow.Egress, Entry: entry(1, true)}, `there is no network ACL "acl-2"`},
		{Step{Op: AuthorizeRule, ID: "sg-1", Direction: flow.Ingress, Rule: other}, ""},
		{Step{Op: AuthorizeRule, ID: "sg-1", Direction: flow.Ingress, Rule: described}, "the rule exists already"},
		{Step{Op: AuthorizeRule, ID: "sg-1", Direction: flow.Egress, Rule: other}, "can hold 1001 rules in one direction"},
		{Step{Op: RevokeRule, ID: "sg-1", Direction: flow.Ingress, Rule: described}, ""},
		{Step{Op: RevokeRule, ID: "sg-1", Direction: flow.Ingress, Rule: other}, "there is no such rule"},
		{Step{Op: RevokeRule, ID: "sg-2", Direction: flow.Ingress, Rule: other}, `there is no security group "sg-2"`},
		{Step{Op: 99, ID: "sg-1"}, "operation 99 is not known"},
	} {
		after, err := set.Apply(c.step)
		switch {
		case c.want == "" && (err != nil || contents(after) == before):
			t.Errorf("%v: got %v, want a change", c.step, err)
		case c.want != "" && (err == nil || !strings.HasSuffix(err.Error(), c.want)):
			t.Errorf("%v: got %v, want %s", c.step, err, c.want)
		}
	}
	if contents(set) != before {
		t.Error("the rule set given changed")
	}
}
