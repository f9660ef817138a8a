package identity

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// write writes a key file by hand.
func write(t *testing.T, b []byte) string {
	path := filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, os.WriteFile(path, b, 0o600))
	return path
}

func saved(t *testing.T) (Identity, []byte) {
	id, path := New(), filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, id.Save(path))
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return id, b
}

func TestWhatSurroundsAKey(t *testing.T) {
	id, b := saved(t)
	for _, text := range []string{string(b), "\n \t" + string(b) + "\r\n\n", strings.ReplaceAll(string(b), "\n", "\r\n")} {
		loaded, err := Load(write(t, []byte(text)))
		require.NoError(t, err)
		require.Equal(t, id.Remote(), loaded.Remote())
	}
	for text, says := range map[string]string{
		"\xef\xbb\xbf" + string(b): "byte order mark",
		"# my key\n" + string(b):   "comments are not supported",
		string(b) + "# my key\n":   "comments are not supported",
		"":                         "empty",
		"key":                      "no PEM block",
		string(b[:len(b)-30]):      "cut off",
		string(b) + string(b):      "something follows",
		strings.Replace(string(b), "PRIVATE", "PUBLIC", 2): `a PEM block "PUBLIC KEY"`,
	} {
		_, err := Load(write(t, []byte(text)))
		require.ErrorContains(t, err, says, "%q", text)
	}
}

// TestDamagedKey flips each bit of a key file, and cuts the file at each byte.
// If anything can still be loaded, it must be the key that was saved.
func TestDamagedKey(t *testing.T) {
	id, b := saved(t)
	for i := range b {
		if loaded, err := parseFile(b[:i]); err == nil {
			require.Equal(t, id.Remote(), loaded.Remote(), "cut at %d", i)
		}
		for bit := range 8 {
			damaged := bytes.Clone(b)
			damaged[i] ^= 1 << bit
			if loaded, err := parseFile(damaged); err == nil {
				require.Equal(t, id.Remote(), loaded.Remote(), "byte %d, bit %d", i, bit)
			}
		}
	}
	block, _ := pem.Decode(b)
	block.Bytes[20] ^= 1 // a byte of the seed
	_, err := parseFile(pem.EncodeToMemory(block))
	require.ErrorContains(t, err, "restore it from a backup")
}

// TestFirstVersion reads what some other programs write: PKCS #8 without a
// public key.
func TestFirstVersion(t *testing.T) {
	id := New()
	der, err := x509.MarshalPKCS8PrivateKey(id.PrivateKey())
	require.NoError(t, err)
	loaded, err := Load(write(t, pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der})))
	require.NoError(t, err)
	require.Equal(t, id.Remote(), loaded.Remote())
}

func TestSharedKey(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no mode bits")
	}
	id, b := saved(t)
	path := write(t, b)
	require.NoError(t, os.Chmod(path, 0o644))
	_, err := LoadOrCreate(path)
	require.ErrorIs(t, err, ErrPermissions)
	loaded, err := Options{Shared: true}.LoadOrCreate(path)
	require.NoError(t, err)
	require.Equal(t, id.Remote(), loaded.Remote())
}
