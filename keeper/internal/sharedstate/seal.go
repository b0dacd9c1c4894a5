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
	// minKeyBytes is the least length of a key.
	minKeyBytes = 32
	// sealVersion is the first byte of sealed data.
	sealVersion  = 1
	sealPurpose  = "latchkey keeper state"
	sealKeyBytes = 32
)

// seal encrypts saved data with AES-256-GCM. The nonce comes first. The data is bound to
// the state's name, so that the data of one state cannot be put into another.
type seal struct {
	aead  cipher.AEAD
	bound []byte
}

func newSeal(key []byte, name string) (seal, error) {
	derived, err := hkdf.Key(sha256.New, key, nil, sealPurpose, sealKeyBytes)
	if err != nil {
		return seal{}, fmt.Errorf("keeper: derive the key of the state: %w", err)
	}
	block, _ := aes.NewCipher(derived)             // 32 bytes are a valid key
	aead, _ := cipher.NewGCMWithRandomNonce(block) // and AES has blocks of 16 bytes
	return seal{aead, append([]byte{sealVersion}, name...)}, nil
}

func (s seal) close(data latchkey.Secret) []byte {
	//nolint:gosec // the AEAD generates its nonces
	return s.aead.Seal([]byte{sealVersion}, nil, []byte(data.Reveal()), s.bound)
}

// open returns the data that was sealed, or nothing if sealed is nil.
func (s seal) open(sealed []byte) (latchkey.Secret, error) {
	if sealed == nil {
		return "", nil
	}
	if len(sealed) == 0 || sealed[0] != sealVersion {
		return "", errors.New("it is damaged, or was written by another program or another version of this one")
	}
	data, err := s.aead.Open(nil, nil, sealed[1:], s.bound)
	if err != nil {
		return "", errors.New("it was not written with this key and under this name, or is damaged")
	}
	return latchkey.Secret(data), nil
}
