package server

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/secret"
	"github.com/latchkey/latchkey/internal/wire"
)

// A page of a listing holds defaultPage entries unless asked for more or fewer,
// and never more than maxPage.
const (
	defaultPage = 100
	maxPage     = 1000
)

// adminTimeout bounds one request to the admin API.
const adminTimeout = 60 * time.Second

// AdminHandler returns the admin API, as wire/admin.go says it. Whoever reaches
// it may do everything, so it must be served only where the file system decides
// who that is: Run serves it on the socket that ListenUnix makes. store names the
// database that it acts on.
func AdminHandler(a *authority.Authority, store wire.AdminStore, log *slog.Logger) http.Handler {
	h := &admin{authority: a, store: store, log: log}
	if h.log == nil {
		h.log = slog.Default()
	}
	mux := http.NewServeMux()
	get := func(path string, answer func(context.Context, adminQuery) (any, error)) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			h.serve(w, r, func(ctx context.Context) (any, error) {
				query, err := adminQueryOf(r.URL.RawQuery)
				if err != nil {
					return nil, err
				}
				return answer(ctx, query)
			})
		})
	}
	get(wire.PathAdminStore, func(context.Context, adminQuery) (any, error) { return store, nil })
	get(wire.PathAdminUsers, h.users)
	get(wire.PathAdminUser, h.user)
	get(wire.PathAdminClients, h.clients)
	get(wire.PathAdminSessions, h.sessions)
	get(wire.PathAdminAudit, h.audit)
	get(wire.PathAdminAuditVerify, h.verifyAudit)
	mux.HandleFunc("POST "+wire.PathAdminUserAdd, change(h, h.addUser))
	mux.HandleFunc("POST "+wire.PathAdminUserPassword, change(h, h.setPassword))
	mux.HandleFunc("POST "+wire.PathAdminUserAllow, change(h, h.allowUser))
	mux.HandleFunc("POST "+wire.PathAdminUserRemove, change(h, named(a.RemoveUser)))
	mux.HandleFunc("POST "+wire.PathAdminUserLock, change(h, named(a.LockUser)))
	mux.HandleFunc("POST "+wire.PathAdminUserUnlock, change(h, named(a.UnlockUser)))
	mux.HandleFunc("POST "+wire.PathAdminUserDisable, change(h, named(a.DisableUser)))
	mux.HandleFunc("POST "+wire.PathAdminUserEnable, change(h, named(a.EnableUser)))
	mux.HandleFunc("POST "+wire.PathAdminUserEnd, change(h, h.endUserSessions))
	mux.HandleFunc("POST "+wire.PathAdminClientAdd, change(h, h.addClient))
	mux.HandleFunc("POST "+wire.PathAdminClientRotate, change(h, h.rotateClient))
	mux.HandleFunc("POST "+wire.PathAdminClientRevoke, change(h, h.revokeClient))
	mux.HandleFunc("POST "+wire.PathAdminSessionEnd, change(h, h.endSession))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeAdmin(w, http.StatusNotFound, wire.AdminErrorBody{Error: wire.AdminError{
			Code: wire.AdminNotFound, Message: "the server has no such operation; is it of another version than this command?"}})
	})
	return mux
}

// admin answers the admin API.
type admin struct {
	authority *authority.Authority
	store     wire.AdminStore
	log       *slog.Logger
}

// change makes a handler of a function that changes something: it decodes the
// body, and calls the function once the body is sound.
func change[Body any](h *admin, do func(context.Context, Body, authority.Origin) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h.serve(w, r, func(ctx context.Context) (any, error) {
			var body Body
			if err := decodeAdmin(http.MaxBytesReader(w, r.Body, wire.MaxRequestBodyBytes), &body); err != nil {
				return nil, err
			}
			return do(ctx, body, authority.Origin{Address: operator(r), RequestID: requestID(r)})
		})
	}
}

// named fits a change that needs a user name and answers nothing.
func named(do func(context.Context, string, authority.Origin) error) func(context.Context, wire.AdminName, authority.Origin) (any, error) {
	return func(ctx context.Context, body wire.AdminName, origin authority.Origin) (any, error) {
		return nil, do(ctx, body.Name, origin)
	}
}

func (h *admin) serve(w http.ResponseWriter, r *http.Request, do func(context.Context) (any, error)) {
	if meant := r.Header.Get(wire.HeaderAdminStore); meant != "" && meant != h.store.ID {
		writeAdmin(w, http.StatusConflict, wire.AdminErrorBody{Error: wire.AdminError{
			Code: wire.AdminOtherStore, Message: "the server has another database now: " + h.store.Name}})
		return
	}
	ctx, cancel := untilDisconnect(r)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	answer, err := do(ctx)
	switch {
	case err != nil:
		status, refusal := adminRefusal(err)
		if status >= http.StatusInternalServerError {
			h.log.Warn("an admin request could not be answered", "path", r.URL.Path, "error", err)
		}
		writeAdmin(w, status, wire.AdminErrorBody{Error: refusal})
	case answer == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		writeAdmin(w, http.StatusOK, answer)
	}
}

// adminRefusal is the table from errors to what an administrator is told.
func adminRefusal(err error) (int, wire.AdminError) {
	var fault *authority.InvalidError
	switch {
	case errors.As(err, &fault):
		return http.StatusBadRequest, wire.AdminError{Code: wire.AdminInvalid, Message: fault.Error()}
	case errors.Is(err, authority.ErrNotFound):
		return http.StatusNotFound, wire.AdminError{Code: wire.AdminNotFound, Message: "there is none of that name"}
	case errors.Is(err, authority.ErrExists):
		return http.StatusConflict, wire.AdminError{Code: wire.AdminExists, Message: "there is one of that name already"}
	case errors.Is(err, authority.ErrOverloaded):
		return http.StatusServiceUnavailable, wire.AdminError{Code: wire.AdminOverloaded, Message: "too many logins are waiting; nothing was changed, try again"}
	default:
		return http.StatusServiceUnavailable, wire.AdminError{Code: wire.AdminUnavailable, Message: err.Error()}
	}
}

func invalid(problem string) error {
	return &authority.InvalidError{Field: "the request:", Kind: authority.Unacceptable, Problem: problem}
}

func writeAdmin(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", wire.MediaTypeJSON)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(encode(body)) // an administrator who left needs no answer
}

// adminQuery reads query parameters.
type adminQuery struct{ values url.Values }

// limit answers how many entries a page may have.
func (q adminQuery) limit() (int, error) {
	text := q.values.Get("limit")
	if text == "" {
		return defaultPage, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, invalid("limit is not a positive number")
	}
	return min(n, maxPage), nil
}

// flag reads true or false; absent is false.
func (q adminQuery) flag(name string) (bool, error) {
	text := q.values.Get(name)
	if text == "" {
		return false, nil
	}
	set, err := strconv.ParseBool(text)
	if err != nil {
		return false, invalid(name + " is neither true nor false")
	}
	return set, nil
}

func (h *admin) audit(ctx context.Context, query adminQuery) (any, error) {
	limit, err := query.limit()
	if err != nil {
		return nil, err
	}
	q := authority.AuditQuery{User: query.values.Get("user"), Client: query.values.Get("client"), Limit: limit}
	for _, kind := range query.values["kind"] {
		if !slices.Contains(authority.EventKinds, authority.EventKind(kind)) {
			return nil, invalid("there are no events of the kind " + kind)
		}
		q.Kinds = append(q.Kinds, authority.EventKind(kind))
	}
	if q.Last, err = query.flag("last"); err != nil {
		return nil, err
	}
	if text := query.values.Get("after"); text != "" {
		if q.After, err = strconv.ParseInt(text, 10, 64); err != nil {
			return nil, invalid("after is not a number")
		}
	}
	for name, bound := range map[string]*time.Time{"since": &q.Since, "until": &q.Until} {
		if text := query.values.Get(name); text != "" {
			if *bound, err = time.Parse(time.RFC3339Nano, text); err != nil {
				return nil, invalid(fmt.Sprintf("%s is not a time like %s", name, time.RFC3339))
			}
		}
	}
	events, err := h.authority.AuditEvents(ctx, q)
	if err != nil {
		return nil, err
	}
	answer := wire.AdminEvents{Events: make([]wire.AdminEvent, len(events))}
	for i, event := range events {
		answer.Events[i] = AdminEvent(event)
	}
	return answer, nil
}

// AdminEvent returns an event as the admin API shows it.
func AdminEvent(event authority.Event) wire.AdminEvent {
	return wire.AdminEvent{
		Seq: event.Seq, At: event.At, Kind: string(event.Kind), User: event.User, Session: event.SessionID,
		Client: event.Client, Address: event.Address, RequestID: event.RequestID,
		Method: event.Method, Host: event.Host, Path: event.Path, Status: event.Status,
		DurationMS: float64(event.Duration.Microseconds()) / 1000, UpstreamRequestID: event.UpstreamID,
		Count: event.Count, Detail: event.Detail,
	}
}

func (h *admin) verifyAudit(ctx context.Context, query adminQuery) (any, error) {
	var mark authority.AuditMark
	if text := query.values.Get("seq"); text != "" {
		seq, err := strconv.ParseInt(text, 10, 64)
		sum, badSum := hex.DecodeString(query.values.Get("chain"))
		if err != nil || badSum != nil || seq < 1 || len(sum) != len(mark.Chain) {
			return nil, invalid("seq and chain are not the number and the head of a proof")
		}
		mark = authority.AuditMark{Seq: seq, Chain: authority.Chain(sum)}
	}
	proof, err := h.authority.VerifyAudit(ctx, mark)
	if err != nil {
		return nil, err
	}
	return wire.AdminProof{
		Events: proof.Events, Unchained: proof.Unchained, First: proof.First, Last: proof.Last, Head: proof.Head.String(),
		Broken: proof.Broken, Problem: proof.Problem, Unproven: proof.Unproven, HeadTrimmed: proof.MarkTrimmed,
	}, nil
}

func (h *admin) clients(ctx context.Context, _ adminQuery) (any, error) {
	clients, err := h.authority.Clients(ctx)
	if err != nil {
		return nil, err
	}
	answer := wire.AdminClients{Clients: make([]wire.AdminClient, len(clients))}
	for i, client := range clients {
		answer.Clients[i] = AdminClientOf(client)
	}
	return answer, nil
}

// AdminClientOf returns an API client as operators see it.
func AdminClientOf(client authority.Client) wire.AdminClient {
	return wire.AdminClient{Key: client.Key, Label: client.Label, Revoked: client.Revoked,
		CreatedAt: client.CreatedAt, TokenIssuedAt: client.TokenIssuedAt}
}

func (h *admin) addClient(ctx context.Context, body wire.AdminLabel, origin authority.Origin) (any, error) {
	return credentials(h.authority.AddClient(ctx, body.Label, origin))
}

func (h *admin) rotateClient(ctx context.Context, body wire.AdminKey, origin authority.Origin) (any, error) {
	return credentials(h.authority.RotateClient(ctx, body.Key, origin))
}

func (h *admin) revokeClient(ctx context.Context, body wire.AdminKey, origin authority.Origin) (any, error) {
	return nil, h.authority.RevokeClient(ctx, body.Key, origin)
}

func credentials(made authority.Credentials, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return wire.AdminCredentials{Key: made.Key, Secret: made.Secret.Reveal()}, nil
}

func (h *admin) addUser(ctx context.Context, body wire.AdminPassword, origin authority.Origin) (any, error) {
	return told(body, func(password secret.Text) (secret.Text, error) {
		return h.authority.AddUser(ctx, body.Name, password, origin, body.Allow...)
	})
}

func (h *admin) allowUser(ctx context.Context, body wire.AdminAllow, origin authority.Origin) (any, error) {
	return nil, h.authority.SetAllow(ctx, body.Name, body.Allow, origin)
}

func (h *admin) setPassword(ctx context.Context, body wire.AdminPassword, origin authority.Origin) (any, error) {
	return told(body, func(password secret.Text) (secret.Text, error) {
		return h.authority.SetPassword(ctx, body.Name, password, origin)
	})
}

// told answers the password in force, if it is one that the caller does not know
// yet.
func told(body wire.AdminPassword, set func(secret.Text) (secret.Text, error)) (any, error) {
	password, err := set(secret.Text(body.Password))
	if err != nil {
		return nil, err
	}
	if body.Password == "" {
		return wire.AdminPassword{Name: body.Name, Password: password.Reveal()}, nil
	}
	return wire.AdminPassword{Name: body.Name}, nil
}
