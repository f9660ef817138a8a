package identity_test

import (
	"bytes"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
)

type vector struct {
	Seed           string `json:"seed"`
	Public         string `json:"public"`
	RemoteIdentity string `json:"remote_identity"`
	X25519Private  string `json:"x25519_private"`
	X25519Public   string `json:"x25519_public"`
}

func readVectors[T any](t testing.TB, name string) (v []T) {
	b, err := os.ReadFile("../testdata/" + name)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &v))
	require.NotEmpty(t, v)
	return v
}

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

func TestVectors(t *testing.T) {
	for _, v := range readVectors[vector](t, "identity.json") {
		id, err := identity.FromSeed(unhex(t, v.Seed))
		require.NoError(t, err)
		remote := id.Remote()
		public := remote.Bytes()
		require.Equal(t, v.Public, hex.EncodeToString(public[:]))
		require.Equal(t, v.Public, hex.EncodeToString(remote.PublicKey()))
		require.Equal(t, v.RemoteIdentity, remote.String())
		require.Equal(t, v.X25519Private, hex.EncodeToString(id.X25519().Bytes()))
		require.Equal(t, v.X25519Public, hex.EncodeToString(id.X25519().PublicKey().Bytes()))
		u, err := remote.X25519()
		require.NoError(t, err)
		require.Equal(t, v.X25519Public, hex.EncodeToString(u.Bytes()))

		parsed, err := identity.Parse(v.RemoteIdentity)
		require.NoError(t, err)
		require.True(t, parsed == remote)
		parsed, err = identity.FromBytes(public[:])
		require.NoError(t, err)
		require.True(t, parsed == remote)
	}
}

func TestBadKeysAreRefused(t *testing.T) {
	for _, v := range readVectors[struct{ Public, Why string }](t, "bad_keys.json") {
		_, err := identity.FromBytes(unhex(t, v.Public))
		require.ErrorIs(t, err, identity.ErrInvalid, v.Why)
		if strings.Contains(v.Why, "non-canonical") { // all 26 of these have a wrong order as well
			require.ErrorContains(t, err, "canonical", v.Why)
		}
	}
}

func TestBadTextIsRefused(t *testing.T) {
	good := identity.New().Remote().String()
	for name, s := range map[string]string{
		"empty":          "",
		"short":          good[:42],
		"long":           good + "A",
		"padded":         good + "=",
		"newline inside": good[:20] + "\n" + good[20:42],
		"url alphabet":   "-_" + good[2:],
		// The last character has only 4 significant bits: '/' sets all six.
		"trailing bits":  good[:42] + "/",
		"ancestor's cut": good + good,
	} {
		_, err := identity.Parse(s)
		require.ErrorIs(t, err, identity.ErrInvalid, name)
	}
	for _, n := range []int{0, 31, 33, 64} {
		_, err := identity.FromBytes(make([]byte, n))
		require.ErrorIs(t, err, identity.ErrInvalid)
		if n != 0 {
			_, err = identity.FromSeed(make([]byte, n))
			require.Error(t, err)
		}
	}
	var zero identity.RemoteIdentity
	_, err := zero.X25519()
	require.ErrorIs(t, err, identity.ErrInvalid)
	require.True(t, zero.IsZero() && zero.String() == "")
}

func TestRemoteIdentityText(t *testing.T) {
	type peer struct {
		ID   identity.RemoteIdentity            `json:"id"`
		None identity.RemoteIdentity            `json:"none"`
		Map  map[identity.RemoteIdentity]string `json:"map"`
	}
	id := identity.New().Remote()
	in := peer{ID: id, Map: map[identity.RemoteIdentity]string{id: "x"}}
	b, err := json.Marshal(in)
	require.NoError(t, err)
	var out peer
	require.NoError(t, json.Unmarshal(b, &out))
	require.Equal(t, in, out)
	require.Error(t, json.Unmarshal([]byte(`{"id":"abc"}`), &out))
	require.Regexp(t, `^([A-Z2-7]{4}-){3}[A-Z2-7]{4}$`, id.Fingerprint())
}

// Printing, logging and marshaling an identity must not show its seed.
func TestIdentityIsRedacted(t *testing.T) {
	seed := []byte("0123456789abcdefghijklmnopqrstuv")
	id, err := identity.FromSeed(seed)
	require.NoError(t, err)
	type nested struct {
		Exported   identity.Identity
		unexported identity.Identity
		Pointer    *identity.Identity
		pointer    *identity.Identity
		Slice      []identity.Identity
		Map        map[string]identity.Identity
		Any        any
	}
	n := nested{id, id, &id, &id, []identity.Identity{id}, map[string]identity.Identity{"k": id}, id}

	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		l := slog.New(h)
		l.Info("x", "id", id, "ptr", &id, "nested", n, "nestedptr", &n, slog.Group("g", "id", id))
	}
	require.True(t, strings.Contains(log.String(), id.Remote().String()))

	var out strings.Builder
	out.WriteString(log.String())
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "% x", "%#x", "%t", "%c", "%o", "%b", "%e", "%U", "%p", "%20v", "%-5s"} {
		for _, v := range []any{id, &id, n, &n, []any{id}} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		if verb == "%p" {
			continue // fmt handles this verb itself: it prints an address
		}
		require.Contains(t, fmt.Sprintf(verb, id), id.Remote().String(), verb)
	}
	all := out.String()
	for _, leak := range []string{string(seed), hex.EncodeToString(seed), strings.ToUpper(hex.EncodeToString(seed)), "48 49 50 51", "30 31 32 33", "0x30, 0x31"} {
		require.False(t, strings.Contains(all, leak), leak)
	}

	_, err = json.Marshal(id)
	require.ErrorIs(t, err, identity.ErrSecret)
	_, err = json.Marshal(n)
	require.ErrorIs(t, err, identity.ErrSecret)
	_, err = json.Marshal(map[string]any{"id": &id})
	require.ErrorIs(t, err, identity.ErrSecret)
	require.ErrorIs(t, gob.NewEncoder(&log).Encode(id), identity.ErrSecret)
	_, err = id.MarshalText()
	require.ErrorIs(t, err, identity.ErrSecret)
}

func TestZeroIdentity(t *testing.T) {
	var id identity.Identity
	require.True(t, id.IsZero())
	require.True(t, id.Remote().IsZero())
	require.Equal(t, "", fmt.Sprint(id))
	require.Error(t, id.Save(t.TempDir()+"/key"))
}

func FuzzParse(f *testing.F) {
	f.Add(identity.New().Remote().String())
	for _, v := range readVectors[vector](f, "identity.json") {
		f.Add(v.RemoteIdentity)
	}
	f.Add(strings.Repeat("A", 43))
	f.Fuzz(func(t *testing.T, s string) {
		id, err := identity.Parse(s)
		if err != nil {
			require.ErrorIs(t, err, identity.ErrInvalid)
			return
		}
		require.Equal(t, s, id.String())
		_, err = id.X25519()
		require.NoError(t, err)
	})
}

func BenchmarkParse(b *testing.B) {
	s := identity.New().Remote().String()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := identity.Parse(s); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleParse() {
	id, err := identity.Parse("O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik")
	fmt.Println(id.Fingerprint(), err)
	_, err = identity.Parse("O2onvM62pC1io6jQ")
	fmt.Println(err)
	// Output:
	// COPD-SQHG-JNKJ-C4RA <nil>
	// identity: not a public key: 16 characters instead of 43
}
