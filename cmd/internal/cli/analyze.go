package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"ephemera/analyze"
	"ephemera/analyze/report"
	"ephemera/ingest"
	"ephemera/rules"
)

func analyzeCommand(s Streams) *cobra.Command {
	var network, csvDir string
	var control []uint
	var jobs int
	cmd := &cobra.Command{
		Use:  "analyze SOURCE...",
		RunE: func(cmd *cobra.Command, args []string) error {
			opt := analyze.Options{}
			for _, p := range control {
				opt.ControlPorts = append(opt.ControlPorts, uint16(p))
			}
			if network != "" {
				h, err := rules.ReadDir(network)
				if err != nil {
					return err
				}
				opt.Network = h
			}
			l, err := ingest.Open(args, ingest.Options{Jobs: jobs, Want: analyze.WantFields, Stdin: s.In})
			if err != nil {
				return err
			}
			r, err := analyze.Run(l.Records(cmd.Context()), opt)
			if err != nil {
				return err
			}
			if csvDir != "" {
				return report.WriteCSV(csvDir, r)
			}
			for _, f := range r.Findings {
				fmt.Fprintf(s.Out, "%s: %s\n   %s\n   %s\n   %s\n", f.Severity, f.Title, f.Detail, f.Evidence, f.Advice)
			}
			for _, u := range r.Rules {
				fmt.Fprintf(s.Out, "%2d %s %s %s used %v att %v allowed %v pass %d stop %d by %v: %s %v %s\n", u.Number, u.Point, u.Filter, u.Title, u.Used, u.Attempted, u.Allowed, u.Passed, u.Stopped, u.StoppedBy, u.Verdict, u.Proposal, u.Why)
			}
			fmt.Fprintln(s.Out, r.Warnings, r.Coverage)
			return nil
		},
	}
	cmd.Flags().StringVar(&network, "network", "", "")
	cmd.Flags().StringVar(&csvDir, "csv", "", "")
	cmd.Flags().IntVar(&jobs, "jobs", 0, "")
	cmd.Flags().UintSliceVar(&control, "control-port", nil, "")
	return cmd
}
