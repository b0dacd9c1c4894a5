package cli

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/latchkey/latchkey/internal/service"
	"github.com/latchkey/latchkey/internal/store/postgres"
	"github.com/latchkey/latchkey/internal/wire"
)

// The public accounts of the demo.
const (
	demoKey      = "demo-key"
	demoSecret   = "demo-secret"
	demoUser     = "zbeeblebrox"
	demoPassword = "IMgr8"
)

// announcement is what a user is shown when the service is up.
type announcement struct {
	*serveFlags

	service     *service.Service
	certificate string // the path of a self-signed one
	throwaway   bool   // the data directory is removed at the end
	dataIsSet   bool
	log         *slog.Logger
}

// announce prints where the service is and what to do next. With a JSON log, which
// programs read, it is one line of the log.
func (a *app) announce(n announcement) {
	exposed := !n.listensLocally() && n.tlsCert == "" && !n.tlsSelfSigned
	const warning = "passwords and tokens travel in the clear to other machines; use --tls-cert and --tls-key, or " +
		"listen on 127.0.0.1 behind a proxy that speaks TLS"
	if n.logFormat == "json" {
		n.log.Info("listening", "url", n.service.URL, "data", n.Data, "upstream", n.upstream.url, "version",
			buildVersion(debug.ReadBuildInfo()))
		if exposed {
			n.log.Warn(warning)
		}
		if n.trustLocal != "" {
			n.log.Warn(n.trusts(), "user", n.trustLocal)
		}
		if n.service.UnknownLocal {
			n.log.Warn(n.unknownUser())
		}
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "latchkey %s serves the session API on %s\n", buildVersion(debug.ReadBuildInfo()), n.service.URL)
	where, err := filepath.Abs(n.Data)
	if err != nil {
		where = n.Data
	}
	if n.throwaway {
		where += ", removed when this stops"
	}
	fmt.Fprintf(&b, "\n  data         %s\n", where)
	if n.Shared() {
		fmt.Fprintf(&b, "  database     %s\n", postgres.RedactURL(n.Database))
	}
	if n.upstream.url != "" {
		fmt.Fprintf(&b, "  upstream     %s, as %s\n", n.upstream.host(), printable(n.service.UpstreamUser))
	}
	if n.tlsSelfSigned {
		fmt.Fprintf(&b, "  certificate  %s, new with every start\n  fingerprint  SHA-256 %s\n", n.certificate,
			n.service.Fingerprint)
	}
	if n.service.Seeded {
		fmt.Fprintf(&b, "  API key      %s, secret %s\n  user         %s, password %s\n", demoKey, demoSecret, demoUser,
			demoPassword)
	}
	switch {
	case n.service.Seeded:
		n.tryIt(&b)
		if n.simulate {
			n.simulateIt(&b)
		}
	case n.demo:
		fmt.Fprintf(&b, "\nThis directory was used before, so the demo's accounts are as they were left, if\nthey were "+
			"ever there.\n")
	case n.service.Empty:
		option := ""
		if n.dataIsSet {
			option = " --data " + shellQuote(n.Data)
		}
		fmt.Fprintf(&b, "\nIt has no users and no API clients yet. In another terminal, add one of each:\n\n"+
			"  latchkey user add NAME%s\n  latchkey client add LABEL%s\n", option, option)
	}
	if exposed {
		fmt.Fprintf(&b, "\nWARNING: %s.\n", warning)
	}
	if n.trustLocal != "" {
		fmt.Fprintf(&b, "\nWARNING: %s.\n", n.trusts())
	}
	if n.service.UnknownLocal {
		fmt.Fprintf(&b, "\nWARNING: %s.\n", n.unknownUser())
	}
	b.WriteString("\nStop it with Ctrl-C.\n\n")
	_, _ = io.WriteString(a.Err, b.String()) // the service runs even if this cannot be written
}

// trusts returns which requests run without credentials.
func (n *announcement) trusts() string {
	who := "requests without credentials run as " + printable(n.trustLocal) + " if they come "
	const header = "from this machine with the header " + wire.HeaderLocal +
		": NAME; a proxy on this machine must remove that header"
	switch {
	case len(n.trustedProxies) > 0:
		return who + "over the Unix socket; over TCP, where proxies are, none do"
	case n.localSocket != "":
		return who + "over the Unix socket, or " + header
	}
	return who + header + ", or use --local-socket instead"
}

// unknownUser returns what to do about a user of --trust-local who does not exist.
func (n *announcement) unknownUser() string {
	return "there is no user " + printable(n.trustLocal) +
		", so requests without credentials get 403 until it is added: latchkey user add"
}

// tryIt prints lines that work as they are pasted.
func (n *announcement) tryIt(b *strings.Builder) {
	curl, trust := "curl -s", ""
	if n.tlsSelfSigned {
		curl += " --cacert " + shellQuote(n.certificate)
		trust = " LATCHKEY_CA_FILE=" + shellQuote(n.certificate)
	}
	const bearer = `-H "Authorization: Bearer $BEARER"` //nolint:gosec // a shell variable
	const session = `-H "` + wire.HeaderSessionToken + `: $SESSION"`
	fmt.Fprintf(b, `
Get an access token, log in, look at the session, log out. In another terminal, paste:

  URL=%s
  BEARER=$(%s -u %s:%s -d grant_type=client_credentials $URL%s | cut -d '"' -f 4)
  SESSION=$(%s %s -d '{"username":"%s","password":"%s"}' $URL%s | cut -d '"' -f 4)
  %s %s %s $URL%s
  %s -X POST %s %s $URL%s
`,
		n.service.URL,
		curl, demoKey, demoSecret, wire.PathToken,
		curl, bearer, demoUser, demoPassword, wire.PathLogIn,
		curl, bearer, session, wire.PathSession,
		curl, bearer, session, wire.PathLogOut)
	fmt.Fprintf(b, `
Or with this program, if it is on the PATH as latchkey:

  export LATCHKEY_URL=%s LATCHKEY_API_KEY=%s LATCHKEY_API_SECRET=%s LATCHKEY_USER=%s%s
  echo %s | latchkey login --password-stdin
  latchkey request GET %s
  latchkey logout
  latchkey audit --data %s
`, n.service.URL, demoKey, demoSecret, demoUser, trust, demoPassword, wire.PathSession, shellQuote(n.Data))
}

// simulateIt prints what the simulation adds.
func (n *announcement) simulateIt(b *strings.Builder) {
	curl := "curl -s"
	if n.tlsSelfSigned {
		curl += " --cacert " + shellQuote(n.certificate)
	}
	fmt.Fprintf(b, `
Any program that reaches this service can inject faults and move its clock:

  JSON='Content-Type: %[6]s'
  %[1]s -H "$JSON" -d '{"fault":"drop-after","operation":"login"}' $URL%[2]s
  %[1]s -H "$JSON" -d '{"advance":"20m"}' $URL%[3]s
  %[1]s $URL%[4]s
  %[1]s -X POST $URL%[5]s
`, curl, wire.PathSimulateFaults, wire.PathSimulateClock, wire.PathSimulateEvents, wire.PathSimulateReset,
		wire.MediaTypeJSON)
}

func (f *serveFlags) listensLocally() bool {
	host, _, err := net.SplitHostPort(f.listen)
	return err == nil && wire.IsLoopback(host)
}

// shellQuote makes a path one word of a shell's command line.
func shellQuote(text string) string {
	const harmless = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=@,+"
	if text != "" && strings.Trim(text, harmless) == "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
