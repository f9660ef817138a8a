package roster

import (
	"bytes"
	"encoding"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/proto"
)

// told returns the statements of a library with a long history.
func told(t testing.TB) (*world, Statements) {
	w := trio(t)
	w.join("cid", "dan", RoleMember)
	w.say("bob", Secret{Number: 1, Hash: Hash{1}})
	w.both("ann", "bob", Remove{w.id("cid"), w.last("cid")})
	w.after("dan", w.last("dan"), w.home("dan", "dan new", 2))
	w.after("dan", Hash{}, w.home("dan", "dan new", 1))
	return w, w.r.All()
}

// fuzzMessage requires that a message that was decoded is encoded to the same
// bytes, and decoded the same way in whatever pieces it arrives.
func fuzzMessage[T any, M interface {
	*T
	encoding.BinaryAppender
	DecodeFrom(*proto.Decoder) error
}](t *testing.T, b []byte) (m T, ok bool) {
	r := bytes.NewReader(b)
	err := M(&m).DecodeFrom(proto.NewDecoder(r))
	var other T
	again := M(&other).DecodeFrom(proto.NewDecoder(iotest.OneByteReader(bytes.NewReader(b))))
	require.Equal(t, err == nil, again == nil)
	require.Equal(t, m, other)
	if err != nil {
		known := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrInvalid) || errors.Is(err, proto.ErrInvalid)
		require.True(t, known, "%v", err)
		return m, false
	}
	written, err := M(&m).AppendBinary(nil)
	require.NoError(t, err)
	require.Equal(t, b[:len(b)-r.Len()], written)
	return m, true
}

func FuzzStatement(f *testing.F) {
	w, all := told(f)
	for _, s := range all {
		b, err := s.AppendBinary(nil)
		require.NoError(f, err)
		f.Add(b)
	}
	founder := w.founder.Remote()
	f.Fuzz(func(t *testing.T, b []byte) {
		s, ok := fuzzMessage[Statement](t, b)
		if !ok {
			return
		}
		_ = s.Verify(founder)
		if body := s.Parse(founder); body != nil {
			again, err := body.appendTo(nil)
			require.NoError(t, err)
			require.Equal(t, s.Body, again)
			require.Equal(t, s.Kind, body.kind())
		}
		text, err := s.MarshalText()
		require.NoError(t, err)
		var other Statement
		require.NoError(t, other.UnmarshalText(text))
		require.Equal(t, s, other)
		require.Equal(t, s.Hash(), other.Hash())
	})
}

func FuzzStatementText(f *testing.F) {
	_, all := told(f)
	for _, s := range all {
		text, err := s.MarshalText()
		require.NoError(f, err)
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var s Statement
		if err := s.UnmarshalText(text); err != nil {
			require.Zero(t, s.Kind)
			return
		}
		again, err := s.MarshalText()
		require.NoError(t, err)
		require.Equal(t, string(text), string(again))
	})
}

func FuzzEnds(f *testing.F) {
	w, _ := told(f)
	b, err := w.r.Ends().AppendBinary(nil)
	require.NoError(f, err)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		ends, ok := fuzzMessage[Ends](t, b)
		if ok {
			require.LessOrEqual(t, len(w.r.Missing(ends)), w.r.Len())
		}
	})
}

// FuzzStatements has a roster take statements from another device, about a
// library of which it knows a part.
func FuzzStatements(f *testing.F) {
	w, all := told(f)
	b, err := all.AppendBinary(nil)
	require.NoError(f, err)
	f.Add(b, uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, known uint8) {
		said, ok := fuzzMessage[Statements](t, b)
		if !ok || len(said) > 100 {
			return
		}
		r := New(w.r.Library(), w.r.Founder())
		_, err := r.Add(all[:int(known)%len(all)]...)
		require.NoError(t, err)
		before := r.View()
		added, err := r.Add(said...)
		if err != nil {
			require.Empty(t, added)
			require.Same(t, before, r.View())
			return
		}
		requireNaive(t, r)
	})
}

// FuzzHistory compares the two evaluations on histories that the fuzzer
// chooses.
func FuzzHistory(f *testing.F) {
	for _, s := range []string{"", "a library", "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, choices []byte) {
		h := random(chooser(choices))
		same(t, h, h.roster(h.signed))
	})
}

// chooser chooses by the fuzzer's bytes and, once these are used up, by numbers
// derived from the last one.
func chooser(choices []byte) func(n int) int {
	state := uint32(1)
	return func(n int) int {
		if len(choices) > 0 {
			state = state<<8 | uint32(choices[0])
			choices = choices[1:]
		} else {
			state = state*1664525 + 1013904223
		}
		return int(state>>3) % n
	}
}

// requireNaive requires that the second evaluation agrees with a roster whose
// statements have real signatures.
func requireNaive(t testing.TB, r *Roster) {
	h := &history{founder: r.founder, said: map[Hash]Body{}}
	for _, n := range r.known.order {
		h.signed = append(h.signed, n)
		h.said[n.unsigned] = n.Parse(r.founder)
	}
	same(t, h, r)
}
