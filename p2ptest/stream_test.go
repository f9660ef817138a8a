package p2ptest_test

import (
	"context"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/p2ptest"
)

func TestVersion(t *testing.T) {
	network := p2ptest.NewNetwork(p2ptest.Config{})
	versions := make(chan int, 1)
	handler := p2p.HandlerFunc(func(_ context.Context, s *p2p.Stream) error {
		versions <- s.Version()
		return nil
	})
	a := network.Start(t, p2p.Config{})
	b := network.Start(t, p2p.Config{Handler: handler})
	ancestor := start(t, p2p.Config{App: "p2ptest", Handler: handler, Hooks: []p2p.Hook{
		network.Listener(p2ptest.ListenerConfig{Version: 1}), network.Discovery(),
	}})
	for _, c := range []struct {
		from, to *p2p.P2P
		version  int
	}{{a, b, 2}, {a, ancestor, 1}, {ancestor, b, 1}} {
		s := open(t, peerOf(t, c.from, c.to))
		require.NoError(t, s.CloseWrite())
		require.Equal(t, c.version, <-versions, "the version at the accepting end")
		require.Equal(t, c.version, s.Version())
	}
}

func TestAccessors(t *testing.T) {
	network := p2ptest.NewNetwork(p2ptest.Config{})
	inbound := make(chan *p2p.Stream, 1)
	a := network.Start(t, p2p.Config{})
	b := network.Start(t, p2p.Config{Handler: p2p.HandlerFunc(func(ctx context.Context, s *p2p.Stream) error {
		inbound <- s
		<-ctx.Done()
		return nil
	})})
	s := open(t, peerOf(t, a, b))
	_, err := s.Write([]byte{1})
	require.NoError(t, err)
	in := <-inbound
	require.Equal(t, a.Identity(), in.RemoteIdentity())
	require.Equal(t, s.LocalAddr(), in.RemoteAddr())
	require.Equal(t, s.RemoteAddr(), in.LocalAddr())
	local, remote := s.Endpoints()
	theirLocal, theirRemote := in.Endpoints()
	require.Equal(t, []net.Addr{local, remote}, []net.Addr{theirRemote, theirLocal})
	require.Equal(t, "p2ptest", local.Network())
	require.Equal(t, b.Listeners()[0].Addrs[0], s.Path().Remote)
	require.Equal(t, p2p.Direct, s.Path().Kind)
	require.True(t, s.Path().Dialed)

	key, ok := s.Exporter("label")
	require.True(t, ok)
	same, _ := in.Exporter("label")
	require.Equal(t, key, same)
	other, _ := s.Exporter("another label")
	require.NotEqual(t, key, other)
	network.Link(a.Identity(), b.Identity()).Cut()
	network.Link(a.Identity(), b.Identity()).Restore()
	s = open(t, peerOf(t, a, b))
	other, _ = s.Exporter("label")
	require.NotEqual(t, key, other, "the key of another connection")
}

func TestConcurrentDialsShareOneConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := p2ptest.NewNetwork(p2ptest.Config{})
		a := network.Start(t, p2p.Config{Handler: echo})
		b := network.Start(t, p2p.Config{Handler: echo})
		link := network.Link(a.Identity(), b.Identity())
		link.SetDelay(time.Millisecond)
		ab, ba := peerOf(t, a, b), peerOf(t, b, a)
		done := make(chan error)
		for i := range 20 {
			go func() {
				to := []*p2p.Peer{ab, ba}[i%2]
				s, err := to.NewStream(t.Context())
				if err == nil {
					err = exchange(s)
					s.Close()
				}
				done <- err
			}()
		}
		for range 20 {
			require.NoError(t, <-done)
		}
		synctest.Wait()
		// The ends of the streams are under way, in both directions.
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		require.Equal(t, p2ptest.LinkStats{Dials: 20, Connections: 1, Streams: 20}, link.Stats())
	})
}

// The peer does not learn of a stream on which nothing was sent.
func TestStreamIsLazy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := p2ptest.NewNetwork(p2ptest.Config{})
		handled := 0
		a := network.Start(t, p2p.Config{})
		b := network.Start(t, p2p.Config{Handler: p2p.HandlerFunc(func(context.Context, *p2p.Stream) error {
			handled++
			return nil
		})})
		ab := peerOf(t, a, b)
		open(t, ab).Reset(p2p.ErrRefused)
		s := open(t, ab)
		synctest.Wait()
		require.Zero(t, handled)
		_, err := s.Write([]byte{1})
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, 1, handled)
		require.NoError(t, open(t, ab).CloseWrite())
		synctest.Wait()
		require.Equal(t, 2, handled)
	})
}

func TestBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := p2ptest.NewNetwork(p2ptest.Config{BufferSize: 1000})
		read, counted := make(chan bool), make(chan int64)
		a := network.Start(t, p2p.Config{})
		b := network.Start(t, p2p.Config{Handler: p2p.HandlerFunc(func(_ context.Context, s *p2p.Stream) error {
			<-read
			n, err := io.Copy(io.Discard, s)
			counted <- n
			return err
		})})
		s := open(t, peerOf(t, a, b))
		require.NoError(t, s.SetWriteDeadline(time.Now().Add(time.Second)))
		began := time.Now()
		n, err := s.Write(make([]byte, 1500))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, 1000, n)
		require.Equal(t, time.Second, time.Since(began))
		require.NoError(t, s.SetWriteDeadline(time.Time{}))
		close(read)
		_, err = s.Write(make([]byte, 500))
		require.NoError(t, err)
		require.NoError(t, s.Close())
		_, err = s.Write([]byte{1})
		require.ErrorIs(t, err, net.ErrClosed)
		require.EqualValues(t, 1500, <-counted)
	})
}

func TestLinkIsSymmetric(t *testing.T) {
	network := p2ptest.NewNetwork(p2ptest.Config{})
	a, b := identity.New().Remote(), identity.New().Remote()
	require.Same(t, network.Link(a, b), network.Link(b, a))
}

// Reads of a stream that was closed fail at once, while Close still waits for
// the peer.
func TestReadAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := p2ptest.NewNetwork(p2ptest.Config{})
		a := network.Start(t, p2p.Config{})
		b := network.Start(t, p2p.Config{Handler: p2p.HandlerFunc(func(ctx context.Context, s *p2p.Stream) error {
			<-ctx.Done()
			return nil
		})})
		s := open(t, peerOf(t, a, b))
		_, err := s.Write([]byte{1})
		require.NoError(t, err)
		require.NoError(t, s.Close())
		synctest.Wait() // now Close discards data that is left to be read
		began := time.Now()
		_, err = s.Read(make([]byte, 1))
		require.ErrorIs(t, err, net.ErrClosed)
		require.Zero(t, time.Since(began))
	})
}

// A writer that waits for its turn on a stream does not stop the bubble's
// clock.
func TestTwoWritersInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := p2ptest.NewNetwork(p2ptest.Config{BufferSize: 10})
		a := network.Start(t, p2p.Config{})
		b := network.Start(t, p2p.Config{Handler: echo})
		s := open(t, peerOf(t, a, b))
		network.Link(a.Identity(), b.Identity()).SetDelay(time.Millisecond)
		go s.Write(make([]byte, 100))
		go s.Write(make([]byte, 100))
		time.Sleep(time.Second)
		s.Reset(p2p.ErrCanceled)
	})
}
