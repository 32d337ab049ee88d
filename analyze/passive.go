package analyze

import (
	"net/netip"

	"ephemera/ingest/flow"
)

// A PassiveRange is what a server's operator knows of its configuration: the
// ports that it opens for data connections in passive mode (pasv_min_port and
// pasv_max_port of vsftpd, PassivePorts of ProFTPD).
type PassiveRange struct {
	// Server is one server, or a network of servers that are configured alike.
	Server netip.Prefix
	// From and To are the first and the last port, both in the range.
	From, To uint16
}

// passiveRange looks a port up in the ranges that were named for a server;
// several add up. Known tells whether there is one for this server at all,
// inside whether one of them holds the port.
func (o Options) passiveRange(server flow.Addr, port uint16) (known, inside bool) {
	for _, r := range o.PassiveRanges {
		if r.Server.Contains(server.Netip()) {
			known = true
			inside = inside || r.From <= port && port <= r.To
		}
	}
	return known, inside
}
