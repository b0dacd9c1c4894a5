//go:build !unix

package replicas_test

import "os"

// There are no such signals. The tests that use them are skipped, because the databases that they
// need are not available either.
var stopSignal, continueSignal os.Signal
