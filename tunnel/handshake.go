package tunnel

import (
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/flynn/noise"

	"github.com/sdp2p/p2p/identity"
)

// Sizes of the handshake's messages.
const (
	keySize = 32
	tagSize = 16
	m1Size  = 2 + keySize + keySize + tagSize + tagSize
	m2Size  = keySize + tagSize
)

const (
	m1Type  = 'T'
	version = 1
)

// ExporterLabel is the label of the TLS exporter that ties a tunnel to the QUIC
// connection it runs in.
const ExporterLabel = "EXPORTER-sdp2p-tunnel-v1"

// prologue returns the 128 bytes that both sides must agree on and that are
// never sent; see the package's comment.
func prologue(initiator, responder identity.RemoteIdentity, c *Credential, binding [32]byte) []byte {
	i, r := initiator.Bytes(), responder.Bytes()
	return slices.Concat(c.purpose[:], i[:], r[:], c.library[:], binding[:])
}

// keys is Noise's Diffie-Hellman function for one handshake. The private keys
// that Noise handles are indexes into it, so that an ecdh.PrivateKey is made
// once, not for every agreement. The first is the credential's.
type keys struct {
	credential *Credential
	private    []*ecdh.PrivateKey
	random     io.Reader                // of ephemeral keys
	fresh      map[[keySize]byte][]byte // agreements with the static key that the credential has not remembered
}

const static = 0 // the index of the static key

func (k *keys) add(private *ecdh.PrivateKey) noise.DHKey {
	k.private = append(k.private, private)
	return noise.DHKey{Private: []byte{byte(len(k.private) - 1)}, Public: private.PublicKey().Bytes()}
}

// GenerateKeypair makes an ephemeral key. Noise's own source of randomness is
// not used.
func (k *keys) GenerateKeypair(io.Reader) (noise.DHKey, error) {
	var seed [keySize]byte
	if _, err := io.ReadFull(k.random, seed[:]); err != nil {
		return noise.DHKey{}, err
	}
	private, err := ecdh.X25519().NewPrivateKey(seed[:])
	if err != nil {
		return noise.DHKey{}, err
	}
	return k.add(private), nil
}

// DH fails if the result is zero, since public is of low order then (RFC 7748
// §6.1).
func (k *keys) DH(handle, public []byte) ([]byte, error) {
	if handle[0] == static {
		if agreement := k.credential.agreement(public); agreement != nil {
			return agreement, nil
		}
	}
	p, err := ecdh.X25519().NewPublicKey(public)
	if err != nil {
		return nil, err
	}
	agreement, err := k.private[handle[0]].ECDH(p)
	if err == nil && handle[0] == static {
		if k.fresh == nil {
			k.fresh = map[[keySize]byte][]byte{}
		}
		k.fresh[[keySize]byte(public)] = agreement
	}
	return agreement, err
}

func (k *keys) DHLen() int     { return keySize }
func (k *keys) DHName() string { return "25519" }

// start begins a handshake as one side.
func start(c *Credential, prologue []byte, peer []byte, random io.Reader) (*noise.HandshakeState, *keys, error) {
	if random == nil {
		random = rand.Reader
	}
	k := &keys{credential: c, random: random}
	secret := c.secret.Get()
	hs, err := noise.NewHandshakeState(noise.Config{
		CipherSuite:           noise.NewCipherSuite(k, noise.CipherChaChaPoly, noise.HashSHA256),
		Pattern:               noise.HandshakeIK,
		Initiator:             peer != nil,
		Prologue:              prologue,
		PresharedKey:          secret[:], // always: with nil, Noise would take another pattern
		PresharedKeyPlacement: 1,
		StaticKeypair:         k.add(c.static()),
		PeerStatic:            peer,
	})
	return hs, k, err
}

var errHighBit = errors.New("an ephemeral key with its highest bit set")

// checkEphemeral refuses the second encoding of a key: X25519 ignores the
// highest bit.
func checkEphemeral(message []byte) error {
	if message[keySize-1]&0x80 != 0 {
		return fmt.Errorf("%w: %w", ErrHandshake, errHighBit)
	}
	return nil
}
