package analyze

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ephemera/rules"
)

// findings puts what matters into sentences, what breaks transfers first.
func findings(r *Result, f *ftp, hs []hint) []Finding {
	var fs []Finding
	fs = append(fs, stoppedFindings(r)...)
	fs = append(fs, farSideFindings(r)...)
	fs = append(fs, idleFinding(f)...)
	fs = append(fs, activeFinding(r)...)
	fs = append(fs, hintFindings(hs, f.control)...)
	fs = append(fs, ambiguityFinding(r, f.confidence)...)
	fs = append(fs, narrowFinding(r)...)
	if r.Sessions.Len() == 0 {
		fs = append(fs, Finding{Severity: Info, Title: "No FTP session was found",
			Advice: "If the servers' control port is not 21 or 990, name it with --control-port."})
	}
	return fs
}

// plural gives "1 session" or "3 sessions".
func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// stoppedFindings has one finding for every rule that stops FTP.
func stoppedFindings(r *Result) []Finding {
	var fs []Finding
	for _, u := range r.Rules {
		if u.Stopped == 0 {
			continue
		}
		place := "at " + u.Point.String()
		if u.Point == NoPoint {
			place = "at the server's interface"
		}
		f := Finding{
			Severity: Broken, Rule: u.Number,
			Title:    fmt.Sprintf("%d of %s died %s: %s", u.Stopped, plural(u.Stopped+u.Passed, "FTP connection"), place, undecidedName(u, u.Title)),
			Evidence: u.Evidence,
			Advice:   u.Advice,
			Detail:   u.Why,
		}
		if u.ChosenBy == ChosenNAT && len(u.Allowed) > 0 {
			f.Detail = natDetail(u)
		}
		fs = append(fs, f)
	}
	slices.SortStableFunc(fs, func(a, b Finding) int { return cmp.Compare(r.Rules[b.Rule-1].Stopped, r.Rules[a.Rule-1].Stopped) })
	return fs
}

// natDetail explains why narrowing a NAT gateway's return ports makes
// transfers hang at random.
func natDetail(u RuleUse) string {
	allowed, err := rules.ParsePorts(strings.Join(u.Allowed, ";"))
	if err != nil {
		return u.Why
	}
	nat := rules.Ports(natRange)
	denied := nat.Subtract(allowed)
	if denied.IsEmpty() {
		return u.Why // it stops some of the servers only
	}
	return fmt.Sprintf("The NAT gateway picks a source port from 1024-65535 for every connection, and this filter lets answers to %s through. "+
		"Whoever draws one of the other %d ports, %.0f %% of all, gets no answer: transfers hang at random, on control and data connections alike.",
		list(allowed.Intersect(nat)), denied.Len(), 100*float64(denied.Len())/float64(nat.Len()))
}

// farSideFindings count what no rule of the VPC stopped.
func farSideFindings(r *Result) []Finding {
	type key struct {
		server  string
		outcome Outcome
	}
	count := map[key]int{}
	for s := range r.Sessions.All() {
		if s.DiedAt == "server" && s.Outcome != OutcomeBlocked && s.DataConnections == 0 {
			count[key{s.ServerAddr.String(), s.Outcome}]++
		}
	}
	for d := range r.Data.All() {
		if d.DiedAt == "server" && d.Outcome != OutcomeBlocked && d.Mode == "passive" {
			count[key{d.ServerAddr.String(), d.Outcome}]++
		}
	}
	keys := slices.SortedFunc(maps.Keys(count), func(a, b key) int {
		return cmp.Or(cmp.Compare(a.server, b.server), cmp.Compare(a.outcome, b.outcome))
	})
	var fs []Finding
	for _, k := range keys {
		f := Finding{Severity: Warn, Title: fmt.Sprintf("%s got no answer from %s", plural(count[k], "FTP connection"), k.server),
			Detail: "They left the VPC and nothing came back: not your rules, the far side dropped them.",
			Advice: "Ask the server's operator whether a firewall there covers the whole passive range."}
		if k.outcome == OutcomeRefused {
			f = Finding{Severity: Warn, Title: fmt.Sprintf("%s refused by %s", plural(count[k], "FTP connection"), k.server),
				Detail: "The server answered with RST: nothing listens on that port, or it turned the client away."}
		}
		fs = append(fs, f)
	}
	return fs
}

func idleFinding(f *ftp) []Finding {
	n := f.idle
	if n == 0 {
		return nil
	}
	return []Finding{{Severity: Broken, Title: fmt.Sprintf("%s lost to the NAT gateway's idle time-out", plural(n, "session")),
		Detail: fmt.Sprintf("The control connection was silent for more than %d s, mostly during a long transfer. The gateway forgot it, and the client hangs after the transfer.", natIdle),
		Advice: "Let the clients send TCP keepalives or NOOP commands at least every 300 s."}}
}

func activeFinding(r *Result) []Finding {
	n := 0
	for d := range r.Data.All() {
		if d.Mode == "active" && d.DiedAt == P4.String() {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	return []Finding{{Severity: Warn, Title: fmt.Sprintf("%s in active mode reached the NAT gateway and ended there", plural(n, "data connection")),
		Detail: "In active mode the server opens the data connection. A NAT gateway forwards nothing that answers nothing, so it cannot work behind one; the log shows ACCEPT all the same.",
		Advice: "Switch these clients to passive mode; no rule can help."}}
}

// hintFindings tell of ports that look like FTP and were not named: nothing
// of what went over them is in the tables.
func hintFindings(hs []hint, control *portFlags) []Finding {
	ports := control.ports()
	for _, h := range hs {
		ports = append(ports, h.port)
	}
	slices.Sort(ports)
	var fs []Finding
	for _, h := range hs {
		where := h.servers[0].String()
		if len(h.servers) > 1 {
			where = plural(len(h.servers), "server")
		}
		fs = append(fs, Finding{Severity: Warn,
			Title:  fmt.Sprintf("Port %d of %s looks like FTP, and was not analysed as such", h.port, where),
			Detail: "Connections to it are small and last while the same client opens others to changing ports of the server, as a control connection does. None of them is among the sessions.",
			Evidence: fmt.Sprintf("%s in %s, to %d different ports; %.0f %% of all such transfers between clients and server began inside one of them.",
				plural(h.inside, "transfer"), plural(h.connections, "connection"), h.ports, 100*float64(h.inside)/float64(h.transfers)),
			Advice: fmt.Sprintf("If it is FTP, run again with --control-port %s.", joinPorts(ports)),
		})
	}
	return fs
}

func joinPorts(ports []uint16) string {
	words := make([]string, len(ports))
	for i, p := range ports {
		words[i] = fmt.Sprint(p)
	}
	return strings.Join(words, ",")
}

// ambiguityFinding counts the data connections that are given to no session,
// and what giving each to its likeliest one would be worth: the sum of the
// probabilities is how many are right on average.
func ambiguityFinding(r *Result, confidence float64) []Finding {
	several, doubtful, right := 0, 0, 0.0
	for d := range r.Data.All() {
		switch {
		case d.SessionID != "":
			continue
		case len(d.Candidates) > 1:
			several++
		default:
			doubtful++
		}
		right += d.Confidence
	}
	n := several + doubtful
	if n == 0 {
		return nil
	}
	return []Finding{{Severity: Info, Title: fmt.Sprintf("%d of %s %s given to no session", n, plural(r.Data.Len(), "data connection"), are(n)),
		Detail: ambiguityWords(several, doubtful, confidence) + " The table names the sessions that fit, with their probabilities. " +
			guessWords(n, right) + " Where a connection died and why does not depend on it; how a session ended does."}}
}

// ambiguityWords says why data connections were given to no session: several
// sessions fit, or one does, and not well.
func ambiguityWords(several, doubtful int, confidence float64) string {
	least := fmt.Sprintf("%.4g %%", 100*confidence)
	switch {
	case doubtful == 0:
		return fmt.Sprintf("Several sessions with the server were open at the time, and none of them is the right one with at least %s.", least)
	case several == 0:
		return fmt.Sprintf("Only one session fits each, with less than %s: it may be of a session that the log lacks, or no FTP.", least)
	}
	return fmt.Sprintf("For %d of them several sessions were open at the time, and none is the right one with at least %s; each of the other %d fits one only, with less: it may be of a session that the log lacks, or no FTP.",
		several, least, doubtful)
}

// guessWords says what the best guesses would be worth.
func guessWords(n int, right float64) string {
	if n == 1 {
		return fmt.Sprintf("The likeliest one (--confidence 0) would be right with %.0f %%.", 100*right)
	}
	return fmt.Sprintf("If each went to the likeliest (--confidence 0), about %.0f of %d would be right.", right, n)
}

func are(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// narrowFinding sums up which of the rules could be narrowed, and to what.
func narrowFinding(r *Result) []Finding {
	rulesTo := map[string][]string{} // by proposal
	var order, nat []string
	var others rules.PortSet
	n := 0
	for _, u := range r.Rules {
		switch {
		case u.Verdict == VerdictNarrow && len(u.Allowed) > 0:
			to := strings.Join(u.Proposal, ", ")
			if rulesTo[to] == nil {
				order = append(order, to)
			}
			rulesTo[to] = append(rulesTo[to], fmt.Sprint(u.Number))
			needed, _ := rules.ParsePorts(strings.Join(u.Others, ";")) // written by us
			others = others.Union(needed)
			n++
		case u.ChosenBy == ChosenNAT:
			nat = append(nat, fmt.Sprint(u.Number))
		}
	}
	if n == 0 {
		return nil
	}
	f := Finding{Severity: Info, Title: fmt.Sprintf("%d of the %d rules could be narrowed", n, len(r.Rules))}
	for _, to := range order {
		f.Detail += fmt.Sprintf("%s to %s. ", listRules(rulesTo[to]), to)
	}
	if len(nat) > 0 {
		f.Detail += listRules(nat) + " cannot: the NAT gateway picks its ports from 1024-65535, whatever was observed."
	}
	f.Detail = strings.TrimSpace(f.Detail)
	if !others.IsEmpty() {
		f.Advice = fmt.Sprintf("Other traffic passes the same entries and needs %s: give it entries of its own before narrowing.", list(others))
	}
	if r.Proposal != nil {
		f.Advice = "ephemera rules prints entries that serve all traffic which passes there, with the way back, and proves them against every connection of the logs."
	}
	return []Finding{f}
}

func listRules(numbers []string) string {
	if len(numbers) == 1 {
		return "Rule " + numbers[0]
	}
	return "Rules " + strings.Join(numbers, ", ")
}

// missingWarning names the first objects that could not be read.
func missingWarning(m Missing) string {
	return fmt.Sprintf("%s not read to the end (%s), so connections can be missing: %s", plural(m.Objects, "object"), m.Fault, firstOf(m.Places, m.Objects))
}

// firstOf lists the first few of n names, of which names has some, and counts
// the others.
func firstOf(names []string, n int) string {
	const named = 3
	words := strings.Join(names[:min(named, len(names))], ", ")
	if more := n - named; more > 0 {
		words += fmt.Sprintf(" and %d more", more)
	}
	return words
}

// coverageWarnings say what the log lacks.
func coverageWarnings(r *Result) []string {
	var ws []string
	c := r.Coverage
	if c.SkipData > 0 {
		ws = append(ws, fmt.Sprintf("AWS lost records in %d intervals (SKIPDATA): connections and packets can be missing", c.SkipData))
	}
	if c.Duplicates > 0 {
		ws = append(ws, fmt.Sprintf("%d records came twice: two flow logs cover the same interfaces; each was counted once", c.Duplicates))
	}
	if c.Late > 0 {
		ws = append(ws, fmt.Sprintf("%d records came more than %d minutes behind others: connections may have been cut; sort the log by time", c.Late, maxDisorder/60))
	}
	for _, m := range c.Missing {
		ws = append(ws, missingWarning(m))
	}
	if c.BadRecords > 0 {
		ws = append(ws, fmt.Sprintf("%d records could not be read", c.BadRecords))
	}
	for _, n := range r.NATGateways {
		if n.Unmapped > 0 {
			ws = append(ws, fmt.Sprintf("%d connections into %s have no translated twin in the log", n.Unmapped, n.InterfaceID))
		}
	}
	return ws
}
