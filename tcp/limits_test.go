package tcp

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// Peers that make secure connections, hold back their hellos, and then send
// them all at once get no more lanes than the limits allow: for one peer, in
// all, and for strangers.
func TestHellosAtOnce(t *testing.T) {
	for name, limits := range map[string]Limits{
		"of one peer": {LanesPerPeer: 3},
		"in all":      {Lanes: 3},
		"strangers":   {Expected: 3},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPreyWith(t, Config{Limits: limits}, func(s *p2p.Stream) error {
				_, err := io.Copy(s, s)
				return err
			})
			key := func() identity.Identity { return p.key }
			if limits.Expected > 0 {
				_, over := p.listener.Expect()
				defer over()
				key = identity.New
			}
			var all []*tls.Conn
			for range 8 {
				c, err := p.dial(t, key(), nil)
				require.NoError(t, err)
				all = append(all, c)
			}
			waiting := func() (n int) { // number of connections that wait for a hello
				p.listener.running().door.mu.Lock()
				defer p.listener.running().door.mu.Unlock()
				return len(p.listener.running().door.inside)
			}
			require.Eventually(t, func() bool { return waiting() == len(all) }, patience, time.Millisecond)
			for _, c := range all {
				_, err := c.Write(helloFrame(t, forStream))
				require.NoError(t, err)
			}
			lanes := 0
			for _, c := range all {
				if k, _ := readFrame(t, c); k == frameHello {
					lanes++
				} else {
					require.Equal(t, frameReset, k)
				}
			}
			require.Equal(t, 3, lanes)
		})
	}
}

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

// If a peer keeps a lane and does not read, changes of metadata do not pile up
// for it; once it reads, it gets the last one.
func TestUnreadMetadata(t *testing.T) {
	p := newPreyWith(t, Config{patience: time.Hour}, nil)
	c, err := p.dial(t, p.key, nil)
	require.NoError(t, err)
	_, err = c.Write(helloFrame(t, forPeer))
	require.NoError(t, err)
	k, _ := readFrame(t, c)
	require.Equal(t, frameHello, k)
	before, most := runtime.NumGoroutine(), 0
	const changes = 1000
	for i := range changes {
		require.NoError(t, p.node.UpdateMetadata(func(m map[string]string) {
			for j := range 30 {
				m[fmt.Sprint("key", j)] = strings.Repeat(fmt.Sprint(changes+i), 50)
			}
		}))
		most = max(most, runtime.NumGoroutine())
	}
	require.Less(t, most, before+20)
	for last := strings.Repeat(fmt.Sprint(2*changes-1), 50); ; {
		k, b := readFrame(t, c)
		require.Equal(t, frameHello, k)
		h, err := decodeHello(b)
		require.NoError(t, err)
		if h.metadata["key0"] == last {
			break
		}
	}
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
