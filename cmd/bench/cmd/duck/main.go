// Command duck answers the questions of package questions with DuckDB, from
// the same logs, into the same files and lines.
//
//	duck ask --format default|custom29|parquet --subnets FILE --out DIR LOGS
//	duck aggregate --format default|custom29|parquet --subnets FILE LOGS
//	duck all --format default|custom29|parquet --subnets FILE --out DIR LOGS
//	duck version
//
// All does what ask and aggregate do, reading the logs once.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	_ "github.com/duckdb/duckdb-go/v2"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "duck:", err)
		os.Exit(1)
	}
}

// options say what to read and what to answer.
type options struct {
	logs, format, subnets, out string
	threads                    int
}

const usage = "usage: duck ask|aggregate|all|version [--format NAME] [--threads N] --subnets FILE [--out DIR] LOGS"

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return errors.New("no question; " + usage)
	}
	var o options
	flags := flag.NewFlagSet("duck "+args[0], flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.format, "format", "default", "default, custom29 or parquet")
	flags.StringVar(&o.subnets, "subnets", "", "CSV `file` of interface_id,subnet_id")
	flags.StringVar(&o.out, "out", "", "`directory` for the answers to ask")
	flags.IntVar(&o.threads, "threads", 2, "DuckDB's threads")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if args[0] == "version" {
		return answer(ctx, "SELECT version()", stdout)
	}
	if flags.NArg() != 1 {
		return fmt.Errorf("%d places to read, want one; %s", flags.NArg(), usage)
	}
	o.logs = flags.Arg(0)
	if o.out != "" {
		if err := os.MkdirAll(o.out, 0o755); err != nil {
			return err
		}
	}
	script, err := o.script(args[0])
	if err != nil {
		return err
	}
	return answer(ctx, script, stdout)
}

// answer runs the statements of script, and prints what the last one gives.
func answer(ctx context.Context, script string, stdout io.Writer) (err error) {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	rows, err := db.QueryContext(ctx, script)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var line any
		if err := rows.Scan(&line); err != nil {
			return err
		}
		if text, ok := line.(string); ok {
			if _, err := fmt.Fprintln(stdout, text); err != nil {
				return err
			}
		}
	}
	return rows.Err()
}
