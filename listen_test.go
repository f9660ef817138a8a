package p2p_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/p2ptest"
)

// A place has a node whose Mux listens, and another node that dials it.
type place struct {
	mux            *p2p.Mux
	server, dialer *p2p.P2P
	listener       net.Listener
}

func listening(t *testing.T) *place {
	network := p2ptest.NewNetwork(p2ptest.Config{})
	p := &place{mux: &p2p.Mux{}}
	p.listener = p.mux.Listen("echo", p2p.Anyone)
	quiet := slog.New(slog.DiscardHandler)
	p.server = network.Start(t, p2p.Config{Handler: p.mux, Logger: quiet})
	p.dialer = network.Start(t, p2p.Config{Logger: quiet})
	time.Sleep(time.Second) // the nodes find each other
	return p
}

func (p *place) dial(t *testing.T) net.Conn {
	t.Helper()
	c, err := p.dialer.DialContext("echo")(t.Context(), "tcp", p.listener.Addr().String())
	require.NoError(t, err)
	synctest.Wait()
	return c
}

func atPlace(t *testing.T, f func(t *testing.T, p *place)) {
	synctest.Test(t, func(t *testing.T) { f(t, listening(t)) })
}

func refusedWith(t *testing.T, c net.Conn, why error) {
	t.Helper()
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, why)
	c.Close()
}

func say(t *testing.T, from, to net.Conn, text string) {
	t.Helper()
	_, err := io.WriteString(from, text)
	require.NoError(t, err)
	b := make([]byte, len(text))
	_, err = io.ReadFull(to, b)
	require.NoError(t, err)
	require.Equal(t, text, string(b))
}

func TestListen(t *testing.T) {
	atPlace(t, func(t *testing.T, p *place) {
		require.Equal(t, p.server.Identity().Addr(), p.listener.Addr())
		out := p.dial(t)
		in, err := p.listener.Accept()
		require.NoError(t, err)
		require.Equal(t, p.server.Identity().Addr(), out.RemoteAddr())
		require.Equal(t, p.dialer.Identity().Addr(), in.RemoteAddr())
		require.Equal(t, out.LocalAddr(), in.RemoteAddr())
		require.Equal(t, "echo", in.(*p2p.Stream).Route())
		peer, ok := p2p.PeerOf(p2p.ConnContext(t.Context(), in))
		require.True(t, ok)
		require.Equal(t, p.dialer.Identity(), peer.Identity())

		time.Sleep(time.Hour) // nothing ends the stream
		say(t, out, in, "over there")
		say(t, in, out, "and back")
		require.NoError(t, out.Close())
		_, err = in.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
		require.NoError(t, in.Close())
	})
}

// A listener that is closed frees its route, and its connections stay open.
func TestListenerCloses(t *testing.T) {
	atPlace(t, func(t *testing.T, p *place) {
		out := p.dial(t)
		in, err := p.listener.Accept()
		require.NoError(t, err)
		waits := p.dial(t)
		failed := make(chan error)
		require.NoError(t, p.listener.Close())
		go func() { _, err := p.listener.Accept(); failed <- err }()
		err = <-failed
		require.ErrorIs(t, err, net.ErrClosed)
		require.ErrorContains(t, err, `"echo"`)
		require.ErrorIs(t, p.listener.Close(), net.ErrClosed)
		refusedWith(t, waits, p2p.ErrNoRoute)
		refusedWith(t, p.dial(t), p2p.ErrNoRoute)
		say(t, out, in, "still there")
		out.Close()
		in.Close()

		require.NotPanics(t, func() { p.listener = p.mux.Listen("echo", p2p.Anyone) })
		require.Panics(t, func() { p.mux.Listen("echo", p2p.Anyone) })
		out = p.dial(t)
		in, err = p.listener.Accept()
		require.NoError(t, err)
		say(t, out, in, "hello")
		out.Close()
		in.Close()
	})
}

// Closing a listener frees its own route, but not one that was registered
// since.
func TestListenerFreesItsOwnRoute(t *testing.T) {
	var mux p2p.Mux
	old := mux.Listen("route", p2p.Anyone)
	require.Equal(t, identity.Addr{}, old.Addr())
	require.NoError(t, old.Close())
	require.False(t, mux.Serves("route"))
	mux.Listen("route", p2p.Anyone)
	require.Error(t, old.Close())
	require.True(t, mux.Serves("route"))
}

func TestListenersAccess(t *testing.T) {
	atPlace(t, func(t *testing.T, p *place) {
		p.listener.Close()
		p.listener = p.mux.Listen("echo", p2p.Only(func(*p2p.Peer) bool { return false }))
		refusedWith(t, p.dial(t), p2p.ErrRefused)
	})
}

// Of the connections that wait for Accept, the 65th is refused; once one was
// accepted, there is room for another.
func TestListenersBacklog(t *testing.T) {
	atPlace(t, func(t *testing.T, p *place) {
		var waiting []net.Conn
		for range 64 {
			waiting = append(waiting, p.dial(t))
		}
		refusedWith(t, p.dial(t), p2p.ErrBusy)
		for i := range 65 {
			in, err := p.listener.Accept()
			require.NoError(t, err)
			if i == 0 {
				waiting = append(waiting, p.dial(t))
			}
			say(t, waiting[i], in, fmt.Sprint(i))
			waiting[i].Close()
			in.Close()
		}
	})
}

// Shutdown ends Accept, refuses the connections that wait for it, and waits for
// those that are being served. Their server learns of the shutdown by a failing
// Read, and can still write.
func TestListenersShutdown(t *testing.T) {
	atPlace(t, func(t *testing.T, p *place) {
		out := p.dial(t)
		in, err := p.listener.Accept()
		require.NoError(t, err)
		waits := p.dial(t)
		var all sync.WaitGroup
		all.Go(func() { require.NoError(t, p.server.Shutdown(context.Background())) })
		synctest.Wait()
		_, err = p.listener.Accept()
		require.ErrorIs(t, err, p2p.ErrClosed)
		require.ErrorIs(t, err, net.ErrClosed)
		refusedWith(t, waits, p2p.ErrShuttingDown)
		_, err = in.Read(make([]byte, 1))
		require.ErrorIs(t, err, p2p.ErrShuttingDown)
		var reset *p2p.ResetError
		require.ErrorAs(t, err, &reset)
		say(t, in, out, "the answer")
		in.Close()
		_, err = out.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
		out.Close()
		all.Wait()
	})
}

// A connection that its server never closes is reset when the time for the
// shutdown is over, with an error that says so.
func TestListenersShutdownInTime(t *testing.T) {
	atPlace(t, func(t *testing.T, p *place) {
		out := p.dial(t)
		in, err := p.listener.Accept()
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		require.NoError(t, p.server.Shutdown(ctx))
		require.Equal(t, 3*time.Second, time.Since(began))
		_, err = in.Write([]byte{1})
		require.ErrorIs(t, err, p2p.ErrShuttingDown)
		refusedWith(t, out, p2p.ErrShuttingDown)
	})
}

// A Mux may serve several nodes: its listeners end with the last.
func TestListenersNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := p2ptest.NewNetwork(p2ptest.Config{})
		var mux p2p.Mux
		l := mux.Listen("echo", p2p.Anyone)
		one, two := network.Start(t, p2p.Config{Handler: &mux}), network.Start(t, p2p.Config{Handler: &mux})
		require.Equal(t, two.Identity().Addr(), l.Addr())
		require.NoError(t, two.Shutdown(t.Context()))
		require.Equal(t, one.Identity().Addr(), l.Addr())
		accepted := make(chan error, 1)
		go func() { _, err := l.Accept(); accepted <- err }()
		synctest.Wait()
		require.Empty(t, accepted)
		require.NoError(t, one.Shutdown(t.Context()))
		require.ErrorIs(t, <-accepted, p2p.ErrClosed)
	})
}

func TestDialContextFails(t *testing.T) {
	atPlace(t, func(t *testing.T, p *place) {
		dial := p.dialer.DialContext("echo")
		for _, addr := range []string{"", ":80", "localhost:80", p.server.Identity().String() + ":80"} {
			c, err := dial(t.Context(), "tcp", addr)
			require.ErrorIs(t, err, identity.ErrInvalid, addr)
			require.True(t, c == nil)
		}
		stranger := identity.New().Remote()
		c, err := dial(t.Context(), "tcp", stranger.Host()+":80")
		require.ErrorIs(t, err, p2p.ErrNoCandidate)
		require.True(t, c == nil)
		var failed *p2p.DialError
		require.ErrorAs(t, err, &failed)
		require.Equal(t, stranger, failed.Peer)
	})
}

func TestConnContext(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	ctx := p2p.ConnContext(t.Context(), a)
	_, ok := p2p.PeerOf(ctx)
	require.False(t, ok)
}
