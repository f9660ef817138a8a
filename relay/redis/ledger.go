package redis

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/relay/server"
	"github.com/sdp2p/p2p/relay/token"
)

const (
	keep   = 400 * 24 * time.Hour // how long sums are kept
	expire = 24 * time.Hour       // unsettled grants are dropped after this: their bytes stay booked

	usedPrefix  = "sdp2p:used:"
	grantPrefix = "sdp2p:grant:"
	owedPrefix  = "sdp2p:owed:"

	largest = 1 << 53 // Lua represents integers up to this one exactly
)

// period returns the start of the current period by the server's clock, as
// server.Cycle does. The month is computed as in "chrono-Compatible Low-Level
// Date Algorithms" (Hinnant).
const period = `
local function period(cycle)
	local t = tonumber(redis.call('TIME')[1])
	if cycle == 'hour' then return t - t % 3600 end
	local day = math.floor(t / 86400)
	if cycle == 'day' then return day * 86400 end
	local z = day + 719468
	local doe = z % 146097
	local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
	local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
	local mp = math.floor((5 * doy + 2) / 153)
	local d = doy - math.floor((153 * mp + 2) / 5) + 1
	return (day - d + 1) * 86400
end
local function name(p) return KEYS[1] .. ':' .. string.format('%.0f', p) end
local function add(key, n, ttl)
	if n == 0 then n = 0 end -- Lua has a -0, which Redis does not take
	local sum = redis.call('INCRBY', key, string.format('%.0f', n))
	if redis.call('PTTL', key) < 0 then redis.call('PEXPIRE', key, ttl) end
	return sum
end
`

// take: KEYS used, grant; ARGV cycle, want, limit, keep, expire. If it is
// called again with the same grant, since the first answer was lost, it returns
// the same answer.
var take = redis.NewScript(period + `
local before = redis.call('GET', KEYS[2])
if before then
	local n, p = string.match(before, '(%d+) (%d+)')
	return {tonumber(n), tonumber(p), tonumber(redis.call('GET', name(tonumber(p))) or '0')}
end
local p = period(ARGV[1])
local used = tonumber(redis.call('GET', name(p)) or '0')
local n, limit = tonumber(ARGV[2]), tonumber(ARGV[3])
if limit >= 0 then n = math.min(n, limit - used) end
if n <= 0 then return {0, p, used} end
redis.call('SET', KEYS[2], string.format('%.0f %.0f', n, p), 'PX', ARGV[5])
return {n, p, add(name(p), n, ARGV[4])}
`)

// give: KEYS used, grant; ARGV unused, keep.
var give = redis.NewScript(period + `
local grant = redis.call('GET', KEYS[2])
if not grant then return 0 end
redis.call('DEL', KEYS[2])
local n, p = string.match(grant, '(%d+) (%d+)')
local unused = math.min(tonumber(ARGV[1]), tonumber(n))
local used = redis.call('GET', name(tonumber(p)))
if not used then return 0 end
add(name(tonumber(p)), -math.min(unused, tonumber(used)), ARGV[2])
return 1
`)

// owe: KEYS used, owed; ARGV cycle, unused, keep.
var owe = redis.NewScript(period + `
if not redis.call('SET', KEYS[2], '1', 'NX', 'PX', ARGV[3]) then return 0 end
local p = period(ARGV[1])
local used = tonumber(redis.call('GET', name(p)) or '0')
add(name(p), -math.min(tonumber(ARGV[2]), used), ARGV[3])
return 1
`)

// now: KEYS used; ARGV cycle.
var now = redis.NewScript(period + `return redis.call('GET', name(period(ARGV[1]))) or '0'`)

// A Ledger is a [server.Ledger] that relays share.
type Ledger struct {
	client redis.UniversalClient
	cycle  server.Cycle
}

var _ server.Ledger = (*Ledger)(nil)

// NewLedger returns a ledger. All relays that share it must use the same cycle.
func NewLedger(client redis.UniversalClient, cycle server.Cycle) *Ledger {
	return &Ledger{client, cycle}
}

// tag returns the hash tag of an account.
func tag(a token.Account) string { return "{" + a.Issuer.String() + ":" + a.Number.String() + "}" }

// Take grants bytes: see [server.Ledger].
func (l *Ledger) Take(ctx context.Context, a token.Account, want, limit int64) (server.Grant, error) {
	g := server.NewGrant(a, 0, 0, 0)
	keys := []string{usedPrefix + tag(a), grantPrefix + tag(a) + ":" + hex.EncodeToString(g.ID[:])}
	got, err := take.Run(ctx, l.client, keys, string(l.cycle), min(want, server.Chunk), min(limit, largest), keep.Milliseconds(), expire.Milliseconds()).Int64Slice()
	if err == nil && len(got) != 3 {
		err = fmt.Errorf("an answer of %d numbers", len(got))
	}
	if err != nil {
		g.Bytes = min(want, server.Chunk) // Redis may have booked it
		return g, fmt.Errorf("redis: %w", err)
	}
	g.Bytes, g.Period, g.Used = got[0], server.Period(got[1]), got[2]
	return g, nil
}

// Give settles a grant: see [server.Ledger].
func (l *Ledger) Give(ctx context.Context, g server.Grant, unused int64) error {
	used, id := usedPrefix+tag(g.Account), tag(g.Account)+":"+hex.EncodeToString(g.ID[:])
	var err error
	if g.Bytes == 0 {
		err = owe.Run(ctx, l.client, []string{used, owedPrefix + id}, string(l.cycle), unused, keep.Milliseconds()).Err()
	} else {
		err = give.Run(ctx, l.client, []string{used, grantPrefix + id}, unused, keep.Milliseconds()).Err()
	}
	if err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	return nil
}

// Used returns what an account has used: see [server.Ledger].
func (l *Ledger) Used(ctx context.Context, a token.Account, p server.Period) (int64, error) {
	key := usedPrefix + tag(a)
	var n int64
	var err error
	if p == 0 {
		n, err = now.Run(ctx, l.client, []string{key}, string(l.cycle)).Int64()
	} else if n, err = l.client.Get(ctx, key+":"+strconv.FormatInt(int64(p), 10)).Int64(); errors.Is(err, redis.Nil) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("redis: %w", err)
	}
	return n, nil
}

// Uses returns the use of all accounts, in no particular order. It requests
// each sum and each unsettled grant.
func (l *Ledger) Uses(ctx context.Context) ([]server.Use, error) {
	all := map[string]*server.Use{} // by tag and period
	get := func(tag, p string) *server.Use {
		u := all[tag+p]
		if u == nil {
			u = new(server.Use)
			u.Account, u.Period = parseTag(tag), parsePeriod(p)
			all[tag+p] = u
		}
		return u
	}
	err := l.each(ctx, usedPrefix, func(tag, p, value string) {
		get(tag, p).Bytes, _ = strconv.ParseInt(value, 10, 64)
	})
	if err == nil {
		err = l.each(ctx, grantPrefix, func(tag, _, value string) {
			if n, p, ok := strings.Cut(value, " "); ok {
				bytes, _ := strconv.ParseInt(n, 10, 64)
				get(tag, p).Held += bytes
			}
		})
	}
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	var uses []server.Use
	for _, u := range all {
		if u.Period != 0 {
			uses = append(uses, *u)
		}
	}
	return uses, nil
}

// each calls f with the parts of each key after a prefix, and the key's value.
func (l *Ledger) each(ctx context.Context, prefix string, f func(tag, last, value string)) error {
	scan := func(ctx context.Context, c redis.UniversalClient) error {
		keys := c.Scan(ctx, 0, prefix+"*", 1000).Iterator()
		for keys.Next(ctx) {
			value, err := c.Get(ctx, keys.Val()).Result()
			if errors.Is(err, redis.Nil) {
				continue // removed meanwhile
			}
			if err != nil {
				return err
			}
			if tag, last, ok := strings.Cut(strings.TrimPrefix(keys.Val(), prefix), "}:"); ok {
				f(tag+"}", last, value)
			}
		}
		return keys.Err()
	}
	if cluster, ok := l.client.(*redis.ClusterClient); ok {
		var mu sync.Mutex // masters are asked concurrently
		g := f
		f = func(tag, last, value string) {
			mu.Lock()
			defer mu.Unlock()
			g(tag, last, value)
		}
		return cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error { return scan(ctx, c) })
	}
	return scan(ctx, l.client)
}

// parseTag returns the account of a hash tag, or the zero account if the tag is
// not valid.
func parseTag(tag string) (a token.Account) {
	issuer, number, ok := strings.Cut(strings.Trim(tag, "{}"), ":")
	if !ok || a.Issuer.UnmarshalText([]byte(issuer)) != nil || a.Number.UnmarshalText([]byte(number)) != nil {
		return token.Account{Issuer: identity.RemoteIdentity{}}
	}
	return a
}

func parsePeriod(p string) server.Period {
	n, _ := strconv.ParseInt(p, 10, 64)
	return server.Period(n)
}
