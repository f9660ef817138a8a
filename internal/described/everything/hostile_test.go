package everything

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/messagetest"
	"github.com/sdp2p/p2p/proto"
)

// A false count or length costs no memory, however deeply it is nested, and
// however much the limits allow.
func TestLyingLengths(t *testing.T) {
	none, lie := "\x00\x00\x00\x00", "\xff\xff\xff\x7f"
	for name, wire := range map[string]string{
		"text":            "\x00" + lie,
		"bytes":           "\x00" + none + lie,
		"points":          "\x00" + none + none + lie,
		"rows":            "\x00" + none + none + none + lie,
		"a row":           "\x00" + none + none + none + lie + lie,
		"rows of nothing": "\x00" + none + none + none + lie + strings.Repeat(none, 1000),
		"maybe":           "\x00" + none + none + none + none + lie,
		"events":          "\x00" + none + none + none + none + none + lie + strings.Repeat("\x02", 1000),
	} {
		var err error
		cost := messagetest.Allocated(func() {
			err = new(Large).DecodeFrom(proto.NewDecoder(strings.NewReader(wire)))
		})
		require.Equal(t, io.ErrUnexpectedEOF, err, name)
		require.Less(t, cost, uint64(64<<10+16*len(wire)*8), name)
	}
}

// A retired discriminator is as unknown as one that never existed.
func TestUnknownCases(t *testing.T) {
	for _, kind := range []byte{0, 3, 4, 0xFE} {
		d := proto.NewDecoder(bytes.NewReader([]byte{kind, 0, 0, 0, 0, 0, 0, 0, 0}))
		DecodeEvent(d)
		require.Equal(t, &proto.EnumError{Name: "event", Value: kind}, d.Err())
	}
	_, err := AppendEvent(nil, (*Moved)(nil))
	require.ErrorIs(t, err, proto.ErrInvalid)
	_, err = AppendEvent(nil, nil)
	require.ErrorIs(t, err, proto.ErrInvalid)
}

// Decoding into a message that was used before yields exactly the message that
// was sent.
func TestUsedAgain(t *testing.T) {
	r := genRand()
	m := new(Maybe)
	for range 100 {
		want, wire := genWire(t, r, randomMaybe)
		require.NoError(t, m.DecodeFrom(proto.NewDecoder(bytes.NewReader(wire))))
		require.Equal(t, want, m)
	}
}

// A field that is not sent keeps its value, even in a message that grows.
func TestNotSent(t *testing.T) {
	m := &Grown{Cache: 7}
	_, wire := genWire(t, genRand(), randomGrown)
	require.NoError(t, m.DecodeFrom(proto.NewDecoder(bytes.NewReader(wire))))
	require.Equal(t, 7, m.Cache)
}

// Like one written by hand, an encoder does not allocate if there is room.
func TestAllocations(t *testing.T) {
	for _, m := range []messagetest.Message{randomScalars(genRand()), randomMaybe(genRand()), randomGrown(genRand())} {
		b := make([]byte, 0, 1<<10)
		_, err := m.AppendBinary(b)
		require.NoError(t, err, "%T", m)
		require.Zero(t, testing.AllocsPerRun(100, func() { m.AppendBinary(b) }), "%T", m)
	}
}
