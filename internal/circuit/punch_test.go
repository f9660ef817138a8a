package circuit

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"testing"

	pb "github.com/libp2p/go-libp2p/p2p/protocol/holepunch/pb"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/sdp2p/p2p/internal/hidden"
)

var addrs = map[string]netip.AddrPort{
	"/ip4/192.0.2.1/udp/7373/quic-v1":    netip.MustParseAddrPort("192.0.2.1:7373"),
	"/ip6/2001:db8::1/udp/65535/quic-v1": netip.MustParseAddrPort("[2001:db8::1]:65535"),
	"/ip6/::/udp/0/quic-v1":              netip.MustParseAddrPort("[::]:0"),
	"/ip4/0.0.0.0/udp/1/quic-v1":         netip.MustParseAddrPort("0.0.0.0:1"),
}

// Addresses are encoded like go-multiaddr's.
func TestMultiaddr(t *testing.T) {
	for text, a := range addrs {
		want, err := ma.NewMultiaddr(text)
		require.NoError(t, err)
		require.Equal(t, want.Bytes(), AppendMultiaddr(nil, a))
		got, ok := ParseMultiaddr(want.Bytes())
		require.True(t, ok, text)
		require.Equal(t, a, got)
	}
	require.Equal(t, AppendMultiaddr(nil, netip.MustParseAddrPort("192.0.2.1:1")), AppendMultiaddr(nil, netip.MustParseAddrPort("[::ffff:192.0.2.1]:1")))
	for _, text := range []string{
		"/ip4/192.0.2.1/udp/1", "/ip4/192.0.2.1/udp/1/quic", "/ip4/192.0.2.1/tcp/1", "/ip6/2001:db8::1/tcp/7373", "/dns4/example.com/udp/1/quic-v1",
		"/ip4/192.0.2.1/udp/1/quic-v1/webtransport", "/ip4/192.0.2.1/udp/1/quic-v1/p2p-circuit", "/ip6/::ffff:1.2.3.4/udp/1/quic-v1", "/ip6zone/x/ip6/fe80::1/udp/1/quic-v1",
	} {
		other, err := ma.NewMultiaddr(text)
		require.NoError(t, err, text)
		_, ok := ParseMultiaddr(other.Bytes())
		require.False(t, ok, text)
	}
	whole := AppendMultiaddr(nil, netip.MustParseAddrPort("[2001:db8::1]:65535"))
	for n := range whole {
		_, ok := ParseMultiaddr(whole[:n])
		require.False(t, ok, n)
	}
}

func TestPunch(t *testing.T) {
	m := Punch{Type: PunchConnect}
	theirs := &pb.HolePunch{Type: pb.HolePunch_CONNECT.Enum()}
	for _, text := range []string{"/ip4/192.0.2.1/udp/7373/quic-v1", "/ip6/2001:db8::1/udp/65535/quic-v1"} {
		m.Addrs = append(m.Addrs, addrs[text])
		a, err := ma.NewMultiaddr(text)
		require.NoError(t, err)
		theirs.ObsAddrs = append(theirs.ObsAddrs, a.Bytes())
	}
	require.Equal(t, delimited(t, theirs), m.Append(nil))
	exactly(t, m.Append(nil), m, ReadPunch)
	sync := Punch{Type: PunchSync}
	require.Equal(t, delimited(t, &pb.HolePunch{Type: pb.HolePunch_SYNC.Enum()}), sync.Append(nil))
	exactly(t, sync.Append(nil), sync, ReadPunch)

	// To other implementations, the token is an unknown field.
	m.Token = hidden.Of([16]byte{1, 2, 3})
	wire := m.Append(nil)
	exactly(t, wire, m, ReadPunch)
	_, size := binary.Uvarint(wire)
	var got pb.HolePunch
	require.NoError(t, proto.Unmarshal(wire[size:], &got))
	require.Equal(t, pb.HolePunch_CONNECT, got.GetType())
	require.Len(t, got.GetObsAddrs(), 2)
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", m, m, m), "1 2 3")

	// Addresses of other kinds are skipped, and of too many the first ones
	// count.
	theirs = &pb.HolePunch{Type: pb.HolePunch_CONNECT.Enum(), ObsAddrs: [][]byte{ma.StringCast("/ip4/192.0.2.1/tcp/1").Bytes(), nil, {0xFF}}}
	for i := range 20 {
		theirs.ObsAddrs = append(theirs.ObsAddrs, ma.StringCast(fmt.Sprintf("/ip4/192.0.2.1/udp/%d/quic-v1", i+1)).Bytes())
	}
	many, err := ReadPunch(bytes.NewReader(delimited(t, theirs)))
	require.NoError(t, err)
	require.Len(t, many.Addrs, MaxAddrs)
	require.Equal(t, uint16(1), many.Addrs[0].Port())
	many.Addrs = append(many.Addrs, many.Addrs[0])
	again, err := ReadPunch(bytes.NewReader(many.Append(nil)))
	require.NoError(t, err)
	require.Equal(t, many.Addrs[:MaxAddrs], again.Addrs)

	for name, bad := range map[string][]byte{
		"no type":        appendDelimited(nil, nil),
		"unknown type":   appendDelimited(nil, appendVarint(nil, 1, 200)),
		"type too large": appendDelimited(nil, appendVarint(nil, 1, 1<<16+100)),
		"short token":    appendDelimited(nil, appendBytes(appendVarint(nil, 1, 100), 16, make([]byte, 15))),
		"long token":     appendDelimited(nil, appendBytes(appendVarint(nil, 1, 100), 16, make([]byte, 17))),
		"cut":            appendDelimited(nil, append(appendVarint(nil, 1, 100), 0x12)),
	} {
		got, err := ReadPunch(bytes.NewReader(bad))
		require.ErrorIs(t, err, ErrMalformed, name)
		require.Zero(t, got, name)
	}
}

func FuzzPunch(f *testing.F) {
	f.Add(Punch{PunchConnect, []netip.AddrPort{addrs["/ip4/192.0.2.1/udp/7373/quic-v1"]}, hidden.Of([16]byte{1})}.Append(nil))
	f.Add(Punch{Type: PunchSync}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ReadPunch(bytes.NewReader(b))
		if err != nil {
			return
		}
		n, size := binary.Uvarint(b)
		var theirs pb.HolePunch
		require.NoError(t, proto.Unmarshal(b[size:size+int(n)], &theirs))
		require.EqualValues(t, theirs.GetType(), m.Type)
		again, err := ReadPunch(bytes.NewReader(m.Append(nil)))
		require.NoError(t, err)
		require.Equal(t, m, again)
	})
}

type probeVector struct {
	Name        string `json:"name"`
	Token       string `json:"token"`
	Pong        bool   `json:"pong"`
	Role        Role   `json:"role"`
	Transaction string `json:"transaction"`
	Addr        string `json:"addr"`
	Random      string `json:"random"`
	Probe       string `json:"probe"`
}

func TestProbeVectors(t *testing.T) {
	b, err := os.ReadFile("../../testdata/relay_probe.json")
	require.NoError(t, err)
	var vectors []probeVector
	require.NoError(t, json.Unmarshal(b, &vectors))
	require.Len(t, vectors, 4)
	for _, v := range vectors {
		transaction, err := strconv.ParseUint(v.Transaction, 10, 64)
		require.NoError(t, err)
		m := Probe{Pong: v.Pong, Transaction: transaction}
		if v.Addr != "" {
			m.Addr = netip.MustParseAddrPort(v.Addr)
		}
		token := hidden.Of([16]byte(unhex(t, v.Token)))
		made := NewProber(token, v.Role).make(m, [13]byte(unhex(t, v.Random)))
		require.Equal(t, v.Probe, hex.EncodeToString(made), v.Name)
		got, ok := NewProber(token, 1-v.Role).Parse(made)
		require.True(t, ok, v.Name)
		require.Equal(t, m, got, v.Name)
		_, ok = NewProber(token, v.Role).Parse(made)
		require.False(t, ok, "%s: reflected", v.Name)
		for i := range made {
			for bit := range 8 {
				made[i] ^= 1 << bit
				_, ok := NewProber(token, 1-v.Role).Parse(made)
				require.False(t, ok, "%s: byte %d, bit %d", v.Name, i, bit)
				made[i] ^= 1 << bit
			}
		}
	}
}

func TestProbe(t *testing.T) {
	token, other := hidden.Of([16]byte{1}), hidden.Of([16]byte{2})
	caller, callee := NewProber(token, Caller), NewProber(token, Callee)
	from := netip.MustParseAddrPort("[::ffff:192.0.2.1]:7373")
	ping := caller.Ping(5)
	require.Len(t, ping, ProbeSize)
	require.Zero(t, ping[0]&0xC0, "a probe must not look like a QUIC packet")
	require.NotEqual(t, ping, caller.Ping(5))
	id, ok := ProbeIDOf(ping)
	require.True(t, ok)
	require.Equal(t, callee.ID(), id)
	m, ok := callee.Parse(ping)
	require.True(t, ok)
	require.Equal(t, Probe{Transaction: 5}, m)
	pong := callee.Pong(m, from)
	require.Len(t, pong, ProbeSize)
	m, ok = caller.Parse(pong)
	require.True(t, ok)
	require.Equal(t, Probe{Pong: true, Transaction: 5, Addr: netip.MustParseAddrPort("192.0.2.1:7373")}, m)
	_, ok = callee.Parse(pong)
	require.False(t, ok, "a prober's own pong does not count")
	require.NotEqual(t, caller.ID(), NewProber(other, Caller).ID())
	_, ok = NewProber(other, Callee).Parse(ping)
	require.False(t, ok)
	// A prober that has the right ID by chance still needs the key.
	forged := NewProber(other, Caller)
	forged.id = caller.id
	_, ok = callee.Parse(forged.Ping(5))
	require.False(t, ok)
	for _, bad := range [][]byte{nil, ping[:63], append(bytes.Clone(ping), 0), append([]byte{0}, ping[1:]...), append([]byte{3}, ping[1:]...), append([]byte{0x41}, ping[1:]...)} {
		_, ok := ProbeIDOf(bad)
		require.False(t, ok)
		_, ok = callee.Parse(bad)
		require.False(t, ok)
	}
}

func FuzzProbe(f *testing.F) {
	caller, callee := NewProber(hidden.Of([16]byte{1}), Caller), NewProber(hidden.Of([16]byte{1}), Callee)
	f.Add(caller.Ping(1))
	f.Add(caller.Pong(Probe{}, netip.MustParseAddrPort("192.0.2.1:1")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, ok := callee.Parse(b); ok {
			require.Equal(t, b, caller.make(m, [13]byte(b[probeRandom:])))
		}
	})
}
