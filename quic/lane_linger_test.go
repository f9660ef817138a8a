package quic

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/carrier"
	"github.com/sdp2p/p2p/internal/junction"
)

// A circuit ends 2 s after its connection has left it; a circuit to which no
// connection has come ends after 10 s.
func TestCircuitEndsSoonAfterAMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}) // never read
		require.NoError(t, err)
		e := &endpoint{socket: carrier.New(c, carrier.Config{}), log: slog.New(slog.DiscardHandler)}
		var cancel context.CancelFunc
		e.ctx, cancel = context.WithCancel(t.Context())
		defer cancel()
		defer e.socket.Close()
		open := func() (l *lane, ended chan struct{}) {
			ours, theirs := net.Pipe()
			l, err := e.openLane(junction.Circuit{ReadWriteCloser: ours, Peer: identity.New().Remote()}, nil)
			require.NoError(t, err)
			ended = make(chan struct{})
			go func() {
				_, _ = theirs.Read(make([]byte, 1))
				close(ended)
			}()
			return l, ended
		}
		began := time.Now()
		left, first := open()
		_, second := open()
		signal(left.left)
		<-first
		require.Equal(t, laneLinger, time.Since(began))
		<-second
		require.Equal(t, laneTime, time.Since(began))
		e.tasks.Wait()
	})
}
