package authority

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// maxAllow bounds the rules of a user, and maxAllowBytes each of them.
	maxAllow      = 100
	maxAllowBytes = 512
	// allowStale is how long a change of the rules by another process may take to have
	// an effect. A change by this process has one at once.
	allowStale = 2 * time.Second
	// maxRemembered bounds the users whose rules are remembered.
	maxRemembered = 10_000
)

// checkAllow returns the rules in the form in which they are stored: one to a line,
// "METHODS PATH" with single blanks. METHODS is one method, several with commas
// between, or * for all. In PATH, which begins with /api/ or, for a further host of the
// upstream, with /latchkey/hosts/NAME/, a segment * stands for any one segment, and ** at
// the end for any number of them.
func checkAllow(rules []string) (string, error) {
	if len(rules) > maxAllow {
		return "", &InvalidError{"allow", Unacceptable, "has more than 100 rules"}
	}
	kept := make([]string, len(rules))
	for i, rule := range rules {
		words := strings.Fields(rule)
		if len(words) != 2 || len(rule) > maxAllowBytes {
			return "", &InvalidError{"allow", Unacceptable, "has a rule that is not like \"GET /api/m2m/v1/devices/**\""}
		}
		methods, path := strings.ToUpper(words[0]), words[1]
		segments := strings.Split(path, "/")
		stars := slices.Index(segments, "**")
		switch {
		case strings.Trim(methods, "ABCDEFGHIJKLMNOPQRSTUVWXYZ,*") != "" ||
			methods != "*" && strings.Contains(methods, "*") ||
			slices.Contains(strings.Split(methods, ","), ""):
			return "", &InvalidError{"allow", Unacceptable, "has no methods like GET, GET,POST or *"}
		case !utf8.ValidString(path) || strings.ContainsFunc(path, unicode.IsControl):
			return "", &InvalidError{"allow", IllegalCharacter, "holds a control character, or is not UTF-8"}
		case !strings.HasPrefix(path, "/api/") && !isOfHost(segments) || strings.Contains(path, "//") ||
			stars >= 0 && stars < len(segments)-1:
			const problem = "has no path that begins with /api/ or /latchkey/hosts/NAME/ and has ** at its end only"
			return "", &InvalidError{"allow", Unacceptable, problem}
		case strings.ContainsAny(path, `?#%\;`) || slices.Contains(segments, ".") || slices.Contains(segments, ".."):
			const problem = "can match no request: rules are compared with the decoded path, without the query"
			return "", &InvalidError{"allow", Unacceptable, problem}
		}
		kept[i] = methods + " " + path
	}
	return strings.Join(kept, "\n"), nil
}

// isOfHost reports whether a path is that of a further host of the upstream, which it
// names: a rule for any host would give a user access to hosts that are added later.
func isOfHost(segments []string) bool {
	return len(segments) > 4 && segments[0] == "" && segments[1] == "latchkey" && segments[2] == "hosts" &&
		segments[3] != "" && !strings.Contains(segments[3], "*")
}

// permits reports whether stored rules permit a request. No rules permit everything. The
// path must not be ambiguous.
func permits(rules, method, path string) bool {
	if rules == "" {
		return true
	}
	for rule := range strings.SplitSeq(rules, "\n") {
		methods, pattern, _ := strings.Cut(rule, " ")
		if (methods == "*" || slices.Contains(strings.Split(methods, ","), method)) && matches(pattern, path) {
			return true
		}
	}
	return false
}

func matches(pattern, path string) bool {
	for {
		segment, rest, more := strings.Cut(pattern, "/")
		if segment == "**" && !more {
			return true
		}
		got, left, further := strings.Cut(path, "/")
		if segment != got && (segment != "*" || got == "") {
			return false
		}
		if !more || !further {
			// "/devices/**" permits "/devices" as well.
			return more == further || more && rest == "**"
		}
		pattern, path = rest, left
	}
}

// allowCache caches the rules of users for a moment, because every request needs them.
type allowCache struct{ users sync.Map } // name → allowed

type allowed struct {
	user User // the fields that matter
	at   time.Time
}

func (c *allowCache) forget(name string) { c.users.Delete(name) }

// Permits reports whether the user of a session may send a request on to the upstream. A
// user who was removed or disabled may not. A session without a password version belongs to
// the user who has the name now.
func (a *Authority) Permits(ctx context.Context, session Session, method, path string) (bool, error) {
	now := a.now()
	may := func(account User) bool {
		return !account.Disabled && (session.PasswordVersion == 0 || account.owns(session)) &&
			permits(account.Allow, method, path)
	}
	if found, ok := a.allow.users.Load(session.User); ok {
		known, ok := found.(allowed)
		if ok && now.Sub(known.at) < allowStale && !now.Before(known.at) &&
			(session.PasswordVersion == 0 || known.user.owns(session)) {
			return may(known.user), nil
		}
	}
	account, err := a.stores.Users.User(ctx, session.User)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, unavailable(err)
	}
	if a.allowed.Add(1)%maxRemembered == 0 {
		a.allow.users.Clear()
	}
	a.allow.users.Store(session.User, allowed{User{
		Name: account.Name, PasswordVersion: account.PasswordVersion, Disabled: account.Disabled, Allow: account.Allow,
	}, now})
	return may(account), nil
}

// SetAllow replaces the rules about what a user may send on to the upstream; no rules permit
// everything. It returns *InvalidError or ErrNotFound.
func (a *Authority) SetAllow(ctx context.Context, name string, rules []string, origin Origin) error {
	kept, err := checkAllow(rules)
	if err != nil {
		return err
	}
	return a.changeUser(ctx, name, func(user *User) { user.Allow = kept }, origin, EventUserAllowed)
}

// AllowRules returns the rules of a user.
func (u User) AllowRules() []string {
	if u.Allow == "" {
		return nil
	}
	return strings.Split(u.Allow, "\n")
}
