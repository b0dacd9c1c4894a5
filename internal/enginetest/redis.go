package enginetest

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// RedisServer is a Redis server of the test's own, to be killed and started again.
type RedisServer struct{ *server }

// Redis is the URL of an empty Redis that keeps nothing on disk and ends with the
// test. A server starts as fast as one is emptied, so that each test has its own.
func Redis(t testing.TB) string {
	t.Helper()
	return StartRedis(t).URL()
}

// StartRedis starts a Redis server that ends with the test. It keeps nothing on disk,
// unless more arguments say so, in the form of a command line: "--appendonly", "yes".
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

// URL is that of the server.
func (s *RedisServer) URL() string { return "redis://" + s.Addr() }

// do is the server's answer to one command.
func (s *RedisServer) do(arguments ...string) (string, error) {
	return command(context.Background(), s.Addr(), arguments...)
}

func redisDirectory(t testing.TB, name string) string {
	t.Helper()
	return directoryOf(t, name, func() (string, error) { return newDirectory(nil) })
}

func redisServerKind(arguments ...string) kind {
	return redisKind("redis-server", func(directory string, port int) ([]string, error) {
		return append([]string{"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", directory, "--save", ""}, arguments...), nil
	})
}

// redisKind is Redis as a server or as a sentinel, with those arguments.
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
		answers: func(ctx context.Context, _ string, port, pid int) error {
			if _, err := command(ctx, address(port), "PING"); err != nil { // it has read its data
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
