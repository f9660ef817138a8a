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

// Tracked returns the peers that hooks keep in view ([Scope.Track]), available
// or not, ordered by identity.
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
