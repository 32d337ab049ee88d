package rules

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// The shapes below are those of the EC2 API as the AWS CLI prints them, as
// far as they are read. Source: EC2 API Reference and the examples of the
// AWS CLI Command Reference, of the call that each function names.

// addACL reads an element of describe-network-acls.
func (n *Network) addACL(it item) error {
	var in struct {
		NetworkAclId, VpcId string
		IsDefault           bool
		Associations        []struct{ SubnetId string }
		Entries             []aclEntry
		Tags                []tag
	}
	if err := it.decodeNamed(&in, "NetworkAclId", &in.NetworkAclId); err != nil {
		return err
	}
	acl := &NetworkACL{ID: in.NetworkAclId, VPCID: in.VpcId, Name: nameTag(in.Tags), IsDefault: in.IsDefault}
	for _, a := range in.Associations {
		acl.Subnets = append(acl.Subnets, a.SubnetId)
	}
	slices.Sort(acl.Subnets)
	for k, e := range in.Entries {
		entry, err := e.entry(it.at("Entries", k))
		if err != nil {
			return err
		}
		acl.Entries = append(acl.Entries, entry)
	}
	acl.Sort()
	n.acls[acl.ID] = acl
	return nil
}

type aclEntry struct {
	RuleNumber               scalar
	Protocol                 scalar
	RuleAction               string
	Egress                   bool
	CidrBlock, Ipv6CidrBlock string
	PortRange                struct{ From, To scalar }
	IcmpTypeCode             struct{ Type, Code scalar }
}

func (e aclEntry) entry(it item) (Entry, error) {
	out := Entry{Egress: e.Egress, Allow: e.RuleAction == "allow"}
	if !out.Allow && e.RuleAction != "deny" {
		return out, it.errorf("RuleAction", "%q is neither allow nor deny", e.RuleAction)
	}
	number, ok, err := it.number("RuleNumber", e.RuleNumber, 1, 65535)
	if err == nil && !ok {
		err = it.errorf("RuleNumber", "missing")
	}
	if err != nil {
		return out, err
	}
	out.RuleNumber = number
	if out.Protocol, err = it.protocol("Protocol", e.Protocol); err != nil {
		return out, err
	}
	if out.Prefix, err = e.prefix(it); err != nil {
		return out, err
	}
	out.Ports, out.HasPorts, err = it.ports("PortRange.From", e.PortRange.From, "PortRange.To", e.PortRange.To)
	if err != nil {
		return out, err
	}
	if out.ICMPType, err = it.icmp("IcmpTypeCode.Type", e.IcmpTypeCode.Type); err != nil {
		return out, err
	}
	out.ICMPCode, err = it.icmp("IcmpTypeCode.Code", e.IcmpTypeCode.Code)
	return out, err
}

func (e aclEntry) prefix(it item) (netip.Prefix, error) {
	if e.Ipv6CidrBlock != "" {
		return it.prefix("Ipv6CidrBlock", e.Ipv6CidrBlock)
	}
	return it.prefix("CidrBlock", e.CidrBlock)
}

// addGroup reads an element of describe-security-groups.
func (n *Network) addGroup(it item) error {
	var in struct {
		GroupId, GroupName, VpcId          string
		IpPermissions, IpPermissionsEgress []permission
	}
	if err := it.decodeNamed(&in, "GroupId", &in.GroupId); err != nil {
		return err
	}
	ingress, err := groupRules(it, "IpPermissions", in.IpPermissions)
	if err != nil {
		return err
	}
	egress, err := groupRules(it, "IpPermissionsEgress", in.IpPermissionsEgress)
	if err != nil {
		return err
	}
	n.groups[in.GroupId] = &SecurityGroup{ID: in.GroupId, Name: in.GroupName, VPCID: in.VpcId, Ingress: ingress, Egress: egress}
	return nil
}

type permission struct {
	IpProtocol       scalar
	FromPort, ToPort scalar

	IpRanges, Ipv6Ranges, PrefixListIds, UserIdGroupPairs []groupPeer
}

// groupPeer is an element of any of a permission's lists of peers; each list
// has another of the first four keys.
type groupPeer struct{ CidrIp, CidrIpv6, PrefixListId, GroupId, Description string }

func groupRules(it item, field string, permissions []permission) ([]GroupRule, error) {
	var rules []GroupRule
	for k, p := range permissions {
		more, err := p.rules(it.at(field, k))
		if err != nil {
			return nil, err
		}
		rules = append(rules, more...)
	}
	return rules, nil
}

// rules unfolds a permission into one rule a peer.
func (p permission) rules(it item) ([]GroupRule, error) {
	traffic, err := p.traffic(it)
	if err != nil {
		return nil, err
	}
	var rules []GroupRule
	for _, list := range []struct {
		name, key string
		peers     []groupPeer
	}{
		{"IpRanges", "CidrIp", p.IpRanges},
		{"Ipv6Ranges", "CidrIpv6", p.Ipv6Ranges},
		{"PrefixListIds", "PrefixListId", p.PrefixListIds},
		{"UserIdGroupPairs", "GroupId", p.UserIdGroupPairs},
	} {
		for k, peer := range list.peers {
			r, err := peer.rule(it.at(list.name, k), list.key, traffic)
			if err != nil {
				return nil, err
			}
			rules = append(rules, r)
		}
	}
	return rules, nil
}

// rule adds the peer to a rule that has the traffic already.
func (p groupPeer) rule(it item, key string, r GroupRule) (GroupRule, error) {
	r.GroupRef, r.PrefixList, r.Description = p.GroupId, p.PrefixListId, p.Description
	if r.GroupRef != "" || r.PrefixList != "" {
		return r, nil
	}
	var err error
	r.Prefix, err = it.prefix(key, cmp.Or(p.CidrIp, p.CidrIpv6))
	return r, err
}

// traffic reads protocol and ports; for ICMP, FromPort and ToPort hold type
// and code.
func (p permission) traffic(it item) (GroupRule, error) {
	r := GroupRule{ICMPType: -1, ICMPCode: -1}
	var err error
	if r.Protocol, err = it.protocol("IpProtocol", p.IpProtocol); err != nil {
		return r, err
	}
	if !isICMP(r.Protocol) {
		r.Ports, r.HasPorts, err = it.ports("FromPort", p.FromPort, "ToPort", p.ToPort)
		return r, err
	}
	if r.ICMPType, err = it.icmp("FromPort", p.FromPort); err != nil {
		return r, err
	}
	r.ICMPCode, err = it.icmp("ToPort", p.ToPort)
	return r, err
}

// addInterface reads an element of describe-network-interfaces.
func (n *Network) addInterface(it item) error {
	var in networkInterface
	if err := it.decodeNamed(&in, "NetworkInterfaceId", &in.NetworkInterfaceId); err != nil {
		return err
	}
	i := &Interface{
		ID: in.NetworkInterfaceId, SubnetID: in.SubnetId, VPCID: in.VpcId, Type: in.InterfaceType,
		InstanceID: in.Attachment.InstanceId, Description: in.Description,
	}
	for _, g := range in.Groups {
		i.Groups = append(i.Groups, g.GroupId)
	}
	slices.Sort(i.Groups)
	if err := in.setAddrs(i, it); err != nil {
		return err
	}
	n.interfaces[i.ID] = i
	return in.setTracking(i, it)
}

type association struct{ PublicIp string }

type networkInterface struct {
	NetworkInterfaceId, SubnetId, VpcId, InterfaceType, Description string

	Attachment         struct{ InstanceId string }
	Groups             []struct{ GroupId string }
	PrivateIpAddress   string
	PrivateIpAddresses []struct {
		PrivateIpAddress string
		Association      association
	}
	Association   association
	Ipv6Addresses []struct{ Ipv6Address string }
	Ipv4Prefixes  []struct{ Ipv4Prefix string }
	Ipv6Prefixes  []struct{ Ipv6Prefix string }

	ConnectionTrackingConfiguration struct{ TcpEstablishedTimeout, UdpStreamTimeout, UdpTimeout scalar }
}

func (in *networkInterface) setAddrs(i *Interface, it item) error {
	private, public := []string{in.PrivateIpAddress}, []string{in.Association.PublicIp}
	for _, a := range in.PrivateIpAddresses {
		private = append(private, a.PrivateIpAddress)
		public = append(public, a.Association.PublicIp)
	}
	for _, a := range in.Ipv6Addresses {
		private = append(private, a.Ipv6Address)
	}
	var err error
	if i.Addrs, err = it.addrs("PrivateIpAddresses", private...); err != nil {
		return err
	}
	if i.PublicAddrs, err = it.addrs("Association.PublicIp", public...); err != nil {
		return err
	}
	if len(i.Addrs) > 0 {
		i.Primary = i.Addrs[0]
	}
	return in.setPrefixes(i, it)
}

func (in *networkInterface) setPrefixes(i *Interface, it item) error {
	for _, x := range in.Ipv4Prefixes {
		p, err := it.prefix("Ipv4Prefixes", x.Ipv4Prefix)
		if err != nil {
			return err
		}
		i.Prefixes = append(i.Prefixes, p)
	}
	for _, x := range in.Ipv6Prefixes {
		p, err := it.prefix("Ipv6Prefixes", x.Ipv6Prefix)
		if err != nil {
			return err
		}
		i.Prefixes = append(i.Prefixes, p)
	}
	return nil
}

func (in *networkInterface) setTracking(i *Interface, it item) error {
	c := in.ConnectionTrackingConfiguration
	for _, x := range []struct {
		field string
		text  scalar
		to    *time.Duration
	}{
		{"TcpEstablishedTimeout", c.TcpEstablishedTimeout, &i.Tracking.TCPEstablished},
		{"UdpStreamTimeout", c.UdpStreamTimeout, &i.Tracking.UDPStream},
		{"UdpTimeout", c.UdpTimeout, &i.Tracking.UDP},
	} {
		seconds, _, err := it.number("ConnectionTrackingConfiguration."+x.field, x.text, 0, 432000)
		if err != nil {
			return err
		}
		*x.to = time.Duration(seconds) * time.Second
	}
	return nil
}

// addSubnet reads an element of describe-subnets.
func (n *Network) addSubnet(it item) error {
	var in struct {
		SubnetId, VpcId, AvailabilityZone, CidrBlock string

		Ipv6CidrBlockAssociationSet []struct {
			Ipv6CidrBlock      string
			Ipv6CidrBlockState struct{ State string }
		}
		Tags []tag
	}
	if err := it.decodeNamed(&in, "SubnetId", &in.SubnetId); err != nil {
		return err
	}
	s := &Subnet{ID: in.SubnetId, VPCID: in.VpcId, Name: nameTag(in.Tags), AZ: in.AvailabilityZone}
	if in.CidrBlock != "" { // absent for IPv6-only subnets
		p, err := it.prefix("CidrBlock", in.CidrBlock)
		if err != nil {
			return err
		}
		s.Prefixes = append(s.Prefixes, p)
	}
	for k, x := range in.Ipv6CidrBlockAssociationSet {
		if x.Ipv6CidrBlockState.State == "disassociated" {
			continue
		}
		p, err := it.at("Ipv6CidrBlockAssociationSet", k).prefix("Ipv6CidrBlock", x.Ipv6CidrBlock)
		if err != nil {
			return err
		}
		s.Prefixes = append(s.Prefixes, p)
	}
	n.subnets[s.ID] = s
	return nil
}

// addNATGateway reads an element of describe-nat-gateways. Deleted gateways,
// which the call lists for an hour, are left out.
func (n *Network) addNATGateway(it item) error {
	var in struct {
		NatGatewayId, SubnetId, VpcId, State, ConnectivityType, AvailabilityMode string

		NatGatewayAddresses []natAddress
	}
	if err := it.decodeNamed(&in, "NatGatewayId", &in.NatGatewayId); err != nil {
		return err
	}
	if in.State == "deleted" || in.State == "failed" {
		return nil
	}
	g := &NATGateway{
		ID: in.NatGatewayId, SubnetID: in.SubnetId, VPCID: in.VpcId,
		Public: in.ConnectivityType != "private", Regional: in.AvailabilityMode == "regional" || in.SubnetId == "",
	}
	for k, a := range in.NatGatewayAddresses {
		if err := a.addTo(g, it.at("NatGatewayAddresses", k)); err != nil {
			return err
		}
	}
	slices.Sort(g.Interfaces)
	g.Interfaces = slices.Compact(g.Interfaces)
	n.nats[g.ID] = g
	return nil
}

type natAddress struct {
	NetworkInterfaceId, PrivateIp, PublicIp string
	IsPrimary                               bool
}

func (a natAddress) addTo(g *NATGateway, it item) error {
	private, err := it.addrs("PrivateIp", a.PrivateIp)
	if err != nil {
		return err
	}
	public, err := it.addrs("PublicIp", a.PublicIp)
	if err != nil {
		return err
	}
	if a.IsPrimary {
		g.PrivateAddrs, g.PublicAddrs = slices.Concat(private, g.PrivateAddrs), slices.Concat(public, g.PublicAddrs)
	} else {
		g.PrivateAddrs, g.PublicAddrs = append(g.PrivateAddrs, private...), append(g.PublicAddrs, public...)
	}
	if a.NetworkInterfaceId != "" {
		g.Interfaces = append(g.Interfaces, a.NetworkInterfaceId)
	}
	return nil
}

// addRouteTable reads an element of describe-route-tables.
func (n *Network) addRouteTable(it item) error {
	var in struct {
		RouteTableId, VpcId string
		Associations        []struct {
			Main     bool
			SubnetId string
		}
		Routes []route
	}
	if err := it.decodeNamed(&in, "RouteTableId", &in.RouteTableId); err != nil {
		return err
	}
	t := &routeTable{vpcID: in.VpcId}
	for _, a := range in.Associations {
		t.main = t.main || a.Main
		if a.SubnetId != "" {
			t.subnets = append(t.subnets, a.SubnetId)
		}
	}
	for k, r := range in.Routes {
		out, err := r.route(it.at("Routes", k))
		if err != nil {
			return err
		}
		t.routes = append(t.routes, out)
	}
	n.tables = append(n.tables, t)
	return nil
}

type route struct {
	DestinationCidrBlock, DestinationIpv6CidrBlock, DestinationPrefixListId string

	GatewayId, NatGatewayId, NetworkInterfaceId, InstanceId      string
	TransitGatewayId, VpcPeeringConnectionId, LocalGatewayId     string
	EgressOnlyInternetGatewayId, CarrierGatewayId, State, Origin string
	CoreNetworkArn                                               string
}

func (r route) route(it item) (Route, error) {
	out := Route{
		PrefixList: r.DestinationPrefixListId,
		Target: cmp.Or(r.NatGatewayId, r.NetworkInterfaceId, r.GatewayId, r.TransitGatewayId, r.VpcPeeringConnectionId,
			r.EgressOnlyInternetGatewayId, r.LocalGatewayId, r.CarrierGatewayId, r.CoreNetworkArn, r.InstanceId),
		Propagated: r.Origin == "EnableVgwRoutePropagation",
		Blackhole:  r.State == "blackhole",
	}
	var err error
	switch {
	case r.DestinationCidrBlock != "":
		out.Prefix, err = it.prefix("DestinationCidrBlock", r.DestinationCidrBlock)
	case r.DestinationIpv6CidrBlock != "":
		out.Prefix, err = it.prefix("DestinationIpv6CidrBlock", r.DestinationIpv6CidrBlock)
	case r.DestinationPrefixListId == "":
		err = it.errorf("DestinationCidrBlock", "missing")
	}
	return out, err
}

// prefixListEntry reads an element of get-managed-prefix-list-entries for
// the prefix list with the given ID.
func prefixListEntry(id string) func(*Network, item) error {
	return func(n *Network, it item) error {
		var in struct{ Cidr string }
		if err := it.decode(&in); err != nil {
			return err
		}
		p, err := it.prefix("Cidr", in.Cidr)
		if err != nil {
			return err
		}
		n.prefixLists[id] = append(n.prefixLists[id], p)
		return nil
	}
}

// at names an element of a list inside the item, for errors.
func (it item) at(field string, k int) item {
	return item{path: fmt.Sprintf("%s.%s[%d]", it.path, field, k)}
}
