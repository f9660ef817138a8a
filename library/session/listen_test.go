package session_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/session"
)

func (p *pair) dial(t *testing.T) *session.Conn {
	t.Helper()
	c, err := p.session.DialContext("shop")(t.Context(), "tcp", p.there.Instance().Host()+":80")
	require.NoError(t, err)
	synctest.Wait()
	return c.(*session.Conn)
}

func TestListen(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		l := p.routes.Listen("shop")
		out := p.dial(t)
		in, err := l.Accept()
		require.NoError(t, err)
		require.Equal(t, p.there.Instance().Addr(), out.RemoteAddr())
		require.Equal(t, p.here.Instance().Addr(), in.RemoteAddr())
		ctx := library.ConnContext(t.Context(), in)
		m, _ := library.MemberOf(ctx)
		require.Equal(t, p.here.Instance(), m.Instance)
		peer, _ := p2p.PeerOf(ctx)
		require.Equal(t, p.opener.Identity(), peer.Identity())

		time.Sleep(time.Hour)
		go func() {
			io.Copy(in, in)
			in.Close()
		}()
		require.NoError(t, talk(out, "hello"))
		waits := p.dial(t)
		require.NoError(t, l.Close())
		_, err = l.Accept()
		require.ErrorIs(t, err, net.ErrClosed)
		require.ErrorIs(t, l.Close(), net.ErrClosed)
		for _, c := range []*session.Conn{waits, p.dial(t)} {
			_, err = c.Read(make([]byte, 1))
			require.ErrorIs(t, err, p2p.ErrNoRoute)
			c.Close()
		}
		require.NoError(t, talk(out, "still there"))
		require.NoError(t, out.CloseWrite())
		_, err = out.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
		out.Close()

		_, err = p.session.DialContext("shop")(t.Context(), "tcp", identity.New().Remote().Host()+":80")
		require.ErrorContains(t, err, p.there.Instance().Host())
		_, err = p.session.DialContext("shop")(t.Context(), "tcp", "localhost:80")
		require.ErrorIs(t, err, identity.ErrInvalid)
	})
}

// A route that was given another handler no longer belongs to the listener.
func TestListenReplaced(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		l := p.routes.Listen("echo")
		p.routes.Handle("echo", func(_ context.Context, c *session.Conn) error {
			_, err := io.Copy(c, c)
			return err
		})
		require.NoError(t, l.Close())
		c := p.open(t, "echo")
		defer c.Close()
		require.NoError(t, talk(c, "hello"))
	})
}

// If the tunnel is lost, its streams report that, even those that were never
// used.
func TestListenerLosesTunnel(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		l := p.routes.Listen("shop")
		out := p.dial(t)
		in, err := l.Accept()
		require.NoError(t, err)
		idle := p.dial(t)
		in2, err := l.Accept()
		require.NoError(t, err)
		require.NoError(t, p.server.Shutdown(context.Background()))
		for _, c := range []net.Conn{in, in2} {
			_, err := c.Write([]byte{1})
			require.ErrorIs(t, err, p2p.ErrConnectionLost)
			_, err = c.Read(make([]byte, 1))
			require.Error(t, err)
			require.NotErrorIs(t, err, net.ErrClosed)
		}
		for _, c := range []net.Conn{out, idle} {
			_, err := c.Read(make([]byte, 1))
			require.True(t, errors.Is(err, p2p.ErrConnectionLost) || errors.Is(err, p2p.ErrShuttingDown), "%v", err)
			c.Close()
		}
	})
}
