package redis

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/relay/token"
)

const (
	revokedKey     = "sdp2p:revoked"
	revokedChannel = "sdp2p:revoked"
	// A revoked token is kept until it has certainly expired.
	revokedFor = token.MaxLife + 2*token.Tolerance
)

// revoke: KEYS revoked; ARGV token, milliseconds. It removes expired tokens.
var revoke = redis.NewScript(`
local now = tonumber(redis.call('TIME')[1]) * 1000
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[1])
return 1
`)

// Revoked are the revoked tokens that a relay knows. While Redis does not
// answer, the known ones stay revoked.
type Revoked struct {
	client redis.UniversalClient
	log    *slog.Logger

	mu  sync.Mutex
	all map[string]struct{}
}

// NewRevoked reads the revoked tokens. It fails if Redis does not answer.
func NewRevoked(ctx context.Context, client redis.UniversalClient, log *slog.Logger) (*Revoked, error) {
	r := &Revoked{client: client, log: log}
	return r, r.read(ctx)
}

func member(issuer identity.RemoteIdentity, serial uint32) string {
	return issuer.String() + " " + strconv.FormatUint(uint64(serial), 10)
}

// Revoke revokes a token, for all relays.
func (r *Revoked) Revoke(ctx context.Context, issuer identity.RemoteIdentity, serial uint32) error {
	if err := revoke.Run(ctx, r.client, []string{revokedKey}, member(issuer, serial), revokedFor.Milliseconds()).Err(); err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	if err := r.client.Publish(ctx, revokedChannel, member(issuer, serial)).Err(); err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	return r.read(ctx)
}

// Has reports whether a token is revoked.
func (r *Revoked) Has(issuer identity.RemoteIdentity, serial uint32) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.all[member(issuer, serial)]
	return ok
}

// Run keeps the revoked tokens up to date until ctx is done: at once, or within
// 20 s if a message was missed.
func (r *Revoked) Run(ctx context.Context) {
	subscription := r.client.Subscribe(ctx, revokedChannel)
	defer subscription.Close()
	changed := subscription.Channel()
	for {
		if err := r.read(ctx); err != nil && ctx.Err() == nil {
			r.log.Error("the revoked tokens cannot be read", "cause", err)
		}
		select {
		case <-changed:
		case <-time.After(lookAgain):
		case <-ctx.Done():
			return
		}
	}
}

func (r *Revoked) read(ctx context.Context) error {
	names, err := r.client.ZRange(ctx, revokedKey, 0, -1).Result()
	if err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	all := make(map[string]struct{}, len(names))
	for _, n := range names {
		all[n] = struct{}{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = all
	return nil
}
