package enginetest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// StartPgBouncer is the URL of the database behind a PgBouncer in transaction mode, as
// people run it in front of PostgreSQL. It ends with the test. Versions before 1.21, as
// Debian 12's, do not carry prepared statements from one transaction to the next.
func StartPgBouncer(t testing.TB, postgresURL string) string {
	t.Helper()
	const name = "PgBouncer"
	upstream, err := url.Parse(postgresURL)
	if err != nil {
		t.Fatal(err)
	}
	owner, err := servant()
	check(t, name, err)
	through := *upstream
	k := kind{
		name: name,
		program: func(directory string, port int) (program, error) {
			path, err := find("pgbouncer", "/usr/sbin")
			if err != nil {
				return program{}, err
			}
			through.Host = address(port)
			file := filepath.Join(directory, "pgbouncer.ini")
			p := program{path: path, directory: directory, owner: owner, farewell: syscall.SIGKILL,
				arguments: []string{file}}
			return p, os.WriteFile(file, pgBouncerSettings(upstream, port), 0o644) //nolint:gosec // whoever it runs as reads it
		},
		answers: func(ctx context.Context, _ string, _, _ int) error {
			_, err := ask(ctx, through.String(), "SELECT 'yes'")
			return err
		},
	}
	startServer(t, k, directoryOf(t, name, func() (string, error) { return newDirectory(owner) }))
	return through.String()
}

// pgBouncerSettings let everybody in as the user of the upstream. After that was away,
// it is tried again at once, not after fifteen seconds.
func pgBouncerSettings(upstream *url.URL, port int) []byte {
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
