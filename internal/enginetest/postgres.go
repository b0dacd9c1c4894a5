package enginetest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// PostgresServer is a PostgreSQL server that only one test uses, and may kill and restart.
type PostgresServer struct{ *server }

// StartPostgres starts a PostgreSQL server that ends with the test. Its writes are as durable as
// in production.
func StartPostgres(t testing.TB) *PostgresServer {
	t.Helper()
	directory := directoryOf(t, postgresName, newCluster)
	return &PostgresServer{startServer(t, postgresKind(), directory)}
}

// URL returns the URL of a database that was empty when the server was first started. It stays
// the same over restarts.
func (s *PostgresServer) URL() string { return postgresURL(s.Addr(), "postgres") }

// Postgres creates an empty database that is dropped when the test ends, and returns its URL.
// The tests of the process share the server, whose writes are not durable, for speed.
func Postgres(t testing.TB) string {
	t.Helper()
	s, err := sharedPostgres()
	check(t, postgresName, err)
	name := fmt.Sprintf("test%d", databases.Add(1))
	if err := s.execute("CREATE DATABASE " + name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.execute("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	return postgresURL(s.Addr(), name)
}

const postgresName = "PostgreSQL"

var (
	databases      atomic.Int64
	sharedPostgres = sync.OnceValues(func() (*PostgresServer, error) {
		directory, err := newCluster()
		if err != nil {
			return nil, err
		}
		s, err := newServer(postgresKind("fsync=off", "full_page_writes=off"), directory)
		return &PostgresServer{s}, err
	})
)

func postgresURL(address, database string) string {
	return "postgres://postgres@" + address + "/" + database + "?sslmode=disable"
}

// postgresKind returns the kind of a PostgreSQL server with more settings of the form name=value.
func postgresKind(settings ...string) kind {
	return kind{
		name: postgresName,
		program: func(directory string, port int) (program, error) {
			p, err := postgresProgram("postgres", directory)
			p.arguments = []string{"-D", filepath.Join(directory, "data")}
			for _, setting := range append([]string{
				"listen_addresses=127.0.0.1",
				"port=" + strconv.Itoa(port),
				"unix_socket_directories=",
				"max_connections=200",
				"shared_buffers=32MB",
				"dynamic_shared_memory_type=mmap", // in the directory, and removed with it
			}, settings...) {
				p.arguments = append(p.arguments, "-c", setting)
			}
			return p, err
		},
		check: func(ctx context.Context, directory string, port, _ int) error {
			at, err := queryOne(ctx, postgresURL(address(port), "postgres"), "SHOW data_directory")
			if err == nil && at != filepath.Join(directory, "data") {
				err = fmt.Errorf("port %d: Address already in use", port)
			}
			return err
		},
	}
}

// postgresProgram returns a program of PostgreSQL. They refuse to run as root.
func postgresProgram(name, directory string) (program, error) {
	path, err := find(name, "/usr/lib/postgresql/*/bin")
	if err != nil {
		return program{}, err
	}
	owner, err := unprivileged()
	// On SIGQUIT PostgreSQL ends its processes and frees its shared memory without writing.
	return program{path: path, directory: directory, owner: owner, farewell: syscall.SIGQUIT}, err
}

// newCluster creates a directory with an empty database cluster.
func newCluster() (string, error) {
	p, err := postgresProgram("initdb", "")
	if err != nil {
		return "", err
	}
	if p.directory, err = newDirectory(p.owner); err != nil {
		return p.directory, err
	}
	p.arguments = []string{"-D", filepath.Join(p.directory, "data"), "--username=postgres", "--auth=trust",
		"--encoding=UTF8", "--locale=C", "--wal-segsize=1", "--no-sync", "--no-instructions"}
	initdb, err := p.run()
	if err != nil {
		return p.directory, err
	}
	<-initdb.ended
	if !initdb.command.ProcessState.Success() {
		return p.directory, fmt.Errorf("initdb: %v: %s", initdb.command.ProcessState, p.logTail())
	}
	return p.directory, os.Remove(p.log())
}

// execute executes a statement as the superuser.
func (s *PostgresServer) execute(statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL())
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement)
	_ = conn.Close(ctx)
	return err
}

// queryOne returns the only value that a query returns. It uses the simple protocol, which every
// version of PgBouncer supports.
func queryOne(ctx context.Context, url, query string) (value string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	separator := "?"
	if strings.Contains(url, "?") {
		separator = "&"
	}
	conn, err := pgx.Connect(ctx, url+separator+"default_query_exec_mode=simple_protocol")
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(ctx) }()
	err = conn.QueryRow(ctx, query).Scan(&value)
	return value, err
}
