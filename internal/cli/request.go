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

// maxErrorBody bounds how much of an answer is looked at to tell what it means.
const maxErrorBody = 1 << 20

// requestFlags are the flags of `request`.
type requestFlags struct {
	endpoint
	data    string
	headers []string
	include bool
}

func (a *app) requestCommand() *cobra.Command {
	var f requestFlags
	command := &cobra.Command{
		Use: "request METHOD PATH", Short: "Send any request of the API with both tokens", Args: exactly("the method", "the path"),
		Long: `
The access token and the session token are added. The body of the answer goes to
standard output, its status to standard error. The exit code follows the status:
0 for 2xx, 4 for 401 and 403, 3 for other 4xx, 5 for 429 and 5xx; an answer that
says that the session is over is 4, too, and the session is forgotten.
Nothing is sent twice (the request has a connection of its own, over HTTP/1.1), no
redirect is followed, and the tokens go to the service only: to --url, and for the
vendor's production also to https://imp.thingspace.verizon.com and
https://5gedge.verizon.com, if the whole URL is given.
`,
		Example: `  latchkey request GET /api/m2m/v1/accounts/0000123456-00001
  latchkey request POST /api/m2m/v1/devices/actions/list --data @filter.json
  echo '{"accountName":"0000123456-00001"}' | latchkey request POST /api/m2m/v1/sms --data -`,
	}
	f.addFlags(a, command)
	flags := command.Flags()
	flags.StringVar(&f.data, "data", "", "send this `BODY`: text, @FILE, or - for standard input; its type is JSON unless --header says otherwise")
	flags.StringArrayVar(&f.headers, "header", nil, "add a `HEADER`, written 'Name: value'; may be repeated")
	flags.BoolVarP(&f.include, "include", "i", false, "print the headers of the answer to standard error, too")
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

// ownCommands are the operations that have a command of their own, because what
// they tell has to be kept.
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
		wrong.add("%q is no path", path)
	case !u.IsAbs() && u.Host != "":
		wrong.add("%s names a host and no scheme; give a path, or a whole URL", path)
	case u.IsAbs() && u.Host != "": // whether the tokens may go there is for the client to say
	case !strings.HasPrefix(u.Path, "/"):
		wrong.add("the path %q does not begin with /", path)
	case ownCommands[u.Path] != "":
		wrong.add("use `%s` for this: it keeps what is told", ownCommands[u.Path])
	}
	header := http.Header{}
	for _, line := range f.headers {
		name, value, ok := strings.Cut(line, ":")
		name = http.CanonicalHeaderKey(strings.TrimSpace(name))
		switch {
		case !ok || name == "":
			wrong.add("--header %q does not look like 'Name: value'", line)
		case name == "Authorization" || name == http.CanonicalHeaderKey(wire.HeaderSessionToken):
			wrong.add("--header %s: the tokens are added anyway, and a token on the command line can be read by others", name)
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
		return nil, usage("this is no request: %w; nothing was sent", err)
	}
	req.Header = header
	req.Close = true // a connection of its own, so that nothing below repeats it
	if body != nil && header.Get("Content-Type") == "" {
		header.Set("Content-Type", wire.MediaTypeJSON)
	}
	return req, nil
}

// requestBody answers nil for no body.
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
		return nil, usage("the body cannot be read: %w; nothing was sent", err)
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
		return usage("%s is not at %s, and the tokens go nowhere else; nothing was sent; give a path, or another --url", req.URL.Redacted(), f.url)
	}
	resp, err := client.Do(req, f.stored.token())
	if err != nil {
		return explain(err, f.url, "the session is still stored")
	}
	defer func() { _ = resp.Body.Close() }() // it was read to its end, or the reader left
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
		return fail(exitOfStatus(resp.StatusCode), "%s answered %s; what it said is above", f.url, resp.Status)
	}
	return explain(refusal, f.url, "the session is still stored")
}

// passBody copies the body to the output, and answers what a refusal means.
func (a *app) passBody(resp *http.Response, token latchkey.Secret) (refusal, err error) {
	var seen bytes.Buffer
	source := io.Reader(resp.Body)
	if resp.StatusCode >= 300 {
		source = io.TeeReader(resp.Body, &limitedBuffer{&seen, maxErrorBody})
	}
	last := &lastByte{w: a.Out}
	_, err = io.Copy(last, source)
	if last.err != nil {
		return nil, fail(exitFailed, "standard output could not be written: %w; the service answered %s, and so has acted on the request", last.err, resp.Status)
	}
	if err != nil {
		return nil, fail(exitUnavailable, "the answer broke off: %w; what came of it is above", err)
	}
	if _, ok := terminal(a.Out); ok && last.n > 0 && last.b != '\n' {
		_, _ = fmt.Fprintln(a.Out) // so that the prompt starts on a line of its own
	}
	copied := *resp
	copied.Body = io.NopCloser(&seen)
	return latchkey.CheckResponse(&copied, token), nil
}

// limitedBuffer keeps the first bytes and takes the rest without a word.
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

// lastByte remembers what was written last.
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
