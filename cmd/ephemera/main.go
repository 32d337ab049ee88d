// Command ephemera analyses VPC Flow Logs for FTP through a NAT gateway.
package main

import (
	"context"
	"os"
	"os/signal"

	"ephemera/cmd/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := cli.Main(ctx, os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	stop()
	os.Exit(code)
}
