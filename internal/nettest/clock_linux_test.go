package nettest

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/netlab"
	"github.com/sdp2p/p2p/quic"
)

// A wrong clock, at the start or at the peer, does not make a node unreachable:
// a node's certificate is valid at any time that a clock may show, and each
// certificate proves the node's key. (In a lab, the clock of a single process
// cannot be set: how a node treats a peer's certificate is tested in package
// quic.)
func TestCertificateAtAnyTime(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 2)
	n := start(t, lab.Hosts[0], nodeConfig{QUIC: true, Port: quic.DefaultPort})
	p := startAttack(t, lab.Hosts[1], attackConfig{
		Mode: "clock", Target: netip.AddrPortFrom(n.host.Addr4(), quic.DefaultPort), Lasts: time.Minute,
	})
	defer p.Kill()
	p.Await(time.Time{}, "done")
	seen, now := 0, time.Now()
	for _, e := range p.Events() {
		if e.Name != "certificate" {
			continue
		}
		seen++
		from, err := time.Parse(time.RFC3339, e.About[0])
		require.NoError(t, err)
		to, err := time.Parse(time.RFC3339, e.About[1])
		require.NoError(t, err)
		for _, at := range []time.Time{time.Unix(0, 0).AddDate(10, 0, 0), now.Add(-2 * time.Hour), now.Add(24 * time.Hour), now.AddDate(500, 0, 0)} {
			require.True(t, at.After(from) && at.Before(to), "valid from %v to %v, not at %v", from, to, at)
		}
		require.Equal(t, "1", e.About[2])
	}
	require.GreaterOrEqual(t, seen, 50) // the limit of connections may stop the others
}
