package sqlstore

import (
	"context"
	"fmt"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

// noCopies is the history of caches while nobody may rely on any, from the time that
// stands behind it on.
const noCopies = "none since %d"

// copiesGone is after how long nobody can have been relying on copies since before.
// It is much longer than a Lease.
const copiesGone = time.Second

// CacheRevision answers under which name the replicas keep copies of sessions in a
// cache with this history. A history names what a cache has come to know and
// forgotten since: one that was restored from an older state, or whose place was
// taken by another that lags, has another one. So whenever it is not the one that
// was seen last, the revision is another, too, and whatever the cache holds counts
// no more. Histories that come and go only cost copies.
func (db *Postgres) CacheRevision(ctx context.Context, history string) (string, error) {
	revision, err := db.setHistory(ctx, func(string) string { return history })
	return fmt.Sprintf("%s:%d", db.id, revision), err
}

// DropCopies has every replica rely on no copy from before, wherever it has them. It
// is for those who cannot tell the cache which copies are out of date: because it is
// away, or because they were not told of one that others use. It takes a Lease,
// unless nobody has a cache.
func (db *Postgres) DropCopies(ctx context.Context) error {
	wait := false
	_, err := db.setHistory(ctx, func(known string) string {
		var since int64
		switch n, _ := fmt.Sscanf(known, noCopies, &since); {
		case known == "":
			wait = false // there was never one
		case n == 1:
			wait = db.Now().Sub(moment(since)) < copiesGone
		default:
			wait = true
			return fmt.Sprintf(noCopies, db.Now().UnixMicro())
		}
		return known
	})
	if err != nil || !wait {
		return err
	}
	return waitLease(ctx)
}

// setHistory gives the cache the history that next answers to the known one, and
// raises the revision if that is another.
func (db *Postgres) setHistory(ctx context.Context, next func(known string) string) (revision int64, err error) {
	known := ""
	scan := func(r row) error { return r.Scan(&revision, &known) }
	const query = `SELECT revision, history FROM caches WHERE name = 'sessions'`
	if err := db.query(ctx, scan, query); err != nil || next(known) == known {
		return revision, err
	}
	err = db.write(ctx, func(t tx) error {
		if err := t.locked(scan, query); err != nil {
			return err
		}
		history := next(known)
		if history == known { // somebody else was faster
			return nil
		}
		revision++
		_, err := t.exec(`UPDATE caches SET revision = ?, history = ? WHERE name = 'sessions'`, revision, history)
		return err
	})
	return revision, err
}

// LiveSessions are the sessions that EndUserOnRecord would end.
func (db *Postgres) LiveSessions(ctx context.Context, user string, version int64, keep authority.SessionKey) (live []authority.SessionKey, err error) {
	err = db.query(ctx, func(r row) error {
		var key []byte
		err := r.Scan(&key)
		live = append(live, authority.SessionKey(key))
		return err
	}, `SELECT session_key FROM sessions WHERE user_name = ? AND ended_at = 0 AND password_version < ? AND session_key <> ?`, user, version, keep[:])
	return live, err
}
