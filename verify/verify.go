// Package verify is middleware for Go services that latchkey authenticates callers for.
// It passes on a request if both of its tokens are valid, and puts the session into the
// context of the request.
//
//	check, err := verify.New(verify.Config{URL: "http://127.0.0.1:8080"})
//	if err != nil { … }
//	http.ListenAndServe(":3000", check.Handler(myHandler))
//
//	func (h *myService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
//		session, _ := verify.FromContext(r.Context())
//		…
//	}
//
// The middleware queries the latchkey service for each request, over connections that it
// keeps open. It caches nothing, so that a session that has ended is refused at once. If
// the service cannot be queried, requests are refused.
package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/outbound"
	"github.com/latchkey/latchkey/internal/wire"
)

const (
	defaultTimeout = 5 * time.Second
	// maxRefusal is the maximum size of a response body that is passed on.
	maxRefusal = 64 << 10
)

// Config is the configuration of a Verifier. URL is required.
type Config struct {
	// URL is the service's base URL.
	URL string
	// HTTPClient sends the queries. Default: a client of the Verifier's own. Redirects
	// are not followed.
	HTTPClient *http.Client
	// Timeout is the maximum time that a query may take. Default: five seconds.
	Timeout time.Duration
}

// Verifier verifies requests with a latchkey service. It is safe for concurrent use.
type Verifier struct {
	url     string
	client  *http.Client
	timeout time.Duration
}

// Session is the session that a request was sent in.
type Session struct {
	User   string
	ID     string // not a secret: it is not the session token
	Client string // the API key
	Age    time.Duration
}

// New returns a Verifier. It sends nothing.
func New(config Config) (*Verifier, error) {
	base, err := url.Parse(config.URL)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, errors.New("verify: Config.URL must look like http://127.0.0.1:8080")
	}
	client := http.Client{}
	if config.HTTPClient != nil {
		client = *config.HTTPClient
	} else if standard, ok := http.DefaultTransport.(*http.Transport); ok {
		transport := standard.Clone()
		transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 64, 64 // Go keeps two
		outbound.LoseDeadConnections(transport)
		client.Transport = outbound.Renew(transport)
	}
	if err := outbound.CheckProxies(client.Transport); err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	// A redirect would send the tokens to another host.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if config.Timeout <= 0 {
		config.Timeout = defaultTimeout
	}
	return &Verifier{url: base.JoinPath(wire.PathVerify).String(), client: &client, timeout: config.Timeout}, nil
}

type sessionKey struct{}

// FromContext returns the session of a request that Handler has passed on, from the context
// of that request.
func FromContext(ctx context.Context) (Session, bool) {
	session, ok := ctx.Value(sessionKey{}).(Session)
	return session, ok
}

// Handler returns a handler that passes requests with two valid tokens on to next. The
// response to any other request is that of the latchkey service, with status 401 or 403.
// If the service is unavailable, the response is 503 with Retry-After. Handler removes the
// headers that name the user behind a proxy (Latchkey-User and the like), because here the
// caller set them.
func (v *Verifier) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		resp, err := v.query(r)
		if err != nil {
			unavailable(w)
			return
		}
		defer func() { _ = resp.Body.Close() }()
		if resp.StatusCode != http.StatusOK {
			refuse(w, resp)
			return
		}
		session, ok := sessionOf(resp.Header)
		if !ok {
			unavailable(w) // this is not a response of latchkey
			return
		}
		r = r.WithContext(context.WithValue(r.Context(), sessionKey{}, session))
		r.Header = r.Header.Clone()
		for name := range r.Header {
			if strings.HasPrefix(strings.ToLower(name), "latchkey") {
				delete(r.Header, name)
			}
		}
		next.ServeHTTP(w, r)
	})
}

// query sends both tokens to the service. The body of the response has been read, so that
// the response can be used after its context has ended.
func (v *Verifier) query(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(r.Context(), v.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, v.url, http.NoBody)
	if err != nil {
		return nil, err
	}
	session := http.CanonicalHeaderKey(wire.HeaderSessionToken)
	for _, name := range []string{"Authorization", session, wire.HeaderRequestID} {
		if values := r.Header[name]; values != nil {
			req.Header[name] = values
		}
	}
	resp, err := v.client.Do(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	_ = resp.Body.Close()
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

func sessionOf(header http.Header) (Session, bool) {
	user, err := url.PathUnescape(header.Get(wire.HeaderUser))
	client, clientErr := url.PathUnescape(header.Get(wire.HeaderClient))
	age, ageErr := strconv.Atoi(header.Get(wire.HeaderSessionAge))
	s := Session{User: user, ID: header.Get(wire.HeaderSessionID), Client: client, Age: time.Duration(age) * time.Second}
	return s, errors.Join(err, clientErr, ageErr) == nil && s.User != "" && s.ID != ""
}

// refuse passes on a response of status 401 or 403. Any other status is an error.
func refuse(w http.ResponseWriter, resp *http.Response) {
	if resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusForbidden {
		unavailable(w)
		return
	}
	for _, name := range []string{"Content-Type", "Cache-Control", "Www-Authenticate", wire.HeaderRequestID} {
		if value := resp.Header.Get(name); value != "" {
			w.Header().Set(name, value)
		}
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body) // the caller may be gone
}

// unavailableFault is the response if the service cannot check a request.
var unavailableFault = wire.NewFault(wire.FaultUnavailable, "Service Unavailable",
	"The service cannot check the tokens now. They may still be valid. Try again after the time in Retry-After.")

func unavailable(w http.ResponseWriter) {
	header := w.Header()
	header.Set("Content-Type", wire.MediaTypeJSON)
	header.Set("Cache-Control", "no-store")
	header.Set(wire.HeaderRetryAfter, "1")
	w.WriteHeader(http.StatusServiceUnavailable)
	body, _ := wire.Marshal(unavailableFault) // strings always marshal
	_, _ = w.Write(body)                      // the caller may be gone
}
