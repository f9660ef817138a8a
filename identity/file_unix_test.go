//go:build unix

package identity

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPipeInPlaceOfAKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	_, err := LoadOrCreate(path) // must not wait for a writer
	require.ErrorContains(t, err, "not a regular file")
}

// TestLinkInPlaceOfAKey checks that a link to a key is followed, and that no
// key is made at the place to which a dangling link points.
func TestLinkInPlaceOfAKey(t *testing.T) {
	key, b := saved(t)
	target := write(t, b)
	link := filepath.Join(t.TempDir(), "link.pem")
	require.NoError(t, os.Symlink(target, link))
	id, err := LoadOrCreate(link)
	require.NoError(t, err)
	require.Equal(t, key.Remote(), id.Remote())
	require.NoError(t, os.Remove(target))
	_, err = LoadOrCreate(link)
	require.Error(t, err)
	_, err = os.Lstat(target)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestKeyOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	_, b := saved(t)
	path := write(t, b)
	require.NoError(t, os.Chown(path, 65534, 65534))
	_, err := Load(path)
	require.ErrorIs(t, err, ErrOwner)
	_, err = Options{Shared: true}.Load(path)
	require.NoError(t, err)
}
