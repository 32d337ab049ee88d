package rules

import (
	"fmt"
	"slices"
	"strings"

	"ephemera/ingest/flow"
)

// A RuleSet is a number of network ACLs and security groups, each by ID.
type RuleSet struct {
	ACLs   []*NetworkACL
	Groups []*SecurityGroup
}

// A Revision changes a RuleSet to another. Both have the same network ACLs
// and security groups, with the same IDs, in the same order; what does not
// change is in neither.
type Revision struct {
	From, To RuleSet

	// Header says what the revision is and what it stands on, in lines for
	// people.
	Header []string

	// Notes say why an entry or a rule of To is there, or why one of From is
	// not any more, in a line for people. What has none stays as it was.
	Notes map[NoteKey]string
}

// A NoteKey names an entry of a network ACL, or a rule of a security group.
type NoteKey struct {
	ID        string // of the network ACL or the security group
	Direction flow.Direction
	// RuleNumber is a network ACL entry's; 0 for security groups, whose rules
	// are named by Rule, GroupRule in words.
	RuleNumber int
	Rule       string
	// Gone is set for what the revision takes away.
	Gone bool
}

// EntryKey returns the key of a network ACL entry.
func EntryKey(aclID string, e Entry) NoteKey {
	return NoteKey{ID: aclID, Direction: e.Direction(), RuleNumber: e.RuleNumber}
}

// RuleKey returns the key of a security group rule.
func RuleKey(groupID string, dir flow.Direction, r GroupRule) NoteKey {
	return NoteKey{ID: groupID, Direction: dir, Rule: r.Words(dir)}
}

// AsGone returns the key of the same entry or rule of From, which the revision
// takes away.
func (k NoteKey) AsGone() NoteKey {
	k.Gone = true
	return k
}

// Back returns the revision that undoes r. It has no notes, and header in the
// place of r's.
func (r Revision) Back(header ...string) Revision {
	return Revision{From: r.To, To: r.From, Header: header}
}

// Direction returns Ingress or Egress.
func (e Entry) Direction() flow.Direction { return pick(e.Egress, flow.Egress, flow.Ingress) }

// Clone returns a deep copy.
func (a *NetworkACL) Clone() *NetworkACL {
	c := *a
	c.Entries, c.Subnets = slices.Clone(a.Entries), slices.Clone(a.Subnets)
	return &c
}

// Clone returns a deep copy.
func (g *SecurityGroup) Clone() *SecurityGroup {
	c := *g
	c.Ingress, c.Egress = slices.Clone(g.Ingress), slices.Clone(g.Egress)
	return &c
}

// Words gives the rule as "tcp 22 from 10.0.0.0/24".
func (r GroupRule) Words(dir flow.Direction) string {
	b := make([]byte, 0, 64)
	b = appendTraffic(b, r.Protocol, r.Ports, r.HasPorts, r.ICMPType, r.ICMPCode)
	b = append(b, pick(dir == flow.Egress, " to ", " from ")...)
	return string(r.appendPeer(b))
}

// words adds the group whose rule it is: "tcp 22 from 10.0.0.0/24 (sg-0a1)".
func (r GroupRule) words(dir flow.Direction, groupID string) string {
	return fmt.Sprintf("%s (%s)", r.Words(dir), groupID)
}

// Same reports whether two rules are for the same packets, whatever their
// descriptions.
func (r GroupRule) Same(other GroupRule) bool {
	r.Description, other.Description = "", ""
	return r == other
}

// ACL returns the network ACL with the given ID, or nil.
func (s RuleSet) ACL(id string) *NetworkACL {
	for _, a := range s.ACLs {
		if a.ID == id {
			return a
		}
	}
	return nil
}

// Group returns the security group with the given ID, or nil.
func (s RuleSet) Group(id string) *SecurityGroup {
	for _, g := range s.Groups {
		if g.ID == id {
			return g
		}
	}
	return nil
}

// IDs names what the rule set holds.
func (s RuleSet) IDs() string {
	var ids []string
	for _, a := range s.ACLs {
		ids = append(ids, a.ID)
	}
	for _, g := range s.Groups {
		ids = append(ids, g.ID)
	}
	return strings.Join(ids, ", ")
}
