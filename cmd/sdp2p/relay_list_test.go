package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/relay/directory"
)

func TestRelayList(t *testing.T) {
	dir := t.TempDir()
	file, relays, out := filepath.Join(dir, "key.pem"), filepath.Join(dir, "relays"), filepath.Join(dir, "list")
	key, err := identity.Create(file)
	require.NoError(t, err)
	one, two := identity.New().Remote().String(), identity.New().Remote().String()
	lines := one + " eu-1 203.0.113.7:7374 [2001:db8::7]:7374\n" + two + " - 198.51.100.1:1\n"
	require.NoError(t, os.WriteFile(relays, []byte("# ours\n\n"+lines+"# the last\n"), 0o600))
	args := []string{"relay", "list", "--key", file, "--relays", relays, "--out", out}
	began := time.Now().Unix()
	status, stdout, stderr := sdp2p(t.Context(), args...)
	require.Zero(t, status, stderr)
	require.Contains(t, stdout, "2 relays")
	b, err := os.ReadFile(out)
	require.NoError(t, err)
	l, err := directory.Open(b, key.Remote())
	require.NoError(t, err)
	require.NoError(t, l.Fresh(time.Now()))
	require.GreaterOrEqual(t, l.Number, uint64(began))
	require.Equal(t, directory.MaxLife, l.Expiry.Sub(l.Issued))
	require.Equal(t, "eu-1", l.Servers[0].Zone)

	status, stdout, stderr = sdp2p(t.Context(), "relay", "list", "--show", out)
	require.Zero(t, status, stderr)
	_, shown, _ := strings.Cut(stdout, "\n")
	require.Equal(t, lines, shown)
	info, err := os.Stat(out)
	require.NoError(t, err)
	require.EqualValues(t, 0o644, info.Mode().Perm(), "a web server must be able to read the list")

	number := []string{"--number", "18446744073709551615"}
	status, _, stderr = sdp2p(t.Context(), append(args, number...)...)
	require.Zero(t, status, stderr)
	whole, err := os.ReadFile(out)
	require.NoError(t, err)
	for _, c := range []struct {
		more []string
		want string
		code int
	}{
		{nil, "nodes would refuse", exitFailed}, {number, "nodes would refuse", exitFailed}, {[]string{"--for", "x"}, "invalid value", exitUsage}, {[]string{"--out", ""}, "required", exitUsage},
		{[]string{"--relays", relays + "x"}, "relaysx", exitFailed}, {[]string{"--key", file + "x"}, "key.pemx", exitFailed}, {[]string{"x"}, "one argument too many", exitUsage},
	} {
		status, _, stderr := sdp2p(t.Context(), append(args[:len(args):len(args)], c.more...)...)
		require.Equal(t, c.code, status, c.more)
		require.Contains(t, stderr, c.want)
	}
	status, _, stderr = sdp2p(t.Context(), append(args[:6:6], "--out", out+"3", "--for", "25h")...)
	require.Equal(t, exitFailed, status)
	require.Contains(t, stderr, "a life of")
	for _, bad := range []string{"# none\n", one, one + " eu", "x eu 1.2.3.4:1", one + " eu 1.2.3.4", one + " eu 1.2.3.4:0", lines + lines} {
		require.NoError(t, os.WriteFile(relays, []byte(bad), 0o600))
		status, _, stderr := sdp2p(t.Context(), append(args[:6:6], "--out", out+"2")...)
		require.Equal(t, exitFailed, status, stderr)
		require.NoFileExists(t, out+"2")
	}
	now, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Equal(t, whole, now)
	status, _, stderr = sdp2p(t.Context(), append(args[:6:6], "--out", relays)...)
	require.Equal(t, exitFailed, status)
	require.Contains(t, stderr, "is not overwritten")
	require.NoError(t, os.WriteFile(out, whole[:len(whole)-1], 0o600))
	status, _, stderr = sdp2p(t.Context(), "relay", "list", "--show", out)
	require.Equal(t, exitFailed, status, stderr)
}
