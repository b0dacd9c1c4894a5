package authority

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/latchkey/latchkey/internal/secret"
)

const (
	// idempotencyLifetime is how long after a reset with a key the new password can be
	// asked for again.
	idempotencyLifetime = 24 * time.Hour
	// resendWindow is how long the session that made a reset can do so without
	// the key. Transports repeat a PUT within seconds, and nobody asks them to.
	resendWindow = 2 * time.Minute
	// MaxIdempotencyKeyBytes bounds the key of a repeatable reset. Clients make UUIDs.
	MaxIdempotencyKeyBytes = 255
	sealKeyBytes           = 32
)

// Repeat says what becomes of resets with the password that the last change of
// the password replaced. The zero value: they are like any with a wrong one. It
// goes with the next change, since it would then tell a password that no longer
// holds.
type IdempotentReset struct {
	// Key is the hash of the key that the caller of the reset chose; zero: none.
	Key [sha256.Size]byte
	// Session made the reset; zero: an operator set the password.
	Session SessionKey
	// Replaced is the hash of the password that was replaced, a PHC string.
	Replaced string
	// Sealed is the new password, encrypted under a key that only the old one and
	// the server key together give: a PHC string whose salt and parameters make the
	// key, and which has the ciphertext in the place of the hash. Empty: an
	// operator set the password.
	Sealed string
	Until  time.Time // from then on nothing of this is used
}

// repeatKey is a caller's key as it is kept.
func hashIdempotencyKey(key string) [sha256.Size]byte { return sha256.Sum256([]byte(key)) }

// answers reports whether r is of a reset with that key, and not too old.
func (r IdempotentReset) answers(key string, now time.Time) bool {
	return key != "" && !r.Until.IsZero() && now.Before(r.Until) && r.Key == hashIdempotencyKey(key)
}

// checkIdempotencyKey holds a key to printable ASCII, which is what a header field can
// hold without ambiguity.
func checkIdempotencyKey(key string) error {
	switch {
	case len(key) > MaxIdempotencyKeyBytes:
		return &InvalidError{FieldIdempotencyKey, TooLong, "is longer than 255 bytes"}
	case strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }):
		return &InvalidError{FieldIdempotencyKey, IllegalCharacter, "holds something else than visible ASCII characters"}
	}
	return nil
}

// FieldIdempotencyKey is how an InvalidError names the key.
const FieldIdempotencyKey = "Idempotency-Key"

// replaced finds out what a reset with a wrong old password is told if that is
// the one which the last change replaced: the new password, if the reset is a
// repeat of that change; or else ErrPasswordReplaced, if the change is not two
// minutes old. It returns neither for any other password. It costs a hash, or
// none, whatever the password is. A disabled user is told nothing, even in a
// session that could not be ended yet.
func (a *Authority) replaced(user User, session SessionKey, old secret.Text, key string) (secret.Text, error) {
	now, repeat := a.now(), user.LastReset
	age := now.Sub(user.PasswordChangedAt).Abs() // the clock of another replica may be ahead; Sweep pulls back what is further
	recent := age < resendWindow && !repeat.Until.IsZero()
	switch {
	case user.Disabled:
	case repeat.answers(key, now), recent && repeat.Session == session:
		return a.openSealed(user, old), nil
	case recent:
		if hash, err := parseHash(repeat.Replaced); err == nil && hash.holds(hash.sumOf(old)) {
			return "", ErrPasswordReplaced
		}
	}
	return "", nil
}

// sealReset completes the Repeat of a reset. It costs a hash.
func (a *Authority) sealReset(user User, session SessionKey, key string, old, made secret.Text) IdempotentReset {
	now := a.now()
	r := IdempotentReset{Session: session, Replaced: user.PasswordHash, Until: now.Add(resendWindow)}
	if key != "" {
		r.Key, r.Until = hashIdempotencyKey(key), now.Add(idempotencyLifetime)
	}
	salt := make([]byte, saltBytes)
	randomBytes(salt)
	r.Sealed = a.params.phc(salt, a.sealing(a.params, salt, old).Seal(nil, nil, []byte(made.Reveal()), r.bound(user))) //nolint:gosec // the AEAD makes its nonces itself
	return r
}

// openSealed answers the new password to whoever knows the old one, or "". It
// costs a hash.
func (a *Authority) openSealed(user User, old secret.Text) secret.Text {
	sealed, err := parseHash(user.LastReset.Sealed)
	if err != nil {
		return ""
	}
	text, err := a.sealing(sealed.params, sealed.salt, old).Open(nil, nil, sealed.sum, user.LastReset.bound(user))
	if err != nil {
		return ""
	}
	return secret.Text(text)
}

// bound is what the ciphertext is bound to, so that it opens nothing in another
// place.
func (r IdempotentReset) bound(user User) []byte {
	return slices.Concat(r.Key[:], r.Session[:], []byte(user.Name))
}

// sealing is AES-256-GCM, with its nonce in front, under a key of its own for each
// salt.
func (a *Authority) sealing(p HashParams, salt []byte, old secret.Text) cipher.AEAD {
	mac := hmac.New(sha256.New, a.key)
	mac.Write([]byte("repeat:"))
	mac.Write(argon2.IDKey([]byte(old.Reveal()), salt, p.Passes, p.MemoryKiB, p.Lanes, sealKeyBytes))
	block, _ := aes.NewCipher(mac.Sum(nil))        // 32 bytes are a key
	aead, _ := cipher.NewGCMWithRandomNonce(block) // and AES has blocks of 16 bytes
	return aead
}
