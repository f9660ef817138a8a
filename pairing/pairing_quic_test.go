package pairing_test

import (
	"context"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/pairing"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/tunnel"
)

// The tests in this file run over QUIC on the loopback interface, without a
// discovery unless they say so.

func localAddr(t *testing.T, l *quic.Listener) netip.AddrPort {
	t.Helper()
	port, ok := l.Port()
	require.True(t, ok)
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
}

// local starts two devices over QUIC, and returns the first one's listener.
func local(t *testing.T, hooks ...p2p.Hook) (a, b *device, l *quic.Listener) {
	t.Helper()
	l = quic.New(quic.Config{})
	a = newDevice().start(t, "Alice's", append(hooks, l)...).create(t)
	b = newDevice().start(t, "Bob's", append(hooks, quic.New(quic.Config{}))...)
	return a, b, l
}

func (d *device) inviteAt(t *testing.T, addrs ...netip.AddrPort) *pairing.Invitation {
	t.Helper()
	return d.invite(t, pairing.InviteConfig{Addrs: addrs})
}

// knows tells a device another node's address.
func (d *device) knows(t *testing.T, id *p2p.P2P, at netip.AddrPort) {
	t.Helper()
	require.NoError(t, d.Register(t.Context(), hint{id, at}))
}

// A hint is a discovery that knows one node.
type hint struct {
	node *p2p.P2P
	at   netip.AddrPort
}

func (h hint) Name() string { return "hint" }
func (h hint) Run(ctx context.Context, s *p2p.Scope) error {
	if err := s.Discovered(h.node.Identity(), nil, []p2p.Candidate{{Kind: p2p.Manual, Addr: h.at}}); err != nil {
		return err
	}
	s.Ready()
	<-ctx.Done()
	return nil
}

func TestQUICTicket(t *testing.T) {
	t.Parallel()
	a, b, l := local(t)
	i := a.inviteAt(t, netip.MustParseAddrPort("127.0.0.1:1"), localAddr(t, l)) // the first does not answer
	ticket, err := pairing.ParseTicket(i.Ticket().Text())
	require.NoError(t, err)
	require.NoError(t, b.join(t.Context(), ticket, b.yes))
	_, err = i.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, a.asked[0].Code, b.asked[0].Code)
	members(t, a, b)
	b.talks(t, a)
	a.talks(t, b)
	require.ErrorIs(t, b.join(t.Context(), ticket, b.yes), library.ErrAdded)
	require.NoError(t, b.libraries.Remove(a.lib.ID()))
	require.ErrorIs(t, b.join(t.Context(), ticket, b.yes), pairing.ErrUsed)

	require.Equal(t, l.Addrs(), a.invite(t, pairing.InviteConfig{}).Ticket().Addrs, "the addresses of this host")
	_, err = a.pairing.Invite(a.lib, pairing.InviteConfig{Confirm: a.yes, Addrs: make([]netip.AddrPort, 1)})
	require.ErrorContains(t, err, "address")
}

func TestQUICCode(t *testing.T) {
	t.Parallel()
	a, b, l := local(t)
	b.knows(t, a.P2P, localAddr(t, l))
	i := a.byCode(t, a.yes)
	require.NoError(t, b.joinByCode(t, a, b.yes))
	_, err := i.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, a.asked[0].Code, b.asked[0].Code)
	require.Equal(t, "Alice's", b.asked[0].Name)
	members(t, a, b)
	require.ErrorIs(t, b.joinByCode(t, a, b.yes), pairing.ErrPeerDeclined, "there is no invitation")
}

// The device that shows the ticket has moved to another port: a discovery knows
// the new one.
func TestQUICMoved(t *testing.T) {
	t.Parallel()
	network := p2ptest.NewNetwork(p2ptest.Config{})
	a, b, l := local(t, network.Discovery())
	i := a.inviteAt(t, localAddr(t, l))
	require.NoError(t, a.Unregister(t.Context(), l))
	time.AfterFunc(100*time.Millisecond, func() { a.Register(context.Background(), quic.New(quic.Config{})) })
	require.NoError(t, b.join(t.Context(), i.Ticket(), b.yes))
	_, err := i.Wait(t.Context())
	require.NoError(t, err)
	members(t, a, b)
}

func TestQUICGuessed(t *testing.T) {
	t.Parallel()
	a, b, l := local(t)
	b.knows(t, a.P2P, localAddr(t, l))
	guess := craft(t, a.Identity(), [16]byte{1}, time.Now().Add(time.Hour))
	_, none := b.present(t, guess)
	require.ErrorIs(t, none, tunnel.ErrHandshake)
	i := a.inviteAt(t, localAddr(t, l))
	_, stands := b.present(t, guess)
	require.Equal(t, none.Error(), stands.Error())
	require.ErrorIs(t, b.join(t.Context(), guess, b.yes), pairing.ErrRefused)
	require.NoError(t, b.join(t.Context(), i.Ticket(), b.yes))
}

// A node in the middle forwards everything, with a key of its own: a ticket
// fails in the handshake, and by code the digits differ.
func TestQUICInTheMiddle(t *testing.T) {
	t.Parallel()
	a, b, l := local(t)
	m := newDevice()
	relay := func(s *p2p.Stream, on *p2p.Stream) error {
		go func() { io.Copy(on, s); on.CloseWrite() }()
		_, err := io.Copy(s, on)
		return err
	}
	var mux p2p.Mux
	mux.HandleFunc(pairing.Route, p2p.Anyone, func(ctx context.Context, s *p2p.Stream) error {
		return relay(s, m.open(t, a.Identity(), pairing.Route))
	})
	mux.HandleFunc(pairing.CodeRoute, p2p.Anyone, func(ctx context.Context, s *p2p.Stream) error {
		on, own := m.open(t, a.Identity(), pairing.CodeRoute), nonce()
		expect(t, s, 33)
		on.Write(compares(t, on, m.Identity(), a.Identity()).open(own))
		s.Write(expect(t, on, 32))
		expect(t, s, 32)
		on.Write(own)
		return relay(s, on)
	})
	ml := quic.New(quic.Config{})
	var err error
	m.P2P, err = p2p.Start(t.Context(), p2p.Config{App: "pairing", Handler: &mux, Hooks: []p2p.Hook{ml}})
	require.NoError(t, err)
	t.Cleanup(func() { m.Shutdown(context.Background()) })
	m.knows(t, a.P2P, localAddr(t, l))

	i := a.inviteAt(t, localAddr(t, ml)) // the middle also answers at the other one's address
	ticket := i.Ticket()
	ticket.Node = m.Identity()
	require.ErrorIs(t, b.join(t.Context(), ticket, b.yes), pairing.ErrRefused)
	require.Empty(t, a.asked)

	b.knows(t, m.P2P, localAddr(t, ml))
	asked := make(chan pairing.Device, 2)
	deny := func(_ context.Context, d pairing.Device) bool { asked <- d; return false }
	i = a.byCode(t, deny)
	require.Error(t, b.joinByCode(t, m, func(ctx context.Context, d pairing.Device) bool { asked <- d; <-ctx.Done(); return false }))
	require.NotEqual(t, (<-asked).Code, (<-asked).Code)
	i.Cancel()
	nothing(t, a, b)
}

// A device that joins by a node's ticket knows, meanwhile, that the node speaks
// version 2; joining by code does not tell it.
func TestSpeaks(t *testing.T) {
	t.Parallel()
	a, b, l := local(t)
	i := a.inviteAt(t, localAddr(t, l))
	require.Zero(t, b.pairing.Speaks(a.Identity()))
	asked := 0
	require.NoError(t, b.join(t.Context(), i.Ticket(), func(ctx context.Context, d pairing.Device) bool {
		asked = b.pairing.Speaks(a.Identity())
		return true
	}))
	require.Equal(t, 2, asked)
	require.Zero(t, b.pairing.Speaks(a.Identity()))
}
