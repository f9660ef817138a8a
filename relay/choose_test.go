package relay

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/sdp2p/p2p/identity"
)

// chosenOf returns the relays that a client chooses from a list for a node, and
// the number of zones in which they are, as far as the list tells.
func chosenOf(t require.TestingT, list []Server, of identity.RemoteIdentity) (all []identity.RemoteIdentity, zones int) {
	c := New(Config{})
	require.NoError(t, c.Set(list))
	c.mu.Lock()
	defer c.mu.Unlock()
	var in []Server
	for _, s := range c.relaysOf(of) {
		all = append(all, s.Identity)
		in = append(in, s.Server)
	}
	return all, zonesOf(in)
}

func zonesOf(list []Server) int {
	zones := map[string]bool{}
	for _, s := range list {
		zone := s.Zone
		if zone == "" {
			zone = s.Identity.String() // a relay without a zone counts as one of its own
		}
		zones[zone] = true
	}
	return len(zones)
}

// From a long list, a dialer and its callee choose the same relays, whatever
// the order of their lists: in at least two zones, if there are two; and the
// choice stays when another relay is removed from the list.
func TestChosenRelaysAreInTwoZones(t *testing.T) {
	relays := entries(16)
	rapid.Check(t, func(t *rapid.T) {
		list := slices.Clone(relays[:rapid.IntRange(shortList+2, len(relays)).Draw(t, "relays")])
		for i := range list {
			list[i].Zone = rapid.SampledFrom([]string{"", "a", "a", "a", "a", "b", "c"}).Draw(t, "zone")
		}
		key, err := identity.FromSeed(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "callee"))
		require.NoError(t, err)
		got, zones := chosenOf(t, list, key.Remote())
		require.Len(t, got, hashed)
		require.GreaterOrEqual(t, zones, min(Reservations, zonesOf(list)))
		same, _ := chosenOf(t, rapid.Permutation(list).Draw(t, "as the dialer has it"), key.Remote())
		require.Equal(t, got, same)
		struck := rapid.IntRange(0, len(list)-1).Draw(t, "struck")
		if !slices.Contains(got, list[struck].Identity) {
			still, _ := chosenOf(t, slices.Delete(slices.Clone(list), struck, struck+1), key.Remote())
			require.Equal(t, got, still)
		}
	})
}

// With 2,000 devices and relays in 5 zones, no device has all of its relays in
// one zone.
func TestNoDeviceInOneZone(t *testing.T) {
	list := entries(50)
	for i := range list {
		list[i].Zone = string(rune('a' + i%5))
	}
	c := New(Config{})
	require.NoError(t, c.Set(list))
	for range 2000 {
		var seed [32]byte
		for i := range seed {
			seed[i] = byte(rand.N(256))
		}
		key, err := identity.FromSeed(seed[:])
		require.NoError(t, err)
		var in []Server
		for _, s := range c.relaysOf(key.Remote()) {
			in = append(in, s.Server)
		}
		require.GreaterOrEqual(t, zonesOf(in), 2)
	}
}
