package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"ephemera/analyze"
	"ephemera/analyze/report"
	"ephemera/rules"
	"ephemera/rules/cfn"
	"ephemera/rules/tf"
)

// replayFlags are the flags of replay.
type replayFlags struct {
	analysisFlags
	with   []string
	csv    string
	json   string
	failOn []string
}

// What replay's --fail-on can name.
const failLost = "lost"

func replayCommand(s Streams) *cobra.Command {
	var f replayFlags
	cmd := &cobra.Command{
		Use:   "replay --with RULES SOURCE...",
		Short: "What other rules would have done to the logged traffic",
		Long: `Replay judges every connection of the logs by other rules, point by point on
its way, and lists those whose fate would change. The rules of --with take the
place of those in --network with the same ID; a network ACL or security group
stands there with all its entries or rules.

RULES is a directory with describe-network-acls.json or
describe-security-groups.json, as the AWS CLI prints them and edited by hand;
the directory that 'ephemera rules --out' writes; a Terraform file with
aws_network_acl_rule and aws_vpc_security_group_*_rule resources; or a
CloudFormation template. Of the latter two only literal values are read.

` + sourceHelp,
		Example: `  ephemera replay --network network/ --with edited/ AWSLogs/
  ephemera replay --network network/ --with out/rules.tf --csv changed.csv s3://my-logs/AWSLogs/`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), args, s) },
	}
	fl := cmd.Flags()
	f.register(fl)
	fl.StringArrayVar(&f.with, "with", nil, "the other `RULES` (repeatable)")
	fl.StringVar(&f.csv, "csv", "", "write the connections whose fate changes as CSV into this `file`; - for standard output")
	fl.StringVar(&f.json, "json", "", "write counts and changes as JSON into this `file`; - for standard output")
	fl.StringSliceVar(&f.failOn, "fail-on", nil, "exit with 3 if this was found: lost")
	return cmd
}

func (f *replayFlags) check(s Streams) (settings, rules.RuleSet, error) {
	set, err := f.analysisFlags.check(s)
	if err != nil {
		return set, rules.RuleSet{}, err
	}
	for _, x := range f.failOn {
		if x != failLost {
			return set, rules.RuleSet{}, usageError("--fail-on %q: give %s", x, failLost)
		}
	}
	if len(f.with) == 0 {
		return set, rules.RuleSet{}, usageError("--with: give the rules to try")
	}
	if set.analyze.Network == nil {
		return set, rules.RuleSet{}, usageError("--network: give the rules in force, whose place the others take; make them with: ephemera snapshot")
	}
	other, err := readRuleSets(f.with)
	if err == nil {
		err = known(other, set.analyze.Network)
	}
	return set, other, err
}

// readRuleSets reads and joins the rules of several places.
func readRuleSets(places []string) (rules.RuleSet, error) {
	var all rules.RuleSet
	for _, place := range places {
		one, err := readRuleSet(place)
		if err != nil {
			return rules.RuleSet{}, err
		}
		for _, a := range one.ACLs {
			if all.ACL(a.ID) != nil {
				return rules.RuleSet{}, fmt.Errorf("%s: %s is in another --with, too", place, a.ID)
			}
		}
		for _, g := range one.Groups {
			if all.Group(g.ID) != nil {
				return rules.RuleSet{}, fmt.Errorf("%s: %s is in another --with, too", place, g.ID)
			}
		}
		all.ACLs, all.Groups = append(all.ACLs, one.ACLs...), append(all.Groups, one.Groups...)
	}
	return all, nil
}

// readRuleSet reads the rules of one place, by its kind.
func readRuleSet(place string) (rules.RuleSet, error) {
	info, err := os.Stat(place)
	if err != nil {
		return rules.RuleSet{}, err
	}
	if info.IsDir() {
		if _, err := os.Stat(filepath.Join(place, proposedDir)); err == nil {
			place = filepath.Join(place, proposedDir)
		}
		return rules.ReadRules(place)
	}
	read := map[string]func(io.Reader, string) (rules.RuleSet, error){
		".tf": tf.Read, ".yaml": cfn.Read, ".yml": cfn.Read, ".json": cfn.Read, ".template": cfn.Read,
	}[strings.ToLower(filepath.Ext(place))]
	if read == nil {
		return rules.RuleSet{}, usageError("--with %s: give a directory, a Terraform file (.tf) or a CloudFormation template (.yaml, .json)", place)
	}
	file, err := os.Open(place)
	if err != nil {
		return rules.RuleSet{}, err
	}
	set, err := read(file, place)
	if err := errors.Join(err, file.Close()); err != nil {
		return rules.RuleSet{}, err
	}
	if len(set.ACLs)+len(set.Groups) == 0 {
		return rules.RuleSet{}, fmt.Errorf("%s: no rule of a network ACL or security group is in it", place)
	}
	return set, nil
}

// known fails when a snapshot lacks what the rules are for.
func known(set rules.RuleSet, h *rules.History) error {
	networks := h.Networks()
	newest := networks[len(networks)-1]
	var unknown []string
	for _, a := range set.ACLs {
		if newest.ACL(a.ID) == nil {
			unknown = append(unknown, a.ID)
		}
	}
	for _, g := range set.Groups {
		if newest.Group(g.ID) == nil {
			unknown = append(unknown, g.ID)
		}
	}
	if len(unknown) > 0 {
		return fmt.Errorf("--with: %s is not in the snapshot of --network: the rules are of another network", strings.Join(unknown, ", "))
	}
	return nil
}

func (f *replayFlags) run(ctx context.Context, places []string, s Streams) error {
	set, other, err := f.check(s)
	if err != nil {
		return err
	}
	r, err := replayPlaces(ctx, places, set, other)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := cmp.Or(f.write(ctx, r.Replay, s), r.Err()); err != nil {
		return err
	}
	if n := r.Replay.Lost.All; len(f.failOn) > 0 && n > 0 {
		return &exitError{ExitFound, fmt.Errorf("found %d %s (--fail-on)", n, failLost)}
	}
	return nil
}

// replayPlaces reads the sources, analyses them and judges them by other
// rules.
func replayPlaces(ctx context.Context, places []string, set settings, other rules.RuleSet) (*analyze.Result, error) {
	return set.run(ctx, places, func(records flowStream, o analyze.Options) (*analyze.Result, error) {
		return analyze.RunReplay(records, o, other)
	})
}

func (f *replayFlags) write(ctx context.Context, r *analyze.Replay, s Streams) error {
	for _, out := range []struct {
		place string
		write func(io.Writer, *analyze.Replay) error
	}{{f.csv, report.WriteReplayCSV}, {f.json, report.WriteReplayJSON}} {
		if err := writePlace(ctx, out.place, s, func(w io.Writer) error { return out.write(w, r) }); err != nil {
			return err
		}
	}
	if f.csv == "-" || f.json == "-" {
		return nil
	}
	return writeReplay(s.Out, r)
}

// writePlace writes a file, or standard output where the place is "-", or
// nothing where it is empty.
func writePlace(ctx context.Context, place string, s Streams, write func(io.Writer) error) error {
	switch place {
	case "":
		return nil
	case "-":
		return write(report.Interruptible(ctx, s.Out))
	}
	return report.ReplaceFile(place, func(w io.Writer) error { return write(report.Interruptible(ctx, w)) })
}

// shownChanges is how many changed connections are shown to people.
const shownChanges = 20

// writeReplay says what would become of the traffic.
func writeReplay(w io.Writer, r *analyze.Replay) error {
	out := &summary{w: w}
	out.replay(r)
	if r.Changed.Len() == 0 {
		return out.err
	}
	out.printf("\n")
	shown := 0
	for c := range r.Changed.All() {
		if shown == shownChanges {
			out.printf("... and %d more; --csv lists all\n", r.Changed.Len()-shown)
			break
		}
		out.printf("%s\n", changedWords(c))
		shown++
	}
	return cmp.Or(out.err, r.Changed.Err())
}

// replay prints the counts, one a line.
func (s *summary) replay(r *analyze.Replay) {
	for _, line := range []struct {
		words string
		count analyze.ReplayCount
	}{
		{"pass today and would pass", r.Passing},
		{"pass today and would be STOPPED", r.Lost},
		{"are stopped today and would pass", r.Repaired},
		{"are stopped today and would pass or not by the port that the NAT gateway picks", r.Partly},
		{"are stopped today and would be stopped", r.Stopped},
		{"are let in today though nothing answers them, and would be stopped", r.Unwanted},
		{"come to a NAT gateway unasked, and would reach it, which drops them", r.Admitted},
		{"meet rules that are not known", r.Unknown},
	} {
		if line.count.All > 0 {
			s.printf("%8d connections %s%s\n", line.count.All, line.words, ftpShare(line.count))
		}
	}
}

func ftpShare(c analyze.ReplayCount) string {
	if c.FTP == 0 {
		return ""
	}
	return fmt.Sprintf(", %d of FTP", c.FTP)
}

// changedWords describes a changed connection in a line.
func changedWords(c analyze.ChangedFlow) string {
	what := ""
	if c.FTP != "" {
		what = "FTP " + c.FTP + ", "
	}
	return fmt.Sprintf("%s %s %s:%d > %s:%d: %s%s today, %s then: %s %s", stamp(int64(c.Start)), c.Protocol,
		c.ClientAddr, c.ClientPort, c.ServerAddr, c.ServerPort, what, c.Before, c.After, c.Point, c.Rule)
}
