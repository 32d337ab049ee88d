package cli

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ephemera/analyze"
	"ephemera/analyze/report"
	"ephemera/ingest/flow"
)

// flowStream is a stream of flow log records.
type flowStream = iter.Seq2[*flow.Record, error]

// analysisFlags are the flags of the commands that analyse logs.
type analysisFlags struct {
	common
	confidence float64
	entries    int
}

func (f *analysisFlags) register(fl *pflag.FlagSet) {
	f.common.register(fl)
	fl.Float64Var(&f.confidence, "confidence", analyze.DefaultConfidence, "least probability at which a data connection is given to a session; 0 for every best guess")
	fl.IntVar(&f.entries, "entries", analyze.DefaultEntries, "most ranges that a slot's ports are covered with")
}

// check checks the flags before anything is read.
func (f *analysisFlags) check(s Streams) (settings, error) {
	set, err := f.common.check(s, time.Now())
	if err != nil {
		return set, err
	}
	if !(f.confidence >= 0 && f.confidence <= 1) { // NaN is neither
		return set, usageError("--confidence %v: give a probability from 0 to 1", f.confidence)
	}
	if f.entries < 1 {
		return set, usageError("--entries %d: give at least 1", f.entries)
	}
	set.analyze.Confidence, set.analyze.Entries = f.confidence, f.entries
	if f.confidence == 0 {
		set.analyze.Confidence = everyGuess
	}
	return set, nil
}

// analyzeFlags are the flags of analyze.
type analyzeFlags struct {
	analysisFlags
	out, csv, html, json string
	failOn               []string
}

// What --fail-on can name.
const (
	failNACLReject = "nacl-reject"
	failAmbiguous  = "ambiguous"
	failBadRecords = "bad-records"
)

// everyGuess is the analysis's confidence for --confidence 0: there, 0 stands
// for the default.
const everyGuess = -1

func analyzeCommand(s Streams) *cobra.Command {
	var f analyzeFlags
	cmd := &cobra.Command{
		Use:   "analyze SOURCE...",
		Short: "FTP sessions, NAT mappings, causes of REJECTs, and the ports used at each rule",
		Long: `Analyze reads VPC Flow Logs and says which FTP sessions took place, which
translated flow at the NAT gateway is which client's, which network ACL entry
or security group is behind every REJECT, and which ports are used at each
rule. Without an output flag it prints a summary.

` + sourceHelp,
		Example: `  ephemera analyze --network network/ AWSLogs/
  ephemera analyze --network network/ --out report/ AWSLogs/
  ephemera analyze --network network/ --from -24h s3://my-logs/AWSLogs/
  ephemera analyze --network network/ cloudwatch:vpc-flow-logs
  zcat flows.log.gz | ephemera analyze --format default -`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), args, s) },
	}
	fl := cmd.Flags()
	f.register(fl)
	fl.StringVar(&f.out, "out", "", "write every report into this `directory`: CSV, report.json, report.html")
	fl.StringVar(&f.csv, "csv", "", "write the tables as CSV into this `directory`")
	fl.StringVar(&f.html, "html", "", "write the report as one HTML `file`")
	fl.StringVar(&f.json, "json", "", "write all tables as one JSON `file`; - for standard output")
	fl.StringSliceVar(&f.failOn, "fail-on", nil, "exit with 3 if this was found: nacl-reject, ambiguous, bad-records")
	return cmd
}

// check checks all flags before anything is read.
func (f *analyzeFlags) check(s Streams) (settings, error) {
	set, err := f.analysisFlags.check(s)
	if err != nil {
		return set, err
	}
	for _, x := range f.failOn {
		if !slices.Contains([]string{failNACLReject, failAmbiguous, failBadRecords}, x) {
			return set, usageError("--fail-on %q: give %s, %s or %s", x, failNACLReject, failAmbiguous, failBadRecords)
		}
	}
	return set, nil
}

func (f *analyzeFlags) run(ctx context.Context, places []string, s Streams) error {
	set, err := f.check(s)
	if err != nil {
		return err
	}
	r, err := analyzePlaces(ctx, places, set)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := f.write(ctx, r, s); err != nil {
		return err
	}
	return cmp.Or(r.Err(), f.verdict(r))
}

// analyzePlaces reads the sources and analyses them.
func analyzePlaces(ctx context.Context, places []string, set settings) (*analyze.Result, error) {
	return set.run(ctx, places, analyze.Run)
}

// run reads the sources for an analysis.
func (set *settings) run(ctx context.Context, places []string, analysis func(flowStream, analyze.Options) (*analyze.Result, error)) (*analyze.Result, error) {
	records, done, err := set.open(ctx, places)
	if err != nil {
		return nil, err
	}
	r, err := analysis(records, set.analyze)
	if err != nil {
		return nil, err
	}
	if err := done(); err != nil {
		r.Close()
		return nil, err
	}
	for _, w := range r.Warnings {
		set.log.Warn(w)
	}
	return r, nil
}

// write writes the reports that were asked for, or the summary. When it is
// interrupted, the report that it is at is not left half written.
func (f *analyzeFlags) write(ctx context.Context, r *analyze.Result, s Streams) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if f.out != "" {
		if err := report.Everything(f.out).Write(ctx, r); err != nil {
			return err
		}
	}
	files := report.Files{CSV: f.csv, HTML: f.html, JSON: f.json}
	if f.json == "-" {
		files.JSON = ""
	}
	if err := files.Write(ctx, r); err != nil {
		return err
	}
	if f.json == "-" {
		return report.WriteJSON(report.Interruptible(ctx, s.Out), r)
	}
	if f.csv == "" && f.html == "" && f.json == "" {
		return writeSummary(s.Out, r, f.out)
	}
	return nil
}

// verdict is the exit code that --fail-on asks for.
func (f *analyzeFlags) verdict(r *analyze.Result) error {
	var found []string
	for _, x := range f.failOn {
		if n := count(r, x); n > 0 {
			found = append(found, fmt.Sprintf("%d %s", n, x))
		}
	}
	if len(found) == 0 {
		return nil
	}
	return &exitError{ExitFound, fmt.Errorf("found %s (--fail-on)", strings.Join(found, ", "))}
}

// count counts what --fail-on names.
func count(r *analyze.Result, what string) int {
	n := 0
	switch what {
	case failBadRecords:
		n = r.Coverage.BadRecords
		for _, m := range r.Coverage.Missing {
			n += m.Objects
		}
	case failAmbiguous:
		for d := range r.Data.All() {
			if d.SessionID == "" {
				n++
			}
		}
	case failNACLReject:
		for x := range r.Rejects.All() {
			if x.Cause == analyze.CauseNACL {
				n++
			}
		}
	}
	return n
}
