package rules

import (
	"slices"
	"strings"

	"ephemera/ingest/flow"
)

// Layer is one of the two filters that a packet meets.
type Layer uint8

// The layers.
const (
	NACL Layer = iota // network ACL of the subnet, stateless
	SG                // security groups of the interface, stateful
)

// String gives "nacl" or "sg".
func (l Layer) String() string { return [...]string{"nacl", "sg"}[l] }

// Verdict is what one layer does with a packet, and why.
type Verdict struct {
	Layer Layer
	Allow bool

	// ID is the network ACL, the security group that allows, or, when the
	// security groups deny, all of them joined by ";".
	ID string

	// RuleNumber is the deciding network ACL entry's; 0 for security groups.
	RuleNumber int

	// Default tells that no entry matched and that the network ACL's
	// closing deny decided.
	Default bool

	// Rule is what decided, in words: "rule 100 allow tcp 32768-65535 from
	// 0.0.0.0/0", "* deny all", "tcp 22 from 10.0.0.0/24 (sg-0a1)", "no rule
	// of sg-0a1 allows it".
	Rule string
}

// Check is what all layers at one network interface do with a packet.
type Check struct {
	// Verdicts stand in the order in which the packet meets the layers:
	// network ACL and then security groups on the way in, the other way
	// round on the way out. A layer is evaluated even if one before it
	// denies, so that a second denial waiting behind the first is seen.
	Verdicts []Verdict

	// Notes say why a layer was not met, or what was not known.
	Notes []string

	// Unknown tells that some layer could not be evaluated; it has no
	// verdict, and a note names what is missing.
	Unknown bool

	// namesPeer tells that a note names the address of the packet's far end,
	// so that it is not the same for other packets.
	namesPeer bool
}

// Deciding returns the denial that the packet meets first. It is false when
// every layer that could be evaluated allows.
func (c Check) Deciding() (Verdict, bool) {
	for _, v := range c.Verdicts {
		if !v.Allow {
			return v, true
		}
	}
	return Verdict{}, false
}

// AlsoDenied returns the denials behind the deciding one. They will stop the
// packet once the first is repaired.
func (c Check) AlsoDenied() []Verdict {
	var denials []Verdict
	for _, v := range c.Verdicts {
		if !v.Allow {
			denials = append(denials, v)
		}
	}
	if len(denials) == 0 {
		return nil
	}
	return denials[1:]
}

func (c *Check) note(words ...string) { c.Notes = append(c.Notes, strings.Join(words, "")) }

func (c *Check) unknown(words ...string) {
	c.Unknown = true
	c.note(words...)
}

// Check evaluates packets p that come to a network interface (Ingress) or
// leave it (Egress). The addresses of p are those of the packets' headers
// (pkt-srcaddr, pkt-dstaddr), which is what both layers look at. A reply
// answers a connection that the interface's security groups have let
// through; they pass it unseen. The interface may be given as the ID of a
// NAT gateway, which is how regional ones appear in flow logs.
func (n *Network) Check(interfaceID string, dir flow.Direction, p flow.Tuple, reply bool) Check {
	var c Check
	if n == nil {
		c.unknown("there is no snapshot of the network")
		return c
	}
	if dir == flow.NoDirection || !peerOf(dir, p).IsValid() {
		c.unknown("the packet's direction or addresses are not known")
		return c
	}
	i := n.checkedInterface(interfaceID)
	switch {
	case i == nil:
		c.unknown(interfaceID, " is not in the snapshot")
	case dir == flow.Ingress:
		n.checkACL(&c, i, dir, p)
		n.checkGroups(&c, i, dir, p, reply)
	default:
		n.checkGroups(&c, i, dir, p, reply)
		n.checkACL(&c, i, dir, p)
	}
	return c
}

// checkedInterface finds an interface by its ID, or stands one in for the
// NAT gateway of that ID.
func (n *Network) checkedInterface(id string) *Interface {
	if g := n.nats[id]; g != nil {
		return &Interface{ID: id, NATGatewayID: id, SubnetID: g.SubnetID, VPCID: g.VPCID}
	}
	return n.interfaces[id]
}

func (n *Network) checkACL(c *Check, i *Interface, dir flow.Direction, p flow.Tuple) {
	if i.SubnetID == "" && i.IsNATGateway() {
		c.note("a regional NAT gateway has no subnet, and so no network ACL")
		return
	}
	subnet := n.subnets[i.SubnetID]
	if subnet == nil {
		c.unknown("the subnet of ", i.ID, " is not in the snapshot")
		return
	}
	if !n.crosses(c, i, subnet, peerOf(dir, p)) {
		return
	}
	acl := n.ACLOf(subnet.ID)
	if acl == nil {
		c.unknown("the network ACL of ", subnet.ID, " is not in the snapshot")
		return
	}
	e, unsure := acl.decide(dir, p)
	if unsure {
		c.unknown(acl.ID, " decides by ICMP type, which flow logs do not hold")
		return
	}
	c.Verdicts = append(c.Verdicts, acl.verdict(e))
}

// crosses reports whether packets between the interface and peer enter or
// leave the subnet; only then do they meet its network ACL. They stay inside
// when the peer is in the subnet, and when the way to the peer leads through
// a NAT gateway or another interface in the subnet: a client's packets to the
// internet then cross the boundary behind the NAT gateway, not at the
// client. Replies are taken to come back the way the route leads out.
// Source: VPC User Guide, "Network ACL basics".
func (n *Network) crosses(c *Check, i *Interface, subnet *Subnet, peer flow.Addr) bool {
	if subnet.Contains(peer) {
		c.note("network ACLs do not apply inside a subnet")
		return false
	}
	if n.routeTableOf(subnet.ID) == nil {
		return n.crossesWithoutRoutes(c, i, subnet)
	}
	if route, _ := n.NextHop(subnet.ID, peer); n.isBeside(route.Target, i, subnet.ID) {
		c.note("network ACLs do not apply inside a subnet: ", route.Target, ", the next hop to ", peer.String(), ", is in the same one")
		c.namesPeer = true
		return false
	}
	return true
}

// crossesWithoutRoutes answers for a subnet whose route table is not in the
// snapshot. A neighbouring NAT gateway leaves the question open.
func (n *Network) crossesWithoutRoutes(c *Check, i *Interface, subnet *Subnet) bool {
	if i.IsNATGateway() {
		return true
	}
	for _, neighbour := range n.inSubnet[subnet.ID] {
		if neighbour.IsNATGateway() {
			c.unknown("the route table of ", subnet.ID, " is not in the snapshot: packets may go through ", neighbour.ID, " in the same subnet, and then meet no network ACL here")
			return false
		}
	}
	return true
}

// isBeside reports whether the target of a route is another node in the
// interface's subnet.
func (n *Network) isBeside(target string, i *Interface, subnetID string) bool {
	if g := n.nats[target]; g != nil {
		return g.SubnetID == subnetID && g.ID != i.NATGatewayID
	}
	next := n.interfaces[target]
	return next != nil && next.SubnetID == subnetID && !sameNode(next, i)
}

// sameNode reports whether two interfaces are one, or of one NAT gateway.
func sameNode(a, b *Interface) bool {
	return a.ID == b.ID || a.NATGatewayID != "" && a.NATGatewayID == b.NATGatewayID
}

func (n *Network) checkGroups(c *Check, i *Interface, dir flow.Direction, p flow.Tuple, reply bool) {
	switch {
	case i.IsNATGateway():
		c.note("a NAT gateway has no security group")
		return
	case len(i.Groups) == 0:
		c.note(i.ID, " has no security group")
		return
	case reply:
		c.note("security groups are stateful: a reply passes")
		return
	}
	verdict, doubts := n.evaluateGroups(i.Groups, dir, p)
	for _, d := range doubts {
		c.unknown(d)
	}
	if len(doubts) == 0 {
		c.Verdicts = append(c.Verdicts, verdict)
	}
}

// evaluateGroups returns the verdict of the union of groups: the first rule
// that allows, or a denial by all. Doubts, where there are any, say what
// would have to be known to tell; there is no verdict then.
func (n *Network) evaluateGroups(groupIDs []string, dir flow.Direction, p flow.Tuple) (v Verdict, doubts []string) {
	for _, id := range groupIDs {
		r, found, groupDoubts := n.allowingRule(id, dir, p)
		if found {
			return Verdict{Layer: SG, Allow: true, ID: id, Rule: r.words(dir, id)}, nil
		}
		for _, d := range groupDoubts {
			if !slices.Contains(doubts, d) {
				doubts = append(doubts, d)
			}
		}
	}
	return Verdict{
		Layer: SG, ID: strings.Join(groupIDs, ";"),
		Rule: "no rule of " + strings.Join(groupIDs, ", ") + " allows it",
	}, doubts
}

// allowingRule returns the group's first rule that surely allows p, and,
// when none does, why one might.
func (n *Network) allowingRule(groupID string, dir flow.Direction, p flow.Tuple) (rule GroupRule, found bool, doubts []string) {
	group := n.groups[groupID]
	if group == nil {
		return GroupRule{}, false, []string{groupID + " is not in the snapshot"}
	}
	for _, r := range group.Rules(dir) {
		if !r.covers(p.Proto) || !r.ports(p.Proto).contains(p.DstPort) {
			continue
		}
		match, doubt := n.matchesPeer(r, peerOf(dir, p))
		if match && r.oneICMPType() {
			match, doubt = false, groupID+" decides by ICMP type, which flow logs do not hold"
		}
		if match {
			return r, true, nil
		}
		if doubt != "" {
			doubts = append(doubts, doubt)
		}
	}
	return GroupRule{}, false, doubts
}

// matchesPeer reports whether the rule's peer includes a. When the snapshot
// does not say, doubt tells what is missing.
func (n *Network) matchesPeer(r GroupRule, a flow.Addr) (match bool, doubt string) {
	switch {
	case r.GroupRef != "":
		if n.memberAddrs[groupAddr{r.GroupRef, a}] || containsAddr(n.memberBlocks[r.GroupRef], a) {
			return true, ""
		}
		if n.groups[r.GroupRef] == nil {
			return false, r.GroupRef + " is not in the snapshot"
		}
		return false, ""
	case r.PrefixList != "":
		list, known := n.prefixLists[r.PrefixList]
		if !known {
			return false, "the entries of " + r.PrefixList + " are not in the snapshot"
		}
		return containsAddr(list, a), ""
	}
	return r.Prefix.Contains(a.Netip()), ""
}

// GroupPorts returns the destination ports that the union of the groups
// surely allows for packets of proto to or from peer. Protocols without
// ports give all ports or none.
func (n *Network) GroupPorts(groupIDs []string, dir flow.Direction, peer flow.Addr, proto flow.Proto) PortSet {
	var ranges []PortRange
	for _, id := range groupIDs {
		group := n.groups[id]
		if group == nil {
			continue
		}
		for _, r := range group.Rules(dir) {
			if match, _ := n.matchesPeer(r, peer); match && r.covers(proto) && !r.oneICMPType() {
				ranges = append(ranges, r.ports(proto))
			}
		}
	}
	return Ports(ranges...)
}
