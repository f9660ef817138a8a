package p2p

import (
	"slices"
	"strings"

	"github.com/sdp2p/p2p/identity"
)

// Peers returns the peers that are available now, in no particular order, in
// time proportional to their number.
func (n *P2P) Peers() []*Peer {
	n.mu.Lock()
	defer n.mu.Unlock()
	peers := make([]*Peer, 0, len(n.state.peers.known))
	for _, st := range n.state.peers.known {
		peers = append(peers, st.peer)
	}
	return peers
}

// Peer returns the available peer with that identity, if there is one.
func (n *P2P) Peer(id identity.RemoteIdentity) (*Peer, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if st := n.state.peers.known[id]; st != nil {
		return st.peer, true
	}
	return nil, false
}

// Track keeps a peer, such as a friend's device, in view even while it is
// unavailable: the peer is among [P2P.Tracked], with the reason why it cannot
// be reached, the table never evicts it, it is no stranger, and relays lead to
// it and let it call this node. Members of libraries and contacts are tracked
// by their hooks. Track returns the peer, or nil for this node itself and the
// zero identity. It has an effect until [P2P.Untrack].
func (n *P2P) Track(id identity.RemoteIdentity) *Peer { return n.track(nil, id) }

// Untrack undoes [P2P.Track]. A peer that a hook tracks, too, remains tracked.
func (n *P2P) Untrack(id identity.RemoteIdentity) { n.untrack(nil, id) }

// track tracks a peer for a hook, or for the app if by is nil.
func (n *P2P) track(by *registration, id identity.RemoteIdentity) (peer *Peer) {
	if id.IsZero() || id == n.remote {
		return nil
	}
	_ = n.change(by, func(st *state) error {
		peer = st.track(by, id)
		return nil
	})
	return peer
}

// untrack undoes track.
func (n *P2P) untrack(by *registration, id identity.RemoteIdentity) {
	_ = n.change(by, func(st *state) error {
		st.untrack(by, id)
		return nil
	})
}

// Tracked returns the peers that the app ([P2P.Track]) and hooks keep in view,
// available or not, ordered by identity.
func (n *P2P) Tracked() []*Peer {
	n.mu.Lock()
	defer n.mu.Unlock()
	peers := make([]*Peer, 0, len(n.state.peers.tracked))
	for _, t := range n.state.peers.tracked {
		peers = append(peers, t.peer)
	}
	slices.SortFunc(peers, func(a, b *Peer) int { return strings.Compare(a.String(), b.String()) })
	return peers
}
