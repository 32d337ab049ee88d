// Package alert turns a report into alerts, and sends each of them at most
// once.
//
// An alert is about a cause, not about a connection: an entry of a network
// ACL that stops FTP is one alert, however many transfers it breaks, in
// however many reports. Find reads the causes from a report:
//
//	nacl-reject         an entry of a network ACL stopped an FTP control or data connection, or its replies
//	sg-reject           a security group did
//	other-reject        VPC block public access, encryption controls, or a filter that the log does not tell
//	port-outside-range  FTP needs ports outside the range to which a rule was narrowed
//	silent-control      a NAT gateway forgot control connections that were silent for more than 350 s
//	active-mode         servers open data connections to a NAT gateway, which forwards none
//	more-causes         there are more causes than an operator is told of one by one
//
// and Send tells a topic or an event bus of those that it was not told of
// before; how it keeps to once is said there.
//
// # What counts
//
// A rejected flow counts if it is one of a session, or of a data connection;
// a cause is told of once one of its flows is FTP with a probability of 90 %
// or more. Late packets are stopped by no rule and do not count. What a server
// sends in active mode to a NAT gateway is never a reject, even where an entry
// stops it: no rule can help it, so it is active-mode.
//
// A range counts as narrowed if it allows some of the ports 1024-65535, and
// at least a quarter of them not: a rule open for all of them, one that is
// closed for all, and one with a hole for a single service are no such range.
// Ports that a NAT gateway picks cannot be narrowed, and no proposal does it:
// who did it all the same has a nacl-reject. Of the others, a flow that no
// entry allows (not one that an entry of its own denies), to a port outside
// the range of the newest rules, is port-outside-range and nothing else. So
// are ports that were used in the report's time, and that the newest rules
// would stop. An alert is of one peer and one range: a server that changes
// its passive ports is told of even if another one had done so before.
//
// # Identity
//
// The same cause has the same ID in every report: it is made of the kind and
//
//	nacl-reject         network ACL, rule number, direction, purpose (control, data, reply)
//	sg-reject           security groups, direction, purpose
//	other-reject        subnet or interface, cause, direction, purpose
//	port-outside-range  filter, direction, purpose, peer, range in force
//	silent-control      server and its port, the clients' network
//	active-mode         server, address of the NAT gateway
//
// Where the rules are not known, the subnet or interface stands for the
// filter; so giving rules for the first time gives a cause another ID. The
// clients' network is their /24, or /64: hosts of a subnet come and go.
package alert

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"ephemera/analyze"
	"ephemera/ingest/flow"
)

// Kind is what an alert is about.
type Kind string

// The kinds of alerts, in the order in which Find returns them.
const (
	NACLReject       Kind = "nacl-reject"
	SGReject         Kind = "sg-reject"
	OtherReject      Kind = "other-reject"
	PortOutsideRange Kind = "port-outside-range"
	SilentControl    Kind = "silent-control"
	ActiveMode       Kind = "active-mode"
	MoreCauses       Kind = "more-causes"
)

var kinds = []Kind{NACLReject, SGReject, OtherReject, PortOutsideRange, SilentControl, ActiveMode, MoreCauses}

// An Alert is something in a report that an operator has to act on. Its JSON
// is the detail of an event. What does not apply to its kind is empty.
type Alert struct {
	// ID names the cause, in 32 hexadecimal digits: the same in every report.
	ID   string `json:"id"`
	Kind Kind   `json:"kind"`
	// Subject is one line of at most 100 printable ASCII characters. Text says
	// what happened, on which evidence, and what to do, in lines.
	Subject string `json:"subject"`
	Text    string `json:"text"`

	Filter     string         `json:"filter,omitzero"`    // nacl, sg
	FilterID   string         `json:"filter_id,omitzero"` // where the rules are not known, a subnet or interface
	FilterName string         `json:"filter_name,omitzero"`
	RuleNumber int            `json:"rule_number,omitzero"`
	Default    bool           `json:"rule_default,omitzero"` // RuleNumber is that of the closing deny
	Direction  flow.Direction `json:"direction,omitzero"`
	Point      analyze.Point  `json:"point,omitzero"`
	Purpose    string         `json:"purpose,omitzero"` // control, data, reply
	Interfaces []string       `json:"interfaces,omitzero"`

	// Clients and Servers are addresses, Ports the destination ports that were
	// stopped or are outside Allowed, as ranges that may hold further ports.
	// Each list names some of them where there are many.
	Clients []string `json:"clients,omitzero"`
	Servers []string `json:"servers,omitzero"`
	Ports   []string `json:"ports,omitzero"`
	Allowed []string `json:"allowed,omitzero"`
	Peer    string   `json:"peer,omitzero"`

	// Flows counts rejected flows, forgotten sessions or data connections, and
	// Packets those rejected; First and Last are when they were.
	Flows    int          `json:"flows"`
	Packets  uint64       `json:"packets,omitzero"`
	First    analyze.Time `json:"first,omitzero"`
	Last     analyze.Time `json:"last,omitzero"`
	Sessions []string     `json:"session_ids,omitzero"`
}

// maxCauses is how many causes of a report are told apart; the flows of the
// others are counted.
const maxCauses = 1000

// Find returns the alerts in a report, in order of kind, with what stopped
// most before: at most 1001 of them. It reads the rows more than once, and
// fails only if they cannot be read back. Its memory follows the connections that are
// open at a time, and the causes.
func Find(r *analyze.Result) ([]Alert, error) {
	f := newFinder(r)
	f.findActive()
	f.findSilent()
	f.findRejects()
	f.findUsedOutside()
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("reading the report's rows back for alerts: %w", err)
	}
	return f.alerts(), nil
}

// alerts describes what was found.
func (f *finder) alerts() []Alert {
	var as []Alert
	for c, e := range f.causes {
		if e.certain {
			as = append(as, f.describe(c, e))
		}
	}
	if f.beyond > 0 {
		as = append(as, f.describeBeyond())
	}
	slices.SortFunc(as, compareAlerts)
	return as
}

func compareAlerts(a, b Alert) int {
	return cmp.Or(cmp.Compare(slices.Index(kinds, a.Kind), slices.Index(kinds, b.Kind)), cmp.Compare(b.Flows, a.Flows), cmp.Compare(a.ID, b.ID))
}

// A cause is what an alert is about: all that identifies it, and nothing that
// a longer report would change.
type cause struct {
	kind      Kind
	filter    string
	rule      int
	direction flow.Direction
	purpose   string
	peer      string
	allowed   string
	other     analyze.Cause // of OtherReject
}

// id is a hash, in which no two causes run together.
func (c cause) id() string {
	h := sha256.Sum256(fmt.Appendf(nil, "%q %q %d %q %q %q %q %q",
		c.kind, c.filter, c.rule, c.direction, c.purpose, c.peer, c.allowed, c.other))
	return hex.EncodeToString(h[:16])
}
