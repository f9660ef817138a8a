package v1_test

import (
	"encoding"
	"io"
	"testing"

	described "github.com/sdp2p/p2p/internal/described/node"
	"github.com/sdp2p/p2p/internal/messagetest"
	"github.com/sdp2p/p2p/internal/v1"
	"github.com/sdp2p/p2p/proto"
)

// Those messages that are not MessagePack have the layout that
// internal/described describes.
func TestDescribed(t *testing.T) {
	t.Run("mode", func(t *testing.T) {
		messagetest.Pair{
			Sample: func(r messagetest.Random) (hand, generated encoding.BinaryAppender) {
				m := v1.Mode(r.IntN(2))
				return m, &described.Begin{Mode: described.Mode(m)}
			},
			Hand:      func(r io.Reader) error { return new(v1.Mode).DecodeFrom(proto.NewDecoder(r)) },
			Generated: messagetest.By[described.Begin](),
		}.Agree(t)
	})
	t.Run("identity", func(t *testing.T) {
		messagetest.Pair{
			Sample: func(r messagetest.Random) (hand, generated encoding.BinaryAppender) {
				id := r.Hash()
				return v1.Identity(id), &described.Identity{Key: id}
			},
			Hand:      func(r io.Reader) error { return new(v1.Identity).DecodeFrom(proto.NewDecoder(r)) },
			Generated: messagetest.By[described.Identity](),
		}.Agree(t)
	})
}
