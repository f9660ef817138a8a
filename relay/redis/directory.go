package redis

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"reflect"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sdp2p/p2p/relay/server"
)

const (
	relaysChannel = "sdp2p:relays"
	lookAgain     = 20 * time.Second // between two reads, in case a message was missed
)

var relayKeys = []string{"sdp2p:{relays}:expiry", "sdp2p:{relays}:entry"}

// publish: KEYS expiry, entry; ARGV relay, entry, milliseconds.
var publish = redis.NewScript(`
local t = redis.call('TIME')
if tonumber(ARGV[3]) <= 0 then
	redis.call('ZREM', KEYS[1], ARGV[1])
	redis.call('HDEL', KEYS[2], ARGV[1])
else
	redis.call('ZADD', KEYS[1], tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000) + tonumber(ARGV[3]), ARGV[1])
	redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
end
return 1
`)

// list: KEYS expiry, entry. It removes expired entries.
var list = redis.NewScript(`
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
for _, relay in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)) do
	redis.call('ZREM', KEYS[1], relay)
	redis.call('HDEL', KEYS[2], relay)
end
return redis.call('HVALS', KEYS[2])
`)

// A Directory is a [server.Directory] that relays share.
type Directory struct{ client redis.UniversalClient }

var _ server.Directory = (*Directory)(nil)

// NewDirectory returns a directory.
func NewDirectory(client redis.UniversalClient) *Directory { return &Directory{client} }

// Publish announces a relay: see [server.Directory].
func (d *Directory) Publish(ctx context.Context, r server.Entry, ttl time.Duration) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := publish.Run(ctx, d.client, relayKeys, r.Relay.String(), b, ttl.Milliseconds()).Err(); err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	if err := d.client.Publish(ctx, relaysChannel, r.Relay.String()).Err(); err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	return nil
}

// List returns relays: see [server.Directory].
func (d *Directory) List(ctx context.Context, zone string) ([]server.Entry, error) {
	values, err := list.Run(ctx, d.client, relayKeys).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	all := []server.Entry{}
	for _, v := range values {
		var e server.Entry
		if err := json.Unmarshal([]byte(v), &e); err != nil {
			return nil, fmt.Errorf("redis: an entry of the directory: %w", err)
		}
		if zone == "" || e.Zone == zone {
			all = append(all, e)
		}
	}
	server.SortEntries(all)
	return all, nil
}

// Watch yields relays: see [server.Directory]. It notices within 20 s that an
// entry has expired.
func (d *Directory) Watch(ctx context.Context) iter.Seq2[[]server.Entry, error] {
	return func(yield func([]server.Entry, error) bool) {
		subscription := d.client.Subscribe(ctx, relaysChannel)
		defer subscription.Close()
		changed := subscription.Channel()
		var before []server.Entry
		for first := true; ; first = false {
			all, err := d.List(ctx, "")
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if (first || !reflect.DeepEqual(before, all)) && !yield(all, nil) {
				return
			}
			before = all
			select {
			case <-changed:
			case <-time.After(lookAgain):
			case <-ctx.Done():
				return
			}
		}
	}
}
