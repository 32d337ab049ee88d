// Command bench compares Ephemera with DuckDB, and with what decompressing
// alone costs, on large flow logs that it makes up:
//
//	bench [flags]              measure, and print tables in Markdown
//	bench generate FLAGS DIR   write a log by hand; see package traffic
//
// Every run is a process of its own. In each round all contestants of a
// group run one after the other, the next round in the other order, so that
// what else the machine does meets all of them alike. CPU time is that of
// user and system; memory is the greatest resident size. Where contestants
// answer the same question, their answers are compared, and a difference
// is an error.
//
// It runs the programs beside it: duck, ours, generate, gunzip and ephemera.
// It links none of their libraries itself, since on Linux a process begins
// with the greatest resident size of the one that started it.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is what to measure, and where.
type bench struct {
	programs string // directory of the programs
	data     string // directory of logs and answers
	records  int
	rounds   int
	only     *regexp.Regexp
	progress io.Writer
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	b := &bench{programs: filepath.Dir(self), progress: stderr}
	if len(args) > 0 && args[0] == "generate" {
		cmd := exec.CommandContext(ctx, b.program("generate"), args[1:]...)
		cmd.Stdout, cmd.Stderr = stdout, stderr
		return cmd.Run()
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&b.data, "data", "", "`directory` for logs and answers; logs in it are used again")
	flags.IntVar(&b.records, "records", 10_000_000, "records of the logs")
	flags.IntVar(&b.rounds, "rounds", 5, "rounds")
	only := flags.String("only", ".", "`regexp` of the groups to measure")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if b.data == "" || flags.NArg() > 0 || b.rounds < 1 || b.records < 1 {
		return fmt.Errorf("give -data, and records and rounds above 0, and nothing else")
	}
	if b.only, err = regexp.Compile(*only); err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	return b.measure(ctx, stdout)
}

// say tells how far the benchmark is. Nowhere is left to tell an error of it.
func (b *bench) say(format string, args ...any) { _, _ = fmt.Fprintf(b.progress, format, args...) }

func (b *bench) program(name string) string { return filepath.Join(b.programs, name) }

// measure runs the rounds, and prints a table of each group.
func (b *bench) measure(ctx context.Context, stdout io.Writer) error {
	groups, err := b.chosen()
	if err != nil {
		return err
	}
	if err := b.writeLogs(ctx, groups); err != nil {
		return err
	}
	if err := b.complete(groups); err != nil {
		return err
	}
	for round := range b.rounds {
		for _, g := range groups {
			if err := g.run(ctx, b, round); err != nil {
				return fmt.Errorf("%s: %w", g.name, err)
			}
		}
	}
	if err := b.printMachine(ctx, stdout); err != nil {
		return err
	}
	for _, g := range groups {
		if err := g.print(stdout); err != nil {
			return err
		}
	}
	return nil
}
