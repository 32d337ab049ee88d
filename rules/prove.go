package rules

import (
	"fmt"
	"net/netip"
	"slices"

	"ephemera/ingest/flow"
)

// A checked filter is a network ACL or a security group.
type checked[F any] interface {
	Difference(dir flow.Direction, to F) Difference
	Allowed(dir flow.Direction) []Packets
}

// prove checks a proposed filter against today's: all that the requirements
// need passes, and nothing is opened but what is meant to be, by direction.
func prove[F checked[F]](f filterID, from, to F, reqs []Requirement, meant [2][]Packets, unrepaired []*Requirement) (Proof, error) {
	var p Proof
	for i, dir := range []flow.Direction{flow.Ingress, flow.Egress} {
		rs := requirementsAt(reqs, f.layer, f.id, dir)
		if err := p.prove(f.id, dir, from.Difference(dir, to), to.Allowed(dir), rs, meant[i], unrepaired); err != nil {
			return Proof{}, err
		}
	}
	return p, nil
}

func (p *Proof) prove(id string, dir flow.Direction, d Difference, allowed []Packets, reqs []*Requirement, meant []Packets, unrepaired []*Requirement) error {
	for _, q := range reqs {
		used := []Packets{packetsOf(q.Peer, q.Protocol, q.Used)}
		if lost := IntersectPackets(used, d.Closed); len(lost) > 0 && !q.Used.IsEmpty() {
			return fmt.Errorf("%s needs %s, which would be closed", q.Slot, lost[0])
		}
		p.Needed += q.Used.Len()
		if q.Stopped.IsEmpty() || len(meant) == 0 || slices.Contains(unrepaired, q) {
			continue
		}
		stopped := []Packets{packetsOf(q.Peer, q.Protocol, q.Stopped)}
		if left := SubtractPackets(stopped, allowed); len(left) > 0 {
			return fmt.Errorf("%s is to let through %s, and would not", q.Slot, left[0])
		}
	}
	if more := SubtractPackets(d.Opened, meant); len(more) > 0 {
		return fmt.Errorf("%s would be opened, which nothing asks for", more[0])
	}
	if len(d.Opened) > 0 {
		p.Opened = append(p.Opened, FilterPackets{id, dir, d.Opened})
	}
	if len(d.Closed) > 0 {
		p.Closed = append(p.Closed, FilterPackets{id, dir, d.Closed})
	}
	return nil
}

// packetsOf returns the packets of proto from or to a prefix at some ports.
func packetsOf(prefix netip.Prefix, proto flow.Proto, ports PortSet) Packets {
	return Packets{
		Protocol: int(proto), From: prefix.Masked().Addr(), To: lastAddr(prefix), Ports: ports, ICMPType: -1, ICMPCode: -1,
	}
}
