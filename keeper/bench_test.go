package keeper_test

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/keeper"
)

// constant is an upstream that gives out tokens without asking any caller.
type constant struct {
	url    string
	number atomic.Int64
}

func (c *constant) BaseURL() string { return c.url + "/" }

func (c *constant) LogIn(context.Context, string, latchkey.Secret) (latchkey.Secret, error) {
	return "00000000-0000-4000-8000-000000000001", nil
}

func (c *constant) LogOut(context.Context, latchkey.Secret) error { return nil }

func (c *constant) AccessToken(context.Context) (latchkey.AccessToken, error) {
	token := fmt.Sprintf("bearer-%d", c.number.Add(1))
	return latchkey.AccessToken{Token: latchkey.Secret(token), ExpiresAt: time.Now().Add(time.Hour)}, nil
}

func (c *constant) InvalidateAccessToken(latchkey.Secret) {}

// nowhere returns at once, so that what remains is what a transport adds.
type nowhere struct{ resp *http.Response }

func (n nowhere) RoundTrip(*http.Request) (*http.Response, error) {
	resp := *n.resp
	return &resp, nil
}

// BenchmarkTransport compares a bare round trip with what the keeper and
// oauth2.Transport make of it. `make bench` prints the ratios.
func BenchmarkTransport(b *testing.B) {
	base := nowhere{&http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody}}
	k := newKeeper(b, nil, keeper.Config{Upstream: &constant{url: modelURL}})
	if _, err := k.Tokens(b.Context()); err != nil {
		b.Fatal(err)
	}
	token := &oauth2.Token{AccessToken: "bearer-1", TokenType: "Bearer", Expiry: time.Now().Add(time.Hour)}
	for _, kind := range []struct {
		name string
		rt   http.RoundTripper
	}{
		{"bare", base},
		{"keeper", k.Transport(base)},
		{"oauth2", &oauth2.Transport{Base: base, Source: oauth2.ReuseTokenSource(token, oauth2.StaticTokenSource(token))}},
	} {
		client := &http.Client{Transport: kind.rt}
		once := func() error {
			req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, modelURL+"/api/m2m/v1/devices", nil)
			if err != nil {
				return err
			}
			req.Header.Set("Accept", "application/json")
			resp, err := client.Do(req)
			if err != nil {
				return err
			}
			return resp.Body.Close()
		}
		b.Run(kind.name+"/1", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := once(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(kind.name+"/64", func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(32) // times two cores
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := once(); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
