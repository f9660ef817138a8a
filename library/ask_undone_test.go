package library_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/p2ptest"
)

// TestUndone: an admin that is asked to agree to a removal is told how many of
// the target's statements it undoes: an asker that is a thief may want to undo
// all.
func TestUndone(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		_, _, d := council(t, network, 3, 0)
		d[2].admit(t, newDevice())
		require.NoError(t, d[2].lib.Rotate())
		pass(5 * time.Second)
		first := d[2].lib.Record().Statements
		honest := first[len(first)-3] // the target's add
		require.Equal(t, d[2].own(), honest.Signer)
		other := d[0].lib.Record().Statements[0] // another member's statement
		for _, test := range []struct {
			last   roster.Hash
			undone int
		}{{roster.Hash{}, 0}, {honest.Hash(), 1}, {roster.Hash{1}, 3}, {other.Hash(), 3}} {
			require.ErrorIs(t, d[0].lib.Remove(d[2].own(), library.RemoveOptions{Last: test.last}), library.ErrAsked)
			pass(5 * time.Second)
			require.Equal(t, test.undone, d[1].asked(t).Undone)
		}
		require.Equal(t, 3, d[1].told()[3].(library.Asked).Request.Undone)
	})
}

// TestRemovedAgain: an admin that was removed with everything it had signed
// left in effect can be removed again, naming the last statement that it signed
// itself, once it turns out that a thief had its key.
func TestRemovedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		_, of, d := council(t, network, 3, 1)
		honest := of.roster.Last(d[2].own())
		theirs := of.copied()
		theirs.expel(d[2], d[3])
		theirs.joinBy(d[2], newDevice(), library.RoleMember)
		_, err := d[2].bring(t, d[0], theirs.beyond(of)...)
		require.NoError(t, err)
		remove := func(last roster.Hash) {
			t.Helper()
			require.ErrorIs(t, d[0].lib.Remove(d[2].own(), library.RemoveOptions{Last: last}), library.ErrAsked)
			pass(5 * time.Second)
			require.NoError(t, d[1].lib.Endorse(d[1].asked(t)))
			pass(5 * time.Second)
		}
		remove(roster.Hash{})
		require.Len(t, d[1].members(), 3, "the stranger is a member, and d[3] is not")
		require.ErrorIs(t, d[0].lib.Remove(d[2].own(), library.RemoveOptions{}), library.ErrNoMember)
		require.ErrorIs(t, d[0].lib.Remove(d[3].own(), library.RemoveOptions{Last: honest.Hash}), library.ErrNoMember)
		remove(honest.Hash)
		pass(time.Minute)
		for _, o := range d[:2] {
			require.ElementsMatch(t, names(ids(d[0], d[1], d[3])), names(o.members()))
		}
	})
}
