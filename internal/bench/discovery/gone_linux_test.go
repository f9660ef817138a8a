package discovery

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/netlab"
)

// crashing starts a node, and others on another host, and waits until the first
// node knows them.
func crashing(t *testing.T, n int) (watcher *program, others []*program) {
	lab := netlab.New(t, 2)
	watcher = start(t, lab.Hosts[0], ourNode)
	for range n {
		others = append(others, start(t, lab.Hosts[1], ourNode))
	}
	for _, p := range others {
		watcher.Await(time.Time{}, "available", p.label)
	}
	return watcher, others
}

// measureDialed kills nodes and dials them. It measures how long the dial
// takes, and when the nodes are gone after that.
func measureDialed(t *testing.T, r *results) {
	watcher, others := crashing(t, count(5))
	time.Sleep(3 * time.Second) // until the last announcement
	for _, p := range others {
		p.Kill()
	}
	for _, p := range others {
		_, err := netlab.Call[none](watcher.Process, "dial", p.label)
		require.NoError(t, err)
		dialing := watcher.Await(time.Time{}, "dialing", p.label).At
		failed := watcher.Await(time.Time{}, "failed", p.label).At
		r.took("dial", failed.Sub(dialing))
		r.took("dialed", watcher.Await(failed, "unavailable", p.label).At.Sub(failed))
	}
}

// measureExpired kills nodes at different ages, and waits until they expire.
func measureExpired(t *testing.T, r *results) {
	watcher, others := crashing(t, count(5))
	for _, p := range others {
		time.Sleep(5 * time.Second)
		p.began = p.Kill()
	}
	for _, p := range others {
		gone := watcher.tells(p.began, 130*time.Second, "unavailable", p.label)
		r.took("expired", gone.Sub(p.began))
	}
}
