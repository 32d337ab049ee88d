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
	"iter"
	"maps"
	"net/netip"
	"slices"

	"ephemera/analyze/pair"
	"ephemera/ingest/flow"
	"ephemera/rules"
)

// Options are what an analysis can be told. The zero value works.
type Options struct {
	// Network holds the rules over time; nil when they are not known.
	Network *rules.History
	// ControlPorts are control ports of servers besides 21 and 990, which
	// always are.
	ControlPorts []uint16
	// PassiveRanges are the passive ports of servers whose configuration is
	// known.
	PassiveRanges []PassiveRange
	// Clients and Servers, when not empty, keep only sessions of these.
	Clients, Servers []netip.Prefix
	// Confidence is the least probability at which a data connection is
	// given to a session; 0.7 if zero. A negative one gives each to the
	// session that fits best.
	Confidence float64
	// Ordered promises that no record comes more than 15 minutes behind
	// others that end later. Connections are then forgotten as they end, and
	// memory follows those open at a time; otherwise all stay to the end.
	Ordered bool
	// Memory is about how many bytes the records may take that wait for the
	// end of their connection; beyond it they wait in temporary files. It is
	// not bounded if zero.
	Memory int64
	// Entries is the most entries that a slot's ranges may take; 4 if zero.
	Entries int

	// Revise says what the proposed rules may change. Observed lets them have
	// the ports that FTP was seen to use, covered with Entries ranges, and not
	// the ranges from which those are picked.
	Revise   rules.ReviseOptions
	Observed bool

	// Weighed, when not nil, is told of every group of sessions and data
	// connections, for programs that measure or fit the pairing.
	Weighed func(Weighed)
	// Model is the model to pair by; the one of the default priors if nil.
	Model *pair.Model

	// settled, when not nil, is told of every connection and what FTP knows
	// of it.
	settled func(*Connection, roles)
	// held is sorter.limit of everything that is sorted, for tests.
	held int
}

// Weighed is a group of sessions and data connections that were weighed
// together. Sessions and Data are the connections behind Group.Controls and
// Group.Data.
type Weighed struct {
	Group          *pair.Group
	Posterior      *pair.Posterior
	Sessions, Data []*Connection
}

// Defaults of Options.
const (
	DefaultConfidence = 0.7
	DefaultEntries    = 4
)

// defaultControlPorts are the control ports of FTP: plain and with implicit
// TLS.
var defaultControlPorts = []uint16{21, implicitTLS}

func (o Options) withDefaults() Options {
	o.ControlPorts = slices.Concat(defaultControlPorts, o.ControlPorts)
	o.Confidence = cmp.Or(o.Confidence, DefaultConfidence)
	o.Entries = cmp.Or(o.Entries, DefaultEntries)
	return o
}

// Run reads all records and analyses them. Records that could not be read
// are counted; an error that is neither a *flow.RecordError nor a
// *flow.ObjectError ends the analysis.
//
// The order of the records changes nothing, with Options.Ordered within its
// promise.
//
// The result is to be closed.
func Run(records iter.Seq2[*flow.Record, error], o Options) (*Result, error) {
	o = o.withDefaults()
	ports := newPortMeaning(o.ControlPorts)
	a := newAnalysis(o, ports)
	s := newAssembler(o, ports, a.add)
	s.over = a.hints.advance
	a.waiting = newSorter(compareConnections, connectionCodec(s.interfaces), cmp.Or(o.held, heldConnections))
	defer a.waiting.close()
	defer s.collector.spill.close()
	err := s.read(records)
	if err == nil {
		a.finish(s)
		err = cmp.Or(a.waiting.err, a.r.Err())
	}
	if err != nil {
		a.r.Close()
		return nil, err
	}
	return a.r, nil
}

// An analysis takes connections as they are over. Those that can be FTP wait
// for the end, when all that tells them apart is known; of the others only
// their rows and their demand for ports are kept. What waits and the rows go
// to temporary files when there are many.
type analysis struct {
	options  Options
	attr     *attributor
	demand   *demand
	gateways *gatewayUses
	ports    *portMeaning
	hints    *hints
	waiting  *sorter[*Connection]
	r        *Result
}

func newAnalysis(o Options, ports *portMeaning) *analysis {
	held := cmp.Or(o.held, heldRows)
	attr := &attributor{history: o.Network, stale: map[string]int{}}
	return &analysis{
		options: o, attr: attr, demand: newDemand(newTopology(o.Network), attr, o), gateways: newGatewayUses(), ports: ports,
		hints: newHints(ports.control, o.Clients, o.Servers),
		r: &Result{
			Sessions: newRows(compareSessions, held), Data: newRows(compareData, held),
			Mappings: newRows(compareMappings, held), Rejects: newRows(compareRejects, held),
		},
	}
}

// add takes one connection.
func (a *analysis) add(c *Connection) {
	a.gateways.add(c)
	a.hints.add(c)
	if m, ok := mapping(c); ok {
		a.r.Mappings.add(m)
	}
	if a.mayBeFTP(c) {
		a.waiting.add(c)
	} else {
		a.settle(c, roles{})
	}
}

// mayBeFTP reports whether the connection is a control connection, or has an
// end at an FTP server and could be data, or another service that must be
// told from data. A control connection is known before its data are over:
// the assembler learns of it from its first record.
func (a *analysis) mayBeFTP(c *Connection) bool {
	t := c.Tuple
	return t.Proto == flow.TCP && (a.ports.control.has(t.DstPort) || a.ports.servers[t.Src] || t.DstPort >= 1024 && (a.ports.servers[t.Dst] || a.ports.near[neighbourhoodOf(t.Dst)]))
}

// settle counts what a connection was rejected for, and the ports that it
// needed.
func (a *analysis) settle(c *Connection, r roles) {
	for _, row := range rejects(c, a.attr, r, a.options.Confidence) {
		a.r.Rejects.add(row)
	}
	a.demand.add(c, r)
	if a.options.settled != nil {
		a.options.settled(c, r)
	}
}

// finish finds the sessions among the waiting connections, and completes the
// result.
func (a *analysis) finish(s *assembler) {
	o, r := a.options, a.r
	f := &ftp{
		control: a.ports.control, clients: o.Clients, servers: o.Servers, attr: a.attr, logEnd: int64(s.collector.coverage.End),
		gateway: a.gateways.ofClients(), confidence: o.Confidence, model: o.Model, passiveRange: o.passiveRange, weighed: o.Weighed,
		session: r.Sessions.add, data: r.Data.add, settle: a.settle,
	}
	f.find(a.waiting.all)

	ifaces := s.collector.ranked
	r.Coverage, r.NATGateways = s.collector.coverage, a.gateways.rows(ifaces)
	r.Coverage.Interfaces = len(ifaces)
	r.Coverage.Snapshot = o.Network != nil
	r.Ports = a.demand.rows()
	r.Rules = a.demand.ruleUses()
	r.Proposal, r.Changes = a.demand.revise(o.Revise, func(id string) bool { return s.collector.interfaces[id] != nil })
	setProposed(r.Rules, r.Proposal)
	r.Warnings = slices.Concat(s.joiner.topology.snapshotWarning(ifaces), a.attr.staleWarnings(), coverageWarnings(r))
	r.Warnings = append(r.Warnings, f.warnings()...)
	r.Findings = findings(r, f, a.hints.found())
}

// sortedKeys returns a map's keys in order.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
