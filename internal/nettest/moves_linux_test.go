package nettest

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/netlab"
	"github.com/sdp2p/p2p/quic"
)

// A roamer and its peer have a stream on which something goes there and back
// every 10 ms. The roamer dialed, or was dialed.
type roaming struct {
	segment       *netlab.Segment // on which both are,
	router        *netlab.Host    // or what is between them
	roamer, other *node
	caller        *node
	began         time.Time
}

// keys are those of a roamer and of its peer.
var keys = [2]byte{'r', 'o'}

// often is less than what a move takes.
const often = 10 * time.Millisecond

// side names the roamer by what it was when the connection was made.
func side(dialed bool) string {
	if dialed {
		return "listener"
	}
	return "dialer"
}

func roam(t *testing.T, dialed bool, mdns bool) *roaming {
	t.Helper()
	lab := netlab.New(t, 2)
	r := &roaming{segment: lab.Segment(1, lab.Hosts...)}
	lab.Disconnect() // there is no other way
	ids := []string{idOf(t, keys[0]), idOf(t, keys[1])}
	at := func(h *netlab.Host) string {
		return netip.AddrPortFrom(r.segment.Prefixes(h, 0)[0].Addr(), quic.DefaultPort).String()
	}
	nodes := make([]*node, 2)
	for _, i := range []int{1, 0} {
		if dialed {
			i = 1 - i
		}
		cfg := seeded(nodeConfig{QUIC: true, Port: quic.DefaultPort, Track: []string{ids[1-i]}, MDNS: mdns, Interfaces: []string{r.segment.Interface}, Debug: true}, keys[i])
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
	_, err := netlab.Call[echoed](r.caller.Process, "hold", holdArgs{callee.id, often})
	require.NoError(t, err)
	r.began = time.Now()
	r.goesOn(t)
	return r
}

// callee is the side that was dialed.
func (r *roaming) callee() *node {
	if r.caller == r.roamer {
		return r.other
	}
	return r.roamer
}

// goesOn waits until a round of each stream is over that was not over now, and
// returns how long that took.
func (r *roaming) goesOn(t *testing.T) time.Duration {
	t.Helper()
	return r.goesOnSince(t, time.Now())
}

// goesOnSince is goesOn for a time that has passed.
func (r *roaming) goesOnSince(t *testing.T, since time.Time) time.Duration {
	t.Helper()
	for ; ; time.Sleep(2 * time.Millisecond) {
		went, err := netlab.Call[wentOn](r.caller.Process, "went on", since)
		require.NoError(t, err)
		if went.All {
			return went.At.Sub(since)
		}
		require.Empty(t, r.caller.failedStreams(r.began), "the stream has ended")
		require.Less(t, time.Since(since), netlab.Patience)
	}
}

// moves waits until the caller has moved the connection, or seen that the peer
// follows by itself what comes from the new address. The stream may have gone
// on before.
func (r *roaming) moves(t *testing.T) {
	t.Helper()
	until(t, func() bool { return r.caller.logs("msg=moved") > 0 || r.caller.logs("msg=followed") > 0 })
}

// A node's address changes, at once or after a while without any, and streams
// go on, whichever side had dialed.
func TestRoamingAddress(t *testing.T) {
	t.Parallel()
	for _, dialed := range []bool{false, true} {
		for _, away := range []time.Duration{0, time.Second, 6 * time.Second} {
			t.Run(fmt.Sprintf("%s's, away for %v", side(dialed), away), func(t *testing.T) {
				t.Parallel()
				took := takes(t, fmt.Sprintf("address, %s, %v", side(dialed), away))
				r := roam(t, dialed, false)
				h := r.roamer.host
				r.segment.Remove(h, r.segment.Prefixes(h, 0)...)
				time.Sleep(away)
				since := time.Now()
				r.segment.Add(h, r.segment.Prefixes(h, 1)...)
				took(r.goesOnSince(t, since))
				r.moves(t)
			})
		}
	}
}

// A node moves again and again, and streams go on each time.
func TestRoamingTwentyTimes(t *testing.T) {
	t.Parallel()
	for _, dialed := range []bool{false, true} {
		t.Run(side(dialed), func(t *testing.T) {
			t.Parallel()
			worst := takes(t, "20 moves, "+side(dialed))
			r := roam(t, dialed, false)
			h := r.roamer.host
			var took sample
			for i := range 20 {
				now, next := 0, 1+i%9 // never what it was at first
				if i > 0 {
					now = 1 + (i-1)%9
				}
				r.segment.Remove(h, r.segment.Prefixes(h, now)...)
				since := time.Now()
				r.segment.Add(h, r.segment.Prefixes(h, next)...)
				took = append(took, r.goesOnSince(t, since))
			}
			t.Log("the stream went on after", took)
			worst(took.most())
			r.moves(t)
		})
	}
}

// routed are a roamer on two networks and its peer on a third one, with a
// router between them.
func routed(t *testing.T, dialed bool) (r *roaming, first, second *netlab.Segment, over func(*netlab.Segment)) {
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
	hosts, segments := []*netlab.Host{roamer, other}, []*netlab.Segment{first, third}
	caller, callee := 0, 1
	if dialed {
		caller, callee = 1, 0
	}
	nodes := make([]*node, 2)
	nodes[callee] = start(t, hosts[callee], seeded(nodeConfig{
		QUIC: true, Port: quic.DefaultPort, Track: []string{idOf(t, keys[caller])}, Debug: true,
	}, keys[callee]))
	at := netip.AddrPortFrom(segments[callee].Prefixes(hosts[callee], 0)[0].Addr(), quic.DefaultPort).String()
	nodes[caller] = start(t, hosts[caller], seeded(nodeConfig{QUIC: true, Manual: []string{at}, Debug: true}, keys[caller]))
	r = &roaming{router: router, roamer: nodes[0], other: nodes[1], caller: nodes[caller], began: time.Now()}
	r.caller.discovers(nodes[callee], "quic")
	_, err := netlab.Call[echoed](r.caller.Process, "hold", holdArgs{nodes[callee].id, often})
	require.NoError(t, err)
	r.goesOn(t)
	return r, first, second, over
}

// A node changes from cable to another network: the first one goes away, or
// stays there while the route leads over the second.
func TestRoamingInterface(t *testing.T) {
	t.Parallel()
	for name, stays := range map[string]bool{"the first goes": false, "the first stays": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			took := takes(t, "interface, "+name)
			r, first, second, over := routed(t, false)
			second.Plug(r.roamer.host)
			if !stays {
				first.Unplug(r.roamer.host)
			}
			since := time.Now()
			over(second)
			there := time.Now() // rounds that were over before may have been by the first
			took(there.Sub(since) + r.goesOnSince(t, there))
			r.moves(t)
		})
	}
}

// The network over which a connection runs falls silent, with nothing that
// tells: another address of the peer is taken.
func TestRoamingSilence(t *testing.T) {
	t.Parallel()
	record := takes(t, "silence")
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
	held, err := netlab.Call[echoed](r.caller.Process, "hold", holdArgs{r.other.id, often})
	require.NoError(t, err)
	r.goesOn(t)
	on := first
	if held.Path.Remote.String() == at(second) {
		on = second
	}
	on.Mute(b)
	took := r.goesOn(t)
	record(took)
	require.Less(t, took, vanish, "the connection has moved, instead of another one being made")
}

// vanish is how long a connection lives on which nothing is heard.
const vanish = 13 * time.Second
