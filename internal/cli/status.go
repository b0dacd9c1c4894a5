package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/wire"
)

// shownLogin is a stored login without its token, as status shows it.
type shownLogin struct {
	URL               string    `json:"url"`
	User              string    `json:"user"`
	APIKey            string    `json:"apiKey"`
	Session           string    `json:"session"` // see the states below
	LoggedInAt        time.Time `json:"loggedInAt,omitzero"`
	LastUsedAt        time.Time `json:"lastUsedAt,omitzero"`
	IdleAfter         time.Time `json:"idleAfter,omitzero"` // from the service, with --check
	Failures          int       `json:"failures"`
	PasswordChangedAt time.Time `json:"passwordChangedAt,omitzero"`
}

// The presumed states of a stored session. stateLive and stateEnded are certain.
const (
	sessionNone     = "none"
	sessionStored   = "stored"   // used recently, so it should be live
	sessionIdle     = "idle"     // idle for so long that it should have ended
	sessionUnproven = "unproven" // the service cannot report on it
)

func (a *app) statusCommand() *cobra.Command {
	var e endpoint
	var check, asJSON bool
	command := &cobra.Command{
		Use: "status", Short: "Show the stored logins", Args: exactly(),
		Long: `
Without --check, status shows what is stored and sends nothing. With --check, it queries
the service, which must be a latchkey service. The query counts as a use of the session.
The exit code is 0 only if the session is live.

The logins are stored in latchkey/` + stateFile + ` under XDG_STATE_HOME. Without that variable,
it is under ~/.local/state, %LocalAppData% or ~/Library/Application Support.
`,
		Example: "  latchkey status\n  latchkey status --check && echo live",
	}
	e.addFlags(a, command)
	command.Flags().BoolVar(&check, "check", false, "ask the service whether the session is live")
	jsonFlag(command, &asJSON)
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		if check {
			return a.checkStatus(cmd, &e, asJSON)
		}
		s, err := a.readLogins()
		if err != nil {
			return err
		}
		shown := []shownLogin{}
		for _, l := range s.matching(e.url, e.apiKey, e.user) {
			shown = append(shown, a.showLogin(l))
		}
		if len(shown) == 0 && !asJSON {
			a.note("no login is stored%s; log in: latchkey login", e.described())
			return nil
		}
		return a.printLogins(shown, asJSON)
	}
	return command
}

// showLogin returns what is known of a login without a query.
func (a *app) showLogin(l *login) shownLogin {
	shown := shownLogin{
		URL: l.URL, User: l.User, APIKey: l.APIKey, LoggedInAt: l.LoggedInAt, LastUsedAt: l.LastUsedAt,
		Failures: l.Failures, PasswordChangedAt: l.PasswordChangedAt,
	}
	switch {
	case l.SessionToken == "":
		shown.Session = sessionNone
	case a.presumedLive(l):
		shown.Session = sessionStored
	default:
		shown.Session = sessionIdle
	}
	return shown
}

func (a *app) printLogins(logins []shownLogin, asJSON bool) error {
	if asJSON {
		return a.printJSON(logins)
	}
	for i, l := range logins {
		if i > 0 {
			if err := a.print(""); err != nil {
				return err
			}
		}
		pairs := [][2]string{{"url", l.URL}, {"user", l.User}, {"api key", l.APIKey}, {"session", l.Session}}
		add := func(name string, t time.Time) {
			if !t.IsZero() {
				pairs = append(pairs, [2]string{name, a.moment(t)})
			}
		}
		add("logged in", l.LoggedInAt)
		add("last used", l.LastUsedAt)
		add("idle after", l.IdleAfter)
		add("password changed", l.PasswordChangedAt)
		if l.Failures > 0 {
			pairs = append(pairs, [2]string{"failed logins", strconv.Itoa(l.Failures) + " in a row, as far as known here"})
		}
		a.pairs(pairs...)
	}
	return nil
}

// checkStatus queries the service about the session.
func (a *app) checkStatus(cmd *cobra.Command, e *endpoint, asJSON bool) error {
	ctx := cmd.Context()
	if err := e.resolve(a, cmd, true); err != nil {
		return err
	}
	client, err := a.client(ctx, e)
	if err != nil {
		return err
	}
	session, err := askSession(ctx, client, e.stored.token())
	shown := a.showLogin(e.stored)
	var fault *latchkey.FaultError
	var odd *latchkey.ResponseError
	switch {
	case err == nil:
		now := a.Now().UTC()
		if err := e.touch(ctx, func(l *login) { l.LastUsedAt = now }); err != nil {
			return err
		}
		shown.Session, shown.LastUsedAt = stateLive, now
		shown.IdleAfter, _ = time.Parse(time.RFC3339Nano, session.IdleAfter) // a zero time is not shown
	case isAny(err, latchkey.ErrSessionExpired, latchkey.ErrSessionTokenInvalid):
		if forgotten := e.touch(ctx, (*login).forget); forgotten != nil {
			return forgotten
		}
		shown.Session = stateEnded
	case errors.As(err, &fault) && fault.StatusCode == http.StatusNotFound,
		errors.As(err, &odd) && odd.StatusCode == http.StatusNotFound:
		shown.Session = sessionUnproven
		err = fail(exitFailed, "%s cannot report on a session; it is still stored", e.url).
			hint("send a request to find out whether it is live")
	default:
		return explain(err, e.url, "the session is still stored")
	}
	if printed := a.printLogins([]shownLogin{shown}, asJSON); printed != nil {
		return printed
	}
	return explain(err, e.url, "the session is still stored")
}

// askSession queries a latchkey service about the session of a token.
func askSession(ctx context.Context, client *latchkey.Client, token latchkey.Secret) (wire.Session, error) {
	var session wire.Session
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, wire.PathSession, http.NoBody)
	if err != nil {
		return session, err
	}
	resp, err := client.Do(req, token)
	if err != nil {
		return session, err
	}
	defer func() { _ = resp.Body.Close() }() // only read
	if err := latchkey.CheckResponse(resp, token); err != nil {
		return session, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	if err != nil {
		return session, fail(exitUnavailable, "the response broke off: %w; the state of the session is unknown", err)
	}
	if err := json.Unmarshal(body, &session); err != nil || session.ID == "" {
		return session, fail(exitFailed, "the service responded 200, but not like a latchkey service; "+
			"the state of the session is unknown")
	}
	return session, nil
}
