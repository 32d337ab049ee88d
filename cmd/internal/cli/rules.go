package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"ephemera/analyze"
	"ephemera/analyze/report"
	"ephemera/ingest/flow"
	"ephemera/rules"
	"ephemera/rules/awscli"
	"ephemera/rules/cfn"
	"ephemera/rules/tf"
)

// rulesFlags are the flags of rules.
type rulesFlags struct {
	analysisFlags
	out, as    string
	back       bool
	only       string
	ranges     string
	quota      int
	groupQuota int
}

// What --as, --only and --ranges can name.
const (
	asTerraform      = "terraform"
	asCloudFormation = "cloudformation"
	asCLI            = "cli"
	asJSON           = "json"

	onlyRepair = "repair"
	onlyNarrow = "narrow"

	rangesSafe     = "safe"
	rangesObserved = "observed"
)

// proposedDir is where in --out the proposed rules lie as the AWS CLI prints
// rules.
const proposedDir = "proposed"

func rulesCommand(s Streams) *cobra.Command {
	var f rulesFlags
	cmd := &cobra.Command{
		Use:   "rules SOURCE...",
		Short: "Proposed rules, proved against the traffic, with the way back",
		Long: `Rules reads VPC Flow Logs and proposes network ACL entries and security group
rules: what stops FTP is repaired, and wide port ranges that FTP passes are
narrowed to what all traffic through them needs. Before anything is shown, every
connection of the logs is replayed against the proposed rules: all that passes
today must pass, and nothing is opened but what is meant to be. The logs are
therefore read twice.

With --out, everything is written into one directory: apply.sh and rollback.sh
(AWS CLI, in an order that leaves no gap), rules.tf, rules.yaml (CloudFormation)
and rules.json, the same for the way back, rules.csv, report.html, and the
directory proposed, which 'ephemera replay --with' reads.

` + sourceHelp,
		Example: `  ephemera rules --network network/ AWSLogs/
  ephemera rules --network network/ --out proposal/ s3://my-logs/AWSLogs/
  ephemera rules --network network/ --as cli AWSLogs/ > apply.sh
  ephemera rules --network network/ --only repair --as terraform AWSLogs/`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), args, s) },
	}
	fl := cmd.Flags()
	f.register(fl)
	fl.StringVar(&f.out, "out", "", "write the proposal in every form into this `directory`")
	fl.StringVar(&f.as, "as", "", "print the proposal as terraform, cloudformation, cli or json")
	fl.BoolVar(&f.back, "back", false, "with --as: print the way back to today's rules")
	fl.StringVar(&f.only, "only", "", "only repair what stops FTP, or only narrow what is wide: repair, narrow")
	fl.StringVar(&f.ranges, "ranges", rangesSafe, "ports to allow for FTP: safe, the ranges they are picked from, or observed, those seen (in --entries ranges a slot)")
	fl.IntVar(&f.quota, "quota", 20, "entries that a network ACL may hold in one direction, the default deny included")
	fl.IntVar(&f.groupQuota, "group-quota", 60, "rules that a security group may hold in one direction")
	return cmd
}

func (f *rulesFlags) check(s Streams) (settings, error) {
	set, err := f.analysisFlags.check(s)
	if err != nil {
		return set, err
	}
	switch {
	case set.analyze.Network == nil:
		return set, usageError("--network: give the rules to change; make them with: ephemera snapshot")
	case !slices.Contains([]string{"", asTerraform, asCloudFormation, asCLI, asJSON}, f.as):
		return set, usageError("--as %q: give %s, %s, %s or %s", f.as, asTerraform, asCloudFormation, asCLI, asJSON)
	case f.back && f.as == "":
		return set, usageError("--back: say with --as in which form")
	case !slices.Contains([]string{"", onlyRepair, onlyNarrow}, f.only):
		return set, usageError("--only %q: give %s or %s", f.only, onlyRepair, onlyNarrow)
	case f.ranges != rangesSafe && f.ranges != rangesObserved:
		return set, usageError("--ranges %q: give %s or %s", f.ranges, rangesSafe, rangesObserved)
	case f.quota < 2 || f.quota > 40:
		return set, usageError("--quota %d: a network ACL holds from 2 to 40 entries in one direction", f.quota)
	case f.groupQuota < 1 || f.groupQuota > 1000:
		return set, usageError("--group-quota %d: a security group holds from 1 to 1000 rules in one direction", f.groupQuota)
	}
	set.analyze.Observed = f.ranges == rangesObserved
	set.analyze.Revise = rules.ReviseOptions{
		Quota:    rules.Quota{Entries: f.quota, GroupRules: f.groupQuota},
		NoRepair: f.only == onlyNarrow, NoNarrow: f.only == onlyRepair,
	}
	return set, nil
}

func (f *rulesFlags) run(ctx context.Context, places []string, s Streams) error {
	set, err := f.check(s)
	if err != nil {
		return err
	}
	places, remove, err := spool(ctx, places, s.In)
	if err != nil {
		return err
	}
	defer remove()
	p, err := propose(ctx, places, set)
	if err != nil {
		return err
	}
	defer p.result.Close()
	return cmp.Or(f.write(ctx, p, s), p.result.Err())
}

// spool puts what comes on standard input into a temporary file, since it is
// read twice.
func spool(ctx context.Context, places []string, in io.Reader) (spooled []string, remove func(), err error) {
	i := slices.Index(places, "-")
	if i < 0 {
		return places, func() {}, nil
	}
	file, err := os.CreateTemp("", "ephemera-")
	if err != nil {
		return nil, nil, err
	}
	remove = func() { _ = os.Remove(file.Name()) }
	_, err = io.Copy(report.Interruptible(ctx, file), in)
	if err := errors.Join(err, file.Close()); err != nil {
		remove()
		return nil, nil, fmt.Errorf("standard input: %w", err)
	}
	spooled = slices.Clone(places)
	spooled[i] = file.Name()
	return spooled, remove, nil
}

// A proved proposal is one that the logs were replayed against.
type proved struct {
	result   *analyze.Result
	revision rules.Revision
	back     rules.Revision

	steps, backSteps       []rules.Step
	warnings, backWarnings []string
}

// propose makes the proposal, and proves it: once against what it was derived
// from, and then against every connection of the logs.
func propose(ctx context.Context, places []string, set settings) (*proved, error) {
	first, err := analyzePlaces(ctx, places, set)
	if err != nil {
		return nil, err
	}
	revision := first.Proposal.Rules.Revision
	first.Close()
	set.log = discard // the warnings of the first reading are enough
	r, err := replayPlaces(ctx, places, set, revision.To)
	if err != nil {
		return nil, err
	}
	if r.Replay.Lost.All > 0 {
		defer r.Close()
		return nil, notProved(r.Replay)
	}
	p := &proved{result: r, revision: revision}
	p.revision.Header = header(r, revision, set.analyze.Revise)
	p.back = p.revision.Back(backHeader(revision)...)
	quota := set.analyze.Revise.Quota
	p.steps, p.warnings = rules.Plan(p.revision.From, p.revision.To, quota)
	p.backSteps, p.backWarnings = rules.Plan(p.back.From, p.back.To, quota)
	if len(p.steps) == 0 && len(p.warnings) > 0 {
		r.Close()
		return nil, fmt.Errorf("no proposal is shown: there is no way from today's rules to it: %s", strings.Join(p.warnings, "; "))
	}
	return p, nil
}

// notProved is the error for a proposal that would stop what passes today.
func notProved(r *analyze.Replay) error {
	for c := range r.Changed.All() {
		if c.Before == analyze.FatePasses && !c.Unwanted {
			return fmt.Errorf("no proposal is shown: it could not be proved. %d connections that pass today would be stopped, the first: %s", r.Lost.All, changedWords(c))
		}
	}
	return fmt.Errorf("no proposal is shown: it could not be proved, since %d connections that pass today would be stopped", r.Lost.All)
}

// header says what a proposal is and what it stands on.
func header(r *analyze.Result, v rules.Revision, o rules.ReviseOptions) []string {
	c, y := r.Coverage, r.Replay
	lines := []string{
		"Proposed rules for " + cmp.Or(v.To.IDs(), "nothing: no rule needs a change") + ".",
		fmt.Sprintf("Made from %d flow log records, %s to %s.", c.Records, stamp(int64(c.Start)), stamp(int64(c.End))),
		fmt.Sprintf("Replayed: %d connections pass today and would pass (%d of FTP), %d would be lost; %d that are stopped today would pass (%d of FTP).",
			y.Passing.All, y.Passing.FTP, y.Lost.All, y.Repaired.All, y.Repaired.FTP),
	}
	if y.Partly.All+y.Stopped.FTP > 0 {
		lines = append(lines, fmt.Sprintf("Stopped today: %d connections of FTP would be stopped all the same, %d would pass or not by the NAT gateway's port.", y.Stopped.FTP, y.Partly.FTP))
	}
	lines = append(lines, r.Proposal.Summary...)
	for _, u := range r.Rules {
		if u.Backtest != nil && u.Verdict == analyze.VerdictNarrow && !o.NoNarrow {
			lines = append(lines, fmt.Sprintf("%s: ports %s; back-test lost %d of %d; the next connection lies outside with at most %.2g %%.",
				u.Title, strings.Join(u.Proposal, ", "), u.Backtest.Lost, u.Backtest.Tested, 100*u.Backtest.Outside))
		}
	}
	for _, k := range r.Proposal.Kept {
		lines = append(lines, keptWords(k, ", stays: "))
	}
	return lines
}

// keptWords says what stays as it is, and why.
func keptWords(k analyze.KeptRule, because string) string {
	place := rules.Label(k.Name, k.FilterID)
	if k.Direction != flow.NoDirection {
		place += " " + k.Direction.String()
	}
	return fmt.Sprintf("%s, %s%s%s.", place, k.Rule, because, k.Why)
}

func backHeader(v rules.Revision) []string {
	return []string{"The way back: the rules for " + v.From.IDs() + " as they were when the proposal was made."}
}

// rendering is a form that a proposal can be printed in.
type rendering struct {
	name, file, backFile string
	write                func(w io.Writer, p *proved, back bool) error
}

var renderings = []rendering{
	{asTerraform, "rules.tf", "rollback.tf", func(w io.Writer, p *proved, back bool) error {
		return tf.Write(w, p.way(back))
	}},
	{asCloudFormation, "rules.yaml", "rollback.yaml", func(w io.Writer, p *proved, back bool) error {
		return cfn.Write(w, p.way(back))
	}},
	{asCLI, "apply.sh", "rollback.sh", func(w io.Writer, p *proved, back bool) error {
		if back {
			return awscli.Write(w, p.back, p.backSteps, p.backWarnings)
		}
		return awscli.Write(w, p.revision, p.steps, p.warnings)
	}},
	{asJSON, "rules.json", "rollback.json", writeRulesJSON},
}

func (p *proved) way(back bool) rules.Revision {
	if back {
		return p.back
	}
	return p.revision
}

// rulesJSON is a proposal for programs. From and To hold network ACLs and
// security groups as the AWS CLI prints them.
type rulesJSON struct {
	Header   []string             `json:"header"`
	Changes  []analyze.RuleChange `json:"changes,omitempty"`
	Proposal *analyze.Proposal    `json:"proposal,omitempty"`
	Replay   *analyze.Replay      `json:"replay,omitempty"`
	From     ruleSetJSON          `json:"from"`
	To       ruleSetJSON          `json:"to"`
	// Steps are the calls in order, in words; the way back has its own.
	Steps    []string `json:"steps"`
	Warnings []string `json:"warnings,omitempty"`
}

type ruleSetJSON struct {
	ACLs   json.RawMessage `json:"describe-network-acls"`
	Groups json.RawMessage `json:"describe-security-groups"`
}

func newRuleSetJSON(s rules.RuleSet) (ruleSetJSON, error) {
	var acls, groups bytes.Buffer
	err := errors.Join(rules.WriteACLs(&acls, s.ACLs), rules.WriteGroups(&groups, s.Groups))
	return ruleSetJSON{acls.Bytes(), groups.Bytes()}, err
}

func writeRulesJSON(w io.Writer, p *proved, back bool) error {
	v := p.way(back)
	from, err := newRuleSetJSON(v.From)
	if err != nil {
		return err
	}
	to, err := newRuleSetJSON(v.To)
	if err != nil {
		return err
	}
	out := rulesJSON{Header: v.Header, From: from, To: to, Steps: stepWords(p.backSteps), Warnings: p.backWarnings}
	if !back {
		out.Steps, out.Warnings = stepWords(p.steps), p.warnings
		out.Changes, out.Proposal, out.Replay = p.result.Changes, p.result.Proposal, p.result.Replay
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(out)
}

func stepWords(steps []rules.Step) []string {
	words := make([]string, 0, len(steps))
	for _, st := range steps {
		words = append(words, st.String())
	}
	return words
}

// write writes the proposal where the flags say.
func (f *rulesFlags) write(ctx context.Context, p *proved, s Streams) error {
	if f.out != "" {
		if err := p.writeDir(ctx, f.out); err != nil {
			return err
		}
	}
	if f.as != "" {
		i := slices.IndexFunc(renderings, func(r rendering) bool { return r.name == f.as })
		return renderings[i].write(report.Interruptible(ctx, s.Out), p, f.back)
	}
	return writeProposal(s.Out, p, f.out)
}

// writeDir writes the proposal in every form.
func (p *proved) writeDir(ctx context.Context, dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, proposedDir), 0o755); err != nil {
		return err
	}
	files := map[string]func(io.Writer) error{
		"replay.csv": func(w io.Writer) error { return report.WriteReplayCSV(w, p.result.Replay) },
		filepath.Join(proposedDir, "describe-network-acls.json"): func(w io.Writer) error {
			return rules.WriteACLs(w, p.revision.To.ACLs)
		},
		filepath.Join(proposedDir, "describe-security-groups.json"): func(w io.Writer) error {
			return rules.WriteGroups(w, p.revision.To.Groups)
		},
	}
	for _, r := range renderings {
		files[r.file] = func(w io.Writer) error { return r.write(w, p, false) }
		files[r.backFile] = func(w io.Writer) error { return r.write(w, p, true) }
	}
	for name, write := range files {
		if err := report.ReplaceFile(filepath.Join(dir, name), func(w io.Writer) error { return write(report.Interruptible(ctx, w)) }); err != nil {
			return err
		}
	}
	return report.Everything(dir).Write(ctx, p.result)
}

// writeProposal tells people what is proposed and how it was proved.
func writeProposal(w io.Writer, p *proved, out string) error {
	s := &summary{w: w}
	s.coverage(p.result.Coverage)
	if len(p.steps) == 0 {
		s.printf("\nNo rule needs a change.\n")
	}
	for _, line := range p.result.Proposal.Summary {
		s.printf("\n%s\n", wrap(line, ""))
	}
	if kept := p.result.Proposal.Kept; len(kept) > 0 {
		s.printf("\nAs wide as they are stay\n")
		for _, k := range kept {
			s.printf("%s\n", wrap(keptWords(k, ": "), "  "))
		}
	}
	s.printf("\nReplayed against the proposed rules:\n")
	s.replay(p.result.Replay)
	for _, line := range p.warnings {
		s.printf("\n%s\n", wrap("On the way: "+line, ""))
	}
	switch {
	case out != "":
		s.printf("\nIn %s: apply.sh and rollback.sh, rules.tf, rules.yaml, rules.json, report.html.\n", out)
	case len(p.steps) > 0:
		s.printf("\nIn %d steps; --as cli, terraform, cloudformation or json prints them, --out writes all and the way back.\n", len(p.steps))
	}
	return s.err
}

// wrap breaks a sentence into lines with a margin.
func wrap(words, margin string) string {
	var lines []string
	for line := range strings.Lines(text.WrapSoft(words, summaryWidth-len(margin))) {
		lines = append(lines, margin+strings.TrimRight(line, " \n"))
	}
	return strings.Join(lines, "\n")
}

// discard logs nothing.
var discard = slog.New(slog.DiscardHandler)
