package token_test

import (
	"encoding"
	"io"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p/identity"
	described "github.com/sdp2p/p2p/internal/described/relay"
	"github.com/sdp2p/p2p/internal/messagetest"
	"github.com/sdp2p/p2p/relay/token"
)

// A token has the layout that internal/described describes.
func TestDescribed(t *testing.T) {
	messagetest.Pair{
		Sample: func(r messagetest.Random) (hand, generated encoding.BinaryAppender) {
			from := r.Uint32N(1 << 30)
			to := from + 1 + r.Uint32N(1440)
			a := token.Token{
				Node: r.Key(), Account: uuid.UUID(r.UUID()), Rights: token.Rights(1 + r.IntN(3)), Rate: r.Uint64(), Quota: r.Uint64(), Serial: r.Uint32(),
				NotBefore: time.Unix(int64(from)*60, 0), Expiry: time.Unix(int64(to)*60, 0),
			}
			if r.IntN(2) == 0 {
				a.Relay = r.Key()
			}
			a, err := a.Sign(identity.New())
			if err != nil {
				t.Fatal(err)
			}
			b, err := a.AppendBinary(nil)
			if err != nil {
				t.Fatal(err)
			}
			return a, &described.Token{
				NodeKey: a.Node, Account: a.Account, RelayKey: a.Relay, Rights: described.Rights(a.Rights), NotBefore: from, Expiry: to,
				Rate: a.Rate, Quota: a.Quota, Serial: a.Serial, IssuerKey: a.Issuer, Signature: [64]byte(b[len(b)-64:]),
			}
		},
		Hand: func(r io.Reader) error {
			b, _ := io.ReadAll(r)
			_, err := token.FromBytes(b)
			return err
		},
		Generated: messagetest.By[described.Token](),
		Whole:     true,
	}.Agree(t)
}
