package rules

import (
	"fmt"
	"net/netip"
	"slices"

	"ephemera/ingest/flow"
)

// broadDeny is the share of the ports that a requirement asks for from which
// on a denial is taken to be a mistake, and lifted for all its peers. A
// narrower one is there for its ports, and is lifted for the peer alone.
const broadDeny = 0.01

// repair lets through what the requirements say was stopped, as far as the
// quota leaves room.
func (r *reviser) repair() {
	for _, q := range r.reqs {
		if q.Stopped.IsEmpty() {
			continue
		}
		before := *r
		before.list = slices.Clone(r.list)
		if r.layer == NACL {
			for r.liftOne(q) {
			}
		}
		r.admit(q)
		if n := r.countFamily(r.list, q.Peer); n > max(r.quota, r.countFamily(before.list, q.Peer)) {
			*r = before
			r.unrepaired = append(r.unrepaired, q)
			r.kept = append(r.kept, Kept{ID: r.filter, Direction: r.dir, Rule: "what stops " + q.Slot,
				Why: fmt.Sprintf("to let it through would take %d of the %d %s that the quota leaves", n, r.quota, pick(r.layer == NACL, "entries", "rules"))})
		}
	}
}

// liftOne lifts the first deny entry that stops the requirement, and reports
// whether there was one.
func (r *reviser) liftOne(q *Requirement) bool {
	left := q.Stopped
	for i, d := range r.list {
		if !d.decidesFor(q) {
			continue
		}
		hit := left.Intersect(Ports(d.ports(q.Protocol)))
		if !hit.IsEmpty() && !d.Allow {
			r.lift(i, q)
			return true
		}
		left = left.Subtract(hit)
	}
	return false
}

// decidesFor reports whether an entry decides for the requirement's peers at
// its ports, if none before it does.
func (d draft) decidesFor(q *Requirement) bool {
	return d.covers(q.Protocol) && within(q.Peer, d.Prefix)
}

// lift puts entries before the deny entry at i that allow what it stops. One
// of which nothing is left is taken away instead, if what is behind it allows
// the rest.
func (r *reviser) lift(i int, q *Requirement) {
	deny := r.list[i]
	ports := q.ports().Intersect(Ports(deny.ports(q.Protocol))).Subtract(deniedOnPurpose(r.list[i+1:], q).Subtract(q.Stopped))
	peer := q.Peer
	if float64(ports.Len()) > broadDeny*float64(q.ports().Len()) {
		peer, _ = overlap(q.Scope, deny.Prefix)
	}
	r.mean(peer, q.Protocol, ports)
	share := []share{{Requirement: q, ports: ports, needs: q.Stopped.Intersect(ports)}}
	if peer == deny.Prefix && deny.Protocol == int(q.Protocol) && Ports(deny.ports(q.Protocol)).Subtract(ports).IsEmpty() {
		if allowedBehind(r.list[i+1:], peer, q.Protocol, ports) {
			deny.kind, deny.note, deny.shares = ChangeRemove, "it stops "+noteOf(share), share
			r.gone = append(r.gone, deny)
			r.list = slices.Delete(r.list, i, i+1)
			return
		}
	}
	r.list = slices.Insert(r.list, i, r.allow(peer, q.Protocol, ports, share, deny)...)
}

// deniedOnPurpose returns the ports that narrow deny entries stop for the
// requirement's peers.
func deniedOnPurpose(list []draft, q *Requirement) PortSet {
	var denied, decided PortSet
	for _, d := range list {
		if !d.decidesFor(q) {
			continue
		}
		ports := Ports(d.ports(q.Protocol))
		if hit := ports.Intersect(q.ports()); !d.Allow && float64(hit.Len()) <= broadDeny*float64(q.ports().Len()) {
			denied = denied.Union(hit.Subtract(decided))
		}
		decided = decided.Union(ports)
	}
	return denied
}

// allowedBehind reports whether entries allow all packets from or to peer at
// the ports.
func allowedBehind(list []draft, peer netip.Prefix, proto flow.Proto, ports PortSet) bool {
	left := ports
	for _, d := range list {
		matches := Ports(d.ports(proto)).Intersect(left)
		switch {
		case !d.covers(proto), !d.Prefix.Overlaps(peer), matches.IsEmpty():
		case !d.Allow:
			return false
		case within(peer, d.Prefix):
			left = left.Subtract(matches)
		}
	}
	return left.IsEmpty()
}

// allow makes entries that let ports through, before the entry that stops
// them.
func (r *reviser) allow(peer netip.Prefix, proto flow.Proto, ports PortSet, shares []share, deny draft) []draft {
	var ds []draft
	for _, p := range ports.Ranges() {
		e := Entry{Allow: true, Egress: r.dir == flow.Egress, Protocol: int(proto), Prefix: peer, Ports: p, HasPorts: true, ICMPType: -1, ICMPCode: -1}
		note := noteOf(shares)
		if deny.RuleNumber != 0 {
			note += "; stopped by " + r.words(deny.Entry)
		}
		ds = append(ds, draft{Entry: e, kind: ChangeAdd, shares: shares, note: note})
	}
	return ds
}

// mean notes that packets are let through on purpose.
func (r *reviser) mean(peer netip.Prefix, proto flow.Proto, ports PortSet) {
	r.meant = append(r.meant, packetsOf(peer, proto, ports))
}

// admit lets through what no entry allows: by widening one that allows a part
// of it to the same peers, or by an entry of its own.
func (r *reviser) admit(q *Requirement) {
	missing := q.Stopped
	for _, d := range r.list {
		if d.decidesFor(q) && d.Allow {
			missing = missing.Subtract(Ports(d.ports(q.Protocol)))
		}
	}
	if missing.IsEmpty() {
		return
	}
	if i := r.widenable(q); i >= 0 {
		r.widen(i, q)
		return
	}
	peer, ports := q.Scope, q.ports().Subtract(r.deniedTo(q))
	if peer.Bits() == 0 {
		peer = q.Peer // nothing says that everybody is to be let in
	}
	share := []share{{Requirement: q, ports: ports, needs: q.Stopped}}
	r.mean(peer, q.Protocol, ports)
	r.list = append(r.list, r.allow(peer, q.Protocol, ports, share, draft{})...)
}

// deniedTo returns the ports at which a deny entry decides for the
// requirement's peers. What of them stopped it was lifted; the rest stays.
func (r *reviser) deniedTo(q *Requirement) PortSet {
	var denied, decided PortSet
	for _, d := range r.list {
		if d.decidesFor(q) {
			if !d.Allow {
				denied = denied.Union(Ports(d.ports(q.Protocol)).Subtract(decided))
			}
			decided = decided.Union(Ports(d.ports(q.Protocol)))
		}
	}
	return denied
}

// widenable returns the allow entry that lets through the most of what the
// requirement asks for, from no more peers than it is for, and that can be
// widened to all of it without passing over a deny; -1 when there is none.
func (r *reviser) widenable(q *Requirement) int {
	best, most := -1, 0
	for i, d := range r.list {
		if _, ok := d.opening(); !ok || !d.decidesFor(q) || !within(d.Prefix, q.Scope) {
			continue
		}
		all := q.ports().Union(Ports(d.Ports))
		n := Ports(d.Ports).Intersect(q.ports()).Len()
		if n > most && len(all.r) == 1 && !r.deniedBehind(i, all) {
			best, most = i, n
		}
	}
	return best
}

// deniedBehind reports whether an entry behind the one at i denies a part of
// ports to its peers: widening it would lift that.
func (r *reviser) deniedBehind(i int, ports PortSet) bool {
	e := r.list[i]
	proto := flow.Proto(e.Protocol)
	more := ports.Subtract(Ports(e.Ports))
	return slices.ContainsFunc(r.list[i+1:], func(d draft) bool {
		return !d.Allow && d.covers(proto) && d.Prefix.Overlaps(e.Prefix) && !more.Intersect(Ports(d.ports(proto))).IsEmpty()
	})
}

// widen gives the entry at i all ports that the requirement asks for.
func (r *reviser) widen(i int, q *Requirement) {
	d := &r.list[i]
	all := q.ports().Union(Ports(d.Ports))
	share := share{Requirement: q, ports: q.ports(), needs: q.Stopped}
	r.mean(d.Prefix, q.Protocol, all)
	old := *d
	d.was = &old.Entry
	if old.was != nil {
		d.was = old.was
	}
	if r.layer == SG {
		old.kind, old.note = ChangeRemove, "a wider one takes its place"
		if d.kind == ChangeKeep {
			r.gone = append(r.gone, old)
		}
		d.RuleNumber, d.kind = 0, ChangeAdd
	} else if d.kind == ChangeKeep {
		d.kind = ChangeReplace
	}
	d.Ports = all.r[0]
	d.shares = append(d.shares, share)
	d.note = noteOf(d.shares)
}
