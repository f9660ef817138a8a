package nettest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/netlab"
	"github.com/sdp2p/p2p/internal/soak"
)

// Both ends of a connection change their addresses at the same time, and learn
// the other's new ones only from discovery.
func TestRoamingBoth(t *testing.T) {
	t.Parallel()
	took := takes(t, "both at once")
	r := roam(t, false, true)
	for _, n := range []*node{r.roamer, r.other} {
		r.segment.Remove(n.host, r.segment.Prefixes(n.host, 0)...)
	}
	since := time.Now()
	for _, n := range []*node{r.roamer, r.other} {
		r.segment.Add(n.host, r.segment.Prefixes(n.host, 1)...)
	}
	took(r.goesOnSince(t, since))
}

// The gateway of the network that a node uses falls silent, while its interface
// stays up with its addresses. Then the route leads over another network.
func TestRoamingGateway(t *testing.T) {
	t.Parallel()
	for _, dialed := range []bool{false, true} {
		t.Run(side(dialed), func(t *testing.T) {
			t.Parallel()
			took := takes(t, "silent gateway, "+side(dialed))
			r, first, second, over := routed(t, dialed)
			second.Plug(r.roamer.host)
			first.Mute(r.router)
			since := time.Now()
			over(second)
			took(r.goesOnSince(t, since))
			r.moves(t)
		})
	}
}

// A node has no address for slightly less, or slightly more, than the time for
// which a silent connection lives: streams go on, or end with an error that
// says why, and the peers find each other again.
func TestRoamingAway(t *testing.T) {
	t.Parallel()
	for _, dialed := range []bool{false, true} {
		t.Run(fmt.Sprint("12 s, ", side(dialed)), func(t *testing.T) {
			t.Parallel()
			took := takes(t, fmt.Sprintf("address, %s, 12s", side(dialed)))
			r := roam(t, dialed, false)
			h := r.roamer.host
			gone := time.Now()
			r.segment.Remove(h, r.segment.Prefixes(h, 0)...)
			time.Sleep(12 * time.Second)
			since := time.Now()
			r.segment.Add(h, r.segment.Prefixes(h, 1)...)
			if was := time.Since(gone); was > vanish-500*time.Millisecond {
				t.Skipf("this machine is too slow: the node was away for %v", was)
			}
			took(r.goesOnSince(t, since))
		})
		t.Run(fmt.Sprint("14 s, ", side(dialed)), func(t *testing.T) {
			t.Parallel()
			took := takes(t, fmt.Sprintf("address, %s, 14s", side(dialed)))
			r := roam(t, dialed, true)
			h := r.roamer.host
			r.segment.Remove(h, r.segment.Prefixes(h, 0)...)
			time.Sleep(14 * time.Second)
			since := time.Now()
			r.segment.Add(h, r.segment.Prefixes(h, 1)...)
			for n, event := range map[*node]string{r.caller: "hold failed", r.callee(): "serving failed"} {
				e := n.Await(r.began, event)
				require.Equal(t, "true", e.About[1], "%s: the error does not say that the connection was lost", e.About[2])
			}
			took(r.roamer.reaches(r.other.id, since))
		})
	}
}

// A process is stopped, as during sleep, and continues: with its streams, if
// its peer has not given up meanwhile. If the peer has, the process soon
// notices, and reconnects.
func TestRoamingStopped(t *testing.T) {
	t.Parallel()
	for _, dialed := range []bool{false, true} {
		for _, slept := range []time.Duration{3, 30, 90}[:soak.N(1, 3)] {
			slept *= time.Second
			t.Run(fmt.Sprintf("%s, %v", side(dialed), slept), func(t *testing.T) {
				t.Parallel()
				took := takes(t, fmt.Sprintf("stopped, %s, %v", side(dialed), slept))
				r := roam(t, dialed, true)
				r.roamer.discovers(r.other, "mdns")
				r.roamer.Suspend()
				time.Sleep(slept)
				since := time.Now()
				r.roamer.Resume()
				if slept < vanish {
					took(r.goesOnSince(t, since))
					return
				}
				usable := r.roamer.reaches(r.other.id, since)
				event := map[bool]string{false: "hold failed", true: "serving failed"}[dialed]
				e := r.roamer.Await(r.began, event)
				require.Equal(t, "true", e.About[1], "%s: the error does not say that the connection was lost", e.About[2])
				t.Logf("usable after %v, and the streams known to be dead after %v", usable, e.At.Sub(since))
				took(max(usable, e.At.Sub(since)))
			})
		}
	}
}

// Many megabytes are in transit in both directions while a node moves: no byte
// is lost, and none arrives twice.
func TestRoamingBulk(t *testing.T) {
	t.Parallel()
	for _, dialed := range []bool{false, true}[:soak.N(1, 2)] { // a listener takes seconds
		t.Run(side(dialed), func(t *testing.T) {
			t.Parallel()
			worst := takes(t, "bulk, "+side(dialed))
			r := roam(t, dialed, dialed) // a listener needs mDNS: its message is stuck
			h := r.roamer.host
			done := make(chan error, 1)
			go func() {
				_, err := netlab.Call[time.Duration](r.caller.Process, "pump", pumpArgs{r.callee().id, 128 << 20})
				done <- err
			}()
			var took sample
			for i := range 4 {
				time.Sleep(200 * time.Millisecond)
				r.segment.Remove(h, r.segment.Prefixes(h, i)...)
				time.Sleep(200 * time.Millisecond)
				since := time.Now()
				r.segment.Add(h, r.segment.Prefixes(h, i+1)...)
				took = append(took, r.goesOnSince(t, since))
			}
			t.Log("the stream went on after", took)
			require.NoError(t, <-done)
			require.Empty(t, r.caller.failedStreams(r.began))
			worst(took.most())
		})
	}
}
