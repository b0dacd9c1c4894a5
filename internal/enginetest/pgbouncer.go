package enginetest

import (
	"context"
	"fmt"
	neturl "net/url"
	"os"
	"os/user"
	"path/filepath"
	"syscall"
	"testing"
)

const pgBouncerName = "PgBouncer"

// StartPgBouncer starts a PgBouncer in transaction mode in front of a database, and returns the
// URL of the database through it. PgBouncer ends with the test. Versions before 1.21, such as
// that of Debian 12, do not support prepared statements across transactions.
func StartPgBouncer(t testing.TB, postgresURL string) string {
	t.Helper()
	k, owner, err := pgBouncerKind(postgresURL)
	check(t, pgBouncerName, err)
	s := startServer(t, k, directoryOf(t, pgBouncerName, func() (string, error) { return newDirectory(owner) }))
	return withHost(postgresURL, s.Addr())
}

// withHost returns url with another host.
func withHost(url, host string) string {
	parsed, err := neturl.Parse(url)
	if err != nil {
		return url
	}
	parsed.Host = host
	return parsed.String()
}

// pgBouncerKind returns the kind of a PgBouncer for a database, and the user that it runs as.
func pgBouncerKind(postgresURL string) (kind, *user.User, error) {
	upstream, err := neturl.Parse(postgresURL)
	if err != nil {
		return kind{}, nil, err
	}
	owner, err := unprivileged()
	if err != nil {
		return kind{}, nil, err
	}
	return kind{
		name: pgBouncerName,
		program: func(directory string, port int) (program, error) {
			path, err := find("pgbouncer", "/usr/sbin")
			if err != nil {
				return program{}, err
			}
			file := filepath.Join(directory, "pgbouncer.ini")
			p := program{path: path, directory: directory, owner: owner, farewell: syscall.SIGKILL,
				arguments: []string{file}}
			//nolint:gosec // PgBouncer runs as another user
			return p, os.WriteFile(file, pgBouncerSettings(upstream, port), 0o644)
		},
		check: func(ctx context.Context, _ string, port, _ int) error {
			_, err := queryOne(ctx, withHost(postgresURL, address(port)), "SELECT 'yes'")
			return err
		},
	}, owner, nil
}

// pgBouncerSettings returns the configuration: every client logs in as the user of the upstream,
// and PgBouncer reconnects to the upstream at once, not after fifteen seconds.
func pgBouncerSettings(upstream *neturl.URL, port int) []byte {
	login := "user=" + upstream.User.Username()
	if password, ok := upstream.User.Password(); ok {
		login += " password=" + password
	}
	return fmt.Appendf(nil, `[databases]
* = host=%s port=%s %s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
max_client_conn = 500
default_pool_size = 20
server_login_retry = 0.1
ignore_startup_parameters = extra_float_digits,search_path,options
`, upstream.Hostname(), upstream.Port(), login, port)
}
