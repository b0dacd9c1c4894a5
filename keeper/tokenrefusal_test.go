package keeper_test

import (
	"bytes"
	"compress/flate"
	"compress/zlib"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/wire"
	"github.com/latchkey/latchkey/keeper"
)

// service is a real server whose session can end. It refuses with a body of the
// test's own.
type service struct {
	*constant

	server *httptest.Server
	refuse http.HandlerFunc

	mu       sync.Mutex
	session  string // the live one
	logIns   int
	executed int
	codings  []string // the Accept-Encoding of each request
}

func newService(t *testing.T, refuse http.HandlerFunc) (*service, *keeper.Keeper) {
	t.Helper()
	s := &service{refuse: refuse}
	s.server = httptest.NewServer(s)
	t.Cleanup(s.server.Close)
	s.constant = &constant{url: s.server.URL}
	k := newKeeper(t, nil, keeper.Config{Upstream: s})
	k.Hasten()
	return s, k
}

func (s *service) LogIn(context.Context, string, latchkey.Secret) (latchkey.Secret, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logIns++
	s.session = fmt.Sprintf("00000000-0000-4000-8000-%012d", s.logIns)
	return latchkey.Secret(s.session), nil
}

func (s *service) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.session = ""
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	live := s.session != "" && r.Header.Get("Vz-M2m-Token") == s.session
	s.codings = append(s.codings, strings.Join(r.Header["Accept-Encoding"], "|"))
	if live {
		s.executed++
	}
	s.mu.Unlock()
	if !live {
		s.refuse(w, r)
		return
	}
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = io.WriteString(w, zipped("fine"))
		return
	}
	_, _ = io.WriteString(w, "fine")
}

func deflated(text string, raw bool) string {
	var b bytes.Buffer
	w := io.WriteCloser(zlib.NewWriter(&b))
	if raw {
		w, _ = flate.NewWriter(&b, 6)
	}
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.String()
}

func coded(coding, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", coding)
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, body)
	}
}

// addedHeader adds Content-Encoding to what is there.
type addedHeader struct{ http.ResponseWriter }

func (a addedHeader) WriteHeader(status int) {
	a.Header()["Content-Encoding"] = append(a.Header()["Content-Encoding"], "gzip")
	a.ResponseWriter.WriteHeader(status)
}

// However a refusal of the session is sent, the session is renewed, and the request
// succeeds.
func TestARefusalIsReadHoweverItIsSent(t *testing.T) {
	for name, refuse := range map[string]http.HandlerFunc{
		"gzip": coded("gzip", zipped(expired)), "gzip, shouted": coded("GZIP", zipped(expired)),
		"x-gzip":  coded("X-Gzip", zipped(expired)),
		"deflate": coded("deflate", deflated(expired, false)), "deflate, raw": coded("Deflate", deflated(expired, true)),
		"a list": coded("gzip, identity", zipped(expired)), "two codings": coded("deflate, gzip",
			zipped(deflated(expired, false))),
		"byte order mark": coded("identity", "\xef\xbb\xbf"+expired),
		"mark in gzip":    coded("gzip", zipped("\xef\xbb\xbf"+expired)),
		"two layers":      coded("gzip, gzip", zipped(zipped(expired))),
		"two layers, two lines": func(w http.ResponseWriter, r *http.Request) {
			coded("gzip", zipped(zipped(expired)))(addedHeader{w}, r) // Go undoes one, and removes both
		},
		"gzip, not named": coded("", zipped(expired)), "gzip, named identity": coded("identity", zipped(expired)),
		"gzip, named deflate": coded("deflate", zipped(expired)), "with a parameter": coded("GZIP;q=1", zipped(expired)),
		"marks and blanks": coded("", "\r\n\xef\xbb\xbf \xef\xbb\xbf"+expired),
		"another case":     coded("", strings.ToLower(expired)), "no service": coded("",
			strings.Replace(expired, "UnifiedWebService.", "", 1)),
		"two services": coded("", strings.Replace(expired, "Unified", "Verizon.Unified", 1)),
		"403": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, expired)
		},
		"location, another case": coded("", `{"errorCode":"Invalid_Parameter","errorMessage":" uws Verification failure"}`),
		"connector, another case": coded("",
			`{"error":"Unauthorized","error_description":"no: UWS V1 REST accounts: [400]"}`),
		"garbage behind": coded("identity", expired+"<!-- proxy -->"),
		"long":           coded("identity", strings.TrimSuffix(expired, `x"}`)+strings.Repeat("x", 1<<20)+`"}`),
		"br":             coded("br", "\x8b\x02\x80it is not gzip\x03"), "zstd": coded("zstd", "\x28\xb5\x2f\xfd"),
		"broken gzip": coded("gzip", "\x1f\x8b no"),
		"cut off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, expired)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
	} {
		for _, accept := range []string{"", "br", "gzip, deflate, br, zstd", "*"} {
			for _, method := range []string{"GET", "HEAD", "POST"} {
				s, k := newService(t, refuse)
				if method == "POST" && (name == "br" || name == "zstd" || name == "broken gzip") {
					continue // it is not known whether that was executed
				}
				if method == "HEAD" && name == "403" {
					continue // which may mean anything, and hardly ever means this
				}
				for n := range 2 {
					req, _ := http.NewRequestWithContext(t.Context(), method, s.server.URL+"/api/x", http.NoBody)
					if accept != "" {
						req.Header.Set("Accept-Encoding", accept)
					}
					resp, err := k.HTTPClient().Do(req)
					if err != nil {
						t.Fatalf("%s, %s with %q: %v", name, method, accept, err)
					}
					_ = resp.Body.Close()
					if resp.StatusCode != 200 {
						t.Errorf("%s, %s with %q: got %d", name, method, accept, resp.StatusCode)
					}
					if s.logIns != n+1 || s.executed != n+1 {
						t.Errorf("%s, %s with %q: %d logins and %d requests executed, want %d", name, method, accept, s.logIns,
							s.executed, n+1)
					}
					s.end()
				}
			}
		}
	}
}

func TestOnlyCodingsThatCanBeReadAreAskedFor(t *testing.T) {
	s, k := newService(t, coded("identity", expired))
	for accept, want := range map[string]string{
		"gzip": "gzip", "gzip, deflate": "gzip, deflate", "gzip;q=0.5": "gzip;q=0.5", "GZip, br": "gzip", "br": "identity",
		"gzip, deflate, br, zstd": "gzip, deflate", "br;q=1.0, gzip;q=0.8, *;q=0.1": "gzip;q=0.8, deflate;q=0.1, " +
			"identity;q=0.1",
		"*": "gzip, deflate, identity", "gzip;q=0, br": "identity", "gzip, *;q=0": "gzip, *;q=0", "br, *;q=0": "identity",
		"identity;q=0, br, gzip": "identity;q=0, gzip", "identity": "identity", "compress, x-gzip": "x-gzip",
		"br|deflate ;q=0.3": "deflate;q=0.3",
		"dcb":               "identity", "br ; q=1, gzip ; q=0.000": "identity", ",,br,": "identity",
	} {
		s.codings = nil
		req, _ := http.NewRequestWithContext(t.Context(), "GET", s.server.URL+"/api/x", http.NoBody)
		req.Header["Accept-Encoding"] = strings.Split(accept, "|")
		got := do(k.HTTPClient().Transport, req)
		if got.status != 200 || s.codings[len(s.codings)-1] != want {
			t.Errorf("%q was sent as %q (%+v), want %q", accept, s.codings, got.status, want)
		}
		if !slices.Equal(req.Header["Accept-Encoding"], strings.Split(accept, "|")) {
			t.Errorf("the caller's header became %q", req.Header["Accept-Encoding"])
		}
	}
	// Nothing is changed for callers that leave it to Go.
	s.codings = nil
	req, _ := http.NewRequestWithContext(t.Context(), "GET", s.server.URL+"/api/x", http.NoBody)
	if got := do(k.HTTPClient().Transport, req); got.body != "fine" || s.codings[0] != "gzip" {
		t.Errorf("got %+v, asked for %q; want the text, decompressed by Go", got, s.codings)
	}
}

// Each published form renews the token that it means, and a resource that goes on
// refusing costs no more.
func TestEachPublishedFormRenewsTheTokenThatItMeans(t *testing.T) {
	for _, form := range wire.Refusals {
		for _, method := range []string{"GET", "POST"} {
			refusing := true
			api := func(n int, body string) (*http.Response, error) {
				if refusing && n <= 1 {
					return answerWith(form.Status, form.Body), nil
				}
				return answerWith(200, "echo:"+body), nil
			}
			inFront(t, api, func(t *testing.T, f *front, k *keeper.Keeper) {
				got := send(t.Context(), k.Transport(f), method, "payload", true)
				var sessions, bearers int
				switch {
				case form.Meaning.OfSession():
					sessions = 1
				case form.Meaning == wire.MeaningBearer, form.Meaning == wire.MeaningToken:
					bearers = 1
				}
				replayed := sessions+bearers > 0 && (form.Status != 500 || method == "GET")
				if replayed && got.body != "echo:payload" || !replayed && got.status != form.Status {
					t.Errorf("%s, %s: got %+v", form.Name, method, got)
				}
				get(k.Transport(f)).ok(t)
				if f.logIns != 1+sessions || f.tokenCalls != 1+bearers {
					t.Errorf("%s, %s: %d logins and %d access tokens, want %d and %d", form.Name, method, f.logIns, f.tokenCalls,
						1+sessions, 1+bearers)
				}
			})
		}
	}
}

// Where it is not said which token is refused, it is the session if the bearer was
// just fetched.
func TestARefusalThatDoesNotSayWhichTokenIsOfTheBearerFirst(t *testing.T) {
	for _, body := range []string{"", "<html>Unauthorized</html>",
		`{"errorCode":"INVALID_ACCOUNT","errorMessage":"verify the UWS account"}`, `{"status":401,"message":"no"}`} {
		session := ""
		var f *front
		api := func(int, string) (*http.Response, error) {
			if strings.HasPrefix(f.tokens[len(f.tokens)-1], session) {
				return answerWith(401, body), nil
			}
			return answerWith(200, "fine"), nil
		}
		inFront(t, api, func(t *testing.T, front *front, k *keeper.Keeper) {
			f = front
			tokens, err := k.Tokens(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			session = tokens.Session.Reveal()
			if got := get(k.Transport(f)); got.status != 401 || len(f.tokens) != 2 || f.tokenCalls != 2 {
				t.Errorf("%q: got %+v after %d requests, with %d access tokens", body, got, len(f.tokens), f.tokenCalls)
			}
			get(k.Transport(f)).ok(t)
			if f.logIns != 2 || len(f.tokens) != 3 {
				t.Errorf("%q: %d logins, %d requests", body, f.logIns, len(f.tokens))
			}
		})
	}
}
