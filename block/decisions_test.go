package block

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// A decision is reused for an offer that is the same in every respect, at the
// same place of the transfer.
func TestDecisions(t *testing.T) {
	offer := func(earlier int, paths ...string) *Offer {
		o := newOffer()
		for _, path := range paths {
			require.NoError(t, o.add(&entry{kind: kindFile, path: path, size: 5}))
		}
		o.Files, o.Earlier = 3, earlier
		return o
	}
	known, asked := decisions{}, 0
	ask := func(o *Offer) *Offer {
		require.NoError(t, known.ask(t.Context(), o, func(_ context.Context, o *Offer) error {
			asked++
			o.Skip(0)
			return nil
		}))
		return o
	}
	ask(offer(0, "a", "b"))
	ask(offer(2, "c"))
	require.Equal(t, 2, asked)
	again := ask(offer(0, "a", "b"))
	require.Equal(t, []verdict{verdictNo, verdictWhole}, again.verdicts)
	again.verdicts[1] = verdictHave // the receiver does this
	require.Equal(t, []verdict{verdictNo, verdictWhole}, ask(offer(0, "a", "b")).verdicts)
	ask(offer(2, "c"))
	require.Equal(t, 2, asked)
	ask(offer(2, "d"))
	require.Equal(t, 3, asked, "an offer with another file is asked about")
	more := offer(0, "a", "b")
	more.Bytes++
	ask(more)
	require.Equal(t, 4, asked, "an offer with another total is asked about")
	ask(offer(2, "d"))
	require.Equal(t, 5, asked, "the same offer in another transfer is asked about")
	require.Error(t, known.ask(t.Context(), offer(0), func(context.Context, *Offer) error { return Refuse("") }))
	require.Empty(t, known)
}
