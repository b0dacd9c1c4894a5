package pgstate_test

import (
	"testing"

	"github.com/latchkey/latchkey/internal/enginetest"
	"github.com/latchkey/latchkey/keeper"
	"github.com/latchkey/latchkey/keeper/internal/replicatest"
	"github.com/latchkey/latchkey/keeper/pgstate"
)

func TestKeepersOfManyHosts(t *testing.T) {
	t.Parallel()
	replicatest.Keepers(t, func(t *testing.T) replicatest.Place {
		url := enginetest.Postgres(t)
		return replicatest.Place{Name: url, Open: func(t *testing.T) keeper.State { return open(t, url) }}
	})
}

func TestStoreConforms(t *testing.T) {
	url := enginetest.Postgres(t)
	open(t, url) // which makes the table
	pool := connect(t, url)
	replicatest.Store(t, pgstate.NewStore(pool, "zoe"), func() { expire(t, pool) })
}
