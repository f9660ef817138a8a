package quic

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
)

// suspect begins a suspicion of the connections with a peer that was announced
// somewhere.
func (c *conn) suspect(wait time.Duration, via ...p2p.Candidate) *suspicion {
	e := c.endpoint
	s := &suspicion{via: via, running: true, known: make(chan struct{})}
	s.wait.Min, s.wait.Max = wait, wait
	e.mu.Lock()
	defer e.mu.Unlock()
	e.suspicions[c.id] = s
	e.tasks.Go(func() { e.find(c.id, s) })
	return s
}

// A peer that is announced nowhere but where silent connections lead is not
// dialed, and streams wait no longer for that.
func TestNowhereElse(t *testing.T) {
	t.Parallel()
	c, _ := dialed(t, Config{}, Config{})
	found := make(chan *conn)
	go func() { found <- probed(c) }()
	select {
	case c := <-found:
		require.Nil(t, c)
	case <-time.After(time.Minute):
		t.Fatal("a probe of nothing does not end")
	}
}

// A peer that answers is not dialed where it was announced: its answer ends the
// check, however long one may be waited for.
func TestAnswerEndsTheCheck(t *testing.T) {
	t.Parallel()
	c, _ := dialed(t, Config{slack: time.Hour}, Config{})
	checked := make(chan bool, 1)
	go func() {
		checked <- c.endpoint.check(c.id, []p2p.Candidate{{Kind: p2p.Direct, Addr: netip.MustParseAddrPort("127.0.0.9:9")}}, []*conn{c})
	}()
	select {
	case alive := <-checked:
		require.True(t, alive)
	case <-time.After(time.Minute):
		t.Fatal("the answer is not noticed")
	}
}

// What was suspected of a peer is forgotten with its last connection.
func TestSuspicionIsForgotten(t *testing.T) {
	t.Parallel()
	c, _ := dialed(t, Config{}, Config{})
	e := c.endpoint
	s := c.suspect(time.Millisecond, p2p.Candidate{Kind: p2p.Direct, Addr: netip.MustParseAddrPort("127.0.0.9:9")})
	running := func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return s.running
	}
	require.Eventually(t, func() bool { return !running() }, time.Minute, time.Millisecond)
	require.Len(t, e.suspicions, 1)
	c.Close()
	<-c.ctx.Done()
	e.mu.Lock()
	defer e.mu.Unlock()
	require.Empty(t, e.suspicions)
}

func probed(c *conn) *conn {
	found, _ := c.endpoint.probe(c.id, nil, nil)
	return found
}
