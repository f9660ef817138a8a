package tcp_test

import (
	"context"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/tcp"
)

const patience = 30 * time.Second

// Only streams that are opened with Bulk get a lane.
func TestBulk(t *testing.T) {
	m := newMeeting()
	a, b := newDevice(t, p2p.Config{}, m), newDevice(t, p2p.Config{}, m)
	udp, _ := a.udp.Port()
	port, ok := a.lanes.Port()
	require.True(t, ok)
	require.Equal(t, strconv.Itoa(int(port)), a.Metadata()[p2p.KeyLane])
	t.Logf("ports %d and %d", udp, port)
	ab := a.sees(t, b.Identity())
	connect(t, a, b)
	_, lane := open(t, t.Context(), ab)
	require.False(t, lane)
	s, lane := open(t, p2p.Bulk(t.Context()), ab)
	require.True(t, lane)
	require.Len(t, ab.Info().Connections, 2)
	require.NoError(t, s.Close())
	until(t, a.P2P, func() bool { return len(ab.Info().Connections) == 1 })
	require.Equal(t, "quic", ab.Info().Connections[0].Listener)
	_, lane = open(t, t.Context(), ab)
	require.False(t, lane)
}

// A node that shows no address has no lanes, and opens none.
func TestHidden(t *testing.T) {
	m := newMeeting()
	a, b := newDevice(t, p2p.Config{}, m), newDevice(t, p2p.Config{}, m)
	ab := a.sees(t, b.Identity())
	connect(t, a, b)
	s, lane := open(t, p2p.Bulk(t.Context()), ab)
	require.True(t, lane)
	old, _ := b.lanes.Port()
	b.udp.SetIPv4(false)
	_, err := s.Read(make([]byte, 1))
	require.ErrorIs(t, err, p2p.ErrConnectionLost)
	b.udp.SetIPv6(false)
	until(t, b.P2P, func() bool { return b.Metadata()[p2p.KeyLane] == "" })
	_, has := b.lanes.Port()
	require.False(t, has)
	_, err = net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(old))))
	require.Error(t, err)
	_, err = b.lanes.Dial(t.Context(), a.Identity(), []p2p.Candidate{{Kind: p2p.Direct, Addr: netipLoopback}})
	require.ErrorIs(t, err, tcp.ErrHidden)

	b.udp.SetIPv4(true)
	until(t, b.P2P, func() bool { return b.Metadata()[p2p.KeyLane] != "" })
	_, has = b.lanes.Port()
	require.True(t, has)
}

// Peers that a node neither tracks nor has dialed get no lane; their streams go
// over UDP.
func TestStrangers(t *testing.T) {
	a, b := newDevice(t, p2p.Config{}, nil), newDevice(t, p2p.Config{}, nil)
	connect(t, a, b) // a dials b: for b, a is a stranger
	ab, _ := a.Peer(b.Identity())
	_, err := ab.WaitMetadata(t.Context())
	require.NoError(t, err)
	require.NotZero(t, p2p.LanePort(ab.Info().Metadata))
	s, lane := open(t, p2p.Bulk(t.Context()), ab)
	require.False(t, lane)
	require.NoError(t, s.Close())
	port, _ := b.lanes.Port()
	require.NotZero(t, port)
	ba, _ := b.Peer(a.Identity())
	_, err = ba.WaitMetadata(t.Context())
	require.NoError(t, err)
	s, lane = open(t, p2p.Bulk(t.Context()), ba) // a has dialed b, so b is no stranger to a
	require.True(t, lane)
	require.NoError(t, s.Close())
	until(t, b.P2P, func() bool { return len(ba.Info().Connections) == 1 })

	_, over := b.lanes.Expect()
	s, lane = open(t, p2p.Bulk(t.Context()), ab)
	require.True(t, lane)
	require.NoError(t, s.Close())
	over()
	over()
	_, lane = open(t, p2p.Bulk(t.Context()), ab)
	require.False(t, lane)
}

// More lanes than there are places for handshakes can be opened at once.
func TestManyAtOnce(t *testing.T) {
	m := newMeeting()
	a, b := newDevice(t, p2p.Config{}, m), newDevice(t, p2p.Config{}, m)
	ab := a.sees(t, b.Identity())
	var opening sync.WaitGroup
	for range 64 {
		opening.Go(func() {
			s, err := ab.NewStream(p2p.Bulk(t.Context()))
			if err == nil {
				err = exchange(t, s)
				s.Close()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	opening.Wait()
}

// If the firewall of a nearby peer lets no TCP in, this costs time once, and
// not for each stream that asks for a lane.
func TestSilentFirewall(t *testing.T) {
	m := newMeeting()
	a := newDevice(t, p2p.Config{}, m)
	udp := quic.New(quic.Config{TellStrangers: quic.Everything})
	b, err := p2p.Start(t.Context(), p2p.Config{App: "test", Hooks: []p2p.Hook{udp, &attendant{m}}, Handler: echo})
	require.NoError(t, err)
	t.Cleanup(func() { b.Shutdown(context.Background()) })
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var dialed atomic.Int32
	var held sync.Map
	var accepting sync.WaitGroup
	defer accepting.Wait()
	defer silent.Close()
	accepting.Go(func() {
		for {
			c, err := silent.Accept()
			if err != nil {
				return
			}
			dialed.Add(1)
			held.Store(c, nil)
		}
	})
	_, port, err := net.SplitHostPort(silent.Addr().String())
	require.NoError(t, err)
	require.NoError(t, b.UpdateMetadata(func(m map[string]string) { m[p2p.KeyLane] = port }))
	at, _ := udp.Port()
	require.NoError(t, a.udp.SetManualPeers([]string{net.JoinHostPort("127.0.0.1", strconv.Itoa(int(at)))}))
	ab := a.sees(t, b.Identity())
	until(t, a.P2P, func() bool { return ab.Connected() && p2p.LanePort(ab.Info().Metadata) != 0 })
	_, lane := open(t, p2p.Bulk(t.Context()), ab)
	require.False(t, lane)
	was := dialed.Load()
	require.NotZero(t, was)
	for range 3 {
		_, lane = open(t, p2p.Bulk(t.Context()), ab)
		require.False(t, lane)
	}
	require.Equal(t, was, dialed.Load())
	held.Range(func(c, _ any) bool { c.(net.Conn).Close(); return true })
}
