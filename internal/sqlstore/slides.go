package sqlstore

import (
	"context"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

// A few shards are looked at every tick, so that the writing of slides is spread
// evenly: a burst would be felt by whoever checks a session meanwhile. All shards
// have their turn every four seconds.
const (
	slideTick     = 250 * time.Millisecond
	shardsPerTick = 16
	slideBatch    = 500
	settleBudget  = 5 * time.Second
)

// slide is a last_used that is to be written.
type slide struct {
	key     authority.SessionKey
	written int64
}

// flushSlides keeps last_used ahead of the last use of every session.
func (db *DB) flushSlides(ctx context.Context) {
	tick := time.NewTicker(slideTick)
	defer tick.Stop()
	sound := false // whether everything of the round so far was written
	for at := 0; ; at = (at + shardsPerTick) % len(db.sessions.shards) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if at == 0 {
			if sound {
				if err := db.uses.turn(); err != nil && db.saidUses.due(time.Now()) {
					db.log.Error("the log of uses could not be cleared; it is tried again soon", "error", plain(err))
				}
			}
			sound = true
		}
		for i := at; i < at+shardsPerTick; i++ {
			err := db.writeSlides(ctx, db.sessions.shards[i].slides(db.ahead.Microseconds()))
			if sound = sound && err == nil; err != nil && ctx.Err() == nil && db.saidUses.due(time.Now()) {
				db.log.Error("the last use of sessions could not be stored; it is tried again soon, and a crash before then may expire them early", "error", err)
			}
		}
	}
}

// slides returns what is to be written of a shard: sessions whose last use has
// come within a fifth of ahead of what the table says, or lies so far before it that
// a clock was put back. With ahead zero, all whose last use is not what the table says.
func (s *shard) slides(ahead int64) []slide {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var due []slide
	for key, place := range s.index {
		e := s.at(place)
		last := e.lastUsed.Load()
		if last < 0 {
			continue // dead, and about to be swept
		}
		if ahead > 0 && (last+ahead/5 > e.written || e.written-last > ahead+clockSlack.Microseconds()) || ahead == 0 && last != e.written {
			due = append(due, slide{key, last + ahead})
		}
	}
	return due
}

func (db *DB) writeSlides(ctx context.Context, due []slide) error {
	for len(due) > 0 {
		batch := due[:min(len(due), slideBatch)]
		due = due[len(batch):]
		err := db.writer.write(ctx, func(t tx) error {
			for _, s := range batch {
				if _, err := t.exec(`UPDATE sessions SET last_used = ? WHERE session_key = ? AND ended_at = 0`, s.written, s.key[:]); err != nil {
					return err
				}
			}
			return nil
		}, func() {
			for _, s := range batch {
				db.sessions.written(s)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *resident) written(s slide) {
	shard := r.shard(s.key)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if place, ok := shard.index[s.key]; ok {
		shard.at(place).written = s.written
	}
}

// lastUsed answers the exact last use of a session that is in the index.
func (r *resident) lastUsed(key authority.SessionKey) (int64, bool) {
	s := r.shard(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	place, ok := s.index[key]
	if !ok {
		return 0, false
	}
	last := s.at(place).lastUsed.Load()
	return max(last, -last), true
}

// settleSlides writes the exact last uses, for as long as there is time. Those
// that are left keep the value that was written ahead.
func (db *DB) settleSlides(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleBudget)
	defer cancel()
	for i := range db.sessions.shards {
		if err := db.writeSlides(ctx, db.sessions.shards[i].slides(0)); err != nil {
			if ctx.Err() != nil {
				return nil // what is left is on the safe side
			}
			return err
		}
	}
	return nil
}
