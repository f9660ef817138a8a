package main

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
)

// requireNoSecret fails if anything that was printed shows the secret of a key
// file, in any usual form.
func requireNoSecret(t *testing.T, file string, printed ...string) {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	block, _ := pem.Decode(b)
	id, err := identity.Options{Shared: true}.Load(file)
	require.NoError(t, err)
	seed := id.PrivateKey().Seed()
	for _, text := range printed {
		for _, secret := range []string{
			string(seed), base64.RawStdEncoding.EncodeToString(seed)[:40], base64.RawStdEncoding.EncodeToString(block.Bytes)[:40], "PRIVATE",
		} {
			require.NotContains(t, text, secret)
		}
	}
}

func TestIdentity(t *testing.T) {
	file := filepath.Join(t.TempDir(), "node.pem")
	status, stdout, stderr := sdp2p(t.Context(), "id", "--create", file)
	require.Equal(t, exitDone, status, stderr)
	own, err := identity.Load(file)
	require.NoError(t, err)
	require.Equal(t, "identity     "+own.String()+"\nfingerprint  "+own.Remote().Fingerprint()+"\n", stdout)
	before, err := os.ReadFile(file)
	require.NoError(t, err)

	status, again, _ := sdp2p(t.Context(), "id", file)
	require.Equal(t, exitDone, status)
	require.Equal(t, stdout, again)

	status, asJSON, _ := sdp2p(t.Context(), "id", "--json", file)
	require.Equal(t, exitDone, status)
	var k key
	require.NoError(t, json.Unmarshal([]byte(asJSON), &k))
	require.Equal(t, key{file, false, own.Remote(), own.Remote().Fingerprint()}, k)
	var shape map[string]any
	require.NoError(t, json.Unmarshal([]byte(asJSON), &shape))
	documented := regexp.MustCompile(`(?m)^  (\w+)  `).FindAllStringSubmatch(idHelp, -1)
	require.Len(t, shape, len(documented))
	for _, one := range documented {
		require.Contains(t, shape, one[1])
	}
	other := file + "2"
	status, asJSON, _ = sdp2p(t.Context(), "id", "--create", "--json", other)
	require.Equal(t, exitDone, status)
	require.Contains(t, asJSON, `"created": true`)
	requireNoSecret(t, other, asJSON)

	status, overwritten, stderr := sdp2p(t.Context(), "id", "--create", file)
	require.Equal(t, exitFailed, status)
	require.Empty(t, overwritten)
	require.Contains(t, stderr, "It is unchanged")
	after, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, before, after)
	requireNoSecret(t, file, stdout, again, stderr)
}

func TestIdentityRefusals(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(content), mode))
		return path
	}
	good := filepath.Join(dir, "good")
	_, err := identity.Create(good)
	require.NoError(t, err)
	key, err := os.ReadFile(good)
	require.NoError(t, err)
	for says, args := range map[string][]string{
		`"sdp2p id --create `: {filepath.Join(dir, "none")},
		"mkdir -p":            {"--create", filepath.Join(dir, "no", "folder")},
		"only a copy of it":   {write("truncated", string(key[:len(key)/2]), 0o600)},
		"the right file?":     {write("text", "hello", 0o600)},
		"regular file":        {dir},
	} {
		status, stdout, stderr := sdp2p(t.Context(), append([]string{"id"}, args...)...)
		require.Equal(t, exitFailed, status, args)
		require.Empty(t, stdout)
		require.Contains(t, stderr, "sdp2p id: identity: ")
		require.Contains(t, stderr, says)
	}
	if runtime.GOOS != "windows" {
		open := write("open", string(key), 0o644)
		require.NoError(t, os.Chmod(open, 0o644))
		status, stdout, stderr := sdp2p(t.Context(), "id", open)
		require.Equal(t, exitFailed, status)
		require.Empty(t, stdout)
		require.Contains(t, stderr, "chmod 600 "+open)
		requireNoSecret(t, open, stderr)
	}
	for says, args := range map[string][]string{
		"which FILE?":               {},
		`"--json" is one argument `: {"a", "--json"},
	} {
		status, _, stderr := sdp2p(t.Context(), append([]string{"id"}, args...)...)
		require.Equal(t, exitUsage, status)
		require.Contains(t, stderr, says)
		require.True(t, strings.HasSuffix(stderr, "usage: sdp2p id [--create] [--json] FILE\n"))
	}
}
