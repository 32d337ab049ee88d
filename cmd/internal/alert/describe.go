package alert

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"ephemera/analyze"
	"ephemera/ingest/flow"
	"ephemera/rules"
)

// describe makes the alert of a cause.
func (f *finder) describe(c cause, e *evidence) Alert {
	a := Alert{
		ID: c.id(), Kind: c.kind, Direction: c.direction, Purpose: c.purpose, Flows: e.flows, Packets: e.packets, First: e.first, Last: e.last,
		Clients: e.clients.named(flow.Addr.Compare), Servers: e.servers.named(flow.Addr.Compare),
		Interfaces: e.interfaces.named(strings.Compare), Sessions: e.sessions.named(strings.Compare),
	}
	var t text
	switch c.kind {
	case SilentControl:
		f.describeSilent(&a, c, e, &t)
	case ActiveMode:
		f.describeActive(&a, c, e, &t)
	case PortOutsideRange:
		f.describeOutside(&a, c, e, &t)
	default:
		f.describeReject(&a, c, e, &t)
	}
	a.finish(&t)
	return a
}

// A text is the parts of an alert's text.
type text struct {
	subject  string
	headline []string // sentences
	facts    []string // lines
	todo     []string // sentences
	evidence string   // where to look
}

func (t *text) say(format string, args ...any) {
	t.headline = append(t.headline, fmt.Sprintf(format, args...))
}
func (t *text) need(format string, args ...any) {
	t.todo = append(t.todo, fmt.Sprintf(format, args...))
}

// fact adds a line with a label, unless it would say nothing.
func (t *text) fact(label, words string) {
	if words != "" {
		t.facts = append(t.facts, fmt.Sprintf("%-11s%s", label+":", words))
	}
}

// maxSubject is how long SNS lets a subject be, and maxText, in bytes, keeps
// an alert with all of its fields far below the 256 KiB of a message.
const (
	maxSubject = 100
	maxText    = 32 << 10
)

// finish sets the subject and the text.
func (a *Alert) finish(t *text) {
	a.Subject = ascii("Ephemera: "+t.subject, maxSubject)
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", strings.Join(t.headline, " "))
	for _, line := range t.facts {
		fmt.Fprintln(&b, line)
	}
	if len(t.facts) > 0 {
		fmt.Fprintln(&b)
	}
	fmt.Fprintf(&b, "To do: %s\n\n", strings.Join(t.todo, " "))
	fmt.Fprintf(&b, "Evidence: %s\n\n", t.evidence)
	fmt.Fprintf(&b, "This is told once for this cause (%s %s).\n", a.Kind, a.ID)
	a.Text = clip(b.String(), maxText)
}

// ascii keeps to printable ASCII and a length.
func ascii(s string, length int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	if len(s) > length {
		s = s[:length-3] + "..."
	}
	return s
}

// clip keeps to a length in bytes, without breaking a letter.
func clip(s string, length int) string {
	const more = " ..."
	if len(s) <= length {
		return s
	}
	return strings.ToValidUTF8(s[:length-len(more)], "") + more
}

// maxQuote is how much, in bytes, is taken over from a sentence of the report.
const maxQuote = 2000

func quote(s string) string { return clip(s, maxQuote) }

func (f *finder) describeReject(a *Alert, c cause, e *evidence, t *text) {
	u := f.ruleOf(e.example, c.purpose)
	f.setFilter(a, c.filter, u)
	a.Point = e.example.Point
	if c.kind == NACLReject {
		a.Filter, a.RuleNumber, a.Default = rules.NACL.String(), c.rule, e.example.RuleDefault
	}
	a.Ports = portWords(e.ports.Set(), c.purpose)
	by := f.stopper(a, c, e)
	t.subject = fmt.Sprintf("FTP %s stopped by %s %s", c.purpose, by.short, c.direction)
	t.say("%s stopped %s: %s.", by.long, ftpConnections(e.flows, u), fmt.Sprintf(by.how, packetWords(a, e)))
	if u != nil {
		t.say("%s", quote(u.Why))
	}
	f.rejectFacts(a, e, t)
	f.fix(a, c, e, u, t)
	t.evidence = rejectEvidence(c, e, u)
}

// A name is what stopped packets, in a subject and at the head of a sentence,
// and how it did, with a place for the packets.
type name struct{ short, long, how string }

// stopper names what stopped packets.
func (f *finder) stopper(a *Alert, c cause, e *evidence) name {
	titled, in := a.filterTitle(), way(c.direction)
	switch {
	case c.kind == SGReject:
		return name{c.filter, fmt.Sprintf("Security group %s, %s,", strings.ReplaceAll(titled, ";", " with "), in), "no rule there allows %s"}
	case c.kind == NACLReject && e.example.CauseID == "":
		return name{"the network ACL of " + c.filter, fmt.Sprintf("The network ACL of %s, %s,", c.filter, in), "it denies %s; by which entry is not known, since its rules are not"}
	case c.kind == NACLReject && e.example.RuleDefault:
		return name{c.filter + " rule *", fmt.Sprintf("Network ACL %s, %s,", titled, in), fmt.Sprintf("its closing rule * (%d) denies %%s, since no entry allows them", c.rule)}
	case c.kind == NACLReject:
		return name{fmt.Sprintf("%s rule %d", c.filter, c.rule), fmt.Sprintf("Network ACL %s, %s,", titled, in), fmt.Sprintf("its rule %d denies %%s", c.rule)}
	case c.other == analyze.CauseBPA:
		return name{"VPC block public access", fmt.Sprintf("VPC block public access at %s, %s,", c.filter, in), "it rejects %s"}
	case c.other == analyze.CauseEncryption:
		return name{"VPC encryption controls", fmt.Sprintf("VPC encryption controls at %s, %s,", c.filter, in), "they reject %s"}
	}
	return name{"a filter of " + c.filter, fmt.Sprintf("The security group or the network ACL at %s, %s,", c.filter, in), "one of them rejects %s, and the log does not tell which"}
}

// filterTitle names the filter and its Name tag.
func (a *Alert) filterTitle() string {
	if a.FilterName == "" || a.FilterName == a.FilterID {
		return a.FilterID
	}
	return fmt.Sprintf("%s (%s)", a.FilterID, a.FilterName)
}

// rejectFacts lists who was stopped, where and when.
func (f *finder) rejectFacts(a *Alert, e *evidence, t *text) {
	where := list(a.Interfaces) + e.interfaces.others()
	if a.Point != analyze.NoPoint {
		where = fmt.Sprintf("%s (%s), at %s", a.Point, pointWords[a.Point], where)
	}
	if s := e.example.SubnetID; s != "" {
		where += ", " + s
	}
	t.fact("Where", where)
	t.fact("Clients", list(a.Clients)+e.clients.others())
	t.fact("Servers", list(a.Servers)+e.servers.others())
	t.fact("Ports", "tcp "+list(a.Ports))
	t.fact("Since", period(e))
	t.fact("Count", fmt.Sprintf("%s with %s rejected", plural(e.flows, "flow"), plural(int(min(e.packets, 1<<40)), "packet")))
	t.fact("Behind", behind(e))
	t.fact("Example", example(e))
	t.fact("Sessions", list(a.Sessions)+e.sessions.others())
}

// behind names what would stop it next.
func behind(e *evidence) string {
	if len(e.also.seen) == 0 {
		return ""
	}
	return "lifting this alone does not help, it is also denied by " + list(e.also.named(strings.Compare)) + e.also.others()
}

// example shows one flow, from which the others can be found.
func example(e *evidence) string {
	x := e.example
	words := fmt.Sprintf("%s -> %s", flow.HostPort(x.SrcAddr, x.SrcPort), flow.HostPort(x.DstAddr, x.DstPort))
	return fmt.Sprintf("%s, of client %s and server %s, %s", words, e.of.client, e.of.server, moment(x.Start))
}

// pointWords say what the points of the way are.
var pointWords = map[analyze.Point]string{
	analyze.P1: "out of the client's interface", analyze.P2: "into the NAT gateway from the client",
	analyze.P3: "out of the NAT gateway to the server", analyze.P4: "into the NAT gateway from the server",
	analyze.P5: "out of the NAT gateway to the client", analyze.P6: "into the client's interface",
}

// packetWords say what the packets were: "the servers' replies to tcp
// 1167-32611".
func packetWords(a *Alert, e *evidence) string {
	what := "the packets that open " + a.Purpose + " connections"
	switch {
	case a.Purpose == reply && e.of.active:
		what = "the clients' replies"
	case a.Purpose == reply:
		what = "the servers' replies"
	case e.of.active:
		what += " in active mode"
	}
	return what + " to tcp " + list(a.Ports)
}

// fix says what to change.
func (f *finder) fix(a *Alert, c cause, e *evidence, u *analyze.RuleUse, t *text) {
	switch {
	case c.other == analyze.CauseBPA:
		t.need("See the mode of VPC block public access and its exclusions for %s: aws ec2 describe-vpc-block-public-access-options.", c.filter)
		return
	case c.other == analyze.CauseEncryption:
		t.need("See the encryption controls of the VPC of %s: no rule of a network ACL or security group helps.", c.filter)
		return
	case u != nil && u.Advice != "":
		t.need("%s", quote(u.Advice))
	case e.allowedNow():
		t.need("The newest rules allow tcp %s here: see whether it was repaired since.", list(a.Ports))
	case c.other != "":
		t.need("See that the security groups of %s and the network ACL of its subnet both allow tcp %s %s.", e.example.InterfaceID, list(wanted(a, c)), way(c.direction))
	default:
		t.need("Allow tcp %s %s in %s.", list(wanted(a, c)), way(c.direction), strings.ReplaceAll(c.filter, ";", " or "))
	}
	if u != nil && len(u.Proposed) > 0 {
		t.need("As proposed: %s.", quote(strings.Join(u.Proposed, "; ")))
	}
	f.needRules(t)
}

// needRules names the program that makes the change.
func (f *finder) needRules(t *text) {
	if f.result.Coverage.Snapshot {
		t.need("ephemera rules --network SNAPSHOTS --out DIR LOGS prints the change as Terraform, CloudFormation and AWS CLI commands, with the way back, and proves it.")
		return
	}
	t.need("Take a snapshot of the rules (ephemera snapshot --out SNAPSHOTS); with it, ephemera explain names the entry and ephemera rules prints the change.")
}

// allowedNow reports whether the newest rules, by which the range at the slot
// is narrowed, allow all ports that were stopped.
func (e *evidence) allowedNow() bool {
	if e.slot == nil {
		return false
	}
	allowed, err := rules.ParsePorts(strings.Join(e.slot.AllowedNow, ";"))
	return err == nil && e.ports.Set().Subtract(allowed).IsEmpty()
}

// wanted are the ports to allow, where the report has no advice.
func wanted(a *Alert, c cause) []string {
	if c.purpose == reply {
		return []string{"1024-65535"}
	}
	return a.Ports
}

// rejectEvidence says how sure it is, and where to look.
func rejectEvidence(c cause, e *evidence, u *analyze.RuleUse) string {
	var parts []string
	if u != nil && u.Evidence != "" {
		parts = append(parts, quote(u.Evidence))
	} else {
		parts = append(parts, fmt.Sprintf("The first flow was explained so, with a confidence of %.2g: %s.", e.example.Confidence, quote(e.example.Evidence)))
	}
	where := []string{"cause " + string(e.example.Cause)}
	if e.example.CauseID != "" {
		where = append(where, "cause_id "+e.example.CauseID)
	}
	if c.rule != 0 {
		where = append(where, fmt.Sprintf("rule_number %d", c.rule))
	}
	where = append(where, "direction "+c.direction.String())
	parts = append(parts, fmt.Sprintf("In the report, the rejects with %s.", strings.Join(where, ", ")))
	parts = append(parts, fmt.Sprintf("One of them point by point: ephemera explain %s,%s LOGS.", e.of.client, e.of.server))
	return strings.Join(parts, " ")
}

// ruleOf returns the report's rule at which a flow was stopped, or nil.
func (f *finder) ruleOf(x *analyze.RejectedFlow, purpose string) *analyze.RuleUse {
	for i := range f.result.Rules {
		u := &f.result.Rules[i]
		if u.Stopped > 0 && u.Direction == x.Direction && u.Point == x.Point && u.Purpose == purpose &&
			(u.Filter == rules.SG.String()) == (x.Cause == analyze.CauseSG) && isAt(u, x) {
			return u
		}
	}
	return nil
}

// isAt reports whether a rule is of the filter that rejected the flow, or of
// its place where that is not known.
func isAt(u *analyze.RuleUse, x *analyze.RejectedFlow) bool {
	if x.CauseID != "" {
		return u.FilterID == x.CauseID
	}
	return u.FilterID == x.SubnetID || u.FilterID == x.InterfaceID
}

// setFilter names the filter.
func (f *finder) setFilter(a *Alert, id string, u *analyze.RuleUse) {
	a.FilterID = id
	if a.Kind == SGReject {
		a.Filter = rules.SG.String()
	}
	if u != nil && u.RulesKnown {
		a.Filter, a.FilterName = u.Filter, u.Name
	}
}

func (f *finder) describeOutside(a *Alert, c cause, e *evidence, t *text) {
	row := e.slot
	var u *analyze.RuleUse
	if e.example != nil {
		u, a.Point = f.ruleOf(e.example, c.purpose), e.example.Point
	} else {
		u = f.ruleWith(row)
	}
	f.setFilter(a, c.filter, u)
	a.Filter, a.Peer, a.Allowed = row.Filter, row.Peer, row.AllowedNow
	stopped, used := e.ports.Set(), e.used.Set()
	a.Ports = portWords(stopped.Union(used), c.purpose)
	t.subject = fmt.Sprintf("FTP %s port outside the range of %s %s", c.purpose, c.filter, c.direction)
	t.say("%s lets tcp %s through %s for %s, a range that was narrowed; FTP needs %s there, outside of it.",
		a.filterTitle(), list(row.AllowedNow), way(c.direction), row.Peer, list(a.Ports))
	if e.flows > 0 {
		t.say("It stopped %s because of that.", ftpConnections(e.flows, u))
		f.rejectFacts(a, e, t)
	}
	if !used.IsEmpty() {
		t.say("Connections to tcp %s passed here in the time of the report: from now on they would be stopped, unless the newest snapshot of the rules is out of date.",
			list(portWords(used, c.purpose)))
		t.fact("Report", between(f.result.Coverage.Start, f.result.Coverage.End))
	}
	if row.PortChosenBy == analyze.ChosenServer {
		t.need("Ask the server's operator for its passive range; then allow that, and at least tcp %s, %s in %s for %s.", list(a.Ports), way(c.direction), c.filter, row.Peer)
	} else {
		t.need("The clients' systems pick these ports: see their ephemeral range, and allow that, and at least tcp %s, %s in %s for %s.", list(a.Ports), way(c.direction), c.filter, row.Peer)
	}
	f.needRules(t)
	t.evidence = fmt.Sprintf("In the report, the port range of slot %s: allowed now %s, used %s, attempted %s.",
		row.Slot, list(row.AllowedNow), cmp.Or(list(row.Ranges), "none"), cmp.Or(list(row.AttemptedRanges), "none"))
}

// ruleWith returns the report's rule with a slot in it, or nil.
func (f *finder) ruleWith(row *analyze.PortDemand) *analyze.RuleUse {
	i := slices.IndexFunc(f.result.Rules, func(u analyze.RuleUse) bool {
		return u.FilterID == row.FilterID && u.Direction == row.Direction && u.Purpose == row.Purpose && u.ChosenBy == row.PortChosenBy
	})
	if i < 0 {
		return nil
	}
	return &f.result.Rules[i]
}

func (f *finder) describeSilent(a *Alert, c cause, e *evidence, t *text) {
	a.Peer = c.peer
	t.subject = fmt.Sprintf("FTP control connections to %s silent for too long behind a NAT gateway", c.filter)
	t.say("A NAT gateway forgot %s from %s to %s, mostly during a long transfer: it forgets what is silent for 350 s, and answers what follows with RST, so that the client hangs after the transfer.",
		plural(e.flows, "FTP control connection"), c.peer, c.filter)
	t.fact("Gateway", list(a.Interfaces)+e.interfaces.others())
	t.fact("Clients", list(a.Clients)+e.clients.others())
	t.fact("Server", c.filter)
	t.fact("Since", period(e))
	t.fact("Silence", e.reason)
	t.fact("Sessions", list(a.Sessions)+e.sessions.others())
	t.need("Let these clients keep the control connection alive at least every 300 s: TCP keepalives (Linux: net.ipv4.tcp_keepalive_time=300, and a client that sets SO_KEEPALIVE), or the client's NOOP or keep-alive setting.")
	t.need("No rule and no setting of the NAT gateway helps.")
	t.evidence = "In the report, the sessions with outcome idle-timeout."
}

func (f *finder) describeActive(a *Alert, c cause, e *evidence, t *text) {
	a.Peer = c.peer
	a.Ports = portWords(e.ports.Set(), data)
	t.subject = fmt.Sprintf("FTP in active mode with %s ends at NAT gateway %s", c.peer, c.filter)
	t.say("Server %s opened %s in active mode to NAT gateway %s, which forwards nothing that answers nothing: they cannot work, though the log may say ACCEPT.",
		c.peer, plural(e.flows, "FTP data connection"), c.filter)
	for _, n := range f.result.NATGateways {
		for _, addr := range n.Addrs {
			if addr.String() == c.filter {
				a.Interfaces = append(a.Interfaces, n.InterfaceID)
				t.fact("Gateway", list(slices.DeleteFunc([]string{n.GatewayID, n.InterfaceID, n.SubnetID}, func(s string) bool { return s == "" })))
			}
		}
	}
	t.fact("Clients", list(a.Clients)+e.clients.others())
	t.fact("Server", c.peer)
	t.fact("Ports", "tcp "+list(a.Ports))
	t.fact("Since", period(e))
	t.fact("Sessions", list(a.Sessions)+e.sessions.others())
	t.need("Switch these clients to passive mode (PASV, EPSV); no rule of a network ACL or security group can help.")
	t.evidence = "In the report, the data connections with mode active and died_at P4; the clients are those whose sessions were open then."
}

// describeBeyond tells of the causes that are not told one by one.
func (f *finder) describeBeyond() Alert {
	c := cause{kind: MoreCauses}
	a := Alert{ID: c.id(), Kind: c.kind, Flows: f.beyond, First: f.result.Coverage.Start, Last: f.result.Coverage.End}
	var t text
	t.subject = fmt.Sprintf("FTP fails for more than %d causes", maxCauses)
	t.say("FTP fails for more than %d causes; %s failed for others, of which no alert tells.", maxCauses, plural(f.beyond, "further flow"))
	t.need("Repair what the other alerts tell of, and read the report.")
	t.evidence = "In the report, the findings and the rejects."
	a.finish(&t)
	return a
}

// ftpConnections gives "55 of 116 FTP connections" or "1 FTP connection". How
// many passed is known of the report's rule.
func ftpConnections(n int, u *analyze.RuleUse) string {
	if u != nil && u.Passed > 0 && n <= u.Stopped && len(u.StoppedBy) == 1 {
		return fmt.Sprintf("%d of %s", n, plural(u.Stopped+u.Passed, "FTP connection"))
	}
	return plural(n, "FTP connection")
}

func way(d flow.Direction) string {
	if d == flow.Egress {
		return "outbound"
	}
	return "inbound"
}

// portRanges is how many ranges of ports an alert names.
const portRanges = 5

// portWords covers ports for people. Of ports that a system picks, holes mean
// nothing.
func portWords(s rules.PortSet, purpose string) []string {
	n := portRanges
	if purpose == reply {
		n = 1
	}
	var words []string
	for _, r := range rules.Cover(s, n).Ranges() {
		words = append(words, r.String())
	}
	return words
}

func list(words []string) string { return strings.Join(words, ", ") }

// plural gives "1 flow" or "3 flows".
func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

func period(e *evidence) string { return between(e.first, e.last) }

func between(first, last analyze.Time) string {
	return fmt.Sprintf("%s, last %s", moment(first), moment(last))
}

func moment(t analyze.Time) string {
	return time.Unix(int64(t), 0).UTC().Format("2006-01-02 15:04:05 UTC")
}
