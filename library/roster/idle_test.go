package roster

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestStrangersCostNothing: at most 256 of the statements that are skipped are
// verified, but every statement that is taken is, wherever it stands.
func TestStrangersCostNothing(t *testing.T) {
	w := trio(t)
	junk := func(n int) (all []Statement) { // unsigned, in the names of strangers
		for i := range n {
			key := testKey(fmt.Sprint("junk ", i))
			s := Statement{Kind: KindMove, Library: w.r.Library(), Signer: key.Remote(), Counter: 1}
			all = append(all, s)
		}
		return all
	}
	signed := junk(maxIdle)
	for i := range signed {
		require.NoError(t, signed[i].Sign(testKey(fmt.Sprint("junk ", i)), w.r.Founder()))
	}
	_, err := w.r.Add(junk(1)...)
	require.ErrorIs(t, err, ErrInvalid)
	_, err = w.r.Add(append(signed, junk(1000)[maxIdle:]...)...)
	require.NoError(t, err, "skipped statements beyond the limit are not verified")

	before := w.r.Len()
	draft := func(name string) Statement {
		s, err := w.r.Draft(w.id(name), Secret{Number: 9}, epoch)
		require.NoError(t, err)
		return s
	}
	forged := draft("cid")
	_, err = w.r.Add(append(append(signed, junk(1000)[maxIdle:]...), forged)...)
	require.ErrorIs(t, err, ErrInvalid, "a forged statement of a member is verified")
	require.Equal(t, before, w.r.Len())

	// A stranger that a forged statement adds does not count as skipped.
	added, err := w.r.Draft(w.id("bob"), Add{Instance: testKey("junk 0").Remote(), Role: RoleMember}, epoch)
	require.NoError(t, err)
	_, err = w.r.Add(append(junk(1), added)...)
	require.ErrorIs(t, err, ErrInvalid)
	require.Equal(t, before, w.r.Len())

	// A move that its node has not signed is kept, but has no effect.
	bad := w.home("cid", "cid new", w.r.Last(w.id("cid")).Counter+1)
	bad.Signature[0]++
	at, _ := w.r.View().Member(w.id("cid"))
	_, err = w.r.Sign(w.key("cid"), bad, epoch)
	require.NoError(t, err)
	require.Equal(t, before+1, w.r.Len())
	still, _ := w.r.View().Member(w.id("cid"))
	require.Equal(t, at, still)
}
