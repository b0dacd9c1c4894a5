package authority

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/secret"
)

const (
	// idempotencyLifetime is how long after a reset with an idempotency key a repeat
	// returns the same password.
	idempotencyLifetime = 24 * time.Hour
	// resendWindow is how long the session that made a reset can repeat it without a key.
	// Transports repeat a PUT within seconds, unasked.
	resendWindow = 2 * time.Minute
	// MaxIdempotencyKeyBytes bounds an idempotency key. Clients use UUIDs.
	MaxIdempotencyKeyBytes = 255
	sealKeyBytes           = 32
)

// IdempotentReset decides about resets with the password that the last change of the password
// replaced. The zero value: they fail like those with any wrong password. The next
// change replaces it, because it would then return a password that is no longer valid.
type IdempotentReset struct {
	// Key is the hash of the caller's idempotency key; zero: none.
	Key [sha256.Size]byte
	// Session made the reset; zero: an operator set the password.
	Session SessionKey
	// Replaced is the hash of the password that was replaced, a PHC string.
	Replaced string
	// Sealed is the new password, encrypted under a key that needs both the old one and
	// the server key: a PHC string with the salt and the parameters of the key, and the
	// ciphertext in the place of the hash. Empty: an operator set the password.
	Sealed string
	Until  time.Time // when all of this expires
}

// hashIdempotencyKey returns the form in which a caller's key is stored.
func hashIdempotencyKey(key string) [sha256.Size]byte { return sha256.Sum256([]byte(key)) }

// hasKey reports whether r is a reset with that key, and has not expired.
func (r IdempotentReset) hasKey(key string, now time.Time) bool {
	return key != "" && !r.Until.IsZero() && now.Before(r.Until) && r.Key == hashIdempotencyKey(key)
}

// checkIdempotencyKey returns an *InvalidError unless the key is visible ASCII, which a header
// field can hold without ambiguity.
func checkIdempotencyKey(key string) error {
	switch {
	case len(key) > MaxIdempotencyKeyBytes:
		return &InvalidError{FieldIdempotencyKey, TooLong, "is longer than 255 bytes"}
	case strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }):
		return &InvalidError{FieldIdempotencyKey, IllegalCharacter, "holds a character other than visible ASCII"}
	}
	return nil
}

// FieldIdempotencyKey is the Field of an InvalidError about the key.
const FieldIdempotencyKey = "Idempotency-Key"

// replay judges a reset whose old password is wrong. If that password is the one which the
// last change replaced, replay returns the new password, if the reset is a repeat of that
// change, or else ErrPasswordReplaced, if the change is not two minutes old. For any other
// password it returns neither. It costs a hash, or none, whatever the password is. A disabled
// user gets nothing, even in a session that could not be ended yet.
func (a *Authority) replay(user User, session SessionKey, old secret.Text, key string) (secret.Text, error) {
	now, repeat := a.now(), user.LastReset
	// The clock of another replica may be ahead. Sweep corrects a larger difference.
	age := now.Sub(user.PasswordChangedAt).Abs()
	recent := age < resendWindow && !repeat.Until.IsZero()
	switch {
	case user.Disabled:
	case repeat.hasKey(key, now), recent && repeat.Session == session:
		return a.openSealed(user, old), nil
	case recent:
		if hash, err := parseHash(repeat.Replaced); err == nil && hash.holds(a.sumOf(hash, old)) {
			return "", ErrPasswordReplaced
		}
	}
	return "", nil
}

// sealReset returns the IdempotentReset of a reset. It costs a hash.
func (a *Authority) sealReset(user User, session SessionKey, key string, old, made secret.Text) IdempotentReset {
	now := a.now()
	r := IdempotentReset{Session: session, Replaced: user.PasswordHash, Until: now.Add(resendWindow)}
	if key != "" {
		r.Key, r.Until = hashIdempotencyKey(key), now.Add(idempotencyLifetime)
	}
	salt := make([]byte, saltBytes)
	randomBytes(salt)
	aead := a.sealing(a.params, salt, old)
	sealed := aead.Seal(nil, nil, []byte(made.Reveal()), r.bound(user)) //nolint:gosec // the AEAD makes its nonces itself
	r.Sealed = a.params.phc(salt, sealed)
	return r
}

// openSealed returns the new password if old is the one that was replaced, or else "". It
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

// bound returns the additional data of the ciphertext, so that it opens nowhere else.
func (r IdempotentReset) bound(user User) []byte {
	return slices.Concat(r.Key[:], r.Session[:], []byte(user.Name))
}

// sealing returns AES-256-GCM with the nonce in front, under a key of its own for each salt.
func (a *Authority) sealing(p HashParams, salt []byte, old secret.Text) cipher.AEAD {
	mac := hmac.New(sha256.New, a.key)
	mac.Write([]byte("repeat:"))
	mac.Write(a.sum(p, []byte(old.Reveal()), salt, sealKeyBytes))
	block, _ := aes.NewCipher(mac.Sum(nil))        // 32 bytes are a key
	aead, _ := cipher.NewGCMWithRandomNonce(block) // and AES has blocks of 16 bytes
	return aead
}
