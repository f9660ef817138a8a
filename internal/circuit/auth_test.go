package circuit

import (
	"bytes"
	"encoding/hex"
	"io"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/relay/token"
)

func TestHello(t *testing.T) {
	issuer, err := identity.FromSeed(bytes.Repeat([]byte{3}, 32))
	require.NoError(t, err)
	var tokens []token.Token
	for range MaxTokens {
		made, err := token.Token{Node: seeded(t, 1), Rights: token.Connect, Expiry: time.Unix(3600, 0), NotBefore: time.Unix(0, 0), Serial: uint32(len(tokens))}.Sign(issuer)
		require.NoError(t, err)
		tokens = append(tokens, made)
	}
	for n := range MaxTokens + 1 {
		wire, err := AppendHello(nil, tokens[:n])
		require.NoError(t, err)
		require.Len(t, wire, 2+n*206)
		want := make([][token.Size]byte, n)
		for i := range want {
			b, err := tokens[i].AppendBinary(nil)
			require.NoError(t, err)
			want[i] = [token.Size]byte(b)
		}
		exactly(t, wire, want, ReadHello)
	}
	_, err = AppendHello(nil, append(tokens, tokens[0]))
	require.Error(t, err)
	_, err = AppendHello(nil, []token.Token{{}})
	require.ErrorIs(t, err, token.ErrInvalid)
	for _, n := range []int{1, 205, 207, 5 * 206, math.MaxUint16} {
		_, err := ReadHello(bytes.NewReader(append([]byte{byte(n), byte(n >> 8)}, make([]byte, n)...)))
		require.ErrorIs(t, err, ErrMalformed, n)
	}
}

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

func TestAnswer(t *testing.T) {
	four, six := netip.MustParseAddrPort("192.0.2.1:7373"), netip.MustParseAddrPort("[2001:db8::1]:65535")
	for wire, a := range map[string]Answer{
		"00" + "04c0000201cd1c" + "0102000000000000" + "100e0000":                         {token.OK, four, 0x201, time.Hour},
		"07" + "0620010db8000000000000000000000001ffff" + "ffffffffffffffff" + "00000000": {token.Revoked, six, Unlimited, 0},
	} {
		require.Equal(t, wire, hex.EncodeToString(a.Append(nil)))
		exactly(t, unhex(t, wire), a, ReadAnswer)
	}
	mapped := Answer{Observed: netip.MustParseAddrPort("[::ffff:192.0.2.1]:7373")}
	require.Equal(t, Answer{Observed: four}.Append(nil), mapped.Append(nil))
	long := Answer{Again: math.MaxInt64}
	require.Equal(t, "ffffffff", hex.EncodeToString(long.Append(nil)[1+1+16+2+8:]))
	for _, bad := range []string{"0005c0000201cd1c", "0000", "000600000000000000000000ffffc00002010001" + "0000000000000000" + "00000000"} {
		_, err := ReadAnswer(bytes.NewReader(unhex(t, bad)))
		require.ErrorIs(t, err, ErrMalformed, bad)
	}
}

func TestMessages(t *testing.T) {
	one, two := seeded(t, 1), seeded(t, 2)
	k1, k2 := one.Bytes(), two.Bytes()
	for wire, m := range map[string]Message{
		"0104030201": Ping(0x01020304),
		"0600":       Callers{Rule: CallersAnyone},
		"0601":       Callers{Rule: CallersAccount},
		"060200":     Callers{Rule: CallersListed},
		"060202" + "0102030405060708" + "1112131415161718": Callers{CallersListed, []CallerPrefix{{1, 2, 3, 4, 5, 6, 7, 8}, {0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18}}},
	} {
		require.Equal(t, wire, hex.EncodeToString(m.Append(nil)))
		exactly(t, unhex(t, wire), m, ReadClient)
	}
	for wire, m := range map[string]Message{
		"0204030201":         Pong(0x01020304),
		"0304c0000201cd1c":   Observed(netip.MustParseAddrPort("192.0.2.1:7373")),
		"040807060504030201": Quota(0x0102030405060708),
		"051e00000000":       Leave{After: 30 * time.Second},
		"051e00000002" + hex.EncodeToString(k1[:]) + hex.EncodeToString(k2[:]): Leave{30 * time.Second, []identity.RemoteIdentity{one, two}},
	} {
		require.Equal(t, wire, hex.EncodeToString(m.Append(nil)))
		exactly(t, unhex(t, wire), m, ReadRelay)
	}
	for _, read := range []func(io.Reader) (Message, error){ReadClient, ReadRelay} {
		for kind := range 256 {
			_, err := read(bytes.NewReader(append([]byte{byte(kind)}, make([]byte, 8)...)))
			switch kind {
			case typePing, typeCallers, typePong, typeQuota, typeLeave: // all zeros may be valid
			default:
				require.ErrorIs(t, err, ErrMalformed, kind)
			}
		}
	}
	_, err := ReadClient(bytes.NewReader([]byte{typeCallers, 3}))
	require.ErrorIs(t, err, ErrMalformed)
	_, err = ReadClient(bytes.NewReader([]byte{typePong, 0, 0, 0, 0}))
	require.ErrorIs(t, err, ErrMalformed)
	_, err = ReadRelay(bytes.NewReader([]byte{typePing, 0, 0, 0, 0}))
	require.ErrorIs(t, err, ErrMalformed)
	_, err = ReadRelay(bytes.NewReader(append([]byte{typeLeave, 0, 0, 0, 0, 1}, make([]byte, 32)...)))
	require.ErrorIs(t, err, ErrMalformed)
	many := Leave{Instead: make([]identity.RemoteIdentity, 300)}
	require.Len(t, many.Append(nil), 6+255*32)
	require.Len(t, Callers{CallersListed, make([]CallerPrefix, 300)}.Append(nil), 3+255*8)
}

func TestCallersAllow(t *testing.T) {
	one, two := seeded(t, 1), seeded(t, 2)
	k := one.Bytes()
	listed := Callers{CallersListed, []CallerPrefix{{}, CallerPrefix(k[:8])}}
	for _, c := range []struct {
		callers Callers
		node    identity.RemoteIdentity
		same    bool
		want    bool
	}{
		{Callers{Rule: CallersAnyone}, one, false, true},
		{Callers{Rule: CallersAccount}, one, false, false},
		{Callers{Rule: CallersAccount}, one, true, true},
		{listed, one, false, true},
		{listed, two, false, false},
		{listed, two, true, true},
		{Callers{Rule: CallersListed}, one, true, true},
		{Callers{Rule: CallersListed}, one, false, false},
	} {
		require.Equal(t, c.want, c.callers.Allow(c.node, c.same), "%+v", c)
	}
}

// A message that a decoder accepts is unchanged after encoding and decoding.
func FuzzAuth(f *testing.F) {
	f.Add(Callers{CallersListed, []CallerPrefix{{1}}}.Append(nil))
	f.Add(Leave{1, []identity.RemoteIdentity{seeded(f, 1)}}.Append(nil))
	f.Add(Observed(netip.MustParseAddrPort("192.0.2.1:7373")).Append(nil))
	f.Add(Answer{Observed: netip.MustParseAddrPort("[2001:db8::1]:1")}.Append(nil))
	f.Add([]byte{206, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, read := range []func(io.Reader) (Message, error){
			ReadClient, ReadRelay,
			func(r io.Reader) (Message, error) { a, err := ReadAnswer(r); return a, err },
		} {
			r := bytes.NewReader(b)
			if m, err := read(r); err == nil {
				require.Equal(t, b[:len(b)-r.Len()], m.Append(nil))
			}
		}
		r := bytes.NewReader(b)
		if tokens, err := ReadHello(r); err == nil {
			require.Equal(t, len(b)-r.Len(), 2+len(tokens)*token.Size)
			require.LessOrEqual(t, len(tokens), MaxTokens)
		}
	})
}
