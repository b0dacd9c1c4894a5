package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/store/sqlite"
)

// databases are made when they are first asked for.
type databases struct {
	directory string
}

// with returns the path of a database with n live sessions.
func (d *databases) with(ctx context.Context, n int) (string, error) {
	if d.directory == "" {
		directory, err := os.MkdirTemp("", "latchkey-bench-")
		if err != nil {
			return "", err
		}
		d.directory = directory
	}
	path := filepath.Join(d.directory, fmt.Sprintf("%d.db", n))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	fmt.Fprintf(os.Stderr, "making a database with %d sessions\n", n)
	return path, seed(ctx, path, n)
}

func (d *databases) remove() {
	if d.directory != "" {
		_ = os.RemoveAll(d.directory) // in the system's temporary directory
	}
}

// seed makes a database with one user, one API client and n live sessions.
func seed(ctx context.Context, path string, n int) error {
	db, err := sqlite.Open(ctx, sqlite.Options{Path: path})
	if err != nil {
		return err
	}
	rules, err := newAuthority(db.Stores(), nil)
	if err != nil {
		return err
	}
	if err := addCaller(ctx, rules); err != nil {
		return err
	}
	user, err := db.Stores().Users.User(ctx, userName)
	if err != nil {
		return err
	}
	var group sync.WaitGroup
	const workers = 256
	faults := make(chan error, workers)
	now := time.Now()
	for worker := range workers {
		group.Go(func() {
			for i := worker; i < n; i += workers {
				key := token(uint64(i)).Key() //nolint:gosec // counts up
				session := authority.Session{Key: key, User: userName, PasswordVersion: user.PasswordVersion,
					Client: credentials.Key, CreatedAt: now, LastUsedAt: now}
				if err := db.CreateSession(ctx, session); err != nil {
					faults <- err
					return
				}
			}
		})
	}
	group.Wait()
	close(faults)
	return errors.Join(<-faults, db.Close(context.WithoutCancel(ctx)))
}

// addCaller adds the one user and the one API client.
func addCaller(ctx context.Context, rules *authority.Authority) error {
	_, err := rules.AddUser(ctx, userName, password, authority.Origin{})
	return errors.Join(err, rules.AddKnownClient(ctx, "bench", credentials, authority.Origin{}))
}
