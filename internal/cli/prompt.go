package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/wire"
)

// maxSecretBytes bounds the length of a secret.
const maxSecretBytes = 4 << 10

// passwordSource selects where a password is read from. It is never the value of a flag,
// because every user of the machine can read those.
type passwordSource struct {
	stdin  bool
	file   string
	prompt bool
}

// addFlags registers --password-stdin and --password-file.
func (s *passwordSource) addFlags(flags *pflag.FlagSet, what string) {
	flags.BoolVar(&s.stdin, "password-stdin", false, "read "+what+" from standard input")
	flags.StringVar(&s.file, "password-file", "", "read "+what+" from this `FILE`")
}

// check adds what is wrong with the choice to wrong.
func (s *passwordSource) check(wrong *faults) {
	n := 0
	for _, chosen := range []bool{s.stdin, s.file != "", s.prompt} {
		if chosen {
			n++
		}
	}
	if n > 1 {
		wrong.add("the password can come from one place only: --password-stdin, --password-file or the prompt")
	}
}

// piped reports whether the password comes from a file or a pipe.
func (s *passwordSource) piped() bool { return s.stdin || s.file != "" }

// readPassword reads an existing password: from the source that the flags name, or from
// the terminal.
func (a *app) readPassword(ctx context.Context, from *passwordSource, question string) (latchkey.Secret, error) {
	switch {
	case from.stdin:
		return readSecretLine(a.In, "standard input")
	case from.file != "":
		return a.readSecretFile(from.file)
	}
	if _, ok := terminal(a.In); !ok {
		return "", usage("no terminal on which to ask for the password; nothing was sent").
			hint("pipe it in with --password-stdin, or name a file with --password-file")
	}
	return a.ask(ctx, question)
}

// readNewPassword reads the new password of an account. It returns "" if the service is
// to generate one, which is the default.
func (a *app) readNewPassword(ctx context.Context, from *passwordSource, name string) (latchkey.Secret, error) {
	if !from.prompt && !from.piped() {
		return "", nil
	}
	password, err := a.readPassword(ctx, from, fmt.Sprintf("New password for %s: ", printable(name)))
	if err != nil || !from.prompt {
		return password, err
	}
	again, err := a.ask(ctx, "The same password again: ")
	if err != nil {
		return "", err
	}
	if !again.Equal(password) {
		return "", fail(exitFailed, "the two passwords differ; nothing was changed").hint("try again")
	}
	return password, nil
}

// readSecretFile reads a secret that is the only line of a file.
func (a *app) readSecretFile(path string) (latchkey.Secret, error) {
	file, err := os.Open(path) //nolint:gosec // the user names the file
	if err != nil {
		return "", fail(exitUsage, "read the secret: %w; nothing was sent", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	if info, err := file.Stat(); err == nil {
		a.warnMode(path, info)
	}
	return readSecretLine(file, path)
}

// readSecretLine reads one line, without its end. A second line is an error, because the
// file is then probably the wrong one.
func readSecretLine(r io.Reader, from string) (latchkey.Secret, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxSecretBytes+1))
	if err != nil {
		return "", fail(exitFailed, "read the secret from %s: %w; nothing was sent", from, err)
	}
	line := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	switch {
	case len(text) > maxSecretBytes:
		return "", usage("%s contains more than %d bytes, too many for a password; nothing was sent", from, maxSecretBytes)
	case line == "":
		return "", usage("%s contains no password; nothing was sent", from)
	}
	password, err := checkSecret(line, from)
	if err == nil && strings.ContainsAny(line, "\r\n") {
		return "", usage("%s contains more than one line; nothing was sent", from).hint("put only the password into it")
	}
	return password, err
}

// checkSecret rejects text that an editor or a shell has added to a secret, and text that
// JSON would change.
func checkSecret(text, from string) (latchkey.Secret, error) {
	const utf16Little, utf16Big = "\xff\xfe", "\xfe\xff"
	const saveAsUTF8 = "save it as UTF-8 without a byte order mark"
	switch {
	case strings.HasPrefix(text, utf16Little), strings.HasPrefix(text, utf16Big):
		return "", usage("%s is in UTF-16, which some shells write; nothing was sent", from).hint(saveAsUTF8)
	case strings.HasPrefix(text, wire.ByteOrderMark):
		return "", usage("%s begins with a byte order mark, which some editors add and which is not part of a password; "+
			"nothing was sent", from).hint(saveAsUTF8)
	case !utf8.ValidString(text):
		return "", usage("%s is not UTF-8; nothing was sent", from).hint("save it as UTF-8")
	}
	return latchkey.Secret(text), nil
}

// errInterrupted is the error of a prompt when the user presses Ctrl-C.
var errInterrupted = fail(exitFailed, "interrupted; nothing was sent")

// ask reads a secret from the terminal, without showing it.
func (a *app) ask(ctx context.Context, question string) (latchkey.Secret, error) {
	descriptor, ok := terminal(a.In)
	if !ok {
		return "", usage("no terminal on which to ask; nothing was done")
	}
	before, err := term.GetState(descriptor)
	if err != nil {
		return "", fail(exitFailed, "use the terminal: %w; nothing was sent", err)
	}
	_, _ = io.WriteString(a.Err, question) // nothing to do on failure
	text, err := until(ctx, func() ([]byte, error) { return term.ReadPassword(descriptor) })
	_, _ = io.WriteString(a.Err, "\n") // as above
	if err != nil {
		_ = term.Restore(descriptor, before) // best effort: turns the echo on again
		return "", err
	}
	if len(text) == 0 {
		return "", usage("nothing was entered; nothing was sent")
	}
	return checkSecret(string(text), "what was entered")
}

// confirm asks the user to confirm an action that cannot be undone. Without a terminal,
// --yes is required.
func (a *app) confirm(ctx context.Context, yes bool, question string) error {
	if yes {
		return nil
	}
	if _, ok := terminal(a.In); !ok {
		return usage("this must be confirmed, and there is no terminal on which to ask; nothing was done").
			hint("add --yes if you are sure")
	}
	_, _ = fmt.Fprintf(a.Err, "%s [y/N] ", question) // nothing to do on failure
	answer, err := until(ctx, func() (string, error) { return bufio.NewReader(a.In).ReadString('\n') })
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return fail(exitFailed, "not confirmed; nothing was done")
	}
	return nil
}

// until runs read, which cannot be canceled, and abandons it when ctx is canceled.
func until[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := read()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, errInterrupted
	}
}
