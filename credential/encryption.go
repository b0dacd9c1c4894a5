package credential

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"

	"github.com/latchkey/latchkey/credential/internal/hint"
)

// encryption encrypts and decrypts with age.
type encryption struct {
	recipients []age.Recipient
	identities []age.Identity
}

// newEncryption returns nil if the configuration has no key. Its errors never show a key.
func newEncryption(config FileConfig) (*encryption, error) {
	switch {
	case config.Identity == "" && config.Passphrase == "":
		if len(config.Recipients) > 0 {
			return nil, errors.New("field Recipients is set without Identity, so that the file could not be read again")
		}
		return nil, nil
	case config.Identity == "":
		if len(config.Recipients) > 0 {
			return nil, errors.New("fields Passphrase and Recipients exclude each other")
		}
		return passphraseEncryption(config.Passphrase.Reveal())
	case config.Passphrase != "":
		return nil, errors.New("fields Identity and Passphrase exclude each other")
	}
	e := &encryption{}
	identities, err := age.ParseIdentities(strings.NewReader(config.Identity.Reveal()))
	if err != nil {
		return nil, hint.With(errors.New("field Identity is not an age secret key"), "Make one with age-keygen.")
	}
	e.identities = identities
	for _, identity := range identities {
		switch identity := identity.(type) {
		case *age.X25519Identity:
			e.recipients = append(e.recipients, identity.Recipient())
		case *age.HybridIdentity:
			e.recipients = append(e.recipients, identity.Recipient())
		default:
			return nil, errors.New("field Identity contains a key of an unsupported kind")
		}
	}
	for i, key := range config.Recipients {
		recipients, err := age.ParseRecipients(strings.NewReader(key))
		if err != nil || len(recipients) != 1 {
			return nil, fmt.Errorf("field Recipients[%d] is not an age public key", i)
		}
		e.recipients = append(e.recipients, recipients...)
	}
	// age refuses to mix keys of different strength: fail now rather than at the first Save.
	if _, err := e.encrypt(nil); err != nil {
		return nil, err
	}
	return e, nil
}

func passphraseEncryption(passphrase string) (*encryption, error) {
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, err
	}
	identity, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, err
	}
	return &encryption{[]age.Recipient{recipient}, []age.Identity{identity}}, nil
}

// isEncrypted reports whether content is an age file. JSON never begins like this.
func isEncrypted(content []byte) bool { return bytes.HasPrefix(content, []byte("age-encryption.org/")) }

func (e *encryption) encrypt(content []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := age.Encrypt(&out, e.recipients...)
	if err == nil {
		_, err = w.Write(content)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot encrypt it: %w", err)
	}
	return out.Bytes(), nil
}

func (e *encryption) decrypt(content []byte) ([]byte, error) {
	r, err := age.Decrypt(bytes.NewReader(content), e.identities...)
	if err != nil {
		return nil, errors.New("it was encrypted for another identity or passphrase, or is damaged")
	}
	plain, err := io.ReadAll(io.LimitReader(r, maxFile))
	if err != nil {
		return nil, errors.New("it is damaged")
	}
	return plain, nil
}
