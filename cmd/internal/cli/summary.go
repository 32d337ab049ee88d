package cli

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize/english"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"

	"ephemera/analyze"
)

// summaryWidth is the width in characters that the summary's sentences are
// wrapped to.
const summaryWidth = 100

// summaryRules is the most rules that the summary lists: eleven for each
// client subnet, NAT gateway and security group.
const summaryRules = 44

// A summary writes for people, in colour on a terminal.
type summary struct {
	w      io.Writer
	colour bool
	err    error
}

func (s *summary) printf(format string, args ...any) {
	if s.err == nil {
		_, s.err = fmt.Fprintf(s.w, format, args...)
	}
}

// writeSummary tells the story on one screen: what was read, what failed and
// at which rule, and the rules with what they let through.
func writeSummary(w io.Writer, r *analyze.Result, out string) error {
	s := &summary{w: w, colour: isTerminal(w) && os.Getenv("NO_COLOR") == ""}
	s.coverage(r.Coverage)
	for _, f := range r.Findings {
		if f.Severity != analyze.Info {
			s.finding(f)
		}
	}
	s.outcomes(r)
	s.rules(r.Rules)
	for _, f := range r.Findings {
		if f.Severity == analyze.Info {
			s.finding(f)
		}
	}
	if out != "" {
		s.printf("\nReports are in %s; open report.html in a browser.\n", out)
	}
	return s.err
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (s *summary) paint(c text.Color, words string) string {
	if !s.colour {
		return words
	}
	return text.Colors{c, text.Bold}.Sprint(words)
}

func (s *summary) coverage(c analyze.Coverage) {
	known := "rules known"
	if !c.Snapshot {
		known = "rules unknown (give --network)"
	}
	s.printf("%s, %s, %s, %s", english.Plural(c.Records, "record", ""), english.Plural(c.Interfaces, "interface", ""), span(c), known)
	for _, x := range []struct {
		n    int
		what string
	}{{c.NoData, "NODATA"}, {c.SkipData, "SKIPDATA"}, {c.Duplicates, "duplicate"}, {c.BadRecords, "bad"}} {
		if x.n > 0 {
			s.printf(", %d %s", x.n, x.what)
		}
	}
	s.printf("\n")
	for _, m := range c.Missing {
		s.printf("%d objects missing, in whole or in part (%s): %s\n", m.Objects, m.Fault, strings.Join(m.Places, ", "))
	}
}

func span(c analyze.Coverage) string {
	if c.Start == 0 {
		return "no time span"
	}
	start, end := time.Unix(int64(c.Start), 0).UTC(), time.Unix(int64(c.End), 0).UTC()
	layout := time.DateTime
	if start.Format(time.DateOnly) == end.Format(time.DateOnly) {
		layout = time.TimeOnly
	}
	return start.Format(time.DateTime) + " to " + end.Format(layout) + " UTC"
}

func (s *summary) finding(f analyze.Finding) {
	c := map[analyze.Severity]text.Color{analyze.Broken: text.FgRed, analyze.Warn: text.FgYellow, analyze.Info: text.FgCyan}[f.Severity]
	s.printf("\n%s\n", s.paint(c, strings.ToUpper(string(f.Severity))+": "+f.Title))
	for _, words := range []string{f.Detail, f.Evidence, f.Advice} {
		if words != "" {
			for line := range strings.Lines(text.WrapSoft(words, summaryWidth-2)) {
				s.printf("  %s\n", strings.TrimRight(line, " \n"))
			}
		}
	}
}

// outcomes counts how sessions and data connections ended.
func (s *summary) outcomes(r *analyze.Result) {
	sessions, data := map[string]int{}, map[string]int{}
	for x := range r.Sessions.All() {
		sessions[ending(x.Outcome, x.DiedAt)]++
	}
	for x := range r.Data.All() {
		data[ending(x.Outcome, x.DiedAt)]++
	}
	s.printf("\n%d sessions: %s\n%d data connections: %s\n", r.Sessions.Len(), counts(sessions), r.Data.Len(), counts(data))
}

func ending(o analyze.Outcome, diedAt string) string {
	if o == analyze.OutcomeBlocked {
		return string(o) + " at " + diedAt
	}
	return string(o)
}

// counts lists the counts, the largest first.
func counts(m map[string]int) string {
	keys := slices.SortedFunc(maps.Keys(m), func(a, b string) int { return cmp.Or(-cmp.Compare(m[a], m[b]), cmp.Compare(a, b)) })
	var words []string
	for _, k := range keys {
		words = append(words, fmt.Sprintf("%d %s", m[k], k))
	}
	return strings.Join(words, ", ")
}

// rules draws the table of the rules that FTP meets.
func (s *summary) rules(rules []analyze.RuleUse) {
	if len(rules) == 0 {
		return
	}
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Options.SeparateColumns = false
	t.Style().Box.PaddingRight = ""
	t.Style().Box.PaddingLeft = "  "
	t.Style().Options.DrawBorder = false
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(table.Row{"#", "at", "rule", "passed", "stopped", "used", "verdict"})
	shown := rules[:min(len(rules), summaryRules)]
	for _, u := range shown {
		stopped := fmt.Sprint(u.Stopped)
		if u.Stopped > 0 {
			stopped = s.paint(text.FgRed, stopped)
		}
		t.AppendRow(table.Row{u.Number, u.Point, u.Title, u.Passed, stopped, strings.Join(u.Used, " "), verdict(u)})
	}
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 4, Align: text.AlignRight}, {Number: 5, Align: text.AlignRight}})
	s.printf("\n")
	for line := range strings.Lines(t.Render()) {
		s.printf("%s\n", strings.TrimRight(line, " \n"))
	}
	if more := len(rules) - len(shown); more > 0 {
		s.printf("... and %d more; --out writes them all\n", more)
	}
}

// verdict says in a word what to do with a rule.
func verdict(u analyze.RuleUse) string {
	ports := strings.Join(u.Proposal, " ")
	switch u.Verdict {
	case analyze.VerdictFix:
		return "FIX: allow " + ports
	case analyze.VerdictNarrow:
		return "narrow to " + ports
	}
	if u.ChosenBy == analyze.ChosenNAT {
		return "keep " + ports
	}
	return analyze.VerdictKeep
}
