package sqlstore

import (
	"context"
	"fmt"
)

// CacheRevision answers under which name the replicas keep copies of sessions in a
// cache with this history. A history names what a cache has come to know and
// forgotten since: one that was restored from an older state, or whose place was
// taken by another that lags, has another one. So whenever it is not the one that
// was seen last, the revision is another, too, and whatever the cache holds counts
// no more. Histories that come and go only cost copies.
func (db *Postgres) CacheRevision(ctx context.Context, history string) (string, error) {
	revision, known, err := int64(0), "", error(nil)
	scan := func(r row) error { return r.Scan(&revision, &known) }
	const query = `SELECT revision, history FROM caches WHERE name = 'sessions'`
	if err = db.query(ctx, scan, query); err == nil && known != history {
		err = db.write(ctx, func(t tx) error {
			if err := t.locked(scan, query); err != nil || known == history {
				return err
			}
			revision++
			_, err := t.exec(`UPDATE caches SET revision = ?, history = ? WHERE name = 'sessions'`, revision, history)
			return err
		})
	}
	return fmt.Sprintf("%s:%d", db.id, revision), err
}
