package tunnel

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"time"

	"github.com/flynn/noise"

	"github.com/sdp2p/p2p/internal/bench/race"
)

// Which is which of what handshakes returns.
const (
	first = iota
	again
	flynn
	cryptoTLS
	limit
)

// handshakes returns ours and the others.
func handshakes(ctx context.Context) ([]race.Contender, error) {
	strangers, err := newMembers()
	if err != nil {
		return nil, err
	}
	friends, err := newMembers()
	if err != nil {
		return nil, err
	}
	byNoise, err := newNoise()
	if err != nil {
		return nil, err
	}
	byTLS, err := newTLS(ctx)
	if err != nil {
		return nil, err
	}
	agreements, err := newAgreements()
	if err != nil {
		return nil, err
	}
	return []race.Contender{
		first:     {Name: "tunnel, first", Run: func(n int) (time.Duration, error) { return strangers.meet(ctx, n) }},
		again:     race.Repeat("tunnel, again", func() error { return friends.handshake(ctx) }),
		flynn:     race.Repeat("flynn/noise", byNoise),
		cryptoTLS: race.Repeat("crypto/tls", byTLS),
		limit:     race.Repeat("ten X25519, the limit", agreements),
	}, nil
}

func (m *members) handshake(ctx context.Context) error {
	a, b := newMemory()
	i, r, err := m.open(ctx, a, b)
	if err != nil {
		return err
	}
	i.Abort(nil)
	r.Abort(nil)
	return nil
}

// meet has n pairs of strangers do a handshake, and tells how long that took.
// They have their keys before.
func (m *members) meet(ctx context.Context, n int) (time.Duration, error) {
	pairs := make([]pair, n)
	for i := range pairs {
		pairs[i] = m.strangers()
	}
	began := time.Now()
	for _, p := range pairs {
		m.use(p)
		if err := m.handshake(ctx); err != nil {
			return 0, err
		}
	}
	return time.Since(began), nil
}

// newAgreements returns the ten X25519 of both sides, two of them for ephemeral
// keys.
func newAgreements() (func() error, error) {
	seed := make([]byte, 32)
	rand.Read(seed)
	private, err := ecdh.X25519().NewPrivateKey(seed)
	if err != nil {
		return nil, err
	}
	return func() error {
		for range 2 {
			if _, err := ecdh.X25519().NewPrivateKey(seed); err != nil {
				return err
			}
		}
		for range 8 {
			if _, err := private.ECDH(private.PublicKey()); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// newNoise returns a handshake of flynn/noise as it is, with the initiator's
// confirmation.
func newNoise() (func() error, error) {
	i, err := noise.DH25519.GenerateKeypair(nil)
	if err != nil {
		return nil, err
	}
	r, err := noise.DH25519.GenerateKeypair(nil)
	if err != nil {
		return nil, err
	}
	initiator, responder := noiseConfigs(i, r)
	return func() error { return noiseHandshake(initiator, responder, i.Public) }, nil
}

// noiseConfigs are those of two sides that have these keys.
func noiseConfigs(i, r noise.DHKey) (initiator, responder noise.Config) {
	responder = noise.Config{
		CipherSuite: noise.NewCipherSuite(noise.DH25519, noise.CipherChaChaPoly, noise.HashSHA256),
		Pattern:     noise.HandshakeIK, PresharedKey: make([]byte, 32), PresharedKeyPlacement: 1,
		Prologue:      make([]byte, 128), // as long as ours
		StaticKeypair: r,
	}
	initiator = responder
	initiator.Initiator, initiator.StaticKeypair, initiator.PeerStatic = true, i, r.Public
	return initiator, responder
}

// noiseHandshake is one with the initiator that the responder expects.
func noiseHandshake(initiator, responder noise.Config, expected []byte) error {
	a, b := newMemory()
	defer a.Close()
	return both(a, b,
		func() error { return noiseInitiator(a, initiator) },
		func() error { return noiseResponder(b, responder, expected) })
}

func noiseInitiator(c net.Conn, cfg noise.Config) error {
	hs, err := noise.NewHandshakeState(cfg)
	if err != nil {
		return err
	}
	m1, _, _, err := hs.WriteMessage(nil, nil)
	if err != nil {
		return err
	}
	if _, err := c.Write(m1); err != nil {
		return err
	}
	var m2 [48]byte
	if _, err := io.ReadFull(c, m2[:]); err != nil {
		return err
	}
	_, out, _, err := hs.ReadMessage(nil, m2[:])
	if err != nil {
		return err
	}
	confirmation, err := out.Encrypt(nil, nil, nil)
	if err != nil {
		return err
	}
	_, err = c.Write(confirmation)
	return err
}

func noiseResponder(c net.Conn, cfg noise.Config, expected []byte) error {
	hs, err := noise.NewHandshakeState(cfg)
	if err != nil {
		return err
	}
	var m1 [96]byte
	if _, err := io.ReadFull(c, m1[:]); err != nil {
		return err
	}
	if _, _, _, err := hs.ReadMessage(nil, m1[:]); err != nil {
		return err
	}
	if !bytes.Equal(hs.PeerStatic(), expected) {
		return errPeer
	}
	m2, in, _, err := hs.WriteMessage(nil, nil)
	if err != nil {
		return err
	}
	if _, err := c.Write(m2); err != nil {
		return err
	}
	var confirmation [16]byte
	if _, err := io.ReadFull(c, confirmation[:]); err != nil {
		return err
	}
	_, err = in.Decrypt(nil, nil, confirmation[:])
	return err
}

var errPeer = errors.New("the peer is somebody else")

// newTLS returns a handshake of crypto/tls in which both sides have
// certificates.
func newTLS(ctx context.Context) (func() error, error) {
	client, err := newCertificate()
	if err != nil {
		return nil, err
	}
	server, err := newCertificate()
	if err != nil {
		return nil, err
	}
	from, to := tlsConfig(client, server), tlsConfig(server, client)
	return func() error { return tlsHandshake(ctx, from, to) }, nil
}

// tlsConfig is that of one side, which expects a certificate.
func tlsConfig(own, expected tls.Certificate) *tls.Config {
	return &tls.Config{
		Certificates:           []tls.Certificate{own},
		MinVersion:             tls.VersionTLS13,
		CurvePreferences:       []tls.CurveID{tls.X25519},
		SessionTicketsDisabled: true,
		ClientAuth:             tls.RequireAnyClientCert,
		InsecureSkipVerify:     true, // the certificate is compared instead
		VerifyConnection: func(s tls.ConnectionState) error {
			if !s.PeerCertificates[0].Equal(expected.Leaf) {
				return errPeer
			}
			return nil
		},
	}
}

func tlsHandshake(ctx context.Context, client, server *tls.Config) error {
	a, b := newMemory()
	defer a.Close()
	return both(a, b,
		func() error { return tls.Client(a, client).HandshakeContext(ctx) },
		func() error { return tls.Server(b, server).HandshakeContext(ctx) })
}

func newCertificate() (tls.Certificate, error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(nil, template, template, public, private)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private, Leaf: leaf}, err
}
