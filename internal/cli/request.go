package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/wire"
)

// maxErrorBody bounds how much of a response is read to classify it.
const maxErrorBody = 1 << 20

// requestFlags holds the flags of request.
type requestFlags struct {
	endpoint
	data    string
	headers []string
	include bool
}

func (a *app) requestCommand() *cobra.Command {
	var f requestFlags
	command := &cobra.Command{
		Use: "request METHOD PATH", Short: "Send any request of the API with both tokens",
		Args: exactly("the method", "the path"),
		Long: `
request adds the access token and the session token. It prints the body of the response to
standard output and the status to standard error. The exit code follows the status: 0 for
2xx, 4 for 401 and 403, 3 for other 4xx, 5 for 429 and 5xx. A response that means that the
session has ended also gives 4, and the session is no longer stored.

The request is sent once, on a connection of its own over HTTP/1.1. Redirects are not
followed. The tokens are sent only to the service: to --url, and for the vendor's
production also to https://imp.thingspace.verizon.com and https://5gedge.verizon.com, if
you give the whole URL.
`,
		Example: `  latchkey request GET /api/m2m/v1/accounts/0000123456-00001
  latchkey request POST /api/m2m/v1/devices/actions/list --data @filter.json
  echo '{"accountName":"0000123456-00001"}' | latchkey request POST /api/m2m/v1/sms --data -`,
	}
	f.addFlags(a, command)
	flags := command.Flags()
	flags.StringVar(&f.data, "data", "",
		"send this `BODY`: text, @FILE, or - for standard input; its type is JSON unless --header sets another")
	flags.StringArrayVar(&f.headers, "header", nil, "add a `HEADER`, written 'Name: value'; may be repeated")
	flags.BoolVarP(&f.include, "include", "i", false, "also print the headers of the response to standard error")
	command.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.resolve(a, cmd, true); err != nil {
			return err
		}
		req, err := a.buildRequest(cmd, &f, strings.ToUpper(args[0]), args[1])
		if err != nil {
			return err
		}
		return a.request(cmd, &f, req)
	}
	return command
}

// ownCommands lists the operations that have a command of their own, because their
// results must be stored.
var ownCommands = map[string]string{
	wire.PathLogIn:              "latchkey login",
	wire.PathLogInAlias:         "latchkey login",
	wire.PathLogOut:             "latchkey logout",
	wire.PathLogOutAlias:        "latchkey logout",
	wire.PathResetPassword:      "latchkey password reset",
	wire.PathResetPasswordAlias: "latchkey password reset",
}

func (a *app) buildRequest(cmd *cobra.Command, f *requestFlags, method, path string) (*http.Request, error) {
	var wrong faults
	target := path
	if rest, ok := strings.CutPrefix(path, f.url); ok && strings.HasPrefix(rest, "/") {
		target = rest
	}
	u, err := url.Parse(target)
	switch {
	case err != nil:
		wrong.add("%q is not a path", path)
	case !u.IsAbs() && u.Host != "":
		wrong.add("%s names a host and no scheme; give a path, or a whole URL", path)
	case u.IsAbs() && u.Host != "": // the client decides whether the tokens may be sent there
	case !strings.HasPrefix(u.Path, "/"):
		wrong.add("the path %q does not begin with /", path)
	case ownCommands[u.Path] != "":
		wrong.add("use `%s` for this, which stores the result", ownCommands[u.Path])
	}
	header := http.Header{}
	for _, line := range f.headers {
		name, value, ok := strings.Cut(line, ":")
		name = http.CanonicalHeaderKey(strings.TrimSpace(name))
		switch {
		case !ok || name == "":
			wrong.add("--header %q does not look like 'Name: value'", line)
		case name == "Authorization" || name == http.CanonicalHeaderKey(wire.HeaderSessionToken):
			wrong.add("--header %s: the tokens are added by this command, and others can read a token on the command line",
				name)
		default:
			header.Add(name, strings.TrimSpace(value))
		}
	}
	if len(wrong) > 0 {
		return nil, wrong.err()
	}
	body, err := a.requestBody(f.data)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(cmd.Context(), method, target, body)
	if err != nil {
		return nil, usage("invalid request: %w; nothing was sent", err)
	}
	req.Header = header
	req.Close = true // a connection of its own, so that nothing below repeats it
	if body != nil && header.Get("Content-Type") == "" {
		header.Set("Content-Type", wire.MediaTypeJSON)
	}
	return req, nil
}

// requestBody returns the body, or nil if there is none.
func (a *app) requestBody(data string) (io.Reader, error) {
	switch {
	case data == "":
		return nil, nil
	case data == "-":
		return a.In, nil
	case data[0] != '@':
		return strings.NewReader(data), nil
	}
	content, err := os.ReadFile(data[1:])
	if err != nil {
		return nil, usage("read the body: %w; nothing was sent", err)
	}
	return bytes.NewReader(content), nil
}

func (a *app) request(cmd *cobra.Command, f *requestFlags, req *http.Request) error {
	ctx := cmd.Context()
	client, err := a.client(ctx, &f.endpoint)
	if err != nil {
		return err
	}
	if _, ok := client.SessionHeader(req.URL); req.URL.IsAbs() && !ok {
		return usage("%s is not at %s, and the tokens are sent nowhere else; nothing was sent", req.URL.Redacted(), f.url).
			hint("give a path, or another --url")
	}
	resp, err := client.Do(req, f.stored.token())
	if err != nil {
		return explain(err, f.url, "the session is still stored")
	}
	defer func() { _ = resp.Body.Close() }() // read to its end, or the reader left
	a.note("%s", resp.Status)
	if f.include {
		for _, name := range slices.Sorted(maps.Keys(resp.Header)) {
			for _, value := range resp.Header[name] {
				a.note("%s: %s", name, printable(value))
			}
		}
	}
	refusal, err := a.passBody(resp, f.stored.token())
	if err != nil {
		return err
	}
	change := func(l *login) { l.LastUsedAt = a.Now().UTC() }
	if isAny(refusal, latchkey.ErrSessionExpired, latchkey.ErrSessionTokenInvalid) {
		change = (*login).forget
	}
	if err := f.touch(ctx, change); err != nil {
		return err
	}
	var odd *latchkey.ResponseError
	if errors.As(refusal, &odd) {
		return fail(exitOfStatus(resp.StatusCode), "%s responded %s; its response is above", f.url, resp.Status)
	}
	return explain(refusal, f.url, "the session is still stored")
}

// passBody copies the body to the output, and returns the refusal as an error.
func (a *app) passBody(resp *http.Response, token latchkey.Secret) (refusal, err error) {
	var seen bytes.Buffer
	source := io.Reader(resp.Body)
	if resp.StatusCode >= 300 {
		source = io.TeeReader(resp.Body, &limitedBuffer{&seen, maxErrorBody})
	}
	last := &lastByte{w: a.Out}
	_, err = io.Copy(last, source)
	if last.err != nil {
		return nil, fail(exitFailed, "write standard output: %w; the service responded %s, so it has acted on the request",
			last.err, resp.Status)
	}
	if err != nil {
		return nil, fail(exitUnavailable, "the response broke off: %w; the part that arrived is above", err)
	}
	if _, ok := terminal(a.Out); ok && last.n > 0 && last.b != '\n' {
		_, _ = fmt.Fprintln(a.Out) // so that the shell prompt starts on a new line
	}
	copied := *resp
	copied.Body = io.NopCloser(&seen)
	return latchkey.CheckResponse(&copied, token), nil
}

// limitedBuffer keeps the first bytes and discards the rest.
type limitedBuffer struct {
	buffer *bytes.Buffer
	limit  int
}

func (l *limitedBuffer) Write(p []byte) (int, error) {
	if room := l.limit - l.buffer.Len(); room > 0 {
		l.buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// lastByte remembers the last byte written.
type lastByte struct {
	w   io.Writer
	b   byte
	n   int64
	err error
}

func (l *lastByte) Write(p []byte) (int, error) {
	if len(p) > 0 {
		l.b = p[len(p)-1]
		l.n += int64(len(p))
	}
	n, err := l.w.Write(p)
	l.err = err
	return n, err
}
