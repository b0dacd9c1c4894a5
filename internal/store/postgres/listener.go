package postgres

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/store"
)

const (
	beatEvery   = 30 * time.Millisecond  // so that two may be late before a session is looked up in the database
	beatRetry   = 250 * time.Millisecond // after one that could not be sent
	beatTimeout = time.Second
	// beatsAfterUse is for how long heartbeats are sent after a session was checked.
	beatsAfterUse = time.Second
	// beatLifetime is for how long heartbeats use one connection. A new one goes to
	// where the URL leads then, which after a failover may be another server.
	beatLifetime = time.Minute
	// deaf is after how long without a heartbeat the connection is replaced.
	deaf           = time.Second
	firstReconnect = 100 * time.Millisecond
	lastReconnect  = 5 * time.Second
)

// listener keeps a sessionCache up to date. It has a connection of its own, on which the
// database notifies it of everything that invalidates a session or an API client, and sends
// heartbeats, which have to come back over that connection.
//
// Heartbeats are sent over other connections, to the URL where sessions are looked up and
// ended. So a listening connection to another server or database is never trusted: no
// heartbeat comes back over it. The database sends a heartbeat only while the triggers exist
// that send the other notifications.
type listener struct {
	cache  *sessionCache
	config *pgconn.Config
	beats  *pgxpool.Pool
	// prepare makes the database send notifications, and returns the triggers that do.
	prepare func(context.Context) (string, error)
	log     *slog.Logger
	logged  string // the last message
}

// newListener returns a listener for the database at listenURL, or at config if that is empty.
func (db *DB) newListener(ctx context.Context, config *pgxpool.Config, listenURL string) (*listener, error) {
	l := &listener{cache: db.cache, config: config.ConnConfig.Config.Copy(), prepare: db.prepareNotifications, log: db.log}
	if listenURL != "" {
		listen, err := pgxpool.ParseConfig(listenURL)
		if err != nil {
			return nil, &store.OpenError{Action: "parse listening URL of", Database: RedactURL(listenURL),
				Err: errors.New(plainly(err)), Advice: urlAdvice}
		}
		l.config = listen.ConnConfig.Config.Copy()
		l.config.ConnectTimeout = connectTimeout
		if l.config.RuntimeParams["application_name"] == "" {
			l.config.RuntimeParams["application_name"] = "latchkey"
		}
	}
	beats := config.Copy()
	beats.MaxConns, beats.MinConns, beats.MinIdleConns, beats.MaxConnLifetime = 1, 0, 0, beatLifetime
	var err error
	l.beats, err = pgxpool.NewWithConfig(ctx, beats)
	return l, err
}

// run listens until ctx ends.
func (l *listener) run(ctx context.Context) {
	defer l.beats.Close()
	for pause := firstReconnect; ; pause = min(2*pause, lastReconnect) {
		err := l.listen(ctx)
		if l.cache.beat.Load() != nil {
			pause = firstReconnect // it was good for a time
		}
		l.cache.distrust()
		if ctx.Err() != nil {
			return
		}
		l.report(err)
		if !l.wait(ctx, pause) {
			return
		}
	}
}

// report logs when caching of sessions starts or stops, and why.
func (l *listener) report(err error) {
	text := ""
	if err != nil {
		text = plainly(err)
	}
	if text == l.logged {
		return
	}
	if l.logged = text; err == nil {
		l.log.Info("sessions are cached; the database notifies this replica when one ends")
		return
	}
	attributes := []any{"error", text}
	var hinted *hintedError
	if errors.As(err, &hinted) {
		attributes = append(attributes, "hint", hinted.hint)
	}
	l.log.Warn("sessions are not cached for now; every check queries the database", attributes...)
}

// hintedError is an error with advice.
type hintedError struct{ text, hint string }

func (e *hintedError) Error() string { return e.text }

// Hint returns what to do.
func (e *hintedError) Hint() string { return e.hint }

var (
	errPooler error = &hintedError{
		"a connection pooler is between this replica and the database, and does not pass notifications on",
		"name the database itself with --database-listen",
	}
	errDeaf = errors.New("heartbeats do not come back over the listening connection")
	// errOtherTriggers means that a restore, or an operator, replaced the table.
	errOtherTriggers = errors.New("the triggers on sessions were removed, disabled or made again")
)

// channel is what heartbeats of one connection are sent over.
type channel struct {
	name     string
	key      []byte // of the seals: other programs can send to the channel as well
	triggers string // of the database when the connection was made
}

func newChannel() *channel {
	return &channel{name: "latchkey_" + hex.EncodeToString(randomBytes(8)), key: randomBytes(32)}
}

// payload returns the text of a heartbeat that is sent at a time of the cache's clock.
func (c *channel) payload(sent time.Duration) string {
	at := strconv.FormatInt(int64(sent), 10)
	mac := hmac.New(sha256.New, c.key)
	mac.Write([]byte(at))
	return at + " " + hex.EncodeToString(mac.Sum(nil))
}

// sent returns when a heartbeat was sent, if payload made its text.
func (c *channel) sent(payload string) (time.Duration, bool) {
	text, _, _ := strings.Cut(payload, " ")
	at, err := strconv.ParseInt(text, 10, 64)
	return time.Duration(at), err == nil && hmac.Equal([]byte(payload), []byte(c.payload(time.Duration(at))))
}

// listen uses one connection for as long as it is good.
func (l *listener) listen(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	config := l.config.Copy()
	own := newChannel()
	config.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) { l.notified(own, n) }
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), beatTimeout)
		defer cancel()
		_ = conn.Close(ctx) // it is not needed anymore
	}()
	if err := l.subscribe(ctx, conn, own); err != nil {
		return err
	}
	// What is read from the database from here on stays in the cache no longer than
	// until the notification of its end.
	l.cache.forgetAll()
	beating := make(chan error, 1)
	go func() {
		defer cancel() // which ends the wait for notifications
		beating <- l.beat(ctx, own)
	}()
	for err == nil {
		err = conn.WaitForNotification(ctx)
	}
	cancel()
	if stopped := <-beating; stopped != nil {
		return stopped
	}
	return err
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // it cannot fail
	return b
}

// subscribe prepares the database and the connection.
func (l *listener) subscribe(ctx context.Context, conn *pgconn.PgConn, own *channel) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	result := conn.ExecParams(ctx, "SELECT pg_backend_pid()", nil, nil, nil, nil).Read()
	if result.Err != nil {
		return result.Err
	}
	// A pooler returns a process ID of its own.
	if len(result.Rows) != 1 || string(result.Rows[0][0]) != strconv.FormatUint(uint64(conn.PID()), 10) {
		return errPooler
	}
	// A replica that died or was stopped must not block the queue of notifications, and one
	// that is running is idle as long as no session ends. Not every server and platform has
	// these settings.
	_ = conn.Exec(ctx, "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; "+
		"SET tcp_keepalives_count = 3; SET tcp_user_timeout = 30000").Close()
	_ = conn.Exec(ctx, "SET idle_session_timeout = 0").Close()
	if err := conn.Exec(ctx, "LISTEN "+notifyChannel+"; LISTEN "+own.name).Close(); err != nil {
		return err
	}
	var err error
	own.triggers, err = l.prepare(ctx)
	return err
}

// notified applies a notification.
func (l *listener) notified(own *channel, n *pgconn.Notification) {
	if n.Channel == own.name {
		sent, ok := own.sent(n.Payload)
		// One that was overtaken, or was repeated by another program, is ignored.
		if last := l.cache.beat.Load(); ok && (last == nil || sent > last.sent) {
			l.cache.beat.Store(&heartbeat{sent: sent, back: l.cache.clock()})
		}
		return
	}
	var key authority.SessionKey
	switch {
	case n.Payload == clientsChanged:
		l.cache.clients.Add(1)
	case len(n.Payload) == hex.EncodedLen(len(key)):
		if _, err := hex.Decode(key[:], []byte(n.Payload)); err == nil {
			l.cache.forget(key)
			return
		}
		fallthrough
	default: // everything, or a payload of another version
		l.cache.forgetAll()
	}
}

// beat sends heartbeats while sessions are checked, until ctx ends, none has come back for too
// long, or the database would not notify this replica of an end. A heartbeat carries the time
// at which it was sent.
func (l *listener) beat(ctx context.Context, own *channel) error {
	used := l.cache.clock() // when a session was last checked, about
	alive := used           // when a heartbeat last came back, or sending began
	for {
		pause := beatEvery
		sent := l.cache.clock()
		sending, cancel := context.WithTimeout(ctx, beatTimeout)
		tag, err := l.beats.Exec(sending, "SELECT pg_notify($1, $2) WHERE ("+triggersAre+") = $3",
			own.name, own.payload(sent), own.triggers)
		cancel()
		switch {
		case err != nil:
			pause = beatRetry // it may come back nevertheless
		case tag.RowsAffected() == 0:
			return errOtherTriggers
		}
		if !l.wait(ctx, sent+pause-l.cache.clock()) {
			return nil
		}
		now := l.cache.clock()
		if back := l.cache.beat.Load(); back != nil {
			alive = max(alive, back.back)
			l.report(nil)
		}
		if now-alive > deaf {
			return errDeaf
		}
		if l.cache.wanted.Swap(false) {
			used = now
		}
		if now-used > beatsAfterUse {
			select {
			case <-l.cache.wake:
			case <-ctx.Done():
				return nil
			}
			used = l.cache.clock()
			alive = used
		}
	}
}

// wait returns false if ctx ends first.
func (*listener) wait(ctx context.Context, d time.Duration) bool {
	over := time.NewTimer(d)
	defer over.Stop()
	select {
	case <-over.C:
		return true
	case <-ctx.Done():
		return false
	}
}
