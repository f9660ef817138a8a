package roster

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/proto"
)

// TestBadKeys: keys that are not strictly valid cannot sign, become members or
// be a node.
func TestBadKeys(t *testing.T) {
	b, err := os.ReadFile("../../testdata/bad_keys.json")
	require.NoError(t, err)
	var keys []struct {
		Public hexBytes `json:"public"`
		Why    string   `json:"why"`
	}
	require.NoError(t, json.Unmarshal(b, &keys))
	require.NotEmpty(t, keys)
	w, all := told(t)
	wire, err := all[0].AppendBinary(nil)
	require.NoError(t, err)
	for _, bad := range keys {
		copy(wire[17:], bad.Public)
		var s Statement
		require.ErrorIs(t, s.DecodeFrom(proto.NewDecoder(bytes.NewReader(wire))), ErrInvalid, bad.Why)
		var ends Ends
		end := append([]byte{1, 0, 0, 0}, append(bytes.Clone(bad.Public), make([]byte, 36)...)...)
		require.Error(t, ends.DecodeFrom(proto.NewDecoder(bytes.NewReader(end))), bad.Why)
		for kind, rest := range map[Kind]int{KindAdd: 0, KindMove: 64, KindRemove: 32} {
			body := append(bytes.Clone(bad.Public), make([]byte, rest)...)
			if kind == KindAdd {
				body = append(body, 1, 0, 0)
			}
			s := Statement{Kind: kind, Library: w.r.Library(), Signer: w.id("ann"), Counter: 2, Body: body}
			require.Nil(t, s.Parse(w.founder.Remote()), bad.Why)
		}
	}
}
