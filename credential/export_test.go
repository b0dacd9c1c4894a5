package credential

import "filippo.io/age"

// CheapPassphrase makes encryption with a passphrase take milliseconds.
func (f *File) CheapPassphrase() {
	if f.encryption == nil {
		return
	}
	for _, recipient := range f.encryption.recipients {
		if scrypt, ok := recipient.(*age.ScryptRecipient); ok {
			scrypt.SetWorkFactor(10)
		}
	}
}

// BeforeStep makes Save call before with the name of each step.
func (f *File) BeforeStep(before func(step string) error) { f.step = before }
