package rules

import "ephemera/ingest/flow"

// An Op is a call to EC2 that changes one entry or one rule.
type Op uint8

// The operations. EC2 carries out each of them as a whole or not at all.
const (
	CreateEntry   Op = iota // CreateNetworkAclEntry: a new rule number
	ReplaceEntry            // ReplaceNetworkAclEntry: another entry of the same number
	DeleteEntry             // DeleteNetworkAclEntry
	AuthorizeRule           // AuthorizeSecurityGroupIngress or -Egress
	RevokeRule              // RevokeSecurityGroupIngress or -Egress
)

// A Step is one operation on the way from one RuleSet to another.
type Step struct {
	Op        Op
	ID        string // of the network ACL or security group
	Direction flow.Direction

	// Entry is the new entry, or for DeleteEntry the old one; it is valid for
	// operations on entries. Rule is likewise valid for operations on rules.
	Entry Entry
	Rule  GroupRule
}
