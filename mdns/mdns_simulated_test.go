package mdns

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
)

// The tests in this file run nodes on a network in memory, in a synctest
// bubble.

// A change of metadata leads to one event at other nodes, and so do several at
// the same time; a hundred changes within a second lead to two announcements
// and two events. Refreshes, for hours, lead to none.
func TestMetadataChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		a := join(t, link, 1, p2p.Config{}, Config{})
		b := join(t, link, 2, p2p.Config{}, Config{})
		pass(time.Minute)
		set := func(i int) {
			require.NoError(t, a.UpdateMetadata(func(m map[string]string) { m["n"] = fmt.Sprint(i) }))
		}
		sees := func(i int) {
			t.Helper()
			peer, ok := b.Peer(a.Identity())
			require.True(t, ok)
			require.Equal(t, fmt.Sprint(i), peer.Info().Metadata["n"])
		}
		announced := func() uint64 { return a.discovery.Stats().Sent.Announcements.Packets }
		require.Zero(t, count[p2p.PeerMetadataModified](b))

		before := announced()
		set(1)
		pass(time.Second)
		sees(1)
		pass(time.Hour)
		require.Equal(t, 1, count[p2p.PeerMetadataModified](b))
		require.EqualValues(t, 2, announced()-before, "it is repeated once (RFC 6762 §8.3)")

		for i := range 100 {
			set(100 + i)
		}
		pass(time.Minute)
		sees(199)
		require.Equal(t, 2, count[p2p.PeerMetadataModified](b))

		before = announced()
		for i := range 100 {
			set(200 + i)
			pass(9 * time.Millisecond)
		}
		pass(300 * time.Millisecond)
		sees(299)
		require.EqualValues(t, 2, announced()-before)
		require.Equal(t, 4, count[p2p.PeerMetadataModified](b))

		pass(4 * time.Hour)
		require.Equal(t, 4, count[p2p.PeerMetadataModified](b))
		require.Equal(t, 1, count[p2p.PeerAvailable](b))
		require.Zero(t, count[p2p.PeerUnavailable](b))
		require.Positive(t, b.discovery.Stats().Sent.Queries.Packets)
		require.Positive(t, b.discovery.Stats().Received.Responses.Packets)
	})
}

// If two devices have the same key, the second one reports that, once, with the
// address of the first one; what others see does not change for a day. When the
// first one leaves, the second takes its place.
func TestSameKeyTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		key := identity.New()
		var told []netip.Addr
		first := join(t, link, 1, p2p.Config{Identity: key}, Config{})
		observer := join(t, link, 3, p2p.Config{}, Config{})
		pass(time.Minute)
		second := join(t, link, 2, p2p.Config{Identity: key}, Config{Conflict: func(other netip.Addr) { told = append(told, other) }})
		pass(24 * time.Hour)
		other, ok := second.discovery.Conflict()
		require.True(t, ok)
		require.Equal(t, addrOf(1), other)
		require.Equal(t, []netip.Addr{addrOf(1)}, told)
		require.Equal(t, 1, second.logged("announced by somebody else"))
		_, ok = first.discovery.Conflict()
		require.False(t, ok)
		require.Zero(t, first.logged("announced by somebody else"))
		require.Len(t, first.Peers(), 1, "the observer, but not the node itself")
		require.Equal(t, 1, count[p2p.PeerAvailable](observer))
		require.Zero(t, count[p2p.PeerUnavailable](observer)+count[p2p.PeerMetadataModified](observer))
		peer, _ := observer.Peer(key.Remote())
		require.Equal(t, addrOf(1), peer.Info().Candidates[0].Addr.Addr())

		require.NoError(t, first.Shutdown(t.Context()))
		pass(2 * time.Minute)
		_, ok = second.discovery.Conflict()
		require.False(t, ok)
		require.Equal(t, []netip.Addr{addrOf(1), {}}, told)
		peer, ok = observer.Peer(key.Remote())
		require.True(t, ok)
		require.Equal(t, addrOf(2), peer.Info().Candidates[0].Addr.Addr())
	})
}
