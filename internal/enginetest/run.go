package enginetest

import "os"

// RunPostgres is StartPostgres for a program that is no test, with more settings of
// the form name=value. The error is ErrMissing if PostgreSQL is not installed.
func RunPostgres(settings ...string) (server *PostgresServer, stop func(), err error) {
	s, stop, err := runServer(postgresKind(settings...), newCluster)
	return &PostgresServer{s}, stop, err
}

// RunRedis is StartRedis for a program that is no test. The error is ErrMissing if
// Redis is not installed.
func RunRedis(arguments ...string) (server *RedisServer, stop func(), err error) {
	s, stop, err := runServer(redisServerKind(arguments...), func() (string, error) { return newDirectory(nil) })
	return &RedisServer{s}, stop, err
}

// runServer starts a server in a new directory. stop ends it and removes that.
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
