//go:build unix && !solaris && !aix

package library

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestLockEnds: a store that was closed can be opened again at once, even while
// a child of this process has copies of its open files, as between fork and
// exec.
func TestLockEnds(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenStore(dir)
	require.NoError(t, err)
	fd, err := unix.Dup(int(s.lock.Fd()))
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, s.Close())
	s, err = OpenStore(dir)
	require.NoError(t, err)
	require.NoError(t, s.Close())
}
