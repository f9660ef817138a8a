package portmap

import (
	"encoding/hex"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var asked = request{
	nonce: nonce{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, client: self, port: inner,
	external: netip.AddrPortFrom(external, 40000), lifetime: lifetime,
}

// Requests equal the RFCs' figures, byte for byte.
func TestRequests(t *testing.T) {
	const head = "02 01 0000 000004b0 00000000000000000000ffffc0000207"
	for name, c := range map[string]struct {
		got  []byte
		want string
	}{
		"PCP":               {asked.appendPCP(nil), head + "0102030405060708090a0b0c 11 000000 1ccd 9c40 00000000000000000000ffffcb007105"},
		"NAT-PMP":           {asked.appendPMP(nil), "00 01 0000 1ccd 9c40 000004b0"},
		"NAT-PMP address":   {appendAddress(nil), "00 00"},
		"PCP, released":     {released().appendPCP(nil), "02 01 0000 00000000 00000000000000000000ffffc0000207 0102030405060708090a0b0c 11 000000 1ccd 0000 00000000000000000000ffff00000000"},
		"NAT-PMP, released": {released().appendPMP(nil), "00 01 0000 1ccd 0000 00000000"},
	} {
		require.Equal(t, unhex(t, c.want), c.got, name)
	}
}

func released() request {
	r := asked
	r.lifetime = 0
	return r
}

func unhex(t testing.TB, s string) []byte {
	var digits []byte
	for _, c := range []byte(s) {
		if c != ' ' {
			digits = append(digits, c)
		}
	}
	b, err := hex.DecodeString(string(digits))
	require.NoError(t, err)
	return b
}

const (
	goodPCP  = "02 81 00 00 000004b0 00000e10 000000000000000000000000 0102030405060708090a0b0c 11 000000 1ccd 9c41 00000000000000000000ffffcb007105"
	goodPMP  = "00 81 0000 00000e10 1ccd 9c41 000004b0"
	goodAddr = "00 80 0000 00000e10 cb007105"
)

// Answers equal the RFCs' figures; each bit that identifies the request, and
// each byte of their length, matters.
func TestAnswers(t *testing.T) {
	a, err := asked.readPCP(unhex(t, goodPCP))
	require.NoError(t, err)
	require.Equal(t, answer{3600, external, 40001, lifetime}, a)
	a, err = asked.readPCP(append(unhex(t, goodPCP), 128, 0, 0, 0)) // an unknown option
	require.NoError(t, err)
	require.Equal(t, answer{3600, external, 40001, lifetime}, a)
	a, err = asked.readPMP(unhex(t, goodPMP))
	require.NoError(t, err)
	require.Equal(t, answer{epoch: 3600, port: 40001, lifetime: lifetime}, a)
	a, err = readAddress(unhex(t, goodAddr))
	require.NoError(t, err)
	require.Equal(t, answer{epoch: 3600, addr: external}, a)

	fails := func(read func([]byte) (answer, error), good string, firm ...int) {
		b := unhex(t, good)
		for n := range b {
			_, err := read(b[:n])
			require.Error(t, err, n)
		}
		for _, i := range firm {
			for bit := range 8 {
				b[i] ^= 1 << bit
				_, err := read(b)
				require.Error(t, err, "byte %d, bit %d", i, bit)
				b[i] ^= 1 << bit
			}
		}
	}
	fails(asked.readPCP, goodPCP, 0, 1, 3, 24, 30, 35, 36, 40, 41)
	fails(asked.readPMP, goodPMP, 0, 1, 2, 3, 8, 9)
	fails(readAddress, goodAddr, 0, 1, 2, 3)

	_, err = asked.readPCP(unhex(t, "00 81 0001 00000e10")) // RFC 6886 §3.5
	require.ErrorIs(t, err, errVersion)
	_, err = asked.readPMP(unhex(t, "02 81 00 01 00000000 00000e10 000000000000000000000000")) // RFC 6887 §9
	require.ErrorIs(t, err, errVersion)
	_, err = asked.readPCP(unhex(t, "01 81 00 01 00000000 00000e10 000000000000000000000000"))
	require.ErrorIs(t, err, errVersion)
	refusal := unhex(t, "02 81 00 02 00000708"+goodPCP[20:])
	_, err = asked.readPCP(refusal)
	require.Equal(t, Refusal{PCP, 2, 30 * time.Minute}, err)
	require.EqualError(t, err, "portmap: the gateway refuses by PCP: not authorized")
	refusal[24]++
	_, err = asked.readPCP(refusal)
	require.ErrorIs(t, err, errNoAnswer, "an answer to another node")
	_, err = asked.readPMP(unhex(t, "00 81 0004 00000e10"))
	require.EqualError(t, err, "portmap: the gateway refuses by NAT-PMP: out of resources")
	require.EqualError(t, Refusal{Protocol: NATPMP, Code: 13}, "portmap: the gateway refuses by NAT-PMP: code 13")
}

// If the gateway's clock keeps pace with this node's, the gateway has not
// restarted (RFC 6887 §8.5); if it lags by a fifteenth or more, it has.
func TestEpoch(t *testing.T) {
	began := time.Unix(1e9, 0)
	rapid.Check(t, func(t *rapid.T) {
		var e epoch
		first := rapid.Uint32Range(0, 1<<31).Draw(t, "first")
		require.False(t, e.restarted(first, began))
		passed := rapid.Int64Range(0, 1<<20).Draw(t, "passed")
		now := began.Add(time.Duration(passed) * time.Second)
		honest := e
		drift := rapid.Int64Range(-passed/16-2, passed/16+2).Draw(t, "drift")
		require.False(t, honest.restarted(uint32(max(int64(first)+passed+drift, int64(first))), now))
		behind := e
		require.True(t, behind.restarted(uint32(int64(first)+passed+passed/8+5), now), "the gateway's clock may be ahead")
		if lost := int64(first) + passed - passed/8 - 5; lost >= 0 {
			behind = e
			require.True(t, behind.restarted(uint32(lost), now))
		}
	})
	e := epoch{1000, began}
	require.False(t, e.restarted(999, began), "two answers may overtake each other")
	require.True(t, e.restarted(997, began))
	require.True(t, e.restarted(0, began))
	require.False(t, e.restarted(1, began.Add(time.Second)), "later answers are compared with the new epoch")
}

func FuzzAnswers(f *testing.F) {
	for _, s := range []string{goodPCP, goodPMP, goodAddr, "00 81 0001 00000e10"} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, read := range []func([]byte) (answer, error){asked.readPCP, asked.readPMP, readAddress} {
			a, err := read(b)
			if err != nil {
				require.Zero(t, a)
			}
			require.LessOrEqual(t, a.lifetime, longest)
		}
		if a, err := asked.readPCP(b); err == nil {
			require.GreaterOrEqual(t, len(b), pcpSize)
			require.Equal(t, asked.nonce, nonce(b[24:36]))
			require.Equal(t, a.port, uint16(b[42])<<8|uint16(b[43]))
		}
	})
}
