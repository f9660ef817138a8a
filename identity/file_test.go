package identity_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
)

func TestKeyFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "node.pem")
	_, err := identity.Load(path)
	require.ErrorIs(t, err, fs.ErrNotExist)

	id, err := identity.Create(path)
	require.NoError(t, err)
	loaded, err := identity.Load(path)
	require.NoError(t, err)
	require.Equal(t, id.PrivateKey(), loaded.PrivateKey())
	again, err := identity.LoadOrCreate(path)
	require.NoError(t, err)
	require.Equal(t, id.Remote(), again.Remote())

	// An existing identity is never overwritten, and no temporary file stays
	// behind.
	_, err = identity.Create(path)
	require.ErrorIs(t, err, fs.ErrExist)
	require.ErrorIs(t, identity.New().Save(path), fs.ErrExist)
	loaded, err = identity.Load(path)
	require.NoError(t, err)
	require.Equal(t, id.Remote(), loaded.Remote())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)

	require.Error(t, identity.New().Save(filepath.Join(dir, "missing", "node.pem")))
}

func TestKeyFilePermissions(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no mode bits")
	}
	path := filepath.Join(t.TempDir(), "node.pem")
	_, err := identity.Create(path)
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o644, 0o666} {
		require.NoError(t, os.Chmod(path, mode))
		_, err = identity.Load(path)
		require.ErrorIs(t, err, identity.ErrPermissions, mode)
	}
	require.NoError(t, os.Chmod(path, 0o400))
	_, err = identity.Load(path)
	require.NoError(t, err)
}

func TestBadKeyFilesAreRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "node.pem")
	_, err := identity.Create(path)
	require.NoError(t, err)
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	block, _ := pem.Decode(good)
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	curveDER, err := x509.MarshalPKCS8PrivateKey(curve)
	require.NoError(t, err)
	encode := func(b *pem.Block) []byte { return pem.EncodeToMemory(b) }

	for name, content := range map[string][]byte{
		"empty":         {},
		"no PEM":        []byte("hello"),
		"text before":   append([]byte("my key:\n"), good...),
		"text after":    append(append([]byte{}, good...), "x\n"...),
		"two blocks":    append(append([]byte{}, good...), good...),
		"other type":    encode(&pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: block.Bytes}),
		"headers":       encode(&pem.Block{Type: "PRIVATE KEY", Bytes: block.Bytes, Headers: map[string]string{"a": "b"}}),
		"other curve":   encode(&pem.Block{Type: "PRIVATE KEY", Bytes: curveDER}),
		"cut":           good[:len(good)-40],
		"trailing DER":  encode(&pem.Block{Type: "PRIVATE KEY", Bytes: append(append([]byte{}, block.Bytes...), 0)}),
		"too long":      append(append([]byte{}, good...), make([]byte, 8<<10)...),
		"truncated DER": encode(&pem.Block{Type: "PRIVATE KEY", Bytes: block.Bytes[:40]}),
	} {
		bad := filepath.Join(dir, "bad.pem")
		require.NoError(t, os.WriteFile(bad, content, 0o600))
		_, err := identity.Load(bad)
		require.Error(t, err, name)
		require.Contains(t, err.Error(), "bad.pem", name)
	}
	_, err = identity.Load(dir)
	require.Error(t, err)
}

func TestLoadOrCreateRaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.pem")
	var wg sync.WaitGroup
	ids := make([]identity.Identity, 16)
	errs := make([]error, len(ids))
	for i := range ids {
		wg.Go(func() { ids[i], errs[i] = identity.LoadOrCreate(path) })
	}
	wg.Wait()
	for i := range ids {
		require.NoError(t, errs[i])
		require.Equal(t, ids[0].Remote(), ids[i].Remote())
	}
}
