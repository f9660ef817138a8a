package messagetest

import (
	"bytes"
	"encoding"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/proto"
)

// A Random generates random values.
type Random struct{ *rand.Rand }

// Fill makes bytes random.
func (r Random) Fill(p []byte) {
	for i := range p {
		p[i] = byte(r.Uint32())
	}
}

// Hash returns 32 random bytes.
func (r Random) Hash() (h [32]byte) { r.Fill(h[:]); return h }

// UUID returns 16 random bytes.
func (r Random) UUID() (id [16]byte) { r.Fill(id[:]); return id }

// Key returns a random key.
func (r Random) Key() identity.RemoteIdentity {
	seed := r.Hash()
	id, err := identity.FromSeed(seed[:])
	if err != nil {
		panic(err) // any 32 bytes are a seed
	}
	return id.Remote()
}

// Text returns a string of at most limit bytes.
func (r Random) Text(limit int) string {
	return proto.CutString(strings.Repeat([]string{"a", "ü", "€ "}[r.IntN(3)], r.IntN(min(limit, 40)+1)), limit)
}

// Bytes returns at most limit bytes.
func (r Random) Bytes(limit int) []byte {
	p := make([]byte, r.IntN(limit+1))
	r.Fill(p)
	return p
}

// An Appender is a message that can be encoded.
type Appender = encoding.BinaryAppender

// An AppendFunc is an encoder.
type AppendFunc func(b []byte) ([]byte, error)

// AppendBinary calls f.
func (f AppendFunc) AppendBinary(b []byte) ([]byte, error) { return f(b) }

// A Pair is a hand-written message and its generated counterpart.
type Pair struct {
	// Sample returns one value in both forms.
	Sample func(r Random) (hand, generated Appender)
	// Hand reads the message with the hand-written code. If nil, reading is not
	// tested.
	Hand func(r io.Reader) error
	// Generated reads the message with the generated code.
	Generated func(r io.Reader) (Appender, error)
	// Whole says that Hand reads to the end, and refuses bytes after the
	// message.
	Whole bool
}

// By returns a function that reads a message.
func By[T any, M interface {
	*T
	Message
}]() func(r io.Reader) (Appender, error) {
	return func(r io.Reader) (Appender, error) {
		m := M(new(T))
		return m, m.DecodeFrom(proto.NewDecoder(r))
	}
}

// Agree checks that the hand-written and the generated message are the same:
// random values encode to the same bytes, and both read such bytes, and
// slightly altered ones, in the same way or refuse them.
func (p Pair) Agree(t *testing.T) {
	t.Helper()
	r := Random{rand.New(rand.NewPCG(1, 2))}
	for range 100 {
		hand, generated := p.Sample(r)
		want, err := hand.AppendBinary([]byte("prefix"))
		require.NoError(t, err)
		got, err := generated.AppendBinary([]byte("prefix"))
		require.NoError(t, err)
		require.Equal(t, want, got)
		wire := want[len("prefix"):]
		if p.Hand == nil {
			continue
		}
		behind := "behind"
		if p.Whole {
			behind = ""
		}
		p.read(t, append(bytes.Clone(wire), behind...), true)
		for range 20 {
			p.read(t, altered(r, wire), false)
		}
	}
}

// altered returns slightly altered bytes of a message.
func altered(r Random, wire []byte) []byte {
	wire = bytes.Clone(wire)
	switch {
	case len(wire) == 0:
		return wire
	case r.IntN(4) == 0:
		return wire[:r.IntN(len(wire))]
	}
	i := r.IntN(min(len(wire), 1+r.IntN(len(wire)))) // more often near the beginning
	wire[i] ^= 1 << r.IntN(8)
	return wire
}

// read checks that both ways of reading agree.
func (p Pair) read(t *testing.T, wire []byte, valid bool) {
	t.Helper()
	a, b := bytes.NewReader(wire), bytes.NewReader(wire)
	byHand := p.Hand(a)
	m, generated := p.Generated(b)
	if p.Whole && generated == nil && b.Len() > 0 {
		generated = errors.New("bytes behind it")
	}
	require.Equal(t, byHand == nil, generated == nil, "%x: by hand %v, generated %v", wire, byHand, generated)
	require.True(t, !valid || byHand == nil, "%v", byHand)
	if byHand != nil {
		return
	}
	require.Equal(t, a.Len(), b.Len(), "%x: bytes that were left", wire)
	again, err := m.AppendBinary(nil)
	require.NoError(t, err)
	require.Equal(t, wire[:len(wire)-b.Len()], again)
}
