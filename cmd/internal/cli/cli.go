// Package cli is the command line of Ephemera: one file a subcommand. Main
// is the whole program; the binary, and the tests, call it.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Streams are the program's standard streams.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Exit codes.
const (
	ExitDone   = 0
	ExitFailed = 1 // the work could not be done
	ExitUsage  = 2 // the command line is wrong; nothing was read
	ExitFound  = 3 // done, and something that --fail-on names was found
)

// An exitError is an error with the exit code that it means.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func usageError(format string, args ...any) error {
	return &exitError{ExitUsage, fmt.Errorf(format, args...)}
}

// Main runs the program and returns its exit code. Errors go to s.Err.
func Main(ctx context.Context, args []string, s Streams) int {
	defer paceGarbage()()
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	cmd := root(s)
	cmd.SetArgs(args)
	cmd.SetIn(s.In)
	cmd.SetOut(s.Out)
	cmd.SetErr(s.Err)
	executed, err := cmd.ExecuteContextC(ctx)
	if err == nil {
		return ExitDone
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = errors.New("interrupted")
	}
	var coded *exitError
	code := ExitFailed
	if errors.As(err, &coded) {
		code = coded.code
	}
	if f := executed.Flags().Lookup("log-format"); f != nil && f.Value.String() == "json" {
		slog.New(slog.NewJSONHandler(s.Err, nil)).Error(err.Error())
		return code
	}
	fmt.Fprintln(s.Err, "ephemera:", err)
	if code == ExitUsage {
		fmt.Fprintln(s.Err, "Run 'ephemera --help' for the commands and flags.")
	}
	return code
}

func root(s Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:           "ephemera",
		Short:         "Answers about FTP through a NAT gateway, from VPC Flow Logs",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          usageArgs(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &exitError{ExitUsage, err} })
	cmd.AddCommand(analyzeCommand(s), rulesCommand(s), replayCommand(s), explainCommand(s), snapshotCommand(s), digestCommand(s))
	return cmd
}

// usageArgs makes a wrong number of arguments a usage error.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &exitError{ExitUsage, err}
		}
		return nil
	}
}
