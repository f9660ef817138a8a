package main

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/examples/drop/console"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/p2ptest"
)

// A roaming is a hook whose connections move to another address after a second.
type roaming struct{}

func (roaming) Name() string { return "roaming" }

func (roaming) Dial(context.Context, identity.RemoteIdentity, []p2p.Candidate) (p2p.RawStream, error) {
	return nil, p2p.ErrNoCandidate
}

func (roaming) Run(ctx context.Context, s *p2p.Scope) error {
	s.Ready()
	for peer := range s.Node().Available(ctx) {
		c := &roamed{at: netip.MustParseAddrPort("192.168.1.6:7373")}
		if err := s.Connected(peer.Identity(), c); err != nil {
			return err
		}
		defer s.Disconnected(peer.Identity(), c)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil
		}
		if err := s.Moved(peer.Identity(), c, c.move("192.168.1.7:7373")); err != nil {
			return err
		}
	}
	return nil
}

// A roamed is a connection of a roaming.
type roamed struct {
	mu sync.Mutex
	at netip.AddrPort
}

func (c *roamed) RTT() time.Duration { return 0 }
func (c *roamed) Close() error       { return nil }

func (c *roamed) Path() p2p.Path {
	c.mu.Lock()
	defer c.mu.Unlock()
	return p2p.Path{Kind: p2p.Direct, Remote: c.at}
}

// move changes the path, and returns the previous one.
func (c *roamed) move(to string) p2p.Path {
	from := c.Path()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = netip.MustParseAddrPort(to)
	return from
}

// When the network of a peer has changed, the user is told where the peer is
// now: both if the user sends and if the user receives, even before anything is
// sent.
func TestMoved(t *testing.T) {
	for name, run := range map[string]func(context.Context, *testing.T, *console.Console, p2p.Config) code{
		"receive": func(ctx context.Context, t *testing.T, c *console.Console, cfg p2p.Config) code {
			return receive(ctx, c, cfg, &options{paths: []string{t.TempDir()}})
		},
		"send": func(ctx context.Context, t *testing.T, c *console.Console, cfg p2p.Config) code {
			return send(ctx, c, cfg, &options{paths: []string{t.TempDir()}, to: identity.New().Remote().Fingerprint()})
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				u, network := newUser(t), p2ptest.NewNetwork(p2ptest.Config{})
				other := network.Start(t, p2p.Config{App: "drop"})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				ended := make(chan code, 1)
				go func() {
					ended <- run(ctx, t, u.Console, p2p.Config{App: "drop", Hooks: append(network.Hooks(), roaming{})})
				}()
				u.Shows(t, other.Identity().Fingerprint()+") is at 192.168.1.7:7373 now\n")
				require.NotContains(t, u.String(), "192.168.1.6")
				cancel()
				wait(t, ended)
			})
		})
	}
}
