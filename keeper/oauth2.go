package keeper

import (
	"context"

	"golang.org/x/oauth2"
)

// TokenSource answers the access token to code that speaks golang.org/x/oauth2.
// It gives no session: a request of the API needs both, as Transport adds them.
//
// Its Token method takes no context, so that it cannot be left early; it returns
// after a minute at the latest. No context is stored. Do not wrap it into
// oauth2.ReuseTokenSource, which would go on using a token that was refused.
func (k *Keeper) TokenSource() oauth2.TokenSource { return tokenSource{k} }

type tokenSource struct{ keeper *Keeper }

func (t tokenSource) Token() (*oauth2.Token, error) {
	b, err := t.keeper.bearers.getOrSuspect(context.Background())
	if err != nil {
		return nil, err
	}
	return &oauth2.Token{AccessToken: b.Token.Reveal(), TokenType: "Bearer", Expiry: b.ExpiresAt}, nil
}
