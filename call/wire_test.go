package call

import (
	"bytes"
	"encoding"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	described "github.com/sdp2p/p2p/internal/described/call"
	"github.com/sdp2p/p2p/internal/messagetest"
	"github.com/sdp2p/p2p/internal/text"
	"github.com/sdp2p/p2p/proto"
)

// The messages are those that internal/described describes.
func TestDescribed(t *testing.T) {
	t.Run("header", func(t *testing.T) {
		messagetest.Pair{
			Sample: func(r messagetest.Random) (hand, generated encoding.BinaryAppender) {
				k, timeout := 1+r.IntN(3), r.Uint32()
				return messagetest.AppendFunc(func(b []byte) ([]byte, error) { return header{kind(k), timeout}.appendBinary(b), nil }),
					&described.Header{Kind: described.Kind(k), Timeout: timeout}
			},
			Hand:      func(r io.Reader) error { return new(header).decodeFrom(proto.NewDecoder(r)) },
			Generated: messagetest.By[described.Header](),
		}.Agree(t)
	})
	t.Run("refusal", func(t *testing.T) {
		messagetest.Pair{
			Sample: func(r messagetest.Random) (hand, generated encoding.BinaryAppender) {
				e := &Error{Code: Code(r.Uint32()), Text: r.Text(MaxText)}
				return messagetest.AppendFunc(e.appendBinary), &described.Refusal{Code: uint16(e.Code), Text: e.Text}
			},
			Hand:      func(r io.Reader) error { return new(Error).decodeFrom(proto.NewDecoder(r)) },
			Generated: messagetest.By[described.Refusal](),
		}.Agree(t)
	})
}

// A word is a message.
type word struct{ s string }

func (m *word) AppendBinary(b []byte) ([]byte, error) { return proto.AppendStringMax(b, m.s, 8) }

func (m *word) DecodeFrom(d *proto.Decoder) error {
	m.s = d.String(8)
	return d.Err()
}

// parts reads the messages of r, and returns how they end.
func parts(r io.Reader) (all []string, err error) {
	w := newWire()
	w.read(r)
	for {
		var m word
		some, err := w.part(&m)
		if err != nil || !some {
			return all, err
		}
		all = append(all, m.s)
	}
}

// Parts that were read encode to the same bytes, except for the text of an
// error. It does not matter how the bytes arrive.
func FuzzParts(f *testing.F) {
	for _, seed := range []string{"", "\x00", "\x01\x01\x00a\x00", "\x01\x01\x00a\x01\x00\x00\x00", "\x02\x00\x01\x02\x00no", "\x03", "\x01\x09\x00", "\x01\x01\x00\xff", "\x02\x00\x01\x01\x02"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := parts(bytes.NewReader(b))
		slow, errSlow := parts(iotest.OneByteReader(bytes.NewReader(b)))
		require.Equal(t, all, slow)
		require.Equal(t, err, errSlow)
		w := newWire()
		for _, s := range all {
			require.NoError(t, w.addPart(&word{s}))
		}
		e, told := err.(*Error)
		switch {
		case err == nil:
			w.addEnd()
		case told:
			require.True(t, e.remote)
			require.LessOrEqual(t, len(e.Text), MaxText)
			require.Equal(t, text.Plain(e.Text), e.Text)
			require.NotContains(t, e.Text, "\n")
			return
		default:
			require.NotEqual(t, io.EOF, err, "a cut must not look like an end")
		}
		require.True(t, bytes.HasPrefix(b, w.b))
	})
}

// A header that can be decoded encodes to the same bytes.
func FuzzHeader(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x00"))
	f.Add([]byte("\x04\x00\x00\x00\x00"))
	f.Add([]byte("\x03\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h header
		if err := h.decodeFrom(proto.NewDecoder(bytes.NewReader(b))); err == nil {
			require.Equal(t, b[:5], h.appendBinary(nil))
			require.True(t, kindDo <= h.kind && h.kind <= kindSend)
		}
	})
}

func TestCutText(t *testing.T) {
	b, err := (&Error{Code: 1, Text: strings.Repeat("é", 300) + "\xff"}).appendBinary(nil)
	require.NoError(t, err)
	require.Len(t, b, 4+MaxText)
}
