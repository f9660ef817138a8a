package carrier

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"
)

// serverTLS returns the configuration of a server whose identity is not
// checked.
func serverTLS(t testing.TB) *tls.Config {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	require.NoError(t, err)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}, NextProtos: []string{"x"}}
}

var clientTLS = &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"x"}}

func listenUDP(t testing.TB) *net.UDPConn {
	c, err := net.ListenUDP("udp", nil)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func transport(t testing.TB, c net.PacketConn) *quicgo.Transport {
	tr := &quicgo.Transport{Conn: c, ConnectionIDLength: 8}
	t.Cleanup(func() { tr.Close() })
	return tr
}

// at returns the address of a socket on loopback.
func at(c net.PacketConn) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(c.LocalAddr().(*net.UDPAddr).Port))
}

// serveEcho lets a transport echo streams.
func serveEcho(t testing.TB, tr *quicgo.Transport) {
	listener, err := tr.Listen(serverTLS(t), nil)
	require.NoError(t, err)
	go func() {
		for {
			conn, err := listener.Accept(context.Background())
			if err != nil {
				return
			}
			go func() {
				s, err := conn.AcceptStream(context.Background())
				if err == nil {
					_, _ = io.Copy(s, s)
					s.Close()
				}
			}()
		}
	}()
}

// A talk is a connection with a stream that is echoed.
type talk struct {
	t      *testing.T
	conn   *quicgo.Conn
	stream *quicgo.Stream
	path   *quicgo.Path // the path in use; nil: the first one
}

func dial(t *testing.T, tr *quicgo.Transport, to netip.AddrPort) *talk {
	conn, err := tr.Dial(t.Context(), net.UDPAddrFromAddrPort(to), clientTLS, nil)
	require.NoError(t, err)
	s, err := conn.OpenStream()
	require.NoError(t, err)
	k := &talk{t: t, conn: conn, stream: s}
	k.echo()
	return k
}

func (k *talk) echo() {
	k.t.Helper()
	b := []byte("what is said comes back")
	_, err := k.stream.Write(b)
	require.NoError(k.t, err)
	require.NoError(k.t, k.stream.SetReadDeadline(time.Now().Add(30*time.Second)))
	back := make([]byte, len(b))
	_, err = io.ReadFull(k.stream, back)
	require.NoError(k.t, err)
	require.Equal(k.t, b, back)
}

// move moves the connection to a transport.
func (k *talk) move(tr *quicgo.Transport) {
	k.t.Helper()
	path, err := k.conn.AddPath(tr)
	require.NoError(k.t, err)
	ctx, cancel := context.WithTimeout(k.t.Context(), 30*time.Second)
	defer cancel()
	require.NoError(k.t, path.Probe(ctx))
	require.NoError(k.t, path.Switch())
	k.echo()
	if k.path != nil {
		require.NoError(k.t, k.path.Close())
	}
	k.path = path
}

// A forwarder has an address, and forwards packets to another one.
type forwarder struct {
	*net.UDPConn
	packets atomic.Int64
	back    map[netip.AddrPort]*net.UDPConn
}

func forward(t *testing.T, to netip.AddrPort) *forwarder {
	f := &forwarder{UDPConn: listenUDP(t), back: map[netip.AddrPort]*net.UDPConn{}}
	go func() {
		b := make([]byte, 2000)
		for {
			n, from, err := f.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			f.packets.Add(1)
			out := f.back[from]
			if out == nil {
				out = listenUDP(t)
				f.back[from] = out
				go func() {
					b := make([]byte, 2000)
					for {
						n, err := out.Read(b)
						if err != nil {
							return
						}
						_, _ = f.WriteToUDPAddrPort(b[:n], from)
					}
				}()
			}
			_, _ = out.WriteToUDPAddrPort(b[:n], to)
		}
	}()
	return f
}

// A connection goes on over a Way when no packets arrive any more at the
// address that it dialed, and over the same Way several times.
func TestWay(t *testing.T) {
	t.Parallel()
	callee := New(listenUDP(t), Config{})
	defer callee.Close()
	serveEcho(t, transport(t, callee))
	first := forward(t, at(callee))
	s := New(listenUDP(t), Config{})
	defer s.Close()
	k := dial(t, transport(t, s), at(first))
	ways := []*Way{s.Way(at(first)), s.Way(at(first))}
	over := []*quicgo.Transport{transport(t, ways[0]), transport(t, ways[1])}
	now := first
	for i := range 8 {
		next := forward(t, at(callee))
		ways[i%2].Turn(at(next))
		k.move(over[i%2])
		require.NoError(t, now.Close())
		before := next.packets.Load()
		k.echo()
		require.Greater(t, next.packets.Load(), before)
		now = next
	}
}

// A Way also leads to an address of the other family: to IPv6, and back.
func TestWayOfOtherFamily(t *testing.T) {
	t.Parallel()
	callee, s := New(listenUDP(t), Config{}), New(listenUDP(t), Config{})
	defer callee.Close()
	defer s.Close()
	at6 := netip.AddrPortFrom(netip.IPv6Loopback(), at(callee).Port())
	if _, err := Route(at6); err != nil {
		t.Skip("this host has no IPv6:", err)
	}
	serveEcho(t, transport(t, callee))
	for _, way := range [][2]netip.AddrPort{{at(callee), at6}, {at6, at(callee)}} {
		tr := transport(t, s)
		k := dial(t, tr, way[0])
		w := s.Way(way[1])
		k.move(transport(t, w))
		for range 20 {
			k.echo()
		}
		require.NoError(t, k.conn.CloseWithError(0, ""))
		require.NoError(t, tr.Close())
	}
}

// The peers of several connections move, one of them many times. The
// connections go on over one of two spare sockets each.
func TestMovedCallees(t *testing.T) {
	t.Parallel()
	callee := New(listenUDP(t), Config{})
	defer callee.Close()
	serveEcho(t, transport(t, callee))
	s := New(listenUDP(t), Config{})
	defer s.Close()
	main := transport(t, s)
	var spare [2]*Socket
	var over [2]*quicgo.Transport
	for i := range spare {
		spare[i] = New(listenUDP(t), Config{})
		defer spare[i].Close()
		over[i] = transport(t, spare[i])
	}
	for range 3 {
		dialed := forward(t, at(callee))
		k := dial(t, main, at(dialed))
		now, undo := dialed, func() {}
		for i := range 6 {
			next := forward(t, at(callee))
			redo, ok := spare[i%2].Redirect(at(dialed), at(next))
			require.True(t, ok)
			k.move(over[i%2])
			undo()
			require.NoError(t, now.Close())
			before := next.packets.Load()
			k.echo()
			require.Greater(t, next.packets.Load(), before)
			now, undo = next, redo
		}
	}
}

// The system's socket dies under a connection, and a new one gets the port: the
// stream goes on, in both directions, with the options that quic-go has set.
func TestRebindUnderQUIC(t *testing.T) {
	t.Parallel()
	for _, side := range []string{"dialer", "callee"} {
		t.Run(side, func(t *testing.T) {
			t.Parallel()
			callee, s := New(listenUDP(t), Config{}), New(listenUDP(t), Config{})
			defer callee.Close()
			defer s.Close()
			serveEcho(t, transport(t, callee))
			k := dial(t, transport(t, s), at(callee))
			dies := callee
			if side == "dialer" {
				dies = s
			}
			before, old := at(dies), dies.kernel()
			set := options(t, old)
			require.NoError(t, dies.rebind())
			require.True(t, old != dies.kernel())
			require.Equal(t, before, at(dies))
			require.Equal(t, set, options(t, dies.kernel()))
			for range 20 {
				k.echo()
			}
		})
	}
}

// A socket of IPv4 only is rebound as such, and one of both families as well.
func TestRebindFamily(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"udp4", "udp"} {
		c, err := net.ListenUDP(network, nil)
		require.NoError(t, err)
		s := New(c, Config{})
		before := s.LocalAddr().String()
		require.NoError(t, s.rebind())
		require.Equal(t, before, s.LocalAddr().String())
		w := s.Way(at(s))
		_, err = w.WriteTo([]byte("over IPv4"), nil)
		require.NoError(t, err)
		b := make([]byte, 100)
		require.NoError(t, s.SetReadDeadline(time.Now().Add(30*time.Second)))
		n, from, err := s.ReadFrom(b)
		require.NoError(t, err)
		require.Equal(t, "over IPv4", string(b[:n]))
		require.Equal(t, at(s), plain(from.(*net.UDPAddr).AddrPort()))
		require.NoError(t, s.Close())
	}
}
