package admin

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/secret"
	"github.com/latchkey/latchkey/internal/wire"
)

// requestTimeout bounds the handling of one request.
const requestTimeout = 60 * time.Second

// NewHandler returns the handler of the administration API. store names the database of
// the authority. A nil log is slog.Default().
//
// Every caller may do everything, so only a socket that the file system protects may
// serve it. The audit trail records a request's RemoteAddr as the operator's address, and
// its header X-Request-Id as the request's ID.
func NewHandler(rules *authority.Authority, store Store, log *slog.Logger) http.Handler {
	h := &handler{authority: rules, store: store, log: log}
	if h.log == nil {
		h.log = slog.Default()
	}
	mux := http.NewServeMux()
	for path, read := range map[string]func(context.Context, query) (any, error){
		PathStore:       func(context.Context, query) (any, error) { return store, nil },
		PathUsers:       h.users,
		PathUser:        h.user,
		PathClients:     h.clients,
		PathSessions:    h.sessions,
		PathAudit:       h.audit,
		PathAuditVerify: h.verifyAudit,
	} {
		mux.HandleFunc("GET "+path, h.read(read))
	}
	for path, change := range map[string]http.HandlerFunc{
		PathUserAdd:      change(h, h.addUser),
		PathUserPassword: change(h, h.setPassword),
		PathUserAllow:    change(h, h.allowUser),
		PathUserRemove:   change(h, named(rules.RemoveUser)),
		PathUserLock:     change(h, named(rules.LockUser)),
		PathUserUnlock:   change(h, named(rules.UnlockUser)),
		PathUserDisable:  change(h, named(rules.DisableUser)),
		PathUserEnable:   change(h, named(rules.EnableUser)),
		PathUserEnd:      change(h, h.endUserSessions),
		PathClientAdd:    change(h, h.addClient),
		PathClientRotate: change(h, h.rotateClient),
		PathClientRevoke: change(h, h.revokeClient),
		PathSessionEnd:   change(h, h.endSession),
	} {
		mux.HandleFunc("POST "+path, change)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		write(w, http.StatusNotFound, ErrorBody{Error{
			CodeNotFound, "the server has no such operation; is it of another version than this command?",
		}})
	})
	return mux
}

// handler handles the administration API.
type handler struct {
	authority *authority.Authority
	store     Store
	log       *slog.Logger
}

// read returns the handler of an operation that changes nothing.
func (h *handler) read(do func(context.Context, query) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h.serve(w, r, func(ctx context.Context) (any, error) {
			q, err := parseQuery(r.URL.RawQuery)
			if err != nil {
				return nil, err
			}
			return do(ctx, q)
		})
	}
}

// change returns the handler of an operation that changes something. It calls do with
// the decoded body of the request.
func change[Body any](h *handler, do func(context.Context, Body, authority.Origin) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h.serve(w, r, func(ctx context.Context) (any, error) {
			var body Body
			if err := decode(http.MaxBytesReader(w, r.Body, wire.MaxRequestBodyBytes), &body); err != nil {
				return nil, err
			}
			return do(ctx, body, authority.Origin{Address: r.RemoteAddr, RequestID: r.Header.Get(wire.HeaderRequestID)})
		})
	}
}

// named adapts a change that needs a user's name and has no result.
func named(
	do func(context.Context, string, authority.Origin) error,
) func(context.Context, Name, authority.Origin) (any, error) {
	return func(ctx context.Context, body Name, origin authority.Origin) (any, error) {
		return nil, do(ctx, body.Name, origin)
	}
}

// serve writes the result of do, or its error.
func (h *handler) serve(w http.ResponseWriter, r *http.Request, do func(context.Context) (any, error)) {
	if id := r.Header.Get(HeaderStore); id != "" && id != h.store.ID {
		message := "the server has another database now: " + h.store.Name
		write(w, http.StatusConflict, ErrorBody{Error{CodeOtherStore, message}})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	result, err := do(ctx)
	switch {
	case err != nil:
		status, reported := errorOf(err)
		if status >= http.StatusInternalServerError {
			h.log.Warn("an admin request failed", "path", r.URL.Path, "error", err)
		}
		write(w, status, ErrorBody{reported})
	case result == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		write(w, http.StatusOK, result)
	}
}

// errorOf returns the status and the Error for an error of the authority.
func errorOf(err error) (int, Error) {
	var invalid *authority.InvalidError
	switch {
	case errors.As(err, &invalid):
		return http.StatusBadRequest, Error{CodeInvalid, invalid.Error()}
	case errors.Is(err, authority.ErrNotFound):
		return http.StatusNotFound, Error{CodeNotFound, "there is none of that name"}
	case errors.Is(err, authority.ErrExists):
		return http.StatusConflict, Error{CodeExists, "there is one of that name already"}
	}
	return http.StatusServiceUnavailable, Error{CodeUnavailable, err.Error()}
}

// write writes a response with a JSON body.
func write(w http.ResponseWriter, status int, body any) {
	text, err := wire.Marshal(body)
	if err != nil {
		panic("admin: a message does not marshal: " + err.Error())
	}
	w.Header().Set("Content-Type", wire.MediaTypeJSON)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(text) // an operator who disconnected needs no response
}

func (h *handler) users(ctx context.Context, q query) (any, error) {
	limit, err := q.limit()
	if err != nil {
		return nil, err
	}
	accounts, err := h.authority.Accounts(ctx, authority.UserQuery{After: q.Get("after"), Limit: limit})
	if err != nil {
		return nil, err
	}
	page := Users{Users: make([]User, len(accounts))}
	for i, account := range accounts {
		page.Users[i] = UserOf(account)
	}
	if len(accounts) == limit {
		page.Next = accounts[limit-1].Name
	}
	return page, nil
}

func (h *handler) user(ctx context.Context, q query) (any, error) {
	account, err := h.authority.Account(ctx, q.Get("name"))
	if err != nil {
		return nil, err
	}
	return UserOf(account), nil
}

func (h *handler) addUser(ctx context.Context, body Password, origin authority.Origin) (any, error) {
	return generated(body, func(password secret.Text) (secret.Text, error) {
		return h.authority.AddUser(ctx, body.Name, password, origin, body.Allow...)
	})
}

func (h *handler) setPassword(ctx context.Context, body Password, origin authority.Origin) (any, error) {
	return generated(body, func(password secret.Text) (secret.Text, error) {
		return h.authority.SetPassword(ctx, body.Name, password, origin)
	})
}

// generated sets a password and returns it if the request did not contain it.
func generated(body Password, set func(secret.Text) (secret.Text, error)) (any, error) {
	password, err := set(secret.Text(body.Password))
	if err != nil {
		return nil, err
	}
	if body.Password == "" {
		return Password{Name: body.Name, Password: password.Reveal()}, nil
	}
	return Password{Name: body.Name}, nil
}

func (h *handler) allowUser(ctx context.Context, body Allow, origin authority.Origin) (any, error) {
	return nil, h.authority.SetAllow(ctx, body.Name, body.Allow, origin)
}

func (h *handler) clients(ctx context.Context, _ query) (any, error) {
	clients, err := h.authority.Clients(ctx)
	if err != nil {
		return nil, err
	}
	list := APIClients{Clients: make([]APIClient, len(clients))}
	for i, client := range clients {
		list.Clients[i] = APIClientOf(client)
	}
	return list, nil
}

func (h *handler) addClient(ctx context.Context, body Label, origin authority.Origin) (any, error) {
	return credentials(h.authority.AddClient(ctx, body.Label, origin))
}

func (h *handler) rotateClient(ctx context.Context, body Key, origin authority.Origin) (any, error) {
	return credentials(h.authority.RotateClient(ctx, body.Key, origin))
}

func (h *handler) revokeClient(ctx context.Context, body Key, origin authority.Origin) (any, error) {
	return nil, h.authority.RevokeClient(ctx, body.Key, origin)
}

func credentials(made authority.Credentials, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return Credentials{Key: made.Key, Secret: made.Secret.Reveal()}, nil
}

func (h *handler) sessions(ctx context.Context, q query) (any, error) {
	limit, err := q.limit()
	if err != nil {
		return nil, err
	}
	wanted := authority.SessionQuery{User: q.Get("user"), Limit: limit}
	if wanted.Ended, err = q.flag("ended"); err != nil {
		return nil, err
	}
	if before := q.Get("before"); before != "" {
		last, err := h.authority.Sessions(ctx, authority.SessionQuery{ID: before, Ended: true})
		if err != nil {
			return nil, err
		}
		if len(last) == 0 {
			return nil, invalid("the session before this page no longer exists; list from the start")
		}
		wanted.Before = &last[0]
	}
	sessions, err := h.authority.Sessions(ctx, wanted)
	if err != nil {
		return nil, err
	}
	page := Sessions{Sessions: make([]Session, len(sessions))}
	for i, session := range sessions {
		page.Sessions[i] = sessionOf(session, h.authority.IdleAt(session))
	}
	if len(sessions) == limit {
		page.Next = sessions[limit-1].Key.ID()
	}
	return page, nil
}

func (h *handler) endSession(ctx context.Context, body ID, origin authority.Origin) (any, error) {
	return nil, h.authority.EndSession(ctx, body.ID, origin)
}

func (h *handler) endUserSessions(ctx context.Context, body Name, origin authority.Origin) (any, error) {
	n, err := h.authority.EndUserSessions(ctx, body.Name, origin)
	if err != nil {
		return nil, err
	}
	return Count{Count: n}, nil
}

func (h *handler) audit(ctx context.Context, q query) (any, error) {
	limit, err := q.limit()
	if err != nil {
		return nil, err
	}
	wanted := authority.AuditQuery{User: q.Get("user"), Client: q.Get("client"), Limit: limit}
	for _, kind := range q.Values["kind"] {
		if !slices.Contains(authority.EventKinds, authority.EventKind(kind)) {
			return nil, invalid("there are no events of the kind " + kind)
		}
		wanted.Kinds = append(wanted.Kinds, authority.EventKind(kind))
	}
	if wanted.Last, err = q.flag("last"); err != nil {
		return nil, err
	}
	if wanted.After, err = q.number("after"); err != nil {
		return nil, err
	}
	if wanted.Since, err = q.time("since"); err != nil {
		return nil, err
	}
	if wanted.Until, err = q.time("until"); err != nil {
		return nil, err
	}
	events, err := h.authority.AuditEvents(ctx, wanted)
	if err != nil {
		return nil, err
	}
	page := Events{Events: make([]Event, len(events))}
	for i, event := range events {
		page.Events[i] = EventOf(event)
	}
	return page, nil
}

func (h *handler) verifyAudit(ctx context.Context, q query) (any, error) {
	var mark authority.AuditMark
	if q.Get("seq") != "" {
		seq, err := q.number("seq")
		sum, badSum := hex.DecodeString(q.Get("chain"))
		if err != nil || badSum != nil || seq < 1 || len(sum) != len(mark.Chain) {
			return nil, invalid("seq and chain are not the number and the head of a proof")
		}
		mark = authority.AuditMark{Seq: seq, Chain: authority.Chain(sum)}
	}
	proof, err := h.authority.VerifyAudit(ctx, mark)
	if err != nil {
		return nil, err
	}
	return proofOf(proof), nil
}
