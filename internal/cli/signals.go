package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// UntilSignal returns a context that is canceled by the first signal to stop: SIGINT,
// SIGTERM, or SIGHUP when the terminal was hung up. A second SIGINT or SIGTERM is not
// caught, so it ends the program at once. stop restores the handling of signals.
//
// SIGHUP is ignored if there is no terminal, or if the program was started with SIGHUP
// ignored, as nohup does. It never ends the program at once, because the shell and the
// system both send it.
func UntilSignal() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, os.Interrupt, syscall.SIGTERM)
	hangups := make(chan os.Signal, 1)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(hangups, syscall.SIGHUP)
	}
	hasTerminal := hasControllingTerminal()
	go func() {
		for {
			select {
			case <-caught:
			case <-hangups:
				if !hasTerminal {
					continue
				}
			case <-ctx.Done():
				return
			}
			signal.Stop(caught)
			cancel()
		}
	}()
	return ctx, func() {
		signal.Stop(caught)
		signal.Stop(hangups)
		cancel()
	}
}

// hasControllingTerminal reports whether there is a terminal that can be hung up.
func hasControllingTerminal() bool {
	file, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	_ = file.Close() // only its existence matters
	return true
}
