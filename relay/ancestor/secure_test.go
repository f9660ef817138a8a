package ancestor

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
)

// A peer that is silent in a circuit, or stops halfway, is cut off after 10 s,
// and nothing is left of it.
func TestSilentPeer(t *testing.T) {
	for name, said := range map[string]string{"nothing": "", "half a message": "\x00\x20abc", "none of Noise": "\x00\x03abc"} {
		for _, dialed := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a, la := alone(t, nil)
					x, y := circuits(a.Identity(), identity.New().Remote())
					x.Dialed = dialed
					go io.Copy(io.Discard, y)
					go io.WriteString(y, said)
					began := time.Now()
					require.Error(t, taker{la}.Take(t.Context(), x))
					require.LessOrEqual(t, time.Since(began), handshakeIn)
					_, err := x.Write([]byte{1})
					require.ErrorIs(t, err, io.ErrClosedPipe)
					require.Empty(t, la.running().making)
					require.Empty(t, la.running().through)
					y.Close()
				})
			})
		}
	}
}

// A relay that names another node as the caller is detected.
func TestRelayNamesAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, la := alone(t, nil)
		b, lb := alone(t, nil)
		x, y := circuits(a.Identity(), b.Identity())
		y.Peer = identity.New().Remote()
		taken := make(chan error, 1)
		go func() { taken <- taker{lb}.Take(t.Context(), y) }()
		_ = taker{la}.Take(t.Context(), x) // it may have done its part before the refusal
		require.ErrorIs(t, <-taken, errOtherPeer)
		require.Empty(t, b.Peers())
	})
}
