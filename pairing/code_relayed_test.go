package pairing_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/pairing"
)

// relayed is a listener whose streams report that they run through a relay.
type relayed struct{ p2p.Listener }

type relayedStream struct{ p2p.RawStream }

func (relayedStream) Path() p2p.Path { return p2p.Path{Kind: p2p.Relay} }

func (l relayed) Dial(ctx context.Context, to identity.RemoteIdentity, via []p2p.Candidate) (p2p.RawStream, error) {
	s, err := l.Listener.Dial(ctx, to, via)
	if err != nil {
		return nil, err
	}
	return relayedStream{s}, nil
}

// By code, devices do not talk through a relay.
func TestCodeThroughARelay(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		a := newDevice().start(t, "Alice's", network.Hooks()...).create(t)
		b := newDevice().start(t, "Bob's", relayed{network.Listener(p2ptest.ListenerConfig{})}, network.Discovery())
		pass(time.Second)
		i := a.byCode(t, a.yes)
		for range 4 { // this does not count as an attempt
			require.ErrorContains(t, b.joinByCode(t, a, b.yes), "direct connection")
		}
		require.Empty(t, b.asked)
		i.Cancel()
	})
}

// Simultaneous attempts do not get around the limit: of four, three get to the
// point at which a node in the middle could know the digits.
func TestAttemptsAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, network *p2ptest.Network) {
		b := newDevice().start(t, "Bob's", network.Hooks()...)
		var mu sync.Mutex
		revealed := 0
		var mux p2p.Mux
		mux.HandleFunc(pairing.CodeRoute, p2p.Anyone, func(ctx context.Context, s *p2p.Stream) error {
			expect(t, s, 33)
			time.Sleep(time.Second)
			s.Write(nonce())
			if _, err := s.Read(make([]byte, 32)); err != nil {
				return err
			}
			mu.Lock()
			revealed++
			mu.Unlock()
			time.Sleep(time.Minute)
			return p2p.ErrHandlerFailed
		})
		var peers []*device
		for range 4 {
			peers = append(peers, &device{P2P: network.Start(t, p2p.Config{App: "pairing", Handler: &mux})})
		}
		pass(time.Second)
		var all sync.WaitGroup
		locked := 0
		for _, m := range peers {
			peer, ok := b.Peer(m.Identity())
			require.True(t, ok)
			all.Go(func() {
				_, err := b.pairing.JoinByCode(t.Context(), peer, b.joining(b.yes))
				mu.Lock()
				defer mu.Unlock()
				if err == pairing.ErrLocked {
					locked++
				} else {
					require.ErrorIs(t, err, pairing.ErrUnfinished)
				}
			})
		}
		all.Wait()
		require.Equal(t, 1, locked)
		require.Equal(t, 3, revealed)
		pass(2 * time.Minute)
	})
}
