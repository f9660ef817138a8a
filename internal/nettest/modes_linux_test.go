package nettest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/netlab"
	"github.com/sdp2p/p2p/mdns"
)

// A node's mode changes while it runs, in any order. A stranger sees it, and
// can connect to it, only while it is enabled; a contact that is visible to
// contacts only, while both are in that mode.
func TestModesInAnyOrder(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 3)
	a := hidden(t, lab.Hosts[0], nodeConfig{}, keys[0], keys[1])
	b := hidden(t, lab.Hosts[1], nodeConfig{}, keys[1], keys[0])
	c := start(t, lab.Hosts[2], nodeConfig{MDNS: true, QUIC: true})
	meets(a, b, time.Time{})
	mode, held := mdns.ContactsOnly, false
	for _, next := range []mdns.Mode{
		mdns.Enabled, mdns.ContactsOnly, mdns.Disabled, mdns.ContactsOnly, mdns.Enabled, mdns.Disabled, mdns.Enabled, mdns.ContactsOnly,
	} {
		since := time.Now()
		_, err := netlab.Call[none](a.Process, "set mode", next)
		require.NoError(t, err)
		if mode == mdns.Enabled {
			c.Await(since, "expired", a.id, "mdns")
		}
		if mode == mdns.ContactsOnly {
			b.Await(since, "expired", a.id, "contact")
			b.Await(since, "disconnected", a.id, "quic")
		}
		if mode == mdns.Enabled && next == mdns.ContactsOnly {
			require.True(t, held)
			c.Await(since, "hold failed", a.id)
			c.Await(since, "disconnected", a.id, "quic")
			a.Await(since, "disconnected", c.id, "quic")
		}
		switch next {
		case mdns.Enabled:
			c.Await(since, "discovered", a.id, "mdns")
			_, err := netlab.Call[echoed](c.Process, "hold", holdArgs{Peer: a.id})
			require.NoError(t, err)
			until(t, func() bool { return at(a, c) != 0 })
			held = true
		case mdns.ContactsOnly:
			meets(a, b, since)
			a.echoes(b)
			b.echoes(a)
		}
		require.False(t, next == mdns.ContactsOnly && knows(c, a))
		require.False(t, knows(c, b))
		mode = next
	}
}

// knows reports whether a node has another one among its peers.
func knows(n, other *node) bool {
	for _, p := range ask[[]peerInfo](n, "peers") {
		if p.Identity == other.id {
			return true
		}
	}
	return false
}
