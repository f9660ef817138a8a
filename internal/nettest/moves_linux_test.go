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

// A roaming has a roamer and its peer, with a stream on which a byte is echoed
// every 10 ms. The roamer either dialed or was dialed.
type roaming struct {
	segment       *netlab.Segment // on which both are, or
	router        *netlab.Host    // between the networks of both
	roamer, other *node
	caller        *node
	began         time.Time
}

// keys are the seeds of a roamer's and its peer's keys.
var keys = [2]byte{'r', 'o'}

// often is less than the time of a move.
const often = 10 * time.Millisecond

// side names the roamer by its part when the connection was made.
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
	lab.Disconnect() // there must be no other path
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

// goesOn waits until each stream has finished a round that was not over before
// the call, and returns how long that took.
func (r *roaming) goesOn(t *testing.T) time.Duration {
	t.Helper()
	return r.goesOnSince(t, time.Now())
}

// goesOnSince is goesOn for a time in the past.
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

// moves waits until the caller has moved the connection, or has seen that its
// peer follows packets from the new address by itself. The stream may have gone
// on before.
func (r *roaming) moves(t *testing.T) {
	t.Helper()
	until(t, func() bool { return r.caller.logs("msg=moved") > 0 || r.caller.logs("msg=followed") > 0 })
}

// A node's address changes, at once or after a while without any address, and
// streams go on, whichever side had dialed.
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

// A node moves again and again, and its streams go on each time.
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
				now, next := 0, 1+i%9 // never the first address again
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

// routed returns a roamer on two networks and its peer on a third one, with a
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

// A node changes from a cable to another network: the first network goes away,
// or stays there while the route leads over the second one.
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
			there := time.Now() // rounds that were over before may have used the first network
			took(there.Sub(since) + r.goesOnSince(t, there))
			r.moves(t)
		})
	}
}

// The network of a connection falls silent, without any event that tells:
// another address of the peer is used.
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
	require.Less(t, took, vanish, "the connection must have moved, rather than been replaced")
}

// vanish is how long a silent connection lives.
const vanish = 13 * time.Second
