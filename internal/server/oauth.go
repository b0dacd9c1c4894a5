package server

import (
	"mime"
	"net/url"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/secret"
	"github.com/latchkey/latchkey/internal/wire"
)

// token returns the client's access token (RFC 6749, section 4.4). HTTP Basic is the only
// way to authenticate.
func (s *Server) token(c *call) (any, error) {
	defer c.bound()()
	key, password, form, err := c.clientForm()
	if err != nil {
		return nil, err
	}
	switch grant := form.Get("grant_type"); grant {
	case wire.GrantTypeClient:
	case "":
		return nil, noGrantType
	default:
		return nil, badGrantType
	}
	scope := form.Get("scope")
	switch {
	case scope == "":
		scope = wire.DefaultScope
	case !wellFormedScope(scope):
		return nil, badScope
	}
	token, err := s.authority.IssueAccessToken(c.ctx, key, password)
	if err != nil {
		return nil, err
	}
	c.client = key
	left := token.ExpiresAt.Sub(s.authority.Now()) / time.Second
	return wire.AccessToken{
		AccessToken: token.Token.Reveal(),
		TokenType:   wire.TokenTypeBearer,
		ExpiresIn:   max(1, int64(left)),
		Scope:       scope,
	}, nil
}

// revoke ends the client's access token (RFC 7009). The header that confirms it is the
// vendor's.
func (s *Server) revoke(c *call) (any, error) {
	defer c.bound()()
	key, password, form, err := c.clientForm()
	if err != nil {
		return nil, err
	}
	token := form.Get("token")
	if token == "" {
		return nil, noTokenToEnd
	}
	origin := c.origin()
	revoked, err := s.authority.RevokeAccessToken(c.ctx, key, password, secret.Text(token), origin)
	if err != nil {
		return nil, err
	}
	c.client = key
	if revoked { // so it holds only letters, digits, - and _
		c.w.Header()[wire.HeaderRevokedToken] = []string{token}
	}
	return nil, nil
}

// clientForm reads the input of both endpoints: an API key with its secret, and a form.
// No parameter may be repeated (RFC 6749, section 3.2).
func (c *call) clientForm() (key string, password secret.Text, form url.Values, err error) {
	key, plain, ok := c.r.BasicAuth()
	if !ok || len(c.r.Header["Authorization"]) != 1 {
		return "", "", nil, badClient
	}
	mediaType, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil || mediaType != wire.MediaTypeForm {
		return "", "", nil, badForm
	}
	body, err := c.body(badForm)
	if err != nil {
		return "", "", nil, err
	}
	form, ok = parseForm(body)
	if !ok {
		return "", "", nil, badForm
	}
	return key, secret.Text(plain), form, nil
}

// parseForm returns false for a body that is not a form, and for a form that repeats a
// parameter. It ignores a byte order mark before the form and line breaks after it, which
// some programs add.
func parseForm(body []byte) (url.Values, bool) {
	text := strings.TrimRight(strings.TrimPrefix(string(body), wire.ByteOrderMark), "\r\n")
	form, err := url.ParseQuery(text)
	if err != nil {
		return nil, false
	}
	for _, values := range form {
		if len(values) > 1 {
			return nil, false
		}
	}
	return form, true
}

// wellFormedScope reports whether scope follows the grammar of RFC 6749, section 3.3.
func wellFormedScope(scope string) bool {
	for token := range strings.SplitSeq(scope, " ") {
		illegal := func(r rune) bool { return r < '!' || r > '~' || r == '"' || r == '\\' }
		if token == "" || strings.ContainsFunc(token, illegal) {
			return false
		}
	}
	return true
}
