package server

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/multiformats/go-multistream"
	quicgo "github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/circuit"
)

// A crowd is a group of strangers, each with a key of its own and a QUIC
// connection whose handshake it has finished. It has no token, asks for a
// reservation or a circuit all the same, and stays for as long as the relay
// lets it. The strangers share a few sockets.
type crowd struct {
	relay   *relayTest
	callee  identity.RemoteIdentity
	sockets []*quicgo.Transport
	came    atomic.Int32 // strangers that finished a handshake
	granted atomic.Int32 // strangers whose request was granted
}

// newCrowd opens sockets at addresses that no member has.
func newCrowd(t testing.TB, r *relayTest, callee identity.RemoteIdentity, sockets int) *crowd {
	c := &crowd{relay: r, callee: callee}
	for i := range sockets {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 19, byte(1+i))})
		if err != nil {
			t.Skip("this system has no other loopback addresses than 127.0.0.1: ", err)
		}
		tr := &quicgo.Transport{Conn: conn}
		t.Cleanup(func() { tr.Close(); conn.Close() })
		c.sockets = append(c.sockets, tr)
	}
	return c
}

// come has one stranger connect.
func (c *crowd) come(ctx context.Context, i int) error {
	private, err := crypto.UnmarshalEd25519PrivateKey(identity.New().PrivateKey())
	if err != nil {
		return err
	}
	id, err := libp2ptls.NewIdentity(private)
	if err != nil {
		return err
	}
	var config *tls.Config
	config, _ = id.ConfigForPeer("")
	config.NextProtos = []string{"libp2p"}
	config.InsecureSkipVerify, config.VerifyPeerCertificate = true, nil // any relay will do
	conn, err := c.sockets[i%len(c.sockets)].Dial(ctx, net.UDPAddrFromAddrPort(c.relay.Addrs()[0]), config, &quicgo.Config{MaxIdleTimeout: time.Minute})
	if err != nil {
		return err
	}
	c.came.Add(1)
	s, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return nil // others have taken its place already
	}
	s.SetDeadline(time.Now().Add(30 * time.Second))
	ask := circuit.Hop{Type: circuit.HopReserve}
	if i%2 == 1 {
		ask = circuit.Hop{Type: circuit.HopConnect, Peer: c.callee}
	}
	if multistream.SelectProtoOrFail(circuit.HopProtocol, s) != nil {
		return nil
	}
	if _, err := s.Write(ask.Append(nil)); err != nil {
		return nil
	}
	if m, err := circuit.ReadHop(s); err == nil && m.Status != circuit.PermissionDenied {
		c.granted.Add(1)
	}
	return nil
}

// heap returns the bytes in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A thousand strangers connect, as fast as they can (unless SDP2P_SOAK=1: 300,
// of whom 64 may stay): there are never more of them than allowed, none is
// granted anything, and the memory held for them is no larger after all have
// come than after a third. Meanwhile, members reserve, call each other and move
// data.
func TestThousandStrangers(t *testing.T) {
	strangers, first, most := int32(300), int32(100), 64
	if os.Getenv("SDP2P_SOAK") == "1" {
		strangers, first, most = 1000, 330, Limits{}.WithDefaults().Strangers
	}
	r := newRelay(t, func(cfg *Config) { cfg.Limits.Strangers, cfg.Limits.Patience = most, time.Hour })
	resident := r.callee(t, 1)
	crowd := newCrowd(t, r, resident.id.Remote(), 8)
	before := heap()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var next atomic.Int32
	var attackers sync.WaitGroup
	wave := func(until int32) {
		for range 8 {
			attackers.Go(func() {
				for i := next.Add(1); i <= until && crowd.come(ctx, int(i)) == nil; i = next.Add(1) {
				}
			})
		}
	}
	held := func() int64 {
		attackers.Wait()
		eventually(t, "the others are closed", func() bool { return r.room.open.Load() <= int64(most)+50 })
		return heap() - before
	}
	wave(first)
	some := held()
	next.Store(first)
	wave(strangers)
	members := 0
	for ; members < 5 || next.Load() < strangers && members < 20; members++ {
		caller, callee := r.member(t, 1), r.callee(t, 1)
		status, s, accepted := caller.call(callee)
		require.Equal(t, circuit.OK, status)
		carry(t, s, accepted, 100_000, 10_000)
		all, known := r.sessions.counts()
		require.LessOrEqual(t, all-known, most+1)
		require.LessOrEqual(t, r.room.open.Load(), r.room.most)
		s.Reset()
		require.NoError(t, caller.host.Close())
		require.NoError(t, callee.host.Close())
	}
	all := held()
	require.NoError(t, ctx.Err())
	require.Equal(t, strangers, crowd.came.Load())
	require.Zero(t, crowd.granted.Load())
	require.GreaterOrEqual(t, r.metrics.evicted.Load(), int64(strangers)-int64(most)-50)
	require.Less(t, all, some+some/2+8<<20)
	require.False(t, resident.conn().IsClosed())
	require.Equal(t, circuit.OK, resident.reserve())
	t.Logf("%d pairs of members; held for strangers, their own ends included: %d KiB after %d, %d KiB after %d", members, some>>10, first, all>>10, strangers)
}
