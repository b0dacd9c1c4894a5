package sharedstate

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/latchkey/latchkey"
)

const (
	// minKeyBytes is the least that a key may have.
	minKeyBytes = 32
	// sealVersion is the first byte of what is sealed.
	sealVersion  = 1
	sealPurpose  = "latchkey keeper state"
	sealKeyBytes = 32
)

// seal encrypts what is kept: AES-256-GCM, with its nonce in front, bound to the
// state's name, so that what belongs to one state opens nothing in another's place.
type seal struct {
	aead  cipher.AEAD
	bound []byte
}

func newSeal(key []byte, name string) (seal, error) {
	derived, err := hkdf.Key(sha256.New, key, nil, sealPurpose, sealKeyBytes)
	if err != nil {
		return seal{}, fmt.Errorf("keeper: the state's key: %w", err)
	}
	block, _ := aes.NewCipher(derived)             // 32 bytes are a key
	aead, _ := cipher.NewGCMWithRandomNonce(block) // and AES has blocks of 16 bytes
	return seal{aead, append([]byte{sealVersion}, name...)}, nil
}

func (s seal) close(data latchkey.Secret) []byte {
	return s.aead.Seal([]byte{sealVersion}, nil, []byte(data.Reveal()), s.bound) //nolint:gosec // the AEAD makes its nonces itself
}

// open answers what was sealed; nothing, if nothing was.
func (s seal) open(sealed []byte) (latchkey.Secret, error) {
	if sealed == nil {
		return "", nil
	}
	if len(sealed) == 0 || sealed[0] != sealVersion {
		return "", errors.New("it is damaged, or was made by another program or another version of this one")
	}
	data, err := s.aead.Open(nil, nil, sealed[1:], s.bound)
	if err != nil {
		return "", errors.New("it was not made with this key and under this name, or is damaged")
	}
	return latchkey.Secret(data), nil
}
