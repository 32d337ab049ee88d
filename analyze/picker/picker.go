// Package picker looks at destination ports that somebody picks for each
// connection: an operating system its ephemeral ports, an FTP server its
// passive ports, a NAT gateway its source ports. From the ports that were
// seen at a rule of a firewall it tells which known ranges fit and how likely
// each is, which range to allow, and how probable it is that the next
// connection falls outside.
//
//	var s picker.Sample
//	for _, c := range connections {
//		s.Add(c.Start, c.Port, c.Hash)
//	}
//	e := picker.Infer(&s, picker.Server, picker.Options{Entries: 4})
//	// e.Safe.Ports is 50000-50099, e.Fits[0] says why
//
// Vocabulary: a range's width is how many ports it has. A connection is
// outside, or lost, when a proposal does not allow its port. The safe range is
// the narrowest that holds the true one with probability .95. The back-test
// derives proposals from the past of each part of the sample, and counts what
// they would have lost.
//
// It assumes that all connections of a sample have their ports from one
// range, which does not change over time. Ports below 1024 are bound on
// purpose and never picked (RFC 6056, section 3.2): they say nothing about the
// range, and are allowed as they were seen.
package picker

import "ephemera/rules"

// A Chooser is who picks the ports.
type Chooser uint8

// Who picks ports.
const (
	Fixed      Chooser = iota // nobody: a server's port, as 21
	Server                    // an FTP server, from its passive range
	ClientOS                  // the operating system of whoever opens the connection
	NATGateway                // a NAT gateway, from 1024-65535
)

// A Fit is a range from which the ports may have been picked.
type Fit struct {
	Name        string // "Linux", "a configured range near 50000-50099", "configured"
	Ports       rules.PortRange
	Probability float64 // that it is the true range; of a configured one the share of the observed ports in it
}

// A Proposal is ports to allow.
type Proposal struct {
	Ports rules.PortSet

	// Outside bounds the probability that the next connection falls outside.
	// It is (Lost+1)/(Tested+1), and 1 when fewer than two connections were
	// tested. That needs no distribution of ports, only that the next
	// connection is no likelier to be lost by this proposal than the tested
	// ones were by theirs; then the expected share of lost ones is no larger.
	// Where picks are independent it holds with room to spare, as the
	// proposals of the back-test were derived from less.
	//
	// A counter goes on to ports that it has not reached yet, and loses more
	// the longer one waits. Therefore Outside is High, the most that the
	// back-test does not exclude, where the part of the true range that is
	// not in Ports, averaged over what the range may be, is larger than the
	// share above.
	//
	// It fails where the future differs from the log: a server that is
	// configured anew, a client that comes later, a counter that begins to
	// move after the log's end.
	Outside float64

	// Lost of Tested connections of the second half of the sample were
	// outside what was derived from the connections before them.
	Lost, Tested int

	// Low and High are the 95 % interval of the share that is lost, from 0
	// and 1 when nothing was tested. See interval.
	Low, High float64
}

// An Estimate is what the ports of a sample tell.
type Estimate struct {
	Fits           []Fit    // likeliest first; those below .001 are left out
	Observed, Safe Proposal // what was used; what was probably picked from
	Keep           string   // why it cannot be narrowed; empty if it can
}

// Options are choices that the zero value makes sensibly.
type Options struct {
	Entries    int           // ranges that Observed may consist of; below 1 counts as 1
	Configured rules.PortSet // the passive range that the operator says is configured; empty if not known
}

// Infer says what the ports of a sample tell about their range. Whatever the
// sample, it takes a few milliseconds at most.
func Infer(s *Sample, by Chooser, o Options) Estimate {
	connections := s.connections()
	past := newHistory(by, ports(connections))
	observed, safe := o.test(past, connections)
	e, ranges := o.propose(by, s.Used(), past.likelihood, s.Count())
	e.Observed.judge(observed, ranges.beyond(e.Observed.Ports))
	e.Safe.judge(safe, ranges.beyond(e.Safe.Ports))
	if s.Count() == 0 {
		e.Keep = "no connection was seen"
	}
	return e
}

// propose makes an estimate without a back-test, and says what it knows of
// the range.
func (o Options) propose(by Chooser, used rules.PortSet, l *likelihood, connections int) (Estimate, *posterior) {
	e := Estimate{Observed: Proposal{Ports: rules.Cover(used, o.Entries)}}
	picked := used.Intersect(rules.Ports(unprivileged))
	p := &posterior{}
	switch {
	case by == Fixed:
		e.Observed.Ports, e.Keep = used, "the port is fixed"
	case by == NATGateway:
		p.known = []Fit{{"NAT gateway", unprivileged, 1}}
		e.Safe.Ports = rules.Ports(unprivileged)
		e.Keep = "a NAT gateway picks ports from 1024-65535, whatever was observed"
	case !o.Configured.IsEmpty():
		p.known = o.configuredFits(used)
		e.Safe.Ports = o.Configured
	case picked.IsEmpty():
		e.Keep = "no port above 1023 was seen"
	default:
		p = newPosteriorOf(by, picked, l)
		e.Safe.Ports = rules.Ports(p.safe())
		e.Keep = p.keep(e.Safe.Ports, by, connections)
	}
	e.Fits = p.fits()
	e.Safe.Ports = e.Safe.Ports.Union(used)
	return e, p
}

// configuredFits are the ranges that the operator says, and how much of what
// was used is in each; without any use, they count by their width.
func (o Options) configuredFits(used rules.PortSet) []Fit {
	if used.IsEmpty() {
		used = o.Configured
	}
	var fits []Fit
	for _, r := range o.Configured.Ranges() {
		inside := used.Intersect(rules.Ports(r)).Len()
		fits = append(fits, Fit{"configured", r, float64(inside) / float64(used.Len())})
	}
	return fits
}
