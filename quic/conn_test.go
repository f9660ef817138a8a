package quic_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/quic"
)

// A relay forwards UDP packets between any host that writes to it and one
// address, until it is told to drop them.
type relay struct {
	socket *net.UDPConn
	addr   netip.AddrPort

	mu      sync.Mutex
	dropped bool
	lost    chan struct{} // gets a value when a packet was dropped; nil, or of size 1
	back    map[netip.AddrPort]*net.UDPConn
	wg      sync.WaitGroup
}

func newRelay(t testing.TB, to netip.AddrPort) *relay {
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	r := &relay{socket: socket, addr: socket.LocalAddr().(*net.UDPAddr).AddrPort(), back: map[netip.AddrPort]*net.UDPConn{}}
	r.wg.Go(func() {
		b := make([]byte, 1<<16)
		for {
			n, from, err := socket.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if out := r.out(t, from, to); out != nil {
				out.Write(b[:n])
			}
		}
	})
	t.Cleanup(func() {
		socket.Close()
		r.mu.Lock()
		for _, out := range r.back {
			out.Close()
		}
		r.mu.Unlock()
		r.wg.Wait()
	})
	return r
}

func (r *relay) out(t testing.TB, from, to netip.AddrPort) *net.UDPConn {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dropped {
		select {
		case r.lost <- struct{}{}:
		default:
		}
		return nil
	}
	if out := r.back[from]; out != nil {
		return out
	}
	out, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Error(err)
		return nil
	}
	r.back[from] = out
	r.wg.Go(func() {
		b := make([]byte, 1<<16)
		for {
			n, err := out.Read(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			r.mu.Lock()
			dropped := r.dropped
			r.mu.Unlock()
			if err == nil && !dropped {
				r.socket.WriteToUDPAddrPort(b[:n], from)
			}
		}
	})
	return out
}

func (r *relay) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropped = true
}

func (r *relay) resume() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropped = false
}

// A dial that waits for an answer takes the connection that the peer makes
// meanwhile.
func TestDialTakesAnInboundConnection(t *testing.T) {
	t.Parallel()
	a := start(t, p2p.Config{}, quic.Config{DialTimeout: patience})
	b := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, quic.Config{})
	nobody := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), quietPort(t))
	peer := a.knows(t, b, nobody)
	opened := make(chan error, 1)
	go func() {
		s, err := peer.NewStream(within(t))
		if err == nil {
			err = s.Close()
		}
		opened <- err
	}()
	s, err := b.knows(t, a).NewStream(within(t))
	require.NoError(t, err)
	s.Close()
	require.NoError(t, receive(t, opened))
}

// Both sides notice that the other has vanished without a word, and so do calls
// that wait for it.
func TestVanishedPeer(t *testing.T) {
	t.Parallel()
	begun, served := make(chan struct{}), make(chan error, 1)
	a := start(t, p2p.Config{}, quic.Config{})
	b := start(t, p2p.Config{Handler: p2p.HandlerFunc(func(_ context.Context, s *p2p.Stream) error {
		close(begun)
		_, err := io.Copy(io.Discard, s)
		served <- err
		return err
	})}, quic.Config{})
	r := newRelay(t, b.addr())
	peer := a.knows(t, b, r.addr)
	s, err := peer.NewStream(within(t))
	require.NoError(t, err)
	_, err = s.Write([]byte("hello"))
	require.NoError(t, err)
	receive(t, begun)
	r.drop()
	require.NoError(t, s.SetReadDeadline(time.Now().Add(patience))) // it is lost in 15 s
	_, err = s.Read(make([]byte, 1))
	require.ErrorIs(t, err, p2p.ErrConnectionLost)
	require.Error(t, err)
	require.NotErrorIs(t, err, io.EOF)
	err = receive(t, served)
	require.ErrorIs(t, err, p2p.ErrConnectionLost)
	require.NotErrorIs(t, err, io.EOF)
	until(t, a, func() bool { return !peer.Connected() })
	until(t, b, func() bool { return len(b.Peers()) == 0 })
	require.True(t, peer.Available(), "the discovery has not expired")
	s.Close()
}

// A peer that shuts down tells the other side.
func TestPeerShutsDown(t *testing.T) {
	t.Parallel()
	a := start(t, p2p.Config{}, quic.Config{})
	b := start(t, p2p.Config{Handler: p2p.HandlerFunc(func(ctx context.Context, s *p2p.Stream) error {
		s.Write([]byte("x"))
		<-ctx.Done()
		return nil
	})}, quic.Config{})
	peer := a.knows(t, b)
	s, err := peer.NewStream(within(t))
	require.NoError(t, err)
	_, err = s.Write([]byte("hello"))
	require.NoError(t, err)
	_, err = s.Read(make([]byte, 1))
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { // b would otherwise wait for the end of the stream
		_, err := s.Read(make([]byte, 1))
		s.Close()
		ended <- err
	}()
	require.NoError(t, b.Shutdown(within(t)))
	until(t, a, func() bool { return !peer.Connected() })
	require.Equal(t, io.EOF, receive(t, ended))
}

// An unused connection is closed, on both sides, and made again when it is
// needed.
func TestIdleConnectionIsClosed(t *testing.T) {
	t.Parallel()
	a := start(t, p2p.Config{}, quic.Config{IdleTimeout: time.Second})
	b := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, quic.Config{})
	peer := a.knows(t, b)
	for range 2 {
		s, err := peer.NewStream(within(t))
		require.NoError(t, err)
		exchange(t, s, "hello")
		until(t, a, func() bool { return !peer.Connected() })
		until(t, b, func() bool { return len(b.Peers()) == 0 })
		require.True(t, peer.Available())
	}
	// An open stream keeps the connection, however long the stream is silent.
	s, err := peer.NewStream(within(t))
	require.NoError(t, err)
	_, err = s.Write([]byte("a"))
	require.NoError(t, err)
	require.NoError(t, s.SetReadDeadline(time.Now().Add(3*time.Second)))
	_, err = io.Copy(io.Discard, s) // until the deadline, which is several idle times away
	require.Error(t, err)
	require.True(t, peer.Connected())
	require.NoError(t, s.SetReadDeadline(time.Time{}))
	require.NoError(t, s.CloseWrite())
	_, err = s.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
	require.NoError(t, s.Close())
}

// Two nodes that dial each other at the same time get two connections; each
// node reports one peer, once.
func TestSimultaneousDials(t *testing.T) {
	t.Parallel()
	for range 5 {
		a := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, quic.Config{})
		b := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, quic.Config{})
		heard := a.Subscribe()
		ab, ba := a.knows(t, b), b.knows(t, a)
		ctx := within(t)
		var wg sync.WaitGroup
		for _, peer := range []*p2p.Peer{ab, ba} {
			for range 4 {
				wg.Go(func() {
					s, err := peer.NewStream(ctx)
					if err == nil {
						_, err = s.Write([]byte("x"))
					}
					if err == nil {
						_, err = io.ReadFull(s, make([]byte, 1))
					}
					if err != nil {
						t.Error(err)
						return
					}
					s.Close()
				})
			}
		}
		wg.Wait()
		require.NoError(t, b.Shutdown(ctx))
		until(t, a, func() bool { return !ab.Connected() })
		heard.Close()
		ups, downs := 0, 0
		for e := range heard.C {
			switch e.(type) {
			case p2p.PeerConnectedWith:
				ups++
			case p2p.PeerDisconnectedWith:
				downs++
			}
		}
		require.Equal(t, 1, ups)
		require.Equal(t, 1, downs)
	}
}

// A candidate that does not answer delays the others by its head start, not by
// its time-out.
func TestDeadCandidate(t *testing.T) {
	t.Parallel()
	a := start(t, p2p.Config{}, quic.Config{DialTimeout: time.Hour})
	b := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, quic.Config{})
	// QUIC gives up an address after 5 s: with this many silent addresses on
	// either side of b's in the order of ports, the dial succeeds in time only
	// if each delays it by no more than its head start.
	var below, above []netip.AddrPort
	for len(below) < 5 || len(above) < 5 {
		silent, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		require.NoError(t, err)
		t.Cleanup(func() { silent.Close() })
		if addr := silent.LocalAddr().(*net.UDPAddr).AddrPort(); addr.Port() < b.addr().Port() {
			below = append(below, addr)
		} else {
			above = append(above, addr)
		}
	}
	dead := below[0]
	peer := a.knows(t, b, slices.Concat(below[:5], above[:5], []netip.AddrPort{b.addr()})...)
	s, err := peer.NewStream(within(t))
	require.NoError(t, err)
	exchange(t, s, "hello")

	linkLocal := netip.MustParseAddrPort("[fe80::1]:7373")
	other := start(t, p2p.Config{}, quic.Config{})
	peer = start(t, p2p.Config{}, quic.Config{}).knows(t, b, other.addr())
	_, err = peer.NewStream(within(t))
	require.ErrorIs(t, err, quic.ErrOtherPeer)
	c := start(t, p2p.Config{}, quic.Config{DialTimeout: 2 * time.Second})
	peer = c.knows(t, b, dead, linkLocal, netip.MustParseAddrPort("127.255.255.255:1"))
	_, err = peer.NewStream(within(t))
	var failed *p2p.DialError
	require.ErrorAs(t, err, &failed)
	require.Len(t, failed.Attempts, 3)
	for i, want := range []error{context.DeadlineExceeded, quic.ErrLinkLocal, quic.ErrNoAddress} {
		require.ErrorIs(t, failed.Attempts[i].Err, want)
	}
	require.Positive(t, failed.Attempts[0].Took)
	require.ErrorContains(t, err, dead.String())
	_, err = peer.NewStream(within(t)) // once more, without a pause: each is dialed again
	require.ErrorAs(t, err, &failed)
	require.ErrorIs(t, failed.Attempts[0].Err, context.DeadlineExceeded)

	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	peer = a.knows(t, other, dead)
	_, err = peer.NewStream(ctx)
	require.ErrorAs(t, err, &failed)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Len(t, failed.Attempts, 1)
	require.Error(t, failed.Attempts[0].Err)
}

// At most 200 streams of one peer are served at a time; the next one is told to
// try later, and the others go on.
func TestStreamLimit(t *testing.T) {
	t.Parallel()
	a := start(t, p2p.Config{}, quic.Config{})
	b := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, quic.Config{})
	peer := a.knows(t, b)
	open := func() (*p2p.Stream, error) {
		s, err := peer.NewStream(within(t))
		require.NoError(t, err)
		_, err = s.Write([]byte("x"))
		require.NoError(t, err)
		_, err = io.ReadFull(s, make([]byte, 1))
		return s, err
	}
	var streams []*p2p.Stream
	for range 200 {
		s, err := open()
		require.NoError(t, err)
		streams = append(streams, s)
	}
	s, err := open()
	require.ErrorIs(t, err, p2p.ErrBusy)
	s.Close()
	for _, s := range streams {
		exchange(t, s, "still here")
	}
	until(t, b, func() bool {
		s, err := open()
		s.Close()
		return err == nil
	})
}

// A node without a handler refuses streams. The two ends of a connection export
// the same value, which no other connection exports.
func TestRefusalAndExporter(t *testing.T) {
	t.Parallel()
	exported := make(chan [32]byte, 2)
	a := start(t, p2p.Config{}, quic.Config{})
	b := start(t, p2p.Config{Handler: p2p.HandlerFunc(func(_ context.Context, s *p2p.Stream) error {
		v, _ := s.Exporter("EXPORTER-test")
		exported <- v
		return nil
	})}, quic.Config{})
	s, err := a.knows(t, b).NewStream(within(t))
	require.NoError(t, err)
	_, err = s.Write([]byte("x"))
	require.NoError(t, err)
	mine, ok := s.Exporter("EXPORTER-test")
	require.True(t, ok)
	require.Equal(t, mine, receive(t, exported))
	other, _ := s.Exporter("EXPORTER-other")
	require.NotEqual(t, mine, other)
	s.Close()

	s, err = b.knows(t, a).NewStream(within(t))
	require.NoError(t, err)
	_, err = s.Write([]byte("x"))
	require.NoError(t, err)
	_, err = s.Read(make([]byte, 1))
	require.ErrorIs(t, err, p2p.ErrRefused)
	s.Close()
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
