package sqlite

import (
	"context"
	"time"

	"github.com/latchkey/latchkey/internal/store"
	"github.com/latchkey/latchkey/internal/store/sessionindex"
)

// Each tick writes the last uses of a few shards, so that the writes are spread evenly: a
// burst would delay session checks. A round over all shards takes four seconds.
const (
	flushTick     = 250 * time.Millisecond
	shardsPerTick = 16
	lastUseBatch  = 500
	settleBudget  = 5 * time.Second
)

// flushLastUses keeps last_used ahead of the last use of every session, until ctx ends.
func (db *DB) flushLastUses(ctx context.Context) {
	tick := time.NewTicker(flushTick)
	defer tick.Stop()
	sound := false // whether the round has written everything so far
	for at := 0; ; at = (at + shardsPerTick) % sessionindex.Shards {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if at == 0 {
			if sound {
				if err := db.uses.turn(); err != nil && db.saidUses.due(time.Now()) {
					db.log.Error("the log of uses could not be cleared; the next round tries again", "error", plain(err))
				}
			}
			sound = true
		}
		for i := at; i < at+shardsPerTick; i++ {
			err := db.writeLastUses(ctx, db.sessions.Unwritten(i, db.ahead.Microseconds()))
			if sound = sound && err == nil; err != nil && ctx.Err() == nil && db.saidUses.due(time.Now()) {
				db.log.Error("the last use of sessions could not be stored; the next round tries again, "+
					"and a crash before then may expire them early", "error", err)
			}
		}
	}
}

func (db *DB) writeLastUses(ctx context.Context, due []sessionindex.LastUse) error {
	for len(due) > 0 {
		batch := due[:min(len(due), lastUseBatch)]
		due = due[len(batch):]
		err := db.writer.write(ctx, func(t store.Tx) error {
			for _, s := range batch {
				_, err := t.Exec(`UPDATE sessions SET last_used = ? WHERE session_key = ? AND ended_at = 0`, s.At, s.Key[:])
				if err != nil {
					return err
				}
			}
			return nil
		}, func() {
			for _, s := range batch {
				db.sessions.SetWritten(s)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// settleLastUses writes the exact last uses, as long as there is time. The others keep the
// value that was written ahead.
func (db *DB) settleLastUses(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleBudget)
	defer cancel()
	for i := range sessionindex.Shards {
		if err := db.writeLastUses(ctx, db.sessions.Unwritten(i, 0)); err != nil {
			if ctx.Err() != nil {
				return nil // the others are later than the last use, which is safe
			}
			return err
		}
	}
	return nil
}
