package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
	"github.com/latchkey/latchkey/keeper"
)

// rotateFlags are the flags of `rotate`.
type rotateFlags struct {
	upstream
	now    bool
	status bool
	resume bool
	json   bool
}

func (a *app) rotateCommand() *cobra.Command {
	var f rotateFlags
	command := &cobra.Command{
		Use: "rotate", Short: "Change the upstream's password and store the new one", Args: exactly(),
		Long: `
The upstream generates the new password, puts it into effect immediately and returns it
only once. So rotate works in steps, and prints each step as it begins. It checks that it
can write the credential file and records what it is about to do. Then it sends one
reset, keeps the raw response, stores the password and tests it by a login. Programs
whose keepers share the state continue to work. Concurrent rotations count as one.

If a rotation is interrupted, --resume or the next program that uses the account finishes
it. If no response came, a login with the old password determines which password is in
effect.
`,
		Example: `  latchkey rotate --credential-file upstream.json --api-key KEY --api-secret-file key.secret
  latchkey rotate --credential-file upstream.json --status
  LATCHKEY_CREDENTIAL_FILE=/var/lib/myapp/upstream.json latchkey rotate --now    # from cron`,
	}
	f.addFlags(a, command)
	flags := command.Flags()
	flags.BoolVar(&f.now, "now", false, "rotate without asking for confirmation")
	flags.BoolVar(&f.status, "status", false,
		"show the password's age and any unfinished rotation; send nothing")
	flags.BoolVar(&f.resume, "resume", false, "finish an unfinished rotation; begin no new one")
	jsonFlag(command, &f.json)
	a.conf.check(command, func(wrong *faults) {
		if f.now && f.status || f.now && f.resume || f.status && f.resume {
			wrong.add("--now, --status and --resume exclude each other")
		}
	})
	command.RunE = func(cmd *cobra.Command, _ []string) error { return a.rotate(cmd.Context(), &f) }
	return command
}

func (a *app) rotate(ctx context.Context, f *rotateFlags) (err error) {
	c, err := f.load(ctx, a)
	if err != nil {
		return err
	}
	if f.status {
		return a.rotationStatus(ctx, f, c.User)
	}
	k, err := f.online(ctx, a)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.Close(context.WithoutCancel(ctx))) }()
	if f.resume {
		err = k.ResumeRotation(ctx)
	} else {
		if _, ok := terminal(a.In); !ok && !f.now {
			return usage("a rotation needs confirmation, and there is no terminal to ask on; nothing was sent").
				hint("add --now if you are sure")
		}
		question := fmt.Sprintf("Change the password of %s at %s now?", printable(c.User), f.url)
		if err := a.confirm(ctx, f.now, question); err != nil {
			return err
		}
		err = k.Rotate(ctx)
	}
	if err != nil {
		return rotationFailure(err, f.url)
	}
	if f.json || f.resume {
		return a.rotationStatus(ctx, f, c.User)
	}
	a.note("the password of %s was changed; the new one is in %s, and a login has proven it",
		printable(c.User), f.credentialFile)
	a.note("state: %s", f.stateIn())
	return nil
}

// load returns the credential. If there is none, the error's hint is how to create one.
func (u *upstream) load(ctx context.Context, a *app) (credential.Credential, error) {
	store, err := u.store(a)
	if err != nil {
		return credential.Credential{}, err
	}
	c, err := store.Load(ctx)
	if errors.Is(err, credential.ErrNotFound) {
		return c, usage("%w; nothing was sent", err).
			hint("create it with: latchkey credential set --credential-file %s --user NAME", u.credentialFile)
	}
	if err != nil {
		return c, fail(exitFailed, "%w; nothing was sent", err)
	}
	return c, nil
}

// showStep prints the step that begins.
func (a *app) showStep(e keeper.Event) {
	if e.Kind == keeper.EventRotating {
		a.note("  %s …", e.Step)
	}
}

// rotationFailure gives an error of a rotation its exit code.
func rotationFailure(err error, url string) error {
	text := errorText(err)
	var rotation *keeper.RotationError
	var latched *keeper.LatchedError
	switch {
	case errors.As(err, &rotation) && rotation.State != keeper.RotationNone:
		return &failure{code: exitFailed, text: text, err: err}
	case errors.As(err, &latched):
		return &failure{code: exitForbidden, text: text, err: err}
	case errors.Is(err, latchkey.ErrNotSent) && !errors.As(err, &rotation):
		return explain(err, url, "nothing was changed")
	}
	return &failure{code: exitCode(err), text: text, err: err}
}

// shownRotation is what `rotate --status` shows.
type shownRotation struct {
	URL           string    `json:"url"`
	User          string    `json:"user"`
	State         string    `json:"state"` // where the state is kept
	PasswordSince time.Time `json:"passwordSince,omitzero"`
	// PasswordMade reports whether PasswordSince is when the password was made. If it is
	// false, PasswordSince is when it was first seen, and the password may be older.
	PasswordMade  bool      `json:"passwordMade"`
	Rotation      string    `json:"rotation"` // a keeper.RotationState; "" for none
	RotationBegun time.Time `json:"rotationBegun,omitzero"`
	Session       string    `json:"session"`
	Strikes       int       `json:"strikes"`
	Latched       string    `json:"latched,omitempty"` // why no program logs in until an operator acts
	Hint          string    `json:"hint,omitempty"`    // what the operator can do about it
	Waiting       string    `json:"waiting,omitempty"` // why no program logs in until WaitingUntil
	WaitingUntil  time.Time `json:"waitingUntil,omitzero"`

	unused bool // no program has used the state for this user at this URL
}

func (a *app) rotationStatus(ctx context.Context, f *rotateFlags, user string) error {
	shown, err := f.shown(ctx, a, user)
	if err != nil {
		return err
	}
	if f.json {
		return a.printJSON(shown)
	}
	pairs := [][2]string{{"url", shown.URL}, {"user", printable(shown.User)}, {"state", shown.State}}
	switch {
	case shown.PasswordSince.IsZero():
		pairs = append(pairs, [2]string{"password", "not used here yet, so its age is not known"})
	case shown.PasswordMade:
		pairs = append(pairs, [2]string{"password", "made " + a.moment(shown.PasswordSince)})
	default:
		pairs = append(pairs, [2]string{"password", "first seen " + a.moment(shown.PasswordSince) + ", may be older"})
	}
	rotation := "none under way"
	if shown.Rotation != "" {
		rotation = shown.Rotation + ", begun " + a.moment(shown.RotationBegun)
	}
	pairs = append(pairs, [2]string{"rotation", rotation}, [2]string{"session", shown.Session},
		[2]string{"strikes", fmt.Sprintf("%d, at most", shown.Strikes)})
	if shown.Latched != "" {
		pairs = append(pairs, [2]string{"latched", shown.Latched}, [2]string{"hint", shown.Hint})
	}
	if shown.Waiting != "" {
		pairs = append(pairs, [2]string{"waiting", "until " + a.moment(shown.WaitingUntil) + ": " + shown.Waiting})
	}
	a.pairs(pairs...)
	return nil
}

// shown returns the recorded state of the account. It sends nothing.
func (u *upstream) shown(ctx context.Context, a *app, user string) (shown shownRotation, err error) {
	k, err := u.offline(ctx, a)
	if err != nil {
		return shown, err
	}
	defer func() { err = errors.Join(err, k.Close(ctx)) }()
	status, err := k.Status(ctx)
	if err != nil {
		return shownRotation{}, fail(exitFailed, "%w", err)
	}
	shown = shownRotation{
		URL: u.url, User: user, State: u.stateIn(), PasswordSince: status.PasswordSince, PasswordMade: status.PasswordMade,
		Rotation: string(status.Rotation), RotationBegun: status.RotationBegun, Session: sessionNone, Strikes: status.Strikes,
		unused: isUnused(status),
	}
	if status.Live {
		shown.Session = stateLive
	}
	if status.Latched != nil {
		shown.Latched, shown.Hint = errorText(status.Latched), hintOf(status.Latched)
	}
	if status.Waiting != nil {
		shown.Waiting, shown.WaitingUntil = errorText(status.Waiting.Err), status.Waiting.Until
	}
	return shown, nil
}
