package nettest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/netlab"
	"github.com/sdp2p/p2p/quic"
)

// A host's only address goes away, and another one of the same network, or the
// same one, comes: at once or a second later. Or its interface goes and comes.
// Open streams go on, and so does the connection, whichever side dialed.
func TestStreamsOutliveAddress(t *testing.T) {
	t.Parallel()
	const dialer, listener = 0, 1
	for _, c := range []struct {
		name string
		host int
		then int // the index of the new address's set
		away time.Duration
		wire bool // whether the interface goes, too
	}{
		{"dialer, another address at once", dialer, 1, 0, false},
		{"dialer, another address after 1 s", dialer, 1, time.Second, false},
		{"dialer, another interface after 1 s", dialer, 0, time.Second, true},
		{"listener, the same address at once", listener, 0, 0, false},
		{"listener, the same address after 1 s", listener, 0, time.Second, false},
		{"listener, another interface after 1 s", listener, 0, time.Second, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			lab := netlab.New(t, 2)
			lab.Disconnect()
			link := lab.Segment(1, lab.Hosts...)
			only4 := func(h *netlab.Host) { link.Remove(h, link.Prefixes(h, 0)[1:]...) }
			for _, h := range lab.Hosts {
				only4(h)
			}
			b := start(t, lab.Hosts[listener], nodeConfig{QUIC: true, Port: quic.DefaultPort})
			a := start(t, lab.Hosts[dialer], nodeConfig{QUIC: true, Manual: []string{link.Prefixes(lab.Hosts[listener], 0)[0].Addr().String()}})
			until(t, func() bool { return a.manual().State == quic.ManualReached.String() })
			held := func() int64 { return min(ask[int64](a, "held"), ask[int64](b, "held")) }
			for n, to := range map[*node]*node{a: b, b: a} {
				_, err := netlab.Call[echoed](n.Process, "hold", holdArgs{Peer: to.id})
				require.NoError(t, err)
			}
			until(t, func() bool { return held() > 3 })

			h := lab.Hosts[c.host]
			began := time.Now()
			gone, back := link.Prefixes(h, 0)[0], link.Prefixes(h, c.then)[0]
			switch {
			case c.wire:
				link.Unplug(h)
				time.Sleep(c.away)
				link.Plug(h)
				only4(h)
			case c.away > 0:
				link.Remove(h, gone)
				time.Sleep(c.away)
				link.Add(h, back)
			default:
				h.Run("sh", "-c", fmt.Sprintf("printf 'addr del %s dev %s\naddr add %s dev %s\n' | ip -batch -", gone, link.Interface, back, link.Interface))
			}
			mended, round := time.Now(), max(ask[int64](a, "held"), ask[int64](b, "held"))
			failed := func() bool { return len(a.failedStreams(began))+len(b.failedStreams(began)) > 0 }
			until(t, func() bool { return held() > round+1 || failed() })
			t.Logf("the streams go on %v after the address is there", time.Since(mended))
			until(t, func() bool { return held() > round+20 || failed() })
			require.Empty(t, a.failedStreams(began))
			require.Empty(t, b.failedStreams(began))
			for _, n := range []*node{a, b} {
				for _, e := range n.Events() {
					require.NotEqual(t, "disconnected", e.Name)
				}
				require.Zero(t, n.logs("UDP socket failed"))
			}
		})
	}
}
