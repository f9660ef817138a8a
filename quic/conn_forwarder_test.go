package quic

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
)

// A forwarder is a box on the path that sends each packet on from two addresses
// of its own, so that the second copy comes too late.
type forwarder struct {
	front *net.UDPConn
	outs  [2]*net.UDPConn
	first atomic.Int32 // the index of the faster one
	back  atomic.Pointer[netip.AddrPort]
}

func newForwarder(t *testing.T, to netip.AddrPort) *forwarder {
	t.Helper()
	f := &forwarder{}
	var err error
	f.front, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	var running sync.WaitGroup
	for i := range f.outs {
		f.outs[i], err = net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, byte(50+i))}, net.UDPAddrFromAddrPort(to))
		require.NoError(t, err)
		running.Go(func() { f.answers(f.outs[i]) })
	}
	running.Go(f.forward)
	t.Cleanup(func() {
		f.front.Close()
		f.outs[0].Close()
		f.outs[1].Close()
		running.Wait()
	})
	return f
}

func (f *forwarder) addr() netip.AddrPort { return f.front.LocalAddr().(*net.UDPAddr).AddrPort() }

func (f *forwarder) forward() {
	for b := make([]byte, 1<<16); ; {
		n, from, err := f.front.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		f.back.Store(&from)
		first := f.first.Load()
		f.outs[first].Write(b[:n])
		f.outs[1-first].Write(b[:n])
	}
}

func (f *forwarder) answers(out *net.UDPConn) {
	for b := make([]byte, 1<<16); ; {
		n, err := out.Read(b)
		if err != nil {
			return
		}
		f.front.WriteToUDPAddrPort(b[:n], *f.back.Load())
	}
}

// A box on the path whose copies overtake the packets can make the peer's
// connection run over it, but nothing else follows: the app is not asked again
// what the peer may do, every byte arrives once and in order, and the box's
// address is not remembered as one of the peer's.
func TestForwarderRaces(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	asked := map[p2p.Action]int{}
	allow := func(_ context.Context, r p2p.Request) error {
		mu.Lock()
		defer mu.Unlock()
		asked[r.Action]++
		return nil
	}
	var f *forwarder
	m := newMovingVia(t, Config{}, allow, func(to netip.AddrPort) netip.AddrPort {
		f = newForwarder(t, to)
		return f.addr()
	})
	m.talk(t, 1)
	mu.Lock()
	before := len(asked)
	streams, connections := asked[p2p.OpenStream], asked[p2p.Connect]
	mu.Unlock()
	was := m.theirs.remote()
	require.Equal(t, "127.0.0.50", was.Addr().String())
	for range 3 {
		now := m.theirs.remote()
		f.first.Store(1 - f.first.Load())
		require.Eventually(t, func() bool { m.talk(t, 10); return m.theirs.remote() != now }, time.Minute, time.Millisecond)
	}
	require.Equal(t, "127.0.0.51", m.theirs.remote().Addr().String())
	require.Equal(t, was, m.theirs.path.Remote)
	require.Equal(t, f.addr(), m.ours.remote())
	require.Len(t, m.theirs.endpoint.all(), 1)
	mu.Lock()
	require.Equal(t, []int{before, streams, connections}, []int{len(asked), asked[p2p.OpenStream], asked[p2p.Connect]})
	mu.Unlock()
	seen := func() (all []string) {
		c := m.theirs.endpoint.circle
		c.mu.Lock()
		defer c.mu.Unlock()
		for ip := range c.seen {
			all = append(all, ip.String())
		}
		slices.Sort(all)
		return all
	}
	events := m.theirs.endpoint.scope.Node().Subscribe()
	defer events.Close()
	m.theirs.Close()
	for e := range events.C { // until the address would have been remembered
		if _, ok := e.(p2p.PeerDisconnectedWith); ok {
			break
		}
	}
	require.Equal(t, []string{"127.0.0.50"}, seen())
}
