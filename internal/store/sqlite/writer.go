package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/latchkey/latchkey/internal/store"
)

// Bounds of the writer: how many changes one commit takes, and how many wait.
const (
	maxBatch   = 128
	maxWaiting = 4096
)

// errClosed is returned for changes after Close.
var errClosed = errors.New("the database is closed")

// writer is the one goroutine that changes the database. Changes that wait together are
// committed together: a durable commit costs the same for one change as for a hundred.
type writer struct {
	conn    *sql.Conn
	stmts   map[string]*sql.Stmt
	queue   chan *change
	closed  chan struct{} // closed by stop
	done    chan struct{} // closed when the goroutine has ended
	state   *writeState
	written bool // whether the open transaction has changed a row
}

// change is one atomic step. do must not keep the transaction. after runs after the commit
// and before the caller gets the result, even if the caller has left.
type change struct {
	ctx    context.Context //nolint:containedctx // a change that waits in the queue is skipped after its caller has left
	do     func(store.Tx) error
	after  func()
	err    error
	result chan error
}

// transaction is the open transaction.
type transaction struct{ w *writer }

var _ store.Tx = transaction{}

func startWriter(conn *sql.Conn, state *writeState) *writer {
	w := &writer{
		conn:   conn,
		stmts:  map[string]*sql.Stmt{},
		queue:  make(chan *change, maxWaiting),
		closed: make(chan struct{}),
		done:   make(chan struct{}),
		state:  state,
	}
	go w.loop()
	return w
}

// write runs do in a transaction of its own and returns when it is durable. If ctx ends
// first, write returns its error, and the change may happen, or be happening: callers read
// what do and after set only if write returns nil. An error of do leaves the database as it
// was.
func (w *writer) write(ctx context.Context, do func(store.Tx) error, after func()) error {
	c := &change{ctx: ctx, do: do, after: after, result: make(chan error, 1)}
	select {
	case <-w.closed:
		return errClosed
	default:
	}
	select {
	case w.queue <- c:
	case <-w.closed:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-c.result:
		return err
	case <-w.done:
		select {
		case err := <-c.result:
			return err
		default:
			return errClosed
		}
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stop writes the changes that wait, and returns when the goroutine has ended.
func (w *writer) stop() {
	close(w.closed)
	<-w.done
}

func (w *writer) loop() {
	defer close(w.done)
	for {
		select {
		case first := <-w.queue:
			w.commit(w.gather(first))
		case <-w.closed:
			for {
				select {
				case first := <-w.queue:
					w.commit(w.gather(first))
				default:
					return
				}
			}
		}
	}
}

func (w *writer) gather(first *change) []*change {
	batch := []*change{first}
	for len(batch) < maxBatch {
		select {
		case c := <-w.queue:
			batch = append(batch, c)
		default:
			return batch
		}
	}
	return batch
}

// commit runs a batch in one transaction, each change under a savepoint, so that a failure
// undoes only that change. On a full or failing disk SQLite may roll back the whole
// transaction: then no change of the batch has happened, the remaining ones do not run, and
// all of them return the error.
func (w *writer) commit(batch []*change) {
	err := w.transact(batch)
	refused := err
	for _, c := range batch {
		if refused == nil && isFault(c.err) {
			refused = c.err
		}
	}
	if refused != nil || w.written {
		w.state.note(refused)
	}
	for _, c := range batch {
		if err != nil {
			c.result <- fmt.Errorf("write database: %w", err)
			continue
		}
		if c.err == nil && c.after != nil {
			c.after()
		}
		c.result <- c.err
	}
}

// transact returns nil if the transaction was committed, without the changes that
// have an error. Otherwise nothing of it was.
func (w *writer) transact(batch []*change) error {
	w.written = false
	if err := w.exec("BEGIN IMMEDIATE"); err != nil {
		_ = w.exec("ROLLBACK") // of an earlier transaction, if one is still open
		return err
	}
	for _, c := range batch {
		if c.err = c.ctx.Err(); c.err != nil {
			continue
		}
		if err := w.step(c); err != nil {
			_ = w.exec("ROLLBACK") // in most cases there is no transaction anymore
			return err
		}
	}
	err := w.exec("COMMIT")
	if err != nil {
		_ = w.exec("ROLLBACK") // as above
	}
	return err
}

// step runs a change under a savepoint and sets its error. It returns an error if the
// savepoint is lost, and with it the transaction: the first of SQLite that there was.
func (w *writer) step(c *change) error {
	if err := w.exec("SAVEPOINT step"); err != nil {
		return err
	}
	if c.err = plain(c.do(transaction{w})); c.err != nil {
		if err := w.exec("ROLLBACK TO step"); err != nil {
			if isFault(c.err) {
				err = c.err
			}
			return err
		}
	}
	return w.exec("RELEASE step")
}

func (w *writer) exec(query string) error {
	_, err := transaction{w}.Exec(query)
	return plain(err)
}

// stmt prepares each query once.
func (t transaction) stmt(query string) (*sql.Stmt, error) {
	if s := t.w.stmts[query]; s != nil {
		return s, nil
	}
	s, err := t.w.conn.PrepareContext(context.Background(), query)
	if err == nil {
		t.w.stmts[query] = s
	}
	return s, err
}

// Exec implements store.Tx.
func (t transaction) Exec(query string, arguments ...any) (int64, error) {
	s, err := t.stmt(query)
	if err != nil {
		return 0, err
	}
	result, err := s.ExecContext(context.Background(), arguments...)
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	t.w.written = t.w.written || n > 0
	return n, err
}

// Query implements store.Tx.
func (t transaction) Query(scan func(store.Row) error, query string, arguments ...any) error {
	s, err := t.stmt(query)
	if err != nil {
		return err
	}
	rows, err := s.QueryContext(context.Background(), arguments...)
	if err != nil {
		return err
	}
	return each(rows, scan)
}

// QueryLocked implements store.Tx. There is no other writer.
func (t transaction) QueryLocked(scan func(store.Row) error, query string, arguments ...any) error {
	return t.Query(scan, query, arguments...)
}

func each(rows *sql.Rows, scan func(store.Row) error) error {
	defer rows.Close() // Err tells
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
