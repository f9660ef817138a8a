package proto_test

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/messagetest"
	"github.com/sdp2p/p2p/proto"
)

// A grown is a message whose second field was added later than the first.
type grown struct {
	First  uint16
	Second string
}

func (m *grown) AppendBinary(b []byte) ([]byte, error) {
	out := proto.AppendUint32(b, 0)
	out, err := proto.AppendString(proto.AppendUint16(out, m.First), m.Second)
	if err == nil {
		err = proto.PutLength(out[len(b):], 20)
	}
	if err != nil {
		return b, err
	}
	return out, nil
}

func (m *grown) DecodeFrom(d *proto.Decoder) error {
	*m = grown{}
	e := d.Begin(20)
	m.First = d.Uint16()
	if d.More(e) {
		m.Second = d.String(16)
	}
	d.End(e)
	return d.Err()
}

func TestExtent(t *testing.T) {
	messagetest.Test(t, []byte("\x07\x00\x00\x00\x01\x02\x03\x00abc"), grown{0x0201, "abc"})
	messagetest.RefusedEncode(t, &grown{Second: strings.Repeat("x", 17)}, proto.ErrInvalid)
	fresh := func() messagetest.Message { return new(grown) }
	messagetest.RefusedDecode(t, []byte("\x15\x00\x00\x00"), fresh, proto.ErrInvalid)
	messagetest.RefusedDecode(t, []byte("\xff\xff\xff\xff"), fresh, proto.ErrInvalid)
	err := messagetest.RefusedDecode(t, []byte("\x06\x00\x00\x00\x01\x02\x03\x00abc"), fresh, proto.ErrInvalid)
	require.EqualError(t, err, "proto: invalid message: 1 bytes longer than it says")
	messagetest.RefusedDecode(t, []byte("\x00\x00\x00\x00\x01\x02"), fresh, proto.ErrInvalid)
}

// A part that an older sender does not send is missing, and a part that only a
// newer sender sends is skipped, so that the next message can be read.
func TestExtentVersions(t *testing.T) {
	long := "\x00\x20\x00\x00\x01\x02" + strings.Repeat("y", 0x1FFE)
	for name, reader := range messagetest.Readers {
		r := reader(strings.NewReader("\x02\x00\x00\x00\x01\x02" + "\x0a\x00\x00\x00\x01\x02\x03\x00abcxyz" + long + "behind"))
		d := proto.NewDecoder(r)
		for _, want := range []grown{{0x0201, ""}, {0x0201, "abc"}} {
			var got grown
			require.NoError(t, got.DecodeFrom(d), name)
			require.Equal(t, want, got, name)
			d.Reset(r)
		}
		e := d.Begin(1 << 20)
		require.True(t, d.More(e))
		d.Uint16()
		d.End(e)
		require.NoError(t, d.Err(), name)
		rest, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, "behind", string(rest), name)
	}
}

// Messages with an extent can lie in one another, and in lists.
func TestExtentNested(t *testing.T) {
	var b []byte
	for _, s := range []string{"a", "", "abc"} {
		m := grown{7, s}
		b, _ = m.AppendBinary(b)
	}
	wire := append(proto.AppendUint32(nil, uint32(len(b)+1)), 3)
	wire = append(append(wire, b...), "behind"...)
	br := bufio.NewReader(bytes.NewReader(wire))
	d := proto.NewDecoder(br)
	e := d.Begin(100)
	list := proto.DecodeList(d, d.Count8(3), (*grown).DecodeFrom)
	require.False(t, d.More(e))
	d.End(e)
	require.NoError(t, d.Err())
	require.Equal(t, []grown{{7, "a"}, {7, ""}, {7, "abc"}}, list)
	rest, _ := io.ReadAll(br)
	require.Equal(t, "behind", string(rest))
}
