package credential

import "filippo.io/age"

// CheapPassphrase makes encryption by passphrase cost milliseconds.
func (f *File) CheapPassphrase() {
	if f.seal == nil {
		return
	}
	for _, recipient := range f.seal.recipients {
		if scrypt, ok := recipient.(*age.ScryptRecipient); ok {
			scrypt.SetWorkFactor(10)
		}
	}
}

// BeforeStep has before called with the name of each step of a Save.
func (f *File) BeforeStep(before func(step string) error) { f.step = before }
