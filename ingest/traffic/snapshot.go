package traffic

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"ephemera/ingest/flow"
)

// fields is an object in JSON.
type fields map[string]any

// writeSnapshot writes what the AWS CLI prints of the network, a file for
// each call, and interfaces.csv.
func (n *network) writeSnapshot(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, call := range []struct {
		file, key string
		list      []fields
	}{
		{"describe-subnets.json", "Subnets", n.describeSubnets()},
		{"describe-network-interfaces.json", "NetworkInterfaces", n.describeInterfaces()},
		{"describe-nat-gateways.json", "NatGateways", n.describeGateways()},
		{"describe-route-tables.json", "RouteTables", n.describeRouteTables()},
		{"describe-network-acls.json", "NetworkAcls", n.describeACLs()},
		{"describe-security-groups.json", "SecurityGroups", describeGroups()},
	} {
		text, err := json.MarshalIndent(fields{call.key: call.list}, "", "    ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, call.file), append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	return n.writeTable(filepath.Join(dir, "interfaces.csv"))
}

// writeTable writes the subnet of each interface.
func (n *network) writeTable(place string) error {
	var b bytes.Buffer
	b.WriteString("interface_id,subnet_id\n")
	for _, i := range n.interfaces {
		b.WriteString(i.id + "," + i.subnet.id + "\n")
	}
	return os.WriteFile(place, b.Bytes(), 0o644)
}

func text(a uint32) string { return string(appendAddr(nil, a)) }

func (s *subnet) cidr() string { return text(s.base()) + "/21" }

func (s *subnet) name() string {
	return tierTable[s.tier].name + "-" + zoneTable[s.zone].az[len(region):]
}

// Resources that there is one of for each tier are named by it.
func (t tier) aclID() string   { return fmt.Sprintf("acl-0%016x", 0x5ac1d00e0+uint64(t)) }
func (t tier) groupID() string { return fmt.Sprintf("sg-0%016x", 0x9b3f7a1c0+uint64(t)) }

const gatewayOfVPC = "igw-0d1f83b6a25c79e04"

func nameTag(name string) []fields { return []fields{{"Key": "Name", "Value": name}} }

func (n *network) describeSubnets() (list []fields) {
	for _, s := range n.subnets {
		z := zoneTable[s.zone]
		list = append(list, fields{
			"SubnetId": s.id, "VpcId": vpcID, "OwnerId": accountID, "CidrBlock": s.cidr(), "State": "available",
			"AvailabilityZone": z.az, "AvailabilityZoneId": z.azID, "MapPublicIpOnLaunch": s.tier.public(),
			"Ipv6CidrBlockAssociationSet": []fields{}, "Tags": nameTag(s.name()),
		})
	}
	return list
}

func (n *network) describeInterfaces() (list []fields) {
	for _, i := range n.interfaces {
		f := fields{
			"NetworkInterfaceId": i.id, "SubnetId": i.subnet.id, "VpcId": vpcID, "OwnerId": accountID, "Status": "in-use",
			"AvailabilityZone": zoneTable[i.subnet.zone].az, "PrivateIpAddress": text(i.addr), "Ipv6Addresses": []fields{},
			"InterfaceType": "interface", "Description": "", "RequesterManaged": i.instanceID == "", "TagSet": []fields{},
			"Groups": []fields{{"GroupId": i.subnet.tier.groupID(), "GroupName": tierTable[i.subnet.tier].name}},
		}
		switch i.subnet.tier {
		case nat:
			f["InterfaceType"], f["Groups"] = "nat_gateway", []fields{}
			f["Description"] = "Interface for NAT Gateway " + i.gatewayID
		case edge:
			f["Description"] = "ELB app/edge/" + i.id[len("eni-0"):]
		default:
			f["Attachment"] = fields{"InstanceId": i.instanceID, "InstanceOwnerId": accountID, "Status": "attached", "DeviceIndex": 0}
		}
		address := fields{"Primary": true, "PrivateIpAddress": text(i.addr)}
		if i.public != 0 {
			address["Association"] = fields{"PublicIp": text(i.public), "IpOwnerId": accountID, "PublicDnsName": ""}
			f["Association"] = address["Association"]
		}
		f["PrivateIpAddresses"] = []fields{address}
		list = append(list, f)
	}
	return list
}

func (n *network) describeGateways() (list []fields) {
	for _, k := range n.gateways {
		i := n.interfaces[k]
		list = append(list, fields{
			"NatGatewayId": i.gatewayID, "SubnetId": i.subnet.id, "VpcId": vpcID, "State": "available", "ConnectivityType": "public",
			"NatGatewayAddresses": []fields{{"NetworkInterfaceId": i.id, "PrivateIp": text(i.addr), "PublicIp": text(i.public),
				"IsPrimary": true, "Status": "succeeded"}},
			"Tags": nameTag(i.subnet.name()),
		})
	}
	return list
}

// describeRouteTables gives the public subnets one table, and the private
// ones of each zone another: the way out through their own NAT gateway.
func (n *network) describeRouteTables() (list []fields) {
	table := func(name string, out fields, in func(*subnet) bool) {
		id := "rtb-0" + fmt.Sprintf("%016x", 0x71e0+len(list))
		var associations []fields
		for _, s := range n.subnets {
			if in(s) {
				associations = append(associations, fields{"Main": false, "RouteTableId": id, "SubnetId": s.id,
					"RouteTableAssociationId": "rtbassoc-" + s.id[len("subnet-"):], "AssociationState": fields{"State": "associated"}})
			}
		}
		local := fields{"DestinationCidrBlock": vpcCIDR, "GatewayId": "local", "Origin": "CreateRouteTable", "State": "active"}
		out["DestinationCidrBlock"], out["Origin"], out["State"] = "0.0.0.0/0", "CreateRoute", "active"
		list = append(list, fields{"RouteTableId": id, "VpcId": vpcID, "OwnerId": accountID, "Associations": associations,
			"Routes": []fields{local, out}, "PropagatingVgws": []fields{}, "Tags": nameTag(name)})
	}
	table("public", fields{"GatewayId": gatewayOfVPC}, func(s *subnet) bool { return s.tier.public() })
	for zone, k := range n.gateways {
		out := fields{"NatGatewayId": n.interfaces[k].gatewayID}
		table("private-"+zoneTable[zone].az, out, func(s *subnet) bool { return !s.tier.public() && s.zone == zone })
	}
	return list
}

// rule is an entry of a network ACL.
type rule struct {
	number   int
	egress   bool
	allow    bool
	proto    flow.Proto
	cidr     string
	from, to int
}

const anywhere = "0.0.0.0/0"

// aclRules are the entries of each tier's network ACL: what its services and
// its clients need, and 1024-65535 for all that picks its port.
var aclRules = [numTiers][]rule{
	edge: {
		{100, false, true, flow.TCP, anywhere, 443, 443},
		{110, false, true, flow.TCP, anywhere, 1024, 65535},
		{100, true, true, flow.TCP, anywhere, 1024, 65535},
	},
	nat: {
		{90, false, false, flow.TCP, vpcCIDR, blockedLow, blockedHigh},
		{100, false, true, flow.TCP, vpcCIDR, 21, 21},
		{110, false, true, flow.TCP, vpcCIDR, 990, 990},
		{120, false, true, flow.TCP, vpcCIDR, 443, 443},
		{130, false, true, flow.TCP, anywhere, 1024, 65535},
		{140, false, true, flow.UDP, vpcCIDR, 123, 123},
		{150, false, true, flow.UDP, anywhere, 1024, 65535},
		{100, true, true, flow.TCP, anywhere, 21, 21},
		{110, true, true, flow.TCP, anywhere, 990, 990},
		{120, true, true, flow.TCP, anywhere, 443, 443},
		{130, true, true, flow.TCP, anywhere, 1024, 65535},
		{140, true, true, flow.UDP, anywhere, 123, 123},
		{150, true, true, flow.UDP, vpcCIDR, 1024, 65535},
	},
	web: privateRules(), app: privateRules(rule{120, false, true, flow.TCP, vpcCIDR, 443, 443}), work: privateRules(),
	batch: privateRules(rule{120, true, true, flow.TCP, anywhere, 21, 21}, rule{130, true, true, flow.TCP, anywhere, 990, 990}),
	data:  privateRules(), search: privateRules(rule{120, false, true, flow.UDP, vpcCIDR, 514, 514}),
}

func privateRules(more ...rule) []rule {
	return append([]rule{
		{100, false, true, flow.TCP, anywhere, 1024, 65535},
		{110, false, true, flow.UDP, anywhere, 1024, 65535},
		{100, true, true, flow.TCP, anywhere, 1024, 65535},
		{110, true, true, flow.TCP, anywhere, 443, 443},
		{140, true, true, flow.UDP, anywhere, 123, 123},
		{150, true, true, flow.UDP, vpcCIDR, 514, 514},
	}, more...)
}

func (n *network) describeACLs() (list []fields) {
	for t := range numTiers {
		var associations, entries []fields
		for _, s := range n.subnets {
			if s.tier == t {
				associations = append(associations, fields{"NetworkAclAssociationId": "aclassoc-" + s.id[len("subnet-"):],
					"NetworkAclId": t.aclID(), "SubnetId": s.id})
			}
		}
		for _, r := range aclRules[t] {
			entries = append(entries, r.entry())
		}
		for _, egress := range []bool{true, false} {
			entries = append(entries, fields{"Egress": egress, "Protocol": "-1", "RuleAction": "deny", "RuleNumber": 32767, "CidrBlock": anywhere})
		}
		list = append(list, fields{"NetworkAclId": t.aclID(), "VpcId": vpcID, "OwnerId": accountID, "IsDefault": false,
			"Associations": associations, "Entries": entries, "Tags": nameTag(tierTable[t].name)})
	}
	return list
}

func (r rule) entry() fields {
	action := "deny"
	if r.allow {
		action = "allow"
	}
	return fields{"Egress": r.egress, "Protocol": fmt.Sprint(uint8(r.proto)), "RuleAction": action, "RuleNumber": r.number,
		"CidrBlock": r.cidr, "PortRange": fields{"From": r.from, "To": r.to}}
}

// describeGroups gives each tier but the NAT gateways' a security group that
// lets in what its services are, and everything out.
func describeGroups() (list []fields) {
	for t := range numTiers {
		if t == nat {
			continue
		}
		in := []fields{}
		for _, s := range services {
			if s.to == t {
				in = append(in, permission("tcp", s.port, nil, []fields{{"GroupId": s.from.groupID(), "UserId": accountID}}))
			}
		}
		switch t {
		case edge:
			in = append(in, permission("tcp", 443, []fields{{"CidrIp": anywhere}}, nil))
		case search:
			in = append(in, permission("udp", 514, []fields{{"CidrIp": vpcCIDR}}, nil))
		}
		out := fields{"IpProtocol": "-1", "IpRanges": []fields{{"CidrIp": anywhere}}, "Ipv6Ranges": []fields{},
			"PrefixListIds": []fields{}, "UserIdGroupPairs": []fields{}}
		list = append(list, fields{"GroupId": t.groupID(), "GroupName": tierTable[t].name, "Description": tierTable[t].name,
			"VpcId": vpcID, "OwnerId": accountID, "IpPermissions": in, "IpPermissionsEgress": []fields{out}})
	}
	return list
}

func permission(proto string, port uint16, ranges, groups []fields) fields {
	return fields{"IpProtocol": proto, "FromPort": port, "ToPort": port, "IpRanges": append([]fields{}, ranges...),
		"UserIdGroupPairs": append([]fields{}, groups...), "Ipv6Ranges": []fields{}, "PrefixListIds": []fields{}}
}
