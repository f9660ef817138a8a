package library_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/tunnel"
)

// A shop is a member that listens, and another that dials it.
type shop struct {
	a, b *device
	l    net.Listener
}

func atShop(t *testing.T, f func(t *testing.T, s *shop)) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		s := &shop{}
		s.a, s.b = pair(t, network)
		s.l = s.b.lib.Listen("shop")
		f(t, s)
	})
}

func (s *shop) dial(t *testing.T) net.Conn {
	t.Helper()
	c, err := s.a.lib.DialContext("shop")(t.Context(), "tcp", s.l.Addr().String())
	require.NoError(t, err)
	synctest.Wait()
	return c
}

func (s *shop) both(t *testing.T) (out, in net.Conn) {
	t.Helper()
	out = s.dial(t)
	in, err := s.l.Accept()
	require.NoError(t, err)
	return out, in
}

func turnedAway(t *testing.T, c net.Conn, why error) {
	t.Helper()
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, why)
	c.Close()
}

func carries(t *testing.T, from, to net.Conn, text string) {
	t.Helper()
	_, err := io.WriteString(from, text)
	require.NoError(t, err)
	b := make([]byte, len(text))
	_, err = io.ReadFull(to, b)
	require.NoError(t, err)
	require.Equal(t, text, string(b))
}

func TestListen(t *testing.T) {
	atShop(t, func(t *testing.T, s *shop) {
		require.Equal(t, s.b.own().Addr(), s.l.Addr())
		out, in := s.both(t)
		require.Equal(t, []net.Addr{s.a.own().Addr(), s.b.own().Addr()}, []net.Addr{out.LocalAddr(), out.RemoteAddr()})
		require.Equal(t, []net.Addr{s.b.own().Addr(), s.a.own().Addr()}, []net.Addr{in.LocalAddr(), in.RemoteAddr()})
		ctx := library.ConnContext(t.Context(), in)
		m, ok := library.MemberOf(ctx)
		require.True(t, ok)
		require.Equal(t, tunnel.Member{Instance: s.a.own(), Node: s.a.id.Remote()}, m)
		peer, ok := p2p.PeerOf(ctx)
		require.True(t, ok)
		require.Equal(t, m.Node, peer.Identity())

		pass(time.Hour)
		carries(t, out, in, "over there")
		carries(t, in, out, "and back")
		require.NoError(t, in.Close())
		_, err := out.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
		require.NoError(t, out.Close())
	})
}

func TestListenerCloses(t *testing.T) {
	atShop(t, func(t *testing.T, s *shop) {
		out, in := s.both(t)
		waits := s.dial(t)
		require.NoError(t, s.l.Close())
		_, err := s.l.Accept()
		require.ErrorIs(t, err, net.ErrClosed)
		require.ErrorContains(t, err, `"shop"`)
		require.ErrorIs(t, s.l.Close(), net.ErrClosed)
		turnedAway(t, waits, p2p.ErrNoRoute)
		turnedAway(t, s.dial(t), p2p.ErrNoRoute)
		carries(t, out, in, "still there")
		s.l = s.b.lib.Listen("shop")
		again, in2 := s.both(t)
		for _, c := range []net.Conn{out, in, again, in2} {
			c.Close()
		}
	})
}

// The node's shutdown ends Accept; tunnels that are being served can still be
// answered.
func TestListenersShutdown(t *testing.T) {
	atShop(t, func(t *testing.T, s *shop) {
		out, in := s.both(t)
		waits := s.dial(t)
		var all sync.WaitGroup
		all.Go(func() { require.NoError(t, s.b.Shutdown(context.Background())) })
		synctest.Wait()
		_, err := s.l.Accept()
		require.ErrorIs(t, err, p2p.ErrClosed)
		require.ErrorIs(t, err, net.ErrClosed)
		turnedAway(t, waits, p2p.ErrShuttingDown)
		for range 2 {
			_, err = in.Read(make([]byte, 1))
			require.ErrorIs(t, err, p2p.ErrShuttingDown)
		}
		carries(t, in, out, "the answer")
		in.Close()
		_, err = out.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
		out.Close()
		all.Wait()
	})
}

// A tunnel that its server neither uses nor closes ends when the time for the
// shutdown is over.
func TestListenersShutdownInTime(t *testing.T) {
	atShop(t, func(t *testing.T, s *shop) {
		out, in := s.both(t)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		require.NoError(t, s.b.Shutdown(ctx))
		require.Equal(t, 3*time.Second, time.Since(began))
		_, err := in.Write([]byte{1})
		require.ErrorIs(t, err, p2p.ErrShuttingDown)
		turnedAway(t, out, p2p.ErrShuttingDown)
	})
}

// A listener outlives a pause of the hook, and ends with the library.
func TestListenersLibrary(t *testing.T) {
	atShop(t, func(t *testing.T, s *shop) {
		require.NoError(t, s.b.Unregister(t.Context(), s.b.libraries))
		require.NoError(t, s.b.Register(t.Context(), s.b.libraries))
		out, in := s.both(t)
		waits := s.dial(t)
		require.NoError(t, s.b.libraries.Remove(s.b.lib.ID()))
		_, err := s.l.Accept()
		require.ErrorIs(t, err, library.ErrRemoved)
		require.ErrorIs(t, err, net.ErrClosed)
		_, err = in.Read(make([]byte, 1))
		require.ErrorIs(t, err, library.ErrRemoved)
		_, err = waits.Read(make([]byte, 1))
		require.Error(t, err)
		_, err = s.b.lib.Listen("later").Accept()
		require.ErrorIs(t, err, library.ErrRemoved)
		out.Close()
		in.Close()
		waits.Close()
	})
}

func TestDialContextFails(t *testing.T) {
	atShop(t, func(t *testing.T, s *shop) {
		dial := s.a.lib.DialContext("shop")
		for addr, why := range map[string]error{
			"":                                     identity.ErrInvalid,
			"localhost:80":                         identity.ErrInvalid,
			uuid.New().String() + ":80":            identity.ErrInvalid,
			identity.New().Remote().Host() + ":80": library.ErrNoMember,
			s.b.id.Remote().Host():                 library.ErrNoMember, // of the node, not the instance
		} {
			c, err := dial(t.Context(), "tcp", addr)
			require.ErrorIs(t, err, why, addr)
			require.True(t, c == nil)
		}
		_, ok := library.MemberOf(t.Context())
		require.False(t, ok)
	})
}

// An http.Client that makes 40 requests at once, or one after another without
// keeping a connection, gets 40 answers, although the client does not know of
// any limits.
func TestHTTP(t *testing.T) {
	t.Parallel()
	a, b := newDevice(), newDevice()
	a.startQUIC(t)
	addr := b.startQUIC(t)
	running := newCharter(t, a)
	running.join(b, library.RoleMember)
	for _, d := range []*device{a, b} {
		d.load(t, running.record())
	}
	meets(t, a.P2P, b.id.Remote(), addr)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "picture ", r.URL.Path)
	})}
	go server.Serve(b.lib.Listen("http"))
	t.Cleanup(func() { server.Close() })

	for _, atOnce := range []int{40, 1} {
		client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
			DisableKeepAlives: true, DialContext: a.lib.DialContext("http"),
		}}
		var all sync.WaitGroup
		places := make(chan struct{}, atOnce)
		for i := range 40 {
			places <- struct{}{}
			all.Go(func() {
				defer func() { <-places }()
				path := fmt.Sprint("/", i)
				r, err := client.Get("http://" + b.own().Host() + path)
				if !assert.NoError(t, err) {
					return
				}
				defer r.Body.Close()
				text, err := io.ReadAll(r.Body)
				assert.NoError(t, err)
				assert.Equal(t, "picture "+path, string(text))
			})
		}
		all.Wait()
	}
}
