package cli

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/service"
	"github.com/latchkey/latchkey/internal/simulate"
	"github.com/latchkey/latchkey/internal/wire"
)

const (
	serveName     = "serve"
	defaultListen = "127.0.0.1:8080"
	// gcPercent lets the heap grow to five times what is live before it is
	// collected. What is live is small (sessions are kept compactly), and the
	// session check is paid for in collections.
	gcPercent = 400
	// vendorHost is the host that the vendor's own SDKs insist on.
	vendorHost = "thingspace.verizon.com"
)

// serveFlags are the flags of `serve`.
type serveFlags struct {
	storeFlags

	upstream       upstreamFlags
	listen         string
	demo           bool
	simulate       bool
	tlsCert        string
	tlsKey         string
	tlsSelfSigned  bool
	hashMemory     uint32 // MiB
	hashPasses     uint32
	hashSlots      int
	hashQueue      int
	maxConnections int
	perAddress     int
	trustLocal     string
	localSocket    string
	trustedProxies []string
	proxies        []netip.Prefix
	readyFile      string
	checkOnly      bool
	logLevel       string
	logFormat      string
}

func (a *app) serveCommand() *cobra.Command {
	var f serveFlags
	command := &cobra.Command{
		Use: serveName, Short: "Run the session service", Args: exactly(),
		Long: `Run the session service until Ctrl-C or SIGTERM. It then finishes the requests under
way; a second signal ends it at once. No acknowledged change is lost.

The first start makes the data directory (--data) with the database and the server
key in it. Keep both; the key is what access tokens are made with. Users and API
clients are added with the user and client commands while the service runs.

--demo has an API key (demo-key, demo-secret) and a user (zbeeblebrox, IMgr8) that
are public, so it listens on this machine only. It uses a temporary directory that is
removed at the end, unless --data names one. Only a new directory gets the key and the
user, so a changed password stays changed.

--demo --simulate is for the tests of programs that use the API: everything is kept
in memory, and any program that reaches the service can move its clock, make the next
requests fail, and reset it, under ` + wire.PathSimulate + `. See
docs/testing.md.

--upstream makes it a gateway: local users log in here, and their other requests to the
API go to the upstream, in one session that the gateway has there.
Local logins, logouts and resets stay local. --trust-local NAME is for programs beside
it that cannot log in: what comes over --local-socket runs as that user, and over TCP
what comes from this machine with the header ` + wire.HeaderLocal + `: NAME. The header is
no secret: a proxy on this machine must remove it, or be kept off by using the socket
alone. latchkey credential writes the upstream's credential, --rotate-every or
latchkey rotate changes it, and latchkey guard shows what keeps the account from being
locked. They work on the same files while it runs.

--database postgres://… lets any number of these run as one service, behind any load
balancer, with one --key-file. Each caches the sessions that it checks, and the
database notifies it of those that end. That needs a connection without a pooler in
between: if --database leads to one, --database-listen names the database itself. See
docs/scaling.md. A URL with a password belongs in LATCHKEY_DATABASE or
LATCHKEY_DATABASE_LISTEN, or in the config file.

Where it does not listen on this machine alone, use TLS (--tls-cert and --tls-key; a
renewed certificate is picked up) or a proxy that does. --tls-self-signed makes a
certificate for development, for the host listened on, localhost, this machine's
name and ` + vendorHost + `, which the vendor's SDKs insist on. It is written to
` + service.CertificateFile + ` in the data directory, for clients to trust.`,
		Example: `  latchkey serve --demo
  latchkey serve --demo --simulate --listen 127.0.0.1:0
  latchkey serve --data /var/lib/latchkey --listen :8443 --tls-cert cert.pem --tls-key key.pem
  latchkey serve --upstream https://` + vendorHost + ` --upstream-api-key KEY --upstream-api-secret-file key.secret \
    --upstream-credential-file upstream.json --rotate-every 90d
  latchkey serve --database postgres://latchkey@db.example/latchkey --key-file server.key
  LATCHKEY_IDLE_TIMEOUT=30m latchkey serve --log-format json`,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	flags := command.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.listen, "listen", defaultListen, "listen on this `ADDRESS`; port 0 picks a free one")
	f.addPlaces(flags)
	flags.BoolVar(&f.demo, "demo", false, "have a user and an API key to try things with, on this machine only")
	flags.BoolVar(&f.simulate, "simulate", false, "with --demo: let programs move the clock and make requests fail")
	f.addPolicy(flags)
	flags.BoolVar(&f.NewKey, "new-key", false, "make a new server key although the database was used with another, "+
		"which is lost; all access tokens end")
	flags.StringVar(&f.tlsCert, "tls-cert", "", "use TLS with the certificate chain in this PEM `FILE`")
	flags.StringVar(&f.tlsKey, "tls-key", "", "the PEM `FILE` with its key")
	flags.BoolVar(&f.tlsSelfSigned, "tls-self-signed", false, "use TLS with a certificate made for development")
	flags.Uint32Var(&f.hashMemory, "hash-memory", authority.DefaultHashParams.MemoryKiB/1024,
		"memory of one password hash (argon2id), in `MiB`")
	flags.Uint32Var(&f.hashPasses, "hash-passes", authority.DefaultHashParams.Passes,
		"passes of one password hash over its memory: `N`")
	flags.IntVar(&f.hashSlots, "hash-slots", 0, "hash `N` passwords at once (default: one fewer than cores, at least 1)")
	flags.IntVar(&f.hashQueue, "hash-queue", 0, "let `N` logins of one API client wait for a slot, and refuse "+
		"more with status 503 (default: 64 for each slot)")
	flags.IntVar(&f.maxConnections, "max-connections", 10_000,
		"accept `N` connections at once; at the limit idle connections are closed, or new ones wait")
	flags.IntVar(&f.perAddress, "max-connections-per-address", 0, "accept `N` connections at once from one address that "+
		"is no trusted proxy (default: a quarter of --max-connections)")
	flags.StringVar(&f.logLevel, "log-level", "info", "log from this `LEVEL` on: debug, info, warn or error")
	flags.StringVar(&f.logFormat, "log-format", "text", "write the log as text or json: `FORMAT`")
	flags.StringVar(&f.readyFile, "ready-file", "", "once requests are served, write the URL, the process ID and the "+
		"data directory to this `FILE`, as JSON; it is removed at the end")
	f.upstream.addServeFlags(flags)
	flags.StringVar(&f.trustLocal, "trust-local", "", "with --upstream: requests without any credentials run as the "+
		"user `NAME`, over --local-socket, and over TCP from this machine with the header "+wire.HeaderLocal+": NAME")
	flags.StringSliceVar(&f.trustedProxies, "trusted-proxies", nil,
		"trust X-Forwarded-For from these proxies: `ADDRESSES` or networks, separated by commas")
	flags.StringVar(&f.localSocket, "local-socket", "",
		"serve the API on this Unix `SOCKET`, too, to programs of the same user")
	settings(flags, "trust-local", "trusted-proxies", "local-socket")
	settings(flags, "listen", "demo", "simulate", "tls-cert", "tls-key", "tls-self-signed", "hash-memory", "hash-passes",
		"hash-slots", "hash-queue", "max-connections", "max-connections-per-address", "log-level", "log-format", "ready-file")
	complete := func(name string, values ...string) {
		_ = command.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
	complete("log-level", "debug", "info", "warn", "error")
	complete("log-format", "text", "json")
	flags.BoolVar(&f.checkOnly, "check", false, "start nothing: report every mistake in the settings, and in the files "+
		"and the database that they name")
	a.conf.check(command, func(wrong *faults) {
		if f.check(command, wrong); f.checkOnly {
			a.checkSurroundings(command, &f, wrong)
		}
	})
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.checkOnly {
			return a.print("nothing is wrong with the settings; nothing was started")
		}
		return a.serve(cmd, &f)
	}
	return command
}

// check finds everything that is wrong with the flags.
func (f *serveFlags) check(cmd *cobra.Command, wrong *faults) {
	from := func(name string) string { return source(cmd, name) }
	f.storeFlags.check(from, wrong)
	host, port, err := net.SplitHostPort(f.listen)
	if _, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil {
		wrong.add("%s %q is not an address; write it like 127.0.0.1:8080, or :8080 for all of this machine's", from("listen"),
			f.listen)
	} else if f.demo && !wire.IsLoopback(host) {
		wrong.add("%s %q would let others in, and the password of --demo is public; listen on 127.0.0.1", from("listen"),
			f.listen)
	}
	if f.simulate && !f.demo {
		wrong.add("%s lets any program that reaches the service inject faults, so it works only with --demo; add --demo, "+
			"or leave it out", from("simulate"))
	}
	if f.demo && f.Shared() {
		wrong.add("%s would put accounts with public passwords into a shared database; leave --demo out, or the database",
			from("database"))
	}
	for _, place := range []string{"data", "database", "database-listen", "key-file"} {
		if f.simulate && isSet(cmd, place) {
			wrong.add("%s has no use with --simulate, which keeps everything in memory; leave one of them out", from(place))
		}
	}
	if (f.tlsCert == "") != (f.tlsKey == "") {
		wrong.add("%s and %s belong together", from("tls-cert"), from("tls-key"))
	}
	if f.tlsSelfSigned && f.tlsCert != "" {
		wrong.add("%s and %s are two certificates; choose one", from("tls-self-signed"), from("tls-cert"))
	}
	if f.hashMemory < 1 || f.hashMemory > 1024 {
		wrong.add("%s %d is not between 1 and 1024 MiB", from("hash-memory"), f.hashMemory)
	}
	if f.hashPasses < 1 || f.hashPasses > 64 {
		wrong.add("%s %d is not between 1 and 64", from("hash-passes"), f.hashPasses)
	}
	if f.hashSlots < 0 {
		wrong.add("%s %d is negative", from("hash-slots"), f.hashSlots)
	}
	if f.hashQueue < 0 {
		wrong.add("%s %d is negative", from("hash-queue"), f.hashQueue)
	}
	if f.perAddress < 0 {
		wrong.add("%s %d is negative", from("max-connections-per-address"), f.perAddress)
	}
	if f.maxConnections < 1 {
		wrong.add("%s %d is not at least 1", from("max-connections"), f.maxConnections)
	}
	if _, err := f.level(); err != nil {
		wrong.add("%s %q is none of debug, info, warn and error", from("log-level"), f.logLevel)
	}
	f.upstream.check(cmd, wrong)
	switch {
	case f.trustLocal != "" && f.upstream.url == "":
		wrong.add("%s is of no use without --upstream", from("trust-local"))
	case f.trustLocal != "" && !wire.IsLoopback(host):
		wrong.add("%s would let in every program that reaches %s; listen on 127.0.0.1 with it, or use --local-socket",
			from("trust-local"), f.listen)
	case f.trustLocal != "" && len(f.trustedProxies) > 0 && f.localSocket == "":
		wrong.add("%s and %s exclude each other over TCP: what a proxy on this machine carries comes from this machine, "+
			"too; add --local-socket, which alone is trusted then, or leave one of them out",
			from("trust-local"), from("trusted-proxies"))
	}
	for _, text := range f.trustedProxies {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			var single netip.Addr
			if single, err = netip.ParseAddr(text); err == nil {
				prefix = netip.PrefixFrom(single.Unmap(), single.Unmap().BitLen())
			}
		}
		if err != nil {
			wrong.add("%s %q is neither an address nor a network; write it like 10.0.0.7 or 10.0.0.0/8", from("trusted-proxies"),
				text)
		}
		f.proxies = append(f.proxies, prefix)
	}
	if f.upstream.url != "" && f.simulate {
		wrong.add("%s and %s exclude each other: a simulation serves the rest of the API itself", from("upstream"),
			from("simulate"))
	}
	if f.logFormat != "text" && f.logFormat != "json" {
		wrong.add("%s %q is neither text nor json", from("log-format"), f.logFormat)
	}
}

func (f *serveFlags) level() (level slog.Level, err error) {
	err = level.UnmarshalText([]byte(f.logLevel))
	return level, err
}

// settings returns what the flags say, except for the upstream.
func (f *serveFlags) settings() service.Config {
	config := service.Config{
		Store: *f.storeFlags.settings(),
		Hash: authority.HashParams{
			MemoryKiB: f.hashMemory * 1024, Passes: f.hashPasses, Lanes: authority.DefaultHashParams.Lanes,
		},
		HashSlots: f.hashSlots, HashQueue: f.hashQueue,
		Simulate: f.simulate, Listen: f.listen, LocalSocket: f.localSocket,
		TLSCert: f.tlsCert, TLSKey: f.tlsKey, TLSSelfSigned: f.tlsSelfSigned, MaxConnections: f.maxConnections,
		MaxConnectionsPerAddress: f.perAddress,
		TrustLocal:               f.trustLocal, TrustedProxies: f.proxies, Version: buildVersion(debug.ReadBuildInfo()),
	}
	if f.demo {
		config.Seed = &simulate.Seed{APIKey: demoKey, APISecret: demoSecret, User: demoUser, Password: demoPassword}
	}
	return config
}

// serve runs the service until the context of the command ends.
func (a *app) serve(cmd *cobra.Command, f *serveFlags) (err error) {
	ctx := cmd.Context()
	log := a.serveLog(f)
	a.tellConfig()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	throwaway := f.demo && !isSet(cmd, "data")
	if throwaway {
		if f.Data, err = os.MkdirTemp("", "latchkey-demo-"); err != nil {
			return fail(exitFailed, "the demo's directory cannot be created: %w; nothing was started", err).
				hint("name a directory that can be written with --data")
		}
		defer func() { err = errors.Join(err, os.RemoveAll(f.Data)) }()
	}
	if err := clearReadyFile(f.readyFile); err != nil {
		return err
	}
	config := f.settings()
	config.Now, config.Log = a.Now, log
	config.Collectors = append(config.Collectors, a.log.metric())
	if f.upstream.url != "" {
		if config.Upstream, err = f.upstream.settings(ctx, a, f); err != nil {
			return err
		}
	}
	running, err := service.Open(ctx, config)
	var problem *service.Error
	switch {
	case errors.As(err, &problem) && problem.Misconfigured():
		return usage("%w", err)
	case err != nil:
		return err
	}
	defer func() { err = errors.Join(err, running.Close()) }()
	if !f.simulate {
		a.warnDatabase(&f.storeFlags)
	}
	if f.tlsKey != "" {
		a.warnReadable(f.tlsKey)
	}
	if err := f.writeReadyFile(running.URL); err != nil {
		return err
	}
	defer removeReadyFile(f.readyFile)
	a.announce(announcement{
		serveFlags: f, service: running, certificate: config.CertificatePath(), throwaway: throwaway,
		dataIsSet: isSet(cmd, "data"), log: log,
	})
	if err := running.Run(ctx); err != nil {
		return fail(exitFailed, "%w", err)
	}
	log.Info("stopped")
	return nil
}

// serveLog makes the log, which never waits for its reader.
func (a *app) serveLog(f *serveFlags) *slog.Logger {
	level, _ := f.level() // checked
	handler := func(w io.Writer) slog.Handler {
		options := &slog.HandlerOptions{Level: level}
		if f.logFormat == "json" {
			return slog.NewJSONHandler(w, options)
		}
		return slog.NewTextHandler(w, options)
	}
	a.log = newLogQueue(a.Err, slog.New(handler(a.Err)))
	a.Err = a.log // whatever is said from here on
	log := slog.New(handler(a.log))
	if f.logFormat == "json" {
		a.warnings = func(text string) { log.Warn(text) }
	}
	return log
}
