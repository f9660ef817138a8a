package p2p

import (
	"slices"

	"github.com/sdp2p/p2p/identity"
)

// A suggestion is a candidate that a Guide knows.
type suggestion struct {
	Candidate
	by string
}

// ways asks the guides for ways to a peer. It does not hold the lock while
// their code runs.
func (n *P2P) ways(to identity.RemoteIdentity) (all []suggestion) {
	type guide struct {
		Guide
		name string
	}
	var guides []guide
	n.mu.Lock()
	for _, r := range n.state.hooks.running {
		if g, ok := r.hook.(Guide); ok {
			guides = append(guides, guide{g, r.name})
		}
	}
	n.mu.Unlock()
	for _, g := range guides {
		for _, c := range g.Ways(to) {
			all = append(all, suggestion{c, g.name})
		}
	}
	return all
}

// expect calls Expect of every Rendezvous.
func (n *P2P) expect() (at []Candidate, over func()) {
	var all []Rendezvous
	n.mu.Lock()
	for _, r := range n.state.hooks.running {
		if h, ok := r.hook.(Rendezvous); ok {
			all = append(all, h)
		}
	}
	n.mu.Unlock()
	var ends []func()
	for _, h := range all {
		some, end := h.Expect()
		at, ends = append(at, some...), append(ends, end)
	}
	return at, func() {
		for _, end := range ends {
			end()
		}
	}
}

// with adds suggestions to the candidates of a peer.
func with(found []Candidate, more []suggestion) []Candidate {
	for _, s := range more {
		i := slices.IndexFunc(found, s.sameWay)
		if i < 0 {
			i = len(found)
			found = append(found, s.Candidate)
			found[i].Sources = nil
		}
		found[i].Sources = append(found[i].Sources, s.by)
	}
	return found
}
