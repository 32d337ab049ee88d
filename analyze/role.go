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

// A usage is what the packets of one way are for, and who picked the port
// that they go to.
type usage uint8

// The uses of ports: of FTP, and of others.
const (
	controlFixed usage = iota
	dataClient
	dataServer
	replyClient
	replyNAT
	replyFixed
	otherClient
	otherNAT
	otherFixed
	otherServer
)

var usages = [...]struct{ purpose, chosenBy string }{
	controlFixed: {purposeControl, ChosenFixed},
	dataClient:   {purposeData, ChosenClient},
	dataServer:   {purposeData, ChosenServer},
	replyClient:  {purposeReply, ChosenClient},
	replyNAT:     {purposeReply, ChosenNAT},
	replyFixed:   {purposeReply, ChosenFixed},
	otherClient:  {purposeOther, ChosenClient},
	otherNAT:     {purposeOther, ChosenNAT},
	otherFixed:   {purposeOther, ChosenFixed},
	otherServer:  {purposeOther, ChosenServer},
}

// usage tells what the packets of one way are for.
func (r roles) usage(c *Connection, h *hop) usage {
	active := r.opener() == byServer
	switch {
	case !r.isFTP():
		return otherUsage(c, h)
	case !h.fromInitiator && active:
		return replyFixed
	case !h.fromInitiator && h.point == P4:
		return replyNAT
	case !h.fromInitiator:
		return replyClient
	case r.session != nil:
		return controlFixed
	case active:
		return dataClient
	}
	return dataServer
}

// otherUsage tells it of a connection that is not FTP.
func otherUsage(c *Connection, h *hop) usage {
	switch {
	case !h.fromInitiator && h.point == P4:
		return otherNAT
	case !h.fromInitiator:
		return otherClient
	case c.Tuple.DstPort < 1024 || wellKnown.has(c.Tuple.DstPort):
		return otherFixed
	}
	return otherServer
}

// A hop is one point of a connection's way as the filters there see it,
// whether the connection came that far or not.
type hop struct {
	question
	point         Point
	leg           *Leg // nil when the log has none
	fromInitiator bool
	reached       bool // packets were seen
	passed        bool // and accepted
}

// hops returns the filters' points on the connection's way, those included
// that it would have met had it not died before. Points at which the header
// addresses or the port are not known are left out.
func (r roles) hops(c *Connection) []hop {
	if c.Unsolicited {
		return nil
	}
	var hs []hop
	for _, s := range r.allStops(nil, c) {
		hs = append(hs, hop{})
		if !r.setHop(&hs[len(hs)-1], c, s) {
			hs = hs[:len(hs)-1]
		}
	}
	return hs
}

// setHop makes the zero hop that of a stop. It is false when the header
// addresses or the port are not known there.
func (r roles) setHop(h *hop, c *Connection, s stop) bool {
	h.point, h.leg, h.fromInitiator, h.time = s.point, s.leg, s.fromInitiator, c.Start
	if s.leg != nil {
		h.iface = s.leg.Interface
		h.tuple, h.direction, h.reply = s.leg.way(s.fromInitiator)
		w := s.way()
		h.reached, h.passed = w.Packets() > 0, w.Accepted > 0
		if w.First > 0 {
			h.time = w.First
		}
	}
	return r.imagine(c, h)
}

// allStops returns the stops of the way through the NAT gateway even if the
// connection died before it.
func (r roles) allStops(stops []stop, c *Connection) []stop {
	if c.NAT() != nil || c.Client == nil || r.gateway[c.Client.Interface] == nil || !r.isFTP() || c.Server != nil || r.opener() == byServer {
		return c.appendStops(stops, r.opener())
	}
	return append(stops, stop{P1, c.Client, true}, stop{P2, nil, true}, stop{P3, nil, true}, stop{P4, nil, false}, stop{P5, nil, false}, stop{P6, c.Client, false})
}

// imagine completes a hop that has no leg, or whose packets never came. It is
// false when the hop's addresses or port are not known.
func (r roles) imagine(c *Connection, h *hop) bool {
	h.reply = h.reply || !h.fromInitiator && !h.reached
	if r.opener() == byServer {
		return h.iface != nil && h.peer().IsValid() // no NAT gateway lets it in
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
				return false // the NAT gateway never picked a port
			}
			h.iface, h.direction = gateway, flow.Egress
			h.tuple = flow.Tuple{Src: gateway.Addr, Dst: c.Tuple.Dst, DstPort: c.Tuple.DstPort, Proto: c.Tuple.Proto}
		}
	}
	return h.iface != nil && h.peer().IsValid()
}

// rejects makes the rows of one connection's rejected flows. They are valid
// until the next call.
func rejects(c *Connection, a *attributor, r roles, confidence float64) []RejectedFlow {
	a.rows, a.asked = a.rows[:0], a.asked[:0]
	for _, l := range [...]*Leg{c.Client, c.Inside, c.Outside, c.Server} {
		if l == nil {
			continue
		}
		a.verify(l, true)
		a.verify(l, false)
		if !l.hasRejects() {
			continue
		}
		for _, fromInitiator := range [...]bool{true, false} {
			for _, d := range a.denials(l, fromInitiator) {
				row := rejectedFlow(l, c.point(l, fromInitiator, r.opener()), fromInitiator, d)
				row.SessionID = r.sessionID(confidence)
				a.rows = append(a.rows, row)
			}
		}
	}
	return a.rows
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

// checkAt evaluates the rules at a hop. Most were asked when the connection
// was verified.
func (a *attributor) checkAt(h *hop) *rules.Answer {
	for i := range a.asked {
		if known := &a.asked[i]; known.isLike(&h.question) {
			return known.answer
		}
	}
	return a.ask(&h.question)
}
