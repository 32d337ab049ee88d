package rules

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ephemera/ingest/flow"
)

// An opening is what one allow entry, or one rule of a security group, lets
// through: TCP from or to a prefix, to a range of ports. Ref stands for the
// prefix of a rule whose peer is a security group or a prefix list.
type opening struct {
	prefix netip.Prefix
	ports  PortRange
}

// A share is the part of a requirement that one opening serves.
type share struct {
	*Requirement
	ports PortSet // to let through in the opening's place
	needs PortSet // of them those that must be
}

// worthwhile is the least share of an opening's ports that narrowing must
// close to everybody to be worth its entries.
const worthwhile = 0.25

// shareOf returns what the requirement passes of an opening. Decided are the
// ports that other entries decide first for all of the requirement's peers.
func shareOf(r *Requirement, o opening, decided PortSet) (share, bool) {
	if r.Protocol != flow.TCP || !r.Peer.Overlaps(o.prefix) {
		return share{}, false
	}
	in := Ports(o.ports).Subtract(decided)
	s := share{Requirement: r, ports: r.ports().Intersect(in), needs: r.needs().Intersect(in)}
	return s, !s.needs.IsEmpty()
}

// isTarget reports whether an opening is one that a revision is made for:
// target traffic passes it whose ports somebody picks.
func isTarget(shares []share) bool {
	return slices.ContainsFunc(shares, func(s share) bool { return s.Target && !s.Allow.IsEmpty() })
}

// narrow returns what to allow in the place of an opening: the least that
// serves all shares in at most budget entries. Where it cannot be narrowed,
// why says so.
func narrow(o opening, shares []share, budget int) (as []Allowance, why string) {
	for _, s := range shares {
		if s.Wide != "" {
			return nil, s.Wide
		}
	}
	as = Merge(groupByScope(o, shares))
	for EntryCount(as) > budget {
		coarser, ok := coarsen(o, as)
		if !ok {
			return nil, fmt.Sprintf("what passes here needs more than the %d entries that the quota leaves", budget)
		}
		as = Merge(coarser)
	}
	if left := forAll(o, as); float64(o.ports.Len()-left) < worthwhile*float64(o.ports.Len()) {
		return nil, fmt.Sprintf("what passes here needs %d of its %d ports: %s", left, o.ports.Len(), widest(shares))
	}
	return as, ""
}

// groupByScope collects the shares' ports by the peers that need them.
func groupByScope(o opening, shares []share) []Allowance {
	var as []Allowance
	for _, s := range shares {
		scope, _ := overlap(s.Scope, o.prefix)
		i := slices.IndexFunc(as, func(a Allowance) bool { return a.Peer == scope })
		if i < 0 {
			as, i = append(as, Allowance{Peer: scope}), len(as)
		}
		as[i].Ports = as[i].Ports.Union(s.ports)
	}
	return as
}

// coarsen saves entries at the least price: it closes the narrowest gap
// between two ranges of one peer, and where no peer has two, gives what all
// have to every peer of the opening. It never leaves the opening.
func coarsen(o opening, as []Allowance) ([]Allowance, bool) {
	best, gap := -1, 0
	for i, a := range as {
		for k := 1; k < len(a.Ports.r); k++ {
			if g := int(a.Ports.r[k].From) - int(a.Ports.r[k-1].To); best < 0 || g < gap {
				best, gap = i, g
			}
		}
	}
	if best >= 0 {
		as[best].Ports = Cover(as[best].Ports, len(as[best].Ports.r)-1)
		return as, true
	}
	if len(as) <= 1 {
		return nil, false
	}
	var all PortSet
	for _, a := range as {
		all = all.Union(a.Ports)
	}
	return []Allowance{{o.prefix, all}}, true
}

// forAll returns how many ports every peer of the opening may go on using.
func forAll(o opening, as []Allowance) int {
	n := 0
	for _, a := range as {
		if a.Peer == o.prefix {
			n += a.Ports.Len()
		}
	}
	return n
}

// widest names the traffic that needs most ports of an opening.
func widest(shares []share) string {
	sorted := slices.Clone(shares)
	slices.SortStableFunc(sorted, func(a, b share) int { return cmp.Compare(b.ports.Len(), a.ports.Len()) })
	var words []string
	for _, s := range sorted[:min(3, len(sorted))] {
		words = append(words, fmt.Sprintf("%s (%d ports)", s.Slot, s.ports.Len()))
	}
	return strings.Join(words, ", ")
}
