package analyze

import (
	"net/netip"

	"ephemera/ingest/flow"
)

// A server can tell the client another address for data than its own: that
// of another host of a cluster, or another of its own. These are mostly near
// each other.

// Bits of the network that an address shares with those near it.
const (
	nearBits4 = 24
	nearBits6 = 64
)

// neighbourhoodOf returns the network of the addresses near a server on the
// internet. Inside the VPC it is not valid: all kinds of hosts are near each
// other there.
func neighbourhoodOf(a flow.Addr) netip.Prefix {
	switch {
	case a.Netip().IsPrivate():
		return netip.Prefix{}
	case a.Is4():
		return a.Prefix(nearBits4)
	}
	return a.Prefix(nearBits6)
}

// A nearKey is a client and the neighbourhood of a server.
type nearKey struct {
	client flow.Addr
	server netip.Prefix
}

func (s *session) nearKey() nearKey {
	return nearKey{s.conn.Tuple.Src, neighbourhoodOf(s.conn.Tuple.Dst)}
}

// near returns the sessions that were open when the client of c opened it,
// with one server near c's: the one of the latest session.
func (o *openSessions) near(c *Connection) []*session {
	n := neighbourhoodOf(c.Tuple.Dst)
	if !n.IsValid() {
		return nil
	}
	open := o.byNear[nearKey{c.Tuple.Src, n}].during(c.Start)
	if len(open) == 0 {
		return nil
	}
	return o.byPair[open[len(open)-1].pairKey()].during(c.Start)
}
