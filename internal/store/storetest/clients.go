package storetest

import (
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

func clients(t *testing.T, s authority.Stores) {
	ctx := t.Context()
	c := authority.Client{
		ID: authority.ClientID{1}, Key: "b", SecretHash: sha256.Sum256([]byte("s")), Label: "label", CreatedAt: start,
	}
	must(t, s.Clients.CreateClient(ctx, c))
	wantError(t, s.Clients.CreateClient(ctx, c), authority.ErrExists)
	got, err := s.Clients.Client(ctx, c.ID)
	must(t, err)
	equal(t, "a client", got, c)
	_, err = s.Clients.Client(ctx, authority.ClientID{2})
	wantError(t, err, authority.ErrNotFound)
	must(t, s.Clients.CreateClient(ctx, authority.Client{ID: authority.ClientID{2}, Key: "a", CreatedAt: start}))
	many(20, func(int) {
		if _, err := s.Clients.UpdateClient(ctx, c.ID, func(c *authority.Client) error {
			c.TokenSerial++
			c.TokenIssuedAt = start.Add(time.Duration(c.TokenSerial) * time.Microsecond)
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
	c.TokenSerial, c.TokenIssuedAt = 20, start.Add(20*time.Microsecond)
	got, err = s.Clients.Client(ctx, c.ID)
	must(t, err)
	equal(t, "a changed client", got, c)
	stop := errors.New("stop")
	_, err = s.Clients.UpdateClient(ctx, c.ID, func(c *authority.Client) error { c.Revoked = true; return stop })
	wantError(t, err, stop)
	_, err = s.Clients.UpdateClient(ctx, authority.ClientID{3}, func(*authority.Client) error { return nil })
	wantError(t, err, authority.ErrNotFound)
	all, err := s.Clients.Clients(ctx)
	must(t, err)
	equal(t, "the number of clients", len(all), 2)
	equal(t, "the first client", all[0].Key, "a")
	equal(t, "the second client", all[1], c)
}
