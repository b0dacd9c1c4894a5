package server

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}

func setup(b testing.TB) (*authority.Authority, *Server, string, string) {
	f := &fake{clients: map[authority.ClientID]authority.Client{}, sessions: map[authority.SessionKey]authority.Session{}}
	a, err := authority.New(authority.Config{Stores: authority.Stores{Users: f, Strikes: f, Clients: f, Sessions: f, Audit: f}, Key: make([]byte, 32)})
	if err != nil {
		b.Fatal(err)
	}
	if err := a.AddKnownClient(context.Background(), "demo", authority.Credentials{Key: "demo-key", Secret: "demo-secret"}, authority.Origin{}); err != nil {
		b.Fatal(err)
	}
	token, err := a.IssueAccessToken(context.Background(), "demo-key", "demo-secret")
	if err != nil {
		b.Fatal(err)
	}
	st, _ := authority.ParseSessionToken("bcce3ea6-fe4f-4952-bacf-eadd80718e83")
	_ = f.CreateSession(context.Background(), authority.Session{Key: st.Key(), User: "zbeeblebrox", LastUsedAt: time.Now()})
	return a, New(Config{Authority: a}), token.Token.Reveal(), st.Reveal()
}

func BenchmarkVerify(b *testing.B) {
	_, s, bearer, session := setup(b)
	h := s.Handler()
	r := httptest.NewRequest("GET", "/latchkey/v1/verify", nil)
	r.Header.Set("Authorization", "Bearer "+bearer)
	r.Header.Set("VZ-M2M-Token", session)
	w := &discard{http.Header{}}
	h.ServeHTTP(w, r)
	if w.header["Latchkey-User"] == nil {
		b.Fatal(w.header)
	}
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	a, _, bearer, _ := setup(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Authenticate(context.Background(), bearer); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	a, _, _, session := setup(b)
	b.ReportAllocs()
	for b.Loop() {
		t, _ := authority.ParseSessionToken(session)
		if _, err := a.Check(context.Background(), t); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNet(b *testing.B) {
	_, s, bearer, session := setup(b)
	bare := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("ok")) })
	hdr := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["Latchkey-User"] = noStore
		h["Latchkey-Client"] = noStore
		h["Latchkey-Session"] = noStore
		h["Cache-Control"] = noStore
	})
	for _, c := range []struct {
		name string
		h    http.Handler
		srv  func(h http.Handler) *http.Server
		wrap bool
	}{
		{"bare", bare, func(h http.Handler) *http.Server { return &http.Server{Handler: h} }, false},
		{"headers", hdr, func(h http.Handler) *http.Server { return &http.Server{Handler: h} }, false},
		{"verify", s.Handler(), func(h http.Handler) *http.Server { return &http.Server{Handler: h} }, false},
		{"bare+wrap", bare, func(h http.Handler) *http.Server { return &http.Server{Handler: h} }, true},
		{"bare+read", bare, func(h http.Handler) *http.Server { return &http.Server{Handler: h, ReadTimeout: 10 * time.Second} }, false},
		{"bare+idle", bare, func(h http.Handler) *http.Server { return &http.Server{Handler: h, IdleTimeout: 10 * time.Second} }, false},
		{"bare+write", bare, func(h http.Handler) *http.Server { return &http.Server{Handler: h, WriteTimeout: 10 * time.Second} }, false},
		{"bare+limits", bare, s.httpServer, true},
		{"verify+limits", s.Handler(), s.httpServer, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			l, _ := net.Listen("tcp", "127.0.0.1:0")
			srv := c.srv(c.h)
			var ll net.Listener = l
			if c.wrap {
				ll = s.conns.listen(l)
			}
			go srv.Serve(ll)
			defer srv.Close()
			req := []byte(fmt.Sprintf("GET /latchkey/v1/verify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nVZ-M2M-Token: %s\r\n\r\n", bearer, session))
			b.ReportAllocs()
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				c, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					b.Error(err)
					return
				}
				defer c.Close()
				br := bufio.NewReader(c)
				for pb.Next() {
					c.Write(req)
					cl := 0
					for {
						line, err := br.ReadSlice('\n')
						if err != nil {
							b.Error(err)
							return
						}
						if len(line) == 2 {
							break
						}
						if line[0] == 'C' && string(line[:15]) == "Content-Length:" {
							cl = int(line[16] - '0')
						}
					}
					br.Discard(cl)
				}
			})
		})
	}
}
