package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/latchkey/latchkey/internal/store"
)

// The database itself notifies replicas: its triggers send a notification in the transaction
// that invalidates a session or an API client, whatever program runs it. The first replica
// that listens creates them, and not a migration, because an engine without notifications
// does not accept them.
const (
	notifyChannel  = "latchkey"
	clientsChanged = "clients"
	// triggerLock is the number of the lock under which triggers are made.
	triggerLock = 0x6c61746368
)

// triggers are created all or none. A trigger that changes gets another name. They are
// enabled always, so that they fire for changes that logical replication applies.
var triggers = []struct{ name, table, when string }{
	{"latchkey_session_changed_1", "sessions", `AFTER UPDATE ON sessions FOR EACH ROW
		WHEN (NEW.ended_at <> OLD.ended_at OR NEW.last_used < OLD.last_used OR NEW.expires_at <> OLD.expires_at)
		EXECUTE FUNCTION latchkey_notify_session()`},
	{"latchkey_session_deleted_1", "sessions", `AFTER DELETE ON sessions FOR EACH ROW
		WHEN (OLD.ended_at = 0) EXECUTE FUNCTION latchkey_notify_session()`},
	{"latchkey_sessions_truncated_1", "sessions", `AFTER TRUNCATE ON sessions FOR EACH STATEMENT
		EXECUTE FUNCTION latchkey_notify('all')`},
	{"latchkey_clients_changed_1", "revisions", `AFTER UPDATE ON revisions FOR EACH STATEMENT
		EXECUTE FUNCTION latchkey_notify('` + clientsChanged + `')`},
}

var triggerFunctions = []string{`
	CREATE OR REPLACE FUNCTION latchkey_notify_session() RETURNS TRIGGER LANGUAGE plpgsql AS $body$
	BEGIN
		PERFORM pg_catalog.pg_notify('` + notifyChannel + `', pg_catalog.encode(OLD.session_key, 'hex'));
		RETURN NULL;
	END $body$`, `
	CREATE OR REPLACE FUNCTION latchkey_notify() RETURNS TRIGGER LANGUAGE plpgsql AS $body$
	BEGIN
		PERFORM pg_catalog.pg_notify('` + notifyChannel + `', TG_ARGV[0]);
		RETURN NULL;
	END $body$`}

// errNoTriggers is returned if triggers were created, and do not exist.
var errNoTriggers = errors.New("the triggers on sessions are missing or disabled")

// triggersAre is a query for the identity of the triggers that send notifications. A table
// that was created again has other triggers, even under the same names, and its sessions are
// not those that are cached. A trigger that was disabled, even for a moment, has another
// xmin. If a trigger is missing, the query returns an empty text.
var triggersAre = func() string {
	names := make([]string, len(triggers))
	for i, trigger := range triggers {
		names[i] = "'" + trigger.name + "'"
	}
	return fmt.Sprintf(`SELECT CASE COUNT(*)
		WHEN %d THEN string_agg(concat_ws('/', tgrelid, oid, xmin), ' ' ORDER BY tgname) ELSE '' END
		FROM pg_catalog.pg_trigger
		WHERE tgrelid IN ('sessions'::regclass, 'revisions'::regclass) AND tgname IN (%s) AND tgenabled = 'A'`,
		len(triggers), strings.Join(names, ", "))
}()

// prepareNotifications creates missing triggers, and returns the identity of all.
func (db *DB) prepareNotifications(ctx context.Context) (string, error) {
	there, err := db.triggersNow(ctx)
	if err != nil || there != "" {
		return there, err
	}
	err = db.engine.Write(ctx, func(t store.Tx) error {
		if err := t.Query(func(store.Row) error { return nil }, `SELECT pg_advisory_xact_lock(?)`, triggerLock); err != nil {
			return err
		}
		// A transaction that waits for a lock on a table blocks all later ones.
		statements := append([]string{`SET LOCAL lock_timeout = '2s'`}, triggerFunctions...)
		for _, trigger := range triggers {
			statements = append(statements, `DROP TRIGGER IF EXISTS `+trigger.name+` ON `+trigger.table,
				`CREATE TRIGGER `+trigger.name+` `+trigger.when,
				`ALTER TABLE `+trigger.table+` ENABLE ALWAYS TRIGGER `+trigger.name)
		}
		for _, statement := range statements {
			if _, err := t.Exec(statement); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	if there, err = db.triggersNow(ctx); err == nil && there == "" {
		err = errNoTriggers
	}
	return there, err
}

func (db *DB) triggersNow(ctx context.Context) (there string, err error) {
	err = db.engine.Query(ctx, func(r store.Row) error { return r.Scan(&there) }, triggersAre)
	return there, err
}
