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
	_, err := LoadOrCreate(path) // which would wait for a writer
	require.ErrorContains(t, err, "not a regular file")
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
