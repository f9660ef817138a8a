package main

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/exampletest"
	"github.com/sdp2p/p2p/internal/reach"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/mdns"
	"github.com/sdp2p/p2p/mdns/scan"
	"github.com/sdp2p/p2p/quic"
)

// Two private devices pair by a ticket, and find each other again after a
// restart, while a scan finds neither of them.
func TestPrivate(t *testing.T) {
	t.Parallel()
	lo := exampletest.Loopback(t)
	if len(reach.Look().Addrs([]netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:1")}, 1)) == 0 {
		t.Skip("no address that a ticket can name")
	}
	private := func(libraries *library.Libraries) []p2p.Hook {
		return network(quic.Config{}, mdns.Config{Interfaces: []string{lo}}, true, libraries)
	}
	folders := []string{filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")}
	a, b := sitAt(t, private, folders[0], "Anna", "new"), sitAt(t, private, folders[1], "Bert", "")
	a.sees("(?m)^ok$")
	a.says("invite")
	b.says("join " + a.sees("sdp2p1:[A-Z2-7]+"))
	require.Equal(t, a.sees(`shows the digits \d{6}`), b.sees(`shows the digits \d{6}`))
	a.says("yes")
	b.says("yes")
	a.sees(`\* "Bert" has joined`)
	b.sees(`\* joined`)
	a.quits()
	b.quits()

	a, b = sitAt(t, private, folders[0], "Anna", ""), sitAt(t, private, folders[1], "Bert", "")
	a.says("add milk")
	require.Eventually(t, func() bool {
		b.says("list")
		return strings.Contains(b.out.String(), "milk")
	}, time.Minute, 100*time.Millisecond)
	found, err := scan.Scan(t.Context(), "notes", scan.Config{Interface: lo})
	require.NoError(t, err)
	for _, n := range found { // demos may run at the same time
		require.NotContains(t, []string{"Anna", "Bert"}, n.Metadata["name"])
	}
	a.quits()
	b.quits()
}
