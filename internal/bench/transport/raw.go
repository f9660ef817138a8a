package transport

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"time"

	quicgo "github.com/quic-go/quic-go"
)

// raw is quic-go with nothing around it.
func raw() transport {
	return transport{"quic-go", func(context.Context) (listener, error) { return newRawListener() }}
}

// quicConfig is quic-go's configuration: windows as large as its documents
// advise for fast connections, and as many streams as anybody opens.
func quicConfig() *quicgo.Config {
	return &quicgo.Config{
		InitialStreamReceiveWindow:     1 << 20,
		MaxStreamReceiveWindow:         16 << 20,
		InitialConnectionReceiveWindow: 2 << 20,
		MaxConnectionReceiveWindow:     32 << 20,
		MaxIncomingStreams:             1 << 10,
		MaxIdleTimeout:                 time.Minute,
		KeepAlivePeriod:                15 * time.Second,
	}
}

var errPeer = errors.New("the peer is somebody else")

// tlsConfig is that of one side, which expects a certificate of the other one.
func tlsConfig(own, expected tls.Certificate) *tls.Config {
	return &tls.Config{
		Certificates:       []tls.Certificate{own},
		NextProtos:         []string{"bench"},
		ClientAuth:         tls.RequireAnyClientCert,
		InsecureSkipVerify: true, // the certificate is compared instead
		VerifyConnection: func(s tls.ConnectionState) error {
			if !s.PeerCertificates[0].Equal(expected.Leaf) {
				return errPeer
			}
			return nil
		},
	}
}

func newCertificate() (tls.Certificate, error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private, Leaf: leaf}, err
}

// A socket is one on loopback that QUIC uses.
type socket struct {
	udp *net.UDPConn
	*quicgo.Transport
}

func newSocket() (*socket, error) {
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	return &socket{udp, &quicgo.Transport{Conn: udp}}, nil
}

func (s *socket) close() {
	s.Transport.Close()
	s.udp.Close()
}

type rawListener struct {
	*socket
	own, client tls.Certificate
	quic        *quicgo.Listener
	tasks       sync.WaitGroup
}

func newRawListener() (*rawListener, error) {
	own, err := newCertificate()
	if err != nil {
		return nil, err
	}
	client, err := newCertificate()
	if err != nil {
		return nil, err
	}
	s, err := newSocket()
	if err != nil {
		return nil, err
	}
	l := &rawListener{socket: s, own: own, client: client}
	if l.quic, err = s.Listen(tlsConfig(own, client), quicConfig()); err != nil {
		s.close()
		return nil, err
	}
	l.tasks.Go(func() {
		for {
			c, err := l.quic.Accept(context.Background())
			if err != nil {
				return
			}
			l.tasks.Go(func() { l.accept(c) })
		}
	})
	return l, nil
}

func (l *rawListener) accept(c *quicgo.Conn) {
	for {
		s, err := c.AcceptStream(context.Background())
		if err != nil {
			return
		}
		l.tasks.Go(func() {
			if err := serve(s); err != nil {
				s.CancelRead(1)
				s.CancelWrite(1)
				return
			}
			s.Close()
		})
	}
}

func (l *rawListener) addr() netip.AddrPort { return l.udp.LocalAddr().(*net.UDPAddr).AddrPort() }

func (l *rawListener) close() {
	l.quic.Close()
	l.socket.close()
	l.tasks.Wait()
}

func (l *rawListener) dialer(_ context.Context, via netip.AddrPort) (dialer, error) {
	s, err := newSocket()
	if err != nil {
		return nil, err
	}
	return &rawDialer{socket: s, tls: tlsConfig(l.client, l.own), to: net.UDPAddrFromAddrPort(via)}, nil
}

type rawDialer struct {
	*socket
	tls *tls.Config
	to  *net.UDPAddr

	mu   sync.Mutex // held while connecting
	conn *quicgo.Conn
}

func (d *rawDialer) connect(ctx context.Context) (*quicgo.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn != nil {
		return d.conn, nil
	}
	var err error
	d.conn, err = d.Dial(ctx, d.to, d.tls, quicConfig())
	return d.conn, err
}

func (d *rawDialer) open(ctx context.Context) (stream, error) {
	c, err := d.connect(ctx)
	if err != nil {
		return nil, err
	}
	s, err := c.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	return rawStream{s}, nil
}

func (d *rawDialer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn != nil {
		d.conn.CloseWithError(0, "")
	}
	d.socket.close()
}

// A rawStream has CloseWrite, which quic-go calls Close.
type rawStream struct{ *quicgo.Stream }

func (s rawStream) CloseWrite() error { return s.Stream.Close() }

// Close frees the stream.
func (s rawStream) Close() error {
	s.CancelRead(0)
	return s.Stream.Close()
}
