package p2p

import (
	"sort"

	"github.com/sdp2p/p2p/identity"
)

// A tracked peer is one that hooks want to be known whether it is available or not.
type tracked struct {
	peer *Peer
	by   map[*registration]struct{}
}

// Track keeps a peer in view that need not be available, such as another device of the user: it is among [P2P.Tracked], with
// the reason why it cannot be reached, and the table never evicts it. The hook's last Untrack, or its end, takes that back.
// It returns the peer, and nil for this node itself or once the hook has stopped.
func (s *Scope) Track(id identity.RemoteIdentity) *Peer {
	if id.IsZero() || id == s.node.remote {
		return nil
	}
	var peer *Peer
	_ = s.do(func(n *P2P) error {
		t := n.tracked[id]
		if t == nil {
			t = &tracked{peer: &Peer{node: n, id: id}, by: map[*registration]struct{}{}}
			if st := n.peers[id]; st != nil {
				t.peer = st.peer
			}
			n.tracked[id] = t
		}
		t.by[s.reg] = struct{}{}
		if st := n.peers[id]; st != nil {
			n.lineUp(st)
		}
		peer = t.peer
		return nil
	})
	return peer
}

// Untrack takes back [Scope.Track].
func (s *Scope) Untrack(id identity.RemoteIdentity) {
	_ = s.do(func(n *P2P) error {
		n.untrack(s.reg, id)
		return nil
	})
}

// untrack is called with n.mu held.
func (n *P2P) untrack(by *registration, id identity.RemoteIdentity) {
	t := n.tracked[id]
	if t == nil {
		return
	}
	delete(t.by, by)
	if len(t.by) > 0 {
		return
	}
	delete(n.tracked, id)
	if st := n.peers[id]; st != nil {
		n.lineUp(st)
	}
}

// Tracked returns the peers that hooks keep in view ([Scope.Track]), available or not, ordered by identity.
func (n *P2P) Tracked() []*Peer {
	n.mu.Lock()
	defer n.mu.Unlock()
	peers := make([]*Peer, 0, len(n.tracked))
	for _, t := range n.tracked {
		peers = append(peers, t.peer)
	}
	sort.Slice(peers, func(i, j int) bool { return peers[i].id.String() < peers[j].id.String() })
	return peers
}

// Tracked reports whether a hook keeps the peer in view.
func (p *Peer) Tracked() bool {
	p.node.mu.Lock()
	defer p.node.mu.Unlock()
	return p.node.tracked[p.id] != nil
}

// Reachable tells why a stream to the peer cannot even be tried: a *[DialError] that wraps [ErrRevoked], [ErrNoListener] or
// [ErrNoCandidate], or [ErrClosed]. It is nil if the peer is connected, or some way to it is known, which need not work.
func (p *Peer) Reachable() error {
	n := p.node
	n.mu.Lock()
	defer n.mu.Unlock()
	_, err := p.plan(len(p.candidates()) > 0)
	return err
}
