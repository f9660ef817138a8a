package quic

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/junction"
)

// A taking router reports every circuit as taken by another listener.
type taking struct{ junction.Router }

func (taking) Circuit(context.Context, identity.RemoteIdentity, netip.AddrPort, identity.RemoteIdentity, int) (junction.Circuit, error) {
	return junction.Circuit{}, junction.ErrTaken
}

// A dial does not wait for addresses that do not answer once another listener
// has a connection with the peer.
func TestTaken(t *testing.T) {
	silent, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer silent.Close()
	_, l, _ := startAlone(t, Config{})
	l.Circuits(taking{})
	defer l.Circuits(nil)
	_, err = l.Dial(t.Context(), identity.New().Remote(), []p2p.Candidate{
		{Kind: p2p.Direct, Addr: silent.LocalAddr().(*net.UDPAddr).AddrPort()},
		{Kind: p2p.Relay, Relay: identity.New().Remote()},
	})
	var failed *p2p.DialError
	require.ErrorAs(t, err, &failed)
	require.ErrorIs(t, failed.Attempts[1].Err, junction.ErrTaken)
	require.Condition(t, func() bool { err := failed.Attempts[0].Err; return err == errNotFinished || err == errDialFinished }, "%v", failed.Attempts[0].Err)
}
