package server

import (
	"context"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/wire"
)

func (h *admin) users(ctx context.Context, query adminQuery) (any, error) {
	limit, err := query.limit()
	if err != nil {
		return nil, err
	}
	accounts, err := h.authority.Accounts(ctx, authority.UserQuery{After: query.values.Get("after"), Limit: limit})
	if err != nil {
		return nil, err
	}
	answer := wire.AdminUsers{Users: make([]wire.AdminUser, len(accounts))}
	for i, account := range accounts {
		answer.Users[i] = AdminUser(account)
	}
	if len(accounts) == limit {
		answer.Next = accounts[limit-1].Name
	}
	return answer, nil
}

func (h *admin) user(ctx context.Context, query adminQuery) (any, error) {
	account, err := h.authority.Account(ctx, query.values.Get("name"))
	if err != nil {
		return nil, err
	}
	return AdminUser(account), nil
}

// AdminUser returns an account as operators see it.
func AdminUser(account authority.Account) wire.AdminUser {
	return wire.AdminUser{
		Name: account.Name, Disabled: account.Disabled,
		Failures: account.Strikes.Failures, LockedAt: account.Strikes.LockedAt, LockedByOperator: account.Strikes.Manual,
		PasswordChangedAt: account.PasswordChangedAt, CreatedAt: account.CreatedAt,
		Allow: account.AllowRules(),
	}
}

func (h *admin) sessions(ctx context.Context, query adminQuery) (any, error) {
	limit, err := query.limit()
	if err != nil {
		return nil, err
	}
	q := authority.SessionQuery{User: query.values.Get("user"), Limit: limit}
	if q.Ended, err = query.flag("ended"); err != nil {
		return nil, err
	}
	if before := query.values.Get("before"); before != "" {
		last, err := h.authority.Sessions(ctx, authority.SessionQuery{ID: before, Ended: true})
		if err != nil {
			return nil, err
		}
		if len(last) == 0 {
			return nil, invalid("the session that this page should start behind is gone; list from the start")
		}
		q.Before = &last[0]
	}
	sessions, err := h.authority.Sessions(ctx, q)
	if err != nil {
		return nil, err
	}
	answer := wire.AdminSessions{Sessions: make([]wire.AdminSession, len(sessions))}
	for i, session := range sessions {
		answer.Sessions[i] = wire.AdminSession{
			ID: session.Key.ID(), User: session.User, Client: session.Client, Address: session.Address,
			CreatedAt: session.CreatedAt, LastUsedAt: session.LastUsedAt, IdleAfter: h.authority.IdleAt(session), ExpiresAt: session.ExpiresAt,
			EndedAt: session.End.At, EndReason: string(session.End.Reason), EndedBy: session.End.By,
		}
	}
	if len(sessions) == limit {
		answer.Next = sessions[limit-1].Key.ID()
	}
	return answer, nil
}

func (h *admin) endSession(ctx context.Context, body wire.AdminID, origin authority.Origin) (any, error) {
	return nil, h.authority.EndSession(ctx, body.ID, origin)
}

func (h *admin) endUserSessions(ctx context.Context, body wire.AdminName, origin authority.Origin) (any, error) {
	n, err := h.authority.EndUserSessions(ctx, body.Name, origin)
	if err != nil {
		return nil, err
	}
	return wire.AdminCount{Count: n}, nil
}
