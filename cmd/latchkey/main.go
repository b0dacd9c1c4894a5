// Command latchkey runs sessions for the ThingSpace Connectivity Management API:
// the service, its administration, and a client of it. `latchkey help` says how.
package main

import (
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/latchkey/latchkey/internal/cli"
	"github.com/latchkey/latchkey/internal/hashworker"
)

func main() { os.Exit(run()) }

func run() int {
	hashworker.Main()
	// A reader that left shows as a write error instead of ending the program
	// there and then: a new password may be on its way to that reader.
	signal.Ignore(syscall.SIGPIPE)
	log.SetOutput(cli.StandardLog(os.Stderr))
	ctx, stop := cli.UntilSignal()
	defer stop()
	return cli.Run(ctx, cli.IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, os.Args[1:]...)
}
