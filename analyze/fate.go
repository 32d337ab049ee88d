package analyze

import (
	"fmt"
	"slices"

	"ephemera/ingest/flow"
)

// A fate is how far a connection came and what stopped it.
type fate struct {
	outcome Outcome
	diedAt  string // P1 to P6, or "server"; empty when it did not die
	cause   string
	denial  *denial // what stopped it, when that was a rule
	at      stop    // where the denial acted
	// established is set when packets passed both ways, to the client.
	established bool
}

// A stop is one point of a connection's way and what was seen there.
type stop struct {
	point         Point
	leg           *Leg
	fromInitiator bool
}

func (s stop) way() *Way {
	if s.leg == nil {
		return &unseen
	}
	return s.leg.wayFrom(s.fromInitiator)
}

// unseen is the way of a leg that the log lacks.
var unseen Way

// An opener is the end of FTP that opened a connection. A connection knows its
// initiator and its responder only; which of them is the FTP client, its
// session tells. The points of the way have their names from the client's
// side, whoever opened it.
type opener bool

// The openers.
const (
	byClient opener = false
	byServer opener = true // a data connection in active mode
)

// points names the points of the way of a connection, in the order in which
// the first packet and its answer pass: initiator, inside and outside of a NAT
// gateway, responder, and back.
func (by opener) points() [maxStops]Point {
	if by == byServer {
		return [...]Point{NoPoint, P4, P5, P6, P1, P2, P3, NoPoint}
	}
	return [...]Point{P1, P2, P3, NoPoint, NoPoint, P4, P5, P6}
}

// maxStops is the most stops of one way.
const maxStops = 8

// place names the stop as died_at does: an interface of the VPC that is the
// far end is the server's.
func (s stop) place() string {
	if s.point == NoPoint {
		return "server"
	}
	return s.point.String()
}

// stops returns the points of the connection's way in the order in which
// the first packet and its answer pass them. A point whose leg the log lacks
// has a nil leg.
func (c *Connection) stops(by opener) []stop { return c.appendStops(make([]stop, 0, maxStops), by) }

// appendStops is stops for those who have a place for them, which need not be
// allocated for every connection.
func (c *Connection) appendStops(s []stop, by opener) []stop {
	if c.Unsolicited {
		return append(s, stop{P4, c.Outside, true}, stop{P3, c.Outside, false})
	}
	p := by.points()
	s = append(s, stop{p[0], c.Client, true})
	if c.NAT() != nil {
		s = append(s, stop{p[1], c.Inside, true}, stop{p[2], c.Outside, true})
	}
	if c.Server != nil {
		s = append(s, stop{p[3], c.Server, true}, stop{p[4], c.Server, false})
	}
	if c.NAT() != nil {
		s = append(s, stop{p[5], c.Outside, false}, stop{p[6], c.Inside, false})
	}
	return append(s, stop{p[7], c.Client, false})
}

// point returns the point at which the leg saw the given way.
func (c *Connection) point(l *Leg, fromInitiator bool, by opener) Point {
	var stops [maxStops]stop
	for _, s := range c.appendStops(stops[:0], by) {
		if s.leg == l && s.fromInitiator == fromInitiator {
			return s.point
		}
	}
	return NoPoint
}

// fateOf follows the connection from point to point. logEnd is the last time
// in the log.
func fateOf(c *Connection, by opener, a *attributor, logEnd int64) fate {
	if c.Unsolicited {
		return unsolicitedFate(c, a)
	}
	stops := c.stops(by)
	for k, s := range stops {
		if s.leg == nil {
			continue
		}
		switch w := s.way(); {
		case w.Packets() == 0:
			if f, dead := silentAt(c, by, stops, k); dead {
				return f
			}
		case w.Accepted == 0:
			if f, dead := stoppedAt(s, a); dead {
				return f
			}
		}
	}
	b := c.best()
	f := fate{outcome: OutcomeOK, established: true}
	switch {
	case refused(b):
		return fate{outcome: OutcomeRefused, diedAt: by.farEnd(), cause: fmt.Sprintf("the %s answered with RST", by.responder())}
	case b.HasFlags && !b.Opened:
		f.outcome, f.cause = OutcomeIncomplete, "it began before the log"
	case b.HasFlags && !b.Closed && logEnd-b.lastAccept() < 60:
		f.outcome, f.cause = OutcomeIncomplete, "it was still open when the log ended"
	}
	return f
}

// stoppedAt is the fate of a connection of which nothing passed the stop.
// Late packets stop nothing.
func stoppedAt(s stop, a *attributor) (fate, bool) {
	for _, d := range a.denials(s.leg, s.fromInitiator) {
		if d.cause != CauseLate {
			return fate{outcome: OutcomeBlocked, diedAt: s.place(), cause: d.words, denial: &d, at: s}, true
		}
	}
	return fate{}, false
}

// responder names the end of FTP that did not open the connection.
func (by opener) responder() string {
	if by == byServer {
		return "client"
	}
	return "server"
}

// farEnd is where a connection died that came as far as its responder.
func (by opener) farEnd() string {
	if by == byServer {
		return P6.String()
	}
	return "server"
}

// silentAt is the fate of a connection that was not seen at its k-th stop,
// although the log has the leg: it died since the stop before.
func silentAt(c *Connection, by opener, stops []stop, k int) (fate, bool) {
	switch s := stops[k]; {
	case s.fromInitiator:
		return fate{}, false // records of its way out are missing; what came back tells more
	case slices.ContainsFunc(stops[k+1:], stop.answered):
		return fate{}, false // records of this point are missing
	case s.leg == c.Inside && c.Outside != nil:
		return fate{outcome: OutcomeNoAnswer, diedAt: c.point(c.Outside, false, by).String(), cause: "the NAT gateway did not pass the answer on"}, true
	case s.leg == c.Client && slices.ContainsFunc(stops[:k], stop.answered):
		return fate{}, false // records of the initiator's interface are missing
	case s.leg == c.Server:
		return fate{outcome: OutcomeNoAnswer, diedAt: by.farEnd(), cause: fmt.Sprintf("it reached the %s, which did not answer", by.responder())}, true
	}
	if c.NAT() != nil && c.Outside == nil {
		return fate{outcome: OutcomeNoAnswer, diedAt: c.point(c.Inside, true, by).String(), cause: "it reached the NAT gateway, and no translated connection fits: the gateway did not forward it, or its record is missing"}, true
	}
	return fate{outcome: OutcomeNoAnswer, diedAt: "server", cause: "it left the VPC and nothing came back: the far side dropped it"}, true
}

// answered reports whether an answer was seen at the stop.
func (s stop) answered() bool { return !s.fromInitiator && s.way().Packets() > 0 }

// unsolicitedFate is that of packets from outside to a NAT gateway.
func unsolicitedFate(c *Connection, a *attributor) fate {
	if c.Outside.FromInitiator.Accepted == 0 {
		if f, dead := stoppedAt(stop{P4, c.Outside, true}, a); dead {
			return f
		}
	}
	return fate{outcome: OutcomeBlocked, diedAt: P4.String(), cause: "the NAT gateway drops what answers nothing, although the log says ACCEPT"}
}

// refused reports whether all that came back was RST: with flags, RST and
// no SYN; without, nothing but as many bare packets as were sent.
func refused(l *Leg) bool {
	to, from := l.FromInitiator, l.FromResponder
	if l.HasFlags {
		return from.Flags.Has(flow.RST) && !from.Flags.Has(flow.SYN) && l.Opened && from.Packets() <= to.Packets()
	}
	bare, syn := uint64(ipHeader(l)+20), uint64(ipHeader(l)+40)
	return from.Packets() > 0 && from.Packets() == to.Packets() && from.Bytes() == bare*from.Packets() && to.Bytes() <= syn*to.Packets()
}

// idleCause says how a silent control connection ended.
func idleCause(gap int64) string {
	return fmt.Sprintf("silent for %d s: the NAT gateway forgets a connection after %d s, and answers what follows with RST", gap, natIdle)
}
