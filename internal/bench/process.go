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
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/service"
)

// gcPercent is the value that `latchkey serve` sets. The bare handler has it as well.
const gcPercent = 400

// slots is how many passwords are hashed at once, here and in the comparison.
const slots = 1

// serverKey is that of every replica.
var serverKey = []byte(strings.Repeat("benchmark", 4))

// credentials are those of the only API client.
var credentials = authority.Credentials{Key: "bench-key", Secret: "bench-secret"}

const (
	userName = "bench"
	password = "correct-horse"
)

// newAuthority applies the rules to stores, by the clock now; nil is that of this machine.
func newAuthority(stores authority.Stores, now func() time.Time) (*authority.Authority, error) {
	return authority.New(authority.Config{
		Stores:    stores,
		Now:       now,
		Key:       serverKey,
		HashSlots: slots,
		Log:       slog.New(slog.DiscardHandler),
	})
}

// serve is a process that is measured: it prints its address and serves until its
// standard input ends.
func serve(ctx context.Context, what string, arguments []string) error {
	debug.SetGCPercent(gcPercent)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	switch {
	case what == "bare":
		return serveHandler(ctx, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "ok")
		}))
	case what == "upstream":
		return serveHandler(ctx, http.HandlerFunc(upstream))
	case what == "proxy" && len(arguments) == 1:
		return serveHandler(ctx, bareProxy(arguments[0]))
	case what == "latchkey" && len(arguments) == 1:
		return serveLatchkey(ctx, embedded(arguments[0]))
	case what == "latchkey" && len(arguments) == 2:
		return serveLatchkey(ctx, shared(arguments[0], arguments[1] == cached))
	case what == "select" && len(arguments) == 1:
		return serveSelect(ctx, arguments[0])
	case what == "gateway" && len(arguments) == 2:
		return serveLatchkey(ctx, gatewayTo(arguments[1], arguments[0]))
	}
	return fmt.Errorf("there is nothing called %q to serve", what)
}

// listenAddress lets the system choose a free port.
const listenAddress = "127.0.0.1:0"

// serveHandler serves what latchkey is compared with: no more than net/http.
func serveHandler(ctx context.Context, handler http.Handler) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", listenAddress)
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	bare := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	go func() { <-ctx.Done(); _ = bare.Close() }()
	if err := bare.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// embedded is a service with an embedded database.
func embedded(path string) service.Config {
	return service.Config{
		Store: service.Store{Database: service.SQLiteScheme + path, Key: serverKey}, HashSlots: slots,
		Listen: listenAddress, Log: slog.New(slog.DiscardHandler),
	}
}

// shared is a service on PostgreSQL, with sessions cached or not.
func shared(database string, caches bool) service.Config {
	return service.Config{
		Store: service.Store{Database: database, Uncached: !caches, Key: serverKey}, HashSlots: slots,
		Listen: listenAddress, Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
}

// serveLatchkey serves a service.
func serveLatchkey(ctx context.Context, config service.Config) error {
	s, err := service.Open(ctx, config)
	if err != nil {
		return err
	}
	fmt.Println(s.Address)
	return errors.Join(s.Run(ctx), s.Close())
}

// process is a server that is measured.
type process struct {
	command *exec.Cmd
	input   io.Closer
	address string
	ready   time.Duration // from start until it printed its address
}

// start runs this program again, as a server.
func start(ctx context.Context, arguments ...string) (*process, error) {
	command := exec.CommandContext(ctx, os.Args[0], append([]string{"serve"}, arguments...)...) //nolint:gosec // ourselves
	p := &process{command: command}
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

// family returns the process IDs of the process and its children, as far as the system reports them.
func (p *process) family() []string {
	pid := strconv.Itoa(p.command.Process.Pid)
	family := []string{pid}
	lists, _ := filepath.Glob("/proc/" + pid + "/task/*/children") // the pattern is well-formed
	for _, list := range lists {
		text, _ := os.ReadFile(list) //nolint:gosec // of the system; a thread may have ended
		family = append(family, strings.Fields(string(text))...)
	}
	return family
}

// busy returns the processor time that the process and its children have used so far, or
// zero if the system does not report it.
func (p *process) busy() time.Duration {
	var total time.Duration
	for _, pid := range p.family() {
		total += busy(pid)
	}
	return total
}

func busy(pid string) time.Duration {
	text, err := os.ReadFile("/proc/" + pid + "/stat") //nolint:gosec // a number
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name before may contain blanks
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	const tick = 10 * time.Millisecond // sysconf(_SC_CLK_TCK) is 100 wherever Go runs
	return time.Duration(user+system) * tick
}

// residentMiB returns the memory that the process and its children hold now, if the system
// reports it.
func (p *process) residentMiB() (total int, ok bool) {
	for _, pid := range p.family() {
		if mib, found := residentMiB(pid); found {
			total, ok = total+mib, true
		}
	}
	return total, ok
}

func residentMiB(pid string) (int, bool) {
	text, err := os.ReadFile("/proc/" + pid + "/status") //nolint:gosec // a number
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
