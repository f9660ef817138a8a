package p2p

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/sdp2p/p2p/identity"
)

// PeerInfo describes a peer at one moment.
type PeerInfo struct {
	Identity  identity.RemoteIdentity
	Available bool // it is in [P2P.Peers]

	// Name is the name in Metadata. If Verified is true, Metadata is what the
	// peer sent over a connection; otherwise it is what discoveries reported,
	// which anybody can forge.
	Name     string
	Metadata map[string]string
	Verified bool

	// Candidates are the ways in which the peer might be reached, and
	// DiscoveredBy the hooks that discover it, in the order of their
	// registration.
	Candidates   []Candidate
	DiscoveredBy []string

	// Connections are the connections with the peer, in the order in which they
	// are preferred for new streams: direct before relayed. Path is that of the
	// first; zero if there is none.
	Connections []Connection
	Path        Path

	Tracked bool // the app or a hook keeps it in view: see [P2P.Track]
	Revoked bool // see [P2P.Revoke]

	// LastSeen is when the peer was last connected, or reported by a
	// discovery. It is the present time while the peer is connected, and
	// zero if this node has never seen it.
	LastSeen time.Time

	// Unreachable says why no stream to the peer can be opened, or else how the
	// last dial failed, until the peer is connected again. It is [ErrClosed] or
	// a *[DialError], which wraps [ErrRevoked], [ErrNoListener] or
	// [ErrNoCandidate] if there is nothing to try. If it is nil, the peer is
	// connected or at least one candidate is known; only a dial tells whether
	// it works.
	Unreachable error
}

// Info describes the peer at this moment. Its parts are consistent with each
// other.
func (p *Peer) Info() PeerInfo {
	n := p.node
	more := n.ways(p.id)
	n.mu.Lock()
	info, open := n.state.describe(p, more)
	n.mu.Unlock()
	if len(open) > 0 {
		info.Connections = make([]Connection, 0, len(open))
	}
	var relayed []Connection
	for _, c := range open { // a listener's code: not under the lock
		if d := c.describe(); d.Path.Kind == Relay {
			relayed = append(relayed, d)
		} else {
			info.Connections = append(info.Connections, d)
		}
	}
	info.Connections = append(info.Connections, relayed...)
	if len(open) > 0 {
		info.LastSeen = time.Now()
		info.Path = info.Connections[0].Path
	}
	return info
}

// describe returns the part of p's description that the state and the guides
// provide, and its connections.
func (s *state) describe(p *Peer, more []suggestion) (PeerInfo, []*connection) {
	info := PeerInfo{Identity: p.id, Tracked: s.peers.tracked[p.id] != nil}
	_, info.Revoked = s.peers.revoked[p.id]
	if now, ok := s.peers.peer(p.id); ok {
		p = now // an identity that came back is another *Peer
	}
	info.LastSeen = p.past.seen
	st := s.peers.known[p.id]
	info.Candidates = with(st.candidates(), more)
	if _, _, err := s.plan(p.id, len(info.Candidates) > 0); err != nil {
		info.Unreachable = err
	} else if p.past.failed != nil {
		info.Unreachable = p.past.failed
	}
	if st == nil {
		return info, nil
	}
	info.Available = true
	info.Name, info.Metadata, info.Verified = st.metadata[keyName], maps.Clone(st.metadata), st.verified
	for _, d := range st.discoveries {
		info.DiscoveredBy = append(info.DiscoveredBy, d.by.name)
	}
	return info, append([]*connection(nil), st.connections...)
}

// describe asks the listener about a connection.
func (c *connection) describe() Connection {
	d := Connection{Listener: c.by.name, Path: c.conn.Path(), RTT: c.conn.RTT()}
	if conn, ok := c.conn.(interface{ Opened() time.Time }); ok {
		d.Opened = conn.Opened()
	}
	return d
}

// state returns the record of the peer, or nil. The caller holds node.mu.
func (p *Peer) state() *peerState { return p.node.state.peers.known[p.id] }

// Available reports whether the peer is in [P2P.Peers] now.
func (p *Peer) Available() bool {
	p.node.mu.Lock()
	defer p.node.mu.Unlock()
	return p.state() != nil
}

// Connected reports whether a connection with the peer is up.
func (p *Peer) Connected() bool {
	p.node.mu.Lock()
	defer p.node.mu.Unlock()
	st := p.state()
	return st != nil && len(st.connections) > 0
}

// Path returns the path that new streams to the peer take, zero if there is no
// connection. It may change at any time, which [PeerPathChanged] reports.
func (p *Peer) Path() Path {
	return p.Info().Path
}

// Name returns the name in the peer's metadata, or "". It is anybody's claim
// unless [Peer.Verified] is true.
func (p *Peer) Name() string {
	p.node.mu.Lock()
	defer p.node.mu.Unlock()
	if st := p.state(); st != nil {
		return st.metadata[keyName]
	}
	return ""
}

// Entry returns one entry of the peer's metadata, or "", and the result of
// [Peer.Verified]: if that is false, the entry is anybody's claim.
func (p *Peer) Entry(key string) (value string, verified bool) {
	p.node.mu.Lock()
	defer p.node.mu.Unlock()
	if st := p.state(); st != nil {
		return st.metadata[key], st.verified
	}
	return "", false
}

// Verified reports whether the peer's metadata came from the peer itself over a
// connection that authenticated it.
func (p *Peer) Verified() bool {
	p.node.mu.Lock()
	defer p.node.mu.Unlock()
	st := p.state()
	return st != nil && st.verified
}

// WaitMetadata waits until the peer has sent its metadata over a connection,
// and returns it. It does not connect. It fails with ctx's error, or with
// [ErrUnavailable] if the peer is or becomes unavailable.
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
