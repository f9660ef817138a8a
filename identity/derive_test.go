package identity_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
)

// Each socket of each node has a reset key of its own, and the same one after a
// restart.
func TestStatelessResetKey(t *testing.T) {
	seed := make([]byte, identity.SeedSize)
	id, err := identity.FromSeed(seed)
	require.NoError(t, err)
	again, err := identity.FromSeed(seed)
	require.NoError(t, err)
	require.Equal(t, id.StatelessResetKey(true, 7373), again.StatelessResetKey(true, 7373))
	keys := map[[32]byte]bool{}
	for _, id := range []identity.Identity{id, identity.New()} {
		for _, ipv6 := range []bool{false, true} {
			for _, port := range []uint16{7373, 7374, 7373 + 256} {
				keys[id.StatelessResetKey(ipv6, port)] = true
			}
		}
	}
	require.Len(t, keys, 12)
}

// Each link of each node has a host name of its own, and the same one after a
// restart.
func TestHostName(t *testing.T) {
	seed := make([]byte, identity.SeedSize)
	id, err := identity.FromSeed(seed)
	require.NoError(t, err)
	again, err := identity.FromSeed(seed)
	require.NoError(t, err)
	require.Equal(t, id.HostName("eth0"), again.HostName("eth0"))
	names := map[string]bool{}
	for _, id := range []identity.Identity{id, identity.New()} {
		for _, link := range []string{"", "eth0", "eth1", "en0"} {
			require.Regexp(t, "^[0-9a-f]{32}$", id.HostName(link))
			names[id.HostName(link)] = true
		}
	}
	require.Len(t, names, 8)
}
