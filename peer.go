package p2p

import (
	"sync/atomic"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/labels"
)

// A Peer is a node that this one knows or knew. While an identity is available
// or tracked it has exactly one *Peer, so that peers can be compared by
// pointer. The methods may be called concurrently and at any time: they
// describe the peer as it is known now.
type Peer struct {
	node *P2P
	id   identity.RemoteIdentity
	past past // under P2P.mu

	labels atomic.Pointer[labels.Set] // of the handler that served the peer last
}

// past is what remains known of a peer while it is unavailable.
type past struct {
	seen   time.Time  // when the last connection ended, or a discovery last reported the peer
	failed *DialError // the last dial, unless the peer was connected since

	tried   *DialError // the last dial that failed, even if the peer was connected since
	triedAt time.Time
	traffic *traffic // nil: none
}

// Identity returns the peer's identity.
func (p *Peer) Identity() identity.RemoteIdentity { return p.id }

// String returns the text form of the peer's identity.
func (p *Peer) String() string { return p.id.String() }
