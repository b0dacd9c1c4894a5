//go:build !unix

package replicas_test

import "os"

// Nothing stops a process here, and a test that needs it fails. The databases that it
// needs as well are not found here, so it does not get that far.
var stopSignal, goOnSignal os.Signal
