package rules

import (
	"cmp"
	"net/netip"

	"ephemera/ingest/flow"
)

// A Requirement is what one kind of traffic needs of one filter, as a log
// showed it: the ports that it used, and those that it may use next.
type Requirement struct {
	Layer     Layer
	ID        string // of the network ACL or the security group
	Direction flow.Direction
	Protocol  flow.Proto

	// Peer is the far end as the log showed it: one address, or the network
	// that stands for many.
	Peer netip.Prefix
	// Scope holds the peers to allow it for: Peer, or more when others are
	// sure to need the same, as in a subnet of clients.
	Scope netip.Prefix

	// Used are the ports that were let through, or would have been, had no
	// filter before stopped the traffic; every one of them goes on being let
	// through. Stopped are those at which the filter stops what it should let
	// through.
	Used, Stopped PortSet
	// Allow are the ports to let through in place of a wider range, where
	// somebody picks them; empty where nobody does. It need not hold Used.
	Allow PortSet

	// Wide, when not empty, says why what this traffic passes cannot be
	// narrowed.
	Wide string
	// Target is set for the traffic that a revision is made for. Other
	// traffic is kept as it is.
	Target bool

	Slot        string
	Connections int
	Note        string // what Allow stands on, for people
}

// needs returns the ports that must be let through at any price.
func (r *Requirement) needs() PortSet { return r.Used.Union(r.Stopped) }

// ports returns all ports that the requirement asks for.
func (r *Requirement) ports() PortSet { return r.needs().Union(r.Allow) }

// meets reports whether the requirement is about packets of the filter in the
// direction.
func (r *Requirement) meets(l Layer, id string, dir flow.Direction) bool {
	return r.Layer == l && r.ID == id && r.Direction == dir
}

// compareRequirements orders requirements of one filter and direction, so that
// their order does not matter to what is made of them.
func compareRequirements(a, b Requirement) int {
	return cmp.Or(cmp.Compare(a.Slot, b.Slot), cmp.Compare(a.Protocol, b.Protocol), comparePrefixes(a.Peer, b.Peer), comparePrefixes(a.Scope, b.Scope),
		cmp.Compare(b.Connections, a.Connections), cmp.Compare(a.Used.String(), b.Used.String()), cmp.Compare(a.Stopped.String(), b.Stopped.String()),
		cmp.Compare(a.Allow.String(), b.Allow.String()), cmp.Compare(a.Note, b.Note))
}

// overlap returns what two prefixes have in common: one of them, or nothing.
func overlap(p, q netip.Prefix) (netip.Prefix, bool) {
	if !p.IsValid() || !q.IsValid() || !p.Overlaps(q) {
		return netip.Prefix{}, false
	}
	return pick(p.Bits() >= q.Bits(), p, q), true
}

// within reports whether p lies in q.
func within(p, q netip.Prefix) bool {
	return p.IsValid() && q.IsValid() && p.Bits() >= q.Bits() && q.Contains(p.Addr())
}
