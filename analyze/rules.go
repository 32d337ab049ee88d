package analyze

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"ephemera/analyze/picker"
	"ephemera/ingest/flow"
	"ephemera/rules"
)

// A ruleKey is one of the rules that FTP needs on its way: a filter, at a
// point, for a purpose.
type ruleKey struct {
	point    Point
	layer    rules.Layer
	filter   string
	dir      flow.Direction
	purpose  string
	chosenBy string
}

// compare puts the rules in the order in which a connection meets them.
func (k ruleKey) compare(l ruleKey) int {
	return cmp.Or(cmp.Compare(k.place(), l.place()), cmp.Compare(k.metAs(), l.metAs()), cmp.Compare(k.filter, l.filter),
		cmp.Compare(k.purpose, l.purpose), cmp.Compare(k.chosenBy, l.chosenBy))
}

// place orders the points along the way; a server's interface in the VPC
// comes behind P3.
func (k ruleKey) place() int {
	switch {
	case k.point != NoPoint:
		return 10 * int(k.point)
	case k.dir == flow.Ingress:
		return 10*int(P3) + 1
	}
	return 10*int(P3) + 2
}

// metAs orders the layers at one point: on the way out the security group
// comes first, on the way in the network ACL.
func (k ruleKey) metAs() int {
	if (k.dir == flow.Egress) == (k.layer == rules.SG) {
		return 0
	}
	return 1
}

// A ruleUse collects what FTP connections did at one rule.
type ruleUse struct {
	key             ruleKey
	used, attempted rules.PortBitmap
	attempts        picker.Sample
	stoppedPorts    rules.PortBitmap
	byServer        map[flow.Addr]*rules.PortBitmap
	peers           map[flow.Addr]bool
	entries         map[string]bool
	passed, stopped int
	stoppedBy       map[string]bool
	denies          map[string]bool // those of stoppedBy that are an entry of their own, not the default
	grounds         map[ground]*groundUse
}

// groundUse counts the stopped connections of one ground.
type groundUse struct {
	stopped int
	by      map[string]bool // what denied
}

func (d *demand) use(k ruleKey) *ruleUse {
	u := d.uses[k]
	if u == nil {
		u = &ruleUse{key: k, byServer: map[flow.Addr]*rules.PortBitmap{}, peers: map[flow.Addr]bool{},
			entries: map[string]bool{}, stoppedBy: map[string]bool{}, denies: map[string]bool{}, grounds: map[ground]*groundUse{}}
		d.uses[k] = u
	}
	return u
}

// ruleUses makes the list of the rules that FTP met: eleven for passive FTP
// through a NAT gateway.
func (d *demand) ruleUses() []RuleUse {
	var rows []RuleUse
	for i, k := range slices.SortedFunc(maps.Keys(d.uses), ruleKey.compare) {
		rows = append(rows, d.ruleRow(i+1, d.uses[k]))
	}
	return rows
}

// fate returns how far an FTP connection came.
func (r roles) fate() fate {
	if r.session != nil {
		return r.session.fate
	}
	return r.data.fate
}

// certainFTP is how probable it must be that a stopped connection was FTP
// before its port counts in a proposal: one that was not would widen the
// range for nothing. What worked always counts, so that it goes on working.
const certainFTP = 0.9

func (r roles) certain() bool {
	d := r.data
	return d == nil || d.fate.established || d.isFTP >= certainFTP
}

// add counts one FTP connection at the rule.
func (u *ruleUse) add(c *Connection, h *hop, rule string, r roles) {
	u.attempted.Add(h.tuple.DstPort)
	u.attempts.Add(c.Start, h.tuple.DstPort, c.Tuple.Hash())
	u.peers[h.peer()] = true
	if r.certain() {
		server := c.Tuple.Dst
		if u.byServer[server] == nil {
			u.byServer[server] = &rules.PortBitmap{}
		}
		u.byServer[server].Add(h.tuple.DstPort)
	}
	if h.passed {
		u.passed++
		u.used.Add(h.tuple.DstPort)
		if rule != "" {
			u.entries[rule] = true
		}
	}
	u.stop(h, r.fate())
}

// stop counts the connection if it was here that it was stopped.
func (u *ruleUse) stop(h *hop, f fate) {
	if f.denial != nil && h.leg != nil && f.at == (stop{h.point, h.leg, h.fromInitiator}) && (f.denial.cause == CauseSG) == (u.key.layer == rules.SG) {
		u.stopped++
		u.stoppedPorts.Add(h.tuple.DstPort)
		u.stoppedBy[f.denial.words] = true
		g := u.grounds[f.denial.ground]
		if g == nil {
			g = &groundUse{by: map[string]bool{}}
			u.grounds[f.denial.ground] = g
		}
		g.stopped++
		g.by[f.denial.name()] = true
		if f.denial.cause == CauseNACL && f.denial.rule != 0 && !f.denial.isDefault {
			u.denies[f.denial.words] = true
		}
	}
}

// ruleRow describes a rule's use, and says whether it can be narrowed.
func (d *demand) ruleRow(number int, u *ruleUse) RuleUse {
	k := u.key
	used, attempted := u.used.Set(), u.attempted.Set()
	row := RuleUse{
		Number: number, Filter: k.layer.String(), FilterID: k.filter, Name: d.filterName(k), Direction: k.dir, Point: k.point,
		Purpose: k.purpose, ChosenBy: k.chosenBy, Peer: peerWords(k), Entries: sortedKeys(u.entries),
		Passed: u.passed, Stopped: u.stopped, StoppedBy: sortedKeys(u.stoppedBy),
	}
	row.Title = ruleTitle(row)
	some, every, known := d.allowedFor(u)
	row.RulesKnown, row.Allowed = known, ranges(some)
	row.Used, row.Attempted = ranges(d.show(k, used, some)), ranges(d.show(k, attempted, rules.PortSet{}))
	p := d.propose(u, some, every, known)
	row.Verdict, row.Proposal, row.Why = p.verdict, ranges(p.ports), sentence(p.why)
	row.Others = ranges(p.others)
	row.estimate(p.estimate)
	row.Curve = curve(used)
	row.Advice, row.Evidence = u.advice(row), u.evidence(row)
	return row
}

// estimate fills in what is known of the ports to come.
func (row *RuleUse) estimate(e picker.Estimate) {
	for _, f := range e.Fits {
		row.Fits = append(row.Fits, fitText(f))
	}
	if e.Safe.Tested == 0 {
		return
	}
	row.Backtest = &Backtest{
		Lost: e.Safe.Lost, Tested: e.Safe.Tested, Low: round(e.Safe.Low), High: round(e.Safe.High), Outside: round(e.Safe.Outside),
	}
}

// show covers the ports of a rule for people. Where a host or a NAT gateway
// picks from one wide range, holes in what was observed mean nothing, except
// those that the filter makes: it covers no port outside allowed, unless that
// is empty.
func (d *demand) show(k ruleKey, s, allowed rules.PortSet) rules.PortSet {
	if k.chosenBy != ChosenClient && k.chosenBy != ChosenNAT {
		return rules.Cover(s, d.entries)
	}
	cover := rules.Cover(s, 1)
	if !allowed.IsEmpty() {
		cover = cover.Intersect(allowed)
	}
	return cover
}

// list writes ports in a sentence.
func list(s rules.PortSet) string { return strings.Join(ranges(s), ", ") }

// sentence makes words a sentence.
func sentence(words string) string {
	if words == "" {
		return ""
	}
	return strings.ToUpper(words[:1]) + words[1:] + "."
}

// filterName returns the Name tag of a network ACL or the name of a security
// group; of a filter that no snapshot knows, what it belongs to.
func (d *demand) filterName(k ruleKey) string {
	for _, n := range d.topo.networks {
		if a := n.ACL(k.filter); a != nil {
			return a.Name
		}
		if g := n.Group(k.filter); g != nil {
			return g.Name
		}
	}
	if k.layer == rules.NACL {
		return "network ACL of " + k.filter
	}
	return "security groups in " + k.filter
}

func peerWords(k ruleKey) string {
	switch {
	case k.point == P2 || k.point == P5 || k.point == NoPoint:
		return "clients"
	}
	return "servers"
}

// ruleTitle gives "public-nacl inbound: replies from the servers".
func ruleTitle(r RuleUse) string {
	way := "inbound"
	if r.Direction == flow.Egress {
		way = "outbound"
	}
	what := map[string]string{
		purposeControl: "control", purposeData: "data", purposeReply: "replies",
	}[r.Purpose]
	from := " from the "
	if r.Direction == flow.Egress {
		from = " to the "
	}
	return fmt.Sprintf("%s %s: %s%s%s", cmp.Or(r.Name, r.FilterID), way, what, from, r.Peer)
}

// allowedFor returns the ports that the filter lets through for some, and for
// every one of the rule's peers, by the newest snapshot. Known is false, and
// both are empty, when that does not have the filter.
func (d *demand) allowedFor(u *ruleUse) (some, every rules.PortSet, known bool) {
	every = rules.AllPorts()
	for a := range u.peers {
		k := slotKey{layer: u.key.layer, filter: u.key.filter, direction: u.key.dir, proto: flow.TCP}
		s, ok := d.allowed(k, netip.PrefixFrom(a.Netip(), a.Netip().BitLen()))
		if !ok {
			return rules.PortSet{}, rules.PortSet{}, false
		}
		some, every = some.Union(s), every.Intersect(s)
	}
	return some, every, true
}

// advice says what to change when the rule stops connections.
func (u *ruleUse) advice(row RuleUse) string {
	ports, place := strings.Join(row.Proposal, ", "), row.FilterID
	if row.Name != "" && row.Name != row.FilterID {
		place = fmt.Sprintf("%s (%s)", row.Name, row.FilterID)
	}
	switch {
	case row.Verdict != VerdictFix:
		return ""
	case u.grounds[groundRecord] != nil && len(u.grounds) == 1:
		return fmt.Sprintf("Change %s; no entry of %s helps.", strings.Join(row.StoppedBy, " and "), place)
	case !row.RulesKnown && u.grounds[groundRules] == nil:
		return fmt.Sprintf("See that the %s lets tcp %s through. With the rules (--network), the entry is named.", undecidedName(row, row.Name), ports)
	case len(u.denies) > 0:
		return fmt.Sprintf("In %s take away %s, or put an entry with a lower number before it that allows tcp %s.",
			place, strings.Join(sortedKeys(u.denies), " and "), ports)
	}
	words := fmt.Sprintf("Allow tcp %s in %s.", ports, place)
	if row.Point == P6 && row.Purpose == purposeData && row.Filter == rules.SG.String() {
		words += " Passive mode would do without it."
	}
	return words
}

// undecidedName puts both filters into a text that names the network ACL of a
// place where the log does not tell which of them stopped connections.
func undecidedName(row RuleUse, text string) string {
	if !slices.Contains(row.StoppedBy, either) {
		return text
	}
	return strings.Replace(text, "network ACL of ", "security group or network ACL of ", 1)
}

// evidence says what the count of stopped connections stands on.
func (u *ruleUse) evidence(row RuleUse) string {
	if u.stopped == 0 {
		return ""
	}
	var parts []string
	for _, g := range sortedKeys(u.grounds) {
		parts = append(parts, u.groundWords(g))
	}
	words := strings.Join(parts, ". ")
	if u.passed == 0 {
		return words + ". Nothing passed here."
	}
	words += fmt.Sprintf("; %s passed here", plural(u.passed, "other"))
	if len(u.entries) > 0 {
		words += ", let through by " + strings.Join(row.Entries, ", ")
	}
	return words + "." + u.apart()
}

// groundWords says what was stopped on one ground.
func (u *ruleUse) groundWords(g ground) string {
	use := u.grounds[g]
	by := strings.Join(sortedKeys(use.by), ", ")
	which := fmt.Sprintf("%d of %d", use.stopped, u.stopped)
	switch {
	case u.stopped == 1:
		which = "the one"
	case use.stopped == u.stopped:
		which = fmt.Sprintf("all %d", u.stopped)
	}
	switch g {
	case groundRecord:
		return fmt.Sprintf("The records' reject-reason names %s for %s", by, which)
	case groundLog:
		return fmt.Sprintf("The rules are not known; the log alone leaves %s for %s", by, which)
	case groundRefuted:
		return fmt.Sprintf("The snapshot's rules allow %s, so other rules were in force then", which)
	}
	return fmt.Sprintf("The rules then in force name %s for %s", by, which)
}

// apart tells the ports that passed from those that were stopped, if they do
// not mix: that shows a narrowed range even where the rules are not known.
func (u *ruleUse) apart() string {
	passed, stopped := rules.Cover(u.used.Set(), 1), rules.Cover(u.stoppedPorts.Set(), 1)
	if !passed.Intersect(stopped).IsEmpty() {
		return ""
	}
	return fmt.Sprintf(" All that passed went to ports %s, all that was stopped to %s.", list(passed), list(stopped))
}

// A proposal is what to do with a rule, and why.
type proposal struct {
	verdict string
	ports   rules.PortSet
	others  rules.PortSet // what other traffic needs from the same entries
	why     string
	// estimate is what is known of who picks the ports; without Fits when
	// nobody does.
	estimate picker.Estimate
}

// propose judges one rule. Who picks the port decides: a fixed port needs no
// range, a NAT gateway's range cannot be narrowed whatever was observed, a
// server's passive range and a client's ephemeral range can.
func (d *demand) propose(u *ruleUse, some, every rules.PortSet, known bool) proposal {
	attempted := u.attempted.Set()
	var p proposal
	switch u.key.chosenBy {
	case ChosenFixed:
		p = proposal{verdict: VerdictKeep, ports: attempted, why: "the port is fixed"}
	case ChosenNAT:
		p = proposal{verdict: VerdictKeep, ports: rules.Ports(natRange), why: "the NAT gateway picks these ports from 1024-65535, whatever was observed: narrowing breaks connections at random"}
	case ChosenServer:
		p = d.serverProposal(u)
	default:
		p = d.clientProposal(u)
	}
	p = d.keepOthers(u, p)
	return judge(u, p, some, every, known)
}

// osRange holds the ephemeral port ranges of Linux, Windows and macOS.
var osRange = rules.PortRange{From: 32768, To: 65535}

// clientProposal is for ports that the clients' operating systems pick.
func (d *demand) clientProposal(u *ruleUse) proposal {
	e := d.clientsAt(u)
	if e.Keep != "" {
		ports := rules.Ports(natRange)
		if u.attempted.Set().Subtract(rules.Ports(osRange)).IsEmpty() {
			ports = rules.Ports(osRange)
		}
		return proposal{verdict: VerdictKeep, ports: ports, why: e.Keep, estimate: e}
	}
	why := fmt.Sprintf("the clients' operating system picks these ports; those seen fit %s", fitWords(e))
	return proposal{verdict: VerdictNarrow, ports: e.Safe.Ports, why: why, estimate: e}
}

// clientsAt estimates the ports of the hosts behind a rule, from all their
// connections through it. When none came as far as here, those attempted
// stand for them.
func (d *demand) clientsAt(u *ruleUse) picker.Estimate {
	k := behindKey{u.key.layer, u.key.filter, u.key.dir, flow.TCP, ChosenClient, true}
	if d.pickers.behind[k] != nil {
		return d.pickers.hosts(k)
	}
	return picker.Infer(&u.attempts, picker.ClientOS, picker.Options{Entries: d.entries})
}

// fitWords names the ranges that fit what was seen, with their probabilities.
func fitWords(e picker.Estimate) string {
	var words []string
	for _, f := range e.Fits {
		if f.Probability >= 0.005 {
			words = append(words, fmt.Sprintf("%s (%s) with %.0f %%", f.Name, f.Ports, 100*f.Probability))
		}
	}
	return strings.Join(words, ", ")
}

// serverProposal is for ports that the FTP servers pick, each from a range of
// its own. A server of which too little was seen keeps all ports that it may
// use.
func (d *demand) serverProposal(u *ruleUse) proposal {
	servers := slices.SortedFunc(maps.Keys(u.byServer), flow.Addr.Compare)
	var words []string
	for _, a := range servers {
		e := d.pickers.server(a)
		so := "so " + list(e.Safe.Ports)
		if e.Keep != "" {
			so = e.Keep
		}
		words = append(words, fmt.Sprintf("%s used %s (%s)", a, list(rules.Cover(u.byServer[a].Set(), 1)), so))
	}
	e := d.passive(servers)
	why := "the servers pick these ports: " + firstOf(words, len(words)) + "; ask their operators for the configured passive ranges (--passive-range) to be sure"
	return proposal{verdict: VerdictNarrow, ports: e.Safe.Ports, why: why, estimate: e}
}

// worse returns the estimate for two pickers of which it is not known which
// comes next: the larger bound, and the back-tests of both.
func worse(a, b picker.Estimate) picker.Estimate {
	a.Fits = append(a.Fits, b.Fits...)
	a.Safe = worseProposal(a.Safe, b.Safe)
	a.Observed = worseProposal(a.Observed, b.Observed)
	a.Keep = cmp.Or(a.Keep, b.Keep)
	return a
}

func worseProposal(a, b picker.Proposal) picker.Proposal {
	return picker.Proposal{
		Ports: a.Ports.Union(b.Ports), Outside: max(a.Outside, b.Outside), Lost: a.Lost + b.Lost, Tested: a.Tested + b.Tested,
		Low: min(a.Low, b.Low), High: max(a.High, b.High),
	}
}

// otherRanges is how many ranges of other traffic's ports are told apart.
const otherRanges = 8

// keepOthers names what other traffic needs from the entries that let this
// rule's traffic pass: a network ACL serves its whole subnet, and narrowing
// for FTP alone would break it.
func (d *demand) keepOthers(u *ruleUse, p proposal) proposal {
	if p.verdict != VerdictNarrow {
		return p
	}
	if others := d.others(u).Subtract(p.ports); !others.IsEmpty() {
		p.others = rules.Cover(others, otherRanges)
		p.why += fmt.Sprintf("; other traffic passes the same entry and needs %s: keep an entry for it", list(p.others))
	}
	return p
}

// others returns the ports that traffic other than FTP used at the rule's
// filter, with peers on the same side of it, let through by an entry that
// also lets FTP through.
func (d *demand) others(u *ruleUse) rules.PortSet {
	var all rules.PortBitmap
	for k, s := range d.slots {
		if k.layer != u.key.layer || k.filter != u.key.filter || k.direction != u.key.dir || k.proto != flow.TCP || k.purpose != purposeOther {
			continue
		}
		for peer, p := range s.all() {
			if d.sameSide(peer, u.peers) && sharesEntry(p.entries, u.entries) {
				all.AddSet(p.used())
			}
		}
	}
	return all.Set()
}

// sameSide reports whether a peer lies, like the rule's own peers, inside
// the VPC or outside it.
func (d *demand) sameSide(peer netip.Prefix, peers map[flow.Addr]bool) bool {
	inside := d.topo.inside(flow.AddrFrom(peer.Addr()))
	for a := range peers {
		if d.topo.inside(a) == inside {
			return true
		}
	}
	return false
}

// sharesEntry reports whether two sets of entries have one in common; where
// the rules are not known, they may.
func sharesEntry(a []string, b map[string]bool) bool {
	return slices.ContainsFunc(a, func(e string) bool { return b[e] }) || len(a) == 0 && len(b) == 0
}

// worthNarrowing is the share of today's ports that a narrower range must
// save to be worth its entries.
const worthNarrowing = 0.25

// judge compares the proposal with what is allowed now for some and for every
// one of the rule's peers.
func judge(u *ruleUse, p proposal, some, every rules.PortSet, known bool) proposal {
	missing := p.ports.Subtract(every)
	saved := float64(some.Subtract(p.ports).Len())
	switch {
	case u.stopped > 0 && known && !missing.IsEmpty():
		p.verdict = VerdictFix
		p.why = fmt.Sprintf("it stops connections: %s is not allowed; %s", list(rules.Cover(missing, DefaultEntries)), p.why)
	case u.stopped > 0:
		p.verdict = VerdictFix
		p.why = "it stops connections; " + p.why
	case known && some.IsEmpty() && u.passed == 0:
		p.verdict = VerdictFix
		p.why = "it allows none of these ports, and no connection came as far as here; " + p.why
	case p.verdict == VerdictNarrow && !some.IsEmpty() && saved < worthNarrowing*float64(some.Len()):
		p.verdict = VerdictKeep
		p.why = "narrowing it would save little; " + p.why
	}
	return p
}
