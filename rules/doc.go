// Package rules holds the network's configuration and answers, for a packet
// at a network interface, which network ACL entry or security group decides.
//
// A snapshot is what the AWS CLI prints about network ACLs, security groups,
// interfaces, subnets, NAT gateways and route tables:
//
//	history, err := rules.ReadDir("network")
//	network := history.At(time.Now().Unix())
//	check := network.Check("eni-0a1", flow.Ingress, packet, false)
//	if v, denied := check.Deciding(); denied {
//		fmt.Println(v.ID, v.Rule) // acl-0b2 rule 95 deny tcp 20000-32767 from 0.0.0.0/0
//	}
//
// The package also holds the algebra of port sets: union, intersection,
// difference, and the smallest cover by a number of ranges.
//
// It knows the filters of network ACLs and security groups, not those of
// network firewalls, of Block Public Access or of the operating system. It
// takes one packet at a time and keeps no connection: whether a packet is a
// reply, the caller says.
package rules
