package library_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
)

// stores opens a store, and closes it at the end of the test.
func stores(t *testing.T, dir string) *library.Store {
	s, err := library.OpenStore(dir)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "libraries")
	var record library.Record
	var instance identity.RemoteIdentity
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a, b := newDevice(), newDevice()
		a.cfg.Store = stores(t, dir)
		running(t, network, a, b)
		_, err := library.OpenStore(dir)
		require.ErrorIs(t, err, library.ErrInUse)
		require.Equal(t, library.RoleMember, b.lib.Role())
		record, instance = a.lib.Record(), a.lib.Instance()
		a.stop(t)
		require.NoError(t, a.cfg.Store.Close())

		again := &device{id: a.id}
		again.cfg.Store = stores(t, dir)
		again.start(t, network, p2p.Config{})
		require.Len(t, again.libraries.All(), 1)
		again.use(again.libraries.All()[0])
		require.Equal(t, instance, again.lib.Instance())
		require.Equal(t, record.Statements, again.lib.Record().Statements)
		require.True(t, record.Secret == again.lib.Record().Secret)
		require.NoError(t, again.echo(t, b))
		require.NoError(t, again.libraries.Remove(record.ID))
		require.Empty(t, again.cfg.Store.IDs())
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, entries, 1) // only the lock
	})
}

// TestStoreCut: a store's file is cut after every byte, as a file system may
// cut an unsynced file at a power failure. The file is refused by name, and
// never read as something else. Files that a crash leaves beside it do not
// matter.
func TestStoreCut(t *testing.T) {
	dir := t.TempDir()
	path := founded(t, dir)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	for n := range len(b) - 1 {
		require.NoError(t, os.WriteFile(path, b[:n], 0o600))
		_, err := library.OpenStore(dir)
		require.ErrorContains(t, err, filepath.Base(path), "cut at %d", n)
	}
	require.NoError(t, os.WriteFile(path, b, 0o600))
	for n := range len(b) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf(".tmp-%s.%d", filepath.Base(path), n)), b[:n], 0o600))
	}
	s := stores(t, dir)
	require.Len(t, s.IDs(), 1)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2)
}

// founded returns the path of the file of a store with one library.
func founded(t *testing.T, dir string) (path string) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a := newDevice()
		a.cfg.Store = stores(t, dir)
		a.start(t, network, p2p.Config{})
		a.found(t, library.RecoveryKey{})
		path = filepath.Join(dir, a.lib.ID().String()+".library")
		a.stop(t)
		require.NoError(t, a.cfg.Store.Close())
	})
	return path
}

func TestStoreIsPrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no mode bits")
	}
	dir := t.TempDir()
	path := founded(t, dir)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	require.NoError(t, os.Chmod(path, 0o640))
	_, err = library.OpenStore(dir)
	require.ErrorIs(t, err, identity.ErrPermissions)
	require.NoError(t, os.Chmod(path, 0o600))

	b, err := os.ReadFile(path)
	require.NoError(t, err)
	at := bytes.Index(b, []byte(`"key":"`)) + 7
	other := base64.RawStdEncoding.EncodeToString(identity.New().PrivateKey().Seed())
	copy(b[at:], other)
	require.NoError(t, os.WriteFile(path, b, 0o600))
	_, err = library.OpenStore(dir)
	require.ErrorContains(t, err, "its key was altered")
}
