package quic

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
)

// suspect begins a check of a peer's connections, as after an announcement of
// it at other addresses.
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

// A peer that is announced only at the addresses of its silent connections is
// not dialed, and streams do not wait for a dial.
func TestNowhereElse(t *testing.T) {
	t.Parallel()
	c, _ := dialed(t, Config{}, Config{})
	found := make(chan *conn)
	go func() { found <- probed(c) }()
	select {
	case c := <-found:
		require.Nil(t, c)
	case <-time.After(time.Minute):
		t.Fatal("a probe of no addresses must end")
	}
}

// A peer that answers is not dialed at its announced address: its answer ends
// the check, however long the check may wait.
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
		t.Fatal("the answer was not noticed")
	}
}

// The suspicion of a peer is forgotten with its last connection.
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
