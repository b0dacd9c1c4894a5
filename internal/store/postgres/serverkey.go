package postgres

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"

	"github.com/latchkey/latchkey/internal/store"
)

// ErrOtherKey is returned for a server key that is not that of the other replicas.
var ErrOtherKey = errors.New("the server key is not the one that the other replicas have")

// AgreeOnKey makes all replicas use one server key: the first replica sets it, and others get
// ErrOtherKey for another one. What is stored reveals nothing about the key.
func (db *DB) AgreeOnKey(ctx context.Context, key []byte) error {
	mine := keySum(key)
	agreed, err := db.agree(ctx, "server-key", mine[:])
	if err != nil {
		return db.cannot("get the server key of", err)
	}
	if subtle.ConstantTimeCompare(mine[:], agreed) != 1 {
		return ErrOtherKey
	}
	return nil
}

// ReplaceKey sets another server key. It has no effect on replicas that are running.
func (db *DB) ReplaceKey(ctx context.Context, key []byte) error {
	mine := keySum(key)
	if _, err := db.engine.exec(ctx, `INSERT INTO shared_settings (name, value) VALUES ('server-key', ?)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`, mine[:]); err != nil {
		return db.cannot("set the server key of", err)
	}
	return nil
}

func keySum(key []byte) [sha256.Size]byte {
	return sha256.Sum256(append([]byte("latchkey server key\x00"), key...))
}

// agree returns the setting that all replicas share under a name: the first proposal.
func (db *DB) agree(ctx context.Context, name string, proposal []byte) (agreed []byte, err error) {
	err = db.engine.Write(ctx, func(t store.Tx) error {
		_, err := t.Exec(`INSERT INTO shared_settings (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING`, name, proposal)
		if err != nil {
			return err
		}
		return t.Query(func(r store.Row) error { return r.Scan(&agreed) },
			`SELECT value FROM shared_settings WHERE name = ?`, name)
	})
	return agreed, err
}
