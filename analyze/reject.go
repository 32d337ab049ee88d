package analyze

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"ephemera/ingest/flow"
	"ephemera/rules"
)

// A denial is why packets of one way of a leg were rejected. A way can have
// several: before and after a rule was edited, and late packets at its end.
type denial struct {
	cause      Cause
	id         string
	rule       int
	isDefault  bool
	also       []string
	words      string // what denied, for people
	ground     ground
	evidence   string
	confidence float64

	packets, bytes uint64
	records        int
	start, end     int64
}

// A ground is what the cause of a denial is known from.
type ground uint8

// The grounds.
const (
	groundRules   ground = iota // the rules in force
	groundRecord                // the record's reject-reason
	groundLog                   // the rules are not known; what the log leaves
	groundRefuted               // the rules that are known allow it
)

// either is what the log alone leaves of a first packet.
const either = "the security group or the network ACL"

// name names what denied, in a sentence about several connections.
func (d denial) name() string {
	if d.cause != CauseSG || d.ground != groundRules {
		return d.words
	}
	return strings.ReplaceAll(d.id, ";", " and ") + " (no rule allows it)"
}

// same reports whether two denials have one cause and can be one row.
func (d *denial) same(e *denial) bool {
	return d.cause == e.cause && d.id == e.id && d.rule == e.rule && slices.Equal(d.also, e.also)
}

func (d *denial) add(w window) {
	if d.records == 0 || w.start < d.start {
		d.start = w.start
	}
	d.end = max(d.end, w.end)
	d.packets += w.packets
	d.bytes += w.bytes
	d.records++
}

// An attributor finds what rejected packets. It remembers what the rules say
// and what follows, since few answers serve most packets. The zero values of
// the fields below stale are ready to use.
type attributor struct {
	history *rules.History
	stale   map[string]int // filter and direction whose rules contradict an ACCEPT, by connections

	checkers map[*rules.Network]*rules.Checker
	points   map[pointKey]*rules.Checkpoint
	recent   [4]recentPoint // of points; a connection asks of few interfaces again and again
	oldest   int            // of recent, the next to give way
	rulings  map[*rules.Answer]*ruling

	// asked are the ways of the connection that was verified last, and what the
	// rules say of them.
	asked []askedWay

	// What was returned last, whose memory serves again.
	denied []denial
	rows   []RejectedFlow
}

// pointKey is an interface under the rules of one snapshot.
type pointKey struct {
	iface   *Interface
	network *rules.Network
}

// pointAt returns the interface as the rules in force at a time know it.
func (a *attributor) pointAt(i *Interface, unix int64) *rules.Checkpoint {
	k := pointKey{i, a.history.At(unix)}
	for n := range a.recent {
		if r := &a.recent[n]; r.key == k {
			return r.point
		}
	}
	p := a.points[k]
	if p == nil {
		p = a.checker(k.network).Interface(i.ID)
		a.points[k] = p
	}
	a.recent[a.oldest] = recentPoint{k, p}
	a.oldest = (a.oldest + 1) % len(a.recent)
	return p
}

// recentPoint is an entry of attributor.points.
type recentPoint struct {
	key   pointKey
	point *rules.Checkpoint
}

// maxCheckers is how many snapshots are asked from memory. Connections come
// about in the order of time, so that those of long ago are not needed.
const maxCheckers = 8

func (a *attributor) checker(n *rules.Network) *rules.Checker {
	c := a.checkers[n]
	if c == nil {
		if a.checkers == nil || len(a.checkers) == maxCheckers {
			a.checkers, a.points = map[*rules.Network]*rules.Checker{}, map[pointKey]*rules.Checkpoint{}
		}
		c = rules.NewChecker(n)
		a.checkers[n] = c
	}
	return c
}

// denials explains every rejected window of one way of the leg. They are valid
// until the next call.
func (a *attributor) denials(l *Leg, fromInitiator bool) []denial {
	a.denied = a.denied[:0]
	for i := range l.windows {
		if w := &l.windows[i]; w.forward == fromInitiator && w.action == flow.Reject {
			a.deny(*w, a.explain(l, *w))
		}
	}
	return a.denied
}

// hasRejects reports whether packets of either way were rejected.
func (l *Leg) hasRejects() bool {
	for i := range l.windows {
		if l.windows[i].action == flow.Reject {
			return true
		}
	}
	return false
}

// deny counts a window with those that have the same cause.
func (a *attributor) deny(w window, d denial) {
	for i := range a.denied {
		if d.same(&a.denied[i]) {
			a.denied[i].add(w)
			return
		}
	}
	d.add(w)
	a.denied = append(a.denied, d)
}

// explain names the cause of one rejected window, in the order in which the
// evidence decides: what the record says itself, then whether the packet
// came too late for any rule, then the rules in force.
func (a *attributor) explain(l *Leg, w window) denial {
	switch w.reason {
	case reasonBPA:
		return denial{cause: CauseBPA, confidence: 1, ground: groundRecord, words: "VPC block public access", evidence: "reject-reason is BPA"}
	case reasonEC:
		return denial{cause: CauseEncryption, confidence: 1, ground: groundRecord, words: "VPC encryption controls", evidence: "reject-reason is EC"}
	}
	answer := a.check(l, w)
	late, why := lateness(l, w)
	if _, denied := answer.Deciding(); denied && (!late || !passedBefore(l, w)) {
		kind := ruled
		if l.wayFrom(w.forward).Accepted > 0 {
			kind = ruledBetween
		}
		return a.denialOf(l, w, answer, kind)
	}
	if late {
		return denial{cause: CauseLate, confidence: lateConfidence(l, answer.Check), words: "a late packet: " + why,
			evidence: why + "; " + ruleEvidence(a.withNotes(l, w, answer))}
	}
	return a.denialOf(l, w, answer, undecided(l, w, answer.Check))
}

// check evaluates the rules in force at the window's time.
func (a *attributor) check(l *Leg, w window) *rules.Answer {
	t, dir, reply := l.way(w.forward)
	return a.pointAt(l.Interface, w.start).Check(dir, t, reply)
}

// withNotes returns the check behind an answer with all its notes.
func (a *attributor) withNotes(l *Leg, w window, answer *rules.Answer) rules.Check {
	if !answer.NamesPeer {
		return answer.Check
	}
	t, dir, reply := l.way(w.forward)
	return a.history.At(w.start).Check(l.Interface.ID, dir, t, reply)
}

// way returns the header five-tuple and the direction of one way of the leg,
// and whether its packets answer packets that the interface let through: a
// stateful security group passes them unseen.
func (l *Leg) way(fromInitiator bool) (t flow.Tuple, d flow.Direction, reply bool) {
	if fromInitiator {
		return l.Header, l.FromInitiator.Direction, false
	}
	return l.Header.Reverse(), l.FromResponder.Direction, l.FromInitiator.Accepted > 0
}

// A ruling is what follows from one answer of the rules: a denial of each
// kind, made when it is first needed. Their windows are not counted.
type ruling [denialKinds]*denial

// A denialKind is how the rules and the log explain a REJECT together.
type denialKind uint8

// The kinds of denials.
const (
	ruled        denialKind = iota // the rules deny it
	ruledBetween                   // they do, and other packets of the way were accepted
	refuted                        // the rules allow it
	onlyACL                        // the rules are not known, at a NAT gateway
	answering                      // the rules are not known, and it answers what was accepted
	eitherLayer                    // the rules are not known, and nothing else tells
	denialKinds
)

// maxRulings is how many answers are remembered with what follows from them.
const maxRulings = 1 << 14

// denialOf returns the denial of a kind that follows from an answer.
func (a *attributor) denialOf(l *Leg, w window, answer *rules.Answer, kind denialKind) denial {
	if answer.NamesPeer {
		return kind.denial(a.withNotes(l, w, answer))
	}
	r := a.rulings[answer]
	if r == nil {
		if a.rulings == nil || len(a.rulings) >= maxRulings {
			a.rulings = map[*rules.Answer]*ruling{}
		}
		r = &ruling{}
		a.rulings[answer] = r
	}
	if r[kind] == nil {
		d := kind.denial(answer.Check)
		r[kind] = &d
	}
	return *r[kind]
}

// denial makes the denial of a kind.
func (k denialKind) denial(check rules.Check) denial {
	if k == ruled || k == ruledBetween {
		return byRule(check, k == ruledBetween)
	}
	return k.beyondRules(check)
}

// byRule is a denial that evaluating the rules explains.
func byRule(check rules.Check, between bool) denial {
	v, _ := check.Deciding()
	d := denial{cause: CauseNACL, id: v.ID, rule: v.RuleNumber, isDefault: v.Default, words: v.ID + " " + v.Rule, confidence: 0.99}
	if v.Layer == rules.SG {
		d.cause, d.words = CauseSG, v.Rule
	}
	for _, b := range check.AlsoDenied() {
		d.also = append(d.also, strings.TrimSpace(b.ID+" "+ruleName(b)))
	}
	d.evidence = ruleEvidence(check)
	if check.Unknown {
		d.confidence = 0.8
	}
	if between {
		d.confidence = 0.7
		d.evidence += "; other packets of this way were accepted: the rules may have been edited meanwhile"
	}
	return d
}

// ruleName gives "rule 100" or "rule *", and nothing for security groups.
func ruleName(v rules.Verdict) string {
	switch {
	case v.Layer == rules.SG:
		return ""
	case v.Default:
		return "rule *"
	}
	return fmt.Sprintf("rule %d", v.RuleNumber)
}

// ruleEvidence says what evaluating the rules gave.
func ruleEvidence(check rules.Check) string {
	var parts []string
	for _, v := range check.Verdicts {
		action := "denies"
		if v.Allow {
			action = "allows"
		}
		if v.Layer == rules.SG {
			parts = append(parts, fmt.Sprintf("security group %s %s: %s", v.ID, action, v.Rule))
		} else {
			parts = append(parts, fmt.Sprintf("%s %s: %s", v.ID, action, v.Rule))
		}
	}
	return strings.Join(append(parts, check.Notes...), "; ")
}

// passedBefore reports whether an earlier packet of the window's way was
// accepted: its rules cannot be what rejects the later one.
func passedBefore(l *Leg, w window) bool {
	first := l.wayFrom(w.forward).firstAccepted
	return first != 0 && first <= w.start
}

// wayFrom returns the way from the initiator, or that from the responder.
func (l *Leg) wayFrom(initiator bool) *Way {
	if initiator {
		return &l.FromInitiator
	}
	return &l.FromResponder
}

// latePackets is the most packets of a window that can still be stragglers.
const latePackets = 5

// lateness tells whether a rejected window came after its connection was
// over: closed by FIN or RST, or forgotten after natIdle seconds of silence.
// Nothing was accepted any more, either way, and the packets are few. Without
// TCP flags the end itself is the evidence.
func lateness(l *Leg, w window) (late bool, why string) {
	a, b := &l.FromInitiator, &l.FromResponder
	accepted := max(a.acceptedEnd, b.acceptedEnd)
	opens := w.flags.Has(flow.SYN) && !w.flags.Has(flow.ACK)
	switch {
	case accepted == 0 || w.packets > latePackets || opens:
		return false, ""
	case max(a.lastAccepted, b.lastAccepted) > w.end || accepted > w.start+1:
		return false, ""
	case a.closed || b.closed:
		return true, fmt.Sprintf("the connection was closed by FIN or RST %d s before", max(0, w.start-accepted))
	case w.start-accepted >= natIdle:
		return true, fmt.Sprintf("the connection had been silent for %d s, longer than a connection is remembered", w.start-accepted)
	case !l.HasFlags && passedBefore(l, w):
		return true, "the connection had ended: nothing was accepted any more"
	}
	return false, ""
}

func lateConfidence(l *Leg, check rules.Check) float64 {
	switch {
	case len(check.Verdicts) > 0 && l.HasFlags:
		return 0.97
	case l.HasFlags:
		return 0.9
	}
	return 0.8
}

// undecided tells how the log explains a REJECT when the rules are not known,
// or do not explain it.
func undecided(l *Leg, w window, check rules.Check) denialKind {
	_, _, reply := l.way(w.forward)
	switch {
	case len(check.Verdicts) > 0 && !check.Unknown:
		return refuted
	case l.Interface.NAT:
		return onlyACL
	case reply:
		return answering
	}
	return eitherLayer
}

// beyondRules is what can be said when the rules are not known, or do not
// explain the REJECT.
func (k denialKind) beyondRules(check rules.Check) denial {
	d := denial{cause: CauseUndetermined, confidence: 0.5, ground: groundLog, evidence: ruleEvidence(check)}
	switch k {
	case refuted:
		d.ground, d.words = groundRefuted, "not what the snapshot says"
		d.evidence = "the snapshot's rules allow it, so other rules were in force then: " + d.evidence
	case onlyACL:
		d.cause, d.confidence = CauseNACL, 0.9
		d.words = "the network ACL of the NAT gateway's subnet"
		d.evidence = joinNotes("a NAT gateway has no security group, so only the network ACL is left", d.evidence)
	case answering:
		d.cause, d.confidence = CauseNACL, 0.85
		d.words = "the network ACL of the interface's subnet"
		d.evidence = joinNotes("it answers a flow that was accepted here; a stateful security group lets answers pass", d.evidence)
	default:
		d.words = either
		d.evidence = joinNotes("a first packet can be rejected by the security group or by the network ACL", d.evidence)
	}
	return d
}

func joinNotes(a, b string) string {
	if b == "" {
		return a
	}
	return a + "; " + b
}

// verify compares an accepted way with the rules in force then. A snapshot
// that would have denied it is stale.
func (a *attributor) verify(l *Leg, fromInitiator bool) {
	way := l.wayFrom(fromInitiator)
	if way.Accepted == 0 || way.Rejected > 0 {
		return
	}
	q := question{iface: l.Interface, time: way.First}
	q.tuple, q.direction, q.reply = l.way(fromInitiator)
	answer := a.ask(&q)
	a.asked = append(a.asked, askedWay{q, answer})
	if v, denied := answer.Deciding(); denied {
		a.stale[v.ID+" "+q.direction.String()]++
	}
}

// A question is a packet at an interface at a time.
type question struct {
	iface     *Interface
	tuple     flow.Tuple // header addresses, in the direction of the packet
	time      int64
	direction flow.Direction
	reply     bool // answers what a security group there has let through
}

// askedWay is a question with its answer.
type askedWay struct {
	question
	answer *rules.Answer
}

// ask evaluates the rules in force then.
func (a *attributor) ask(q *question) *rules.Answer {
	return a.pointAt(q.iface, q.time).Check(q.direction, q.tuple, q.reply)
}

// peer is the far end from the interface's point of view.
func (q *question) peer() flow.Addr {
	if q.direction == flow.Egress {
		return q.tuple.Dst
	}
	return q.tuple.Src
}

// isLike reports whether rules see no difference between two questions.
func (q *question) isLike(p *question) bool {
	return q.iface == p.iface && q.time == p.time && q.direction == p.direction && q.reply == p.reply &&
		q.tuple.DstPort == p.tuple.DstPort && q.tuple.Proto == p.tuple.Proto && q.peer() == p.peer()
}

// staleWarnings says which filters contradict the traffic.
func (a *attributor) staleWarnings() []string {
	var ws []string
	for _, k := range sortedKeys(a.stale) {
		ws = append(ws, fmt.Sprintf("the snapshot is stale: by its rules %s would have denied %d connections that were accepted", k, a.stale[k]))
	}
	return ws
}

// rejectedFlow makes the row of one denial.
func rejectedFlow(l *Leg, p Point, fromInitiator bool, d denial) RejectedFlow {
	seen := l.Seen
	header, dir, _ := l.way(fromInitiator)
	if !fromInitiator {
		seen = seen.Reverse()
	}
	r := RejectedFlow{
		InterfaceID: l.Interface.ID, SubnetID: l.Interface.SubnetID, Direction: dir, Point: p,
		SrcAddr: seen.Src, DstAddr: seen.Dst, SrcPort: seen.SrcPort, DstPort: seen.DstPort, Protocol: uint8(seen.Proto),
		Packets: d.packets, Bytes: d.bytes, Records: d.records, Start: Time(d.start), End: Time(d.end),
		Cause: d.cause, CauseID: d.id, RuleNumber: d.rule, RuleDefault: d.isDefault, AlsoDeniedBy: d.also,
		Confidence: d.confidence, Evidence: d.evidence,
	}
	if l.HasHeader {
		r.PktSrcAddr, r.PktDstAddr = header.Src, header.Dst
	}
	return r
}

func compareRejects(a, b RejectedFlow) int {
	return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.InterfaceID, b.InterfaceID),
		a.SrcAddr.Compare(b.SrcAddr), cmp.Compare(a.SrcPort, b.SrcPort),
		a.DstAddr.Compare(b.DstAddr), cmp.Compare(a.DstPort, b.DstPort), cmp.Compare(a.Protocol, b.Protocol),
		cmp.Compare(a.End, b.End), cmp.Compare(a.Cause, b.Cause), cmp.Compare(a.CauseID, b.CauseID), cmp.Compare(a.RuleNumber, b.RuleNumber))
}
