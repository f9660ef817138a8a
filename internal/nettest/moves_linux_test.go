package nettest

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/netlab"
	"github.com/sdp2p/p2p/internal/soak"
	"github.com/sdp2p/p2p/quic"
)

// A roamer and its peer have a stream on which something goes there and back every
// 50 ms. The roamer dialed, or was dialed.
type roaming struct {
	segment       *netlab.Segment
	roamer, other *node
	caller        *node
	round         int64
	began         time.Time
}

func roam(t *testing.T, dialed bool, mdns bool) *roaming {
	t.Helper()
	lab := netlab.New(t, 2)
	r := &roaming{segment: lab.Segment(1, lab.Hosts...)}
	seeds := [][]byte{[]byte("roamer roamer roamer roamer roam"), []byte("other other other other other ot")}
	ids := make([]string, 2)
	for i, seed := range seeds {
		id, err := identity.FromSeed(seed)
		require.NoError(t, err)
		ids[i] = id.Remote().String()
	}
	at := func(h *netlab.Host) string {
		return netip.AddrPortFrom(r.segment.Prefixes(h, 0)[0].Addr(), quic.DefaultPort).String()
	}
	nodes := make([]*node, 2)
	for _, i := range []int{1, 0} {
		if dialed {
			i = 1 - i
		}
		cfg := nodeConfig{QUIC: true, Port: quic.DefaultPort, Seed: seeds[i], Track: []string{ids[1-i]}, MDNS: mdns, Interfaces: []string{r.segment.Interface}, Debug: true}
		if !mdns && (i == 0) != dialed {
			cfg.Manual = []string{at(lab.Hosts[1-i])}
		}
		nodes[i] = start(t, lab.Hosts[i], cfg)
	}
	r.roamer, r.other = nodes[0], nodes[1]
	r.caller = r.roamer
	callee := r.other
	if dialed {
		r.caller, callee = r.other, r.roamer
	}
	by := "quic"
	if mdns {
		by = "mdns"
	}
	r.caller.discovers(callee, by)
	_, err := netlab.Call[echoed](r.caller.Process, "hold", holdArgs{callee.id})
	require.NoError(t, err)
	r.began = time.Now()
	r.goesOn(t)
	return r
}

// goesOn waits until the stream has gone on, and returns how long that took.
func (r *roaming) goesOn(t *testing.T) time.Duration {
	t.Helper()
	began := time.Now()
	for r.round = ask[int64](r.caller, "held"); ask[int64](r.caller, "held") == r.round; {
		require.Empty(t, r.caller.failedStreams(r.began), "the stream has ended")
		require.Less(t, time.Since(began), netlab.Patience)
		time.Sleep(time.Millisecond)
	}
	return time.Since(began)
}

// moves waits until the caller has moved the connection, or seen that the peer follows
// by itself what comes from the new address. The stream may have gone on before.
func (r *roaming) moves(t *testing.T) {
	t.Helper()
	until(t, func() bool { return r.caller.logs("msg=moved") > 0 || r.caller.logs("msg=followed") > 0 })
}

// A node's address changes, at once or after a while without any, and streams go
// on, whichever side had dialed.
func TestRoamingAddress(t *testing.T) {
	t.Parallel()
	for _, dialed := range []bool{false, true} {
		for _, away := range []time.Duration{0, time.Second, 6 * time.Second} {
			who := map[bool]string{false: "the dialer's", true: "the listener's"}[dialed]
			t.Run(fmt.Sprintf("%s, away for %v", who, away), func(t *testing.T) {
				t.Parallel()
				r := roam(t, dialed, false)
				h := r.roamer.host
				r.segment.Remove(h, r.segment.Prefixes(h, 0)...)
				time.Sleep(away)
				r.segment.Add(h, r.segment.Prefixes(h, 1)...)
				t.Logf("the stream went on after %v", r.goesOn(t))
				r.moves(t)
			})
		}
	}
}

// A node moves again and again, and streams go on each time.
func TestRoamingTwentyTimes(t *testing.T) {
	t.Parallel()
	for _, dialed := range []bool{false, true} {
		t.Run(map[bool]string{false: "the dialer", true: "the listener"}[dialed], func(t *testing.T) {
			t.Parallel()
			r := roam(t, dialed, false)
			h := r.roamer.host
			var took []time.Duration
			for i := range 20 {
				r.segment.Remove(h, r.segment.Prefixes(h, i%10)...)
				r.segment.Add(h, r.segment.Prefixes(h, (i+1)%10)...)
				took = append(took, r.goesOn(t))
			}
			t.Log("the stream went on after", took)
			r.moves(t)
		})
	}
}

// routed are a roamer on two networks and its peer on a third one, with a router
// between them.
func routed(t *testing.T) (r *roaming, first, second *netlab.Segment, over func(*netlab.Segment)) {
	t.Helper()
	lab := netlab.New(t, 3)
	roamer, router, other := lab.Hosts[0], lab.Hosts[1], lab.Hosts[2]
	first, second = lab.Segment(1, roamer, router), lab.Segment(2, router)
	third := lab.Segment(3, router, other)
	lab.Disconnect()
	router.Run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
	over = func(s *netlab.Segment) {
		roamer.Run("ip", "route", "replace", "default", "via", s.Prefixes(router, 0)[0].Addr().String(), "dev", s.Interface)
	}
	over(first)
	other.Run("ip", "route", "replace", "default", "via", third.Prefixes(router, 0)[0].Addr().String())
	at := netip.AddrPortFrom(third.Prefixes(other, 0)[0].Addr(), quic.DefaultPort).String()
	r = &roaming{began: time.Now()}
	r.other = start(t, other, nodeConfig{QUIC: true, Port: quic.DefaultPort})
	r.roamer = start(t, roamer, nodeConfig{QUIC: true, Manual: []string{at}, Debug: true})
	r.caller = r.roamer
	r.caller.discovers(r.other, "quic")
	_, err := netlab.Call[echoed](r.caller.Process, "hold", holdArgs{r.other.id})
	require.NoError(t, err)
	r.goesOn(t)
	return r, first, second, over
}

// A node changes from cable to another network: the first one goes away, or stays
// there while the route leads over the second.
func TestRoamingInterface(t *testing.T) {
	t.Parallel()
	for name, stays := range map[string]bool{"the first goes": false, "the first stays": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, first, second, over := routed(t)
			second.Plug(r.roamer.host)
			if !stays {
				first.Unplug(r.roamer.host)
			}
			over(second)
			t.Logf("the stream went on after %v", r.goesOn(t))
			r.moves(t)
		})
	}
}

// The network over which a connection runs falls silent, with nothing that tells:
// another address of the peer is taken.
func TestRoamingSilence(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 2)
	a, b := lab.Hosts[0], lab.Hosts[1]
	first, second := lab.Segment(1, lab.Hosts...), lab.Segment(2, lab.Hosts...)
	lab.Disconnect()
	at := func(s *netlab.Segment) string {
		return netip.AddrPortFrom(s.Prefixes(b, 0)[0].Addr(), quic.DefaultPort).String()
	}
	r := &roaming{began: time.Now()}
	r.other = start(t, b, nodeConfig{QUIC: true, Port: quic.DefaultPort})
	r.caller = start(t, a, nodeConfig{QUIC: true, Manual: []string{at(first), at(second)}, Track: []string{r.other.id}})
	r.caller.discovers(r.other, "quic")
	held, err := netlab.Call[echoed](r.caller.Process, "hold", holdArgs{r.other.id})
	require.NoError(t, err)
	r.goesOn(t)
	on := first
	if held.Path.Remote.String() == at(second) {
		on = second
	}
	on.Mute(b)
	took := r.goesOn(t)
	t.Logf("the stream went on after %v", took)
	require.Less(t, took, vanish, "the connection has moved, instead of another one being made")
}

// vanish is how long a connection lives on which nothing is heard.
const vanish = 13 * time.Second

// A process is stopped, as in sleep, and goes on.
func TestRoamingStopped(t *testing.T) {
	t.Parallel()
	for _, dialed := range []bool{false, true} {
		t.Run(map[bool]string{false: "the dialer", true: "the listener"}[dialed], func(t *testing.T) {
			t.Parallel()
			r := roam(t, dialed, false)
			r.roamer.Suspend()
			time.Sleep(5 * time.Second)
			r.roamer.Resume()
			t.Logf("the stream went on after %v", r.goesOn(t))
		})
	}
}

// Many megabytes are on their way in both directions while a node moves: none is
// lost, and none comes twice.
func TestRoamingBulk(t *testing.T) {
	t.Parallel()
	for _, dialed := range []bool{false, true}[:soak.N(1, 2)] { // a listener that sends at full speed takes seconds
		t.Run(map[bool]string{false: "the dialer", true: "the listener"}[dialed], func(t *testing.T) {
			t.Parallel()
			r := roam(t, dialed, dialed) // a listener's announcement gets through, where its message is behind the bytes
			h := r.roamer.host
			peer := r.other
			if dialed {
				peer = r.roamer
			}
			done := make(chan error, 1)
			go func() {
				_, err := netlab.Call[time.Duration](r.caller.Process, "pump", pumpArgs{peer.id, 128 << 20})
				done <- err
			}()
			var took []time.Duration
			for i := range 4 {
				time.Sleep(200 * time.Millisecond)
				r.segment.Remove(h, r.segment.Prefixes(h, i)...)
				time.Sleep(200 * time.Millisecond)
				r.segment.Add(h, r.segment.Prefixes(h, i+1)...)
				took = append(took, r.goesOn(t))
			}
			t.Log("the stream went on after", took)
			require.NoError(t, <-done)
			require.Empty(t, r.caller.failedStreams(r.began))
		})
	}
}
