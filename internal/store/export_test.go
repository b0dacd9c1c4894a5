package store

import "context"

// CountFolded counts the strikes that are folded.
func CountFolded(ctx context.Context, db *Tables) (n int, err error) {
	err = db.engine.Query(ctx, func(r Row) error { return r.Scan(&n) }, `SELECT count(*) FROM folded_strikes`)
	return n, err
}

// TrimFolded trims every part of the folded strikes to a share.
func TrimFolded(ctx context.Context, db *Tables, share int) error {
	return db.engine.Write(ctx, func(t Tx) error {
		for part := range int64(foldedParts) {
			if err := trimFolded(t, share, part); err != nil {
				return err
			}
		}
		return nil
	})
}
