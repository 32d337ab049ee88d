package rules_test

import (
	"fmt"
	"net/netip"

	"ephemera/ingest/flow"
	"ephemera/rules"
)

// A reply of an FTP server reaches the NAT gateway at a port that its
// subnet's network ACL denies.
func ExampleNetwork_Check() {
	history, err := rules.ReadDir("testdata/two-vpcs")
	if err != nil {
		fmt.Println(err)
		return
	}
	reply := flow.Tuple{
		Src: flow.AddrFrom(netip.MustParseAddr("203.0.113.200")), SrcPort: 21,
		Dst: flow.AddrFrom(netip.MustParseAddr("10.0.0.220")), DstPort: 25000,
		Proto: flow.TCP,
	}
	check := history.At(1795341600).Check("eni-nat", flow.Ingress, reply, true)
	if v, denied := check.Deciding(); denied {
		fmt.Println(v.ID, v.Rule)
	}
	// Output: acl-public rule 95 deny tcp 20000-32767 from 0.0.0.0/0
}

// Ports seen in use, allowed by one, two and three entries.
func ExampleCover() {
	seen, err := rules.ParsePorts("21;40000-40010;40020;50000")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, point := range rules.CoverCurve(seen, 3) {
		fmt.Println(point.Entries, point.Exposed, rules.Cover(seen, point.Entries))
	}
	// Output:
	// 1 49980 21-50000
	// 2 10002 21;40000-50000
	// 3 23 21;40000-40020;50000
}
