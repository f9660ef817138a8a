package redis

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/relay/server"
)

func TestDirectory(t *testing.T) {
	both(t, func(t *testing.T, client redis.UniversalClient) {
		d := NewDirectory(client)
		one, two := server.Entry{Relay: identity.New().Remote(), Zone: "a", Capacity: 7}, server.Entry{Relay: identity.New().Remote(), Zone: "b"}
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		steps := []func(){
			func() { require.NoError(t, d.Publish(ctx, one, time.Minute)) },
			func() { require.NoError(t, d.Publish(ctx, two, time.Minute)) },
			func() { require.NoError(t, d.Publish(ctx, one, 0)) },
		}
		want := [][]server.Entry{{}, {one}, {one, two}, {two}}
		server.SortEntries(want[2])
		i := 0
		for all, err := range d.Watch(ctx) {
			require.NoError(t, err)
			require.Equal(t, want[i], all)
			if i == len(steps) {
				break
			}
			steps[i]()
			i++
		}
		require.Equal(t, len(steps), i)
		all, err := d.List(ctx, "b")
		require.NoError(t, err)
		require.Equal(t, []server.Entry{two}, all)
		all, err = d.List(ctx, "a")
		require.NoError(t, err)
		require.Empty(t, all)
	})
}

func TestDirectoryExpires(t *testing.T) {
	m, client := mini(t)
	d := NewDirectory(client)
	begin := time.Now()
	m.SetTime(begin)
	require.NoError(t, d.Publish(t.Context(), server.Entry{Relay: identity.New().Remote()}, time.Minute))
	m.SetTime(begin.Add(59 * time.Second))
	all, err := d.List(t.Context(), "")
	require.NoError(t, err)
	require.Len(t, all, 1)
	m.SetTime(begin.Add(61 * time.Second))
	all, err = d.List(t.Context(), "")
	require.NoError(t, err)
	require.Empty(t, all)
	require.Empty(t, m.Keys(), "no key is left")
}
