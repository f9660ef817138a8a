package library

import (
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
)

// TestStoreLimit: a record that would be too large to be read again is not
// written, and a key that the store already holds is not replaced.
func TestStoreLimit(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenStore(dir)
	require.NoError(t, err)
	s.most = 1000
	key := identity.New()
	r := Record{ID: uuid.New(), Founder: key.Remote()}
	require.NoError(t, s.create(r, key))
	before, err := os.ReadFile(s.path(r.ID))
	require.NoError(t, err)
	large := r
	large.Name = strings.Repeat("x", 1000)
	require.ErrorContains(t, s.keep(large), "of 1000")
	require.ErrorContains(t, s.create(r, identity.New()), "is in the store")
	after, err := os.ReadFile(s.path(r.ID))
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.NoError(t, s.Close())
	s, err = OpenStore(dir)
	require.NoError(t, err)
	require.Empty(t, s.stored[r.ID].record.Name)
	require.NoError(t, s.Close())
}
