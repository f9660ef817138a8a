package p2p_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
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

// A refused stream is logged as one line that says whose it was, for which
// route, and why.
func TestRefusedStreamsAreLogged(t *testing.T) {
	var log logBuffer
	var mux p2p.Mux
	mux.HandleFunc("echo", p2p.Anyone, echo)
	mux.HandleFunc("mine", p2p.Access{}, echo)
	mux.HandleFunc("broken", p2p.Anyone, func(context.Context, *p2p.Stream) error { return errors.New("\x1b[2J") })
	mux.HandleFunc("refused elsewhere", p2p.Anyone, func(context.Context, *p2p.Stream) error {
		return fmt.Errorf("wrapped: %w", &p2p.ResetError{Code: p2p.ErrRefused, Remote: true})
	})
	refusal := error(nil)
	_, l, peer := pair(t, p2p.Config{Handler: &mux, Logger: log.debug(), MaxStreamsPerPeer: 1, Allow: func(context.Context, p2p.Request) error {
		return refusal
	}})
	for name, test := range map[string]struct {
		sent    string
		refusal error
		want    []string
	}{
		"no route":       {"\x04Echo", nil, []string{"msg=refused", `route=""`, "not served", `\"Echo\"`, `\"echo\"`, `\"mine\"`}},
		"no route's end": {"\xc8" + strings.Repeat("x", 200), nil, []string{"msg=refused", `route=""`, "not served", strings.Repeat("x", 64) + `\"`}},
		"hostile route":  {"\x09a\u202ebcd\u00ad", nil, []string{"msg=refused", `route=""`, "not served", "is not printable"}},
		"no access":      {"\x04mine", nil, []string{"msg=refused", "route=mine", "p2p: refused"}},
		"gate":           {"\x04echo", errTest, []string{"msg=refused", `route=""`, errTest.Error()}},
		"handler":        {"\x06broken", nil, []string{"a handler returned an error", "route=broken", `x1b[2J`}},
		"other's reset":  {"\x11refused elsewhere", nil, []string{"a handler returned an error"}},
	} {
		t.Run(name, func(t *testing.T) {
			log.mu.Lock()
			log.b.Reset()
			refusal = test.refusal
			log.mu.Unlock()
			call(l.accept(peer.Identity()), test.sent)
			var lines []string
			require.Eventually(t, func() bool {
				lines = log.lines(append([]string{"level=DEBUG", "peer=" + peer.String()}, test.want...)...)
				return len(lines) > 0
			}, 10*time.Second, time.Millisecond, "%v in %v", test.want, &log)
			require.Len(t, lines, 1)
			require.NotContains(t, lines[0], "HOSTILE")
			require.NotContains(t, lines[0], strings.Repeat("x", 65))
		})
	}
}

// A node without a handler logs once what to do about it, and every stream at
// Debug.
func TestNoHandlerIsLogged(t *testing.T) {
	var log logBuffer
	_, l, peer := pair(t, p2p.Config{Logger: log.debug()})
	for range 3 {
		_, err := l.accept(peer.Identity()).Read(make([]byte, 1))
		require.ErrorIs(t, err, p2p.ErrRefused)
	}
	require.Len(t, log.lines("level=WARN", "set p2p.Config.Handler"), 1)
	require.Len(t, log.lines("level=DEBUG", "msg=refused", "there is no handler"), 3)
}
