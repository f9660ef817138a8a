package roster

import (
	"encoding"
	"errors"
	"io"
	"testing"

	"github.com/google/uuid"

	described "github.com/sdp2p/p2p/internal/described/roster"
	"github.com/sdp2p/p2p/internal/messagetest"
	"github.com/sdp2p/p2p/proto"
)

// The messages have the layout that internal/described describes.
func TestDescribed(t *testing.T) {
	t.Run("statement", func(t *testing.T) {
		messagetest.Pair{
			Sample:    randomStatement,
			Hand:      func(r io.Reader) error { return new(Statement).DecodeFrom(proto.NewDecoder(r)) },
			Generated: messagetest.By[described.Statement](),
		}.Agree(t)
	})
	t.Run("ends", func(t *testing.T) {
		messagetest.Pair{
			Sample: func(r messagetest.Random) (hand, generated encoding.BinaryAppender) {
				var a Ends
				b := new(described.Ends)
				for range r.IntN(4) {
					e := End{Signer: r.Key(), Counter: r.Uint32(), Hash: r.Hash()}
					a, b.Ends = append(a, e), append(b.Ends, described.End{Signer: e.Signer, Counter: e.Counter, Hash: e.Hash})
				}
				return a, b
			},
			Hand:      func(r io.Reader) error { return new(Ends).DecodeFrom(proto.NewDecoder(r)) },
			Generated: messagetest.By[described.Ends](),
		}.Agree(t)
	})
}

func randomStatement(r messagetest.Random) (hand, generated encoding.BinaryAppender) {
	s := Statement{
		Kind: Kind(1 + r.IntN(255)), Library: uuid.UUID(r.UUID()), Signer: r.Key(), Counter: r.Uint32(), Previous: r.Hash(),
		Time: int64(r.Uint64()), Body: r.Bytes(MaxBody),
	}
	r.Fill(s.Signature[:])
	return s, &described.Statement{
		Kind: uint8(s.Kind), Library: s.Library, Signer: s.Signer, Counter: s.Counter, Previous: s.Previous,
		Time: s.Time, Body: s.Body, Signature: s.Signature,
	}
}

// A body must be decoded to its last byte.
func TestDescribedBodies(t *testing.T) {
	for name, test := range map[string]struct {
		kind   Kind
		sample func(r messagetest.Random) (Body, encoding.BinaryAppender)
		read   func(r io.Reader) (encoding.BinaryAppender, error)
	}{
		"add": {KindAdd, func(r messagetest.Random) (Body, encoding.BinaryAppender) {
			a := Add{r.Key(), RoleMember + Role(r.IntN(2)), r.Text(MaxName)}
			return a, &described.Add{Instance: a.Instance, Role: described.Role(a.Role), Name: a.Name}
		}, messagetest.By[described.Add]()},
		"move": {KindMove, func(r messagetest.Random) (Body, encoding.BinaryAppender) {
			m := Move{Node: r.Key()}
			r.Fill(m.Signature[:])
			return m, &described.Move{Node: m.Node, Signature: m.Signature}
		}, messagetest.By[described.Move]()},
		"remove": {KindRemove, func(r messagetest.Random) (Body, encoding.BinaryAppender) {
			m := Remove{r.Key(), r.Hash()}
			return m, &described.Remove{Instance: m.Instance, Last: m.Last}
		}, messagetest.By[described.Remove]()},
		"endorse": {KindEndorse, func(r messagetest.Random) (Body, encoding.BinaryAppender) {
			m := Endorse{r.Hash()}
			return m, &described.Endorse{Of: m.Of}
		}, messagetest.By[described.Endorse]()},
		"secret": {KindSecret, func(r messagetest.Random) (Body, encoding.BinaryAppender) {
			m := Secret{r.Uint64(), r.Hash()}
			return m, &described.Secret{Number: m.Number, Hash: m.Hash}
		}, messagetest.By[described.Secret]()},
	} {
		t.Run(name, func(t *testing.T) {
			messagetest.Pair{
				Sample: func(r messagetest.Random) (hand, generated encoding.BinaryAppender) {
					body, generated := test.sample(r)
					return messagetest.AppendFunc(body.appendTo), generated
				},
				Hand: func(r io.Reader) error {
					b, _ := io.ReadAll(r)
					if s := (Statement{Kind: test.kind, Body: b}); s.parse(s.Signer) == nil {
						return errors.New("malformed")
					}
					return nil
				},
				Generated: test.read,
				Whole:     true,
			}.Agree(t)
		})
	}
}
