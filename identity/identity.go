// Package identity holds the keys that identify nodes and library instances.
//
// An [Identity] is an Ed25519 key pair (RFC 8032), and secret. A
// [RemoteIdentity] is its public half, which names a node to everybody else.
// Both are small values that may be copied and used concurrently.
//
//	id, err := identity.LoadOrCreate("node.pem")   // once for each installation
//	fmt.Println(id)                                // prints the public half, never the secret
//	them, err := identity.Parse("O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik")
//	fmt.Println(them.Fingerprint())                // what a person compares
//	same := them == id.Remote()                    // comparable, usable as a map key
//	url := "http://" + them.Host() + "/"           // for programs that dial hosts
//
// Public keys are parsed strictly: only the canonical form of a key that is
// safe for key agreement is accepted. The zero RemoteIdentity is not a key.
package identity

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// SeedSize is the length in bytes of the seed that an [Identity] is derived
// from.
const SeedSize = ed25519.SeedSize

// ErrSecret is returned by every attempt to marshal an [Identity]: a key leaves
// the process only through [Identity.Save] and [Identity.PrivateKey].
var ErrSecret = errors.New("identity: a secret key is not marshaled; use Save or Create")

// An Identity is the key pair of a node or of a library instance. It is secret:
// it prints and logs as its public half, and refuses to be marshaled.
//
// The zero Identity is not valid. All methods may be called concurrently.
type Identity struct {
	// It is a function because, if an Identity is in an unexported field, fmt
	// follows pointers by reflection and prints what it finds. It cannot look
	// into a function.
	key func() *key
}

type key struct {
	private ed25519.PrivateKey
	remote  RemoteIdentity
}

// New returns a fresh random identity.
func New() Identity {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic("identity: " + err.Error()) // crypto/rand does not fail
	}
	return fromPrivate(private)
}

// FromSeed returns the identity derived from a seed of exactly [SeedSize] bytes
// (RFC 8032 §5.1.5). The seed is secret: it must be uniformly random and kept
// as safe as a key file.
func FromSeed(seed []byte) (Identity, error) {
	if len(seed) != SeedSize {
		return Identity{}, fmt.Errorf("identity: a seed has %d bytes, not %d", SeedSize, len(seed))
	}
	return fromPrivate(ed25519.NewKeyFromSeed(seed)), nil
}

func fromPrivate(private ed25519.PrivateKey) Identity {
	k := &key{private: private}
	copy(k.remote.b[:], private[SeedSize:]) // derived from a seed: always of prime order
	return Identity{func() *key { return k }}
}

// IsZero reports whether id is the zero Identity, which is not a key.
func (id Identity) IsZero() bool { return id.key == nil }

// Remote returns the public half.
func (id Identity) Remote() RemoteIdentity {
	if id.key == nil {
		return RemoteIdentity{}
	}
	return id.key().remote
}

// PrivateKey returns a copy of the Ed25519 private key, for transports that
// authenticate with it.
func (id Identity) PrivateKey() ed25519.PrivateKey {
	return append(ed25519.PrivateKey(nil), id.key().private...)
}

// X25519 returns the key for key agreement: the scalar
// clamp(SHA-512(seed)[:32]), as RFC 8032 §5.1.5 derives it for signing. Its
// public half is the Montgomery form of the Ed25519 key
// ([RemoteIdentity.X25519]). The raw result of an agreement may only enter a
// KDF.
func (id Identity) X25519() *ecdh.PrivateKey {
	h := sha512.Sum512(id.key().private.Seed())
	h[0] &= 248
	h[31] &= 127
	h[31] |= 64
	private, err := ecdh.X25519().NewPrivateKey(h[:32])
	if err != nil {
		panic("identity: " + err.Error()) // any 32 bytes are a key
	}
	return private
}

// String returns the text form of the public half.
func (id Identity) String() string { return id.Remote().String() }

// GoString returns a form that shows only the public half.
func (id Identity) GoString() string { return "identity.Identity(" + id.String() + ")" }

// Format prints the public half under every verb.
func (id Identity) Format(f fmt.State, verb rune) {
	s := id.String()
	if verb == 'v' && f.Flag('#') {
		s = id.GoString()
	}
	if verb == 'q' {
		s = `"` + s + `"`
	}
	io.WriteString(f, s)
}

// LogValue logs the public half.
func (id Identity) LogValue() slog.Value { return slog.StringValue(id.String()) }

// MarshalText fails with [ErrSecret].
func (id Identity) MarshalText() ([]byte, error) { return nil, ErrSecret }

// MarshalJSON fails with [ErrSecret].
func (id Identity) MarshalJSON() ([]byte, error) { return nil, ErrSecret }

// MarshalBinary fails with [ErrSecret].
func (id Identity) MarshalBinary() ([]byte, error) { return nil, ErrSecret }
