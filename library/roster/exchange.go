package roster

import (
	"fmt"

	"github.com/sdp2p/p2p/proto"
)

const (
	// MaxEnds is how many branches one side of an exchange may name.
	MaxEnds = 1 << 16
	// MaxSent is how many statements one side of an exchange may send.
	MaxSent = 1 << 16
)

// Ends is the first message of either side of an exchange: the end of each
// branch that it knows.
//
//	size  field
//	4     count, at most MaxEnds
//	      count times:
//	32    signer
//	4     counter
//	32    hash of the statement
type Ends []End

// AppendBinary appends the message.
func (e Ends) AppendBinary(b []byte) ([]byte, error) {
	b, err := proto.AppendCount32(b, len(e), MaxEnds)
	if err != nil {
		return nil, err
	}
	for _, end := range e {
		b = proto.AppendUint32(appendKey(b, end.Signer), end.Counter)
		b = append(b, end.Hash[:]...)
	}
	return b, nil
}

// DecodeFrom reads the message.
func (e *Ends) DecodeFrom(d *proto.Decoder) error {
	list := proto.DecodeList(d, d.Count32(MaxEnds), func(end *End, d *proto.Decoder) error {
		end.Signer = decodeKey(d)
		end.Counter = d.Uint32()
		d.Fixed(end.Hash[:])
		return d.Err()
	})
	if err := d.Err(); err != nil {
		return fmt.Errorf("roster: ends: %w", err)
	}
	*e = list
	return nil
}

// Statements is the second message of either side, and what a file of
// statements holds: statements, predecessors first, and a zero byte.
type Statements []Statement

// AppendBinary appends the message.
func (s Statements) AppendBinary(b []byte) (_ []byte, err error) {
	if len(s) > MaxSent {
		return nil, fmt.Errorf("roster: %d statements, of %d", len(s), MaxSent)
	}
	for i := range s {
		if b, err = s[i].AppendBinary(b); err != nil {
			return nil, err
		}
	}
	return append(b, 0), nil
}

// DecodeFrom reads the message. The statements are not verified: [Roster.Add]
// does that.
func (s *Statements) DecodeFrom(d *proto.Decoder) error {
	var list Statements
	for {
		kind := d.Uint8()
		switch {
		case d.Err() != nil:
			return fmt.Errorf("roster: statements: %w", d.Err())
		case kind == 0:
			*s = list
			return nil
		case len(list) == MaxSent:
			return fmt.Errorf("%w: more than %d statements", ErrInvalid, MaxSent)
		}
		var next Statement
		if err := next.decodeAfter(kind, d); err != nil {
			return fmt.Errorf("roster: statements: %w", err)
		}
		list = append(list, next)
	}
}
