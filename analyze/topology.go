package analyze

import (
	"cmp"
	"fmt"
	"slices"

	"ephemera/ingest/flow"
	"ephemera/rules"
)

// topology answers questions about addresses and interfaces from the
// snapshots, or where there are none, from what private addresses mean.
type topology struct {
	history  *rules.History
	networks []*rules.Network // of history, in order of time
}

func newTopology(h *rules.History) topology { return topology{h, h.Networks()} }

// describe fills in what the snapshots know of an interface.
func (t topology) describe(i *Interface) {
	for _, n := range t.networks {
		if x := n.Interface(i.ID); x != nil {
			i.SubnetID = cmp.Or(i.SubnetID, x.SubnetID)
			i.VPCID = cmp.Or(i.VPCID, x.VPCID)
			i.InstanceID = cmp.Or(i.InstanceID, x.InstanceID)
			if x.Primary.IsValid() {
				i.Addr = x.Primary
			}
			for _, a := range x.Addrs {
				i.heard.named[a]++
			}
		}
		if g := n.NATGatewayOf(i.ID); g != nil {
			i.NAT, i.GatewayID, i.NATEvidence = true, g.ID, "named by the snapshot as "+g.ID
			for _, a := range g.PrivateAddrs {
				i.heard.named[a]++
			}
		}
	}
}

// unknown returns the interfaces that no snapshot has.
func (t topology) unknown(ifaces []*Interface) []string {
	var ids []string
	for _, i := range ifaces {
		known := func(n *rules.Network) bool { return n.Interface(i.ID) != nil || n.NATGatewayOf(i.ID) != nil }
		if !slices.ContainsFunc(t.networks, known) {
			ids = append(ids, i.ID)
		}
	}
	return ids
}

// snapshotWarning says when the snapshots are not of the network that the log
// is of, or lack a part of it.
func (t topology) snapshotWarning(ifaces []*Interface) []string {
	unknown := t.unknown(ifaces)
	switch {
	case len(t.networks) == 0 || len(unknown) == 0:
		return nil
	case len(unknown) == len(ifaces):
		return []string{fmt.Sprintf("none of the %s in the log is in the snapshot: it is of another network, and its rules say nothing here", plural(len(ifaces), "interface"))}
	}
	return []string{fmt.Sprintf("%d of the %s in the log are not in the snapshot, so their rules are not known: %s",
		len(unknown), plural(len(ifaces), "interface"), firstOf(unknown, len(unknown)))}
}

// local reports whether a is inside the interface's VPC.
func (t topology) local(i *Interface, a flow.Addr) bool {
	known := false
	for _, n := range t.networks {
		if n.IsLocal(i.VPCID, a) {
			return true
		}
		known = known || n.Interface(i.ID) != nil
	}
	return !known && isPrivate(a)
}

// inside reports whether a lies in any VPC of the snapshots, or is private
// where there are none.
func (t topology) inside(a flow.Addr) bool {
	for _, n := range t.networks {
		for _, s := range n.Subnets() {
			if s.Contains(a) {
				return true
			}
		}
	}
	return len(t.networks) == 0 && isPrivate(a)
}

// mayPassNAT reports whether the route from the client leads to a NAT
// gateway, or is not known.
func (t topology) mayPassNAT(c *Connection) bool {
	n := t.history.At(c.Client.Start)
	if n == nil {
		return true
	}
	route, ok := n.NextHop(c.Client.Interface.SubnetID, c.Tuple.Dst)
	return !ok || route.IsNATGateway()
}

// findNATs marks the interfaces that belong to NAT gateways. The snapshot
// says so; a regional gateway's records carry its ID; egress records with
// somebody else's header address are translation at work; and without
// pkt-* fields, connections in that come out again with the same counts. The
// legs are those of each interface.
func findNATs(t topology, ifaces []*Interface, legs [][]*Leg) {
	for n, i := range ifaces {
		switch {
		case i.NAT:
		case len(i.ID) > 4 && i.ID[:4] == "nat-":
			i.NAT, i.GatewayID, i.NATEvidence = true, i.ID, "named by the records as "+i.ID
		case i.foreign > 0 && i.InstanceID == "":
			i.NAT, i.NATEvidence = true, "records leave it with another's address, and no instance owns it"
		case i.InstanceID == "":
			if in, out := forwarded(t, i, legs[n]); out >= 3 && 2*out >= in {
				i.NAT, i.NATEvidence = true, "connections into it come out again with the same packets"
			}
		}
	}
}

// forwarded counts the legs between the interface and private addresses,
// and those of them that have a twin between the interface and others: with
// one port in common, the same packets on, the same packets back, at the
// same time. It does not rely on who the legs' initiators are taken to be.
func forwarded(t topology, i *Interface, legs []*Leg) (in, out int) {
	type twin struct {
		port     uint16
		on, back uint64
	}
	local, locals := make([]bool, len(legs)), 0
	for k, l := range legs {
		if local[k] = t.local(i, l.peer()); local[k] {
			locals++
		}
	}
	if locals == 0 || locals == len(legs) {
		return locals, 0
	}
	twins := map[twin][]int64{}
	for k, l := range legs {
		if to, from := l.fromOwn(); !local[k] {
			for _, port := range []uint16{l.Seen.SrcPort, l.Seen.DstPort} {
				k := twin{port, to.Packets(), from.Accepted}
				twins[k] = append(twins[k], l.Start)
			}
		}
	}
	for k, l := range legs {
		to, from := l.fromOwn()
		if from.Accepted == 0 || !local[k] {
			continue
		}
		in++
		near := func(s int64) bool { return s-l.Start <= 2 && l.Start-s <= 2 }
		if slices.ContainsFunc(twins[twin{l.Seen.DstPort, from.Accepted, to.Packets()}], near) ||
			slices.ContainsFunc(twins[twin{l.Seen.SrcPort, from.Accepted, to.Packets()}], near) {
			out++
		}
	}
	return in, out
}

// side tells where a leg of a NAT gateway's interface leads.
type side uint8

const (
	insideLeg side = iota
	outsideLeg
	unsolicitedLeg
)

// natSide classifies a leg at a NAT gateway and turns it so that its
// initiator is the one that a NAT gateway allows: the client on the inside,
// the gateway on the outside. What comes from outside and was never answered
// is unsolicited.
func natSide(t topology, l *Leg) side {
	own, ownHeader, peer := l.Seen.Src, l.Header.Src, l.peer()
	if peer == l.Seen.Src {
		own, ownHeader = l.Seen.Dst, l.Header.Dst
	}
	translated := ownHeader != own && !l.Interface.owns(ownHeader)
	toServer := l.Seen.Src == own && (l.Initiator == ByControl || l.Initiator == ByClient) // a private gateway's, towards an FTP server
	if translated && (t.local(l.Interface, peer) || l.HasHeader && isPrivate(peer)) || !l.HasHeader && t.local(l.Interface, peer) && !toServer {
		l.turn(peer)
		return insideLeg
	}
	if l.Seen.Src == peer && l.FromResponder.Packets() == 0 && !answersOnly(l) {
		return unsolicitedLeg
	}
	l.turn(own)
	return outsideLeg
}

// answersOnly reports whether the packets from the leg's initiator can only
// be answers: a SYN with ACK, or what follows one.
func answersOnly(l *Leg) bool { return l.FromInitiator.Flags.Has(flow.SYN | flow.ACK) }
