package analyze

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"

	"ephemera/ingest/flow"
	"ephemera/rules"
)

// A Step is one point on the way of a flow: where, which packet, and what
// decides there.
type Step struct {
	Point Point // NoPoint at an interface of the VPC that is the far end
	// Where names interface and subnet for people.
	Where     string
	Direction flow.Direction
	// Packet is the header five-tuple; its destination port may be a range.
	Packet string
	// Decisions hold one line for each layer met, or for each part of a port
	// range that is decided differently, in the order of the way.
	Decisions []Decision
	Notes     []string
}

// A Decision is one layer's verdict on a packet, or on a range of ports.
type Decision struct {
	Ports   string // the destination ports it is about
	Verdict rules.Verdict
}

// Stops reports whether the step denies all the packet's possible ports.
func (s Step) Stops() bool {
	stops := false
	for _, d := range s.Decisions {
		if d.Verdict.Layer == rules.SG && !d.Verdict.Allow {
			return true
		}
	}
	for _, d := range s.Decisions {
		if d.Verdict.Layer == rules.NACL {
			if d.Verdict.Allow {
				return false
			}
			stops = true
		}
	}
	return stops
}

// A Trace is the way of one flow through the filters of a network.
type Trace struct {
	Steps []Step
	// Notes say what the way is, and what is not understood about it.
	Notes []string
	// Dropped says why the flow ends behind the last step although the rules
	// let it pass; empty when it does not.
	Dropped string
}

// DiedAt returns the first step that stops the flow, or nil.
func (t *Trace) DiedAt() *Step {
	for i := range t.Steps {
		if t.Steps[i].Stops() {
			return &t.Steps[i]
		}
	}
	return nil
}

// Explain follows a flow from its initiator through every filter on its way
// and back. A source port of 0 means any ephemeral port. natPort is the port
// that a NAT gateway gave the flow; 0 means any of 1024-65535.
func Explain(n *rules.Network, t flow.Tuple, natPort uint16) (*Trace, error) {
	e := explainer{n: n, t: t, natPort: natPort, trace: &Trace{}}
	client, server := interfaceWith(n, t.Src), interfaceWith(n, t.Dst)
	switch {
	case client != nil:
		e.fromInside(client, server)
	case server != nil:
		e.fromOutside(server)
	default:
		return nil, fmt.Errorf("neither %s nor %s belongs to an interface of the snapshot", t.Src, t.Dst)
	}
	return e.trace, nil
}

type explainer struct {
	n       *rules.Network
	t       flow.Tuple
	natPort uint16
	trace   *Trace
}

func (e *explainer) note(format string, args ...any) {
	e.trace.Notes = append(e.trace.Notes, fmt.Sprintf(format, args...))
}

// fromInside follows a flow that an interface of the VPC opens.
func (e *explainer) fromInside(client, server *rules.Interface) {
	route, ok := e.n.NextHop(client.SubnetID, e.t.Dst)
	gateway := e.n.NATGateway(route.Target)
	switch {
	case server != nil:
		e.note("%s is %s, in %s", e.t.Dst, server.ID, server.SubnetID)
	case !ok:
		e.note("the snapshot has no route from %s to %s", client.SubnetID, e.t.Dst)
	case gateway != nil:
		e.note("the route to %s leads through %s", e.t.Dst, gateway.ID)
	default:
		e.note("the route to %s leads to %s", e.t.Dst, route.Target)
	}
	p := openerOf(e.t).points()
	e.step(p[0], client.ID, flow.Egress, e.t, false)
	switch {
	case server != nil:
		e.step(p[3], server.ID, flow.Ingress, e.t, false)
		e.step(p[4], server.ID, flow.Egress, e.t.Reverse(), true)
	case gateway != nil:
		e.throughNAT(gateway)
	}
	e.step(p[7], client.ID, flow.Ingress, e.t.Reverse(), true)
}

// openerOf tells from the ports which end of FTP opened a connection, where
// its session is not known.
func openerOf(t flow.Tuple) opener {
	return opener(t.Proto == flow.TCP && isActiveSource(t.SrcPort) && t.DstPort >= 1024)
}

// throughNAT adds the four points of a NAT gateway.
func (e *explainer) throughNAT(g *rules.NATGateway) {
	id, own := g.ID, flow.Addr{}
	if len(g.Interfaces) > 0 {
		id = g.Interfaces[0]
	}
	if len(g.PrivateAddrs) > 0 {
		own = g.PrivateAddrs[0]
	}
	outside := e.t
	outside.Src, outside.SrcPort = own, e.natPort
	p := openerOf(e.t).points()
	e.step(p[1], id, flow.Ingress, e.t, false)
	e.step(p[2], id, flow.Egress, outside, false)
	e.step(p[5], id, flow.Ingress, outside.Reverse(), true)
	e.step(p[6], id, flow.Egress, e.t.Reverse(), true)
}

// fromOutside follows a flow that somebody outside opens towards an
// interface of the VPC.
func (e *explainer) fromOutside(server *rules.Interface) {
	if server.IsNATGateway() {
		e.step(P4, server.ID, flow.Ingress, e.t, false)
		e.trace.Dropped = "a NAT gateway forwards nothing that answers nothing; the log says ACCEPT all the same"
		return
	}
	p := openerOf(e.t).points()
	e.step(p[3], server.ID, flow.Ingress, e.t, false)
	e.step(p[4], server.ID, flow.Egress, e.t.Reverse(), true)
}

// step adds one point. A destination port of 0 is a port that is not known.
func (e *explainer) step(p Point, iface string, dir flow.Direction, t flow.Tuple, reply bool) {
	s := Step{Point: p, Where: e.where(iface), Direction: dir, Packet: packetText(t)}
	if t.DstPort != 0 || !t.Proto.HasPorts() {
		check := e.n.Check(iface, dir, t, reply)
		for _, v := range check.Verdicts {
			s.Decisions = append(s.Decisions, Decision{portText(t), v})
		}
		s.Notes = check.Notes
	} else {
		s.Decisions, s.Notes = e.anyPort(iface, dir, t, reply)
	}
	e.trace.Steps = append(e.trace.Steps, s)
}

// anyPort evaluates every ephemeral port, and says which are decided how. Of
// the ports that the subnet's network ACL decides alike, the first stands
// for all.
func (e *explainer) anyPort(iface string, dir flow.Direction, t flow.Tuple, reply bool) (ds []Decision, notes []string) {
	for _, r := range e.portParts(iface, dir, t) {
		t.DstPort = r.From
		check := e.n.Check(iface, dir, t, reply)
		for _, v := range check.Verdicts {
			ds = append(ds, Decision{r.String(), v})
		}
		notes = check.Notes
	}
	return ds, notes
}

// portParts cuts 1024-65535 where the network ACL's deciding entry changes.
func (e *explainer) portParts(iface string, dir flow.Direction, t flow.Tuple) []rules.PortRange {
	var parts []rules.PortRange
	for _, s := range e.n.Segments(iface, dir, t, natRange) {
		parts = append(parts, s.Ports)
	}
	if len(parts) == 0 {
		return []rules.PortRange{natRange}
	}
	return parts
}

// interfaceWith finds the interface that has a private address.
func interfaceWith(n *rules.Network, a flow.Addr) *rules.Interface {
	for _, i := range n.Interfaces() {
		if slices.Contains(i.Addrs, a) {
			return i
		}
	}
	return nil
}

func portText(t flow.Tuple) string {
	if !t.Proto.HasPorts() {
		return ""
	}
	return fmt.Sprint(t.DstPort)
}

// packetText writes a five-tuple, with all ephemeral ports for one that is not
// known.
func packetText(t flow.Tuple) string {
	if !t.Proto.HasPorts() {
		return fmt.Sprintf("%s %s > %s", t.Proto, t.Src, t.Dst)
	}
	side := func(a flow.Addr, port uint16) string {
		if port != 0 {
			return flow.HostPort(a, port)
		}
		return strings.TrimSuffix(flow.HostPort(a, 0), "0") + "1024-65535"
	}
	return fmt.Sprintf("%s %s > %s", t.Proto, side(t.Src, t.SrcPort), side(t.Dst, t.DstPort))
}

// where names an interface for people.
func (e *explainer) where(id string) string {
	i := e.n.Interface(id)
	if i == nil {
		return id
	}
	words := id
	if g := e.n.NATGatewayOf(id); g != nil {
		words += " of " + g.ID
	} else if i.InstanceID != "" {
		words += " of " + i.InstanceID
	}
	if s := e.n.Subnet(i.SubnetID); s != nil {
		words += " in " + cmp.Or(s.Name, s.ID)
	}
	return words
}

// A Query picks connections out of a log. Zero fields match everything.
type Query struct {
	// ID is a session_id or data_id of a report.
	ID string
	// Flow gives addresses, ports and protocol of the initiator's view.
	Flow flow.Tuple
}

func (q Query) matches(c *Connection) bool {
	if q.ID != "" {
		return rowID("s", c) == q.ID || rowID("d", c) == q.ID
	}
	t, w := c.Tuple, q.Flow
	return t.Src == w.Src && t.Dst == w.Dst && t.Proto == w.Proto &&
		(w.SrcPort == 0 || w.SrcPort == t.SrcPort) && (w.DstPort == 0 || w.DstPort == t.DstPort)
}

// An Observation is one connection of a log, point by point.
type Observation struct {
	Connection *Connection
	Points     []Observed
	Outcome    Outcome
	DiedAt     string
	Cause      string
	// Network is the snapshot in force when it began; nil without one.
	Network *rules.Network
}

// Observed is what one interface saw of one way of a connection.
type Observed struct {
	Point              Point
	InterfaceID        string
	Direction          flow.Direction
	Accepted, Rejected uint64   // packets
	Causes             []string // of the rejected packets
}

// Observe returns the connections of a log that q matches, in time order.
func Observe(records iter.Seq2[*flow.Record, error], o Options, q Query) ([]Observation, error) {
	o = o.withDefaults()
	attr := &attributor{history: o.Network, stale: map[string]int{}}
	var matching []*Connection
	a := newAssembler(o, newPortMeaning(o.ControlPorts), func(c *Connection) {
		if q.matches(c) {
			matching = append(matching, c.clone())
		}
	})
	if err := a.read(records); err != nil {
		return nil, err
	}
	slices.SortFunc(matching, compareConnections)
	var found []Observation
	for _, c := range matching {
		found = append(found, observe(c, attr, int64(a.collector.coverage.End)))
	}
	return found, nil
}

func observe(c *Connection, a *attributor, logEnd int64) Observation {
	by := openerOf(c.Tuple)
	f := fateOf(c, by, a, logEnd)
	o := Observation{Connection: c, Outcome: f.outcome, DiedAt: f.diedAt, Cause: f.cause, Network: a.history.At(c.Start)}
	for _, s := range c.stops(by) {
		w := s.way()
		if w.Packets() == 0 {
			continue
		}
		p := Observed{Point: s.point, InterfaceID: s.leg.Interface.ID, Direction: w.Direction,
			Accepted: w.Accepted, Rejected: w.Rejected}
		for _, d := range a.denials(s.leg, s.fromInitiator) {
			p.Causes = append(p.Causes, d.words)
		}
		o.Points = append(o.Points, p)
	}
	return o
}
