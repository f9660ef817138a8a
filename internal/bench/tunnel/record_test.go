package tunnel

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/tunnel"
)

func TestRecords(t *testing.T) {
	r, err := newRecords(t.Context())
	require.NoError(t, err)
	defer r.close()
	for range 3 {
		require.NoError(t, r.seal()) // this record is lost
	}
	require.Zero(t, r.sealed.Len())
	require.NoError(t, r.sealBare())
	for name, open := range map[string]func(int) (time.Duration, error){"bare": r.openBare, "streamed": r.openStreamed} {
		clear(r.read)
		took, err := open(2*batch + 1)
		require.NoError(t, err, name)
		require.Positive(t, took, name)
		require.Equal(t, r.plain, r.read, name)
		require.Zero(t, r.sealed.Len(), name)
	}
}

func TestOpenRecords(t *testing.T) {
	r, err := newRecords(t.Context())
	require.NoError(t, err)
	defer r.close()
	for _, n := range []int{1, batch, 2*batch + 1} {
		clear(r.read)
		took, err := r.open(n)
		require.NoError(t, err)
		require.Positive(t, took)
		require.Equal(t, r.plain, r.read)
		require.Zero(t, r.sealed.Len())
	}
	require.NoError(t, r.seal()) // this record is missing
	_, err = r.open(1)
	require.ErrorIs(t, err, tunnel.ErrRecordAuth)
}
