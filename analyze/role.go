package analyze

import (
	"ephemera/ingest/flow"
	"ephemera/rules"
)

// Purposes of a connection's ports, as the port demand names them.
const (
	purposeControl = "control"
	purposeData    = "data"
	purposeReply   = "reply"
	purposeOther   = "other"
)

// roles tells what FTP knows of one connection.
type roles struct {
	session *session  // whose control connection it is; nil if it is none
	data    *dataConn // the data connection that it is; nil if it is none
	// gateway is the NAT gateway's interface that most connections of a
	// client's interface went through: the one that a connection would have
	// met which died before.
	gateway map[*Interface]*Interface
}

// isFTP reports whether the connection is an FTP control or data connection.
func (r roles) isFTP() bool { return r.session != nil || r.data != nil }

// opener tells which end of FTP opened the connection. What is not FTP was
// opened by its client.
func (r roles) opener() opener { return opener(r.data != nil && r.data.active) }

// purpose names what the packets of one way are for, and who picked the port
// that they go to.
func (r roles) purpose(c *Connection, h hop) (purpose, chosenBy string) {
	active := r.opener() == byServer
	switch {
	case !h.fromInitiator:
		purpose, chosenBy = purposeReply, ChosenClient
		if h.point == P4 {
			chosenBy = ChosenNAT
		}
		if active {
			chosenBy = ChosenFixed
		}
	case r.session != nil:
		return purposeControl, ChosenFixed
	case active:
		return purposeData, ChosenClient
	case r.data != nil:
		return purposeData, ChosenServer
	case c.Tuple.DstPort < 1024 || wellKnown[c.Tuple.DstPort]:
		chosenBy = ChosenFixed
	default:
		chosenBy = ChosenServer
	}
	if !r.isFTP() {
		purpose = purposeOther
	}
	return purpose, chosenBy
}

// A hop is one point of a connection's way as the filters there see it,
// whether the connection came that far or not.
type hop struct {
	point         Point
	leg           *Leg // nil when the log has none
	iface         *Interface
	direction     flow.Direction
	tuple         flow.Tuple // header addresses, in the direction of the packet
	fromInitiator bool
	reply         bool // answers what a security group there has let through
	reached       bool // packets were seen
	passed        bool // and accepted
	time          int64
}

// peer is the far end from the filter's point of view.
func (h hop) peer() flow.Addr {
	if h.direction == flow.Egress {
		return h.tuple.Dst
	}
	return h.tuple.Src
}

// hops returns the filters' points on the connection's way, those included
// that it would have met had it not died before. Points at which the header
// addresses or the port are not known are left out.
func (r roles) hops(c *Connection) []hop {
	if c.Unsolicited {
		return nil
	}
	var hs []hop
	for _, s := range r.allStops(c) {
		h := hop{point: s.point, leg: s.leg, fromInitiator: s.fromInitiator, time: c.Start}
		if s.leg != nil {
			h.iface = s.leg.Interface
			h.tuple, h.direction, h.reply = s.leg.way(s.fromInitiator)
			w := s.way()
			h.reached, h.passed = w.Packets() > 0, w.Accepted > 0
			if w.First > 0 {
				h.time = w.First
			}
		}
		if h, ok := r.imagine(c, h); ok {
			hs = append(hs, h)
		}
	}
	return hs
}

// allStops returns the stops of the way through the NAT gateway even if the
// connection died before it.
func (r roles) allStops(c *Connection) []stop {
	if c.NAT() != nil || c.Client == nil || r.gateway[c.Client.Interface] == nil || !r.isFTP() || c.Server != nil || r.opener() == byServer {
		return c.stops(r.opener())
	}
	return []stop{{P1, c.Client, true}, {P2, nil, true}, {P3, nil, true}, {P4, nil, false}, {P5, nil, false}, {P6, c.Client, false}}
}

// imagine completes a hop that has no leg, or whose packets never came.
func (r roles) imagine(c *Connection, h hop) (hop, bool) {
	h.reply = h.reply || !h.fromInitiator && !h.reached
	if r.opener() == byServer {
		return h, h.iface != nil && h.peer().IsValid() // no NAT gateway lets it in
	}
	gateway := c.NAT()
	if gateway == nil && c.Client != nil {
		gateway = r.gateway[c.Client.Interface]
	}
	switch h.point {
	case P2, P5:
		h.iface, h.tuple, h.direction = gateway, c.Tuple, flow.Ingress
		if h.point == P5 {
			h.tuple, h.direction = c.Tuple.Reverse(), flow.Egress
		}
	case P3, P4:
		if h.iface == nil {
			if h.point == P4 {
				return h, false // the NAT gateway never picked a port
			}
			h.iface, h.direction = gateway, flow.Egress
			h.tuple = flow.Tuple{Src: gateway.Addr, Dst: c.Tuple.Dst, DstPort: c.Tuple.DstPort, Proto: c.Tuple.Proto}
		}
	}
	return h, h.iface != nil && h.peer().IsValid()
}

// rejects makes the rows of one connection's rejected flows.
func rejects(c *Connection, a *attributor, r roles, confidence float64) []RejectedFlow {
	var rows []RejectedFlow
	for _, l := range c.legs() {
		for _, fromInitiator := range []bool{true, false} {
			a.verify(l, fromInitiator)
			for _, d := range a.denials(l, fromInitiator) {
				row := rejectedFlow(l, c.point(l, fromInitiator, r.opener()), fromInitiator, d)
				row.SessionID = r.sessionID(confidence)
				rows = append(rows, row)
			}
		}
	}
	return rows
}

// sessionID names the session that the connection belongs to, if the log
// decides it.
func (r roles) sessionID(confidence float64) string {
	switch {
	case r.session != nil:
		return r.session.id
	case r.data != nil && r.data.confidence() >= confidence:
		return r.data.best().id
	}
	return ""
}

// checkAt evaluates the rules at a hop.
func (a *attributor) checkAt(h hop) rules.Check {
	return a.history.At(h.time).Check(h.iface.ID, h.direction, h.tuple, h.reply)
}
