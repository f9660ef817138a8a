package p2p

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/sdp2p/p2p/identity"
)

// MaxCandidates is how many candidates of one peer are kept for each hook that reports some.
const MaxCandidates = 16

// ErrUnavailable is returned where something is asked of a peer that nobody discovers and that is not connected.
var ErrUnavailable = errors.New("p2p: the peer is not available")

// A CandidateKind says how a [Candidate] leads to a peer.
type CandidateKind uint8

const (
	Direct CandidateKind = iota + 1 // an address that a discovery found
	Manual                          // an address that the user gave
	Relay                           // through a relay
)

// String returns the kind's name: "direct", "manual" or "relay".
func (k CandidateKind) String() string {
	switch k {
	case Direct:
		return "direct"
	case Manual:
		return "manual"
	case Relay:
		return "relay"
	}
	return fmt.Sprintf("CandidateKind(%d)", uint8(k))
}

// A Candidate is one way that a peer might be reached.
type Candidate struct {
	Kind    CandidateKind
	Addr    netip.AddrPort          // for Direct and Manual
	Relay   identity.RemoteIdentity // for Relay
	Version int                     // of the wire protocol that the peer is said to speak; 0 if that is not known
	Sources []string                // the hooks that reported it, in the order of their registration; set by the node
}

// sameWay tells whether c and d lead to the peer in the same way, whatever else was reported.
func (c Candidate) sameWay(d Candidate) bool {
	return c.Kind == d.Kind && c.Addr == d.Addr && c.Relay == d.Relay
}

// same tells whether a hook that reported c and now reports d has told nothing new.
func (c Candidate) same(d Candidate) bool { return c.sameWay(d) && c.Version == d.Version }

// String returns a form like "direct 192.168.1.7:7373".
func (c Candidate) String() string {
	if c.Kind == Relay {
		return "relay " + c.Relay.String()
	}
	return c.Kind.String() + " " + c.Addr.String()
}

// A Path is the way that a connection runs. The zero Path means that there is none.
type Path struct {
	Remote  netip.AddrPort          // the peer's address, or the relay's; not valid where the transport has no addresses
	Kind    CandidateKind           // of the candidate that led to the peer; Direct where the peer dialed
	Dialed  bool                    // this node dialed
	Relayed bool                    // through a relay
	Relay   identity.RemoteIdentity // which one
}

// A Connection describes one connection with a peer.
type Connection struct {
	Listener string        // the listener that holds it
	Path     Path          // the way that it runs
	RTT      time.Duration // the smoothed round-trip time; 0 while it is not known
}

// A Peer is a node that this one knows or knew. There is one *Peer for each identity while it is available, so that
// peers can be compared by pointer; its methods may be called concurrently, and at any time: they describe the peer of
// this identity as it is known now.
type Peer struct {
	node *P2P
	id   identity.RemoteIdentity
}

// peerState is what a node knows of an available peer. All of it is under P2P.mu.
type peerState struct {
	peer        *Peer
	discoveries []*discovery
	connections []*connection
	statements  []*statement

	metadata map[string]string // what Peer.Metadata shows: never modified, only replaced
	verified bool              // metadata is the peer's own, from a connection
	stamp    uint64            // of the last change of metadata or verified
	ways     uint64            // stamp of the last change of discoveries
	number   uint64            // stamp of when it became available
	changed  chan struct{}     // if not nil, closed when verified becomes true or the peer unavailable

	met   bool       // it has been connected
	queue *list.List // the eviction queue that the peer is in; nil if it is not to be evicted
	place *list.Element
}

// A discovery is what one hook reported of a peer.
type discovery struct {
	by         *registration
	metadata   map[string]string
	candidates []Candidate
	stamp      uint64 // of the last change of candidates
}

// A connection is one that a listener reported.
type connection struct {
	by   *registration
	conn RawConn
}

// A statement is the metadata that the peer itself sent over its connections with a listener.
type statement struct {
	by       *registration
	metadata map[string]string
}

// Identity returns who the peer is.
func (p *Peer) Identity() identity.RemoteIdentity { return p.id }

// String returns the text form of the peer's identity.
func (p *Peer) String() string { return p.id.String() }

// state returns what the node knows of the peer, or nil. The caller holds node.mu.
func (p *Peer) state() *peerState { return p.node.peers[p.id] }

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
	return p.candidates()
}

func (p *Peer) candidates() (merged []Candidate) {
	st := p.state()
	if st == nil {
		return nil
	}
	for _, d := range st.discoveries {
		for _, c := range d.candidates {
			i := slices.IndexFunc(merged, c.sameWay)
			if i < 0 {
				i = len(merged)
				merged = append(merged, c)
				merged[i].Sources = nil
			}
			merged[i].Version = max(merged[i].Version, c.Version)
			if last := len(merged[i].Sources) - 1; last < 0 || merged[i].Sources[last] != d.by.name {
				merged[i].Sources = append(merged[i].Sources, d.by.name)
			}
		}
	}
	return merged
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
		if info.Path.Relayed {
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

// Peers returns the peers that are available now, in no order. It costs one step for each.
func (n *P2P) Peers() []*Peer {
	n.mu.Lock()
	defer n.mu.Unlock()
	peers := make([]*Peer, 0, len(n.peers))
	for _, st := range n.peers {
		peers = append(peers, st.peer)
	}
	return peers
}

// Peer returns the available peer of that identity, if there is one.
func (n *P2P) Peer(id identity.RemoteIdentity) (*Peer, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if st := n.peers[id]; st != nil {
		return st.peer, true
	}
	return nil, false
}
