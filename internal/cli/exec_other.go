//go:build !unix

package cli

import "os"

// forwarded lists the signals that exec passes on.
var forwarded = []os.Signal{os.Interrupt}

// fromTerminal reports whether a terminal has sent the signal to this program and to its
// children.
func fromTerminal(os.Signal) bool { return true }
