package server

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/secret"
	"github.com/latchkey/latchkey/internal/wire"
)

// token hands out the client's access token: RFC 6749, section 4.4, with HTTP
// Basic as the one way to authenticate.
func (s *Server) token(x *exchange) (any, error) {
	defer x.bound()()
	key, password, form, err := x.clientForm()
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
	token, err := s.authority.IssueAccessToken(x.ctx, key, password)
	if err != nil {
		return nil, err
	}
	x.client = key
	left := token.ExpiresAt.Sub(s.authority.Now()) / time.Second
	return wire.AccessToken{
		AccessToken: token.Token.Reveal(),
		TokenType:   wire.TokenTypeBearer,
		ExpiresIn:   max(1, int64(left)),
		Scope:       scope,
	}, nil
}

// revoke ends the client's access token (RFC 7009). The header that tells of it
// is the vendor's.
func (s *Server) revoke(x *exchange) (any, error) {
	defer x.bound()()
	key, password, form, err := x.clientForm()
	if err != nil {
		return nil, err
	}
	token := form.Get("token")
	if token == "" {
		return nil, noTokenToEnd
	}
	origin := x.origin()
	revoked, err := s.authority.RevokeAccessToken(x.ctx, key, password, secret.Text(token), origin)
	if err != nil {
		return nil, err
	}
	x.client = key
	if revoked { // so it is one of ours, and nothing but letters, digits, - and _
		x.w.Header()[wire.HeaderRevokedToken] = []string{token}
	}
	return nil, nil
}

// clientForm reads what both endpoints take: an API key with its secret, and a
// form. RFC 6749, section 3.2: no parameter may be repeated.
func (x *exchange) clientForm() (key string, password secret.Text, form url.Values, err error) {
	key, plain, ok := x.r.BasicAuth()
	if !ok || len(x.r.Header["Authorization"]) != 1 {
		return "", "", nil, badClient
	}
	mediaType, _, err := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
	if err != nil || mediaType != wire.MediaTypeForm {
		return "", "", nil, badForm
	}
	body, err := x.body(badForm)
	if err != nil {
		return "", "", nil, err
	}
	form, ok = parseForm(body)
	if !ok {
		return "", "", nil, badForm
	}
	return key, secret.Text(plain), form, nil
}

// parseForm answers false for what is no form, and for one that repeats a
// parameter. A byte order mark before it and line breaks after it are no part of
// it: some programs add them.
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

// wellFormedScope follows the grammar of RFC 6749, section 3.3.
func wellFormedScope(scope string) bool {
	for token := range strings.SplitSeq(scope, " ") {
		illegal := func(r rune) bool { return r < '!' || r > '~' || r == '"' || r == '\\' }
		if token == "" || strings.ContainsFunc(token, illegal) {
			return false
		}
	}
	return true
}

// body reads the body whole, so that a slow caller holds nothing but a
// connection. It returns encodingRefused for a body that is compressed, bodyLate
// for one that does not come in time, and unreadable for one that is over its
// bound or cut off.
func (x *exchange) body(unreadable *refusal) ([]byte, error) {
	for _, values := range x.r.Header["Content-Encoding"] {
		for coding := range strings.SplitSeq(values, ",") {
			if coding = strings.TrimSpace(coding); coding != "" && !strings.EqualFold(coding, "identity") {
				return nil, encodingRefused
			}
		}
	}
	if x.r.ContentLength > wire.MaxRequestBodyBytes {
		return nil, unreadable
	}
	body, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, wire.MaxRequestBodyBytes))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, bodyLate
	case err != nil:
		return nil, unreadable
	}
	return body, nil
}
