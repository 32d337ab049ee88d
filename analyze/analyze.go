// Package analyze turns flow log records into answers about FTP through a
// NAT gateway: which sessions took place, which translated flow is which
// client's, what rejected a flow, and which ports are used at each rule.
//
// Records become legs (one connection as one network interface saw it),
// legs become connections (from end to end, across the NAT gateway), and
// connections become findings:
//
//	records → legs → connections → sessions, mappings, rejects, port demand
//
// The package never sees a file: it takes a stream of records and a network
// model. What it concludes is uncertain where the log is silent, and says so
// in the confidence and the candidates of each row.
package analyze

import (
	"cmp"
	"errors"
	"iter"
	"maps"
	"net/netip"
	"slices"

	"ephemera/ingest/flow"
	"ephemera/rules"
)

// Options are what an analysis can be told. The zero value works.
type Options struct {
	// Network holds the rules over time; nil when they are not known.
	Network *rules.History
	// ControlPorts are the servers' FTP control ports; 21 and 990 if empty.
	ControlPorts []uint16
	// Clients and Servers, when not empty, keep only sessions of these.
	Clients, Servers []netip.Prefix
	// Confidence is the least probability at which a data connection is
	// given to a session; 0.7 if zero.
	Confidence float64
	// Entries is the most entries that a slot's ranges may take; 4 if zero.
	Entries int
}

// Defaults of Options.
const (
	DefaultConfidence = 0.7
	DefaultEntries    = 4
)

// DefaultControlPorts are the control ports of FTP: plain and with implicit
// TLS.
var DefaultControlPorts = []uint16{21, 990}

func (o Options) withDefaults() Options {
	if len(o.ControlPorts) == 0 {
		o.ControlPorts = DefaultControlPorts
	}
	o.Confidence = cmp.Or(o.Confidence, DefaultConfidence)
	o.Entries = cmp.Or(o.Entries, DefaultEntries)
	return o
}

// Run reads all records and analyses them. Records that could not be read
// are counted; an error that is neither a *flow.RecordError nor a
// *flow.ObjectError ends the analysis.
func Run(records iter.Seq2[*flow.Record, error], o Options) (*Result, error) {
	o = o.withDefaults()
	c := newCollector()
	if err := c.read(records); err != nil {
		return nil, err
	}
	return c.analyse(o), nil
}

func (c *collector) read(records iter.Seq2[*flow.Record, error]) error {
	for r, err := range records {
		var bad *flow.RecordError
		var broken *flow.ObjectError
		switch {
		case err == nil:
			c.add(r)
		case errors.As(err, &bad):
			c.coverage.BadRecords++
		case errors.As(err, &broken):
		default:
			return err
		}
	}
	return nil
}

// analyse goes from the collected records to the result.
func (c *collector) analyse(o Options) *Result {
	topo := topology{o.Network}
	ports := newPortMeaning(o.ControlPorts)
	cs, ifaces := c.connections(topo, ports)

	attr := &attributor{history: o.Network, stale: map[string]int{}}
	f := &ftp{control: ports.control, clients: o.Clients, servers: o.Servers, attr: attr, logEnd: int64(c.coverage.End)}
	f.find(cs)

	r := &Result{Coverage: c.coverage, Mappings: mappings(cs), NATGateways: natInterfaces(ifaces, cs)}
	r.Coverage.Interfaces = len(ifaces)
	r.Coverage.Snapshot = o.Network != nil
	r.Sessions, r.Data = f.rows(o.Confidence)
	roles := f.roles()
	roles.learnGateways(cs)
	r.Rejects = rejects(cs, attr, roles, o.Confidence)
	demand := newDemand(topo, attr, roles, o.Entries)
	for _, x := range cs {
		demand.add(x)
	}
	r.Ports = demand.rows()
	r.Rules = ruleUses(cs, demand, roles)
	r.Warnings = append(attr.staleWarnings(), coverageWarnings(r)...)
	r.Findings = findings(r, f)
	return r
}

// connections puts the records together to legs and these to connections.
func (c *collector) connections(t topology, p *portMeaning) ([]*Connection, []*Interface) {
	ifaces := c.sortedInterfaces()
	for _, i := range ifaces {
		t.describe(i)
		i.settle()
	}
	legs := joinStragglers(c.legs(p))
	agree(legs)
	byIface := map[*Interface][]*Leg{}
	for _, l := range legs {
		byIface[l.Interface] = append(byIface[l.Interface], l)
	}
	findNATs(t, ifaces, byIface)
	return join(t, legs), ifaces
}

// sortedKeys returns a map's keys in order.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
