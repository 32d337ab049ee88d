// Command ephemera analyses VPC Flow Logs for FTP through a NAT gateway.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"ephemera/cmd/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // so that a second signal ends it the hard way
	code := cli.Main(ctx, os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	stop()
	os.Exit(code)
}
