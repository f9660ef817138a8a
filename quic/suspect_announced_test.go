package quic_test

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/quic"
)

// A peer that was killed and is announced at another port is reached there at
// once, and its old connection is given up.
func TestPeerAnnouncedElsewhere(t *testing.T) {
	t.Parallel()
	id, err := identity.FromSeed(randomBytes(32))
	require.NoError(t, err)
	cfg := quic.WithFaith(quic.Config{}, time.Hour)
	a := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, cfg)
	before := start(t, p2p.Config{Identity: id, Handler: p2p.HandlerFunc(echo)}, cfg)
	r := newRelay(t, before.addr())
	peer := a.knows(t, before, r.addr)
	old, err := peer.NewStream(within(t))
	require.NoError(t, err)
	_, err = io.WriteString(old, "a")
	require.NoError(t, err)
	_, err = io.ReadFull(old, make([]byte, 1))
	require.NoError(t, err)
	again := start(t, p2p.Config{Identity: id, Handler: p2p.HandlerFunc(echo)}, cfg)
	r.drop()
	lost := make(chan error, 1)
	go func() {
		_, err := old.Read(make([]byte, 1))
		lost <- err
	}()
	for patient := within(t); err == nil; {
		a.knows(t, again) // repeatedly, since a dial may fail on a busy machine
		select {
		case err = <-lost:
		case <-time.After(time.Second):
		case <-patient.Done():
			require.Fail(t, "the old connection stays")
		}
	}
	require.ErrorIs(t, err, p2p.ErrConnectionLost)
	require.ErrorContains(t, err, "it was closed", "and not silent for too long")
	s, err := peer.NewStream(within(t))
	require.NoError(t, err)
	exchange(t, s, "again")
	onlyOne(t, peer)
	old.Reset(p2p.ErrCanceled)
}

// onlyOne waits until a connection that has ended is no longer listed beside
// another one. No event reports that.
func onlyOne(t *testing.T, peer *p2p.Peer) {
	t.Helper()
	require.Eventually(t, func() bool { return len(peer.Info().Connections) == 1 }, patience, time.Millisecond)
}

// A forged announcement ends no connection. A peer that answers, however late,
// is not dialed at the announced address.
func TestForgedAnnouncement(t *testing.T) {
	t.Parallel()
	a := start(t, p2p.Config{}, quic.WithSlack(quic.Config{}, time.Hour))
	b := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, quic.Config{})
	r := newRelay(t, b.addr())
	r.lost = make(chan struct{}, 1)
	peer := a.knows(t, b, r.addr)
	require.NoError(t, send(within(t), peer, "one"))
	forged, dialed := silent(t)
	r.drop()
	a.knows(t, b, forged)
	for range 4 { // the peer is asked for a sign of life, again and again
		receive(t, r.lost)
	}
	r.resume()
	require.NoError(t, send(within(t), peer, "two")) // once the node knows that the peer answers
	require.Empty(t, dialed)
	require.Len(t, peer.Info().Connections, 1)
}

// A peer that is silent for a moment is dialed at the address of a forged
// announcement, in vain, and its connection stays.
func TestForgedAnnouncementOfASilentPeer(t *testing.T) {
	t.Parallel()
	a := start(t, p2p.Config{}, quic.Config{})
	b := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, quic.Config{})
	r := newRelay(t, b.addr())
	peer := a.knows(t, b, r.addr)
	s, err := peer.NewStream(within(t))
	require.NoError(t, err)
	say := func() {
		t.Helper()
		_, err := io.WriteString(s, "a")
		require.NoError(t, err)
		_, err = io.ReadFull(s, make([]byte, 1))
		require.NoError(t, err)
	}
	say()
	forged, dialed := silent(t)
	r.drop()
	a.knows(t, b, r.addr, forged)
	receive(t, dialed)
	r.resume()
	say()
	require.Len(t, peer.Info().Connections, 1)
	s.Reset(p2p.ErrCanceled)
}

// A peer has an old and a new connection, and is announced at the addresses of
// both, neither of which answers for a moment: streams do not wait for ever.
func TestBothAnnouncedAndSilent(t *testing.T) {
	t.Parallel()
	seed := randomBytes(32)
	a := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, quic.Config{})
	before := startWith(t, seed, nil, p2p.Config{Handler: p2p.HandlerFunc(echo)})
	there := newRelay(t, before.addr())
	peer := a.knows(t, before, there.addr)
	s, err := peer.NewStream(within(t))
	require.NoError(t, err)
	exchange(t, s, "one")

	again := startWith(t, seed, nil, p2p.Config{Handler: p2p.HandlerFunc(echo)})
	back := newRelay(t, a.addr())
	s, err = again.knows(t, a, back.addr).NewStream(within(t))
	require.NoError(t, err)
	exchange(t, s, "back")
	require.Len(t, peer.Info().Connections, 2)
	there.drop()
	back.drop()
	back.mu.Lock()
	now := back.back[again.addr()].LocalAddr().(*net.UDPAddr).AddrPort()
	back.mu.Unlock()
	a.knows(t, again, there.addr, netip.AddrPortFrom(now.Addr().Unmap(), now.Port()))
	time.AfterFunc(300*time.Millisecond, back.resume)
	s, err = peer.NewStream(within(t))
	require.NoError(t, err)
	exchange(t, s, "two")
}

// silent returns an address where nothing answers, and a channel that gets a
// value once the address was dialed.
func silent(t *testing.T) (netip.AddrPort, <-chan struct{}) {
	s, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	dialed := make(chan struct{}, 1)
	go func() {
		for b := make([]byte, 2048); ; {
			if _, _, err := s.ReadFrom(b); err != nil {
				return
			}
			select {
			case dialed <- struct{}{}:
			default:
			}
		}
	}()
	return s.LocalAddr().(*net.UDPAddr).AddrPort(), dialed
}

// A forged announcement delays no stream to a version 1 peer, which cannot be
// asked for a sign of life.
func TestForgedAnnouncementOfAnAncestor(t *testing.T) {
	t.Parallel()
	n := start(t, p2p.Config{}, quic.Config{DialTimeout: time.Hour})
	s := newSpacedrive(t, nil)
	peer := n.discovers(t, s.foreigner, 1)
	require.NoError(t, send(within(t), peer, "there"))
	at, _ := silent(t)
	require.NoError(t, n.scope.Discovered(s.id, nil, []p2p.Candidate{{Kind: p2p.Direct, Addr: at, Version: 1}}))
	require.NoError(t, send(within(t), peer, "again"))
}

// A peer that was silent for a moment is used again at its first sign of life,
// however long the dial to its announced address takes.
func TestSignOfLifeDuringADial(t *testing.T) {
	t.Parallel()
	a := start(t, p2p.Config{}, quic.Config{DialTimeout: time.Hour})
	b := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, quic.Config{})
	r := newRelay(t, b.addr())
	peer := a.knows(t, b, r.addr)
	require.NoError(t, send(within(t), peer, "there"))
	r.drop()
	at, dialed := silent(t)
	a.knows(t, b, at)
	receive(t, dialed)
	r.resume()
	require.NoError(t, send(within(t), peer, "again"))
}
