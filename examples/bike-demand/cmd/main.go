// Command bike-demand is both sides of the bike-demand example: the training program that its policy names, and the
// inference layer.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	bikedemand "github.com/visutility/visutility/examples/bike-demand"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(bikedemand.Run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}
