package quic_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/quic"
)

// A peer that has come back has a connection that works, and an old one that it
// knows nothing of: new streams take the new one.
func TestPeerComesBack(t *testing.T) {
	t.Parallel()
	seed := randomBytes(32)
	a := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, quic.Config{})
	before := startWith(t, seed, nil, p2p.Config{Handler: p2p.HandlerFunc(echo)})
	r := newRelay(t, before.addr())
	peer := a.knows(t, before, r.addr)
	s, err := peer.NewStream(within(t))
	require.NoError(t, err)
	exchange(t, s, "one")
	r.drop() // the peer has crashed: nothing from it arrives any more

	again := startWith(t, seed, nil, p2p.Config{Handler: p2p.HandlerFunc(echo)})
	s, err = again.knows(t, a).NewStream(within(t))
	require.NoError(t, err)
	exchange(t, s, "back")
	require.Len(t, peer.Info().Connections, 2)
	s, err = peer.NewStream(within(t))
	require.NoError(t, err)
	exchange(t, s, "two")
}

// A peer that was killed and is announced at another port is reached there at
// once, and its old connection is given up.
func TestPeerAnnouncedElsewhere(t *testing.T) {
	t.Parallel()
	seed := randomBytes(32)
	a := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, quic.Config{})
	before := startWith(t, seed, nil, p2p.Config{Handler: p2p.HandlerFunc(echo)})
	r := newRelay(t, before.addr())
	peer := a.knows(t, before, r.addr)
	old, err := peer.NewStream(within(t))
	require.NoError(t, err)
	_, err = io.WriteString(old, "a")
	require.NoError(t, err)
	_, err = io.ReadFull(old, make([]byte, 1))
	require.NoError(t, err)
	again := startWith(t, seed, nil, p2p.Config{Handler: p2p.HandlerFunc(echo)})
	r.drop()
	a.knows(t, again)
	_, err = old.Read(make([]byte, 1))
	require.ErrorIs(t, err, p2p.ErrConnectionLost)
	require.ErrorContains(t, err, "it was closed", "and not silent for 13 s")
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

// A write deadline that passes before anything was written does no harm.
func TestDeadlineBeforeTheFirstByte(t *testing.T) {
	t.Parallel()
	a := start(t, p2p.Config{}, quic.Config{})
	b := start(t, p2p.Config{Handler: p2p.HandlerFunc(echo)}, quic.Config{})
	peer := a.knows(t, b)
	open := func() *p2p.Stream {
		s, err := peer.NewStream(within(t))
		require.NoError(t, err)
		return s
	}
	exchange(t, open(), "one") // from now on, b is known to speak version 2

	s := open()
	require.NoError(t, s.SetWriteDeadline(time.Unix(1, 0)))
	_, err := s.Write([]byte("a"))
	require.Error(t, err)
	require.NoError(t, s.SetWriteDeadline(time.Time{}))
	exchange(t, s, "two")

	s = open()
	require.NoError(t, s.SetWriteDeadline(time.Unix(1, 0)))
	require.NoError(t, s.CloseWrite())
	rest, err := io.ReadAll(s)
	require.NoError(t, err)
	require.Empty(t, rest)
	require.NoError(t, s.Close())

	s = open()
	require.NoError(t, s.SetWriteDeadline(time.Unix(1, 0)))
	require.NoError(t, s.Close())
}

// A node's last message on a stream is not lost if the node shuts down at once:
// the node lingers for some milliseconds, without which one message of five
// would be lost. On a busy machine, that may occasionally be too short.
func TestResetBeforeShutdown(t *testing.T) {
	t.Parallel()
	lost := 0
	for round := range 40 {
		if round == 15 && lost == 0 {
			return
		}
		if err := resetsAndShutsDown(t); !errors.Is(err, p2p.FirstAppCode) {
			require.ErrorIs(t, err, p2p.ErrConnectionLost)
			t.Logf("round %d: %v", round, err)
			lost++
		}
	}
	require.LessOrEqual(t, lost, 4)
}

// resetsAndShutsDown returns the error that a handler gets on a stream that a
// node resets before it shuts down.
func resetsAndShutsDown(t *testing.T) error {
	a := start(t, p2p.Config{}, quic.Config{})
	heard := make(chan error, 1)
	b := start(t, p2p.Config{Handler: p2p.HandlerFunc(func(_ context.Context, s *p2p.Stream) error {
		s.Write([]byte("x"))
		_, err := io.Copy(io.Discard, s)
		heard <- err
		return err
	})}, quic.Config{})
	peer := a.knows(t, b)
	s, err := peer.NewStream(within(t))
	for errors.Is(err, os.ErrDeadlineExceeded) { // on a busy machine, the introduction may time out
		s, err = peer.NewStream(within(t))
	}
	require.NoError(t, err)
	_, err = s.Write([]byte("x"))
	require.NoError(t, err)
	_, err = io.ReadFull(s, make([]byte, 1))
	require.NoError(t, err)
	s.Reset(p2p.FirstAppCode)
	require.NoError(t, a.Shutdown(within(t)))
	return receive(t, heard)
}

// A manual peer that closes each connection is not dialed again at once.
func TestManualPeerThatCuts(t *testing.T) {
	t.Parallel()
	f := newForeigner(t, ed25519Key(t, randomBytes(32)))
	cut := make(chan struct{}, 64)
	f.mux.AddHandler("/sdp2p/2/meta", func(_ string, s io.ReadWriteCloser) error {
		s.Read(make([]byte, 1)) // the node's metadata; its version is known now
		cut <- struct{}{}
		return s.(network.Stream).Conn().Close()
	})
	a := start(t, p2p.Config{}, quic.Config{ManualPeers: []string{f.addr.String()}})
	began := time.Now()
	for range 3 {
		receive(t, cut)
	}
	require.GreaterOrEqual(t, time.Since(began), 2*time.Second, "1 s and 2 s lie between them")
	require.Equal(t, quic.ManualReached, a.manual(t).State)
}

// An ancestor that does not end its side of a stream does not hold up the end
// of the listener. If it did, it would do so every time, whereas a busy machine
// is slow only sometimes.
func TestAncestorThatLingers(t *testing.T) {
	t.Parallel()
	for range 5 {
		if took := unregistersBesideLingering(t); took < firstFrame {
			return
		}
	}
	t.Fatal("the listener waits for the ancestor")
}

// unregistersBesideLingering returns the time that a listener takes to end
// while an ancestor leaves a stream open.
func unregistersBesideLingering(t *testing.T) time.Duration {
	v := readAncestorVectors(t)
	f := newForeigner(t, ed25519Key(t, unhex(t, v.ResponderSeed)))
	done := make(chan struct{})
	f.mux.AddHandler("/sdp2p/1", func(_ string, s io.ReadWriteCloser) error {
		io.ReadFull(s, make([]byte, 1))
		s.Write(unhex(t, v.Mode1Identity))
		io.ReadFull(s, make([]byte, len(v.Mode1Then)/2))
		s.Write(unhex(t, v.Mode1Metadata))
		s.Read(make([]byte, 1)) // the node has ended its side
		close(done)
		return nil
	})
	n := startWith(t, unhex(t, v.InitiatorSeed), v.InitiatorMetadata, p2p.Config{})
	require.NoError(t, n.listener.SetManualPeers([]string{f.addr.String()}))
	receive(t, done)
	began := time.Now()
	require.NoError(t, n.Unregister(within(t), n.listener))
	return time.Since(began)
}

// firstFrame is the time limit for an ancestor's stream.
const firstFrame = 5 * time.Second

// Ending a stream that the peer has stopped reading does not look like a lost
// connection.
func TestEndOfAStreamThatIsNotRead(t *testing.T) {
	t.Parallel()
	n := start(t, p2p.Config{}, quic.Config{})
	f := newHostile(t)
	f.mux.AddHandler("/sdp2p/2", func(_ string, s io.ReadWriteCloser) error {
		s.(network.Stream).CloseRead()
		s.Write([]byte("x"))
		return nil
	})
	s, err := n.discovers(t, f, 0).NewStream(within(t))
	require.NoError(t, err)
	_, err = s.Write([]byte("x"))
	require.NoError(t, err)
	_, err = s.Read(make([]byte, 1))
	require.NoError(t, err)
	var reset *p2p.ResetError
	require.Eventually(t, func() bool { _, err := s.Write([]byte("y")); return errors.As(err, &reset) }, patience, time.Millisecond)
	err = s.CloseWrite()
	require.ErrorAs(t, err, &reset)
	require.NotErrorIs(t, err, p2p.ErrConnectionLost)
	s.Close()
}
