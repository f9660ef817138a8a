// Package messagetest tests messages that are encoded and decoded by package
// proto.
package messagetest

import (
	"bufio"
	"bytes"
	"encoding"
	"errors"
	"io"
	"math"
	"runtime"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/proto"
)

// A Message is a message, seen through a pointer to it.
type Message interface {
	encoding.BinaryAppender
	DecodeFrom(d *proto.Decoder) error
}

// Readers are the ways in which a stream may deliver its bytes.
var Readers = map[string]func(io.Reader) io.Reader{
	"plain":             func(r io.Reader) io.Reader { return r },
	"one byte":          iotest.OneByteReader,
	"half":              iotest.HalfReader,
	"error with data":   iotest.DataErrReader,
	"buffered":          func(r io.Reader) io.Reader { return bufio.NewReader(r) },
	"buffered, large":   func(r io.Reader) io.Reader { return bufio.NewReaderSize(r, 64<<10) },
	"buffered, small":   func(r io.Reader) io.Reader { return bufio.NewReaderSize(r, 16) },
	"buffered one byte": func(r io.Reader) io.Reader { return bufio.NewReader(iotest.OneByteReader(r)) },
}

// Test checks the promises of a message: m encodes to wire; wire decodes to m
// through every kind of reader, without reading further bytes; and every
// truncation is noticed.
func Test[T any, M interface {
	*T
	Message
}](t *testing.T, wire []byte, m T) {
	t.Helper()
	Encode(t, wire, M(&m))
	for name, reader := range Readers {
		t.Run(name, func(t *testing.T) {
			trailer := []byte("behind")
			r := reader(io.MultiReader(bytes.NewReader(wire), bytes.NewReader(trailer)))
			var got T
			require.NoError(t, M(&got).DecodeFrom(proto.NewDecoder(r)))
			require.Equal(t, m, got)
			rest, err := io.ReadAll(r)
			require.NoError(t, err)
			require.Equal(t, trailer, rest, "bytes behind the message were read")

			for n := range wire {
				want := io.ErrUnexpectedEOF
				if n == 0 {
					want = io.EOF
				}
				var got T
				err := M(&got).DecodeFrom(proto.NewDecoder(reader(bytes.NewReader(wire[:n]))))
				require.Equal(t, want, err, "cut to %d of %d bytes", n, len(wire))
			}

			broken := errors.New("broken")
			r = reader(io.MultiReader(bytes.NewReader(wire[:len(wire)-1]), iotest.ErrReader(broken)))
			require.Equal(t, broken, M(&got).DecodeFrom(proto.NewDecoder(r)))
		})
	}
}

// Encode checks that m appends wire to a buffer, without allocating if there is
// room.
func Encode(t *testing.T, wire []byte, m encoding.BinaryAppender) {
	t.Helper()
	prefix := []byte("prefix")
	b, err := m.AppendBinary(bytes.Clone(prefix))
	require.NoError(t, err)
	require.Equal(t, append(prefix, wire...), b)

	b, err = m.AppendBinary(nil)
	require.NoError(t, err)
	require.Equal(t, wire, b)
	require.Zero(t, testing.AllocsPerRun(100, func() { b, _ = m.AppendBinary(b[:0]) }), "allocations")
}

// RefusedEncode checks that encoding m fails with target, and returns the
// buffer unchanged.
func RefusedEncode(t *testing.T, m encoding.BinaryAppender, target error) {
	t.Helper()
	prefix := []byte("prefix")
	b, err := m.AppendBinary(prefix)
	require.ErrorIs(t, err, target)
	require.ErrorIs(t, err, proto.ErrInvalid)
	require.Equal(t, []byte("prefix"), b)
}

// RefusedDecode checks that decoding wire fails, through every kind of reader,
// with an error that matches target, a pointer or a sentinel, and returns the
// error.
func RefusedDecode(t *testing.T, wire []byte, fresh func() Message, target error) error {
	t.Helper()
	var err error
	for name, reader := range Readers {
		err = fresh().DecodeFrom(proto.NewDecoder(reader(bytes.NewReader(wire))))
		require.ErrorIs(t, err, target, name)
		require.ErrorIs(t, err, proto.ErrInvalid, name)
	}
	return err
}

// Fuzz checks that an accepted message can be encoded, to the same bytes if
// canonical is set, that these decode to the same value, and that all kinds of
// readers agree.
func Fuzz[T any, M interface {
	*T
	Message
}](t *testing.T, wire []byte, canonical func(m T, wire []byte) bool) {
	var m T
	r := bytes.NewReader(wire)
	err := M(&m).DecodeFrom(proto.NewDecoder(r))
	for name, reader := range Readers {
		var other T
		require.Equal(t, err, M(&other).DecodeFrom(proto.NewDecoder(reader(bytes.NewReader(wire)))), name)
		require.Equal(t, m, other, name)
	}
	if err != nil {
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			require.ErrorIs(t, err, proto.ErrInvalid)
		}
		return
	}
	read := wire[:len(wire)-r.Len()]
	b, err := M(&m).AppendBinary(nil)
	require.NoError(t, err)
	if canonical(m, read) {
		require.Equal(t, read, b)
	}
	var again T
	require.NoError(t, M(&again).DecodeFrom(proto.NewDecoder(bytes.NewReader(b))))
	require.Equal(t, m, again)
}

// Allocated returns the number of bytes that f allocates: the least of a few
// runs, since the runtime allocates too.
func Allocated(f func()) uint64 {
	least := uint64(math.MaxUint64)
	for range 4 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return least
}
