package admin_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/admin"
	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/store/sqlite"
)

// inProcess returns a client of a new database in memory.
func inProcess(t *testing.T) *admin.Client {
	t.Helper()
	ctx := context.Background()
	db, err := sqlite.Open(ctx, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close(ctx) })
	rules, err := authority.New(authority.Config{
		Stores: db.Stores(), Key: make([]byte, 32), Hash: authority.HashParams{MemoryKiB: 64, Passes: 1, Lanes: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	handler := admin.NewHandler(rules, admin.Store{Name: "memory", ID: "memory"}, slog.New(slog.DiscardHandler))
	return admin.NewInProcessClient(handler, admin.Operator())
}

func must[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func TestClientHasAMethodForEachOperation(t *testing.T) {
	c, ctx := inProcess(t), t.Context()
	if made := must[admin.Password](t)(c.AddUser(ctx, admin.Password{Name: "zoe"})); len(made.Password) != 20 {
		t.Errorf("AddUser returned %+v, want a generated password", made)
	}
	chosen := must[admin.Password](t)(c.SetPassword(ctx, admin.Password{Name: "zoe", Password: "correct-horse"}))
	if chosen.Password != "" {
		t.Errorf("SetPassword returned the given password: %+v", chosen)
	}
	for name, change := range map[string]func(context.Context, string) error{
		"LockUser": c.LockUser, "DisableUser": c.DisableUser,
	} {
		if err := change(ctx, "zoe"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c.SetAllow(ctx, "zoe", []string{"GET /api/x"}); err != nil {
		t.Error(err)
	}
	user := must[admin.User](t)(c.User(ctx, "zoe"))
	if !user.Disabled || !user.LockedByOperator || len(user.Allow) != 1 {
		t.Errorf("the user is %+v", user)
	}
	if err := errors.Join(c.UnlockUser(ctx, "zoe"), c.EnableUser(ctx, "zoe")); err != nil {
		t.Error(err)
	}
	if users := must[admin.Users](t)(c.Users(ctx, "", 1)); len(users.Users) != 1 || users.Next != "zoe" {
		t.Errorf("the page is %+v", users)
	}
	made := must[admin.Credentials](t)(c.AddAPIClient(ctx, "billing"))
	if rotated := must[admin.Credentials](t)(c.RotateAPIClient(ctx, made.Key)); rotated.Secret == made.Secret {
		t.Error("RotateAPIClient kept the secret")
	}
	if err := c.RevokeAPIClient(ctx, made.Key); err != nil {
		t.Error(err)
	}
	if clients := must[[]admin.APIClient](t)(c.APIClients(ctx)); len(clients) != 1 || !clients[0].Revoked {
		t.Errorf("the API clients are %+v", clients)
	}
	query := admin.SessionQuery{User: "zoe", Ended: true, Limit: 10}
	if page := must[admin.Sessions](t)(c.Sessions(ctx, query)); len(page.Sessions) != 0 {
		t.Errorf("the sessions are %+v", page)
	}
	if ended := must[int](t)(c.EndUserSessions(ctx, "zoe")); ended != 0 {
		t.Errorf("%d sessions ended", ended)
	}
	var reported *admin.Error
	if err := c.EndSession(ctx, "none"); !errors.As(err, &reported) || reported.Code != admin.CodeNotFound {
		t.Errorf("EndSession: %v", err)
	}
	if err := c.RemoveUser(ctx, "zoe"); err != nil {
		t.Error(err)
	}
	lockedOnly := admin.EventQuery{User: "zoe", Kinds: []string{"locked"}, Last: true, Limit: 5}
	events := must[[]admin.Event](t)(c.Events(ctx, lockedOnly))
	if len(events) != 1 || events[0].Address != admin.Operator() || events[0].RequestID == "" {
		t.Errorf("the events are %+v", events)
	}
	proof := must[admin.Proof](t)(c.VerifyAudit(ctx, 0, ""))
	if proof.Broken != 0 || proof.Events < 9 {
		t.Errorf("the proof is %+v", proof)
	}
	if again := must[admin.Proof](t)(c.VerifyAudit(ctx, proof.Last, proof.Head)); again.Broken != 0 {
		t.Errorf("the proof with a head is %+v", again)
	}
	if store := must[admin.Store](t)(c.Store(ctx)); store.Name != "memory" {
		t.Errorf("the store is %+v", store)
	}
	_, err := c.Only(admin.Store{ID: "other"}).Store(ctx)
	if !errors.As(err, &reported) || reported.Code != admin.CodeOtherStore {
		t.Errorf("a request for another store: %v", err)
	}
}

func TestInProcessClientReturnsTheErrorOfItsContext(t *testing.T) {
	called := false
	ctx, cancel := context.WithCancel(t.Context())
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		called = true
		cancel()
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	_, err := admin.NewInProcessClient(handler, "test").Store(ctx)
	if !called || !errors.Is(err, context.Canceled) {
		t.Errorf("called: %v, error: %v", called, err)
	}
}

func TestClientNamesTheSocketWithoutAServer(t *testing.T) {
	_, err := admin.NewClient(t.TempDir()+"/none.sock").Users(t.Context(), "", 0)
	if err == nil || !strings.Contains(err.Error(), "none.sock") || strings.Contains(err.Error(), "http://") {
		t.Errorf("a call without a server: %v", err)
	}
}
