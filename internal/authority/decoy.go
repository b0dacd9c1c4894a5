package authority

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// countEvery is how often the parameters of the stored hashes are counted.
const countEvery = time.Minute

// SaltAndSumBytes is the length of the part after the parameters in a stored PHC string: the
// salt and the sum in base64, with a $ before each.
var SaltAndSumBytes = 2 + base64.RawStdEncoding.EncodedLen(saltBytes) + base64.RawStdEncoding.EncodedLen(hashBytes)

// decoys provides the hashes that passwords of unknown names are compared with. After the
// hash parameters were changed, users have different ones until they log in, and the time of
// a login reveals which. So the parameters are spread over unknown names in the proportion
// in which users have them. Those of a name depend on the server key and the name. While
// users log in and get the current parameters, so do unknown names.
type decoys struct {
	key    []byte
	counts atomic.Pointer[hashCounts]
}

// hashCounts are the parameters that users have, the current ones last.
type hashCounts struct {
	at     time.Time
	params []HashParams
	users  []uint64
	total  uint64
}

// decoy returns the hash that a password of an unknown name is compared with.
func (a *Authority) decoy(ctx context.Context, key StrikeKey) (storedHash, error) {
	counts := a.decoys.counts.Load()
	if counts == nil { // for the first login, whatever its name
		if err := a.countHashes(ctx); err != nil {
			return storedHash{}, err
		}
		counts = a.decoys.counts.Load()
	}
	mac := hmac.New(sha256.New, a.decoys.key)
	mac.Write([]byte("decoy:"))
	mac.Write(key[:])
	sum := mac.Sum(nil)
	decoy := storedHash{params: a.params, salt: sum[:saltBytes], sum: make([]byte, hashBytes)}
	randomBytes(decoy.sum)
	// A fraction in 2^32 parts; there are fewer users.
	place := uint64(binary.BigEndian.Uint32(sum[saltBytes:])) * counts.total >> 32
	for i, users := range counts.users {
		if place < users {
			decoy.params = counts.params[i]
			break
		}
		place -= users
	}
	return decoy, nil
}

// countHashes counts the parameters that users have, once a minute.
func (a *Authority) countHashes(ctx context.Context) error {
	now := a.now()
	if last := a.decoys.counts.Load(); last != nil && now.Sub(last.at).Abs() < countEvery {
		return nil
	}
	users, err := a.stores.Users.HashCounts(ctx)
	if err != nil {
		return unavailable(err)
	}
	byParams := map[HashParams]uint64{}
	for prefix, n := range users {
		if p, ok := parseParams(prefix); ok {
			byParams[p] += uint64(max(0, n))
		}
	}
	counts := &hashCounts{at: now}
	for p := range byParams {
		counts.params = append(counts.params, p)
	}
	slices.SortFunc(counts.params, func(x, y HashParams) int {
		switch {
		case x == a.params:
			return 1
		case y == a.params:
			return -1
		}
		return strings.Compare(fmt.Sprint(x), fmt.Sprint(y))
	})
	for _, p := range counts.params {
		counts.users = append(counts.users, byParams[p])
		counts.total += byParams[p]
	}
	a.decoys.counts.Store(counts)
	return nil
}

// parseParams reads the part of a PHC string before the salt.
func parseParams(prefix string) (HashParams, bool) {
	suffix := HashParams{}.phc(make([]byte, saltBytes), make([]byte, hashBytes))[len(HashParams{}.prefix()):]
	hash, err := parseHash(prefix + suffix)
	return hash.params, err == nil
}
