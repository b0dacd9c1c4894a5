package redisstore

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/latchkey/latchkey/internal/authority"
)

const (
	keyPrefix = "latchkey:"
	// tombstone is the value of a session that has ended. It stays for longer than
	// a copy that was read before could be on its way.
	tombstone     = ""
	tombstoneTime = 10 * time.Minute
	// refreshTopology is how often a Cluster is asked who holds what.
	refreshTopology = time.Second
)

// IsURL reports whether text names a Redis.
func IsURL(text string) bool {
	_, err := parse(text)
	return err == nil
}

// parse reads a URL. Its error tells nothing that is secret.
func parse(text string) (rueidis.ClientOption, error) {
	option, err := rueidis.ParseURL(text)
	if err != nil {
		problem := "its form is unknown"
		if parsed, bad := url.Parse(text); bad == nil {
			problem = fmt.Sprintf("%q is not redis, rediss, valkey, valkeys or unix, or a parameter cannot be read", parsed.Scheme)
		}
		return option, fmt.Errorf("the URL of Redis cannot be used: %s; write it like redis://127.0.0.1:6379", problem)
	}
	return option, nil
}

// prepared sets what the Store relies on: one connection to each node, which
// carries invalidations in order with answers; no second try below ours; and a
// dialer that revokes the lease before a new connection carries anything.
func (s *Store) prepared(option rueidis.ClientOption) rueidis.ClientOption {
	option.PipelineMultiplex = -1
	option.AlwaysPipelining = true
	option.DisableRetry = true
	option.ClientName = "latchkey"
	option.ClientTrackingOptions = []string{} // whatever is read is tracked
	option.OnInvalidations = s.invalidate
	option.Dialer.Timeout = reconnect
	option.ConnWriteTimeout = 2 * time.Second
	option.ClusterOption.ShardsRefreshInterval = refreshTopology
	dial := option.DialCtxFn
	if dial == nil {
		dial = func(ctx context.Context, address string, dialer *net.Dialer, config *tls.Config) (net.Conn, error) {
			if config != nil {
				return (&tls.Dialer{NetDialer: dialer, Config: config}).DialContext(ctx, "tcp", address)
			}
			return dialer.DialContext(ctx, "tcp", address)
		}
	}
	option.DialCtxFn = func(ctx context.Context, address string, dialer *net.Dialer, config *tls.Config) (net.Conn, error) {
		conn, err := dial(ctx, address, dialer, config)
		s.epoch.Add(1)
		return conn, err
	}
	return option
}

// connect looks for Redis until it is there, once.
func (s *Store) connect(connected chan<- struct{}) {
	retry := time.NewTicker(reconnect)
	defer retry.Stop()
	for {
		client, err := rueidis.NewClient(s.option)
		if err == nil {
			s.client.Store(&client)
			close(connected)
			return
		}
		s.relied.Store(true) // so that it is said
		s.say(false, err)
		select {
		case <-retry.C:
		case <-s.running.Done():
			return
		}
	}
}

// invalidate hears of Redis that copies are out of date; nil: all may be.
func (s *Store) invalidate(keys []rueidis.RedisMessage) {
	if keys == nil {
		s.epoch.Add(1)
		return
	}
	for _, message := range keys {
		name, err := message.ToString()
		if err != nil {
			s.epoch.Add(1)
			return
		}
		var key authority.SessionKey
		if at := strings.LastIndexByte(name, ':'); at >= 0 && len(name)-at-1 == hex.EncodedLen(len(key)) {
			if _, err := hex.Decode(key[:], []byte(name[at+1:])); err == nil {
				s.local.forget(key)
			}
		}
	}
}

// sealed is a copy as Redis has it, under the key of its place: whoever can write to
// Redis alone cannot make a session, or give one to another user.
func (s *Store) sealed(place string, text []byte) []byte {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte(place))
	mac.Write([]byte{0})
	mac.Write(text)
	return append(mac.Sum(nil), text...)
}

// unsealed answers what was sealed for that place.
func (s *Store) unsealed(place, value string) ([]byte, bool) {
	if len(value) < sha256.Size {
		return nil, false
	}
	text := []byte(value[sha256.Size:])
	return text, hmac.Equal(s.sealed(place, text)[:sha256.Size], []byte(value[:sha256.Size]))
}

// place is where Redis has the copy of a session.
func place(l *lease, key authority.SessionKey) string {
	return keyPrefix + l.revision + ":" + hex.EncodeToString(key[:])
}

// stored is a copy as Redis has it. Times are microseconds.
type stored struct {
	User    string `json:"u"`
	Version int64  `json:"v"`
	Client  string `json:"c"`
	Created int64  `json:"t"`
	Expires int64  `json:"e,omitempty"`
	Covered int64  `json:"w"`
}

// fetch asks Redis for a copy, and keeps it in memory. It answers nil where there is
// none that may be relied on.
func (s *Store) fetch(ctx context.Context, l *lease, key authority.SessionKey) *copied {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	forgotten := s.local.forgotten(key)
	client := *s.client.Load()
	where := place(l, key)
	value, err := client.Do(ctx, client.B().Get().Key(where).Build()).ToString()
	if err != nil || !s.holds(l) {
		return nil // not there, or not to be relied on any more
	}
	text, ours := s.unsealed(where, value)
	var v stored
	if !ours || json.Unmarshal(text, &v) != nil {
		return nil // it has ended, says a tombstone, or is somebody else's
	}
	c := &copied{revision: l.revision, epoch: l.epoch, user: v.User, version: v.Version, client: v.Client, created: v.Created, expires: v.Expires, covered: v.Covered}
	s.local.put(key, c, forgotten)
	return c
}

// fillScript writes a copy unless the session has ended meanwhile.
var fillScript = rueidis.NewLuaScript(`
if redis.call('GET', KEYS[1]) ~= '' then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
return 1`)

// fill gives Redis a copy. Redis forgets it when the session would have expired.
func (s *Store) fill(ctx context.Context, l *lease, session authority.Session, covered time.Time, idle time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	v := stored{User: session.User, Version: session.PasswordVersion, Client: session.Client,
		Created: session.CreatedAt.UnixMicro(), Covered: covered.UnixMicro()}
	if !session.ExpiresAt.IsZero() {
		v.Expires = session.ExpiresAt.UnixMicro()
	}
	text, _ := json.Marshal(v) // plain fields only: it cannot fail
	where := place(l, session.Key)
	keep := covered.Sub(session.LastUsedAt) + idle
	client := *s.client.Load()
	_ = fillScript.Exec(ctx, client, []string{where}, []string{string(s.sealed(where, text)), fmt.Sprint(keep.Milliseconds())}).Error() // a copy less
}

// mark has Redis know of sessions that have ended.
func (s *Store) mark(ctx context.Context, l *lease, keys []authority.SessionKey) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client := *s.client.Load()
	marks := make(rueidis.Commands, len(keys))
	for i, key := range keys {
		marks[i] = client.B().Set().Key(place(l, key)).Value(tombstone).Px(tombstoneTime).Build()
	}
	for _, result := range client.DoMulti(ctx, marks...) {
		if err := result.Error(); err != nil {
			return err
		}
	}
	return nil
}
