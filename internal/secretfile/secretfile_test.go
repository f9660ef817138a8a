package secretfile

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A stubInfo is a file on a file system with fixed modes.
type stubInfo struct{ mode fs.FileMode }

func (stubInfo) Name() string        { return "" }
func (stubInfo) Size() int64         { return 0 }
func (s stubInfo) Mode() fs.FileMode { return s.mode }
func (stubInfo) ModTime() time.Time  { return time.Time{} }
func (stubInfo) IsDir() bool         { return false }
func (stubInfo) Sys() any            { return nil }

func TestFixedModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no mode bits")
	}
	err := check(stubInfo{0o777}, "key.pem", false)
	require.ErrorIs(t, err, ErrPermissions)
	require.ErrorContains(t, err, "set the mode of key.pem to 0600, it has 0777")
	require.NoError(t, check(stubInfo{0o777}, "key.pem", true))
	require.NoError(t, check(stubInfo{0o600}, "key.pem", false))
}

func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, Create(path, []byte("old"), false))
	require.ErrorIs(t, Create(path, []byte("new"), false), fs.ErrExist)
	require.NoError(t, Replace(path, []byte("new"), false))
	b, err := Read(path, 3, false)
	require.NoError(t, err)
	require.Equal(t, "new", string(b))
	_, err = Read(path, 2, false)
	require.ErrorContains(t, err, "longer than 2 bytes")
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1)
}
