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

// maxSecretBytes bounds what is taken for a secret.
const maxSecretBytes = 4 << 10

// passwordSource is where a password comes from. Never from the value of a flag:
// everybody on the machine can read those.
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

// check answers what is wrong with the choice.
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

// piped reports whether the password comes from elsewhere than a person.
func (s *passwordSource) piped() bool { return s.stdin || s.file != "" }

// readPassword answers a password that exists already: from where the flags say,
// or else from the person at the terminal.
func (a *app) readPassword(ctx context.Context, from *passwordSource, question string) (latchkey.Secret, error) {
	switch {
	case from.stdin:
		return readSecretLine(a.In, "standard input")
	case from.file != "":
		return a.readSecretFile(from.file)
	}
	if _, ok := terminal(a.In); !ok {
		return "", usage("there is no terminal to ask for the password; nothing was sent; pipe it in with --password-stdin, or name a file with --password-file")
	}
	return a.ask(ctx, question)
}

// readNewPassword answers the password that an account shall have: "" for one
// that the service makes up, which is the default.
func (a *app) readNewPassword(ctx context.Context, from *passwordSource, name string) (latchkey.Secret, error) {
	if !from.prompt && !from.piped() {
		return "", nil
	}
	password, err := a.readPassword(ctx, from, fmt.Sprintf("New password for %s: ", printable(name)))
	if err != nil || !from.prompt {
		return password, err
	}
	again, err := a.ask(ctx, "The same once more: ")
	if err != nil {
		return "", err
	}
	if !again.Equal(password) {
		return "", fail(exitFailed, "the two passwords differ; nothing was changed; try again")
	}
	return password, nil
}

// readSecretFile reads a secret that is the only line of a file.
func (a *app) readSecretFile(path string) (latchkey.Secret, error) {
	file, err := os.Open(path) //nolint:gosec // the user names the file
	if err != nil {
		return "", fail(exitUsage, "the secret cannot be read: %w; nothing was sent", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	if info, err := file.Stat(); err == nil {
		a.warnMode(path, info)
	}
	return readSecretLine(file, path)
}

// readSecretLine reads one line. The end of the line is not part of the secret,
// and there must not be a second one: then it is not the file that was meant.
func readSecretLine(r io.Reader, from string) (latchkey.Secret, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxSecretBytes+1))
	if err != nil {
		return "", fail(exitFailed, "the secret cannot be read from %s: %w; nothing was sent", from, err)
	}
	line := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	switch {
	case len(text) > maxSecretBytes:
		return "", usage("%s holds more than %d bytes, which is no password; nothing was sent", from, maxSecretBytes)
	case line == "":
		return "", usage("%s is empty where a password should be; nothing was sent", from)
	}
	password, err := checkSecret(line, from)
	if err == nil && strings.ContainsAny(line, "\r\n") {
		return "", usage("%s holds more than one line; nothing was sent; put the password alone into it", from)
	}
	return password, err
}

// checkSecret refuses what an editor or a shell added to a secret, and what would
// be another text once it is sent as JSON.
func checkSecret(text, from string) (latchkey.Secret, error) {
	const utf16Little, utf16Big = "\xff\xfe", "\xfe\xff"
	switch {
	case strings.HasPrefix(text, utf16Little), strings.HasPrefix(text, utf16Big):
		return "", usage("%s is in UTF-16, which some shells write; nothing was sent; save it as UTF-8 without a byte order mark", from)
	case strings.HasPrefix(text, wire.ByteOrderMark):
		return "", usage("%s begins with a byte order mark, which some editors add and is no part of a password; nothing was sent; save it as UTF-8 without a byte order mark", from)
	case !utf8.ValidString(text):
		return "", usage("%s is not UTF-8; nothing was sent; save it as UTF-8", from)
	}
	return latchkey.Secret(text), nil
}

// errInterrupted is what a prompt answers when the person presses Ctrl-C.
var errInterrupted = fail(exitFailed, "interrupted; nothing was sent")

// ask reads a secret from the terminal, without showing it.
func (a *app) ask(ctx context.Context, question string) (latchkey.Secret, error) {
	descriptor, ok := terminal(a.In)
	if !ok {
		return "", usage("there is no terminal to ask at; nothing was done")
	}
	before, err := term.GetState(descriptor)
	if err != nil {
		return "", fail(exitFailed, "the terminal cannot be used: %w; nothing was sent", err)
	}
	_, _ = io.WriteString(a.Err, question) // if nobody sees it, nobody answers
	text, err := until(ctx, func() ([]byte, error) { return term.ReadPassword(descriptor) })
	_, _ = io.WriteString(a.Err, "\n") // as above
	if err != nil {
		_ = term.Restore(descriptor, before) // best effort: the person sees what they type again
		return "", err
	}
	if len(text) == 0 {
		return "", usage("nothing was entered; nothing was sent")
	}
	return checkSecret(string(text), "what was entered")
}

// confirm asks a question that has to be answered with yes before something is
// done that cannot be undone. Without a terminal only --yes says yes.
func (a *app) confirm(ctx context.Context, yes bool, question string) error {
	if yes {
		return nil
	}
	if _, ok := terminal(a.In); !ok {
		return usage("this needs to be confirmed, and there is no terminal to ask at; nothing was done; add --yes if you mean it")
	}
	_, _ = fmt.Fprintf(a.Err, "%s [y/N] ", question) // if nobody sees it, nobody answers
	answer, err := until(ctx, func() (string, error) { return bufio.NewReader(a.In).ReadString('\n') })
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return fail(exitFailed, "not confirmed; nothing was done")
	}
	return nil
}

// until runs read, which no context can stop, and leaves it behind when ctx ends.
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
