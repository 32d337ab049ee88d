package analyze

import (
	"cmp"
	"fmt"
	"iter"

	"ephemera/ingest/flow"
	"ephemera/rules"
)

// Replay is what other rules would have done to the logged traffic.
//
// A connection is judged point by point. What passed passes if the other
// rules allow it, or deny no more than the rules in force did, which a stale
// snapshot can get wrong. What a rule stopped goes on as far as the other
// rules let it, along the way that it would have taken. The log cannot tell
// what the far side would have answered, nor which port a NAT gateway would
// have picked.
type Replay struct {
	// Passing connections pass today, and under the other rules.
	Passing ReplayCount `json:"passing"`
	// Lost ones pass today, and would be stopped.
	Lost ReplayCount `json:"lost"`
	// Repaired ones are stopped by a rule today, and would pass.
	Repaired ReplayCount `json:"repaired"`
	// Partly are those that would pass or not by the port that the NAT
	// gateway picks; those that would not at a few ports only are Repaired.
	Partly ReplayCount `json:"partly"`
	// Stopped ones are stopped today, and would be.
	Stopped ReplayCount `json:"stopped"`
	// Unwanted ones are let in today although nothing answers them, as scans
	// are, and would be stopped.
	Unwanted ReplayCount `json:"unwanted"`
	// Admitted ones come to a NAT gateway unasked, are stopped before it today,
	// and would reach it: it drops them.
	Admitted ReplayCount `json:"admitted"`
	// Unknown ones meet filters that the rules do not say.
	Unknown ReplayCount `json:"unknown"`

	// Changed are the connections whose fate would change.
	Changed *Rows[ChangedFlow] `json:"-"`
}

// ReplayCount counts connections, and those of them that are FTP control or
// data connections.
type ReplayCount struct {
	All int `json:"all"`
	FTP int `json:"ftp"`
}

// Fates of a connection under other rules.
const (
	FatePasses = "passes"
	FateStops  = "stopped"
	FateParts  = "depends" // on the port that the NAT gateway picks
)

// ChangedFlow is a connection whose fate would change.
type ChangedFlow struct {
	Protocol   string    `json:"protocol"`
	ClientAddr flow.Addr `json:"client_addr"`
	ClientPort uint16    `json:"client_port"`
	ServerAddr flow.Addr `json:"server_addr"`
	ServerPort uint16    `json:"server_port"`
	Start      Time      `json:"start"`
	// FTP is control or data, and empty for other traffic.
	FTP       string `json:"ftp,omitzero"`
	SessionID string `json:"session_id,omitzero"`
	Before    string `json:"before"` // passes, stopped
	After     string `json:"after"`  // passes, stopped, depends
	// Point is where the rule is that makes the difference, or that stops it
	// behind the one that is lifted; Rule is that rule in words.
	Point Point  `json:"point,omitzero"`
	Rule  string `json:"rule"`
	// Unwanted tells that nothing answers the connection, as with scans.
	Unwanted bool `json:"unwanted,omitzero"`
}

func compareChanged(a, b ChangedFlow) int {
	return cmp.Or(cmp.Compare(a.Start, b.Start), a.ClientAddr.Compare(b.ClientAddr), cmp.Compare(a.ClientPort, b.ClientPort),
		a.ServerAddr.Compare(b.ServerAddr), cmp.Compare(a.ServerPort, b.ServerPort), cmp.Compare(a.Protocol, b.Protocol),
		cmp.Compare(a.Point, b.Point), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.After, b.After))
}

// RunReplay analyses the records as Run does, and judges every connection by
// the rules in force at its time with those of proposed in the place of the
// ones with the same ID; Result.Replay says what came of it. Options.Network
// must be given. The result is to be closed.
func RunReplay(records iter.Seq2[*flow.Record, error], o Options, proposed rules.RuleSet) (*Result, error) {
	p := &replayer{
		attr: &attributor{history: o.Network, stale: map[string]int{}}, proposed: proposed,
		networks: map[*rules.Network]*rules.Network{},
		r:        &Replay{Changed: newRows(compareChanged, cmp.Or(o.held, heldRows))},
	}
	o.settled = p.judge
	result, err := Run(records, o)
	if err != nil {
		p.r.Changed.close()
		return nil, err
	}
	result.Replay = p.r
	return result, result.Err()
}

// A replayer judges connections by other rules.
type replayer struct {
	attr     *attributor
	proposed rules.RuleSet
	networks map[*rules.Network]*rules.Network // the other rules, by those in force
	r        *Replay
}

// at returns the rules in force at a time, and the other ones.
func (p *replayer) at(unix int64) (now, then *rules.Network) {
	now = p.attr.history.At(unix)
	if now == nil {
		return nil, nil
	}
	then = p.networks[now]
	if then == nil {
		then = now.With(associated(p.proposed.ACLs, now), p.proposed.Groups)
		p.networks[now] = then
	}
	return now, then
}

// associated returns the network ACLs, with today's subnets where they name
// none, as those that were read from rules alone.
func associated(acls []*rules.NetworkACL, n *rules.Network) []*rules.NetworkACL {
	var all []*rules.NetworkACL
	for _, a := range acls {
		a = a.Clone()
		if today := n.ACL(a.ID); today != nil && len(a.Subnets) == 0 {
			a.Subnets, a.VPCID, a.IsDefault = today.Subnets, today.VPCID, today.IsDefault
		}
		all = append(all, a)
	}
	return all
}

// judge counts one connection.
func (p *replayer) judge(c *Connection, r roles) {
	j := judgement{p: p, c: c, r: r}
	if c.Unsolicited {
		j.unsolicited()
	} else {
		j.follow()
	}
	count := j.counter()
	count.All++
	if r.isFTP() {
		count.FTP++
	}
	if j.changes() {
		p.r.Changed.add(j.row())
	}
}

// A judgement is the way of one connection under other rules.
type judgement struct {
	p *replayer
	c *Connection
	r roles

	before, after string // fates
	unknown       bool
	point         Point
	rule          string
}

// follow goes along the connection's way as far as the other rules let it.
func (j *judgement) follow() {
	j.before, j.after = FatePasses, FatePasses
	hops := j.r.hops(j.c)
	for _, h := range hops {
		if d, stopped := j.stoppedBy(h); stopped {
			j.before, j.point, j.rule = FateStops, h.point, d.words
			if d.cause != CauseNACL && d.cause != CauseSG {
				j.after = FateStops // by something else than rules
				return
			}
			break
		}
	}
	beyond := false // where the log ends, and the other rules may let it go on
	for _, h := range hops {
		beyond = beyond || j.before == FateStops && h.reached && !h.passed
		if (h.passed || beyond) && !j.pass(h) {
			return
		}
	}
	if j.before == FateStops {
		j.backThroughNAT()
	}
}

// stoppedBy returns the rule that stopped the connection at a hop.
func (j *judgement) stoppedBy(h hop) (denial, bool) {
	if !h.reached || h.passed {
		return denial{}, false
	}
	for _, d := range j.p.attr.denials(h.leg, h.fromInitiator) {
		if d.cause != CauseLate {
			return d, true
		}
	}
	return denial{}, false
}

// pass evaluates the other rules at a hop, and reports whether the connection
// goes on.
func (j *judgement) pass(h hop) bool {
	now, then := j.p.at(h.time)
	check := then.Check(h.iface.ID, h.direction, h.tuple, h.reply)
	v, denied := check.Deciding()
	if !denied {
		j.unknown = j.unknown || check.Unknown
		return true
	}
	if h.passed {
		if _, was := now.Check(h.iface.ID, h.direction, h.tuple, h.reply).Deciding(); was {
			return true // the snapshot is stale here: it denies what was accepted
		}
	}
	j.after, j.point, j.rule = FateStops, h.point, ruleWords(v)
	return false
}

// ruleWords names the rule that decides.
func ruleWords(v rules.Verdict) string {
	if v.Layer == rules.SG {
		return v.Rule
	}
	return v.ID + " " + v.Rule
}

// backThroughNAT judges the way back to a NAT gateway of a connection that
// was stopped before the gateway picked a port.
func (j *judgement) backThroughNAT() {
	gateway := j.c.NAT()
	if gateway == nil && j.c.Client != nil {
		gateway = j.r.gateway[j.c.Client.Interface]
	}
	if gateway == nil || j.c.Outside != nil && j.c.Outside.FromResponder.Packets() > 0 || j.r.opener() == byServer || !j.c.Tuple.Dst.IsValid() {
		return
	}
	_, then := j.p.at(j.c.Start)
	port := uint16(0)
	if _, known, ok := j.c.NATPort(); ok {
		port = known
	}
	allowed, denied, rule := natReturn(then, gateway, j.c.Tuple, port)
	if denied == 0 {
		return
	}
	j.point, j.rule = P4, fmt.Sprintf("at %d of %d ports of the NAT gateway: %s", denied, allowed+denied, rule)
	switch {
	case allowed == 0:
		j.after, j.rule = FateStops, rule
	case float64(denied) > fewDenied*float64(allowed+denied):
		j.after = FateParts
	}
}

// fewDenied is the share of a NAT gateway's ports up to which a connection is
// said to pass that would not at those: a deny of single ports, against RDP
// for one, stops a few connections in a hundred thousand.
const fewDenied = 0.001

// natReturn counts the NAT gateway's ports at which answers to a connection
// are allowed and denied, and names a rule that denies. A port that is not 0
// is the one that was picked.
func natReturn(n *rules.Network, gateway *Interface, t flow.Tuple, port uint16) (allowed, denied int, rule string) {
	back := flow.Tuple{Src: t.Dst, SrcPort: t.DstPort, Dst: gateway.Addr, Proto: t.Proto}
	ports := natRange
	if port != 0 {
		ports = rules.PortRange{From: port, To: port}
	}
	for _, part := range n.Segments(gateway.ID, flow.Ingress, back, ports) {
		if part.Verdict.Allow {
			allowed += part.Ports.Len()
			continue
		}
		denied += part.Ports.Len()
		rule = ruleWords(part.Verdict)
	}
	return allowed, denied, rule
}

// unsolicited judges packets from outside to a NAT gateway, which drops them
// whatever the rules say.
func (j *judgement) unsolicited() {
	l := j.c.Outside
	t, dir, _ := l.way(true)
	j.before, j.after = FatePasses, FatePasses
	now, then := j.p.at(j.c.Start)
	if l.FromInitiator.Accepted == 0 {
		j.before = FateStops
	}
	v, denied := then.Check(l.Interface.ID, dir, t, false).Deciding()
	if denied {
		j.after = FateStops
	}
	w, was := now.Check(l.Interface.ID, dir, t, false).Deciding()
	if was == denied {
		j.after = j.before // whatever the log says: the rules are no others
	}
	j.point, j.rule = P4, ruleWords(v)
	if !denied {
		j.rule = ruleWords(w)
	}
}

func (j *judgement) unwanted() bool { return j.c.Unsolicited || !answered(j.c) }

func (j *judgement) changes() bool { return j.before != j.after }

// counter returns the count that the connection belongs to.
func (j *judgement) counter() *ReplayCount {
	r := j.p.r
	switch {
	case j.unknown && !j.changes():
		return &r.Unknown
	case j.before == FatePasses && j.after == FatePasses:
		return &r.Passing
	case j.before == FatePasses && j.unwanted():
		return &r.Unwanted
	case j.before == FatePasses:
		return &r.Lost
	case j.after == FatePasses && j.c.Unsolicited:
		return &r.Admitted
	case j.after == FatePasses:
		return &r.Repaired
	case j.after == FateParts:
		return &r.Partly
	}
	return &r.Stopped
}

func (j *judgement) row() ChangedFlow {
	t := j.c.Tuple
	row := ChangedFlow{
		Protocol: t.Proto.String(), ClientAddr: t.Src, ClientPort: t.SrcPort, ServerAddr: t.Dst, ServerPort: t.DstPort,
		Start: Time(j.c.Start), SessionID: j.r.sessionID(DefaultConfidence), Before: j.before, After: j.after,
		Point: j.point, Rule: j.rule, Unwanted: j.unwanted(),
	}
	switch {
	case j.r.session != nil:
		row.FTP = purposeControl
	case j.r.data != nil:
		row.FTP = purposeData
	}
	return row
}

// String gives "12, 3 of them FTP".
func (c ReplayCount) String() string { return fmt.Sprintf("%d, %d of them FTP", c.All, c.FTP) }
