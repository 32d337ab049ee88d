package analyze

import (
	"net/netip"

	"ephemera/analyze/picker"
	"ephemera/ingest/flow"
	"ephemera/rules"
)

// pickers collect which ports each picker of ports picked: an FTP server its
// passive ports, the clients behind a filter their ephemeral ones. What one
// of them was seen to do at one rule tells what it will do at the others.
type pickers struct {
	entries    int
	configured func(server flow.Addr) rules.PortSet
	servers    map[flow.Addr]*picker.Sample
	behind     map[behindKey]*picker.Sample

	// Estimates of servers, and of the hosts behind a filter, are made once all
	// is collected.
	ofServers map[flow.Addr]picker.Estimate
	ofHosts   map[behindKey]picker.Estimate
}

// behindKey names the hosts that pick the ports at a filter in one direction.
type behindKey struct {
	layer     rules.Layer
	filter    string
	direction flow.Direction
	proto     flow.Proto
	chosenBy  string
	ftp       bool // for FTP; other programs may pick otherwise
}

func (k slotKey) behind() behindKey {
	return behindKey{k.layer, k.filter, k.direction, k.proto, k.chosenBy, k.purpose != purposeOther}
}

func newPickers(o Options) *pickers {
	return &pickers{
		entries: o.Entries, configured: o.configuredPorts,
		servers: map[flow.Addr]*picker.Sample{}, behind: map[behindKey]*picker.Sample{}, ofServers: map[flow.Addr]picker.Estimate{}, ofHosts: map[behindKey]picker.Estimate{},
	}
}

// configuredPorts returns the passive ports that the operator says the server
// is configured to use; none when nothing is said.
func (o Options) configuredPorts(server flow.Addr) rules.PortSet {
	var rs []rules.PortRange
	for _, r := range o.PassiveRanges {
		if r.Server.Contains(server.Netip()) {
			rs = append(rs, rules.PortRange{From: r.From, To: r.To})
		}
	}
	return rules.Ports(rs...)
}

// addServer counts a passive data connection at its server.
func (p *pickers) addServer(c *Connection, r roles) {
	if r.data == nil || r.data.active || !r.certain() {
		return
	}
	s := p.servers[c.Tuple.Dst]
	if s == nil {
		s = &picker.Sample{}
		p.servers[c.Tuple.Dst] = s
	}
	s.Add(c.Start, c.Tuple.DstPort, c.Tuple.Hash())
}

// hostsOf returns the sample of the hosts that pick the ports at a slot, to
// add to.
func (p *pickers) hostsOf(k slotKey) *picker.Sample {
	s := p.behind[k.behind()]
	if s == nil {
		s = &picker.Sample{}
		p.behind[k.behind()] = s
	}
	return s
}

var choosers = map[string]picker.Chooser{
	ChosenFixed: picker.Fixed, ChosenServer: picker.Server, ChosenClient: picker.ClientOS, ChosenNAT: picker.NATGateway,
}

// infer estimates what a slot's ports are picked from. Services that are not
// FTP have a port each, and no range.
func (d *demand) infer(p *portUseAt, k slotKey, peer netip.Prefix) picker.Estimate {
	by, o := choosers[k.chosenBy], picker.Options{Entries: d.entries}
	switch {
	case by == picker.Fixed:
		used := p.used()
		return picker.Estimate{Observed: picker.Proposal{Ports: used}, Safe: picker.Proposal{Ports: used}, Keep: "the port is fixed"}
	case by == picker.ClientOS && k.purpose == purposeOther:
		e := d.clientPorts(k, p.used()) // one look at the hosts is enough for their many peers
		return own(e, p, o)
	case by != picker.Server:
		return picker.Infer(&p.sample, by, o)
	case k.purpose == purposeOther:
		e := picker.Infer(&p.sample, picker.Fixed, o)
		e.Keep = "services other than FTP, each with a port of its own"
		return e
	}
	return own(d.passive(d.serversOf(k, peer)), p, o)
}

// own puts what was observed at a slot itself into an estimate of who picks
// its ports.
func own(e picker.Estimate, p *portUseAt, o picker.Options) picker.Estimate {
	e.Observed = picker.Infer(&p.sample, picker.Fixed, o).Observed
	e.Observed.Ports = rules.Cover(e.Observed.Ports, o.Entries)
	return e
}

// server estimates a server's passive range.
func (p *pickers) server(a flow.Addr) picker.Estimate {
	if e, ok := p.ofServers[a]; ok {
		return e
	}
	s := p.servers[a]
	if s == nil {
		s = &picker.Sample{}
	}
	e := picker.Infer(s, picker.Server, picker.Options{Entries: p.entries, Configured: p.configured(a)})
	p.ofServers[a] = e
	return e
}

// hosts estimates the ephemeral range of the hosts behind a filter. Programs
// other than FTP may have one that they are configured for.
func (p *pickers) hosts(k behindKey) picker.Estimate {
	e, ok := p.ofHosts[k]
	if ok {
		return e
	}
	e = picker.Infer(p.sample(k), picker.ClientOS, picker.Options{Entries: p.entries})
	if e.Keep != "" && !k.ftp {
		e = picker.Infer(p.sample(k), picker.Server, picker.Options{Entries: p.entries})
	}
	p.ofHosts[k] = e
	return e
}

func (p *pickers) sample(k behindKey) *picker.Sample {
	if s := p.behind[k]; s != nil {
		return s
	}
	return &picker.Sample{}
}
