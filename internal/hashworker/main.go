package hashworker

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"
)

// Name is the only argument of the process.
const Name = "hash-for-serve"

// usable is set by Main.
var usable bool

// idleAfter is how long the process keeps memory without a request.
const idleAfter = 5 * time.Second

// Main is the first call of a main function. It does not return in a process that a Worker
// started.
func Main() {
	usable = true
	if len(os.Args) != 2 || os.Args[1] != Name {
		return
	}
	if info, err := os.Stdin.Stat(); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		fmt.Fprintf(os.Stderr, "latchkey: %s is for latchkey serve alone, which starts it with a pipe\n", Name)
		os.Exit(2)
	}
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGPIPE) // the service decides when it ends
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve responds to requests until r ends. The sender bounds how many it sends at once.
func serve(r io.Reader, w io.Writer) error {
	if _, err := io.WriteString(w, greeting); err != nil {
		return err
	}
	lower()
	debug.SetGCPercent(100) // a hash is one large block
	idle := time.AfterFunc(idleAfter, debug.FreeOSMemory)
	requests := bufio.NewReader(r)
	var writing sync.Mutex
	for {
		request, err := readRequest(requests)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		go func() {
			response := respond(request)
			writing.Lock()
			defer writing.Unlock()
			_, _ = w.Write(response) // without a reader, r ends as well
			idle.Reset(idleAfter)
		}()
	}
}
