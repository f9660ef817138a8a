package grown

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/described/grown/v1"
	"github.com/sdp2p/p2p/internal/described/grown/v2"
	"github.com/sdp2p/p2p/internal/described/grown/v3"
	"github.com/sdp2p/p2p/internal/described/grown/v4"
	"github.com/sdp2p/p2p/internal/described/grown/v5"
	"github.com/sdp2p/p2p/internal/messagetest"
	"github.com/sdp2p/p2p/proto"
)

var from = "phone"

// versions holds, for each version, a message with all of its fields, and an
// empty one.
var versions = []struct {
	full, fresh func() messagetest.Message
	batch       func() messagetest.Message
}{
	{func() messagetest.Message { return &v1.Clip{ID: 7, Text: "text"} },
		func() messagetest.Message { return new(v1.Clip) }, func() messagetest.Message { return new(v1.Batch) }},
	{func() messagetest.Message { return &v2.Clip{ID: 7, Text: "text", Color: 3, From: &from} },
		func() messagetest.Message { return new(v2.Clip) }, func() messagetest.Message { return new(v2.Batch) }},
	{func() messagetest.Message {
		return &v3.Clip{ID: 7, Text: "text", Color: 3, From: &from, Tags: []string{"a", "b"}}
	}, func() messagetest.Message { return new(v3.Clip) }, func() messagetest.Message { return new(v3.Batch) }},
	{func() messagetest.Message {
		return &v4.Clip{ID: 7, Text: "text", From: &from, Tags: []string{"a", "b"}, At: v4.Point{X: 5, Y: 6}}
	}, func() messagetest.Message { return new(v4.Clip) }, func() messagetest.Message { return new(v4.Batch) }},
	{func() messagetest.Message {
		return &v5.Clip{ID: 7, Text: "text", From: &from, At: v5.Point{X: 5, Y: 6}, Hue: 300}
	}, func() messagetest.Message { return new(v5.Clip) }, func() messagetest.Message { return new(v5.Batch) }},
}

// values returns the fields of a message.
func values(t *testing.T, m any) map[string]any {
	b, err := json.Marshal(m)
	require.NoError(t, err)
	var all map[string]any
	require.NoError(t, json.Unmarshal(b, &all))
	return all
}

// Each version understands each other one: the fields that both have arrive,
// and those that the sender does not have are zero; the bytes that follow on
// the stream are not touched.
func TestMatrix(t *testing.T) {
	for i, sender := range versions {
		for j, receiver := range versions {
			t.Run(fmt.Sprintf("%d to %d", i+1, j+1), func(t *testing.T) {
				wire, err := sender.full().AppendBinary(nil)
				require.NoError(t, err)
				sent, zero := values(t, sender.full()), values(t, receiver.fresh())
				for name, reader := range messagetest.Readers {
					r := reader(io.MultiReader(bytes.NewReader(wire), strings.NewReader("behind")))
					got := receiver.full() // former values do not stay
					require.NoError(t, got.DecodeFrom(proto.NewDecoder(r)), name)
					for field, value := range values(t, got) {
						want, ok := sent[field]
						if !ok {
							want = zero[field]
						}
						require.Equal(t, want, value, "%s: %s", name, field)
					}
					rest, err := io.ReadAll(r)
					require.NoError(t, err)
					require.Equal(t, "behind", string(rest), name)

					for n := 1; n < len(wire); n++ {
						err := receiver.fresh().DecodeFrom(proto.NewDecoder(reader(bytes.NewReader(wire[:n]))))
						require.Equal(t, io.ErrUnexpectedEOF, err, "%s: cut to %d of %d bytes", name, n, len(wire))
					}
				}
			})
		}
	}
}

// In a list, too, each element is skipped to its own end.
func TestMatrixList(t *testing.T) {
	for i, sender := range versions {
		clip, err := sender.full().AppendBinary(nil)
		require.NoError(t, err)
		wire := bytes.Join([][]byte{{3}, clip, clip, clip, {0xEF, 0xBE, 0xAD, 0xDE}}, nil)
		for j, receiver := range versions {
			got := receiver.batch()
			require.NoError(t, got.DecodeFrom(proto.NewDecoder(bytes.NewReader(wire))))
			all := values(t, got)
			require.Equal(t, float64(0xDEADBEEF), all["After"], "%d to %d", i+1, j+1)
			require.Len(t, all["Clips"], 3)
			require.Equal(t, all["Clips"].([]any)[0], all["Clips"].([]any)[2])
			require.Equal(t, "text", all["Clips"].([]any)[2].(map[string]any)["Text"])
		}
	}
}

// A length that does not match the fields is refused, whatever version reads
// it.
func TestMatrixLies(t *testing.T) {
	for i, sender := range versions {
		wire, err := sender.full().AppendBinary(nil)
		require.NoError(t, err)
		for j, receiver := range versions {
			for length := range 10 { // the first version's fields take 10 bytes
				lie := append(proto.AppendUint32(nil, uint32(length)), wire[4:]...)
				err := receiver.fresh().DecodeFrom(proto.NewDecoder(bytes.NewReader(append(lie, make([]byte, 200)...))))
				require.ErrorIs(t, err, proto.ErrInvalid, "%d to %d, %d bytes", i+1, j+1, length)
			}
			lie := append(proto.AppendUint32(nil, 4097), wire[4:]...)
			err := receiver.fresh().DecodeFrom(proto.NewDecoder(bytes.NewReader(lie)))
			require.ErrorIs(t, err, proto.ErrInvalid)
		}
	}
}
