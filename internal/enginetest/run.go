package enginetest

import "os"

// RunPostgres starts a PostgreSQL server for a program that is not a test, with more settings of
// the form name=value. The error is ErrMissing if PostgreSQL is not installed.
func RunPostgres(settings ...string) (server *PostgresServer, stop func(), err error) {
	s, stop, err := runServer(postgresKind(settings...), newCluster)
	return &PostgresServer{s}, stop, err
}

// RunPgBouncer starts a PgBouncer for a program that is not a test, and returns its address. The
// error is ErrMissing if PgBouncer is not installed.
func RunPgBouncer(postgresURL string) (addr string, stop func(), err error) {
	k, owner, err := pgBouncerKind(postgresURL)
	if err != nil {
		return "", nil, err
	}
	s, stop, err := runServer(k, func() (string, error) { return newDirectory(owner) })
	if err != nil {
		return "", nil, err
	}
	return s.Addr(), stop, nil
}

// runServer starts a server in a new directory. stop stops the server and removes the directory.
func runServer(k kind, create func() (string, error)) (s *server, stop func(), err error) {
	directory, err := create()
	if err == nil {
		s, err = newServer(k, directory)
	}
	stop = func() {
		if s != nil {
			s.stop()
		}
		if directory != "" {
			_ = os.RemoveAll(directory)
		}
	}
	if err != nil {
		stop()
	}
	return s, stop, err
}
