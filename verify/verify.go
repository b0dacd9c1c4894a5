// Package verify is a middleware for Go services behind a latchkey service: a
// request comes through if both of its tokens are good, and carries who sent it in
// its context.
//
//	check, err := verify.New(verify.Config{URL: "http://127.0.0.1:8080"})
//	if err != nil { … }
//	http.ListenAndServe(":3000", check.Handler(myHandler))
//
//	func (h *myService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
//		session, _ := verify.From(r.Context())
//		…
//	}
//
// It asks the service for each request, over connections that are kept, and caches
// nothing: a session that has ended is refused at once. It fails closed.
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
	// maxRefusal bounds the body of a refusal that is passed on.
	maxRefusal = 64 << 10
)

// Config says which service is asked. URL is required.
type Config struct {
	// URL is the service's base URL.
	URL string
	// HTTPClient carries the questions. Default: one of the Verifier's own.
	// Redirects are not followed.
	HTTPClient *http.Client
	// Timeout bounds a question. Default: five seconds.
	Timeout time.Duration
}

// Verifier asks a latchkey service. It is safe for concurrent use.
type Verifier struct {
	url     string
	client  *http.Client
	timeout time.Duration
}

// Session is who sent a request.
type Session struct {
	User   string
	ID     string // public: it opens nothing
	Client string // the API key
	Age    time.Duration
}

// New answers a Verifier. It sends nothing.
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
	// It would take the tokens to wherever the answer points.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if config.Timeout <= 0 {
		config.Timeout = defaultTimeout
	}
	return &Verifier{url: base.JoinPath(wire.PathVerify).String(), client: &client, timeout: config.Timeout}, nil
}

type sessionKey struct{}

// From answers who sent the request of a context that Handler has handed on.
func From(ctx context.Context) (Session, bool) {
	session, ok := ctx.Value(sessionKey{}).(Session)
	return session, ok
}

// Handler hands on to next what comes with two good tokens. Other requests are
// answered as the service answers them, with 401; where it cannot be asked or
// cannot tell, with 503 and Retry-After. The headers in which a proxy says who sent a
// request (Latchkey-User and its like) are removed: here they are the caller's.
func (v *Verifier) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		resp, err := v.ask(r)
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
			unavailable(w) // it is not a latchkey service that answers there
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

// ask sends both tokens to the service. The answer has no body that matters where
// it is good, so it is read here and its context may end.
func (v *Verifier) ask(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(r.Context(), v.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, v.url, http.NoBody)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"Authorization", http.CanonicalHeaderKey(wire.HeaderSessionToken), wire.HeaderRequestID} {
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

// refuse passes a refusal on. What is neither yes nor no is neither here.
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
	_, _ = io.Copy(w, resp.Body) // a caller who left needs no answer
}

const unavailableBody = `{"fault":{"code":"` + wire.FaultUnavailable +
	`","message":"Service Unavailable","description":"It cannot be told right now who sends this. The tokens may well be good; try again after the time in Retry-After."}}`

func unavailable(w http.ResponseWriter) {
	header := w.Header()
	header.Set("Content-Type", wire.MediaTypeJSON)
	header.Set("Cache-Control", "no-store")
	header.Set(wire.HeaderRetryAfter, "1")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = io.WriteString(w, unavailableBody) // a caller who left needs no answer
}
