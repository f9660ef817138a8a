package tunnel

import (
	"crypto/ecdh"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/hidden"
)

// A Session is a stream between two nodes that have authenticated each other. A
// tunnel runs in it, and owns it from then on.
type Session struct {
	// Stream has a method CloseWrite if it can end one direction alone. If an
	// error of its Read has a method Interrupted that returns true, the tunnel
	// can still be written to.
	Stream net.Conn

	// Local and Remote are the nodes' keys, as the connection has authenticated
	// them.
	Local, Remote identity.RemoteIdentity

	// Binding ties the tunnel to the connection: on a direct QUIC connection
	// its TLS exporter for [ExporterLabel], without a context. It is zero only
	// on paths that have no exporter: through a relay, or over something other
	// than QUIC.
	Binding [32]byte

	// Addr is the address of the peer; peers that share one share places
	// ([Limits]). If invalid, the address is not known.
	Addr netip.Addr

	// Busy does what Reset does, and tells the peer to come back later. If nil,
	// Reset is used.
	Busy func()

	// Reset ends the stream at once, in both directions, so that the peer
	// cannot take it for an end. If nil, the stream is closed.
	Reset func()
}

// busy refuses a handshake that has no place, and tells the peer so if tell is
// set.
func (s *Session) busy(tell bool) {
	if tell && s.Busy != nil {
		s.Busy()
		return
	}
	s.reset()
}

func (s *Session) reset() {
	if s.Reset != nil {
		s.Reset()
		return
	}
	s.Stream.Close()
}

// A Member is an instance of a library, and the node that it lives on.
type Member struct {
	Instance identity.RemoteIdentity
	Node     identity.RemoteIdentity
}

// A Credential is what a node needs to prove that it is an instance of a
// library. It prints as a placeholder, and may be used concurrently.
type Credential struct {
	purpose  [16]byte
	library  uuid.UUID
	instance identity.Identity
	static   func() *ecdh.PrivateKey // which does not print
	secret   hidden.Value[[32]byte]

	mu     sync.Mutex
	agreed map[[keySize]byte]agreement
}

// An agreement returns the secret that our static key and a member's agree on,
// the same in each handshake. As a function, it does not print.
type agreement func() []byte

// String returns a placeholder that names the instance.
func (c *Credential) String() string { return "a credential of " + c.instance.String() }

// Format prints the placeholder under every verb.
func (c *Credential) Format(f fmt.State, _ rune) { fmt.Fprint(f, c.String()) }

// LogValue returns the placeholder.
func (c *Credential) LogValue() slog.Value { return slog.StringValue(c.String()) }

// maxAgreed bounds the number of agreements that a credential remembers.
const maxAgreed = 2048

// remember keeps the agreement of the static keys of a successful handshake.
func (c *Credential) remember(public [keySize]byte, k *keys) {
	agreed, ok := k.fresh[public]
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.agreed) >= maxAgreed {
		clear(c.agreed)
	}
	if c.agreed == nil {
		c.agreed = map[[keySize]byte]agreement{}
	}
	c.agreed[public] = func() []byte { return agreed }
}

// agreement returns the agreement that remember kept, or nil.
func (c *Credential) agreement(public []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if agreed := c.agreed[[keySize]byte(public)]; agreed != nil {
		return agreed()
	}
	return nil
}

// NewCredential makes a credential from the UUID of a library, the key of our
// instance of it, and the library's secret, which is zero if it has none.
func NewCredential(library uuid.UUID, instance identity.Identity, secret [32]byte) *Credential {
	return &Credential{
		purpose: [16]byte([]byte("sdp2p-tunnel-v1\x00")), library: library,
		instance: instance, static: hide(instance), secret: hidden.Of(secret),
	}
}

// NewCredentialFor makes a credential for another use of a tunnel's handshake
// and records, such as pairing. Only sides with the same purpose, 16 bytes,
// accept each other; there is no library, and static is the key pair with which
// this side proves itself.
func NewCredentialFor(purpose [16]byte, static identity.Identity, secret [32]byte) *Credential {
	return &Credential{purpose: purpose, instance: static, static: hide(static), secret: hidden.Of(secret)}
}

func hide(id identity.Identity) func() *ecdh.PrivateKey {
	key := id.X25519()
	return func() *ecdh.PrivateKey { return key }
}

// Library returns the UUID of the library.
func (c *Credential) Library() uuid.UUID { return c.library }

// Instance returns our instance of it.
func (c *Credential) Instance() identity.RemoteIdentity { return c.instance.Remote() }
