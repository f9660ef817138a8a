package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
)

func parsed(args ...string) (*options, error) {
	var o options
	return &o, o.parse(o.flags(), args)
}

// Flags may stand anywhere, but what follows "--" are paths: their names may
// be those of files that came from strangers.
func TestParse(t *testing.T) {
	t.Parallel()
	o, err := parsed("--yes", "send", "a", "--to", "Bob", "b")
	require.NoError(t, err)
	require.Equal(t, "send", o.command)
	require.Equal(t, []string{"a", "b"}, o.paths)
	require.Equal(t, "Bob", o.to)
	require.True(t, o.yes)
	require.True(t, o.friend.IsZero())
	o, err = parsed("send", "a", "--to", "Bob", "--", "b", "--to=Eve", "--", "-y")
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b", "--to=Eve", "--", "-y"}, o.paths)
	require.Equal(t, "Bob", o.to)
	require.False(t, o.yes)
	o, err = parsed("receive", "dir", "-y", "--interface", "Wi-Fi 2", "--interface", "lo")
	require.NoError(t, err)
	require.Equal(t, []string{"dir"}, o.paths)
	require.Equal(t, []string{"Wi-Fi 2", "lo"}, o.on)
	o, err = parsed("send", "a", "--relay", "", "--token", "", "--to", "")
	require.NoError(t, err, "an empty value is none")
	require.Empty(t, o.relay)
	o, err = parsed("--demo", "dir")
	require.NoError(t, err)
	require.Equal(t, "dir", o.demo)
}

// Through relays, the other device is named by its whole key: by the receiver
// as well, which relays let only this device call.
func TestParseRelay(t *testing.T) {
	t.Parallel()
	relay, other := identity.New().Remote().String()+"@192.0.2.1:7374", identity.New().Remote()
	for _, args := range [][]string{
		{"send", "a", "--relay", relay, "--to", other.String()},
		{"receive", "a", "--from", other.String(), "--relay", relay},
	} {
		o, err := parsed(args...)
		require.NoError(t, err)
		require.Equal(t, other, o.friend)
		require.Len(t, o.relay.Servers, 1)
	}
	for _, args := range [][]string{
		{"send", "a", "--relay", relay}, {"send", "a", "--relay", relay, "--to", other.Fingerprint()},
		{"send", "a", "--relay", relay, "--from", other.String()}, {"receive", "a", "--relay", relay},
	} {
		_, err := parsed(args...)
		require.ErrorContains(t, err, "by its whole key")
	}
}

// Anybody can take any name, so no sender is trusted by its name.
func TestTrustNoName(t *testing.T) {
	t.Parallel()
	_, err := parsed("receive", "dir", "--from", "Alice")
	require.ErrorContains(t, err, "its key or fingerprint")
	require.False(t, isKeyOf("", identity.New().Remote()))
}
