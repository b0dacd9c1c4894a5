//go:build !unix

package cli

import "os"

// forwarded are the signals that `exec` passes on.
var forwarded = []os.Signal{os.Interrupt}

// fromTerminal reports whether a terminal sends a signal to this program and to those
// that it runs.
func fromTerminal(os.Signal) bool { return true }
