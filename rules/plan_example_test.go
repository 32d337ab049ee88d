package rules_test

import (
	"fmt"
	"net/netip"

	"ephemera/ingest/flow"
	"ephemera/rules"
)

// An entry that was too wide becomes two narrow ones, one of which has its
// number. The other comes first, so that nobody is cut off.
func ExamplePlan() {
	ephemeral := func(number int, peer string, from, to uint16) rules.Entry {
		return rules.Entry{
			RuleNumber: number, Allow: true, Egress: true, Protocol: int(flow.TCP), Prefix: netip.MustParsePrefix(peer),
			HasPorts: true, Ports: rules.PortRange{From: from, To: to}, ICMPType: -1, ICMPCode: -1,
		}
	}
	old := &rules.NetworkACL{ID: "acl-1", Entries: []rules.Entry{ephemeral(110, "0.0.0.0/0", 1024, 65535)}}
	wanted := &rules.NetworkACL{ID: "acl-1", Entries: []rules.Entry{
		ephemeral(110, "203.0.113.0/24", 1024, 65535),
		ephemeral(120, "198.51.100.7/32", 40000, 40199),
	}}
	for _, p := range old.Difference(flow.Egress, wanted).Closed[:1] {
		fmt.Println("closed:", p)
	}
	steps, warnings := rules.Plan(rules.RuleSet{ACLs: []*rules.NetworkACL{old}}, rules.RuleSet{ACLs: []*rules.NetworkACL{wanted}}, rules.Quota{})
	for _, s := range steps {
		fmt.Println(s)
	}
	fmt.Println(len(warnings), "warnings")
	// Output:
	// closed: tcp 1024-65535 peers 0.0.0.0-198.51.100.6
	// create rule 120 of acl-1, egress
	// replace rule 110 of acl-1, egress
	// 0 warnings
}

// Two neighbours have ports in common, which their parent takes.
func ExampleMerge() {
	ftp, web := rules.Ports(rules.PortRange{From: 40000, To: 40199}), rules.Ports(rules.PortRange{From: 443, To: 443})
	for _, a := range rules.Merge([]rules.Allowance{
		{Peer: netip.MustParsePrefix("10.0.2.0/24"), Ports: ftp},
		{Peer: netip.MustParsePrefix("10.0.3.0/24"), Ports: ftp.Union(web)},
	}) {
		fmt.Println(a.Peer, a.Ports)
	}
	// Output:
	// 10.0.2.0/23 40000-40199
	// 10.0.3.0/24 443
}
