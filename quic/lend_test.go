package quic

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	quicgo "github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// An endpoint costs at most ten goroutines and 200 KiB. The test is not
// parallel, so that it counts nothing else.
func TestFootprint(t *testing.T) {
	const many = 16
	memory := func() uint64 {
		runtime.GC()
		runtime.GC() // pools keep their contents for one collection
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	startAlone(t, Config{}) // allocates the things that are allocated only once
	goroutines, before := runtime.NumGoroutine(), memory()
	for range many {
		startAlone(t, Config{})
	}
	require.LessOrEqual(t, (runtime.NumGoroutine()-goroutines+many-1)/many, 10+1, "ten, and one for the hook")
	each := (memory() - before) / many
	t.Log(each>>10, "KiB each")
	most := uint64(200 << 10)
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		most += 40 << 10 // the race detector's share
	}
	require.LessOrEqual(t, each, most)
}

// Certificates are valid at any time, and each names one identity.
func TestCertificates(t *testing.T) {
	extension := asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 53594, 1, 1} // libp2p's public key
	serials := map[string]bool{}
	for range 100 {
		id := identity.New()
		private, err := crypto.UnmarshalEd25519PrivateKey(id.PrivateKey())
		require.NoError(t, err)
		template, err := certificateTemplate()
		require.NoError(t, err)
		tlsIdentity, err := libp2ptls.NewIdentity(private, libp2ptls.WithCertTemplate(template))
		require.NoError(t, err)
		conf, _ := tlsIdentity.ConfigForPeer("")
		cert, err := x509.ParseCertificate(conf.Certificates[0].Certificate[0])
		require.NoError(t, err)
		extensions := 0
		for _, e := range cert.Extensions {
			if e.Id.Equal(extension) {
				extensions++
			}
		}
		require.Equal(t, 1, extensions)
		require.Equal(t, 1975, cert.NotBefore.Year())
		require.Equal(t, 4096, cert.NotAfter.Year())
		serials[cert.SerialNumber.String()] = true
		key, err := libp2ptls.PubKeyFromCertChain([]*x509.Certificate{cert})
		require.NoError(t, err)
		raw, err := key.Raw()
		require.NoError(t, err)
		require.Equal(t, []byte(id.Remote().PublicKey()), raw)
	}
	require.Len(t, serials, 100)
}

// dialRaw makes a connection with quic-go alone, which does not prove an
// identity.
func dialRaw(t *testing.T, to netip.AddrPort) *quicgo.Conn {
	t.Helper()
	private, _, err := crypto.GenerateEd25519Key(nil)
	require.NoError(t, err)
	tlsIdentity, err := libp2ptls.NewIdentity(private)
	require.NoError(t, err)
	conf, _ := tlsIdentity.ConfigForPeer("")
	socket, err := net.ListenUDP("udp", nil)
	require.NoError(t, err)
	tr := &quicgo.Transport{Conn: socket}
	t.Cleanup(func() { tr.Close(); socket.Close() })
	var c *quicgo.Conn
	for range 10 { // a handshake must finish within 3 s
		if c, err = tr.Dial(t.Context(), net.UDPAddrFromAddrPort(to), conf, &quicgo.Config{EnableDatagrams: true}); err == nil {
			break
		}
	}
	require.NoError(t, err)
	return c
}

// Streams and datagrams that no hook would read cannot be sent.
func TestNothingUnread(t *testing.T) {
	t.Parallel()
	_, _, via := startAlone(t, Config{})
	c := dialRaw(t, via[0].Addr)
	_, err := c.OpenUniStream()
	var full *quicgo.StreamLimitReachedError
	require.ErrorAs(t, err, &full)
	require.False(t, c.ConnectionState().SupportsDatagrams.Remote)
}

// The tokens by which a node tells a peer that it has lost a connection belong
// to its socket; with a fixed port they are the same after a restart.
func TestResetKeys(t *testing.T) {
	t.Parallel()
	id := identity.New()
	key := func(cfg Config) quicgo.StatelessResetKey {
		l := New(cfg)
		n, err := p2p.Start(t.Context(), p2p.Config{App: "test", Identity: id, Hooks: []p2p.Hook{l}})
		require.NoError(t, err)
		defer func() { require.NoError(t, n.Shutdown(t.Context())) }()
		return *l.running().quic.StatelessResetKey
	}
	require.NotEqual(t, key(Config{}), key(Config{}))
	port := freePort(t)
	require.Equal(t, key(Config{Port: port}), key(Config{Port: port}))
	require.NotEqual(t, key(Config{Port: port}), key(Config{Port: freePort(t)}))
}

func freePort(t *testing.T) uint16 {
	socket, err := net.ListenUDP("udp", nil)
	require.NoError(t, err)
	defer socket.Close()
	return localPort(socket)
}

// However a connection ends, its streams fail as lost. Text that a peer has
// written is never shown unescaped.
func TestEndsOfConnections(t *testing.T) {
	const text = "\x1b[2Jgone\r\nReceived 1 files"
	for _, end := range []error{
		&quicgo.IdleTimeoutError{},
		&quicgo.StatelessResetError{},
		&quicgo.ApplicationError{Remote: true, ErrorCode: quicgo.ApplicationErrorCode(network.ConnGated), ErrorMessage: text},
		&quicgo.ApplicationError{ErrorCode: 0},
		&quicgo.TransportError{Remote: true, ErrorCode: quicgo.ProtocolViolation, ErrorMessage: text + fmt.Sprint(make([]byte, 1000))},
		&quicgo.TransportError{ErrorCode: quicgo.InternalError, ErrorMessage: "sendmsg: network is unreachable"},
		quicgo.ErrTransportClosed,
		&net.OpError{Op: "write", Err: syscall.ENETUNREACH},
		net.ErrClosed,
		errors.New("something new"),
	} {
		err := streamError(end)
		require.ErrorIs(t, err, p2p.ErrConnectionLost, "%T", end)
		require.ErrorIs(t, err, end)
		require.NotContains(t, err.Error(), "\x1b")
		require.NotContains(t, err.Error(), "\n")
		require.Less(t, len(err.Error()), 200)
		require.Equal(t, err, streamError(err), "an error is wrapped only once")
	}
	require.ErrorIs(t, errRetired, p2p.ErrConnectionLost)
}

// The error of a dial contains the reason of the kernel or the peer; a peer's
// text is quoted.
func TestCauses(t *testing.T) {
	err := plain(&quicgo.TransportError{Remote: true, ErrorCode: quicgo.ConnectionRefused})
	require.ErrorIs(t, err, p2p.ErrBusy)
	err = plain(&quicgo.TransportError{ErrorCode: quicgo.InternalError, ErrorMessage: "sendmsg: network is unreachable"})
	require.ErrorContains(t, err, "network is unreachable")
	err = plain(&quicgo.TransportError{Remote: true, ErrorCode: 0x12a, ErrorMessage: "\x1b[31mtls: bad certificate"})
	require.ErrorContains(t, err, "bad certificate")
	require.NotContains(t, err.Error(), "\x1b")
	require.ErrorIs(t, plain(&quicgo.HandshakeTimeoutError{}), errNobodyThere)
	require.Equal(t, "no answer", (&p2p.DialError{Attempts: []p2p.Attempt{{Err: errNotTried}, {Err: plain(&quicgo.HandshakeTimeoutError{})}}}).Cause(), "as behind a firewall")
	require.Equal(t, "silent", endOf(&quicgo.IdleTimeoutError{}))
	require.Equal(t, "restarted", endOf(&quicgo.StatelessResetError{}))
}

// A peer that refuses a handshake because it is busy is dialed again.
func TestDialAgainAfterRefusal(t *testing.T) {
	t.Parallel()
	_, la, _ := startAlone(t, Config{})
	b := identity.New()
	private, err := crypto.UnmarshalEd25519PrivateKey(b.PrivateKey())
	require.NoError(t, err)
	tlsIdentity, err := libp2ptls.NewIdentity(private)
	require.NoError(t, err)
	socket, err := net.ListenUDP("udp", nil)
	require.NoError(t, err)
	refusals := 0
	tr := &quicgo.Transport{Conn: socket}
	t.Cleanup(func() { tr.Close(); socket.Close() })
	_, err = tr.Listen(&tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		conf, _ := tlsIdentity.ConfigForPeer("")
		return conf, nil
	}, NextProtos: []string{"libp2p"}}, &quicgo.Config{GetConfigForClient: func(*quicgo.ClientInfo) (*quicgo.Config, error) {
		if refusals++; refusals < 4 {
			return nil, errors.New("no room")
		}
		return nil, nil
	}})
	require.NoError(t, err)
	addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), localPort(socket))
	c, err := la.running().connect(t.Context(), b.Remote(), []p2p.Candidate{{Kind: p2p.Direct, Addr: addr}})
	require.NoError(t, err)
	require.Equal(t, addr, c.path.Remote)
	require.True(t, c.path.Dialed)
}

// A dial to an address without a route fails at once, and does not wait for its
// time-out although a packet that the socket cannot send merely counts as lost.
func TestDialWithoutRoute(t *testing.T) {
	t.Parallel()
	_, la, _ := startAlone(t, Config{DialTimeout: time.Hour})
	nowhere := netip.AddrPortFrom(netip.MustParseAddr("fe80::1%nosuchinterface"), 7373)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err := la.running().connect(ctx, identity.New().Remote(), []p2p.Candidate{{Kind: p2p.Direct, Addr: nowhere}})
	require.NoError(t, ctx.Err())
	var failed *p2p.DialError
	require.ErrorAs(t, err, &failed)
	require.Len(t, failed.Attempts, 1)
	var system syscall.Errno
	require.ErrorAs(t, failed.Attempts[0].Err, &system)
}
