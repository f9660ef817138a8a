package proto_test

import (
	"encoding"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	described "github.com/sdp2p/p2p/internal/described/node"
	"github.com/sdp2p/p2p/internal/messagetest"
	"github.com/sdp2p/p2p/proto"
)

// The messages are those that internal/described says they are, but that no key
// may come twice in Metadata.
func TestDescribed(t *testing.T) {
	t.Run("metadata", func(t *testing.T) {
		messagetest.Pair{
			Sample: func(r messagetest.Random) (hand, generated encoding.BinaryAppender) {
				a, b := proto.Metadata{}, new(described.Metadata)
				for i := range r.IntN(5) {
					a[strings.Repeat(string(rune('a'+i)), 1+r.IntN(64))] = r.Text(100)
				}
				for _, key := range slices.Sorted(maps.Keys(a)) {
					b.Entries = append(b.Entries, described.Entry{Key: key, Value: a[key]})
				}
				return a, b
			},
			Hand:      func(r io.Reader) error { return new(proto.Metadata).DecodeFrom(proto.NewDecoder(r)) },
			Generated: messagetest.By[described.Metadata](),
		}.Agree(t)
	})
	t.Run("route", func(t *testing.T) {
		messagetest.Pair{
			Sample: func(r messagetest.Random) (hand, generated encoding.BinaryAppender) {
				name := "r" + r.Text(254)
				return proto.Route(name), &described.Route{Name: name}
			},
			Hand:      func(r io.Reader) error { return new(proto.Route).DecodeFrom(proto.NewDecoder(r)) },
			Generated: messagetest.By[described.Route](),
		}.Agree(t)
	})
}
