package dnssd_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
)

// Two nodes see each other at most 1.2 s after the later one starts (RFC 6762
// §8.1, §8.3), and a clean shutdown is seen after the second that RFC 6762
// §10.1 demands.
func TestFindEachOther(t *testing.T) {
	for range 20 {
		bubble(t, func(t *testing.T) {
			link := dnssdtest.NewLink()
			a := run(t, hostOn(link, eth(1)), service("a", "name=Zoë"))
			pass(5 * time.Second)
			b := run(t, hostOn(link, eth(2)), service("b"))
			pass(1200 * time.Millisecond)
			require.Equal(t, "found b", a.log())
			require.Equal(t, "found a", b.log())
			found := b.seen()[0]
			require.Less(t, found.at, 300*time.Millisecond)
			require.Equal(t, []string{"name=Zoë"}, found.found.TXT)
			require.Equal(t, "[10.0.0.1:4242]", sprint(found.found.Addrs))
			require.Equal(t, "[[fe80::1%eth0]:4242]", sprint(found.found.LinkLocal))
			require.Equal(t, []string{"eth0"}, found.found.Interfaces)
			require.Equal(t, 120*time.Second, found.found.TTL)

			a.stop()
			pass(1100 * time.Millisecond)
			require.Equal(t, "found a, lost a", b.log())
			require.Empty(t, b.Instances())
		})
	}
}
