package redis

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/relay/token"
)

func TestRevoked(t *testing.T) {
	both(t, func(t *testing.T, client redis.UniversalClient) {
		log := slog.New(slog.DiscardHandler)
		issuer := identity.New().Remote()
		one, err := NewRevoked(t.Context(), client, log)
		require.NoError(t, err)
		two, err := NewRevoked(t.Context(), client, log)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { two.Run(ctx); close(done) }()
		require.Eventually(t, func() bool { return client.PubSubNumSub(ctx, revokedChannel).Val()[revokedChannel] == 1 }, 30*time.Second, time.Millisecond)
		require.False(t, two.Has(issuer, 7))
		require.NoError(t, one.Revoke(ctx, issuer, 7))
		require.True(t, one.Has(issuer, 7))
		require.Eventually(t, func() bool { return two.Has(issuer, 7) }, 30*time.Second, time.Millisecond)
		require.False(t, two.Has(issuer, 8))
		require.False(t, two.Has(payer.Issuer, 7))
		cancel()
		<-done
	})
}

// A revoked token is forgotten once it has certainly expired.
func TestRevokedExpires(t *testing.T) {
	m, client := mini(t)
	r, err := NewRevoked(t.Context(), client, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	begin := time.Now()
	m.SetTime(begin)
	require.NoError(t, r.Revoke(t.Context(), payer.Issuer, 1))
	m.SetTime(begin.Add(token.MaxLife + token.Tolerance))
	require.NoError(t, r.Revoke(t.Context(), payer.Issuer, 2))
	require.True(t, r.Has(payer.Issuer, 1))
	m.SetTime(begin.Add(revokedFor + time.Second))
	require.NoError(t, r.Revoke(t.Context(), payer.Issuer, 3))
	require.False(t, r.Has(payer.Issuer, 1))
	require.True(t, r.Has(payer.Issuer, 2))
}
