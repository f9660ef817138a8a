package roster

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/proto"
)

// TestFloodExchange: if not all statements fit in an exchange, those of the
// founder and the admins come first, and the next exchange brings the rest.
func TestFloodExchange(t *testing.T) {
	h, _, _ := flooded(t)
	nodes := newDevices(h, 0).nodes
	r := h.roster(h.signed)
	missing := r.Missing(nil)
	require.Len(t, missing, r.Len())
	rank := func(s Statement) int {
		switch {
		case s.Signer == h.founder:
			return 0
		case r.View().WasAdmin(s.Signer):
			return 1
		}
		return 2
	}
	for i, s := range missing[1:] {
		require.LessOrEqual(t, rank(missing[i]), rank(s))
	}
	for _, cut := range []int{200, 1000} {
		o := h.roster(nil)
		for range 2 + r.Len()/cut {
			var some []*node
			missing := r.Missing(o.Ends())
			for _, s := range missing[:min(cut, len(missing))] {
				some = append(some, nodes[s.Hash()])
			}
			give(o, some)
		}
		require.Equal(t, r.Ends(), o.Ends())
	}
}

// TestSignedExchange has devices exchange statements with real signatures, in
// the form of messages.
func TestSignedExchange(t *testing.T) {
	w, _ := told(t)
	a, b := w.r.Clone(), New(w.r.Library(), w.r.Founder())
	_, err := b.Add(a.All()[:5]...)
	require.NoError(t, err)
	_, err = b.Sign(w.key("founder"), Add{Instance: w.id("fay"), Role: RoleMember}, epoch)
	require.NoError(t, err)
	for _, pair := range [][2]*Roster{{a, b}, {b, a}} {
		wire, err := pair[1].Ends().AppendBinary(nil)
		require.NoError(t, err)
		var ends Ends
		require.NoError(t, ends.DecodeFrom(proto.NewDecoder(bytes.NewReader(wire))))
		wire, err = pair[0].Missing(ends).AppendBinary(nil)
		require.NoError(t, err)
		var said Statements
		require.NoError(t, said.DecodeFrom(proto.NewDecoder(bytes.NewReader(wire))))
		_, err = pair[1].Add(said...)
		require.NoError(t, err)
	}
	require.Equal(t, a.Ends(), b.Ends())
	requireSameView(t, a.View(), b.View())
	require.Empty(t, a.Missing(b.Ends()))
	requireNaive(t, a)
}
