package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"ephemera/analyze"
	"ephemera/ingest/flow"
	"ephemera/rules"
)

// rulesCommand makes the proposal that a report shows.
const rulesCommand = "ephemera rules --network NETWORK --out proposal SOURCE..."

// maxChanges is how many entries of each kind the page lists, those that
// change and those that stay. Network ACLs hold some dozens.
const maxChanges = 1000

// proposal is the section of the page that sets today's rules beside the
// proposed ones.
type proposal struct {
	Command string
	Summary []sentence
	Needed  int
	Opened  []string
	Closed  []string
	Counts  []replayCount // none without a replay

	Rules  []comparison
	Curves []curve

	// Changed and Staying are rows of rules.csv, by filter; ChangedTotal and
	// StayingTotal count all of them, and Cut tells that some are not here.
	Changed, Staying           []filterChanges
	ChangedTotal, StayingTotal int
	Cut                        bool
	Text                       string // what changes, to be copied
	Kept                       []analyze.KeptRule
}

// newProposal returns nil when the rules are not known.
func newProposal(r *analyze.Result) *proposal {
	if r.Proposal == nil {
		return nil
	}
	p := &proposal{
		Command: rulesCommand, Needed: r.Proposal.Needed, Opened: r.Proposal.Opened, Closed: r.Proposal.Closed,
		Counts: replayCounts(r.Replay), Curves: newCurves(r.Rules), Kept: r.Proposal.Kept,
	}
	for _, s := range r.Proposal.Summary {
		p.Summary = append(p.Summary, newSentence(s))
	}
	for _, u := range r.Rules {
		p.Rules = append(p.Rules, newComparison(u, r))
	}
	p.setChanges(r.Changes)
	return p
}

// sentence is one of a proposal's summary: where something changes, and what
// becomes of it.
type sentence struct{ Place, Becomes string }

func newSentence(words string) sentence {
	place, becomes, found := strings.Cut(words, ": ")
	if !found {
		return sentence{Becomes: words}
	}
	return sentence{place, becomes}
}

// replayCount is one of the counts of a replay.
type replayCount struct {
	analyze.ReplayCount
	Kind  string
	Label string
}

// replayCounts are the counts of a replay that say something.
func replayCounts(r *analyze.Replay) []replayCount {
	if r == nil {
		return nil
	}
	counts := []replayCount{
		{r.Passing, "passing", "pass today, and would pass"},
		{r.Lost, "lost", "pass today, and would be stopped"},
		{r.Repaired, "repaired", "are stopped today, and would pass"},
		{r.Stopped, "stopped", "are stopped today, and would be"},
	}
	for _, c := range []replayCount{
		{r.Partly, "partly", "are stopped today, and would pass or not by the port that the NAT gateway picks"},
		{r.Unwanted, "unwanted", "are let in today and answered by nothing, as scans are, and would be stopped"},
		{r.Admitted, "admitted", "come to the NAT gateway unasked, are stopped before it today, and would reach it, which drops them"},
		{r.Unknown, "unknown", "meet filters that the rules do not say"},
	} {
		if c.All > 0 {
			counts = append(counts, c)
		}
	}
	return counts
}

// comparison is a rule of today beside what would serve it.
type comparison struct {
	analyze.RuleUse
	Entries  []string // without the security group, which stands beside them
	Proposed []string
	// Today and Then count the ports that the entries let through; -1 when
	// their words do not tell.
	Today, Then int
	Becomes     string // stays, narrow, fix, changes
	Reason      string
}

// What becomes of a rule, beside the verdicts on it.
const (
	becomesStays   = "stays"
	becomesChanges = "changes"
)

func newComparison(u analyze.RuleUse, r *analyze.Result) comparison {
	c := comparison{RuleUse: u, Entries: withoutFilter(u), Proposed: proposedFor(u, r.Changes), Becomes: u.Verdict}
	c.Today, c.Then = countPorts(c.Entries), countPorts(c.Proposed)
	switch {
	case slices.Equal(c.Entries, c.Proposed):
		c.Becomes, c.Reason = becomesStays, whyKept(u, r.Proposal.Kept)
	case u.Verdict == analyze.VerdictFix:
		c.Reason = u.Why
	case u.Verdict == analyze.VerdictKeep || c.Then >= c.Today:
		c.Becomes, c.Reason = becomesChanges, "Its entries change for what else passes them."
	default:
		c.Reason = backtestShort(u.Backtest)
	}
	return c
}

// withoutFilter returns the entries of a rule without the security groups,
// which stand beside them: "all to 0.0.0.0/0 (sg-0a1)".
func withoutFilter(u analyze.RuleUse) []string {
	entries := make([]string, len(u.Entries))
	for i, words := range u.Entries {
		entries[i] = strings.TrimSuffix(words, " ("+u.FilterID+")")
	}
	return entries
}

// proposedFor returns the entries that would serve a rule. Where none is for
// its purpose, it is what takes the place of the entries that decide today.
func proposedFor(u analyze.RuleUse, changes []analyze.RuleChange) []string {
	if len(u.Proposed) > 0 {
		return u.Proposed
	}
	var words []string
	today := withoutFilter(u)
	for _, c := range changes {
		if c.FilterID == u.FilterID && c.Direction == u.Direction && c.Replaces != "" && slices.Contains(today, c.Replaces) {
			words = append(words, entryWords(c))
		}
	}
	return words
}

// whyKept says why a rule stays as wide as it is.
func whyKept(u analyze.RuleUse, kept []analyze.KeptRule) string {
	today := withoutFilter(u)
	for _, k := range kept {
		whole := k.Direction == flow.Direction(0) // all entries of the filter
		if k.FilterID == u.FilterID && (whole || k.Direction == u.Direction && slices.Contains(today, k.Rule)) {
			return k.Why
		}
	}
	return u.Why
}

// countPorts counts the ports that entries in words let through, or returns
// -1 when the words do not tell.
func countPorts(entries []string) int {
	all := rules.PortSet{}
	for _, words := range entries {
		ports, ok := portsIn(words)
		if !ok {
			return -1
		}
		all = all.Union(ports)
	}
	if len(entries) == 0 {
		return -1
	}
	return all.Len()
}

// portsIn reads the ports that an entry lets through out of its words, as in
// "rule 110 allow tcp 1024-65535 to 0.0.0.0/0" and "all from sg-0a1".
func portsIn(words string) (rules.PortSet, bool) {
	f := strings.Fields(words)
	if len(f) > 3 && f[0] == "rule" {
		if f[2] == "deny" {
			return rules.PortSet{}, true
		}
		f = f[3:]
	}
	if len(f) < 3 {
		return rules.PortSet{}, false
	}
	toPeer := f[1] == "to" || f[1] == "from"
	switch {
	case f[0] != "all" && f[0] != flow.TCP.String() && f[0] != flow.UDP.String():
		return rules.PortSet{}, false
	case toPeer:
		return rules.AllPorts(), true
	}
	ports, err := rules.ParsePorts(f[1])
	return ports, err == nil
}

// curve is the price of covering the ports of rules with ever more entries,
// and who picks those ports. Rules that see the same ports share one.
type curve struct {
	Name     string       `json:"name"`  // of the chart
	Rules    string       `json:"rules"` // "Rules 2, 4 and 8"
	ChosenBy string       `json:"-"`
	Points   []curvePoint `json:"points"`
	Steps    string       `json:"steps"` // the points in words
	Fits     []fit        `json:"-"`
	Backtest string       `json:"-"`
	// Now and Proposal are points, too: today's entries, and the ranges that
	// are proposed for FTP.
	Now      []curvePoint `json:"now"`
	Proposal []curvePoint `json:"proposal"`

	numbers []int
	key     string
}

// curvePoint is how many ports a number of entries lets through.
type curvePoint struct {
	Entries int `json:"entries"`
	Ports   int `json:"ports"`
}

// fit is a range that ports may have been picked from.
type fit struct{ Name, Probability string }

// newCurves returns the curves of the rules whose ports somebody picks.
func newCurves(all []analyze.RuleUse) []curve {
	var curves []curve
	for _, u := range all {
		if u.ChosenBy == analyze.ChosenFixed || len(u.Curve)+len(u.Fits) == 0 {
			continue
		}
		key := fmt.Sprintf("%q %q %q %q", u.ChosenBy, u.Curve, u.Fits, backtestWords(u.Backtest))
		i := slices.IndexFunc(curves, func(c curve) bool { return c.key == key })
		if i < 0 {
			i = len(curves)
			curves = append(curves, newCurve(u, key, i))
		}
		curves[i].addRule(u)
	}
	return curves
}

// drawnCurves are the curves of the page that have a chart.
func drawnCurves(r *analyze.Result) []curve {
	if r.Proposal == nil {
		return []curve{}
	}
	return slices.DeleteFunc(newCurves(r.Rules), func(c curve) bool { return len(c.Points) == 0 })
}

func newCurve(u analyze.RuleUse, key string, i int) curve {
	c := curve{
		Name: fmt.Sprintf("curve-%d", i), ChosenBy: u.ChosenBy, Backtest: backtestWords(u.Backtest), key: key,
		Points: []curvePoint{}, Now: []curvePoint{}, Proposal: []curvePoint{},
	}
	for _, words := range u.Curve {
		var p curvePoint
		if n, err := fmt.Sscanf(words, "%d=%d", &p.Entries, &p.Ports); n == 2 && err == nil && p.Entries > 0 && p.Ports > 0 {
			c.Points = append(c.Points, p)
		}
	}
	c.Steps = stepWords(c.Points)
	for _, words := range u.Fits {
		c.Fits = append(c.Fits, newFit(words))
	}
	return c
}

// addRule adds a rule that sees the same ports.
func (c *curve) addRule(u analyze.RuleUse) {
	c.numbers = append(c.numbers, u.Number)
	c.Rules = ruleNumbers(c.numbers)
	c.Now = addPoint(c.Now, len(u.Entries), countPorts(u.Entries))
	if ports, err := rules.ParsePorts(strings.Join(u.Proposal, ",")); err == nil {
		c.Proposal = addPoint(c.Proposal, len(ports.Ranges()), ports.Len())
	}
}

func addPoint(points []curvePoint, entries, ports int) []curvePoint {
	p := curvePoint{entries, ports}
	if entries < 1 || ports < 1 || slices.Contains(points, p) {
		return points
	}
	return append(points, p)
}

// stepWords says what the first entries of a curve save, and the last.
func stepWords(points []curvePoint) string {
	const most = 4
	shown := points
	if len(points) > most {
		shown = append(slices.Clone(points[:most-1]), points[len(points)-1])
	}
	words := make([]string, len(shown))
	for i, p := range shown {
		entries := "entries"
		if p.Entries == 1 {
			entries = "entry"
		}
		words[i] = fmt.Sprintf("%s in %s %s", counted(p.Ports, "port"), grouped(p.Entries), entries)
	}
	return strings.Join(words, ", ")
}

// ruleNumbers gives "Rule 9" or "Rules 2, 4 and 8".
func ruleNumbers(numbers []int) string {
	words := make([]string, len(numbers))
	for i, n := range numbers {
		words[i] = strconv.Itoa(n)
	}
	if last := len(words) - 1; last > 0 {
		return "Rules " + strings.Join(words[:last], ", ") + " and " + words[last]
	}
	return "Rule " + words[0]
}

// newFit reads "Linux 32768-60999=0.97". A range that the name says already
// is not repeated.
func newFit(words string) fit {
	i := strings.LastIndex(words, "=")
	p, err := strconv.ParseFloat(words[i+1:], 64)
	if i < 0 || err != nil {
		return fit{Name: words}
	}
	name := words[:i]
	if before, last, ok := cutLast(name); ok && strings.HasSuffix(before, " "+last) {
		name = before
	}
	return fit{name, percent(p, math.Round) + " %"}
}

func cutLast(s string) (before, last string, ok bool) {
	i := strings.LastIndex(s, " ")
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// backtestWords says what a proposal made earlier would have lost.
func backtestWords(b *analyze.Backtest) string {
	if b == nil || b.Tested == 0 {
		return ""
	}
	return fmt.Sprintf("%s of %s lost; with 95 %% between %s and %s %%; the next connection lies outside with at most %s %%",
		grouped(b.Lost), grouped(b.Tested), percent(b.Low, math.Floor), percent(b.High, math.Ceil), percent(b.Outside, math.Ceil))
}

// backtestShort says the same in short.
func backtestShort(b *analyze.Backtest) string {
	if b == nil || b.Tested == 0 {
		return ""
	}
	return fmt.Sprintf("Back-test: %s of %s lost; the next lies outside with at most %s %%.", grouped(b.Lost), grouped(b.Tested), percent(b.Outside, math.Ceil))
}

// percent writes a share with about two digits, rounded as a bound has to be.
func percent(share float64, round func(float64) float64) string {
	v := 100 * share
	decimals := 0
	switch {
	case v < 1:
		decimals = 2
	case v < 10:
		decimals = 1
	}
	unit := math.Pow10(-decimals)
	// A share in decimals is not exact in binary: what is 3.4 within a
	// millionth is not rounded up to 3.5.
	steps := v / unit
	if near := math.Round(steps); math.Abs(steps-near) < 1e-6 {
		steps = near
	}
	return shortFloat(round(steps) * unit)
}

// filterChanges are the changes of one filter in one direction.
type filterChanges struct {
	Filter    string
	FilterID  string
	Direction flow.Direction
	Rows      []changeRow
}

// changeRow is one entry and what becomes of it.
type changeRow struct {
	Change      string
	Entry       string // in words
	Replaces    string
	Connections int
	Notes       []string
	Folded      string // what long notes are folded behind
}

// setChanges parts what changes from what stays.
func (p *proposal) setChanges(changes []analyze.RuleChange) {
	var text strings.Builder
	for _, c := range changes {
		row := changeRow{c.Change, entryWords(c), c.Replaces, c.Connections, splitNote(c), foldedNote(c)}
		list, total := &p.Changed, &p.ChangedTotal
		if c.Change == string(rules.ChangeKeep) {
			list, total = &p.Staying, &p.StayingTotal
		} else {
			writeChange(&text, c, row)
		}
		if *total++; *total > maxChanges {
			p.Cut = true
			continue
		}
		*list = addToFilter(*list, c, row)
	}
	p.Text = text.String()
}

// splitNote parts a note into its slots and sentences, at the semicolons
// outside parentheses. A slot's filter and direction stand above.
func splitNote(c analyze.RuleChange) []string {
	if c.Note == "" {
		return nil
	}
	var notes []string
	depth, start := 0, 0
	add := func(end int) {
		notes = append(notes, strings.TrimPrefix(c.Note[start:end], c.FilterID+"/"+c.Direction.String()+"/"))
	}
	for i := range len(c.Note) {
		switch {
		case c.Note[i] == '(':
			depth++
		case c.Note[i] == ')':
			depth--
		case depth == 0 && strings.HasPrefix(c.Note[i:], "; "):
			add(i)
			start = i + len("; ")
		}
	}
	add(len(c.Note))
	return notes
}

// foldedNote names a note that is too long to be read in passing.
func foldedNote(c analyze.RuleChange) string {
	switch {
	case len(c.Note) <= 160:
		return ""
	case len(c.Slot) > 1:
		return counted(len(c.Slot), "slot")
	}
	return "Why"
}

func addToFilter(list []filterChanges, c analyze.RuleChange, row changeRow) []filterChanges {
	if n := len(list); n == 0 || list[n-1].FilterID != c.FilterID || list[n-1].Direction != c.Direction {
		list = append(list, filterChanges{Filter: c.Filter, FilterID: c.FilterID, Direction: c.Direction})
	}
	last := &list[len(list)-1]
	last.Rows = append(last.Rows, row)
	return list
}

// writeChange writes "acl-0a1 ingress: add rule 111 allow tcp 50000-50100
// from 203.0.113.10/32, in place of rule 110 allow ...".
func writeChange(w *strings.Builder, c analyze.RuleChange, row changeRow) {
	fmt.Fprintf(w, "%s %s: %s ", c.FilterID, c.Direction, c.Change)
	switch {
	case row.Replaces == "":
		w.WriteString(row.Entry)
	case c.Change == string(rules.ChangeReplace):
		w.WriteString(row.Replaces + " by " + row.Entry)
	default:
		w.WriteString(row.Entry + ", in place of " + row.Replaces)
	}
	w.WriteByte('\n')
}

// entryWords gives an entry as package rules words it: "rule 110 allow tcp
// 1024-65535 to 0.0.0.0/0"; security group rules have no number and only
// allow.
func entryWords(c analyze.RuleChange) string {
	words := c.Protocol
	switch {
	case c.FromPort != "" && c.FromPort == c.ToPort:
		words += " " + c.FromPort
	case c.FromPort != "":
		words += " " + c.FromPort + "-" + c.ToPort
	}
	if c.Direction == flow.Egress {
		words += " to " + c.CIDR
	} else {
		words += " from " + c.CIDR
	}
	if c.Filter == rules.SG.String() {
		return words
	}
	return fmt.Sprintf("rule %d %s %s", c.RuleNumber, c.Action, words)
}
