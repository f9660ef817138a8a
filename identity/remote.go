package identity

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"

	"filippo.io/edwards25519"
	"filippo.io/edwards25519/field"
)

// Sizes of a [RemoteIdentity].
const (
	Size     = ed25519.PublicKeySize // bytes
	TextSize = 43                    // characters of unpadded standard base64
)

// ErrInvalid is wrapped by every error about a public key or its text form.
var ErrInvalid = errors.New("identity: not a public key")

// A RemoteIdentity is the public half of an [Identity]: it identifies a node or
// an instance to everybody else. It is comparable. The zero RemoteIdentity is
// not a key; every other value has been parsed strictly.
type RemoteIdentity struct{ b [Size]byte }

var text = base64.RawStdEncoding.Strict()

// Parse parses the text form: exactly 43 characters of unpadded standard
// base64, which may include '+' and '/'. The key must be acceptable to
// [FromBytes]. Errors wrap [ErrInvalid].
func Parse(s string) (RemoteIdentity, error) {
	if len(s) != TextSize { // first: the decoder skips newlines, even when strict
		return RemoteIdentity{}, fmt.Errorf("%w: %d characters instead of %d", ErrInvalid, len(s), TextSize)
	}
	var b [Size + 1]byte
	n, err := text.Decode(b[:], []byte(s))
	if err != nil || n != Size {
		return RemoteIdentity{}, fmt.Errorf("%w: not canonical unpadded base64", ErrInvalid)
	}
	return FromBytes(b[:Size])
}

// FromBytes parses the 32 bytes of an Ed25519 public key. It accepts only the
// canonical encoding of a point of prime order: several encodings of one point
// would give one peer several names, and points with a component of small order
// make a key agreement predictable. Errors wrap [ErrInvalid].
func FromBytes(b []byte) (RemoteIdentity, error) {
	if len(b) != Size {
		return RemoteIdentity{}, fmt.Errorf("%w: %d bytes instead of %d", ErrInvalid, len(b), Size)
	}
	r := RemoteIdentity{[Size]byte(b)}
	p, err := new(edwards25519.Point).SetBytes(b)
	if err != nil {
		return RemoteIdentity{}, fmt.Errorf("%w: not on the curve", ErrInvalid)
	}
	if [Size]byte(p.Bytes()) != r.b {
		return RemoteIdentity{}, fmt.Errorf("%w: not canonically encoded", ErrInvalid)
	}
	if !primeOrder(p) {
		return RemoteIdentity{}, fmt.Errorf("%w: not of prime order", ErrInvalid)
	}
	return r, nil
}

// minusOne is the scalar ℓ-1.
var minusOne = func() *edwards25519.Scalar {
	one := [32]byte{1}
	s, err := edwards25519.NewScalar().SetCanonicalBytes(one[:])
	if err != nil {
		panic(err)
	}
	return s.Negate(s)
}()

// primeOrder reports whether p ≠ 0 and ℓp = (ℓ-1)p + p = 0. The input is
// public, so it need not run in constant time.
func primeOrder(p *edwards25519.Point) bool {
	zero := edwards25519.NewIdentityPoint()
	q := new(edwards25519.Point).VarTimeDoubleScalarBaseMult(minusOne, p, edwards25519.NewScalar())
	return p.Equal(zero) == 0 && q.Add(q, p).Equal(zero) == 1
}

// IsZero reports whether r is the zero RemoteIdentity, which is not a key.
func (r RemoteIdentity) IsZero() bool { return r == RemoteIdentity{} }

// Bytes returns the 32 bytes of the key.
func (r RemoteIdentity) Bytes() [Size]byte { return r.b }

// PublicKey returns the key in the form of crypto/ed25519.
func (r RemoteIdentity) PublicKey() ed25519.PublicKey {
	return append(ed25519.PublicKey(nil), r.b[:]...)
}

// X25519 returns the Montgomery form of the key, for key agreement. It fails
// only for the zero RemoteIdentity. A key and its negation have the same
// Montgomery form: a list in which peers are looked up by that form must not
// contain both.
func (r RemoteIdentity) X25519() (*ecdh.PublicKey, error) {
	if r.IsZero() {
		return nil, fmt.Errorf("%w: the zero RemoteIdentity", ErrInvalid)
	}
	// u = (1 + y) / (1 − y) (RFC 7748 §4.1). The x coordinate was checked when
	// r was parsed.
	var y, one, u field.Element
	b := r.b
	b[len(b)-1] &= 0x7F // the sign of x
	if _, err := y.SetBytes(b[:]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	one.One()
	u.Subtract(&one, &y)
	u.Multiply(u.Invert(&u), y.Add(&one, &y))
	return ecdh.X25519().NewPublicKey(u.Bytes())
}

// String returns the text form: 43 characters of unpadded standard base64. It
// is "" for the zero RemoteIdentity.
func (r RemoteIdentity) String() string {
	if r.IsZero() {
		return ""
	}
	return text.EncodeToString(r.b[:])
}

// Fingerprint returns 80 bits of the key's SHA-256 in a form that people can
// compare: four groups of four characters of base32, as in
// "COPD-SQHG-JNKJ-C4RA". It identifies a key to a person, not to a program.
func (r RemoteIdentity) Fingerprint() string {
	h := sha256.Sum256(r.b[:])
	s := base32.StdEncoding.EncodeToString(h[:10])
	return s[0:4] + "-" + s[4:8] + "-" + s[8:12] + "-" + s[12:16]
}

// MarshalText returns the text form.
func (r RemoteIdentity) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText parses the text form, as [Parse] does; empty text gives the
// zero RemoteIdentity.
func (r *RemoteIdentity) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*r = RemoteIdentity{}
		return nil
	}
	got, err := Parse(string(b))
	if err != nil {
		return err
	}
	*r = got
	return nil
}
