package postgres

import (
	"context"
	"errors"
	"slices"

	"github.com/latchkey/latchkey/internal/authority"
)

// AppendAudit implements authority.AuditStore. The trail has one end, which is
// locked while it is written, so that the events of a replica are written together.
func (db *DB) AppendAudit(ctx context.Context, events ...authority.Event) error {
	failed, err := db.trail.do(ctx, events)
	return errors.Join(err, failed)
}

// appendBatch appends the events of several callers in one transaction. If that fails, it
// appends those of each caller separately, so that no caller loses events because of
// another.
func (db *DB) appendBatch(ctx context.Context, all [][]authority.Event) ([]error, error) {
	failed := make([]error, len(all))
	err := db.Tables.AppendAudit(ctx, slices.Concat(all...)...)
	if err == nil || len(all) == 1 {
		return failed, err
	}
	for i, events := range all {
		failed[i] = db.Tables.AppendAudit(ctx, events...)
	}
	return failed, nil
}
