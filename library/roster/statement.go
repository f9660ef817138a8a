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
	// FounderPlaces is the number of instances that the founder may add on a
	// branch of its chain.
	FounderPlaces = 1024
	// Places is the number that any other signer may add.
	Places = 128
	// MaxName is the maximum length of a name in bytes.
	MaxName = 255
	// MaxBody is the maximum length of a statement's body in bytes.
	MaxBody = 512
	// MaxStatement is the maximum length of a statement in bytes.
	MaxStatement = fixedSize + MaxBody

	fixedSize = 1 + 16 + identity.Size + 4 + sha256.Size + 8 + 2 + ed25519.SignatureSize
)

// Errors about statements. The errors of this package wrap one of these or
// ErrFull.
var (
	// ErrInvalid says that a statement is not valid: it is too short or too
	// long, its signer is not a key, or its signature is not the signer's.
	ErrInvalid = errors.New("roster: not a valid statement")
	// ErrOtherLibrary says that a statement belongs to another library.
	ErrOtherLibrary = errors.New("roster: a statement of another library")
	// ErrNoPredecessor says that a statement's predecessor is not known.
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

// A Statement is a fact about a library, signed by Signer. Its fields must not
// be changed once it is signed.
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
	Time      int64 // for people: no decision depends on it
	Body      []byte
	Signature [ed25519.SignatureSize]byte // zero: a draft
}

const domain = "sdp2p-roster-v1\x00"

// At returns when the statement was signed, by the signer's clock.
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

// DecodeFrom reads a statement. It does not verify the signature, which takes
// the founder's key: [Roster.Add] does.
func (s *Statement) DecodeFrom(d *proto.Decoder) (err error) {
	kind := d.Uint8()
	return s.decodeAfter(kind, d)
}

// decodeAfter reads the fields after the kind.
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

// UnmarshalText reads the output of MarshalText.
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

// signed returns the bytes that the signature covers.
func (s *Statement) signed(founder identity.RemoteIdentity) []byte {
	key := founder.Bytes()
	return s.appendUnsigned(append([]byte(domain), key[:]...))
}

// Sign signs a draft as its signer, which id must be, for the library that
// founder made.
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

// Verify fails with [ErrInvalid] unless the statement belongs to the library
// that founder made, is well formed, and has its signer's signature.
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

// wellFormed does the checks of Verify except that of the signature.
func (s *Statement) wellFormed() error {
	switch {
	case s.Kind == 0 || s.Signer.IsZero() || len(s.Body) > MaxBody:
		return ErrInvalid
	case s.Counter == 0 || (s.Counter == 1) != s.Previous.IsZero():
		return fmt.Errorf("%w: number %d of a chain", ErrInvalid, s.Counter)
	}
	return nil
}

// places returns the number of instances that a signer may add on a branch, if
// it is an admin.
func places(signer, founder identity.RemoteIdentity) int {
	if signer == founder {
		return FounderPlaces
	}
	return Places
}

// chainLength returns the number of statements that a chain may have on one
// branch.
func chainLength(places int) uint32 { return 16 + 4*uint32(places) }

const _ = uint(math.MaxUint16 - MaxBody) // the length of a body fits its field
