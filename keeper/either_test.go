package keeper_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey/internal/wire"
	"github.com/latchkey/latchkey/keeper"
)

// The end of a session is found although a service does not say which token it
// refuses, every access token is another one, requests cannot be sent again, and come
// as rarely or as often as they like.
func TestTheEndOfASessionIsFoundByRefusalsThatDoNotNameTheToken(t *testing.T) {
	form, _ := wire.FindRefusal("numeric")
	for _, every := range []time.Duration{5 * time.Second, 59 * time.Second, 61 * time.Second, 5 * time.Minute} {
		for _, rewindable := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				m := newModel()
				up := roundTripper(func(req *http.Request) (*http.Response, error) {
					if req.URL.Path == wire.PathToken {
						m.revokeBearer()
					}
					resp, err := m.RoundTrip(req)
					if err == nil && resp.StatusCode >= 400 {
						resp = respond(req, form.Status, form.Body)
					}
					return resp, err
				})
				rt := newKeeper(t, up, keeper.Config{}).Transport(up)
				n := 0
				post := func() answer {
					n++ // each for another resource
					req, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
						fmt.Sprint(modelURL, "/api/m2m/v1/devices/", n), strings.NewReader("x"))
					if err != nil {
						t.Fatal(err)
					}
					if !rewindable {
						req.GetBody = nil
					}
					return do(rt, req)
				}
				post().ok(t)
				pass(6 * time.Minute)
				m.endSessions()
				for range 3 {
					post()
					pass(every)
				}
				if post().ok(t); m.logIns != 2 {
					t.Errorf("every %v, sent again: %v: %d logins, want one for the end of the session", every, rewindable, m.logIns)
				}
			})
		}
	}
}
