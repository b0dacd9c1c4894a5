package enginetest

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// RedisServer is a Redis server that only one test uses, and may kill and restart.
type RedisServer struct{ *server }

// Redis starts an empty Redis that writes nothing to disk and ends with the test, and returns
// its URL. Starting a server is as fast as emptying one, so each test has its own.
func Redis(t testing.TB) string {
	t.Helper()
	return StartRedis(t).URL()
}

// StartRedis starts a Redis server that ends with the test. It writes nothing to disk unless
// further command-line arguments say so: "--appendonly", "yes".
func StartRedis(t testing.TB, arguments ...string) *RedisServer {
	t.Helper()
	return startRedis(t, 0, arguments...)
}

func startRedis(t testing.TB, above int, arguments ...string) *RedisServer {
	t.Helper()
	k := redisServerKind(arguments...)
	k.above = above
	return &RedisServer{startServer(t, k, redisDirectory(t, k.name))}
}

// URL returns the URL of the server.
func (s *RedisServer) URL() string { return "redis://" + s.Addr() }

// do returns the result of a command.
func (s *RedisServer) do(arguments ...string) (string, error) {
	return command(context.Background(), s.Addr(), arguments...)
}

func redisDirectory(t testing.TB, name string) string {
	t.Helper()
	return directoryOf(t, name, func() (string, error) { return newDirectory(nil) })
}

func redisServerKind(arguments ...string) kind {
	return redisKind("redis-server", func(directory string, port int) ([]string, error) {
		basic := []string{"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", directory, "--save", ""}
		return append(basic, arguments...), nil
	})
}

// redisKind returns the kind of a Redis server or sentinel with the given arguments.
func redisKind(executable string, arguments func(directory string, port int) ([]string, error)) kind {
	return kind{
		name: executable,
		program: func(directory string, port int) (program, error) {
			path, err := find(executable)
			if err != nil {
				return program{}, err
			}
			p := program{path: path, directory: directory, farewell: syscall.SIGKILL}
			p.arguments, err = arguments(directory, port)
			return p, err
		},
		check: func(ctx context.Context, _ string, port, pid int) error {
			if _, err := command(ctx, address(port), "PING"); err != nil { // fails while it loads its data
				return err
			}
			info, err := command(ctx, address(port), "INFO", "server")
			if err == nil && !strings.Contains(info, fmt.Sprintf("process_id:%d\r", pid)) {
				err = fmt.Errorf("port %d: Address already in use", port)
			}
			return err
		},
	}
}
