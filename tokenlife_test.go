package latchkey_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey/internal/wire"
)

func TestTokenLifetimeIsParsedInEveryForm(t *testing.T) {
	const unknown = 5 * time.Minute
	for expiresIn, want := range map[string]time.Duration{
		`3600`: time.Hour, `3599.9`: 3599 * time.Second, `3.6e3`: time.Hour, `36E+2`: time.Hour, `1.9999999999`: time.Second,
		`"3600"`: time.Hour, `" 3600 "`: time.Hour, `"3599.9"`: 3599 * time.Second, `"3.6e3"`: time.Hour,
		`"+60"`:  time.Minute,
		`"0060"`: time.Minute, `86401`: 24 * time.Hour, `1e30`: 24 * time.Hour, `99999999999999999999`: 24 * time.Hour,
		`1e999`: 24 * time.Hour, `"1e999"`: 24 * time.Hour, `9223372036854775807`: 24 * time.Hour,
		`0`: 0, `0.5`: 0, `-1`: 0, `-0.5`: 0, `"-3600"`: 0, `-1e999`: 0, `1e-999`: 0,
		``: unknown, `null`: unknown, `""`: unknown, `"soon"`: unknown, `"NaN"`: unknown, `"Infinity"`: unknown,
		`"inf"`: unknown, `"0x10"`: unknown, `"1_000"`: unknown, `"3600s"`: unknown, `"1h"`: unknown, `true`: unknown,
		`[3600]`: unknown, `{"seconds":3600}`: unknown, `"2026-11-25T10:00:00Z"`: unknown, `"1e"`: unknown, `"-"`: unknown,
	} {
		t.Run(expiresIn, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, config := newPipeAPI(t)
				a.token = func(w http.ResponseWriter, _ *http.Request) {
					field := `,"expires_in":` + expiresIn
					if expiresIn == "" {
						field = ""
					}
					reply(w, 200, `{"access_token":"`+bearer+`","token_type":"bearer"`+field+`}`)
				}
				client := a.client(t, config)
				token, err := client.AccessToken(t.Context())
				if err != nil || token.Token != bearer {
					t.Fatal(err)
				}
				if life := time.Until(token.ExpiresAt); life != want {
					t.Errorf("the token is believed to live for %v, want %v", life, want)
				}
				asked := len(a.requests)
				if _, err := client.AccessToken(t.Context()); err != nil || want > 0 && len(a.requests) != asked {
					t.Errorf("the token was not cached: %v", err)
				}
			})
		})
	}
}

// A service that says of every token that it lives no longer is not asked for each call.
func TestTokenWithZeroLifetimeIsCached(t *testing.T) {
	for _, expiresIn := range []string{"0", `"0"`, "-5", "0.5"} {
		synctest.Test(t, func(t *testing.T) {
			a, config := newPipeAPI(t)
			a.token = func(w http.ResponseWriter, _ *http.Request) {
				reply(w, 200, `{"access_token":"`+bearer+`","token_type":"bearer","expires_in":`+expiresIn+`}`)
			}
			client := a.client(t, config)
			for began := time.Now(); time.Since(began) < 5*time.Minute; <-time.After(time.Second) {
				token, err := client.AccessToken(t.Context())
				if err != nil || token.Token != bearer {
					t.Fatal(err)
				}
			}
			if asked := len(a.to(wire.PathToken)); asked > 12 {
				t.Errorf("%s: %d requests for tokens in five minutes", expiresIn, asked)
			}
			before := len(a.to(wire.PathToken))
			client.InvalidateAccessToken(bearer)
			if _, err := client.AccessToken(t.Context()); err != nil || len(a.to(wire.PathToken)) == before {
				t.Errorf("%s: one that was refused is not replaced: %v", expiresIn, err)
			}
		})
	}
}
