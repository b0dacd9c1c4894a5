package sqlstore

import (
	"context"
	"errors"
)

// The database itself notifies replicas: its triggers send a notification in the
// transaction that makes a session or an API client no longer good, whatever program
// does that, and in whichever way. They are made by the first replica that listens, and
// not by a migration, because an engine without notifications does not take them.
const (
	notifyChannel  = "latchkey"
	clientsChanged = "clients"
	// triggerLock is the number of the lock under which triggers are made.
	triggerLock = 0x6c61746368
)

// triggers are complete or not made at all. A trigger that changes gets another name.
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

// errNoTriggers answers a database whose triggers were made, and are not there.
var errNoTriggers = errors.New("the triggers on sessions are missing or disabled")

// prepareNotifications makes the triggers where they are missing.
func (db *Postgres) prepareNotifications(ctx context.Context) error {
	there, err := db.haveTriggers(ctx)
	if err != nil || there {
		return err
	}
	err = db.write(ctx, func(t tx) error {
		if err := t.query(func(row) error { return nil }, `SELECT pg_advisory_xact_lock(?)`, triggerLock); err != nil {
			return err
		}
		// Who waits for a lock on a table holds up all who come after.
		statements := append([]string{`SET LOCAL lock_timeout = '2s'`}, triggerFunctions...)
		for _, trigger := range triggers {
			statements = append(statements, `DROP TRIGGER IF EXISTS `+trigger.name+` ON `+trigger.table, `CREATE TRIGGER `+trigger.name+` `+trigger.when)
		}
		for _, statement := range statements {
			if _, err := t.exec(statement); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if there, err = db.haveTriggers(ctx); err == nil && !there {
		err = errNoTriggers
	}
	return err
}

func (db *Postgres) haveTriggers(ctx context.Context) (bool, error) {
	names := make([]string, len(triggers))
	for i, trigger := range triggers {
		names[i] = trigger.name
	}
	n := 0
	err := db.query(ctx, func(r row) error { return r.Scan(&n) }, `SELECT COUNT(*) FROM pg_trigger
		WHERE tgrelid IN ('sessions'::regclass, 'revisions'::regclass) AND tgname = ANY(?) AND tgenabled IN ('O', 'A')`, names)
	return n == len(triggers), err
}
