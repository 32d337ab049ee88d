package alert

import (
	"fmt"
	"maps"
	"slices"

	"ephemera/analyze"
	"ephemera/ingest/flow"
	"ephemera/rules"
)

// evidence is what a report says of one cause, in bounded memory.
type evidence struct {
	flows       int
	packets     uint64
	first, last analyze.Time
	certain     bool // one of the flows surely is FTP

	clients, servers     some[flow.Addr]
	interfaces, sessions some[string]
	also                 some[string]
	reason               string           // of the first session
	ports                rules.PortBitmap // rejected, or met a NAT gateway
	used                 rules.PortBitmap // passed, and outside the range
	slot                 *analyze.PortDemand

	// Of the first rejected flow.
	example *analyze.RejectedFlow
	of      *connection
}

// count adds one flow, session or connection.
func (e *evidence) count(start, end analyze.Time, packets uint64, certain bool) {
	if e.flows == 0 || start < e.first {
		e.first = start
	}
	e.last = max(e.last, end)
	e.flows++
	e.packets += packets
	e.certain = e.certain || certain
}

// addReject notes who was stopped.
func (e *evidence) addReject(x *analyze.RejectedFlow, c *connection) {
	if e.example == nil {
		first := *x
		e.example, e.of = &first, c
	}
	e.clients.add(c.client.addr)
	e.servers.add(c.server.addr)
	e.interfaces.add(x.InterfaceID)
	e.ports.Add(x.DstPort)
	if c.session != "" {
		e.sessions.add(c.session)
	}
	for _, d := range x.AlsoDeniedBy {
		e.also.add(d)
	}
}

// maxSome is how many values of one kind are remembered, and maxNamed how
// many of them are named.
const (
	maxSome  = 256
	maxNamed = 6
)

// some are distinct values, of which the first ones are kept. The zero value
// has none.
type some[T comparable] struct {
	seen map[T]bool
	more bool // there were others
}

// add reports whether the value is new, and was kept. The zero value of T is
// not known, and none.
func (s *some[T]) add(v T) bool {
	var unknown T
	switch {
	case v == unknown || s.seen[v]:
		return false
	case len(s.seen) == maxSome:
		s.more = true
		return false
	case s.seen == nil:
		s.seen = map[T]bool{}
	}
	s.seen[v] = true
	return true
}

// named returns the first of the values in order.
func (s *some[T]) named(compare func(a, b T) int) []string {
	var words []string
	for _, v := range slices.SortedFunc(maps.Keys(s.seen), compare) {
		if len(words) == maxNamed {
			break
		}
		words = append(words, fmt.Sprint(v))
	}
	return words
}

// others says how many there are beside those named: "", " and 7 more", or
// " and at least 246 more".
func (s *some[T]) others() string {
	n := len(s.seen) - maxNamed
	switch {
	case n <= 0:
		return ""
	case s.more:
		return fmt.Sprintf(" and at least %d more", n+1)
	}
	return fmt.Sprintf(" and %d more", n)
}
