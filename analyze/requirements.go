package analyze

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"ephemera/analyze/picker"
	"ephemera/ingest/flow"
	"ephemera/rules"
)

// requirements are what proposed rules have to serve: all traffic that was
// let through and had a right to exist, and the FTP connections that were
// stopped. The newest snapshot says what is a filter; without one there are
// none.
func (d *demand) requirements() []rules.Requirement {
	n := d.newest()
	if n == nil {
		return nil
	}
	var reqs []rules.Requirement
	free := d.freePickers()
	for _, k := range slices.SortedFunc(maps.Keys(d.slots), slotKey.compare) {
		id, _, _ := strings.Cut(k.filter, ";") // of several security groups, the first is where to add a rule
		if n.ACL(id) == nil && n.Group(id) == nil {
			continue
		}
		for peer, p := range d.slots[k].all() {
			r := d.requirement(n, id, k, peer, p)
			if isFree(k, p) {
				d.allowFree(&r, free[k.behind()])
			}
			reqs = append(reqs, r)
		}
	}
	return reqs
}

// newest returns the newest snapshot, or nil.
func (d *demand) newest() *rules.Network {
	nets := d.topo.networks
	if len(nets) == 0 {
		return nil
	}
	return nets[len(nets)-1]
}

func (d *demand) requirement(n *rules.Network, id string, k slotKey, peer netip.Prefix, p *portUseAt) rules.Requirement {
	r := rules.Requirement{
		Layer: k.layer, ID: id, Direction: k.direction, Protocol: k.proto, Peer: peer, Used: p.used(),
		Target: k.purpose != purposeOther, Slot: slotName(k, peer), Connections: p.connections,
	}
	r.Scope = d.scope(n, k, peer)
	switch k.chosenBy {
	case ChosenNAT:
		r.Allow, r.Wide = rules.Ports(natRange), natKeeps
	case ChosenClient:
		e := d.clientPorts(k, r.Used)
		r.Allow, r.Wide, r.Note = e.Safe.Ports, e.Keep, estimateWords(e)
	case ChosenServer:
		if r.Target {
			e := d.passive(d.serversOf(k, peer))
			r.Allow, r.Note = e.Safe.Ports, estimateWords(e)
		}
	}
	if r.Target && !isActiveData(k) {
		if allowed, ok := d.allowed(k, peer); ok {
			wanted := p.wanted.Set()
			r.Stopped = wanted.Subtract(allowed)
			r.Used = r.Used.Union(wanted.Intersect(allowed)) // stopped before, and needed here then
		}
	}
	if d.observed && r.Target && (k.chosenBy == ChosenClient || k.chosenBy == ChosenServer) {
		r.Allow, r.Wide, r.Note = rules.Cover(r.Used.Union(r.Stopped), d.entries), "", "as observed"
	}
	return r
}

// From so many ports on, a host that is no FTP server picks them, and so many
// such hosts are taken for a sample of many.
const (
	freePorts = 4
	freeHosts = 4
)

// isFree reports whether a slot's peers pick ports for something else than
// FTP: peer-to-peer transfers, remote procedure calls.
func isFree(k slotKey, p *portUseAt) bool {
	return k.purpose == purposeOther && k.chosenBy == ChosenServer && p.used().Len() >= freePorts
}

// freePickers lists such peers by filter and direction.
func (d *demand) freePickers() map[behindKey][]netip.Prefix {
	free := map[behindKey][]netip.Prefix{}
	for k, s := range d.slots {
		for peer, p := range s.all() {
			if isFree(k, p) && d.pickers.servers[flow.AddrFrom(peer.Addr())] == nil {
				free[k.behind()] = append(free[k.behind()], peer)
			}
		}
	}
	return free
}

// allowFree lets peers that pick ports for something else than FTP go on. A
// few of them are named; where there are many, the next one is none of them.
// What FTP servers use beside FTP is kept at them.
func (d *demand) allowFree(r *rules.Requirement, free []netip.Prefix) {
	r.Scope = r.Peer
	if d.pickers.servers[flow.AddrFrom(r.Peer.Addr())] != nil {
		return
	}
	r.Allow, r.Note = rules.Ports(natRange), "it picks its ports, and is no FTP server"
	if len(free) >= freeHosts {
		slices.SortFunc(free, netip.Prefix.Compare)
		var hosts []string
		for _, p := range free {
			hosts = append(hosts, p.String())
		}
		r.Wide = fmt.Sprintf("traffic other than FTP goes to ports that %d hosts pick, and needs it as wide as it is: %s", len(free), firstOf(hosts, len(hosts)))
	}
}

// clientPorts estimates the ephemeral ports at a slot. Other programs of the
// hosts that FTP was seen of have them from the same operating systems, unless
// their ports tell otherwise.
func (d *demand) clientPorts(k slotKey, used rules.PortSet) picker.Estimate {
	b := k.behind()
	if b.ftp {
		return d.pickers.hosts(b)
	}
	b.ftp = true
	if e := d.pickers.hosts(b); k.proto == flow.TCP && e.Keep == "" && used.Subtract(e.Safe.Ports).IsEmpty() {
		return e
	}
	return d.pickers.hosts(k.behind())
}

// natKeeps is why what a NAT gateway picks is not narrowed.
const natKeeps = "a NAT gateway picks ports from 1024-65535, whatever was observed"

// isActiveData reports whether the slot's ports are those that clients listen
// at in active mode. Nobody is let in there who was not let in before: passive
// mode does without.
func isActiveData(k slotKey) bool { return k.purpose == purposeData && k.chosenBy == ChosenClient }

func slotName(k slotKey, peer netip.Prefix) string {
	return fmt.Sprintf("%s/%s/%s/%s", k.filter, k.direction, peer, k.purpose)
}

// scope returns the peers to allow a slot's traffic for. Hosts in a subnet
// come and go, so that the subnet stands for them. FTP servers are known by
// their addresses. What answers connections to anywhere comes from anywhere.
func (d *demand) scope(n *rules.Network, k slotKey, peer netip.Prefix) netip.Prefix {
	if block, ok := subnetBlock(n, peer); ok {
		return block
	}
	if k.purpose == purposeControl || k.purpose == purposeData {
		return peer
	}
	return netip.PrefixFrom(anywhere(peer.Addr()), 0)
}

func anywhere(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// subnetBlock returns the CIDR block of the subnet that holds all of peer.
func subnetBlock(n *rules.Network, peer netip.Prefix) (netip.Prefix, bool) {
	for _, s := range n.Subnets() {
		for _, block := range s.Prefixes {
			if block.Bits() <= peer.Bits() && block.Contains(peer.Addr()) {
				return block, true
			}
		}
	}
	return netip.Prefix{}, false
}

// serversOf returns the servers whose passive ports a slot is about: the one
// that it is for, or, at a rule where the servers do not show, all that
// clients reached through it.
func (d *demand) serversOf(k slotKey, peer netip.Prefix) []flow.Addr {
	server := flow.AddrFrom(peer.Addr())
	if peer.IsSingleIP() && d.pickers.servers[server] != nil {
		return []flow.Addr{server}
	}
	return d.serversAt(k)
}

// passive estimates the passive ports of several servers together. One of
// which too little was seen keeps all ports that it may use.
func (d *demand) passive(servers []flow.Addr) picker.Estimate {
	var all picker.Estimate
	for _, a := range servers {
		e := d.pickers.server(a)
		if e.Keep != "" {
			all.Keep = fmt.Sprintf("%s: %s", a, e.Keep)
			e.Safe.Ports = rules.Ports(natRange)
		}
		all = worse(all, e)
	}
	return all
}

// serversAt returns the FTP servers whose data connections met a filter.
func (d *demand) serversAt(k slotKey) []flow.Addr {
	servers := map[flow.Addr]bool{}
	for u, use := range d.uses {
		if u.layer == k.layer && u.filter == k.filter && u.dir == k.direction && u.chosenBy == ChosenServer {
			for a := range use.byServer {
				servers[a] = true
			}
		}
	}
	return slices.SortedFunc(maps.Keys(servers), flow.Addr.Compare)
}

// estimateWords says what an estimate stands on.
func estimateWords(e picker.Estimate) string {
	if len(e.Fits) == 0 || e.Keep != "" {
		return e.Keep
	}
	return fmt.Sprintf("%s with %.0f %%; next outside at most %.2g %%; back-test lost %d of %d",
		e.Fits[0].Name, 100*e.Fits[0].Probability, 100*e.Safe.Outside, e.Safe.Lost, e.Safe.Tested)
}

// unlogged says of each network ACL and security group that has interfaces in
// the snapshot which the log lacks that it must not be narrowed: their
// traffic is not known.
func (d *demand) unlogged(logged func(id string) bool) map[string]string {
	keep := map[string]string{}
	n := d.newest()
	if n == nil {
		return keep
	}
	missing := map[string][]string{}
	for _, i := range n.Interfaces() {
		if logged(i.ID) || i.NATGatewayID != "" && logged(i.NATGatewayID) {
			continue
		}
		if a := n.ACLOf(i.SubnetID); a != nil {
			missing[a.ID] = append(missing[a.ID], i.ID)
		}
		for _, g := range i.Groups {
			missing[g] = append(missing[g], i.ID)
		}
	}
	for id, ifaces := range missing {
		keep[id] = fmt.Sprintf("%s has it, too, and the log has no record of it: narrowing could cut what it does", firstOf(ifaces, len(ifaces)))
		if len(ifaces) > 1 {
			keep[id] = fmt.Sprintf("%s have it, too, and the log has no record of them: narrowing could cut what they do", firstOf(ifaces, len(ifaces)))
		}
	}
	return keep
}
