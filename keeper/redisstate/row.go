package redisstate

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/latchkey/latchkey/keeper/internal/sharedstate"
)

const keyPrefix = "latchkey:keeper:"

// The scripts work on one hash, with the fields epoch, holder, until (milliseconds),
// sealed, and used (microseconds). All of these numbers are exact in Lua. They are formatted
// because Lua would write the larger ones with an exponent.
const (
	// clock sets the local variable now.
	clock = `local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
`
	// A recorded use that is more than a minute in the future is replaced by one of now.
	touchScript = clock + `local used = tonumber(redis.call('HGET', KEYS[1], 'used'))
local at = tonumber(ARGV[1])
local minute = 60 * 1000 * 1000
local ahead = used and used > now * 1000 + minute and math.abs(now * 1000 - at) <= minute
if used and used >= at and not ahead then return 0 end
redis.call('HSET', KEYS[1], 'used', ARGV[1])
return 1`
	// A lease that ends later than it lasts is from a clock that was put back.
	takeScript = clock + `local row = redis.call('HMGET', KEYS[1], 'holder', 'until', 'epoch')
local epoch = tonumber(row[3]) or 0
if row[1] ~= ARGV[1] then
	if row[1] and row[1] ~= '' and tonumber(row[2]) > now then
		if tonumber(row[2]) > now + ARGV[2] then
			redis.call('HSET', KEYS[1], 'until', string.format('%.0f', now + ARGV[2]))
		end
		return 0
	end
	epoch = epoch + 1
end
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'epoch', string.format('%.0f', epoch),
	'until', string.format('%.0f', now + ARGV[2]))
return epoch`
	saveScript = clock + `local row = redis.call('HMGET', KEYS[1], 'holder', 'epoch')
if row[1] ~= ARGV[1] or tonumber(row[2]) > tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'sealed', ARGV[3], 'epoch', ARGV[2], 'until', string.format('%.0f', now + ARGV[4]))
return 1`
	extendScript = clock + `if redis.call('HGET', KEYS[1], 'holder') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'until', string.format('%.0f', now + ARGV[2]))
return 1`
	releaseScript = `if redis.call('HGET', KEYS[1], 'holder') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'holder', '')
return 1`
	// A script is never sent to a replica, as a read command may be.
	loadScript = `return redis.call('HMGET', KEYS[1], 'sealed', 'used')`
)

// row is a sharedstate.Store.
type row struct {
	client   rueidis.Client
	key      string
	replicas int
}

func (r row) script(client rueidis.CoreClient, text string, arguments ...string) rueidis.Completed {
	return client.B().Eval().Script(text).Numkeys(1).Key(r.key).Arg(arguments...).Build()
}

// do runs a script and returns its result, a number.
func (r row) do(ctx context.Context, text string, arguments ...string) (int64, error) {
	return r.client.Do(ctx, r.script(r.client, text, arguments...)).AsInt64()
}

func (r row) Load(ctx context.Context) (found sharedstate.Row, err error) {
	fields, err := r.client.Do(ctx, r.script(r.client, loadScript)).ToArray()
	if err != nil {
		return found, err
	}
	if len(fields) != 2 {
		return found, fmt.Errorf("%d fields instead of two", len(fields))
	}
	if !fields[0].IsNil() {
		if found.Sealed, err = fields[0].AsBytes(); err != nil {
			return found, err
		}
	}
	if !fields[1].IsNil() {
		used, err := fields[1].AsInt64()
		if err != nil {
			return found, err
		}
		found.LastUse = time.UnixMicro(used)
	}
	return found, nil
}

func (r row) Touch(ctx context.Context, at time.Time) error {
	_, err := r.do(ctx, touchScript, number(at.UnixMicro()))
	return err
}

func (r row) Take(ctx context.Context, holder string, ttl time.Duration) (int64, error) {
	return r.do(ctx, takeScript, holder, number(ttl.Milliseconds()))
}

func (r row) Save(
	ctx context.Context, claim sharedstate.Claim, sealed []byte, ttl time.Duration,
) (saved bool, err error) {
	arguments := []string{claim.Holder, number(claim.Epoch), string(sealed), number(ttl.Milliseconds())}
	if r.replicas == 0 {
		n, err := r.do(ctx, saveScript, arguments...)
		return n == 1, err
	}
	// WAIT waits for the writes on the same connection.
	err = r.client.Dedicated(func(client rueidis.DedicatedClient) error {
		n, err := client.Do(ctx, r.script(client, saveScript, arguments...)).AsInt64()
		if saved = n == 1; err != nil || !saved {
			return err
		}
		wait := client.B().Wait().Numreplicas(int64(r.replicas)).Timeout(waitLimit(ctx)).Build()
		have, err := client.Do(ctx, wait).AsInt64()
		if err == nil && have < int64(r.replicas) {
			err = fmt.Errorf("%d of the %d replicas that Config.Replicas demands have confirmed it", have, r.replicas)
		}
		return err
	})
	return saved && err == nil, err
}

// waitLimit returns the timeout of WAIT in milliseconds: half of the time that is left.
func waitLimit(ctx context.Context) int64 {
	end, ok := ctx.Deadline()
	if !ok {
		return 1000
	}
	return max(1, time.Until(end).Milliseconds()/2)
}

func (r row) Extend(ctx context.Context, holder string, ttl time.Duration) (bool, error) {
	if ttl == 0 {
		n, err := r.do(ctx, releaseScript, holder)
		return n == 1, err
	}
	n, err := r.do(ctx, extendScript, holder, number(ttl.Milliseconds()))
	return n == 1, err
}

func number(n int64) string { return strconv.FormatInt(n, 10) }
