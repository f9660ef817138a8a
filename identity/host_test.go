package identity_test

import (
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
)

// The host names among the vectors were made by another program.
func TestHostVectors(t *testing.T) {
	for _, v := range readVectors[struct{ Public, Host string }](t, "identity.json") {
		id, err := identity.FromBytes(unhex(t, v.Public))
		require.NoError(t, err)
		require.Len(t, v.Host, identity.HostSize)
		require.Equal(t, v.Host, id.Host())
		parsed, err := identity.ParseHost(v.Host)
		require.NoError(t, err)
		require.Equal(t, id, parsed)
	}
}

func TestBadHostsAreRefused(t *testing.T) {
	seed, err := identity.FromSeed(make([]byte, identity.Size))
	require.NoError(t, err)
	good := seed.Remote().Host()
	require.Regexp(t, "^[a-z]", good) // a digit has no upper-case form
	last := good[identity.HostSize-1]
	for name, s := range map[string]string{
		"empty":           "",
		"short":           good[:51],
		"long":            good + "a",
		"padded":          good + "====",
		"newline inside":  good[:20] + "\n" + good[20:51],
		"capital letters": strings.ToUpper(good),
		"one capital":     strings.ToUpper(good[:1]) + good[1:],
		"digits":          "01" + good[2:],
		"dot":             good + ".",
		"trailing bits":   good[:51] + string(last+1),
		"small order":     "ae" + strings.Repeat("a", 50),
		"all zero":        strings.Repeat("a", 52),
	} {
		_, err := identity.ParseHost(s)
		require.ErrorIs(t, err, identity.ErrInvalid, name)
		_, err = identity.ParseAddr(s)
		require.ErrorIs(t, err, identity.ErrInvalid, name)
	}
	require.Empty(t, identity.RemoteIdentity{}.Host())
}

// An address can be used as a host and port, and as the host of a URL.
func TestAddr(t *testing.T) {
	id := identity.New().Remote()
	var addr net.Addr = id.Addr()
	require.Equal(t, "p2p", addr.Network())
	require.Equal(t, id.Host()+":0", addr.String())
	require.True(t, addr == identity.Addr{Identity: id})
	host, _, err := net.SplitHostPort(addr.String())
	require.NoError(t, err)
	require.Equal(t, id.Host(), host)
	u, err := url.Parse("http://" + addr.String() + "/path")
	require.NoError(t, err)
	require.Equal(t, id.Host(), u.Hostname())

	for _, s := range []string{addr.String(), id.Host(), id.Host() + ":443", id.Host() + ":ssh", "[" + id.Host() + "]:80"} {
		parsed, err := identity.ParseAddr(s)
		require.NoError(t, err, s)
		require.Equal(t, id, parsed)
	}
	for _, s := range []string{"127.0.0.1:80", "[::1]:80", ":0", id.Host() + ":1:2", id.String() + ":80"} {
		_, err := identity.ParseAddr(s)
		require.ErrorIs(t, err, identity.ErrInvalid, s)
	}
}

func FuzzParseHost(f *testing.F) {
	for _, v := range readVectors[struct{ Host string }](f, "identity.json") {
		f.Add(v.Host)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := identity.ParseHost(s)
		if err == nil && id.Host() != s {
			t.Fatalf("%q and %q are one key", s, id.Host())
		}
		if err != nil && !id.IsZero() {
			t.Fatal("a key with an error")
		}
	})
}
