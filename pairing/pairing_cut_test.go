package pairing_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/pairing"
)

// A scene is a pairing over a slow link, during which something happens.
type scene struct {
	network *p2ptest.Network
	a, b    *device
	i       *pairing.Invitation
	leave   context.CancelFunc // cancels Join
}

func (s *scene) link() *p2ptest.Link { return s.network.Link(s.a.id.Remote(), s.b.id.Remote()) }

// happenings are interruptions of a pairing, and how they are undone.
var happenings = map[string]struct {
	happen, undo func(t *testing.T, s *scene)
	byCode       bool
}{
	"link is cut":           {happen: func(t *testing.T, s *scene) { s.link().Cut() }, undo: func(t *testing.T, s *scene) { s.link().Restore() }, byCode: true},
	"joiner gives up":       {happen: func(t *testing.T, s *scene) { s.leave() }, byCode: true},
	"invitation is revoked": {happen: func(t *testing.T, s *scene) { s.i.Cancel() }, byCode: true},
	"inviter's hook ends": {
		happen: func(t *testing.T, s *scene) { s.a.Unregister(t.Context(), s.a.pairing) },
		undo:   func(t *testing.T, s *scene) { require.NoError(t, s.a.Register(t.Context(), s.a.pairing)) },
	},
	"joiner's hook ends": {
		happen: func(t *testing.T, s *scene) { s.b.Unregister(t.Context(), s.b.pairing) },
		undo:   func(t *testing.T, s *scene) { require.NoError(t, s.b.Register(t.Context(), s.b.pairing)) },
	},
	"inviter shuts down": {
		happen: func(t *testing.T, s *scene) { s.a.Shutdown(context.Background()) },
		undo: func(t *testing.T, s *scene) {
			r := s.a.lib.Record()
			s.a.start(t, "Alice's", s.network.Hooks()...)
			var err error
			s.a.lib, err = s.a.libraries.Add(r, s.a.instance)
			require.NoError(t, err)
			s.a.echo()
		},
	},
	"joiner shuts down": {
		happen: func(t *testing.T, s *scene) { s.b.Shutdown(context.Background()) },
		undo: func(t *testing.T, s *scene) {
			all := s.b.libraries.All()
			s.b.start(t, "Bob's", s.network.Hooks()...)
			for _, l := range all {
				var err error
				s.b.lib, err = s.b.libraries.Add(l.Record(), s.b.instance)
				require.NoError(t, err)
				s.b.echo()
			}
		},
	},
}

// Whatever happens, at whatever moment, neither side waits for long; both sides
// agree, or the joiner has joined nothing, and the next attempt works.
func TestInterrupted(t *testing.T) {
	for name, h := range happenings {
		for _, byCode := range []bool{false, true} {
			if byCode && !h.byCode {
				continue
			}
			way := "ticket"
			if byCode {
				way = "code"
			}
			t.Run(name+"/"+way, func(t *testing.T) {
				t.Parallel()
				joined := 0
				for at := 25 * time.Millisecond; at < time.Second; at += 50 * time.Millisecond {
					bubble(t, func(t *testing.T, network *p2ptest.Network) {
						if interrupted(t, network, byCode, at, h.happen, h.undo) {
							joined++
						}
					})
				}
				require.Positive(t, joined)
				require.Less(t, joined, 16)
			})
		}
	}
}

func interrupted(t *testing.T, network *p2ptest.Network, byCode bool, at time.Duration, happen, undo func(t *testing.T, s *scene)) (joined bool) {
	s := &scene{network: network}
	s.a, s.b = two(t, network)
	s.link().SetDelay(50 * time.Millisecond)
	begin := func(ctx context.Context) (join func() error) {
		cfg := pairing.InviteConfig{Confirm: s.a.slowly(80 * time.Millisecond)}
		if byCode {
			s.i = s.a.byCode(t, cfg.Confirm)
		} else {
			s.i = s.a.invite(t, cfg)
		}
		return func() (err error) {
			cfg := s.b.joining(s.b.slowly(160 * time.Millisecond))
			if byCode {
				peer, _ := s.b.Peer(s.a.Identity())
				s.b.lib, err = s.b.pairing.JoinByCode(ctx, peer, cfg)
			} else {
				s.b.lib, err = s.b.pairing.Join(ctx, s.i.Ticket(), cfg)
			}
			return err
		}
	}
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	s.leave = leave
	join := begin(ctx)
	began := time.Now()
	result := make(chan error, 1)
	go func() { result <- join() }()
	pass(at)
	happen(t, s)
	later := time.AfterFunc(2*time.Minute, leave) // in case the other device has gone
	err := <-result
	later.Stop()
	require.LessOrEqual(t, time.Since(began), 3*time.Minute)
	_, has := s.b.libraries.Get(s.a.lib.ID())
	require.Equal(t, err == nil, has, "%v", err)
	s.i.Cancel()
	_, ended := s.i.Wait(t.Context())
	if undo != nil {
		undo(t, s)
	}
	pass(time.Minute)
	if err != nil {
		require.Nil(t, s.b.lib)
		require.NoError(t, begin(t.Context())(), "after %v, %v", err, ended)
		_, err := s.i.Wait(t.Context())
		require.NoError(t, err)
	}
	pass(2 * time.Minute)
	s.b.lib, _ = s.b.libraries.Get(s.a.lib.ID())
	members(t, s.a, s.b)
	return has
}
