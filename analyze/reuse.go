package analyze

import (
	"iter"
	"slices"

	"ephemera/ingest/flow"
)

// Ports are used again within minutes: by the NAT gateway for another
// client, or by a client. TCP flags part such connections (splitReuse).
// Where the log has none, the other side of the gateway does, as long as it
// used another port there: both sides share the aggregation intervals.

// A mark is one record as both sides of a NAT gateway see it.
type mark struct {
	start, end     int64
	packets, bytes uint64
}

// A stretch names the legs on one side of a NAT gateway that begin and end with
// the same records.
type stretch struct {
	mapKey
	first, last mark
}

// maxRounds bounds how often the two sides are cut by one another.
const maxRounds = 8

// splitReused cuts legs without TCP flags where one connection ends and
// another one begins at the other side of the NAT gateway. It returns the
// legs of both sides, and the pairs of inside legs that were one.
func splitReused(inside, outside []*Leg) (in, out []*Leg, cuts [][2]*Leg) {
	if !slices.ContainsFunc(inside, (*Leg).mayBeReused) && !slices.ContainsFunc(outside, (*Leg).mayBeReused) {
		return inside, outside, nil
	}
	for range maxRounds {
		outside, _ = splitBy(outside, false, inside)
		var fresh [][2]*Leg
		inside, fresh = splitBy(inside, true, outside)
		cuts = append(cuts, fresh...)
		if len(fresh) == 0 {
			break // outside was cut by the same legs already
		}
	}
	return inside, outside, cuts
}

// mayBeReused reports whether the leg can be of several connections.
func (l *Leg) mayBeReused() bool {
	if l.HasFlags && l.Header.Proto == flow.TCP || l.End-l.Start <= reuseAfterClose {
		return false
	}
	for range l.pauses() {
		return true
	}
	return false
}

// pauses returns the windows before which the leg was silent.
func (l *Leg) pauses() iter.Seq[int] {
	return func(yield func(int) bool) {
		last := l.Start
		for k, w := range l.windows {
			if w.start-last > reuseAfterClose && !yield(k) {
				return
			}
			last = max(last, w.end)
		}
	}
}

// splitBy cuts the legs of one side, near the initiator or not, by those of
// the other.
func splitBy(legs []*Leg, near bool, others []*Leg) (all []*Leg, cuts [][2]*Leg) {
	stretches, begins := map[stretch]bool{}, map[stretch]bool{}
	for _, l := range others {
		t := trace{leg: l, near: !near}
		s := t.stretch()
		stretches[s] = true
		begins[s.beginning()] = true
	}
	all = slices.Clone(legs)
	for k := 0; k < len(all); k++ { // what is cut off is looked at again
		if l := all[k]; l.mayBeReused() {
			if rest := l.cutBy(near, stretches, begins); rest != nil {
				all = append(all, rest)
				cuts = append(cuts, [2]*Leg{l, rest})
			}
		}
	}
	return all, cuts
}

// stretch returns the first and the last record of the initiator.
func (t *trace) stretch() stretch {
	s := t.emptyStretch()
	for k := t.next(true, -1); k < len(t.leg.windows); k = t.next(true, k) {
		s.add(&t.leg.windows[k])
	}
	return s
}

func (t *trace) emptyStretch() stretch {
	return stretch{mapKey: mapKey{t.leg.Interface, t.leg.Header.DstPort, t.leg.Header.Proto}}
}

func (s *stretch) add(w *window) {
	s.last = mark{w.start, w.end, w.packets, w.bytes}
	if s.first == (mark{}) {
		s.first = s.last
	}
}

func (s stretch) beginning() stretch {
	s.last = mark{}
	return s
}

// cutBy cuts the leg at the first pause at which, on the other side, a leg
// that began with this one ends, and another one begins. It returns what
// comes after; nil when there is no such pause.
func (l *Leg) cutBy(near bool, stretches, begins map[stretch]bool) *Leg {
	t := trace{leg: l, near: near}
	if stretches[t.stretch()] {
		return nil
	}
	before, next := t.emptyStretch(), t.next(true, -1)
	for k := range l.pauses() {
		for ; next < k; next = t.next(true, next) {
			before.add(&l.windows[next])
		}
		if next == len(l.windows) {
			return nil
		}
		after := t.emptyStretch()
		after.add(&l.windows[next])
		if stretches[before] && begins[after.beginning()] {
			return l.cut(k)
		}
	}
	return nil
}

// cut takes the windows from k on away, and returns them as a leg.
func (l *Leg) cut(k int) *Leg {
	rest := *l
	rest.windows = l.windows[k:]
	l.windows = l.windows[:k:k]
	rest.sum()
	l.sum()
	return &rest
}

// cutClients cuts the legs at clients' interfaces whose inside legs were cut.
func cutClients(clients []*Leg, cuts [][2]*Leg) []*Leg {
	if len(cuts) == 0 {
		return clients
	}
	byKey, _ := groupBy(cuts, func(c [2]*Leg) callKey { return keyOf(c[1].Header) })
	clients = slices.Clone(clients)
	for k := 0; k < len(clients); k++ { // what is cut off is looked at again
		l := clients[k]
		for _, c := range byKey[keyOf(l.Header)] {
			if at := l.pauseNear(c[0].End, c[1].Start); at > 0 {
				clients = append(clients, l.cut(at))
			}
		}
	}
	return clients
}

// pauseNear returns the window of the leg that begins after the longest
// pause near the one from end to start; 0 when there is none.
func (l *Leg) pauseNear(end, start int64) int {
	best, longest := 0, int64(0)
	last := l.Start
	for k, w := range l.windows {
		near := timeCost(last, end) < aloneCost && timeCost(w.start, start) < aloneCost
		if pause := w.start - last; near && pause > max(reuseAfterClose, longest) {
			best, longest = k, pause
		}
		last = max(last, w.end)
	}
	return best
}
