package authority

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/latchkey/latchkey/internal/secret"
)

const (
	// repeatWithin is how long after a reset the new password can be asked for
	// again.
	repeatWithin = 24 * time.Hour
	// MaxRepeatKeyBytes bounds the key of a repeatable reset. Clients make UUIDs.
	MaxRepeatKeyBytes = 255
	sealKeyBytes      = 32
)

// Repeat lets the answer to a user's last reset be had once more. The zero value
// lets nothing. It goes with the next change of the password, since it would then
// tell a password that no longer holds.
type Repeat struct {
	// Key is the hash of the key that the caller chose.
	Key [sha256.Size]byte
	// Sealed is the new password, encrypted under a key that only the old one
	// gives: a PHC string whose salt and parameters make the key, and which has the
	// ciphertext in the place of the hash.
	Sealed string
	Until  time.Time
}

// repeatKey is a caller's key as it is kept.
func repeatKey(key string) [sha256.Size]byte { return sha256.Sum256([]byte(key)) }

// answers reports whether r is of a reset with that key, and not too old.
func (r Repeat) answers(key string, now time.Time) bool {
	return key != "" && !r.Until.IsZero() && now.Before(r.Until) && r.Key == repeatKey(key)
}

// checkRepeatKey holds a key to printable ASCII, which is what a header field can
// hold without ambiguity.
func checkRepeatKey(key string) error {
	switch {
	case len(key) > MaxRepeatKeyBytes:
		return &InvalidError{FieldRepeatKey, TooLong, "is longer than 255 bytes"}
	case strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }):
		return &InvalidError{FieldRepeatKey, IllegalCharacter, "holds something else than visible ASCII characters"}
	}
	return nil
}

// FieldRepeatKey is how an InvalidError names the key.
const FieldRepeatKey = "Idempotency-Key"

// sealRepeat makes the Repeat of a reset. It costs one hash.
func (p HashParams) sealRepeat(user, key string, old, made secret.Text, now time.Time) Repeat {
	r := Repeat{Key: repeatKey(key), Until: now.Add(repeatWithin)}
	salt := make([]byte, saltBytes)
	randomBytes(salt)
	r.Sealed = p.phc(salt, sealing(p, salt, old).Seal(nil, nil, []byte(made.Reveal()), r.bound(user))) //nolint:gosec // the AEAD makes its nonces itself
	return r
}

// open answers the new password to whoever knows the old one. It costs one hash.
func (r Repeat) open(user string, old secret.Text) (secret.Text, bool) {
	sealed, err := parseHash(r.Sealed)
	if err != nil {
		return "", false
	}
	text, err := sealing(sealed.params, sealed.salt, old).Open(nil, nil, sealed.sum, r.bound(user))
	return secret.Text(text), err == nil
}

// bound is what the ciphertext is bound to, so that it opens nothing in another
// place.
func (r Repeat) bound(user string) []byte { return slices.Concat(r.Key[:], []byte(user)) }

// sealing is AES-256-GCM, with its nonce in front, under a key of its own for each
// salt.
func sealing(p HashParams, salt []byte, old secret.Text) cipher.AEAD {
	key := argon2.IDKey([]byte(old.Reveal()), salt, p.Passes, p.MemoryKiB, p.Lanes, sealKeyBytes)
	block, _ := aes.NewCipher(key)                 // 32 bytes are a key
	aead, _ := cipher.NewGCMWithRandomNonce(block) // and AES has blocks of 16 bytes
	return aead
}
