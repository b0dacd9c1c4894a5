package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/outbound"
	"github.com/latchkey/latchkey/internal/wire"
)

// apiSecretVariable is the one variable that holds a secret itself, for CI jobs.
const apiSecretVariable = envPrefix + "API_SECRET"

const maxCABytes = 1 << 20

// endpoint is which service a client command speaks to, and as whom.
type endpoint struct {
	url, apiKey, user string
	secretFile        string
	caFile            string
	skipVerify        bool
	plaintext         bool
	stored            *login // what is remembered of it; nil for nothing
}

const endpointHelp = `
--url, --api-key and --user name the service, the API key and the user. What is
left out is taken from the stored logins, if exactly one of them fits. The API
secret comes from LATCHKEY_API_SECRET, from --api-secret-file, from the file named
at the login, or from you at the terminal.
`

// addFlags registers the flags of a client command.
func (e *endpoint) addFlags(a *app, command *cobra.Command) {
	flags := command.Flags()
	flags.SortFlags = false
	flags.StringVar(&e.user, "user", "", "the user's `NAME`")
	settings(flags, "user")
	e.addServiceFlags(a, command)
	completeLogins(command)
	command.Long = command.Short + ".\n" + command.Long + endpointHelp
}

// addServiceFlags registers the flags that say which service it is, and as which
// program it is spoken to.
func (e *endpoint) addServiceFlags(a *app, command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&e.url, "url", "", "base `URL` of the service (default: "+wire.ProductionBaseURL+")")
	flags.StringVar(&e.apiKey, "api-key", "", "the API `KEY`")
	flags.StringVar(&e.secretFile, "api-secret-file", "",
		"the `FILE` with the API secret; LATCHKEY_API_SECRET may hold it instead")
	flags.StringVar(&e.caFile, "ca-file", "", "trust the certificates in this PEM `FILE`, besides the system's")
	flags.BoolVar(&e.skipVerify, "tls-skip-verify", false,
		"do not check the certificate; for services on this machine only")
	flags.BoolVar(&e.plaintext, "allow-plaintext", false,
		"permit http:// to other machines: passwords and tokens travel in the clear")
	settings(flags, "url", "api-key", "api-secret-file", "ca-file", "tls-skip-verify", "allow-plaintext")
	a.conf.check(command, func(wrong *faults) { e.normalize(command, wrong) })
}

// normalize checks what was said and gives the URL the one form that it is stored in.
func (e *endpoint) normalize(cmd *cobra.Command, wrong *faults) {
	if e.url != "" {
		base, problem := parseBase(e.url, e.plaintext)
		if problem == inTheClear {
			problem += ", or add --allow-plaintext if the network is yours"
		}
		if problem != "" {
			wrong.add("%s %s", source(cmd, "url"), problem)
		} else {
			e.url = base
		}
	}
	if strings.ContainsFunc(e.apiKey, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' }) {
		wrong.add("%s may hold printable ASCII characters only, and no colon", source(cmd, "api-key"))
	}
	for _, file := range []*string{&e.secretFile,
		&e.caFile} { // they are remembered, so they must not depend on where this is run
		if absolute, err := filepath.Abs(*file); *file != "" && err == nil {
			*file = absolute
		}
	}
}

const inTheClear = "is http:// to another machine, so that passwords and tokens would travel in the clear; use https://"

// parseBase returns the normal form of a base URL, or what is wrong with it.
func parseBase(raw string, plaintext bool) (base, problem string) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		return "", "must look like https://thingspace.verizon.com or http://127.0.0.1:8080"
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "", "must hold nothing but a scheme, a host and perhaps a path"
	case u.Scheme == "http" && !plaintext && !wire.IsLoopback(u.Hostname()):
		return "", inTheClear
	}
	u.Host = strings.ToLower(u.Host)
	if u.Scheme == "https" && u.Port() == "443" || u.Scheme == "http" && u.Port() == "80" {
		u.Host = strings.TrimSuffix(u.Host, ":"+u.Port())
	}
	return strings.TrimRight(u.String(), "/"), ""
}

// resolve settles which login a command is about. Only `login` may name one that
// is not stored yet.
func (e *endpoint) resolve(a *app, cmd *cobra.Command, needSession bool) error {
	s, err := a.readLogins()
	if err != nil {
		return err
	}
	found := s.matching(e.url, e.apiKey, e.user)
	if needSession {
		found = withSession(found)
	}
	switch len(found) {
	case 1:
		e.use(found[0])
	case 0:
		if needSession {
			return fail(exitForbidden, "no session is stored%s; nothing was sent", e.described()).
				hint("log in first: latchkey login")
		}
		e.url = cmp.Or(e.url, wire.ProductionBaseURL)
	default:
		names := make([]string, len(found))
		for i, l := range found {
			names[i] = fmt.Sprintf("--url %s --api-key %s --user %s", l.URL, l.APIKey, l.User)
		}
		return usage("%d stored logins match; nothing was sent:\n  %s", len(found), strings.Join(names, "\n  ")).
			hint("repeat the command with the flags of one of them")
	}
	return e.checkTLS(cmd)
}

// use fills in what a stored login knows.
func (e *endpoint) use(l *login) {
	e.stored, e.url, e.apiKey, e.user = l, l.URL, l.APIKey, l.User
	e.secretFile = cmp.Or(e.secretFile, l.APISecretFile)
	e.caFile = cmp.Or(e.caFile, l.CAFile)
}

// described names what was given of an endpoint, for a complaint.
func (e *endpoint) described() string {
	text := ""
	if e.user != "" {
		text += " for " + e.user
	}
	if e.url != "" {
		text += " at " + e.url
	}
	if e.apiKey != "" {
		text += " with API key " + e.apiKey
	}
	return text
}

func (e *endpoint) checkTLS(cmd *cobra.Command) error {
	u, err := url.Parse(e.url)
	if err != nil {
		return usage("the URL %s cannot be read; nothing was sent", e.url)
	}
	if e.skipVerify && !wire.IsLoopback(u.Hostname()) {
		return usage("%s is for services on this machine, not for %s; nothing was sent",
			source(cmd, "tls-skip-verify"), u.Host).hint("name the service's certificate with --ca-file")
	}
	return nil
}

// client makes the client of the endpoint.
func (a *app) client(ctx context.Context, e *endpoint) (*latchkey.Client, error) {
	if e.apiKey == "" {
		return nil, usage("the API key is missing; nothing was sent").hint("name it with --api-key or LATCHKEY_API_KEY")
	}
	apiSecret, err := a.apiSecret(ctx, e)
	if err != nil {
		return nil, err
	}
	config := latchkey.Config{
		BaseURL: e.url, APIKey: e.apiKey, APISecret: apiSecret, AllowPlaintext: e.plaintext,
		UserAgent: "latchkey/" + buildVersion(debug.ReadBuildInfo()), Now: a.clock,
	}
	if e.caFile != "" || e.skipVerify {
		transport, err := e.transport()
		if err != nil {
			return nil, err
		}
		config.HTTPClient = &http.Client{Transport: outbound.Renew(transport)}
	}
	client, err := latchkey.NewClient(config)
	if err != nil {
		return nil, usage("%s; nothing was sent", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return client, nil
}

// transport is the usual one with other certificates.
func (e *endpoint) transport() (*http.Transport, error) {
	base, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, fail(exitFailed, "the default transport is of an unexpected type; nothing was sent")
	}
	transport := base.Clone()
	outbound.LoseDeadConnections(transport)
	transport.TLSClientConfig = &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: e.skipVerify, //nolint:gosec // on this machine only, see checkTLS
	}
	if e.caFile == "" {
		return transport, nil
	}
	pem, err := readBounded(e.caFile, maxCABytes)
	if err != nil {
		return nil, usage("the certificates cannot be read: %w; nothing was sent", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool() // systems without one
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, usage("%s holds no certificate in PEM form; nothing was sent", e.caFile)
	}
	transport.TLSClientConfig.RootCAs = roots
	return transport, nil
}

// apiSecret returns the API secret.
func (a *app) apiSecret(ctx context.Context, e *endpoint) (latchkey.Secret, error) {
	if value := os.Getenv(apiSecretVariable); value != "" {
		return latchkey.Secret(value), nil
	}
	if e.secretFile != "" {
		return a.readSecretFile(e.secretFile)
	}
	if _, ok := terminal(a.In); !ok {
		return "", usage("the API secret of %s is missing; nothing was sent", e.apiKey).
			hint("name a file that contains it with --api-secret-file, or set %s", apiSecretVariable)
	}
	return a.ask(ctx, fmt.Sprintf("API secret of %s: ", e.apiKey))
}

// touch remembers that the session was used, or that the service says it is over.
func (e *endpoint) touch(ctx context.Context, change func(*login)) error {
	token := e.stored.SessionToken
	// It happened, even if the person leaves now.
	_, err := updateLogin(context.WithoutCancel(ctx), e.url, e.apiKey, e.user, func(l *login) {
		if l.SessionToken == token { // otherwise another command has logged in
			change(l)
		}
	})
	return err
}
