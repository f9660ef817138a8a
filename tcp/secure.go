package tcp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/sec"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/certificate"
)

// handshakeTime is the most that a handshake may take.
const handshakeTime = 3 * time.Second

// A keeper secures connections with the node's certificate, in the form of
// libp2p, and with a protocol name that no other service with the same key
// uses.
type keeper struct{ own *libp2ptls.Identity }

func newKeeper(id identity.Identity) (*keeper, error) {
	private, err := crypto.UnmarshalEd25519PrivateKey(id.PrivateKey())
	if err != nil {
		return nil, err
	}
	template, err := certificate.Template()
	if err != nil {
		return nil, err
	}
	own, err := libp2ptls.NewIdentity(private, libp2ptls.WithCertTemplate(template))
	if err != nil {
		return nil, err
	}
	return &keeper{own}, nil
}

// config returns the TLS configuration of one connection, and a channel for the
// key that the other end has proved. to is empty if the peer dialed.
func (k *keeper) config(to peer.ID) (*tls.Config, <-chan crypto.PubKey) {
	c, key := k.own.ConfigForPeer(to)
	c.NextProtos = []string{protocol}
	c.MinVersion, c.MaxVersion = tls.VersionTLS13, tls.VersionTLS13
	c.SessionTicketsDisabled = true
	c.DynamicRecordSizingDisabled = true // lanes carry much data
	c.CurvePreferences = []tls.CurveID{tls.X25519MLKEM768, tls.X25519}
	return c, key
}

var (
	// ErrOtherPeer is the cause of an attempt that another peer has answered.
	ErrOtherPeer = errors.New("tcp: another peer is at this address")

	errProtocol = fmt.Errorf("tcp: the other side does not speak %s", protocol)
)

// client secures a connection that this node has dialed to a peer.
func (k *keeper) client(ctx context.Context, c net.Conn, to identity.RemoteIdentity) (*tls.Conn, error) {
	id, err := peerID(to)
	if err != nil {
		return nil, err
	}
	conf, key := k.config(id)
	t := tls.Client(c, conf)
	_, err = k.shake(ctx, t, key)
	return t, err
}

// server secures a connection that a peer has dialed, and returns the peer's
// identity.
func (k *keeper) server(ctx context.Context, c net.Conn) (*tls.Conn, identity.RemoteIdentity, error) {
	conf, key := k.config("")
	t := tls.Server(c, conf)
	id, err := k.shake(ctx, t, key)
	return t, id, err
}

// shake does the handshake, in no more than [handshakeTime].
func (k *keeper) shake(ctx context.Context, t *tls.Conn, key <-chan crypto.PubKey) (id identity.RemoteIdentity, err error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		var mismatch sec.ErrPeerIDMismatch
		if errors.As(err, &mismatch) {
			return id, ErrOtherPeer
		}
		return id, err
	}
	if t.ConnectionState().NegotiatedProtocol != protocol {
		return id, errProtocol
	}
	select {
	case public := <-key:
		return remoteIdentity(public)
	default:
		return id, errors.New("tcp: no key was proved")
	}
}

// remoteIdentity converts a key. It fails for keys that are not Ed25519, and
// for those that [identity.FromBytes] refuses.
func remoteIdentity(key crypto.PubKey) (identity.RemoteIdentity, error) {
	if key == nil || key.Type() != crypto.Ed25519 {
		return identity.RemoteIdentity{}, errors.New("tcp: a key other than Ed25519")
	}
	raw, err := key.Raw()
	if err != nil {
		return identity.RemoteIdentity{}, err
	}
	return identity.FromBytes(raw)
}

func peerID(id identity.RemoteIdentity) (peer.ID, error) {
	key, err := crypto.UnmarshalEd25519PublicKey(id.PublicKey())
	if err != nil {
		return "", err
	}
	return peer.IDFromPublicKey(key)
}
