package roster

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/proto"
)

const (
	// MaxEnds is the number of ends that one side of an exchange may name.
	MaxEnds = 1 << 16
	// MaxSent is the number of statements that one side of an exchange may
	// send.
	MaxSent = 1 << 16
)

// An End is the last statement of a branch, or one before it.
type End struct {
	Signer  identity.RemoteIdentity
	Counter uint32
	Hash    Hash
}

func (n *node) end() End { return End{n.Signer, n.Counter, n.hash} }

// Ends returns the ends to tell the other side of an exchange: the end of each
// branch and, on the longest one of each signer, the statements 1, 2, 4, 8 and
// so on before the end. A device that does not know the end may know some of
// these, and need not send the statements before them. If there are more than
// MaxEnds, those of plain members are left out.
func (r *Roster) Ends() Ends {
	known := r.known.ends()
	for signer := range r.known.chains {
		p := r.known.last(signer)
		for back := 1; p != nil; back *= 2 {
			known[p] = true
			for range back {
				if p = p.parent; p == nil {
					break
				}
			}
		}
	}
	k := r.known.keeping()
	sorted := slices.SortedFunc(maps.Keys(known), func(a, b *node) int { return cmp.Or(k.byRank(a, b), compareNodes(a, b)) })
	var ends Ends
	for _, n := range sorted[:min(len(sorted), MaxEnds)] {
		ends = append(ends, n.end())
	}
	return ends
}

// Missing returns the statements that a device lacks which has named these
// ends: those that do not lie on a branch to one of them. The founder's and the
// admins' come first, then all others, each in the order in which they were
// added, predecessors first. If there are more than MaxSent, the last are left
// to the next exchange.
func (r *Roster) Missing(ends Ends) Statements {
	there := map[*node]bool{}
	for _, end := range ends {
		for n := r.known.nodes[end.Hash]; n != nil && !there[n]; n = n.parent {
			there[n] = true
		}
	}
	missing := slices.DeleteFunc(slices.Clone(r.known.order), func(n *node) bool { return there[n] })
	slices.SortStableFunc(missing, r.known.keeping().byRank)
	return statements(missing[:min(len(missing), MaxSent)])
}

// Ends is the first message of either side of an exchange: the ends of branches
// that it knows, and statements before them. It says that its sender knows
// these statements and all before them.
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

// Statements is the second message of either side, and the content of a file of
// statements: statements, predecessors first, and a zero byte.
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
