package ancestor

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/multiformats/go-multistream"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/circuit"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/internal/relaytest"
	"github.com/sdp2p/p2p/relay"
)

// A peer that speaks Noise and yamux in a circuit calls this node, and streams
// are opened in both directions.
func TestStockCalls(t *testing.T) {
	for name, early := range map[string]bool{"early": true, "late": false} {
		t.Run(name, func(t *testing.T) {
			r := relaytest.Start(t)
			n, old := start(t, r, New(Config{})), startStock(t, r, early)
			peer := n.track(t, old.id)
			n.ready(t)
			_, err := old.call(t, n.Identity())
			require.NoError(t, err)
			s, told := old.open(t, n.Identity())
			require.Equal(t, "ours", told["name"])
			echo(t, s, 1<<20)
			path := peer.Path()
			require.Equal(t, p2p.Path{Kind: p2p.Relay, Relay: r.Identity, Remote: path.Remote}, path)
			require.Equal(t, r.Port, path.Remote.Port())
			require.Equal(t, "ancestor", peer.Info().Connections[0].Listener)

			back, err := peer.NewStream(within(t))
			require.NoError(t, err)
			require.Equal(t, 1, back.Version())
			_, exported := back.Exporter("x")
			require.False(t, exported)
			echo(t, back, 1<<20)
			require.Equal(t, "ours", (<-old.served)["name"])
			require.Len(t, peer.Info().Connections, 1)
			require.NoError(t, back.CloseWrite())
			_, err = back.Read(make([]byte, 1))
			require.Equal(t, io.EOF, err)
			require.NoError(t, back.Close())
			require.NoError(t, s.Reset())
		})
	}
}

// This node calls such a peer, and its streams share one connection; once that
// has ended, the next dial makes another.
func TestCallsStock(t *testing.T) {
	for name, early := range map[string]bool{"early": true, "late": false} {
		t.Run(name, func(t *testing.T) {
			r := relaytest.Start(t)
			n, old := start(t, r, New(Config{})), startStock(t, r, early)
			old.reserve(t)
			peer := n.track(t, old.id)
			for range 2 {
				for range 3 {
					s, err := peer.NewStream(within(t))
					require.NoError(t, err)
					require.Equal(t, 1, s.Version())
					require.Equal(t, p2p.Relay, s.Path().Kind)
					require.True(t, s.Path().Dialed)
					echo(t, s, 1<<20)
					require.NoError(t, s.Close())
				}
				require.Len(t, peer.Info().Connections, 1)
				require.Equal(t, "stock", peer.Info().Metadata["name"])
				theirs := old.Network().Conns()
				for _, c := range theirs {
					if strings.Contains(c.RemoteMultiaddr().String(), "p2p-circuit") {
						c.Close()
					}
				}
				eventually(t, func() bool { return len(peer.Info().Connections) == 0 }, "gone")
			}
			state := n.State()
			require.Equal(t, map[string]uint64{"closed": 2}, state.Counters.Causes["connections_ended"])
			require.Greater(t, state.Counters.Bytes["relay"].Sent, uint64(6<<20))
			require.Greater(t, state.Counters.Bytes["relay"].Received, uint64(6<<20))
		})
	}
}

// On one relay, a node of ours and a node of the first implementation: each
// gets the protocol that it speaks.
func TestBothOnOneRelay(t *testing.T) {
	r := relaytest.Start(t)
	a, b, old := start(t, r, New(Config{})), start(t, r, New(Config{})), startStock(t, r, true)
	old.reserve(t)
	b.ready(t)
	ofB, ofOld := a.track(t, b.Identity()), a.track(t, old.id)
	b.track(t, a.Identity())
	for peer, version := range map[*p2p.Peer]int{ofB: 2, ofOld: 1} {
		s, err := peer.NewStream(within(t))
		require.NoError(t, err)
		echo(t, s, 1<<20)
		require.Equal(t, version, s.Version())
		require.NoError(t, s.Close())
	}
}

// Without the listener, Noise is neither offered nor served.
func TestWithoutListener(t *testing.T) {
	r := relaytest.Start(t)
	n, old := start(t, r, nil), startStock(t, r, true)
	old.reserve(t)
	peer := n.track(t, old.id)
	_, err := peer.NewStream(within(t))
	require.Error(t, err)
	require.NotErrorIs(t, err, junction.ErrTaken)
	n.ready(t)
	_, err = old.call(t, n.Identity())
	require.Error(t, err)
}

// A stripper is a relay that answers in the name of the peers that are called,
// as if they spoke neither protocol.
type stripper struct {
	mu   sync.Mutex
	said bytes.Buffer
}

func (p *stripper) play(_ identity.RemoteIdentity, s network.Stream) {
	mux := multistream.NewMultistreamMuxer[string]()
	mux.AddHandler("/other", nil)
	mux.Negotiate(&recorded{s, p})
}

func (p *stripper) heard() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.String()
}

type recorded struct {
	network.Stream
	by *stripper
}

func (r *recorded) Read(b []byte) (int, error) {
	n, err := r.Stream.Read(b)
	r.by.mu.Lock()
	defer r.by.mu.Unlock()
	r.by.said.Write(b[:n])
	return n, err
}

// If a relay refuses packets in the name of a peer that speaks version 2, the
// dial fails without a byte of Noise; for any other peer, Noise is proposed
// next.
func TestStrippedProposal(t *testing.T) {
	for name, modern := range map[string]bool{"modern": true, "unknown": false} {
		t.Run(name, func(t *testing.T) {
			r := relaytest.Start(t)
			var p stripper
			r.Pretend(p.play)
			n := start(t, r, New(Config{}))
			to := identity.New().Remote()
			n.book.modern[to] = modern
			peer := n.track(t, to)
			_, err := peer.NewStream(within(t))
			require.Error(t, err)
			require.Contains(t, p.heard(), circuit.PacketsProtocol)
			if modern {
				require.NotContains(t, p.heard(), junction.Noise)
			} else {
				require.Contains(t, p.heard(), junction.Noise)
			}
			require.Empty(t, peer.Info().Connections)
		})
	}
}

// The same holds if a peer that speaks version 2 seems to call with Noise.
func TestModernPeerCallsWithNoise(t *testing.T) {
	r := relaytest.Start(t)
	n, old := start(t, r, New(Config{})), startStock(t, r, true)
	n.book.mu.Lock()
	n.book.modern[old.id] = true
	n.book.mu.Unlock()
	peer := n.track(t, old.id)
	n.ready(t)
	_, err := old.call(t, n.Identity())
	require.Error(t, err)
	require.Empty(t, peer.Info().Connections)
}

// A relay that connects another node than the one called is detected.
func TestRelayConnectsAnother(t *testing.T) {
	r := relaytest.Start(t)
	n := start(t, r, New(Config{}))
	other, err := newSecurity(identity.New())
	require.NoError(t, err)
	r.Pretend(func(_ identity.RemoteIdentity, s network.Stream) {
		mux := multistream.NewMultistreamMuxer[string]()
		mux.AddHandler(junction.Noise, nil)
		if _, _, err := mux.Negotiate(s); err != nil {
			return
		}
		line := junction.Line{Stream: stream1{s}, Peer: n.Identity()}
		if c, err := other.secure(t.Context(), line, false); err == nil {
			<-c.CloseChan()
		}
	})
	peer := n.track(t, identity.New().Remote())
	_, err = peer.NewStream(within(t))
	require.ErrorIs(t, err, errOtherPeer)
	require.Empty(t, peer.Info().Connections)
}

type stream1 struct{ network.Stream }

func (s stream1) Close() error { return s.Reset() }

// A stranger gets no metadata, and its connection is not kept.
func TestStranger(t *testing.T) {
	r := relaytest.Start(t)
	n, old := start(t, r, New(Config{})), startStock(t, r, true)
	n.ready(t)
	_, err := old.call(t, n.Identity())
	require.NoError(t, err)
	s, told := old.open(t, n.Identity())
	require.Empty(t, told)
	echo(t, s, 1000)
	s.SetDeadline(time.Time{})
	s.Reset()
}

// When the listener ends, so do its connections, and peers that call again are
// refused.
func TestUnregister(t *testing.T) {
	r := relaytest.Start(t)
	n, old := start(t, r, New(Config{})), startStock(t, r, true)
	peer := n.track(t, old.id)
	n.ready(t)
	_, err := old.call(t, n.Identity())
	require.NoError(t, err)
	s, _ := old.open(t, n.Identity())
	echo(t, s, 1000)
	require.NoError(t, n.Unregister(within(t), n.old))
	_, err = io.Copy(io.Discard, s)
	require.Error(t, err)
	require.Empty(t, peer.Info().Connections)
	_, err = old.call(t, n.Identity())
	require.Error(t, err)
}

// The app is asked about a connection that a peer initiates. If it refuses, the
// peer has learned nothing, and has gained only a handshake.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Relays: relay.New(relay.Config{})})
		refusal := errors.New("refused")
		var asked p2p.Request
		b, err := p2p.Start(t.Context(), p2p.Config{App: "test", Hooks: []p2p.Hook{l}, Allow: func(_ context.Context, r p2p.Request) error {
			asked = r
			return refusal
		}})
		require.NoError(t, err)
		defer b.Shutdown(context.Background())
		a, la := alone(t, nil)
		x, y := circuits(a.Identity(), b.Identity())
		taken := make(chan error, 1)
		go func() { taken <- taker{l}.Take(t.Context(), y) }()
		require.NoError(t, taker{la}.Take(t.Context(), x))
		require.ErrorIs(t, <-taken, refusal)
		require.Equal(t, p2p.Request{Action: p2p.Connect, Peer: a.Identity(), Path: p2p.Path{Kind: p2p.Relay, Remote: relayAddr}}, asked)
		synctest.Wait()
		require.Empty(t, a.Peers())
		require.Empty(t, l.running().making)
	})
}

// A peer may have 8 connections, and the strangers of one relay 32.
func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := alone(t, nil)
		r := l.running()
		through := identity.New().Remote()
		var leave []func()
		enter := func(peer identity.RemoteIdentity, relay identity.RemoteIdentity, stranger bool) error {
			end, err := r.enter(junction.Line{Peer: peer, Relay: relay}, stranger)
			if err == nil {
				leave = append(leave, end)
			}
			return err
		}
		one := identity.New().Remote()
		for range maxOfPeer {
			require.NoError(t, enter(one, through, true))
		}
		require.ErrorIs(t, enter(one, identity.New().Remote(), false), p2p.ErrBusy)
		for range maxStrangers - maxOfPeer {
			require.NoError(t, enter(identity.New().Remote(), through, true))
		}
		require.ErrorIs(t, enter(identity.New().Remote(), through, true), p2p.ErrBusy)
		require.NoError(t, enter(identity.New().Remote(), through, false), "known peers do not count as strangers")
		require.NoError(t, enter(identity.New().Remote(), identity.New().Remote(), true), "strangers through another relay count separately")
		for _, f := range leave {
			f()
			f()
		}
		require.Empty(t, r.making)
		require.Empty(t, r.through)
	})
}

// Without a relay client, the listener cannot be used.
func TestConfig(t *testing.T) {
	_, err := p2p.Start(t.Context(), p2p.Config{App: "test", Hooks: []p2p.Hook{New(Config{})}})
	require.ErrorContains(t, err, "Config.Relays")
}
