package call_test

import (
	"fmt"
	"iter"

	"github.com/sdp2p/p2p/proto"
)

// A text is a message of up to 64 bytes.
type text struct{ s string }

func (t *text) AppendBinary(b []byte) ([]byte, error) { return proto.AppendStringMax(b, t.s, 64) }

func (t *text) DecodeFrom(d *proto.Decoder) error {
	t.s = d.String(64)
	return d.Err()
}

// A number is a message whose methods have value receivers where this is
// possible.
type number struct{ n uint32 }

func (n number) AppendBinary(b []byte) ([]byte, error) { return proto.AppendUint32(b, n.n), nil }

func (n *number) DecodeFrom(d *proto.Decoder) error {
	n.n = d.Uint32()
	return d.Err()
}

// A large is a message of up to 1 MiB.
type large struct{ b []byte }

func (l *large) AppendBinary(b []byte) ([]byte, error) { return proto.AppendBytes(b, l.b, 1<<20) }

func (l *large) DecodeFrom(d *proto.Decoder) error {
	l.b = d.Bytes(1 << 20)
	return d.Err()
}

func collect[T any](seq iter.Seq2[T, error]) (all []T, err error) {
	for v, err := range seq {
		if err != nil {
			return all, err
		}
		all = append(all, v)
	}
	return all, nil
}

// texts yields n texts, and then an error if there is one.
func texts(n int, err error) iter.Seq2[text, error] {
	return func(yield func(text, error) bool) {
		for i := range n {
			if !yield(text{fmt.Sprint(i)}, nil) {
				return
			}
		}
		if err != nil {
			yield(text{}, err)
		}
	}
}
