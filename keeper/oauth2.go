package keeper

import (
	"context"

	"golang.org/x/oauth2"
)

// TokenSource returns a source of the access token for golang.org/x/oauth2. It has no
// session token, which a request of the API needs as well: see Transport.
//
// The Token method takes no context, so it cannot be canceled. It returns after a minute at
// the latest. Do not wrap the source in oauth2.ReuseTokenSource, which would continue to use
// a refused token.
func (k *Keeper) TokenSource() oauth2.TokenSource { return tokenSource{k} }

type tokenSource struct{ keeper *Keeper }

func (t tokenSource) Token() (*oauth2.Token, error) {
	b, err := t.keeper.bearers.getOrSuspect(context.Background())
	if err != nil {
		return nil, err
	}
	return &oauth2.Token{AccessToken: b.Token.Reveal(), TokenType: "Bearer", Expiry: b.ExpiresAt}, nil
}
