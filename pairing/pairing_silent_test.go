package pairing_test

import (
	"context"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/pairing"
)

// hold has a device keep four silent streams open to another one's pairing
// route, and open them again when they are reset, until ctx is done.
func (d *device) hold(t testing.TB, ctx context.Context, to *device) {
	t.Helper()
	peer, ok := d.Peer(to.Identity())
	require.True(t, ok)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for ctx.Err() == nil {
				s, err := peer.Open(ctx, pairing.Route)
				if err != nil {
					return
				}
				stop := context.AfterFunc(ctx, func() { s.Reset(p2p.ErrCanceled) })
				_, _ = io.Copy(io.Discard, s)
				stop()
				s.Close()
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
	t.Cleanup(all.Wait)
}

// TestSilentStrangers: silent strangers that hold all places for handshakes do
// not keep a device from joining.
func TestSilentStrangers(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := two(t, network)
		var strangers []*device
		for range 5 {
			strangers = append(strangers, newDevice().start(t, "?", network.Hooks()...))
		}
		pass(time.Second)
		i := a.invite(t, pairing.InviteConfig{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for _, s := range strangers {
			s.hold(t, ctx, a)
		}
		pass(3 * time.Second)
		began := time.Now()
		require.NoError(t, b.join(t.Context(), i.Ticket(), b.yes))
		require.Less(t, time.Since(began), time.Second)
		_, err := i.Wait(t.Context())
		require.NoError(t, err)
		cancel()
		pass(time.Second)
	})
}
