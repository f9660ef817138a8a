package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/proto"
)

// An Author is an instance of the library, by its public key.
type Author [identity.Size]byte

func author(id identity.RemoteIdentity) Author { return id.Bytes() }

// A Field is a field of a note.
type Field uint8

// The fields of a note.
const (
	Title Field = iota + 1
	Body
	Deleted // "yes", or empty
)

// MaxValue is the maximum size of a value in bytes.
const MaxValue = 32 << 10

// A Kind is the kind of an operation.
type Kind uint8

// The kinds of operations.
const (
	edit   Kind = iota + 1 // gives fields of notes other values
	revoke                 // says how many operations of a removed member count; only for admins
	shift                  // says by how much the author's clock was off
)

// An Op is an operation: something that one device has done. It is never
// modified. The same bytes are in the log and on the wire.
//
//	size  field
//	32    author
//	8     number: 1 for the first operation of its author, then 2, …
//	8     stamp
//	1     kind
//	      of edits:
//	2       how many, at most MaxEdits, for each:
//	16        note
//	1         field
//	1         how many values it replaces, at most MaxOver, for each:
//	16          mark of the operation that it is from
//	2+n       value, n ≤ MaxValue, UTF-8
//	      of a revocation:
//	32      hash of the roster's statement that removed somebody
//	8       how many operations of that one count
//	      of a shift:
//	8       first
//	8       ms: the author's operations from the first one to this have stamps that
//	        are so much too early; signed, at most MaxShift
//	1       whether it is sure (Clock)
//	64    signature
//
// All of it has at most MaxOp bytes.
//
// The signature is the author's ([library.Library.Sign]), so that other devices
// can pass the operation on. It covers the signature of the author's previous
// operation (or 64 zero bytes), and the fields above. So each operation vouches
// for all before it: if an author writes two histories, as a device does whose
// files were restored from a copy, devices that have the other one notice.
type Op struct {
	Author Author
	Number uint64
	Stamp  Stamp
	Kind   Kind

	Edits []Edit

	Removal roster.Hash
	Count   uint64

	First uint64
	MS    int64
	Sure  bool

	Signature Signature
}

// An Edit gives a field of a note another value, in place of those with the
// marks in Over.
type Edit struct {
	Note  uuid.UUID
	Field Field
	Over  []Mark
	Value string
}

// A Mark names an operation: the first bytes of the SHA-256 of its signature.
// An operation that was not written yet cannot be named.
type Mark [16]byte

func (o *Op) mark() Mark {
	sum := sha256.Sum256(o.Signature[:])
	return Mark(sum[:])
}

// size returns the size of the edit in bytes.
func (e *Edit) size() int { return 16 + 1 + 1 + len(Mark{})*len(e.Over) + 2 + len(e.Value) }

// A Signature is an Ed25519 signature.
type Signature [ed25519.SignatureSize]byte

// Limits of an operation.
const (
	MaxEdits = 256
	MaxOver  = 255
	MaxOp    = 64 << 10
	MaxShift = int64(2 * maxAhead / time.Millisecond) // forward or back

	otherBytes = 32 + 8 + 8 + 1 + 2 + 64 // those besides the edits

	purpose = "notes" // of the signatures
)

// errForged is returned for an operation that its author has not signed, or not
// as the successor of those that are here.
var errForged = errors.New("notes: an operation is not its author's, or does not follow those that are here: was a copy of its files restored?")

// appendFields appends the signed fields of the operation.
func (o *Op) appendFields(b []byte) ([]byte, error) {
	n := len(b)
	b = append(b, o.Author[:]...)
	b = proto.AppendUint64(b, o.Number)
	b = proto.AppendUint64(b, uint64(o.Stamp))
	b, err := proto.AppendEnum(b, "kind", o.Kind, edit, revoke, shift)
	if err != nil {
		return b[:n], err
	}
	switch o.Kind {
	case edit:
		b, err = proto.AppendCount16(b, len(o.Edits), MaxEdits)
		for i := 0; err == nil && i < len(o.Edits); i++ {
			b, err = o.Edits[i].appendBinary(b)
		}
		if err == nil && len(b)-n > MaxOp-len(o.Signature) {
			err = &proto.LimitError{What: "operation", Size: uint64(len(b) - n + len(o.Signature)), Limit: MaxOp}
		}
		if err != nil {
			return b[:n], err
		}
	case revoke:
		b = append(b, o.Removal[:]...)
		b = proto.AppendUint64(b, o.Count)
	case shift:
		if err := checkShift(o.MS); err != nil {
			return b[:n], err
		}
		b = proto.AppendUint64(b, o.First)
		b = proto.AppendUint64(b, uint64(o.MS))
		b = proto.AppendBool(b, o.Sure)
	}
	return b, nil
}

func checkShift(ms int64) error {
	if ms < -MaxShift || ms > MaxShift {
		return fmt.Errorf("%w operation: a shift by %d ms", proto.ErrInvalid, ms)
	}
	return nil
}

func (e *Edit) appendBinary(b []byte) ([]byte, error) {
	b, err := proto.AppendEnum(proto.AppendUUID(b, e.Note), "field", e.Field, Title, Body, Deleted)
	if err == nil {
		b, err = proto.AppendCount8(b, len(e.Over), MaxOver)
	}
	if err != nil {
		return b, err
	}
	for _, m := range e.Over {
		b = append(b, m[:]...)
	}
	return proto.AppendStringMax(b, e.Value, MaxValue)
}

func (e *Edit) decodeFrom(d *proto.Decoder) error {
	e.Note = d.UUID()
	e.Field = proto.DecodeEnum(d, "field", Title, Body, Deleted)
	e.Over = proto.DecodeList(d, d.Count8(MaxOver), func(m *Mark, d *proto.Decoder) error {
		d.Fixed(m[:])
		return d.Err()
	})
	e.Value = d.String(MaxValue)
	return d.Err()
}

// AppendBinary appends the operation to b. It fails, and returns b as it was,
// if the kind, the field or the value is not valid.
func (o *Op) AppendBinary(b []byte) ([]byte, error) {
	all, err := o.appendFields(b)
	if err != nil {
		return b, err
	}
	return append(all, o.Signature[:]...), nil
}

// DecodeFrom reads an operation. It does not verify the signature.
func (o *Op) DecodeFrom(d *proto.Decoder) error {
	*o = Op{}
	d.Fixed(o.Author[:])
	o.Number = d.Uint64()
	o.Stamp = Stamp(d.Uint64())
	o.Kind = proto.DecodeEnum(d, "kind", edit, revoke, shift)
	switch o.Kind {
	case edit:
		size := otherBytes
		o.Edits = proto.DecodeList(d, d.Count16(MaxEdits), func(e *Edit, d *proto.Decoder) error {
			if err := e.decodeFrom(d); err != nil {
				return err
			}
			if size += e.size(); size > MaxOp {
				return &proto.LimitError{What: "operation", Size: uint64(size), Limit: MaxOp}
			}
			return nil
		})
	case revoke:
		d.Fixed(o.Removal[:])
		o.Count = d.Uint64()
	case shift:
		o.First = d.Uint64()
		if o.MS = int64(d.Uint64()); checkShift(o.MS) != nil {
			d.Fail(checkShift(o.MS))
		}
		o.Sure = d.Bool()
	}
	d.Fixed(o.Signature[:])
	if o.Number == 0 {
		d.Fail(fmt.Errorf("%w operation: numbers begin with 1", proto.ErrInvalid))
	}
	return d.Err()
}

// signed returns the bytes that the signature covers.
func (o *Op) signed(before Signature) ([]byte, error) {
	b := make([]byte, 0, 256)
	return o.appendFields(append(b, before[:]...))
}

// sign signs an operation as the successor of the one with the signature
// before.
func (o *Op) sign(l Membership, before Signature) error {
	b, err := o.signed(before)
	if err == nil {
		o.Signature = l.Sign(purpose, b)
	}
	return err
}

// verify returns errForged unless by, its author, has signed the operation as
// the successor of the one with the signature before.
func (o *Op) verify(id uuid.UUID, by identity.RemoteIdentity, before Signature) error {
	b, err := o.signed(before)
	if err != nil {
		return err
	}
	if !library.Verify(id, by, purpose, b, o.Signature) {
		return errForged
	}
	return nil
}

// A Want asks another device, first and then whenever there is news, for all
// operations of these authors that follow those that the sender has. It also
// has the time of the sender's clock.
//
//	size  field
//	8     clock: milliseconds since 1970, signed
//	2     number of authors, at most MaxAuthors, for each:
//	32      author
//	8       how many of its operations are here
type Want struct {
	Clock int64
	Have  []Have
}

// Have says how many operations of an author a device has. They are the first
// ones, without gaps.
type Have struct {
	Author Author
	Count  uint64
}

// MaxAuthors is the number of authors that a library can have had: the present
// members and many former ones.
const MaxAuthors = 8192

// AppendBinary appends the message to b. It fails, and returns b as it was, if
// there are too many authors.
func (w *Want) AppendBinary(b []byte) ([]byte, error) {
	all, err := proto.AppendCount16(proto.AppendUint64(b, uint64(w.Clock)), len(w.Have), MaxAuthors)
	if err != nil {
		return b, err
	}
	for _, h := range w.Have {
		all = proto.AppendUint64(append(all, h.Author[:]...), h.Count)
	}
	return all, nil
}

// DecodeFrom reads the message.
func (w *Want) DecodeFrom(d *proto.Decoder) error {
	w.Clock = int64(d.Uint64())
	w.Have = proto.DecodeList(d, d.Count16(MaxAuthors), func(h *Have, d *proto.Decoder) error {
		d.Fixed(h.Author[:])
		h.Count = d.Uint64()
		return d.Err()
	})
	return d.Err()
}
