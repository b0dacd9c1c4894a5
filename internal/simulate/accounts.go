package simulate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/latchkey/latchkey/internal/admin"
	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/secret"
	"github.com/latchkey/latchkey/internal/wire"
)

// maxUsers is the largest number of users in one response.
const maxUsers = 1000

func (s *Service) showUsers(ctx context.Context, r *http.Request) (any, error) {
	query := r.URL.Query()
	limit := maxUsers
	if text := query.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxUsers {
			return nil, bad(fmt.Errorf("limit is not between 1 and %d", maxUsers))
		}
		limit = n
	}
	var accounts []authority.Account
	err := s.With(func(a *authority.Authority) (err error) {
		accounts, err = a.Accounts(ctx, authority.UserQuery{After: query.Get("after"), Limit: limit})
		return err
	})
	answer := admin.Users{Users: make([]admin.User, len(accounts))}
	for i, account := range accounts {
		answer.Users[i] = admin.UserOf(account)
	}
	if len(accounts) == limit {
		answer.Next = accounts[limit-1].Name
	}
	return answer, err
}

func (s *Service) addUser(ctx context.Context, r *http.Request) (any, error) {
	return nil, change(s, r, func(a *authority.Authority, body wire.SimulatePassword) error {
		if body.Password == "" {
			return bad(errors.New("the password is empty"))
		}
		return a.AddKnownUser(ctx, body.Name, secret.Text(body.Password), origin)
	})
}

func (s *Service) removeUser(ctx context.Context, r *http.Request) (any, error) {
	return nil, s.With(func(a *authority.Authority) error { return a.RemoveUser(ctx, r.URL.Query().Get("name"), origin) })
}

func (s *Service) setPassword(ctx context.Context, r *http.Request) (any, error) {
	return nil, change(s, r, func(a *authority.Authority, body wire.SimulatePassword) error {
		if body.Password == "" {
			return bad(errors.New("the password is empty"))
		}
		_, err := a.SetPassword(ctx, body.Name, secret.Text(body.Password), origin)
		return err
	})
}

func (s *Service) setStrikes(ctx context.Context, r *http.Request) (any, error) {
	return nil, change(s, r, func(a *authority.Authority, body wire.SimulateStrikes) error {
		if body.Failures < 0 || body.Failures > a.Policy().LockAfter {
			return bad(fmt.Errorf("failures is not between 0 and %d, which lock", a.Policy().LockAfter))
		}
		return a.SetFailures(ctx, body.Name, body.Failures, origin)
	})
}

func (s *Service) showClients(ctx context.Context, _ *http.Request) (any, error) {
	answer := admin.APIClients{Clients: []admin.APIClient{}}
	err := s.With(func(a *authority.Authority) error {
		clients, err := a.Clients(ctx)
		for _, client := range clients {
			answer.Clients = append(answer.Clients, admin.APIClientOf(client))
		}
		return err
	})
	return answer, err
}

func (s *Service) addClient(ctx context.Context, r *http.Request) (any, error) {
	return nil, change(s, r, func(a *authority.Authority, body admin.Credentials) error {
		if body.Secret == "" {
			return bad(errors.New("the secret is empty"))
		}
		return a.AddKnownClient(ctx, "simulation", authority.Credentials{Key: body.Key, Secret: secret.Text(body.Secret)},
			origin)
	})
}

func (s *Service) removeClient(ctx context.Context, r *http.Request) (any, error) {
	return nil, s.With(func(a *authority.Authority) error { return a.RevokeClient(ctx, r.URL.Query().Get("key"), origin) })
}
