package pgstate_test

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/latchkey/latchkey/internal/enginetest"
	"github.com/latchkey/latchkey/keeper"
	"github.com/latchkey/latchkey/keeper/statetest"
)

func TestStateConforms(t *testing.T) {
	statetest.Run(t, func(t *testing.T) statetest.Place {
		url := enginetest.Postgres(t)
		return place(t, url, url)
	})
}

// place is reached at url by the states, and directly by the hands of the test.
func place(t *testing.T, url, directly string) statetest.Place {
	byHand := connect(t, directly)
	return statetest.Place{
		Open:  func() keeper.State { return open(t, url) },
		Lose:  func() { expire(t, byHand) },
		Spoil: spoil(t, byHand),
	}
}

// expire has every lease be one that was not renewed in time.
func expire(t *testing.T, byHand *pgxpool.Pool) {
	t.Helper()
	change(t, byHand, `UPDATE latchkey_keeper_state SET held_until = clock_timestamp() - interval '1 second'`)
}

func spoil(t *testing.T, byHand *pgxpool.Pool) func() bool {
	ways := []string{
		`UPDATE latchkey_keeper_state
			SET sealed = set_byte(sealed, length(sealed) - 1, 255 - get_byte(sealed, length(sealed) - 1))`,
		`UPDATE latchkey_keeper_state SET sealed = substring(sealed FROM 1 FOR 20)`,
		`UPDATE latchkey_keeper_state SET sealed = '\x02'::bytea || sealed`,
		`UPDATE latchkey_keeper_state SET sealed = ''`,
	}
	return func() bool {
		if len(ways) == 0 {
			return false
		}
		change(t, byHand, ways[0])
		ways = ways[1:]
		return true
	}
}
