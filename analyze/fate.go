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

func (s stop) way() Way {
	switch {
	case s.leg == nil:
		return Way{}
	case s.fromInitiator:
		return s.leg.FromInitiator
	}
	return s.leg.FromResponder
}

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
func (c *Connection) stops() []stop {
	if c.Unsolicited {
		return []stop{{P4, c.Outside, true}, {P3, c.Outside, false}}
	}
	s := []stop{{P1, c.Client, true}}
	if c.NAT() != nil {
		s = append(s, stop{P2, c.Inside, true}, stop{P3, c.Outside, true})
	}
	if c.Server != nil {
		s = append(s, stop{NoPoint, c.Server, true}, stop{NoPoint, c.Server, false})
	}
	if c.NAT() != nil {
		s = append(s, stop{P4, c.Outside, false}, stop{P5, c.Inside, false})
	}
	return append(s, stop{P6, c.Client, false})
}

// point returns the point at which the leg saw the given way.
func (c *Connection) point(l *Leg, fromInitiator bool) Point {
	for _, s := range c.stops() {
		if s.leg == l && s.fromInitiator == fromInitiator {
			return s.point
		}
	}
	return NoPoint
}

// fateOf follows the connection from point to point. logEnd is the last time
// in the log.
func fateOf(c *Connection, a *attributor, logEnd int64) fate {
	if c.Unsolicited {
		return unsolicitedFate(c, a)
	}
	for k, s := range c.stops() {
		if s.leg == nil {
			continue
		}
		switch w := s.way(); {
		case w.Packets() == 0:
			if f, dead := silentAt(c, k); dead {
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
		return fate{outcome: OutcomeRefused, diedAt: "server", cause: "the server answered with RST"}
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

// silentAt is the fate of a connection that was not seen at its k-th stop,
// although the log has the leg: it died since the stop before.
func silentAt(c *Connection, k int) (fate, bool) {
	switch s := c.stops()[k]; {
	case s.fromInitiator:
		return fate{}, false // records of its way out are missing; what came back tells more
	case c.answeredBehind(k):
		return fate{}, false // records of this point are missing
	case s.point == P5 && c.Outside != nil:
		return fate{outcome: OutcomeNoAnswer, diedAt: "P4", cause: "the NAT gateway did not pass the answer on"}, true
	case s.point == P6 && c.answeredBefore(k):
		return fate{}, false // records of the client's interface are missing
	}
	if c.NAT() != nil && c.Outside == nil {
		return fate{outcome: OutcomeNoAnswer, diedAt: P2.String(), cause: "it reached the NAT gateway, and no translated connection fits: the gateway did not forward it, or its record is missing"}, true
	}
	return fate{outcome: OutcomeNoAnswer, diedAt: "server", cause: "it left the VPC and nothing came back: the far side dropped it"}, true
}

// answeredBefore reports whether an answer was seen before the k-th stop.
func (c *Connection) answeredBefore(k int) bool {
	for _, s := range c.stops()[:k] {
		if !s.fromInitiator && s.way().Packets() > 0 {
			return true
		}
	}
	return false
}

// answeredBehind reports whether the answer passed a point behind the k-th
// stop.
func (c *Connection) answeredBehind(k int) bool {
	return slices.ContainsFunc(c.stops()[k+1:], func(s stop) bool { return s.way().Packets() > 0 })
}

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
