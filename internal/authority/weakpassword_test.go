package authority_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/secret"
)

func TestOperatorsSetNoWeakPasswords(t *testing.T) {
	s := newService(t, nil)
	strict := newService(t, func(c *authority.Config) {
		c.Policy.RefuseWeakPasswords = true
	})
	for password, weak := range map[secret.Text]bool{
		"short": true, "1234567": true, "\u00e4\u00f6\u00fc\u00df\u2603": true, // 12 bytes, 5 characters
		"password": true, "PassWord": true, "12345678": true, "qwertyuiop": true, "jennifer": true,
		"00000000": true, "P@ssw0rd": true,
		"password1": true, "iloveyou": true, "ADMINISTRATOR": true, "1q2w3e4r": true,
		"zaphod": true, "        ": true, "87654321": true, "abcdefgh": true, "ABCDEFGHIJ": true,
		"zzzzzzzzzzzzz": true, "\u2603\u2603\u2603\u2603\u2603\u2603\u2603\u2603": true,
		"password ": true, "\u00a0Password1  ": true,
		"\uff50\uff41\uff53\uff53\uff57\uff4f\uff52\uff44": true, "pa\u017f\u017fword": true, // full width; a long s
		"abcdefgi": false, "abababab!": false, "IMgr8-and-more": false, "given-to-me": false,
		"\u00e4\u00f6\u00fc\u00df\u2603\u2603\u2603\u2603": false, "correct horse battery staple": false,
		"passwords of mine": false, "": false,
	} {
		var invalid *authority.InvalidError
		_, err := strict.SetPassword(t.Context(), "zaphod", password, authority.Origin{})
		if errors.As(err, &invalid) != weak || err != nil && !weak {
			t.Errorf("setting %q: %v, want it refused: %v", password, err, weak)
		}
		if weak && strings.Contains(strings.ToLower(err.Error()), "jennifer") {
			t.Errorf("the error shows the password: %v", err)
		}
		_, err = strict.AddUser(t.Context(), "u"+password.Reveal(), password, authority.Origin{})
		if errors.As(err, &invalid) != weak || err != nil && !weak {
			t.Errorf("adding a user with %q: %v, want it refused: %v", password, err, weak)
		}
		if _, err := s.SetPassword(t.Context(), "zaphod", password, authority.Origin{}); err != nil {
			t.Errorf("setting %q where weak ones are allowed: %v", password, err)
		}
	}
	for password, weak := range map[secret.Text]bool{"trillian": true, " TRILLIAN": true, "trillian9": false} {
		var invalid *authority.InvalidError
		_, err := strict.AddUser(t.Context(), "Trillian", password, authority.Origin{})
		if errors.As(err, &invalid) != weak || err != nil && !weak {
			t.Errorf("adding Trillian with %q: %v, want it refused: %v", password, err, weak)
		}
	}
	if err := strict.AddKnownUser(t.Context(), "zbeeblebrox", "IMgr8", authority.Origin{}); err != nil {
		t.Errorf("a user of a demonstration: %v", err)
	}
	token, err := strict.logIn(t, "zbeeblebrox", "IMgr8")
	want(t, "the login", err, nil)
	made, err := strict.ResetPassword(t.Context(), token, "IMgr8", "", authority.Origin{})
	if err != nil || len(made.Reveal()) != 20 {
		t.Errorf("a reset of a weak password: %v", err)
	}
}

func TestSessionTokensUseAll128Bits(t *testing.T) {
	s := newService(t, nil)
	var ones [128]int
	const tokens = 128 // the chance that a bit is the same in all is 2 to the power of -120
	for range tokens {
		token := s.mustLogIn(t, "right")
		if parsed, ok := authority.ParseSessionToken(token.Reveal()); !ok || parsed != token {
			t.Fatal("a token is not read back as it is")
		}
		for i := range ones {
			ones[i] += int(token[i/8]>>(i%8)) & 1
		}
	}
	for i, n := range ones {
		if n == 0 || n == tokens {
			t.Errorf("bit %d is the same in all tokens", i)
		}
	}
}
