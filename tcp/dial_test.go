package tcp

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// A caller that waits for another caller's attempt has time of its own: if the
// other attempt is over first, this caller makes one itself.
func TestOthersTime(t *testing.T) {
	r := newPrey(t).listener.running()
	to := identity.New().Remote()
	synctest.Test(t, func(t *testing.T) {
		a := &attempt{done: make(chan struct{})}
		r.mu.Lock()
		r.keeping[to] = a
		r.mu.Unlock()
		result := make(chan *p2p.DialError)
		go func() { result <- r.connect(t.Context(), to, nil) }()
		synctest.Wait()
		a.failed, a.gaveUp = failedAll(to, nil, context.DeadlineExceeded), true
		r.mu.Lock()
		delete(r.keeping, to)
		r.mu.Unlock()
		close(a.done)
		require.ErrorIs(t, <-result, p2p.ErrNoCandidate)
	})
}

// A peer that closes the connection between handshake and hello, since others
// need the place, is dialed once more.
func TestPlaceGivenAway(t *testing.T) {
	r, key := newPrey(t).listener.running(), identity.New()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var serving sync.WaitGroup
	defer serving.Wait()
	defer l.Close()
	serving.Go(func() {
		k, err := newKeeper(key)
		if err != nil {
			return
		}
		for first := true; ; first = false {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			s, _, err := k.server(t.Context(), c)
			if first || err != nil {
				c.Close()
				continue
			}
			if _, err := io.ReadFull(s, make([]byte, headerSize)); err == nil {
				s.Write(helloFrame(t, forStream))
			}
		}
	})
	at := l.Addr().(*net.TCPAddr).AddrPort()
	got := r.try(t.Context(), key.Remote(), target{of: p2p.Candidate{Kind: p2p.Direct, Addr: at}, addr: at}, forStream)
	require.NoError(t, got.Err)
	got.lane.cut()
}
