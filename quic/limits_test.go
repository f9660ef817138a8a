package quic

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	quicgo "github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"
)

// An asker begins handshakes from different addresses.
type asker struct {
	*handshakes
	t       *testing.T
	circle  map[netip.Addr]string // the relation of an address to the node
	pending map[string][]context.CancelFunc
	last    *handshake
}

func newAsker(t *testing.T, l Limits) *asker {
	a := &asker{t: t, circle: map[netip.Addr]string{}, pending: map[string][]context.CancelFunc{}}
	a.handshakes = newHandshakes(l.withDefaults(), func(ip netip.Addr) (familiar, neighbor, own bool) {
		return a.circle[ip] == "familiar", a.circle[ip] == "neighbor", a.circle[ip] == "own"
	})
	return a
}

// ask begins a handshake as quic-go does, and proves the address if that is
// demanded and the address is not spoofed. It returns the context that ends
// when the handshake has to make room.
func (a *asker) ask(ip string, spoofed bool) (going context.Context, asked bool, err error) {
	client := &quicgo.ClientInfo{RemoteAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(ip), 4242))}
	if asked = a.verify(client.RemoteAddr); asked {
		if spoofed {
			return nil, asked, nil
		}
		client.AddrVerified = true
	}
	ctx, cancel := context.WithCancel(a.t.Context())
	a.pending[ip] = append(a.pending[ip], cancel)
	going, n, err := a.enter(ctx, client)
	a.last = n
	return going, asked, err
}

// finish ends all handshakes of an address.
func (a *asker) finish(ip string) {
	for _, cancel := range a.pending[ip] {
		cancel()
	}
	delete(a.pending, ip)
	synctest.Wait()
}

// Handshakes from forged addresses take at most 16 places. They never keep out
// the peer at such an address, and do not count against it later.
func TestSpoofedHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAsker(t, Limits{})
		for range 1000 {
			_, _, err := a.ask("10.0.0.1", true)
			require.NoError(t, err)
		}
		require.Len(t, a.all, 1)
		for i := range 1000 {
			_, _, err := a.ask(fmt.Sprintf("10.%d.%d.2", i/250, i%250), true)
			require.NoError(t, err)
		}
		require.Len(t, a.all, 16)
		for range 8 {
			_, asked, err := a.ask("10.0.0.1", false)
			require.NoError(t, err)
			require.True(t, asked)
		}
		_, _, err := a.ask("10.0.0.1", false)
		require.ErrorIs(t, err, errFullHere)
		a.finish("10.0.0.1")
		_, _, err = a.ask("10.0.0.1", false)
		require.NoError(t, err, "a handshake that has ended makes room")
	})
}

// Handshakes in progress are limited for one address, for one network and in
// all. Those of a tracked peer's address have places of their own, ahead of its
// neighbors.
func TestHandshakePlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAsker(t, Limits{Unproved: -2, HandshakesPerSecond: -1})
		a.limits.Unproved = 0 // every address has to be proved
		many := func(n int, addr func(i int) string) (entered int) {
			for i := range n {
				if _, _, err := a.ask(addr(i), false); err == nil {
					entered++
				}
			}
			return entered
		}
		at := func(pattern string) func(int) string { return func(i int) string { return fmt.Sprintf(pattern, i) } }
		require.Equal(t, 8, many(20, func(int) string { return "10.0.0.1" }))
		require.Equal(t, 8, many(100, at("10.0.0.%d")), "16 of a network")
		require.Equal(t, 8, many(20, at("2001:db8:0:1::%d")), "8 of a /64")
		require.Equal(t, 8, many(1000, at("2001:db8:0:%x::1")), "16 of a /48")
		require.Equal(t, 32, many(32, at("172.16.%d.1")), "64 in all")

		a.circle[netip.MustParseAddr("10.0.0.7")] = "familiar"
		for i := range 40 {
			a.circle[netip.AddrFrom4([4]byte{10, 0, 0, byte(100 + i)})] = "neighbor"
		}
		require.Equal(t, 32, many(40, at("10.0.0.1%02d")), "neighbors have 32 places of their own")
		going, _, err := a.ask("10.0.0.7", false)
		require.NoError(t, err, "a tracked peer's address displaces a neighbor")
		require.NoError(t, going.Err())
		gone := 0
		for h := range a.all {
			if h.kind == lingering {
				gone++
			}
		}
		require.Equal(t, 1, gone)
	})
}

// If all places are taken, the oldest handshake of the network that has the
// most makes room.
func TestHandshakeOfTheFullestNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAsker(t, Limits{HandshakesPerSecond: -1})
		a.limits.Unproved = 0
		var first context.Context
		for net := range 4 {
			for host := range 16 {
				going, _, err := a.ask(fmt.Sprintf("10.0.%d.%d", net, host), false)
				require.NoError(t, err)
				if first == nil {
					first = going
				}
				time.Sleep(time.Millisecond)
			}
		}
		_, _, err := a.ask("10.9.9.9", false)
		require.NoError(t, err)
		gone := 0
		for h := range a.all {
			if h.kind == lingering {
				gone++
			}
		}
		require.Equal(t, 1, gone)
		_, _, err = a.ask("10.0.1.99", false) // the oldest was one of 10.0.0.0/24
		require.ErrorIs(t, err, errFullHere, "the network with the most handshakes gets no more")
	})
}

// A handshake that had to make room just before it finished leads to no
// connection: the context of that connection would be done, and it would not be
// counted.
func TestHandshakeOverTooLate(t *testing.T) {
	t.Parallel()
	c, _ := dialed(t, Config{}, Config{})
	e := c.endpoint
	for _, goes := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		client := &quicgo.ClientInfo{RemoteAddr: &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}, AddrVerified: true}
		going, err := e.admit(ctx, client)
		require.NoError(t, err)
		scope, err := network.UnwrapConnManagementScope(going)
		require.NoError(t, err)
		if goes {
			e.handshakes.mu.Lock()
			require.True(t, e.handshakes.evict(func(*handshake) bool { return true }))
			e.handshakes.mu.Unlock()
			require.Error(t, going.Err())
			require.ErrorIs(t, scope.SetPeer(""), errFullHere)
		} else {
			require.NoError(t, scope.SetPeer(""))
		}
		cancel()
	}
}

// An address that begins handshakes too fast is refused for a while; this
// host's own addresses and those of tracked peers never are.
func TestHandshakePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAsker(t, Limits{HandshakesPerSecond: 10})
		a.circle[netip.MustParseAddr("10.0.0.2")] = "familiar"
		a.circle[netip.MustParseAddr("10.0.0.3")] = "own"
		may := func(ip string) (n int) {
			for range 100 {
				if a.outOfPace(netip.MustParseAddr(ip)) {
					continue // in a node, the doorman refuses it
				}
				if _, _, err := a.ask(ip, false); err == nil {
					n++
					a.completed(a.last)
				}
				a.finish(ip)
			}
			return n
		}
		require.Equal(t, 20, may("10.0.0.1"))
		time.Sleep(500 * time.Millisecond)
		require.Equal(t, 5, may("10.0.0.1"))
		require.True(t, a.outOfPace(netip.MustParseAddr("10.0.0.1")))
		require.Equal(t, 100, may("10.0.0.2"))
		require.Equal(t, 100, may("10.0.0.3"))
		most := newAsker(t, Limits{HandshakesPerSecond: math.MaxInt})
		for range 3 {
			most.pass(netip.MustParseAddr("10.0.0.1"))
		}
		require.False(t, most.outOfPace(netip.MustParseAddr("10.0.0.1")))
		for i := range maxPaces + 8 {
			a.pass(netip.AddrFrom4([4]byte{11, 0, byte(i >> 8), byte(i)}))
		}
		require.LessOrEqual(t, len(a.paces), maxPaces)
	})
}

// The budget is charged for a window from its first byte on, and for strangers'
// windows also for gaps in the data.
func TestBudget(t *testing.T) {
	b := &budget{limits: Limits{Memory: 1280 << 10, StrangerMemory: 768 << 10}.withDefaults()}
	stranger, other := b.charge(inboundWindow, false), b.charge(inboundWindow, false)
	require.Equal(t, 2*holeCost*inboundWindow, b.strangers)
	require.NoError(t, stranger.ReserveMemory(8<<10, 0))
	require.Error(t, stranger.ReserveMemory(64<<10, 0), "more than strangers have")
	member, err := b.OpenConnection(network.DirOutbound, false, nil)
	require.NoError(t, err)
	m := member.(*charge)
	require.NoError(t, m.ReserveMemory(256<<10, 0))
	require.Error(t, m.ReserveMemory(256<<10, 0), "more than there is")
	other.Done()
	stranger.Done()
	stranger.Done()
	require.Zero(t, b.strangers)
	require.NoError(t, m.ReserveMemory(256<<10, 0))
	m.ReleaseMemory(512 << 10)
	require.Equal(t, dialedWindow, b.all)
	m.Done()
	require.Error(t, m.ReserveMemory(1, 0))
	require.Zero(t, b.all)

	// Until one of its streams is served, a stranger gets only a small window.
	b = &budget{limits: Limits{}.withDefaults()}
	stranger = b.charge(inboundWindow, false)
	require.NoError(t, stranger.ReserveMemory(strangerWindow-inboundWindow, 0))
	require.Error(t, stranger.ReserveMemory(1, 0))
	stranger.served.Store(true)
	require.NoError(t, stranger.ReserveMemory(1, 0))
	stranger.member.Store(true)
	require.NoError(t, stranger.ReserveMemory(8<<20, 0))
	stranger.Done()
	require.Zero(t, b.all)
	require.Zero(t, b.strangers)
}

// A window grows as large as long, fast paths need if the peer is not a
// stranger and as much is left for others.
func TestLargeWindows(t *testing.T) {
	grow := func(c *charge, to int) error { return c.ReserveMemory(to-c.window, 0) }
	b := &budget{limits: Limits{}.withDefaults()}
	first, second, stranger := b.charge(dialedWindow, true), b.charge(dialedWindow, true), b.charge(0, false)
	stranger.served.Store(true)
	for window := dialedWindow; window < 32<<20; window *= 2 {
		require.NoError(t, grow(first, 2*window))
	}
	require.Error(t, grow(first, 64<<20), "the largest window must leave as much for others")
	require.NoError(t, grow(second, plainWindow))
	require.Error(t, grow(second, 2*plainWindow), "a third connection must still get a window")
	require.NoError(t, grow(b.charge(dialedWindow, true), 8<<20))
	second.Done()
	first.Done()

	b = &budget{limits: Limits{Memory: -1, StrangerMemory: -1}.withDefaults()}
	alone, stranger := b.charge(dialedWindow, true), b.charge(0, false)
	stranger.served.Store(true)
	require.NoError(t, grow(alone, maxWindow))
	require.NoError(t, grow(stranger, plainWindow))
	require.Error(t, grow(stranger, plainWindow+1))
}

// One host of a LAN does not shut out its neighbors in the same /64.
func TestNeighborOfOnePrefix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAsker(t, Limits{})
		a.circle[netip.MustParseAddr("2001:db8:0:1::66")] = "neighbor"
		a.circle[netip.MustParseAddr("2001:db8:0:1::7")] = "neighbor"
		for range 1000 {
			ip := "2001:db8:0:1::66"
			if a.outOfPace(netip.MustParseAddr(ip)) {
				break
			}
			if _, _, err := a.ask(ip, false); err == nil {
				a.completed(a.last)
			}
			a.finish(ip)
		}
		require.False(t, a.outOfPace(netip.MustParseAddr("2001:db8:0:1::7")), "one host of the LAN shuts out another")
	})
}

// Three hosts of a LAN do not shut out their /24.
func TestNeighborsOfOneNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAsker(t, Limits{})
		victim := netip.MustParseAddr("192.168.1.7")
		a.circle[victim] = "neighbor"
		out := 0
		for i := range 5000 { // 5 s
			for _, ip := range []string{"192.168.1.66", "192.168.1.67", "192.168.1.68"} {
				a.circle[netip.MustParseAddr(ip)] = "neighbor"
				if a.outOfPace(netip.MustParseAddr(ip)) {
					continue
				}
				if _, _, err := a.ask(ip, false); err == nil {
					a.completed(a.last)
				}
				a.finish(ip)
			}
			if i > 2000 && a.outOfPace(victim) {
				out++
			}
			time.Sleep(time.Millisecond)
		}
		t.Logf("out of pace %d of 3000 ms", out)
		require.Zero(t, out)
	})
}
