package analyze

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"ephemera/ingest/flow"
)

// mapping makes the row of a translated connection; ok is false when it was
// not translated, or its port is not known.
func mapping(c *Connection) (m Mapping, ok bool) {
	addr, port, ok := c.NATPort()
	if !ok || c.Inside == nil && c.Client == nil {
		return Mapping{}, false
	}
	m = Mapping{
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
	if c.unnamed > 0 {
		m.Candidates = append(m.Candidates, fmt.Sprintf("%d more", c.unnamed))
	}
	return m, true
}

func compareMappings(a, b Mapping) int {
	return cmp.Or(cmp.Compare(a.Start, b.Start), a.ClientAddr.Compare(b.ClientAddr), cmp.Compare(a.ClientPort, b.ClientPort),
		a.ServerAddr.Compare(b.ServerAddr), cmp.Compare(a.ServerPort, b.ServerPort), cmp.Compare(a.Protocol, b.Protocol),
		cmp.Compare(a.NATPort, b.NATPort))
}

// gatewayUses counts what went through each NAT gateway's interface.
type gatewayUses struct {
	uses map[*Interface]*gatewayUse
	// clients counts the connections of a client's interface by gateway.
	clients map[*Interface]map[*Interface]int
}

type gatewayUse struct {
	mapped, unmapped int
	addrs            map[flow.Addr]bool
}

func newGatewayUses() *gatewayUses {
	return &gatewayUses{uses: map[*Interface]*gatewayUse{}, clients: map[*Interface]map[*Interface]int{}}
}

// add counts one connection.
func (g *gatewayUses) add(c *Connection) {
	i := c.NAT()
	if i == nil || c.Unsolicited {
		return
	}
	u := g.uses[i]
	if u == nil {
		u = &gatewayUse{addrs: map[flow.Addr]bool{}}
		g.uses[i] = u
	}
	switch {
	case c.Outside != nil && c.Inside != nil:
		u.mapped++
		u.addrs[c.Outside.Header.Src] = true
	case c.Inside != nil && c.Inside.FromInitiator.Accepted > 0:
		u.unmapped++
	}
	if c.Client != nil {
		if g.clients[c.Client.Interface] == nil {
			g.clients[c.Client.Interface] = map[*Interface]int{}
		}
		g.clients[c.Client.Interface][i]++
	}
}

// ofClients returns, for each client's interface, the gateway that most of
// its connections went through.
func (g *gatewayUses) ofClients() map[*Interface]*Interface {
	most := make(map[*Interface]*Interface, len(g.clients))
	for client, n := range g.clients {
		most[client] = slices.MaxFunc(slices.Collect(maps.Keys(n)), func(a, b *Interface) int {
			return cmp.Or(cmp.Compare(n[a], n[b]), cmp.Compare(b.ID, a.ID))
		})
	}
	return most
}

// rows makes the table of NAT gateways.
func (g *gatewayUses) rows(ifaces []*Interface) []NATInterface {
	var rows []NATInterface
	for _, i := range ifaces {
		if !i.NAT {
			continue
		}
		row := NATInterface{InterfaceID: i.ID, GatewayID: i.GatewayID, SubnetID: i.SubnetID, Evidence: i.NATEvidence}
		addrs := map[flow.Addr]bool{}
		if u := g.uses[i]; u != nil {
			row.Mapped, row.Unmapped, addrs = u.mapped, u.unmapped, u.addrs
		}
		if i.Addr.IsValid() {
			addrs[i.Addr] = true
		}
		row.Addrs = slices.SortedFunc(maps.Keys(addrs), flow.Addr.Compare)
		rows = append(rows, row)
	}
	return rows
}
