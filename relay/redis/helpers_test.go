package redis

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/relay/token"
)

var payer = token.Account{Issuer: identity.New().Remote(), Number: uuid.UUID{7}}

func mini(t *testing.T) (*miniredis.Miniredis, redis.UniversalClient) {
	m := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: m.Addr(), MaxRetries: -1})
	t.Cleanup(func() { client.Close() })
	return m, client
}

// real starts Debian's redis-server on a socket of its own.
func real(t *testing.T) redis.UniversalClient {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed: apt-get install redis-server")
	}
	dir, err := os.MkdirTemp("", "redis") // the path of a socket has to be short
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "socket")
	cmd := exec.Command(program, "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", dir)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: socket})
	t.Cleanup(func() { client.Close() })
	require.Eventually(t, func() bool { return client.Ping(context.Background()).Err() == nil }, 30*time.Second, 10*time.Millisecond)
	return client
}

// both runs a test with miniredis and with Redis.
func both(t *testing.T, f func(t *testing.T, client redis.UniversalClient)) {
	t.Run("miniredis", func(t *testing.T) { _, client := mini(t); f(t, client) })
	t.Run("redis", func(t *testing.T) { f(t, real(t)) })
}
