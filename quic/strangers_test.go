package quic_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	v1 "github.com/sdp2p/p2p/internal/v1"
	"github.com/sdp2p/p2p/quic"
)

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

// A version 1 stranger that has introduced itself is closed after its idle
// time, like any other stranger.
func TestAncestorIntroducesItself(t *testing.T) {
	t.Parallel()
	n := start(t, p2p.Config{}, quic.Config{Limits: quic.Limits{StrangerIdle: 5 * time.Second}})
	plain := newForeigner(t, ed25519Key(t, randomBytes(32)))
	pc := plain.connect(t, n)
	f := newForeigner(t, ed25519Key(t, randomBytes(32)))
	s := f.open(t, n, "/sdp2p/1")
	hello, err := (&v1.Hello{Identity: f.id.Bytes()}).AppendBinary(nil)
	require.NoError(t, err)
	_, err = s.Write([]byte{1})
	require.NoError(t, err)
	_, err = io.ReadFull(s, make([]byte, 32))
	require.NoError(t, err)
	_, err = s.Write(hello)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, s)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	closed(t, pc)
	require.Eventually(t, s.Conn().IsClosed, patience, 10*time.Millisecond, "a stranger that only it itself has introduced must not stay for ever")
}

// A peer that a hook tracks while it is connected is told everything.
func TestTrackedIsTold(t *testing.T) {
	t.Parallel()
	n := startExactly(t, p2p.Config{Name: "contact"}, quic.Config{}) // it is not announced
	other := start(t, p2p.Config{}, quic.Config{})
	s, err := other.knows(t, n).NewStream(within(t))
	require.NoError(t, err)
	s.Reset(p2p.ErrCanceled)
	peer := other.peer(t, n.Identity())
	_, err = peer.WaitMetadata(within(t))
	require.NoError(t, err)
	require.Empty(t, peer.Name())
	until(t, n, func() bool { _, ok := n.Peer(other.Identity()); return ok })
	n.scope.Track(other.Identity())
	require.Eventually(t, func() bool { return peer.Name() == "contact" }, patience, 10*time.Millisecond)
}

// Changes of metadata that arrive over version 1 are limited as well.
func TestAncestorFloodsMetadata(t *testing.T) {
	t.Parallel()
	n := start(t, p2p.Config{}, quic.Config{Limits: quic.Limits{StrangerIdle: -1}})
	f := newForeigner(t, ed25519Key(t, randomBytes(32)))
	c := f.connect(t, n)
	ctx, cancel := context.WithCancel(within(t))
	events := make(chan int, 1)
	sub := n.Subscribe()
	go func() {
		count := 0
		defer func() { events <- count }()
		for {
			select {
			case e := <-sub.C:
				if _, ok := e.(p2p.PeerMetadataModified); ok {
					count++
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	began := time.Now()
	const streams = 100
	for i := range streams {
		s, err := c.NewStream(within(t))
		require.NoError(t, err)
		_, err = io.WriteString(s, "\x13/multistream/1.0.0\n\x09/sdp2p/1\n")
		require.NoError(t, err)
		hello, err := (&v1.Hello{Identity: f.id.Bytes(), Metadata: v1.Metadata{"n": fmt.Sprint(i)}}).AppendBinary([]byte{1})
		require.NoError(t, err)
		_, err = s.Write(hello)
		require.NoError(t, err)
		s.CloseWrite()
		io.Copy(io.Discard, s)
	}
	took := time.Since(began)
	cancel()
	got := <-events
	t.Logf("%d changes of metadata in %v", got, took)
	require.LessOrEqual(t, float64(got), 16+4*(took.Seconds()+1))
}

// The path follows the connection when the peer's address changes.
func TestPathFollows(t *testing.T) {
	t.Parallel()
	a := start(t, p2p.Config{}, quic.Config{})
	b := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, quic.Config{})
	r := newRelay(t, b.addr())
	peer := a.knows(t, b, r.addr)
	require.NoError(t, send(within(t), peer, "there"))
	first := b.peer(t, a.Identity()).Info().Path.Remote
	r.mu.Lock()
	for from, out := range r.back {
		t.Cleanup(func() { out.Close() })
		delete(r.back, from) // like a NAT that has forgotten a mapping
	}
	r.mu.Unlock()
	require.NoError(t, send(within(t), peer, "again"))
	s, err := b.peer(t, a.Identity()).NewStream(within(t))
	require.NoError(t, err)
	defer s.Reset(p2p.ErrCanceled)
	require.Eventually(t, func() bool {
		require.NoError(t, send(within(t), peer, "more"))
		_, remote := s.Endpoints()
		return remote.String() != first.String()
	}, patience, 100*time.Millisecond)
	now := b.peer(t, a.Identity()).Info()
	require.Len(t, now.Connections, 1)
	require.Eventually(t, func() bool { return b.peer(t, a.Identity()).Info().Path.Remote != first }, patience, 10*time.Millisecond)
}
