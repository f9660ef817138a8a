package directory

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/relay"
)

func fromSeed(t testing.TB, seed string) identity.Identity {
	t.Helper()
	b, err := hex.DecodeString(seed)
	require.NoError(t, err)
	id, err := identity.FromSeed(b)
	require.NoError(t, err)
	return id
}

// A vector is a list made by another implementation.
type vector struct {
	Name   string `json:"name"`
	Number string `json:"number"`
	Issued int64  `json:"issued_minutes"`
	Expiry int64  `json:"expiry_minutes"`
	Signer string `json:"signer_seed"`
	Relays []struct {
		Seed  string   `json:"seed"`
		Zone  string   `json:"zone"`
		Addrs []string `json:"addrs"`
	} `json:"relays"`
	List string `json:"list"`
}

func vectors(t testing.TB) (all []vector) {
	b, err := os.ReadFile("../../testdata/relay_list.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &all))
	require.NotEmpty(t, all)
	return all
}

func (v vector) list(t testing.TB) (List, identity.Identity, []byte) {
	t.Helper()
	key := fromSeed(t, v.Signer)
	number, err := strconv.ParseUint(v.Number, 10, 64)
	require.NoError(t, err)
	l := List{Number: number, Issued: time.Unix(v.Issued*60, 0), Expiry: time.Unix(v.Expiry*60, 0), Signer: key.Remote(), Servers: []relay.Server{}}
	for _, r := range v.Relays {
		s := relay.Server{Identity: fromSeed(t, r.Seed).Remote(), Zone: r.Zone}
		for _, a := range r.Addrs {
			s.Addrs = append(s.Addrs, netip.MustParseAddrPort(a))
		}
		l.Servers = append(l.Servers, s)
	}
	b, err := hex.DecodeString(v.List)
	require.NoError(t, err)
	return l, key, b
}

func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		l, key, b := v.list(t)
		made, err := l.Sign(key)
		require.NoError(t, err, v.Name)
		require.Equal(t, hex.EncodeToString(b), hex.EncodeToString(made), v.Name)
		got, err := Open(b, identity.New().Remote(), l.Signer)
		require.NoError(t, err, v.Name)
		require.Equal(t, l, got, v.Name)
	}
}

// A valid list becomes invalid if any bit is altered, if it is cut anywhere or
// has data after it; and a valid list by another signer is refused.
func TestAltered(t *testing.T) {
	for _, v := range vectors(t) {
		l, _, b := v.list(t)
		for i := range b {
			for bit := range 8 {
				bad := bytes.Clone(b)
				bad[i] ^= 1 << bit
				_, err := Open(bad, l.Signer)
				require.Error(t, err, "%s: bit %d of byte %d", v.Name, bit, i)
				if i >= headSize {
					require.ErrorIs(t, err, ErrSignature)
				}
			}
			_, err := Open(b[:i], l.Signer)
			require.Error(t, err, "%s: cut at %d", v.Name, i)
		}
		_, err := Open(append(bytes.Clone(b), 0), l.Signer)
		require.ErrorIs(t, err, ErrSignature)
		_, err = Open(b, identity.New().Remote())
		require.ErrorIs(t, err, ErrSigner)
		_, err = Open(b)
		require.ErrorIs(t, err, ErrSigner)
	}
}

// A signature for another purpose does not count, such as that of a token.
func TestDomain(t *testing.T) {
	l, key, b := vectors(t)[0].list(t)
	signed := b[:len(b)-ed25519.SignatureSize]
	for _, other := range []string{"", "sdp2p-relay-token-v1\x00"} {
		bad := append(bytes.Clone(signed), ed25519.Sign(key.PrivateKey(), append([]byte(other), signed...))...)
		_, err := Open(bad, l.Signer)
		require.ErrorIs(t, err, ErrSignature)
	}
}

// Content that a signer must not sign is refused both when signing and when
// reading.
func TestSignedNonsense(t *testing.T) {
	l, key, b := vectors(t)[0].list(t)
	const first = headSize + identity.Size
	sign := func(alter func(b []byte) []byte) []byte {
		signed := alter(bytes.Clone(b[:len(b)-ed25519.SignatureSize]))
		return append(signed, ed25519.Sign(key.PrivateKey(), append([]byte(domain), signed...))...)
	}
	same := sign(func(b []byte) []byte { return b })
	require.Equal(t, b, same)
	set := func(at int, to ...byte) func([]byte) []byte {
		return func(b []byte) []byte { copy(b[at:], to); return b }
	}
	expiry := func(minutes uint32) func([]byte) []byte {
		return set(45, binary.LittleEndian.AppendUint32(nil, minutes)...)
	}
	issued := binary.LittleEndian.Uint32(b[41:])
	for name, alter := range map[string]func([]byte) []byte{
		"version":          set(0, 2),
		"number 0":         set(33, make([]byte, 8)...),
		"a day":            expiry(issued + 1441),
		"no life":          expiry(issued),
		"too many":         set(49, 1, 4),
		"one more":         set(49, 3),
		"one less":         set(49, 1),
		"a key of order 1": set(headSize, append([]byte{1}, make([]byte, 31)...)...),
		"a long zone":      set(first, 33),
		"not UTF-8":        set(first+1, 0xFF),
		"no address":       set(first+5, 0),
		"family":           set(first+6, 5),
		"multicast":        set(first+7, 224),
		"virtual":          set(first+7, 240),
		"port 0":           set(first+11, 0, 0),
		"an address more":  set(first+5, 3),
		"behind it":        func(b []byte) []byte { return append(b, 0) },
		"cut":              func(b []byte) []byte { return b[:len(b)-1] },
		"twice":            func(b []byte) []byte { copy(b[headSize+64:], b[headSize:headSize+identity.Size]); return b },
	} {
		_, err := Open(sign(alter), l.Signer)
		require.ErrorIs(t, err, ErrMalformed, name)
	}
	for name, alter := range map[string]func(*List){
		"number": func(l *List) { l.Number = 0 },
		"life":   func(l *List) { l.Expiry = l.Issued.Add(MaxLife + time.Minute) },
		"order":  func(l *List) { l.Expiry = l.Issued.Add(-time.Minute) },
		"zone":   func(l *List) { l.Servers[0].Zone = strings.Repeat("z", 33) },
		"bytes":  func(l *List) { l.Servers[0].Zone = "\xFF" },
		"twice":  func(l *List) { l.Servers[1].Identity = l.Servers[0].Identity },
		"addrs":  func(l *List) { l.Servers[1].Addrs = nil },
		"mapped": func(l *List) { l.Servers[1].Addrs = []netip.AddrPort{netip.MustParseAddrPort("[::ffff:1.2.3.4]:1")} },
		"scope":  func(l *List) { l.Servers[1].Addrs = []netip.AddrPort{netip.MustParseAddrPort("[fe80::1%eth0]:1")} },
		"many":   func(l *List) { l.Servers = make([]relay.Server, relay.MaxServers+1) },
	} {
		l, _, _ := vectors(t)[0].list(t)
		alter(&l)
		_, err := l.Sign(key)
		require.ErrorIs(t, err, ErrMalformed, name)
	}
	_, err := l.Sign(identity.Identity{})
	require.ErrorIs(t, err, ErrMalformed)
}

// The longest possible list is valid; one that is a byte longer is not read.
func TestLongest(t *testing.T) {
	l := List{Number: 1, Issued: time.Unix(0, 0), Expiry: time.Unix(3600, 0)}
	for range relay.MaxServers {
		s := relay.Server{Identity: identity.New().Remote(), Zone: strings.Repeat("z", MaxZone)}
		for i := range relay.MaxAddrs {
			s.Addrs = append(s.Addrs, netip.AddrPortFrom(netip.MustParseAddr("2001:db8::1"), uint16(i+1)))
		}
		l.Servers = append(l.Servers, s)
	}
	key := identity.New()
	b, err := l.Sign(key)
	require.NoError(t, err)
	require.Len(t, b, MaxSize)
	got, err := Open(b, key.Remote())
	require.NoError(t, err)
	require.Equal(t, l.Servers, got.Servers)
	_, err = Open(append(b, 0), key.Remote())
	require.ErrorIs(t, err, ErrMalformed)
}

func TestFresh(t *testing.T) {
	expiry := time.Unix(1_800_000_000, 0)
	l := List{Expiry: expiry}
	for after, good := range map[time.Duration]bool{-MaxLife: true, 0: true, 4 * time.Minute: true, 5 * time.Minute: false, 6 * time.Minute: false, 24 * time.Hour: false, -10 * 24 * time.Hour: true} {
		err := l.Fresh(expiry.Add(after))
		require.Equal(t, good, err == nil, after)
		if !good {
			require.ErrorIs(t, err, ErrExpired)
			require.ErrorContains(t, err, "by this clock")
		}
	}
}

// FuzzOpen signs lists with arbitrary content: a list that is accepted must
// encode to the same bytes again.
func FuzzOpen(f *testing.F) {
	for _, v := range vectors(f) {
		_, _, b := v.list(f)
		f.Add(b[:len(b)-ed25519.SignatureSize])
	}
	key := fromSeed(f, strings.Repeat("03", 32))
	f.Fuzz(func(t *testing.T, signed []byte) {
		if len(signed) > MaxSize {
			return
		}
		_, err := Open(signed, key.Remote())
		require.Error(t, err)
		b := append(bytes.Clone(signed), ed25519.Sign(key.PrivateKey(), append([]byte(domain), signed...))...)
		l, err := Open(b, key.Remote())
		if err != nil {
			return
		}
		again, err := l.Sign(key)
		require.NoError(t, err)
		require.Equal(t, b, again)
	})
}
