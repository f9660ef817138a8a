package p2p

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sdp2p/p2p/identity"
)

// A Peer is a node that this one knows or knew. There is one *Peer for each identity while it is available, so that
// peers can be compared by pointer; its methods may be called concurrently, and at any time: they describe the peer of
// this identity as it is known now.
type Peer struct {
	node *P2P
	id   identity.RemoteIdentity
}

// Identity returns who the peer is.
func (p *Peer) Identity() identity.RemoteIdentity { return p.id }

// String returns the text form of the peer's identity.
func (p *Peer) String() string { return p.id.String() }

// state returns what the node knows of the peer, or nil. The caller holds node.mu.
func (p *Peer) state() *peerState { return p.node.state.peers.known[p.id] }

// Available reports whether the peer is in [P2P.Peers] now.
func (p *Peer) Available() bool {
	p.node.mu.Lock()
	defer p.node.mu.Unlock()
	return p.state() != nil
}

// Metadata returns a copy of the peer's metadata: what it sent over a connection if there is one, else what
// discoveries reported, which anybody can forge; [Peer.Verified] tells which.
func (p *Peer) Metadata() map[string]string {
	p.node.mu.Lock()
	defer p.node.mu.Unlock()
	if st := p.state(); st != nil {
		return maps.Clone(st.metadata)
	}
	return nil
}

// Name returns the name in the peer's metadata, or "". See [Peer.Metadata] for how far to trust it.
func (p *Peer) Name() string {
	p.node.mu.Lock()
	defer p.node.mu.Unlock()
	if st := p.state(); st != nil {
		return st.metadata[keyName]
	}
	return ""
}

// Verified reports whether [Peer.Metadata] came from the peer itself over a connection that authenticated it.
func (p *Peer) Verified() bool {
	p.node.mu.Lock()
	defer p.node.mu.Unlock()
	st := p.state()
	return st != nil && st.verified
}

// WaitMetadata waits until the peer has sent its metadata over a connection, and returns it. It does not connect. It
// fails with ctx's error, or with [ErrUnavailable] when the peer is or becomes unavailable.
func (p *Peer) WaitMetadata(ctx context.Context) (map[string]string, error) {
	for {
		p.node.mu.Lock()
		st := p.state()
		if st == nil {
			p.node.mu.Unlock()
			return nil, ErrUnavailable
		}
		if st.verified {
			defer p.node.mu.Unlock()
			return maps.Clone(st.metadata), nil
		}
		if st.changed == nil {
			st.changed = make(chan struct{})
		}
		changed := st.changed
		p.node.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("p2p: wait for the metadata of %v: %w", p, context.Cause(ctx))
		}
	}
}

// Candidates returns the ways that the peer might be reached, with the hooks that reported each.
func (p *Peer) Candidates() []Candidate {
	p.node.mu.Lock()
	defer p.node.mu.Unlock()
	return p.state().candidates()
}

// DiscoveredBy returns the names of the hooks that discover the peer.
func (p *Peer) DiscoveredBy() (hooks []string) {
	p.node.mu.Lock()
	defer p.node.mu.Unlock()
	if st := p.state(); st != nil {
		for _, d := range st.discoveries {
			hooks = append(hooks, d.by.name)
		}
	}
	return hooks
}

// Connections returns the connections with the peer, those in use for new streams first: direct before relayed.
func (p *Peer) Connections() (all []Connection) {
	p.node.mu.Lock()
	var open []*connection
	if st := p.state(); st != nil {
		open = slices.Clone(st.connections)
	}
	p.node.mu.Unlock()
	var relayed []Connection
	for _, c := range open { // a listener's code: not under the lock
		info := Connection{Listener: c.by.name, Path: c.conn.Path(), RTT: c.conn.RTT()}
		if c, ok := c.conn.(interface{ Opened() time.Time }); ok {
			info.Opened = c.Opened()
		}
		if info.Path.Kind == Relay {
			relayed = append(relayed, info)
		} else {
			all = append(all, info)
		}
	}
	return append(all, relayed...)
}

// Connected reports whether a connection with the peer is up.
func (p *Peer) Connected() bool {
	p.node.mu.Lock()
	defer p.node.mu.Unlock()
	st := p.state()
	return st != nil && len(st.connections) > 0
}

// Path returns the way that new streams take, and false if there is no connection.
func (p *Peer) Path() (Path, bool) {
	if all := p.Connections(); len(all) > 0 {
		return all[0].Path, true
	}
	return Path{}, false
}

// RTT returns the smoothed round-trip time to the peer, and false while it is not known.
func (p *Peer) RTT() (time.Duration, bool) {
	if all := p.Connections(); len(all) > 0 {
		return all[0].RTT, all[0].RTT > 0
	}
	return 0, false
}

// Tracked reports whether a hook keeps the peer in view.
func (p *Peer) Tracked() bool {
	p.node.mu.Lock()
	defer p.node.mu.Unlock()
	return p.node.state.peers.tracked[p.id] != nil
}

// Reachable tells why a stream to the peer cannot even be tried: a *[DialError] that wraps [ErrRevoked], [ErrNoListener] or
// [ErrNoCandidate], or [ErrClosed]. It is nil if the peer is connected, or some way to it is known, which need not work.
func (p *Peer) Reachable() error {
	n := p.node
	n.mu.Lock()
	defer n.mu.Unlock()
	_, err := n.state.plan(p.id, len(p.state().candidates()) > 0)
	return err
}
