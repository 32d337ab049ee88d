// Command ours answers the questions of package questions with Ephemera's
// decoders.
//
//	ours ask --jobs N --subnets FILE --out DIR LOGS
//	ours aggregate|decode --jobs N LOGS
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	"ephemera/cmd/bench/questions"
)

const usage = "usage: ours ask|aggregate|decode [--jobs N] [--subnets FILE --out DIR] LOGS"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "ours:", err)
		os.Exit(1)
	}
}

var modes = map[string]questions.Mode{
	"ask":       questions.Ask,
	"aggregate": questions.Aggregate,
	"decode":    questions.Decode,
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return fmt.Errorf("no question; %s", usage)
	}
	mode, ok := modes[args[0]]
	if !ok {
		return fmt.Errorf("%q is no question; %s", args[0], usage)
	}
	o := questions.Options{Mode: mode, Stdout: stdout}
	flags := flag.NewFlagSet("ours "+args[0], flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.Jobs, "jobs", 0, "objects to decode at once; 0 means one a core")
	flags.StringVar(&o.Subnets, "subnets", "", "CSV `file` of interface_id,subnet_id")
	flags.StringVar(&o.Out, "out", "", "`directory` for the answers to ask")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return fmt.Errorf("%d places to read, want one; %s", flags.NArg(), usage)
	}
	o.Logs = flags.Arg(0)
	return questions.Run(ctx, o)
}
