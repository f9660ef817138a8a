package contact_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/tags"
)

// An epoch begins within a minute after each quarter of an hour, with another
// key and label, and with the contacts' tags. Nothing is used twice, and the
// time within the minute varies.
func TestEpochs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		self, other := identity.New(), identity.New().Remote()
		_, d := alone(t, self, other)
		set, err := tags.NewSet(self, []identity.RemoteIdentity{other}, nil)
		require.NoError(t, err)
		seen, late := map[any]bool{}, map[time.Duration]bool{}
		for i := range 12 {
			shown, ok, changed := d.contacts.Show()
			require.True(t, ok)
			require.Len(t, shown.Label, 16)
			require.EqualValues(t, 4711, shown.At.Port)
			require.Equal(t, tags.Epoch(time.Now()), shown.Epoch)
			require.Equal(t, set.Tags(shown.Epoch, shown.Key), shown.Tags)
			require.False(t, seen[shown.Label] || seen[shown.Key] || seen[shown.Tags[0]])
			seen[shown.Label], seen[shown.Key], seen[shown.Tags[0]] = true, true, true
			if i > 0 {
				after := time.Duration(time.Now().UnixNano()) % tags.EpochTime
				require.Less(t, after, time.Minute)
				late[after] = true
			}
			<-changed
		}
		require.Greater(t, len(late), 8, "nobody must be able to foresee when an epoch begins")
		for _, keep := range d.kept {
			require.True(t, keep)
		}
	})
}
