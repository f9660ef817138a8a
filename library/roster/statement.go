package roster

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/proto"
)

// Limits that no configuration changes.
const (
	// FounderPlaces is how many instances the founder may add on a branch of its
	// chain.
	FounderPlaces = 1024
	// Places is how many instances anybody else may.
	Places = 128
	// MaxName is the length of a name in bytes.
	MaxName = 255
	// MaxBody is the length of a statement's body in bytes.
	MaxBody = 512
	// MaxStatement is the length of a statement in bytes.
	MaxStatement = fixedSize + MaxBody

	fixedSize = 1 + 16 + identity.Size + 4 + sha256.Size + 8 + 2 + ed25519.SignatureSize
)

// Errors about statements. The errors of this package wrap one of them.
var (
	// ErrInvalid is about a statement that is not one: too short or too long,
	// with a signer that is no key or a signature that is not the signer's.
	ErrInvalid = errors.New("roster: not a valid statement")
	// ErrOtherLibrary is about a statement of another library.
	ErrOtherLibrary = errors.New("roster: a statement of another library")
	// ErrNoPredecessor is about a statement whose predecessor is not known.
	ErrNoPredecessor = errors.New("roster: a statement without the one before it")
)

// A Hash is the SHA-256 of a statement, signature included.
type Hash [sha256.Size]byte

// IsZero reports whether h is the zero Hash, which no statement has.
func (h Hash) IsZero() bool { return h == Hash{} }

// String returns the first eight bytes in hexadecimal.
func (h Hash) String() string { return fmt.Sprintf("%x", h[:8]) }

// Compare orders hashes by their bytes.
func (h Hash) Compare(o Hash) int { return bytes.Compare(h[:], o[:]) }

// A Kind is a kind of statement.
type Kind uint8

// The kinds.
const (
	KindAdd Kind = iota + 1
	KindMove
	KindRemove
	KindEndorse
	KindSecret
)

// A Statement is something that Signer signed about a library. Its fields must
// not be changed once it is signed.
//
//	size  field
//	1     kind
//	16    library
//	32    signer
//	4     counter, from 1
//	32    previous: hash of the signer's statement before, zero for the first
//	8     time: seconds since 1970
//	2+n   body, at most 512 bytes
//	64    signature
//
// The signature is Ed25519 (RFC 8032) over "sdp2p-roster-v1\0", the founder's
// key, and all that precedes it.
type Statement struct {
	Kind      Kind
	Library   uuid.UUID
	Signer    identity.RemoteIdentity
	Counter   uint32
	Previous  Hash
	Time      int64 // for people: nothing is decided by it
	Body      []byte
	Signature [ed25519.SignatureSize]byte // zero: a draft
}

const domain = "sdp2p-roster-v1\x00"

// At returns when the statement was signed, as the signer's clock had it.
func (s *Statement) At() time.Time { return time.Unix(s.Time, 0) }

// appendUnsigned appends all but the signature.
func (s *Statement) appendUnsigned(b []byte) []byte {
	signer := s.Signer.Bytes()
	b = proto.AppendUUID(proto.AppendUint8(b, uint8(s.Kind)), s.Library)
	b = proto.AppendUint32(append(b, signer[:]...), s.Counter)
	b = proto.AppendUint64(append(b, s.Previous[:]...), uint64(s.Time))
	return append(proto.AppendUint16(b, uint16(len(s.Body))), s.Body...)
}

// AppendBinary appends the statement. It fails with [ErrInvalid] if the body is
// too long.
func (s Statement) AppendBinary(b []byte) ([]byte, error) {
	if len(s.Body) > MaxBody {
		return nil, fmt.Errorf("%w: a body of %d bytes, of %d", ErrInvalid, len(s.Body), MaxBody)
	}
	return append(s.appendUnsigned(b), s.Signature[:]...), nil
}

// DecodeFrom reads a statement. It does not verify the signature: that takes
// the founder's key, and [Roster.Add] does it.
func (s *Statement) DecodeFrom(d *proto.Decoder) (err error) {
	kind := d.Uint8()
	return s.decodeAfter(kind, d)
}

// decodeAfter reads what follows the kind.
func (s *Statement) decodeAfter(kind uint8, d *proto.Decoder) (err error) {
	var signer [identity.Size]byte
	out := Statement{Kind: Kind(kind), Library: d.UUID()}
	d.Fixed(signer[:])
	out.Counter = d.Uint32()
	d.Fixed(out.Previous[:])
	out.Time = int64(d.Uint64())
	n := int(d.Uint16())
	if d.Err() == nil && n > MaxBody {
		d.Fail(fmt.Errorf("%w: a body of %d bytes, of %d", ErrInvalid, n, MaxBody))
		return d.Err()
	}
	out.Body = make([]byte, n)
	d.Fixed(out.Body)
	d.Fixed(out.Signature[:])
	if err := d.Err(); err != nil {
		return err
	}
	if out.Signer, err = identity.FromBytes(signer[:]); err != nil {
		return fmt.Errorf("%w: signer: %w", ErrInvalid, err)
	}
	*s = out
	return nil
}

// MarshalText returns the statement in unpadded base64.
func (s Statement) MarshalText() ([]byte, error) {
	b, err := s.AppendBinary(nil)
	if err != nil {
		return nil, err
	}
	return base64.RawStdEncoding.AppendEncode(nil, b), nil
}

// UnmarshalText reads the form of MarshalText.
func (s *Statement) UnmarshalText(text []byte) error {
	b, err := base64.RawStdEncoding.Strict().DecodeString(string(text))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	// The decoder skips line breaks, even when it is strict.
	if len(text) != base64.RawStdEncoding.EncodedLen(len(b)) {
		return fmt.Errorf("%w: a line break", ErrInvalid)
	}
	r, out := bytes.NewReader(b), Statement{}
	if err := out.DecodeFrom(proto.NewDecoder(r)); err != nil {
		return err
	}
	if r.Len() > 0 {
		return fmt.Errorf("%w: %d bytes behind it", ErrInvalid, r.Len())
	}
	*s = out
	return nil
}

// Hash returns the SHA-256 of the whole statement.
func (s *Statement) Hash() Hash {
	return sha256.Sum256(append(s.appendUnsigned(nil), s.Signature[:]...))
}

// UnsignedHash returns the SHA-256 of the statement without its signature,
// which an endorsement names.
func (s *Statement) UnsignedHash() Hash { return sha256.Sum256(s.appendUnsigned(nil)) }

// signed returns what the signature is over.
func (s *Statement) signed(founder identity.RemoteIdentity) []byte {
	key := founder.Bytes()
	return s.appendUnsigned(append([]byte(domain), key[:]...))
}

// Sign signs a draft in the name of its signer, whose identity id must be, for
// the library that founder made.
func (s *Statement) Sign(id identity.Identity, founder identity.RemoteIdentity) error {
	switch {
	case id.Remote() != s.Signer:
		return fmt.Errorf("%w: %v cannot sign for %v", ErrInvalid, id.Remote(), s.Signer)
	case len(s.Body) > MaxBody:
		return fmt.Errorf("%w: a body of %d bytes, of %d", ErrInvalid, len(s.Body), MaxBody)
	}
	copy(s.Signature[:], ed25519.Sign(id.PrivateKey(), s.signed(founder)))
	return nil
}

// Verify reports whether the statement is one of the library that founder made:
// well formed, with its signer's signature. It fails with [ErrInvalid].
func (s *Statement) Verify(founder identity.RemoteIdentity) error {
	if err := s.wellFormed(); err != nil {
		return err
	}
	key := s.Signer.Bytes()
	if !ed25519.Verify(key[:], s.signed(founder), s.Signature[:]) {
		return fmt.Errorf("%w: the signature is not %v's", ErrInvalid, s.Signer)
	}
	return nil
}

// wellFormed is what Verify requires besides the signature.
func (s *Statement) wellFormed() error {
	switch {
	case s.Kind == 0 || s.Signer.IsZero() || len(s.Body) > MaxBody:
		return ErrInvalid
	case s.Counter == 0 || (s.Counter == 1) != s.Previous.IsZero():
		return fmt.Errorf("%w: number %d of a chain", ErrInvalid, s.Counter)
	}
	return nil
}

// places returns how many instances a signer may add on a branch, if it is an
// admin.
func places(signer, founder identity.RemoteIdentity) int {
	if signer == founder {
		return FounderPlaces
	}
	return Places
}

// chainLength returns how many statements a chain may have on one branch.
func chainLength(places int) uint32 { return 16 + 4*uint32(places) }

const _ = uint(math.MaxUint16 - MaxBody) // the length of a body fits its field
