package rules

import (
	"net/netip"

	"ephemera/ingest/flow"
)

// SecurityGroup is a security group with its rules. Rules only allow, and
// the rules of all groups of an interface add up. Groups are stateful: what
// answers a tracked connection passes without a rule.
// Source: VPC User Guide, "Security group rules".
type SecurityGroup struct {
	ID, Name, VPCID string
	Ingress, Egress []GroupRule
}

// Rules returns the rules of one direction. The slice is the group's.
func (g *SecurityGroup) Rules(dir flow.Direction) []GroupRule {
	if dir == flow.Egress {
		return g.Egress
	}
	return g.Ingress
}

// GroupRule is a security group rule: one kind of traffic and one peer. The
// API folds rules for the same traffic together; here they are apart, as
// they count against the quota.
type GroupRule struct {
	Protocol int // IANA number, or AllProtocols

	// Ports holds the packet's destination port; valid if HasPorts. Without,
	// and for protocols other than TCP and UDP, every port matches.
	Ports    PortRange
	HasPorts bool

	// ICMPType and ICMPCode are valid for protocols 1 and 58; -1 is any.
	ICMPType, ICMPCode int

	// Exactly one of these names the peer: the source of ingress packets,
	// the destination of egress packets. GroupRef stands for the private
	// addresses of the interfaces that have that security group.
	Prefix     netip.Prefix
	GroupRef   string
	PrefixList string

	Description string
}

func (r GroupRule) appendPeer(b []byte) []byte {
	if r.Prefix.IsValid() {
		return r.Prefix.AppendTo(b)
	}
	return append(b, r.GroupRef+r.PrefixList...)
}

// covers reports whether the rule is for proto, whatever ports and peer.
func (r GroupRule) covers(proto flow.Proto) bool {
	return r.Protocol == AllProtocols || r.Protocol == int(proto)
}

func (r GroupRule) ports(proto flow.Proto) PortRange {
	return matchedPorts(r.Protocol, r.Ports, r.HasPorts, proto)
}

func (r GroupRule) oneICMPType() bool { return isOneICMPType(r.Protocol, r.ICMPType, r.ICMPCode) }
