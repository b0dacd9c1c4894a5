package authority

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Event is one entry of the audit trail. It never holds a password, a token or a body.
type Event struct {
	Seq       int64
	At        time.Time
	Kind      EventKind
	User      string // empty for an unknown name: it may be a mistyped password
	SessionID string
	Client    string // API key
	Address   string
	RequestID string

	// These fields describe a request to the upstream: EventForwarded and
	// EventForwardRefused.
	Method     string
	Host       string // the upstream host, if it is not the main one
	Path       string // escaped, as it was sent, without the query
	Status     int
	Duration   time.Duration
	UpstreamID string // the upstream's own request ID

	// Count is how many occurrences the event stands for. 0 means one.
	Count  int
	Detail string
	// Chain is set by the store; see Event.After.
	Chain Chain
}

// EventKind is what happened.
type EventKind string

// The kinds of events.
const (
	EventLogIn          EventKind = "login"
	EventLogInFailed    EventKind = "login-failed"
	EventLogInRefused   EventKind = "login-refused" // the account was locked already
	EventLocked         EventKind = "locked"
	EventUnlocked       EventKind = "unlocked"
	EventLogOut         EventKind = "logout"
	EventExpired        EventKind = "expired"
	EventReset          EventKind = "password-reset"
	EventResetFailed    EventKind = "password-reset-failed"
	EventResetRepeated  EventKind = "password-reset-repeated" // the response was sent again
	EventSessionEnded   EventKind = "session-ended"           // by an operator, or by a later login
	EventUserAdded      EventKind = "user-added"
	EventUserRemoved    EventKind = "user-removed"
	EventUserDisabled   EventKind = "user-disabled"
	EventUserEnabled    EventKind = "user-enabled"
	EventPasswordSet    EventKind = "password-set"
	EventUserAllowed    EventKind = "user-allowed" // what the user may send on was changed
	EventClientAdded    EventKind = "client-added"
	EventClientRotated  EventKind = "client-rotated"
	EventClientRevoked  EventKind = "client-revoked"
	EventTokenRevoked   EventKind = "access-token-revoked"
	EventForwarded      EventKind = "forwarded"       // a request to the upstream, and its status
	EventForwardRefused EventKind = "forward-refused" // a user's request that was refused and not sent on
	EventAuditTrimmed   EventKind = "audit-trimmed"   // events older than the retention were removed
	EventImported       EventKind = "imported"        // everything before it was copied from another database
)

// EventKinds lists all kinds of events.
var EventKinds = []EventKind{
	EventLogIn, EventLogInFailed, EventLogInRefused, EventLocked, EventUnlocked, EventLogOut, EventExpired, EventReset,
	EventResetFailed, EventResetRepeated, EventSessionEnded, EventUserAdded, EventUserRemoved, EventUserDisabled,
	EventUserEnabled, EventPasswordSet, EventUserAllowed, EventClientAdded, EventClientRotated, EventClientRevoked,
	EventTokenRevoked, EventForwarded, EventForwardRefused, EventAuditTrimmed, EventImported,
}

// Bounds of the texts of an event, in bytes. A text that is longer ends in "…".
const (
	maxMethodBytes   = 32
	maxHostBytes     = 255
	maxPathBytes     = 256
	maxUpstreamBytes = 64
	maxTextBytes     = 1024
)

// Valid returns the event in a form that every store can keep. Stores call it before they
// compute the chain. Each text is valid UTF-8 without NUL, and bounded. In the texts of a
// request line or of the upstream, every byte that is not visible ASCII is percent-encoded.
// Duration is truncated to microseconds.
func (e Event) Valid() Event {
	for _, text := range []*string{&e.User, &e.SessionID, &e.Client, &e.Address, &e.RequestID, &e.Detail} {
		*text = validText(*text)
	}
	e.Kind = EventKind(validText(string(e.Kind)))
	e.Method = visible(e.Method, maxMethodBytes)
	e.Host = visible(e.Host, maxHostBytes)
	e.Path = visible(e.Path, maxPathBytes)
	e.UpstreamID = visible(e.UpstreamID, maxUpstreamBytes)
	e.Duration = e.Duration.Truncate(time.Microsecond)
	return e
}

// attributes returns the fields of the event that are set, for a line of the log.
func (e Event) attributes() []any {
	all := []any{"at", e.At, "kind", e.Kind}
	for _, field := range []struct{ name, value string }{
		{"user", e.User}, {"session", e.SessionID}, {"client", e.Client}, {"address", e.Address}, {"request", e.RequestID},
		{"method", e.Method}, {"host", e.Host}, {"path", e.Path}, {"upstream", e.UpstreamID}, {"detail", e.Detail},
	} {
		if field.value != "" {
			all = append(all, field.name, field.value)
		}
	}
	if e.Status != 0 {
		all = append(all, "status", e.Status, "ms", float64(e.Duration.Microseconds())/1000)
	}
	if e.Count != 0 {
		all = append(all, "count", e.Count)
	}
	return all
}

// validText replaces invalid UTF-8, and NUL, which PostgreSQL does not store, and cuts the
// text if it is too long.
func validText(text string) string {
	if !utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0 {
		text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
	}
	if len(text) <= maxTextBytes {
		return text
	}
	end := maxTextBytes - len(cutMark)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + cutMark
}

// cutMark is the end of a text that was cut.
const cutMark = "…"

// visible percent-encodes every byte that is not visible ASCII, and cuts the text
// to limit bytes, the mark included. It never cuts a percent triplet, nor the
// triplets that together are one letter.
func visible(text string, limit int) string {
	if len(text) > limit {
		text = text[:limit+1] // encoding makes no text shorter
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		var b strings.Builder
		for i := range len(text) {
			if c := text[i]; c > ' ' && c < 0x7f {
				b.WriteByte(c)
			} else {
				b.WriteByte('%')
				b.WriteByte(upperHex[c>>4])
				b.WriteByte(upperHex[c&15])
			}
		}
		text = b.String()
	}
	if len(text) <= limit {
		return text
	}
	end := limit - len(cutMark)
	for _, back := range []int{1, 2} {
		if text[end-back] == '%' {
			end -= back
			break
		}
	}
	return text[:letterEnd(text, end)] + cutMark
}

const upperHex = "0123456789ABCDEF"

// letterEnd returns end, or where the letter begins whose percent-encoded bytes
// are cut at end.
func letterEnd(text string, end int) int {
	var letter []byte
	for at := end - 3; at >= 0 && text[at] == '%' && len(letter) < utf8.UTFMax; at -= 3 {
		c, err := strconv.ParseUint(text[at+1:at+3], 16, 8)
		if err != nil {
			break
		}
		letter = append([]byte{byte(c)}, letter...)
		if utf8.RuneStart(byte(c)) {
			if !utf8.FullRune(letter) {
				return at
			}
			break
		}
	}
	return end
}
