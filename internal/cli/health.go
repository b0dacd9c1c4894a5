package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/wire"
)

// healthTimeout bounds the whole of `health`. The service gives its database two
// seconds of it.
const healthTimeout = 4 * time.Second

// healthFlags are those flags of `serve` that say where the service is.
type healthFlags struct {
	listen        string
	tlsCert       string
	tlsSelfSigned bool
	readyFile     string
}

func (a *app) healthCommand() *cobra.Command {
	var f healthFlags
	command := &cobra.Command{
		Use: "health", Short: "Check that the service on this machine is ready, for containers", Args: exactly(),
		Long: `Check that the service on this machine is ready, for containers.

It asks ` + wire.PathReady + ` of the service that is configured here: give it the LATCHKEY_...
variables and the config file that serve has, or the same flags. With port 0 it needs
--ready-file, which says the port. It exits with 0 if the service is ready and with 1
if it is not, within four seconds. It sends no secret, and so accepts any certificate.
`,
		Example:           "  latchkey health\n  LATCHKEY_LISTEN=0.0.0.0:8443 LATCHKEY_TLS_SELF_SIGNED=true latchkey health",
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	flags := command.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.listen, "listen", defaultListen, "the `ADDRESS` that the service listens on")
	flags.StringVar(&f.tlsCert, "tls-cert", "", "the service speaks TLS with this `FILE`")
	flags.BoolVar(&f.tlsSelfSigned, "tls-self-signed", false, "the service speaks TLS with a certificate of its own")
	flags.StringVar(&f.readyFile, "ready-file", "", "the `FILE` in which the service says where it is")
	settings(flags, "listen", "tls-cert", "tls-self-signed", "ready-file")
	a.conf.check(command, func(wrong *faults) {
		_, port, err := net.SplitHostPort(f.listen)
		if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil {
			wrong.add("%s %q is not an address; write it like 127.0.0.1:8080, or :8080 for all of this machine's",
				source(command, "listen"), f.listen)
		} else if n == 0 && f.readyFile == "" {
			wrong.add("%s %s leaves the port open; name the file that says it with --ready-file, for the service as well",
				source(command, "listen"), f.listen)
		}
	})
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := context.WithTimeout(cmd.Context(), healthTimeout)
		defer cancel()
		return a.health(ctx, &f)
	}
	return command
}

// health returns nil if the service is ready.
func (a *app) health(ctx context.Context, f *healthFlags) error {
	address, err := f.url()
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fail(exitFailed, "not ready: %w", err)
	}
	transport := &http.Transport{ // no proxy is asked
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // nothing secret is sent or believed
	}
	response, err := transport.RoundTrip(request) // follows no redirect
	if err != nil {
		return fail(exitFailed, "not ready: %s: %w", address, err)
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	const longest = 1 << 10
	text, err := io.ReadAll(io.LimitReader(response.Body, longest))
	if err != nil {
		return fail(exitFailed, "not ready: %s: %w", address, err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	if response.StatusCode != http.StatusOK || first != "ready" {
		return fail(exitFailed, "not ready: %s: %s, %s", address, response.Status, cmp.Or(printable(first), "no text"))
	}
	return a.print("ready")
}

// url is where the service on this machine says whether it is ready.
func (f *healthFlags) url() (string, error) {
	host, port, _ := net.SplitHostPort(f.listen) // checked
	switch ip := net.ParseIP(host); {
	case host == "", ip != nil && ip.IsUnspecified() && ip.To4() != nil:
		host = "127.0.0.1"
	case ip != nil && ip.IsUnspecified():
		host = "::1"
	}
	at := url.URL{Scheme: "http", Path: wire.PathReady}
	if f.tlsCert != "" || f.tlsSelfSigned {
		at.Scheme = "https"
	}
	if f.readyFile != "" {
		said, err := readReady(f.readyFile)
		if err != nil {
			return "", fail(exitFailed, "not ready: the service has not said where it is: %w", err)
		}
		its, err := url.Parse(said.URL)
		if err != nil {
			return "", fail(exitFailed, "not ready: the ready file %s holds no URL", f.readyFile)
		}
		at.Scheme, port = its.Scheme, cmp.Or(its.Port(), port)
	}
	at.Host = net.JoinHostPort(host, port)
	return at.String(), nil
}
