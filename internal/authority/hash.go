package authority

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"

	"golang.org/x/crypto/argon2"

	"github.com/latchkey/latchkey/internal/secret"
)

// HashParams are the costs of argon2id (RFC 9106). The zero value means the first choice of
// the OWASP Password Storage Cheat Sheet: 19 MiB, two passes, one lane.
type HashParams struct {
	MemoryKiB uint32
	Passes    uint32
	Lanes     uint8
}

// DefaultHashParams is what the zero value of HashParams means.
var DefaultHashParams = HashParams{MemoryKiB: 19 * 1024, Passes: 2, Lanes: 1}

// Bounds of the parameters in a stored hash, so that a damaged row cannot exhaust the memory.
const (
	maxHashMemoryKiB = 1 << 20
	maxHashPasses    = 64
	saltBytes        = 16
	hashBytes        = 32
)

func (p HashParams) check() error {
	switch {
	case p.Lanes == 0 || p.Passes == 0 || p.Passes > maxHashPasses:
		return fmt.Errorf("argon2id needs 1 to %d passes and at least one lane, not %d and %d",
			maxHashPasses, p.Passes, p.Lanes)
	case p.MemoryKiB < 8*uint32(p.Lanes) || p.MemoryKiB > maxHashMemoryKiB:
		return fmt.Errorf("argon2id memory of %d KiB is not between %d and %d",
			p.MemoryKiB, 8*uint32(p.Lanes), maxHashMemoryKiB)
	}
	return nil
}

// Sum returns the argon2id sum of a password, which has size bytes.
func (p HashParams) Sum(password, salt []byte, size uint32) []byte {
	return argon2.IDKey(password, salt, p.Passes, p.MemoryKiB, p.Lanes, size)
}

// hash returns the PHC string of a password under a new salt.
func (a *Authority) hash(password secret.Text) string {
	salt := make([]byte, saltBytes)
	randomBytes(salt)
	return a.params.phc(salt, a.sum(a.params, []byte(password.Reveal()), salt, hashBytes))
}

// phc returns the PHC string of a salt and a sum.
func (p HashParams) phc(salt, sum []byte) string {
	return p.prefix() + "$" + base64.RawStdEncoding.EncodeToString(salt) + "$" + base64.RawStdEncoding.EncodeToString(sum)
}

// prefix returns the part of a PHC string before the salt.
func (p HashParams) prefix() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d", argon2.Version, p.MemoryKiB, p.Passes, p.Lanes)
}

// storedHash is a parsed PHC string.
type storedHash struct {
	params HashParams
	salt   []byte
	sum    []byte
}

func parseHash(phc string) (storedHash, error) {
	fields := strings.Split(phc, "$")
	if len(fields) != 6 || fields[0] != "" || fields[1] != "argon2id" || fields[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return storedHash{}, fmt.Errorf("a stored password hash is not argon2id version %d", argon2.Version)
	}
	var h storedHash
	n, err := fmt.Sscanf(fields[3], "m=%d,t=%d,p=%d", &h.params.MemoryKiB, &h.params.Passes, &h.params.Lanes)
	if n != 3 || err != nil {
		return storedHash{}, fmt.Errorf("a stored password hash has unreadable parameters")
	}
	if err := h.params.check(); err != nil {
		return storedHash{}, fmt.Errorf("a stored password hash: %w", err)
	}
	if h.salt, err = base64.RawStdEncoding.DecodeString(fields[4]); err != nil || len(h.salt) < 8 {
		return storedHash{}, fmt.Errorf("a stored password hash has an unreadable salt")
	}
	if h.sum, err = base64.RawStdEncoding.DecodeString(fields[5]); err != nil || len(h.sum) < 16 || len(h.sum) > 64 {
		return storedHash{}, fmt.Errorf("a stored password hash has an unreadable sum")
	}
	return h, nil
}

// sumOf hashes a password with the salt and the parameters of the stored hash.
func (a *Authority) sumOf(h storedHash, password secret.Text) []byte {
	size := uint32(len(h.sum)) //nolint:gosec // at most 64, see parseHash
	return a.sum(h.params, []byte(password.Reveal()), h.salt, size)
}

// holds reports whether sum is the stored one.
func (h storedHash) holds(sum []byte) bool { return subtle.ConstantTimeCompare(sum, h.sum) == 1 }

// A generated password has about 119 bits and passes every field rule of the API.
const (
	generatedLength = 20
	alphabet        = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
)

// generatePassword returns 20 random letters and digits.
func generatePassword() secret.Text {
	b := make([]byte, generatedLength)
	for i := range b {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet))))
		if err != nil {
			panic("crypto/rand failed: " + err.Error()) // it never fails; a guessable password would be worse
		}
		b[i] = alphabet[n.Int64()]
	}
	return secret.Text(b)
}

// randomBytes fills b from the system's random source. It cannot fail: crypto/rand.Read ends
// the program instead.
func randomBytes(b []byte) { _, _ = rand.Read(b) }
