package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/server"
	"github.com/latchkey/latchkey/internal/store/sqlite"
)

// gcPercent is what `latchkey serve` sets; the bare handler has it, too.
const gcPercent = 400

// slots is how many passwords are hashed at once, here and in what is compared.
const slots = 1

// serverKey is that of every replica.
var serverKey = []byte(strings.Repeat("benchmark", 4))

// credentials are of the one API client, and password of the one user.
var credentials = authority.Credentials{Key: "bench-key", Secret: "bench-secret"}

const (
	userName = "bench"
	password = "correct-horse"
)

// newAuthority has the rules over stores, by the clock now; nil is this machine's.
func newAuthority(stores authority.Stores, now func() time.Time) (*authority.Authority, error) {
	return authority.New(authority.Config{
		Stores:    stores,
		Now:       now,
		Key:       serverKey,
		HashSlots: slots,
		Log:       slog.New(slog.DiscardHandler),
	})
}

// serve is a process that is measured: it prints its address and serves until
// its standard input ends.
func serve(ctx context.Context, what string, arguments []string) error {
	debug.SetGCPercent(gcPercent)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	switch {
	case what == "bare":
		return serveHandler(ctx, listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "ok")
		}))
	case what == "upstream":
		return serveHandler(ctx, listener, http.HandlerFunc(upstream))
	case what == "proxy" && len(arguments) == 1:
		return serveHandler(ctx, listener, bareProxy(arguments[0]))
	case what == "latchkey" && len(arguments) == 1:
		return serveLatchkey(ctx, listener, arguments[0], server.Config{})
	case what == "latchkey" && len(arguments) == 2:
		return serveShared(ctx, listener, arguments[0], arguments[1] == cached)
	case what == "select" && len(arguments) == 1:
		return serveSelect(ctx, listener, arguments[0])
	case what == "gateway" && len(arguments) == 2:
		return serveGateway(ctx, listener, arguments[0], arguments[1])
	}
	return fmt.Errorf("there is nothing called %q to serve", what)
}

// serveHandler is what latchkey is compared with: no more than net/http.
func serveHandler(ctx context.Context, listener net.Listener, handler http.Handler) error {
	fmt.Println(listener.Addr())
	bare := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	go func() { <-ctx.Done(); _ = bare.Close() }()
	if err := bare.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func serveLatchkey(ctx context.Context, listener net.Listener, path string, config server.Config) error {
	db, err := sqlite.Open(ctx, sqlite.Options{Path: path})
	if err != nil {
		return err
	}
	rules, err := newAuthority(db.Stores(), nil)
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	config.Authority, config.Ready, config.Log = rules, db.Ready, slog.New(slog.DiscardHandler)
	return errors.Join(server.New(config).Run(ctx, listener, nil), db.Close(context.WithoutCancel(ctx)))
}

// process is a server that is measured.
type process struct {
	command *exec.Cmd
	input   io.Closer
	address string
	ready   time.Duration // from start until it said its address
}

// start runs this program once more, as a server.
func start(ctx context.Context, arguments ...string) (*process, error) {
	p := &process{command: exec.CommandContext(ctx, os.Args[0], append([]string{"serve"}, arguments...)...)} //nolint:gosec // ourselves
	p.command.Stderr = os.Stderr
	input, err := p.command.StdinPipe()
	if err != nil {
		return nil, err
	}
	p.input = input
	output, err := p.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	p.address, err = bufio.NewReader(output).ReadString('\n')
	p.address, p.ready = strings.TrimSpace(p.address), time.Since(begin)
	return p, err
}

func (p *process) stop() error {
	return errors.Join(p.input.Close(), p.command.Wait())
}

// busy is the processor time that the process has used so far, or zero where the
// system does not tell.
func (p *process) busy() time.Duration {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(p.command.Process.Pid) + "/stat")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name before may hold blanks
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	const tick = 10 * time.Millisecond // sysconf(_SC_CLK_TCK) is 100 wherever Go runs
	return time.Duration(user+system) * tick
}

// residentMiB is the memory that the process holds now, where the system tells.
func (p *process) residentMiB() (int, bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(p.command.Process.Pid) + "/status")
	if err != nil {
		return 0, false
	}
	for _, row := range strings.Split(string(text), "\n") {
		if rest, ok := strings.CutPrefix(row, "VmRSS:"); ok {
			kib, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			return kib >> 10, err == nil
		}
	}
	return 0, false
}
