package keeper

import (
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"github.com/latchkey/latchkey"
)

// hosted is an Upstream with further hosts that the tokens may be sent to, as
// *latchkey.Client is.
type hosted interface {
	SessionHeader(u *url.URL) (name string, ok bool)
}

var _ hosted = (*latchkey.Client)(nil)

// owns reports whether the tokens may be sent to u.
func (k *Keeper) owns(u *url.URL) bool {
	if u == nil || u.Opaque != "" || u.User != nil {
		return false
	}
	if k.isBase(u) && !strings.Contains(u.Path, "/.") { // the path of nearly every request
		return strings.HasPrefix(u.Path, k.base.Path) || u.Path+"/" == k.base.Path
	}
	if upstream, ok := k.config.Upstream.(hosted); ok {
		_, ok = upstream.SessionHeader(u)
		return ok
	}
	return k.isBase(u) && strings.HasPrefix(u.Path, k.base.Path)
}

// isBase reports whether u has the scheme and the host of the base URL, in the same
// spelling.
func (k *Keeper) isBase(u *url.URL) bool { return u.Host == k.base.Host && u.Scheme == k.base.Scheme }

// hostHeaders is a RoundTripper below a Transport that puts the session token into the
// header that the request's host wants.
type hostHeaders struct {
	keeper *Keeper
	base   http.RoundTripper
}

// RoundTrip implements http.RoundTripper. It changes the header of req, which is a copy
// that the Transport has made.
func (n hostHeaders) RoundTrip(req *http.Request) (*http.Response, error) {
	if n.keeper.isBase(req.URL) {
		return n.base.RoundTrip(req)
	}
	if upstream, ok := n.keeper.config.Upstream.(hosted); ok {
		if name, ok := upstream.SessionHeader(req.URL); ok {
			token := req.Header[headerSession]
			delete(req.Header, headerSession)
			req.Header[textproto.CanonicalMIMEHeaderKey(name)] = token
		}
	}
	return n.base.RoundTrip(req)
}
