package quic

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"time"

	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	quicgo "github.com/quic-go/quic-go"

	"github.com/sdp2p/p2p/internal/carrier"
)

// A lent is the endpoint's transport as go-libp2p borrows it. go-libp2p dials
// and listens with it, and does the handshakes; how connections behave is the
// endpoint's to say, in both directions.
type lent struct {
	*quicgo.Transport
	server, client *quicgo.Config
	mirrors        *mirrors
}

var _ quicreuse.QUICTransport = (*lent)(nil)

// Listen accepts connections.
func (l *lent) Listen(tlsConf *tls.Config, conf *quicgo.Config) (quicreuse.QUICListener, error) {
	return l.Transport.Listen(tlsConf, withWindows(l.server, conf))
}

// Dial makes one. If there is no route, it fails at once, and others are tried:
// the socket would take that for lost packets.
func (l *lent) Dial(ctx context.Context, addr net.Addr, tlsConf *tls.Config, conf *quicgo.Config) (*quicgo.Conn, error) {
	if udp, ok := addr.(*net.UDPAddr); ok {
		if _, err := carrier.Route(udp.AddrPort()); err != nil {
			return nil, err
		}
	}
	conf = withWindows(l.client, conf)
	if ctx.Value(relayKey{}) != nil {
		conf = toRelay(conf)
	}
	if m, ok := ctx.Value(mirrorKey{}).(*mirror); ok {
		conf.Tracer = l.mirrors.dialing(m)
	}
	return l.Transport.Dial(ctx, addr, tlsConf, conf)
}

// Close does nothing: the endpoint closes its transport itself.
func (l *lent) Close() error { return nil }

// withWindows returns ours with go-libp2p's way to ask whether a window may
// grow.
func withWindows(ours, theirs *quicgo.Config) *quicgo.Config {
	c := ours.Clone()
	c.AllowConnectionWindowIncrease = theirs.AllowConnectionWindowIncrease
	return c
}

const (
	// An Initial of 1200 bytes is what QUIC asks of every path (RFC 9000
	// §14); more is found out later. The 1280 that quic-go begins with get
	// lost where the path takes 1280 bytes with their headers, as IPv6
	// allows it to.
	initialPacketSize  = 1200
	connectionIDLength = 8

	// Bytes that a peer may send before any are read, at first and at most:
	// on one stream, and on a connection.
	dialedWindow    = 256 << 10 // at first, of a connection that this node dialed
	inboundWindow   = 16 << 10  // of one that a peer dialed, which may be anybody
	maxStreamWindow = 10 << 20
	maxWindow       = 15 << 20

	maxStreams       = 256               // of one connection that the peer may have open; the node allows fewer
	handshakeSilence = handshakeTime / 2 // QUIC's time for a handshake is twice as long
)

// config returns how connections behave, of which window is the first one.
func config(window uint64) *quicgo.Config {
	return &quicgo.Config{
		Versions:                       []quicgo.Version{quicgo.Version1},
		InitialPacketSize:              initialPacketSize,
		MaxIdleTimeout:                 vanishTimeout,
		InitialStreamReceiveWindow:     window,
		InitialConnectionReceiveWindow: window,
		MaxStreamReceiveWindow:         maxStreamWindow,
		MaxConnectionReceiveWindow:     maxWindow,
		MaxIncomingStreams:             maxStreams,
		MaxIncomingUniStreams:          -1, // nothing here reads any
	}
}

// serverConfig is config for connections that peers dial.
func serverConfig() *quicgo.Config {
	c := config(inboundWindow)
	c.HandshakeIdleTimeout = handshakeSilence
	return c
}

// clientConfig is config for those that this node dials. The dialer keeps them
// alive, for both.
func clientConfig() *quicgo.Config {
	c := config(dialedWindow)
	c.KeepAlivePeriod = keepAlive
	return c
}

var (
	notBefore = time.Date(1975, 1, 1, 0, 0, 0, 0, time.UTC)
	notAfter  = time.Date(4096, 1, 1, 0, 0, 0, 0, time.UTC)
)

// certificateTemplate returns what a certificate says besides the key. Identity
// is the key and time proves nothing, so that no clock makes the certificate
// invalid, this node's neither: the times are those of rcgen, and so of
// rust-libp2p.
//
// Each certificate takes a template of its own: go-libp2p adds to it.
func certificateTemplate() (*x509.Certificate, error) {
	limit := new(big.Int).Lsh(big.NewInt(1), 62)
	serial, err := rand.Int(rand.Reader, limit)
	if err != nil {
		return nil, err
	}
	subject, err := rand.Int(rand.Reader, limit)
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{
		SerialNumber: serial,
		NotBefore:    notBefore,
		NotAfter:     notAfter,
		Subject:      pkix.Name{SerialNumber: subject.String()}, // an issuer must have a name (RFC 5280 §4.1.2.4)
	}, nil
}
