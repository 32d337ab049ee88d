package analyze

import (
	"cmp"
	"slices"

	"ephemera/ingest/flow"
)

// mappings makes the table of translated connections.
func mappings(cs []*Connection) []Mapping {
	var rows []Mapping
	for _, c := range cs {
		addr, port, ok := c.NATPort()
		if !ok || c.Inside == nil && c.Client == nil {
			continue
		}
		m := Mapping{
			Protocol: uint8(c.Tuple.Proto), ClientAddr: c.Tuple.Src, ClientPort: c.Tuple.SrcPort,
			ServerAddr: c.Tuple.Dst, ServerPort: c.Tuple.DstPort, NATInterface: c.NAT().ID,
			NATAddr: addr, NATPort: port, Start: Time(c.Start), End: Time(c.End), Confidence: round(c.Mapping),
		}
		if c.Client != nil {
			m.ClientInterface = c.Client.Interface.ID
		}
		for _, l := range c.Others {
			m.Candidates = append(m.Candidates, flow.HostPort(l.Header.Src, l.Header.SrcPort))
		}
		slices.Sort(m.Candidates)
		rows = append(rows, m)
	}
	slices.SortFunc(rows, func(a, b Mapping) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), a.ClientAddr.Compare(b.ClientAddr), cmp.Compare(a.ClientPort, b.ClientPort),
			a.ServerAddr.Compare(b.ServerAddr), cmp.Compare(a.ServerPort, b.ServerPort), cmp.Compare(a.Protocol, b.Protocol),
			cmp.Compare(a.NATPort, b.NATPort))
	})
	return rows
}

// natInterfaces makes the table of NAT gateways.
func natInterfaces(ifaces []*Interface, cs []*Connection) []NATInterface {
	var rows []NATInterface
	for _, i := range ifaces {
		if !i.NAT {
			continue
		}
		row := NATInterface{InterfaceID: i.ID, GatewayID: i.GatewayID, SubnetID: i.SubnetID, Evidence: i.NATEvidence}
		addrs := map[flow.Addr]bool{}
		for _, c := range cs {
			switch {
			case c.NAT() != i || c.Unsolicited:
			case c.Outside != nil && c.Inside != nil:
				row.Mapped++
				addrs[c.Outside.Header.Src] = true
			case c.Inside != nil && c.Inside.FromInitiator.Accepted > 0:
				row.Unmapped++
			}
		}
		if i.Addr.IsValid() {
			addrs[i.Addr] = true
		}
		for a := range addrs {
			row.Addrs = append(row.Addrs, a)
		}
		slices.SortFunc(row.Addrs, flow.Addr.Compare)
		rows = append(rows, row)
	}
	return rows
}
