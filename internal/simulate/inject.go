package simulate

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/wire"
)

// maxKept bounds what is read of a body before the request is executed.
const maxKept = 1 << 20

// faultForbidden is the fault code for a resource that the client may not use.
const faultForbidden = "900908"

// inject makes the fault happen to the request, whose body begins with these bytes.
func (s *Service) inject(w http.ResponseWriter, r *http.Request, operation Operation, fault Fault, body []byte) {
	if fault.responds() {
		drain(r)
	}
	switch fault.Kind {
	case DropAfter:
		s.execute(&discard{}, staying(r))
		panic(http.ErrAbortHandler) // cuts the connection, and logs nothing
	case DropBefore:
		if operation == LogIn && s.Switches().StrikeOnAbort {
			left, leave := context.WithCancel(r.Context())
			leave()
			s.execute(&discard{}, r.WithContext(left))
		}
		panic(http.ErrAbortHandler)
	case Delay:
		s.wait(r.Context(), fault.Delay)
		if operation != LogIn || !s.Switches().StrikeOnAbort { // which is about callers that leave
			r = staying(r)
		}
	case Fail:
		if fault.Status == http.StatusInternalServerError {
			answer(w, fault, fault.Status, wire.Result{ErrorCode: wire.CodeUnexpected.In(wire.ServiceSession),
				ErrorMessage: "A simulated failure."})
			return
		}
		body := wire.NewFault(wire.FaultUnavailable, http.StatusText(fault.Status), "A simulated failure.")
		answer(w, fault, fault.Status, body)
		return
	case Throttle:
		body := wire.NewFault(wire.FaultThrottled, "Message throttled out",
			"A simulated limit. Try again after the time in Retry-After.")
		answer(w, fault, http.StatusTooManyRequests, body)
		return
	case ForbidXML:
		forbid(w)
		return
	case RefuseAs:
		form, _ := wire.FindRefusal(fault.Form) // which was checked
		answer(w, fault, form.Status, json.RawMessage(form.Body))
		return
	case LockUser, ExpireSessions, RevokeBearer:
		s.strike(r, operation, fault.Kind, body)
	}
	s.execute(w, r)
}

// staying is the request of a caller that does not leave.
func staying(r *http.Request) *http.Request { return r.WithContext(context.WithoutCancel(r.Context())) }

// keepBody reads the body into memory, so that the server notices when the
// caller leaves, and puts it back. An error means that the body broke off.
func keepBody(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxKept))
	rest := io.Reader(r.Body)
	if err == nil && len(body) < maxKept {
		rest = http.NoBody
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(body), rest), r.Body}
	return body, err
}

// wait returns after the delay, when the caller has left, or when the service is
// closing. It counts in real time: what it tests are callers' timeouts.
func (s *Service) wait(ctx context.Context, delay time.Duration) {
	var over <-chan time.Time
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-over:
	case <-ctx.Done():
	case <-s.closing:
	}
}

// strike hits whom the request is from. A request that names no user is left
// alone: it will be refused.
func (s *Service) strike(r *http.Request, operation Operation, kind Kind, body []byte) {
	ctx := context.WithoutCancel(r.Context())
	_ = s.With(func(a *authority.Authority) error {
		if kind == RevokeBearer {
			_, bearer, _ := strings.Cut(r.Header.Get("Authorization"), " ")
			client, err := a.Authenticate(ctx, strings.TrimSpace(bearer))
			if err != nil {
				return err
			}
			return a.EndAccessToken(ctx, client.Key, origin)
		}
		user := ""
		if operation == LogIn {
			var request wire.LogInRequest
			if err := wire.Unmarshal(body, &request); err != nil {
				return err
			}
			user = request.Username
		} else {
			token, _ := authority.ParseSessionToken(r.Header.Get(wire.HeaderSessionToken))
			session, err := a.Check(ctx, token)
			if err != nil {
				return err
			}
			user = session.User
		}
		if kind == LockUser {
			return a.LockUser(ctx, user, origin)
		}
		_, err := a.EndUserSessions(ctx, user, origin)
		return err
	})
}

// answer responds for a fault in place of the service.
func answer(w http.ResponseWriter, fault Fault, status int, body any) {
	if fault.RetryAfter > 0 {
		seconds := (fault.RetryAfter + time.Second - 1) / time.Second
		w.Header().Set(wire.HeaderRetryAfter, strconv.Itoa(int(seconds)))
	}
	writeJSON(w, status, body)
}

// forbid responds in XML, as the vendor's gateway does to a client whose Accept header it
// does not accept.
func forbid(w http.ResponseWriter) {
	text, err := xml.Marshal(struct {
		XMLName     xml.Name `xml:"http://wso2.org/apimanager fault"`
		Code        string   `xml:"code"`
		Message     string   `xml:"message"`
		Description string   `xml:"description"`
	}{Code: faultForbidden, Message: "Resource forbidden", Description: "A simulated refusal."})
	if err != nil {
		panic("simulate: a fault does not marshal: " + err.Error())
	}
	w.Header().Set("Content-Type", "application/xml; charset=UTF-8")
	w.WriteHeader(http.StatusForbidden)
	_, _ = w.Write(append([]byte(xml.Header), text...)) // a caller who left needs no answer
}

// discard is a response that no caller receives.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header {
	if d.header == nil {
		d.header = http.Header{}
	}
	return d.header
}

func (d *discard) Write(p []byte) (int, error) { return len(p), nil }

func (d *discard) WriteHeader(int) {}
