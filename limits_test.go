package p2p_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// A crowdedNode serves each stream until it is reset.
type crowdedNode struct {
	*testing.T
	node   *p2p.P2P
	l      *fakeListener
	keeper *fakeHook
}

func newCrowdedNode(t *testing.T, cfg p2p.Config) *crowdedNode {
	cfg.Handler = p2p.HandlerFunc(func(_ context.Context, s *p2p.Stream) error {
		_, err := s.Read(make([]byte, 1))
		return err
	})
	l, keeper := &fakeListener{fakeHook: fakeHook{name: "wire"}}, &fakeHook{name: "keeper"}
	return &crowdedNode{t, start(t, cfg, l, keeper), l, keeper}
}

// peer connects another peer.
func (c *crowdedNode) peer() identity.RemoteIdentity {
	id := newID()
	c.l.connect(c, id)
	return id
}

// open lets a peer open n streams. It returns those that are open, at the
// peer's end, and the number of those that were refused as busy.
func (c *crowdedNode) open(from identity.RemoteIdentity, path p2p.Path, n int) (open []*fakeStream, busy int) {
	c.Helper()
	for range n {
		near, far := newFakeStreams()
		near.path = path
		c.l.scope.Accept(from, near)
		if err := far.failure(); err == nil {
			open = append(open, far)
		} else if require.ErrorIs(c, err, p2p.ErrBusy); true {
			busy++
		}
	}
	return open, busy
}

// failure returns the error with which all calls fail, or nil.
func (s *fakeStream) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken()
}

func (c *crowdedNode) wantRefused(want int, from identity.RemoteIdentity, path p2p.Path, n int) []*fakeStream {
	c.Helper()
	open, busy := c.open(from, path, n)
	require.Equal(c, want, busy, "refused")
	return open
}

// The defaults: 200 streams of one peer, 1,024 of strangers, 2,048 in all.
func TestStreamLimits(t *testing.T) {
	c := newCrowdedNode(t, p2p.Config{})
	in, dialed := p2p.Path{Kind: p2p.Direct}, p2p.Path{Kind: p2p.Direct, Dialed: true}
	for range 5 {
		c.wantRefused(50, c.peer(), in, 250)
	}
	last := c.wantRefused(26, c.peer(), in, 50) // 1,024 streams of strangers in all
	stranger := c.peer()
	c.wantRefused(1, stranger, in, 1)
	c.wantRefused(0, stranger, dialed, 1) // those that the node dialed do not count

	member, manual := c.peer(), c.peer()
	c.keeper.scope.Track(member)
	require.NoError(t, c.l.scope.Discovered(manual, nil, []p2p.Candidate{{Kind: p2p.Manual, Addr: addr("192.0.2.1:1")}}))
	for id, want := range map[identity.RemoteIdentity]bool{stranger: true, member: false, manual: false, newID(): true} {
		require.Equal(t, want, c.l.scope.Stranger(id))
	}
	c.wantRefused(0, manual, in, 100)
	c.wantRefused(50, member, in, 250)
	for range 3 {
		id := c.peer()
		c.keeper.scope.Track(id)
		c.wantRefused(0, id, in, 200)
	}
	id := c.peer()
	c.keeper.scope.Track(id)
	c.wantRefused(1, id, in, 124) // 1,024 + 1 + 100 + 200 + 600 + 123 = 2,048 in all
	last[0].Reset(p2p.ErrCanceled)
	c.until(func() bool { return len(c.wantEither(id, in)) == 1 }) // a stream that ends makes room
	c.wantRefused(1, id, in, 1)
}

// wantEither opens one stream that may be refused.
func (c *crowdedNode) wantEither(from identity.RemoteIdentity, path p2p.Path) []*fakeStream {
	open, _ := c.open(from, path, 1)
	return open
}

// until waits for a condition that another goroutine will soon meet.
func (c *crowdedNode) until(reached func() bool) {
	c.Helper()
	require.Eventually(c, reached, 10e9, 1e6)
}

// Each limit can be set, or turned off.
func TestStreamLimitsAsConfigured(t *testing.T) {
	in := p2p.Path{Kind: p2p.Direct}
	for name, test := range map[string]struct {
		cfg     p2p.Config
		refused int // of 300 streams of each of 10 strangers
	}{
		"of one peer":       {p2p.Config{MaxStreamsPerPeer: 7, MaxStreams: -1, MaxStrangerStreams: -1}, 3000 - 70},
		"in all":            {p2p.Config{MaxStreamsPerPeer: -1, MaxStreams: 9, MaxStrangerStreams: -1}, 3000 - 9},
		"of strangers":      {p2p.Config{MaxStreamsPerPeer: -1, MaxStreams: -1, MaxStrangerStreams: 11}, 3000 - 11},
		"default of peers":  {p2p.Config{MaxStreams: -1, MaxStrangerStreams: -1}, 3000 - 2000},
		"default in all":    {p2p.Config{MaxStreamsPerPeer: -1, MaxStrangerStreams: -1}, 3000 - 2048},
		"default strangers": {p2p.Config{MaxStreamsPerPeer: -1, MaxStreams: -1}, 3000 - 1024},
		"none":              {p2p.Config{MaxStreamsPerPeer: -1, MaxStreams: -1, MaxStrangerStreams: -1}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCrowdedNode(t, test.cfg)
			refused := 0
			for range 10 {
				_, busy := c.open(c.peer(), in, 300)
				refused += busy
			}
			require.Equal(t, test.refused, refused)
		})
	}
}

// Of the calls of Config.Allow, a single peer gets few, all strangers together
// get most, and tracked peers get the rest. A stream that finds no place is
// refused as busy.
func TestAllowLimits(t *testing.T) {
	for name, test := range map[string]struct {
		cfg                     p2p.Config
		onePeer, others, member int // places: for one peer, 300 more, 60 tracked ones
	}{
		"default":     {p2p.Config{}, 8, 224 - 8, 32},
		"configured":  {p2p.Config{MaxAllowCallsPerPeer: 3, MaxAllowCalls: 80}, 3, 70 - 3, 10},
		"of one peer": {p2p.Config{MaxAllowCalls: -1}, 8, 300, 60},
		"none":        {p2p.Config{MaxAllowCallsPerPeer: -1, MaxAllowCalls: -1}, 500, 300, 60},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				test.cfg.Allow = func(ctx context.Context, _ p2p.Request) error {
					<-ctx.Done()
					return nil
				}
				c := newCrowdedNode(t, test.cfg)
				ask := func(id identity.RemoteIdentity) (admitted bool) {
					refused := make(chan error, 1)
					go func() { refused <- c.node.Allows(context.Background(), p2p.Request{Action: p2p.Connect, Peer: id}) }()
					synctest.Wait()
					select {
					case err := <-refused:
						require.ErrorIs(t, err, p2p.ErrBusy)
						require.False(t, errors.Is(err, p2p.ErrRefused), "%v", err)
						return false
					default:
						return true
					}
				}
				count := func(n int, id func() identity.RemoteIdentity) (places int) {
					for range n {
						if ask(id()) {
							places++
						}
					}
					return places
				}
				one := c.peer()
				require.Equal(t, test.onePeer, count(500, func() identity.RemoteIdentity { return one }))
				require.Equal(t, test.others, count(300, newID))
				require.Equal(t, test.member, count(60, func() identity.RemoteIdentity {
					id := newID()
					c.keeper.scope.Track(id)
					return id
				}))
				far := c.l.accept(one)
				synctest.Wait()
				if name != "none" {
					require.ErrorIs(t, far.failure(), p2p.ErrBusy)
				}
				time.Sleep(2 * time.Second) // the calls return
				require.Equal(t, test.others+test.onePeer, count(300+test.onePeer, newID), "all places are free again")
				require.NoError(t, c.node.Shutdown(t.Context()))
			})
		})
	}
}
