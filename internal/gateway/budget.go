package gateway

import "sync"

const (
	// maxBuffered bounds the bytes of all buffered bodies, and maxBufferedByUser those of
	// one user. A body that exceeds a bound is streamed.
	maxBuffered       = 64 << 20
	maxBufferedByUser = maxBuffered / 4
)

// budget counts the bytes of buffered bodies.
type budget struct {
	mu    sync.Mutex
	total int64
	users map[string]int64 // only users with bytes
}

// take reserves n bytes for user, and reports whether the bounds permit it.
func (b *budget) take(user string, n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.total+n > maxBuffered || b.users[user]+n > maxBufferedByUser {
		return false
	}
	b.total += n
	b.users[user] += n
	return true
}

// give releases n bytes of user.
func (b *budget) give(user string, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total -= n
	if b.users[user] -= n; b.users[user] == 0 {
		delete(b.users, user)
	}
}
