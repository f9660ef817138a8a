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
