package quic

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"

	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	quicgo "github.com/quic-go/quic-go"

	"github.com/sdp2p/p2p/internal/carrier"
	"github.com/sdp2p/p2p/internal/certificate"
)

// A lent is the endpoint's transport, lent to go-libp2p. go-libp2p dials and
// listens with it, and does the handshakes; the endpoint determines the
// configuration of connections in both directions.
type lent struct {
	*quicgo.Transport
	server, client *quicgo.Config
	mirrors        *mirrors
	traces         *traces
	veil           *veil          // nil if the node shows its identity
	hides          func() *hiding // see [Listener.hides]
}

var _ quicreuse.QUICTransport = (*lent)(nil)

// Listen accepts connections.
func (l *lent) Listen(tlsConf *tls.Config, conf *quicgo.Config) (quicreuse.QUICListener, error) {
	if l.veil != nil {
		tlsConf = l.hides().listen(l.veil, tlsConf)
	}
	return l.Transport.Listen(tlsConf, withWindows(l.server, conf))
}

// Dial makes a connection. Without a route it fails at once, so that other
// addresses are tried, since the socket would only lose packets.
func (l *lent) Dial(ctx context.Context, addr net.Addr, tlsConf *tls.Config, conf *quicgo.Config) (*quicgo.Conn, error) {
	if udp, ok := addr.(*net.UDPAddr); ok {
		if _, err := carrier.Route(udp.AddrPort()); err != nil {
			return nil, err
		}
	}
	conf = withWindows(l.client, conf)
	if ctx.Value(relayKey{}) != nil {
		conf = toRelay(conf)
	} else if h := l.hides(); h != nil && !inCircuit(addr) {
		tlsConf = h.dial(l.veil, ctx, tlsConf)
	}
	if m, ok := ctx.Value(mirrorKey{}).(*mirror); ok {
		conf.Tracer = l.mirrors.dialing(m)
	}
	if ctx.Value(relayKey{}) == nil {
		ctx, conf.Tracer = l.traces.prepare(ctx), l.traces.with(conf.Tracer)
	}
	return l.Transport.Dial(ctx, addr, tlsConf, conf)
}

// Close does nothing: the endpoint closes its transport itself.
func (l *lent) Close() error { return nil }

// withWindows returns our configuration with go-libp2p's callback that decides
// whether a window may grow.
func withWindows(ours, theirs *quicgo.Config) *quicgo.Config {
	c := ours.Clone()
	c.AllowConnectionWindowIncrease = theirs.AllowConnectionWindowIncrease
	return c
}

const (
	// Every path has to carry an Initial of 1200 bytes (RFC 9000 §14); larger
	// sizes are discovered later. The 1280 bytes that quic-go begins with get
	// lost on a path that carries 1280 bytes including the headers, as IPv6
	// permits.
	initialPacketSize  = 1200
	connectionIDLength = 8

	// Bytes that a peer may send before any are read, at first and at most, on
	// a connection and on a stream.
	dialedWindow    = 256 << 10 // at first, of a connection that this node dialed
	inboundWindow   = 24 << 10  // at first, of one that a peer dialed, which may be anybody
	maxStreamWindow = 32 << 20
	maxWindow       = 64 << 20 // of a connection, if its peer is not a stranger and there is room: see charge.ReserveMemory

	maxStreams       = 256               // open streams of the peer on a connection; the node allows fewer
	handshakeSilence = handshakeTime / 2 // QUIC's time for a handshake is twice as long
)

// streamShare returns the part of a connection's first window that one of its
// streams may take; quic-go keeps the ratio while the windows grow. So a stream
// that nobody reads does not block other streams, above all the metadata. The
// remainder is more than the quarter of a window that has to be read before the
// window is extended.
func streamShare(window uint64) uint64 { return window / 3 * 2 }

// config returns the configuration of connections with a first window.
func config(window uint64) *quicgo.Config {
	return &quicgo.Config{
		Versions:                       []quicgo.Version{quicgo.Version1},
		InitialPacketSize:              initialPacketSize,
		MaxIdleTimeout:                 vanishTimeout,
		InitialStreamReceiveWindow:     streamShare(window),
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

// clientConfig is config for connections that this node dials. The dialer keeps
// them alive for both sides.
func clientConfig() *quicgo.Config {
	c := config(dialedWindow)
	c.KeepAlivePeriod = vanishTimeout / 2 // unless the endpoint has done so before: see keepAliveAll
	return c
}

// certificateTemplate returns the contents of a certificate apart from the key.
func certificateTemplate() (*x509.Certificate, error) { return certificate.Template() }
