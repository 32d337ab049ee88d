// Command generate writes large flow logs of a network that does not exist:
//
//	generate -records 10000000 -format default DIR
//
// See package traffic for what is in them.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"ephemera/ingest/traffic"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	var c traffic.Config
	flags := flag.NewFlagSet("generate", flag.ExitOnError)
	flags.Uint64Var(&c.Seed, "seed", 1, "another seed gives other traffic")
	flags.IntVar(&c.Records, "records", 10_000_000, "how many records there are, about")
	flags.DurationVar(&c.Duration, "duration", 24*time.Hour, "how long the log is")
	flags.IntVar(&c.Interfaces, "interfaces", 300, "network interfaces")
	format := flags.String("format", "default", "default, custom29 or parquet")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return fmt.Errorf("give the one directory to write to; there are %d", flags.NArg())
	}
	var err error
	if c.Format, err = traffic.FormatNamed(*format); err != nil {
		return err
	}
	stats, err := traffic.Write(flags.Arg(0), c)
	if err != nil {
		return err
	}
	fmt.Printf("%d records in %d objects, %d bytes: %d REJECT, %d FTP, %d NODATA\n",
		stats.Records, stats.Objects, stats.Bytes, stats.Rejects, stats.FTP, stats.NoData)
	return nil
}
