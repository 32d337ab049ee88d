package analyze

import (
	"cmp"
	"slices"
	"time"

	"ephemera/ingest/flow"
)

// Result is everything that an analysis found. Its rows are the tables of
// the reports: the json tags are the column names, in CSV as in JSON. A field
// tagged omitzero is empty when it is zero, because zero then means "not
// known" or "not applicable".
//
// A Result does not depend on how the records were cut into files, on their
// order, or on the number of workers.
type Result struct {
	Coverage Coverage  `json:"coverage"`
	Findings []Finding `json:"findings"`
	// Rules are the filters that passive FTP meets on its way, in the order
	// of the way: eleven through a NAT gateway.
	Rules    []RuleUse             `json:"rules"`
	Sessions *Rows[Session]        `json:"sessions"`
	Data     *Rows[DataConnection] `json:"data_connections"`
	Mappings *Rows[Mapping]        `json:"nat_mappings"`
	Rejects  *Rows[RejectedFlow]   `json:"rejects"`
	Ports    []PortDemand          `json:"port_ranges"`
	// Changes and Proposal say how to change the rules; nil when those are not
	// known.
	Changes  []RuleChange `json:"rule_changes"`
	Proposal *Proposal    `json:"proposal,omitzero"`
	// Replay is what other rules would have done; nil unless RunReplay asked.
	Replay      *Replay        `json:"replay,omitzero"`
	NATGateways []NATInterface `json:"nat_gateways"`
	Warnings    []string       `json:"warnings"`
}

// Close removes the temporary files that hold rows. The rows are not valid
// afterwards.
func (r *Result) Close() {
	r.Sessions.close()
	r.Data.close()
	r.Mappings.close()
	r.Rejects.close()
	if r.Replay != nil {
		r.Replay.Changed.close()
	}
}

// Err returns the first error of reading rows back: to be looked at behind
// the last use.
func (r *Result) Err() error {
	err := cmp.Or(r.Sessions.Err(), r.Data.Err(), r.Mappings.Err(), r.Rejects.Err())
	if r.Replay != nil {
		err = cmp.Or(err, r.Replay.Changed.Err())
	}
	return err
}

// Time is a point in time in Unix seconds, written in RFC 3339, UTC. The
// zero Time is not known.
type Time int64

// MarshalText gives RFC 3339, or nothing for the zero Time.
func (t Time) MarshalText() ([]byte, error) {
	if t == 0 {
		return nil, nil
	}
	return time.Unix(int64(t), 0).UTC().AppendFormat(nil, time.RFC3339), nil
}

// UnmarshalText reads what MarshalText wrote.
func (t *Time) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*t = 0
		return nil
	}
	v, err := time.Parse(time.RFC3339, string(b))
	if err != nil {
		return err
	}
	*t = Time(v.Unix())
	return nil
}

// Coverage says what the log held, and what it did not.
type Coverage struct {
	Records    int `json:"records"` // with traffic
	NoData     int `json:"nodata"`
	SkipData   int `json:"skipdata"`   // intervals in which AWS lost records
	Duplicates int `json:"duplicates"` // delivered twice, by two flow logs; counted once
	BadRecords int `json:"bad_records"`
	// Missing are the objects that could not be read, or not to their end.
	Missing []Missing `json:"missing,omitzero"`
	// Late records came more than 15 minutes behind others: what they belong
	// to may have been cut.
	Late       int  `json:"late,omitzero"`
	Start      Time `json:"start,omitzero"`
	End        Time `json:"end,omitzero"`
	Interfaces int  `json:"interfaces"`
	// Snapshot tells whether rules were known (--network).
	Snapshot bool `json:"snapshot"`
	// HeaderAddrs tells whether the log has pkt-srcaddr and pkt-dstaddr, and
	// Flags whether it has tcp-flags. Without them more is inferred.
	HeaderAddrs bool `json:"header_addrs"`
	Flags       bool `json:"tcp_flags"`
}

// Missing counts the objects with one fault.
type Missing struct {
	Fault   string `json:"fault"` // flow.Fault in words
	Objects int    `json:"objects"`
	// Places names the first of them.
	Places []string `json:"places"`
}

// maxMissing is how many places a Missing names.
const maxMissing = 20

// miss counts an object that could not be read.
func (c *Coverage) miss(e *flow.ObjectError) {
	fault := e.Fault.String()
	i, found := slices.BinarySearchFunc(c.Missing, fault, func(m Missing, fault string) int { return cmp.Compare(m.Fault, fault) })
	if !found {
		c.Missing = slices.Insert(c.Missing, i, Missing{Fault: fault})
	}
	m := &c.Missing[i]
	m.Objects++
	if len(m.Places) < maxMissing {
		m.Places = append(m.Places, e.Place)
	}
}

// Severity orders findings.
type Severity string

// The severities, from what breaks transfers to what is good to know.
const (
	Broken Severity = "broken" // connections were stopped
	Warn   Severity = "warning"
	Info   Severity = "info"
)

// Finding is one conclusion in words, with the evidence that it stands on
// and what can be done about it.
type Finding struct {
	Severity Severity `json:"severity"`
	// Title is one line; Detail, Evidence and Advice are sentences. Any but
	// Title may be empty.
	Title    string `json:"title"`
	Detail   string `json:"detail,omitzero"`
	Evidence string `json:"evidence,omitzero"`
	Advice   string `json:"advice,omitzero"`
	// Rule is the number of the rule in Result.Rules that it is about; 0
	// when it is about none.
	Rule int `json:"rule,omitzero"`
}

// Point is one of the six places where a flow log sees a connection through
// a NAT gateway; a connection without one has P1 and P6 only. The zero Point
// is none of them.
type Point uint8

// The points in the order in which the opening packet and its answer pass.
const (
	NoPoint Point = iota
	P1            // client interface, egress: client to server
	P2            // NAT gateway, ingress: from the client
	P3            // NAT gateway, egress: to the server, from the gateway's own port
	P4            // NAT gateway, ingress: from the server
	P5            // NAT gateway, egress: to the client
	P6            // client interface, ingress: from the server
)

func (p Point) String() string { return [...]string{"", "P1", "P2", "P3", "P4", "P5", "P6"}[p] }

// MarshalText gives "P1" to "P6", or nothing.
func (p Point) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// Outcome is how a connection or a session ended.
type Outcome string

// The outcomes.
const (
	OutcomeOK          Outcome = "ok"
	OutcomeBlocked     Outcome = "blocked"      // a rule of the VPC stopped it
	OutcomeRefused     Outcome = "refused"      // the server answered with RST
	OutcomeNoAnswer    Outcome = "no-answer"    // no rule stopped it, and nothing came back
	OutcomeNoData      Outcome = "no-data"      // control connection without any data connection
	OutcomeIdleTimeout Outcome = "idle-timeout" // the NAT gateway forgot the silent control connection
	OutcomeIncomplete  Outcome = "incomplete"   // cut off by the log's start or end
)

// Session is one FTP control connection and what is known of its transfers.
type Session struct {
	ID              string    `json:"session_id"`
	ClientAddr      flow.Addr `json:"client_addr"`
	ClientPort      uint16    `json:"client_port"`
	ServerAddr      flow.Addr `json:"server_addr"`
	ServerPort      uint16    `json:"server_port"`
	ClientInterface string    `json:"client_interface,omitzero"`
	NATAddr         flow.Addr `json:"nat_addr,omitzero"`
	NATPort         uint16    `json:"nat_port,omitzero"`
	NATInterface    string    `json:"nat_interface,omitzero"`
	Start           Time      `json:"start"`
	End             Time      `json:"end"`
	Mode            string    `json:"mode"` // passive, active, mixed, none
	TLS             string    `json:"tls"`  // implicit, unknown
	// DataConnections is the likeliest number of data connections, and with a
	// probability of 95 % it is from DataLow to DataHigh. How many they were
	// is often known better than which.
	DataConnections int     `json:"data_connections"`
	DataLow         int     `json:"data_connections_low"`
	DataHigh        int     `json:"data_connections_high"`
	BytesToServer   uint64  `json:"bytes_to_server"` // control connection only
	BytesToClient   uint64  `json:"bytes_to_client"`
	Outcome         Outcome `json:"outcome"`
	DiedAt          string  `json:"died_at,omitzero"` // P1 to P6, or server
	Cause           string  `json:"cause,omitzero"`
	Confidence      float64 `json:"confidence"`
}

// DataConnection is one FTP data connection, or an attempt at one.
type DataConnection struct {
	ID string `json:"data_id"`
	// SessionID is empty when the log does not decide between the candidates.
	SessionID string `json:"session_id,omitzero"`
	// Candidates are the fewest sessions that are the right one with a
	// probability of 95 %, if the connection is FTP data; the likeliest first.
	// Probabilities are, for each, that it is FTP data of that session.
	Candidates    []string  `json:"candidates"`
	Probabilities []float64 `json:"candidate_probabilities"`
	// Confidence is the probability that the first candidate is right, and
	// FTPProbability that the connection is FTP data of any session.
	Confidence      float64   `json:"confidence"`
	FTPProbability  float64   `json:"ftp_probability"`
	Mode            string    `json:"mode"` // passive, active
	ClientAddr      flow.Addr `json:"client_addr"`
	ClientPort      uint16    `json:"client_port"`
	ServerAddr      flow.Addr `json:"server_addr"`
	ServerPort      uint16    `json:"server_port"`
	Start           Time      `json:"start"`
	End             Time      `json:"end"`
	PacketsToServer uint64    `json:"packets_to_server"`
	PacketsToClient uint64    `json:"packets_to_client"`
	BytesToServer   uint64    `json:"bytes_to_server"`
	BytesToClient   uint64    `json:"bytes_to_client"`
	NATAddr         flow.Addr `json:"nat_addr,omitzero"`
	NATPort         uint16    `json:"nat_port,omitzero"`
	Outcome         Outcome   `json:"outcome"`
	DiedAt          string    `json:"died_at,omitzero"`
	Cause           string    `json:"cause,omitzero"`
}

// Mapping is a client's connection and the port that the NAT gateway gave it.
type Mapping struct {
	Protocol        uint8     `json:"protocol"`
	ClientAddr      flow.Addr `json:"client_addr"`
	ClientPort      uint16    `json:"client_port"`
	ServerAddr      flow.Addr `json:"server_addr"`
	ServerPort      uint16    `json:"server_port"`
	ClientInterface string    `json:"client_interface,omitzero"`
	NATInterface    string    `json:"nat_interface"`
	NATAddr         flow.Addr `json:"nat_addr"`
	NATPort         uint16    `json:"nat_port"`
	Start           Time      `json:"start"`
	End             Time      `json:"end"`
	// Confidence is 1 when no other assignment comes near, and falls towards
	// 1/n when n mappings explain the records equally well; Candidates are
	// then the other NAT ports ("addr:port").
	Confidence float64  `json:"confidence"`
	Candidates []string `json:"candidates"`
}

// Cause is what rejected a flow.
type Cause string

// The causes of a REJECT.
const (
	CauseNACL         Cause = "nacl"
	CauseSG           Cause = "sg"
	CauseBPA          Cause = "bpa"        // VPC block public access
	CauseEncryption   Cause = "encryption" // VPC encryption controls
	CauseLate         Cause = "late"       // after the connection was closed or forgotten: no rule
	CauseUndetermined Cause = "undetermined"
)

// RejectedFlow is one flow that was rejected at one interface, in one
// direction, for one cause.
type RejectedFlow struct {
	InterfaceID string         `json:"interface_id"`
	SubnetID    string         `json:"subnet_id,omitzero"`
	Direction   flow.Direction `json:"direction,omitzero"`
	Point       Point          `json:"point,omitzero"`
	SrcAddr     flow.Addr      `json:"srcaddr"`
	DstAddr     flow.Addr      `json:"dstaddr"`
	SrcPort     uint16         `json:"srcport"`
	DstPort     uint16         `json:"dstport"`
	PktSrcAddr  flow.Addr      `json:"pkt_srcaddr,omitzero"`
	PktDstAddr  flow.Addr      `json:"pkt_dstaddr,omitzero"`
	Protocol    uint8          `json:"protocol"`
	Packets     uint64         `json:"packets"`
	Bytes       uint64         `json:"bytes"`
	Records     int            `json:"records"`
	Start       Time           `json:"start"`
	End         Time           `json:"end"`
	Cause       Cause          `json:"cause"`
	CauseID     string         `json:"cause_id,omitzero"`
	RuleNumber  int            `json:"rule_number,omitzero"`
	RuleDefault bool           `json:"rule_default"`
	// AlsoDeniedBy are the denials waiting behind the one that acted:
	// lifting the first alone does not help.
	AlsoDeniedBy []string `json:"also_denied_by"`
	SessionID    string   `json:"session_id,omitzero"`
	Confidence   float64  `json:"confidence"`
	Evidence     string   `json:"evidence"`
}

// PortDemand is one slot: a filter, a direction, a peer and a purpose, and
// the destination ports that connections needed there.
type PortDemand struct {
	Slot          string         `json:"slot"`
	Filter        string         `json:"filter"` // nacl, sg
	FilterID      string         `json:"filter_id"`
	Direction     flow.Direction `json:"direction"`
	Peer          string         `json:"peer"` // a prefix
	Protocol      string         `json:"protocol"`
	Purpose       string         `json:"purpose"`        // control, data, reply, other
	PortChosenBy  string         `json:"port_chosen_by"` // fixed, server, client-os, nat-gateway
	Connections   int            `json:"connections"`
	DistinctPorts int            `json:"distinct_ports"`
	Min           uint16         `json:"min,omitzero"`
	Max           uint16         `json:"max,omitzero"`
	// Ranges is the minimal cover of the used ports within the entry budget.
	Ranges     []string `json:"ranges"`
	AllowedNow []string `json:"allowed_now"`
	// UnusedNow counts the ports that are allowed and were not used. -1, an
	// empty cell, when the rules are not known.
	UnusedNow  int      `json:"unused_now"`
	Observed   []string `json:"observed"`
	Safe       []string `json:"safe"`
	KeepReason string   `json:"keep_reason,omitzero"`
	// OutsideProbability bounds the probability that the next connection's
	// port lies outside Safe; ObservedOutside is the same for Observed. Of the
	// last half of the connections, BacktestTotal, the Safe of what came
	// before would have lost BacktestLost.
	OutsideProbability *float64 `json:"outside_probability,omitzero"`
	BacktestLost       *int     `json:"backtest_lost,omitzero"`
	BacktestTotal      *int     `json:"backtest_total,omitzero"`
	// AttemptedRanges covers the ports that connections would have needed
	// here: the used ones, and those of connections stopped here or before.
	AttemptedRanges []string `json:"attempted_ranges"`
	ObservedOutside *float64 `json:"observed_outside_probability,omitzero"`
	// BacktestLow and BacktestHigh are the 95 % interval of the share that
	// Safe loses.
	BacktestLow  *float64 `json:"backtest_low,omitzero"`
	BacktestHigh *float64 `json:"backtest_high,omitzero"`
	// Fits are the ranges from which the ports may have been picked, with
	// their probabilities: "Linux 32768-60999=0.97".
	Fits []string `json:"fits"`
	// Curve is the price of covering the used ports with ever more entries:
	// "1=182" for one entry that exposes 182 ports.
	Curve []string `json:"curve"`
}

// Verdicts on a rule.
const (
	VerdictFix    = "fix"    // it stops FTP today
	VerdictNarrow = "narrow" // it can be narrowed
	VerdictKeep   = "keep"   // it cannot, or need not
)

// Who picks a destination port.
const (
	ChosenFixed  = "fixed"
	ChosenServer = "server"
	ChosenClient = "client-os"
	ChosenNAT    = "nat-gateway"
)

// RuleUse is one of the rules that passive FTP needs: what it stands for,
// what passed and what was stopped there, and whether it can be narrowed.
type RuleUse struct {
	Number    int            `json:"number"` // from 1, in the order of the way
	Title     string         `json:"title"`  // "public-nacl inbound: replies from the servers"
	Filter    string         `json:"filter"` // nacl, sg
	FilterID  string         `json:"filter_id"`
	Name      string         `json:"name,omitzero"` // the filter's Name tag
	Direction flow.Direction `json:"direction"`
	Point     Point          `json:"point"`
	Peer      string         `json:"peer"` // in words: "servers", "clients"
	Purpose   string         `json:"purpose"`
	ChosenBy  string         `json:"port_chosen_by"`
	Entries   []string       `json:"entries"` // the entries that decide today, in words
	// RulesKnown tells whether the snapshot has the filter. Allowed, Used and
	// Attempted are port ranges at this rule; Allowed is empty, too, when the
	// rules are not known.
	RulesKnown bool     `json:"rules_known"`
	Allowed    []string `json:"allowed"`
	Used       []string `json:"used"`
	Attempted  []string `json:"attempted"`
	// Passed and Stopped count FTP connections here.
	Passed  int `json:"passed"`
	Stopped int `json:"stopped"`
	// StoppedBy are the entries that stopped them: "acl-0a1 rule *".
	StoppedBy []string `json:"stopped_by"`
	// Proposal are the ports to allow, and Why is the reason in a sentence.
	Verdict  string   `json:"verdict"`
	Proposal []string `json:"proposal"`
	Why      string   `json:"why"`
	// Others are the ports that other traffic needs from the same entries:
	// narrowing for FTP alone would break it.
	Others []string `json:"others"`
	// Fits, Curve: see PortDemand. Backtest is nil where nothing was tested.
	Fits     []string  `json:"fits"`
	Curve    []string  `json:"curve"`
	Backtest *Backtest `json:"backtest,omitzero"`
	// Proposed are the entries and rules, in words, that would serve the rule
	// in place of Entries.
	Proposed []string `json:"proposed"`
	// Advice says what to change when the verdict is fix.
	Advice string `json:"advice,omitzero"`
	// Evidence says what Stopped stands on.
	Evidence string `json:"evidence,omitzero"`
}

// Backtest says how proposals made from the first part of the log would have
// served the rest.
type Backtest struct {
	Lost   int `json:"lost"`
	Tested int `json:"tested"`
	// Low and High bound the share that is lost, with 95 %.
	Low  float64 `json:"low"`
	High float64 `json:"high"`
	// Outside bounds the probability that the next connection is lost.
	Outside float64 `json:"outside_probability"`
}

// NATInterface is an interface of a NAT gateway, and how it is known to be one.
type NATInterface struct {
	InterfaceID string      `json:"interface_id"`
	GatewayID   string      `json:"nat_gateway_id,omitzero"`
	SubnetID    string      `json:"subnet_id,omitzero"`
	Addrs       []flow.Addr `json:"addrs"`
	Evidence    string      `json:"evidence"`
	Mapped      int         `json:"mapped"`   // connections joined across it
	Unmapped    int         `json:"unmapped"` // inside legs without an outside one
}
