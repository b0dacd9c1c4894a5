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

// PostgresServer is a PostgreSQL server of the test's own, to be killed and started
// again.
type PostgresServer struct{ *server }

// StartPostgres starts a PostgreSQL server that ends with the test. It writes as
// safely as one in production does.
func StartPostgres(t testing.TB) *PostgresServer {
	t.Helper()
	directory := directoryOf(t, postgresName, newCluster)
	return &PostgresServer{startServer(t, postgresKind(), directory)}
}

// URL is that of one database, which was empty when the server was first started and
// stays the same when it is started again.
func (s *PostgresServer) URL() string { return postgresURL(s.Addr(), "postgres") }

// Postgres is the URL of a new, empty database, which ends with the test. Its server
// is shared by the tests of the process, and does not write safely, for speed.
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

// postgresKind is PostgreSQL with more settings of the form name=value.
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
		answers: func(ctx context.Context, directory string, port, _ int) error {
			at, err := ask(ctx, postgresURL(address(port), "postgres"), "SHOW data_directory")
			if err == nil && at != filepath.Join(directory, "data") {
				err = fmt.Errorf("port %d: Address already in use", port)
			}
			return err
		},
	}
}

// postgresProgram is one of PostgreSQL's, which refuse to run as root.
func postgresProgram(name, directory string) (program, error) {
	path, err := find(name, "/usr/lib/postgresql/*/bin")
	if err != nil {
		return program{}, err
	}
	owner, err := servant()
	// At SIGQUIT it ends its processes and frees its shared memory, and writes nothing.
	return program{path: path, directory: directory, owner: owner, farewell: syscall.SIGQUIT}, err
}

// newCluster makes a directory with an empty database cluster in it.
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
		return p.directory, fmt.Errorf("initdb: %v: %s", initdb.command.ProcessState, p.lastWords())
	}
	return p.directory, os.Remove(p.log())
}

// execute runs one statement as the administrator.
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

// ask is the answer to a query that has one. It asks in the way that PgBouncer can
// carry in every version.
func ask(ctx context.Context, url, query string) (answer string, err error) {
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
	err = conn.QueryRow(ctx, query).Scan(&answer)
	return answer, err
}
