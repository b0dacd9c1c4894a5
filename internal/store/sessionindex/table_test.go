package sessionindex_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/store/sessionindex"
)

const idle = 20 * time.Minute

var start = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

// keyOf returns keys of one shard. Some of them have the same place in the table.
func keyOf(n int) (key authority.SessionKey) {
	key = sha256.Sum256([]byte(fmt.Sprint(n)))
	key[0] = 0
	if n%3 == 0 {
		key = authority.SessionKey{}
		key[12] = byte(n)
	}
	return key
}

// TestAnIndexIsAMap adds, uses, removes, expires and evicts sessions in any order, and
// compares the index with a map.
func TestAnIndexIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		index, model := sessionindex.New(0), map[authority.SessionKey]time.Time{}
		now := start
		number := rapid.IntRange(0, 150)
		for n := range number.Draw(t, "sessions at first") {
			index.Add(authority.Session{Key: keyOf(n), User: "u", CreatedAt: now}, now.UnixMicro(), now.UnixMicro(), 0)
			model[keyOf(n)] = now
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				key := keyOf(number.Draw(t, "number"))
				if !index.Add(authority.Session{Key: key, User: "u", Client: "c", CreatedAt: now}, now.UnixMicro(),
					now.UnixMicro(), index.Removals(0)) {
					t.Fatal("a session was not added")
				}
				if _, known := model[key]; !known {
					model[key] = now
				}
			},
			"use": func(t *rapid.T) {
				key := keyOf(number.Draw(t, "number"))
				used := index.Use(key, now, idle)
				last, known := model[key]
				live := known && now.Sub(last) < idle
				if used.Known != known || used.Live != live || live && used.Session.Key != key {
					t.Fatalf("the use of a session is %+v, want known %v and live %v", used, known, live)
				}
				if live {
					model[key] = now
				}
			},
			"remove": func(t *rapid.T) {
				key := keyOf(number.Draw(t, "number"))
				_, want := model[key]
				if _, known := index.Remove(key); known != want {
					t.Fatalf("a removed session was known: %v, want %v", known, want)
				}
				delete(model, key)
			},
			"take expired": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(0, 15).Draw(t, "minutes")) * time.Minute)
				limit := rapid.IntRange(1, 20).Draw(t, "limit")
				due := 0
				for _, last := range model {
					if now.Sub(last) >= idle {
						due++
					}
				}
				taken := index.TakeExpired(now, idle, limit)
				if len(taken) != min(due, limit) {
					t.Fatalf("%d expired sessions were taken of %d, at most %d", len(taken), due, limit)
				}
				for _, session := range taken {
					if last, known := model[session.Key]; !known || now.Sub(last) < idle {
						t.Fatal("a session was taken that is not expired")
					}
					delete(model, session.Key)
				}
			},
			"": func(t *rapid.T) {
				for key, last := range model {
					if got, known := index.LastUse(key); !known || got != last.UnixMicro() {
						t.Fatalf("the last use of a session is %v, %v; want %v", got, known, last.UnixMicro())
					}
				}
				found := map[authority.SessionKey]bool{}
				for _, use := range index.Unwritten(0, 1<<40) { // all that are not expired
					found[use.Key] = true
				}
				for key := range maps.Keys(found) {
					if _, known := model[key]; !known {
						t.Fatal("the index has a session that was removed")
					}
				}
			},
		})
	})
}

// BenchmarkUse looks up sessions in turn, among a thousand and among a million.
func BenchmarkUse(b *testing.B) {
	for _, sessions := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprint(sessions), func(b *testing.B) {
			index := sessionindex.New(0)
			keys := make([]authority.SessionKey, sessions)
			for i := range keys {
				keys[i] = sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
				session := authority.Session{Key: keys[i], User: "u", Client: "c", CreatedAt: start}
				index.Add(session, start.UnixMicro(), start.UnixMicro(), 0)
			}
			now := start.Add(time.Minute)
			for i := 0; b.Loop(); i++ {
				if key := keys[i*7919%sessions]; !index.Use(key, now, idle).Live {
					b.Fatal("a session is not live")
				}
			}
		})
	}
}
