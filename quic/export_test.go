package quic

import (
	"context"
	"net/netip"
	"time"

	"github.com/sdp2p/p2p/identity"
)

// WithSlack returns a configuration of a listener that waits longer for
// answers, so that a busy machine does not look like a silent peer.
func WithSlack(cfg Config, slack time.Duration) Config {
	cfg.slack = slack
	return cfg
}

// WithFaith returns a configuration of a listener that takes a peer for gone
// only after a longer silence, so that something else ends the connection.
func WithFaith(cfg Config, faith time.Duration) Config {
	cfg.faith = faith
	return cfg
}

// Supersede handles the connection as one that cannot move after this node's
// address has changed. If former is true, the node has its former address
// again.
func (l *Listener) Supersede(id identity.RemoteIdentity, former bool) {
	c := l.running().best(id)
	var was netip.Addr
	if former {
		was = sourceTo(c.remote())
	}
	l.running().supersede(c, was)
}

// Hush has the connection with a peer count as silent until something arrives.
func (l *Listener) Hush(id identity.RemoteIdentity) {
	if c := l.running().best(id); c != nil {
		c.pulse.quietAt.Store(c.quic.ConnectionStats().PacketsReceived)
	}
}

// Replace handles the connection with a version 1 peer as one on which nothing
// is heard.
func (l *Listener) Replace(id identity.RemoteIdentity) { l.running().replace(l.running().best(id)) }

// Silent waits until it is known whether the connection with a peer is silent,
// and reports it.
func (l *Listener) Silent(ctx context.Context, id identity.RemoteIdentity) bool {
	return l.running().best(id).silent(ctx)
}

// Stranded reports whether a connection that a peer has dialed at the address
// at cannot live on if own are this node's addresses.
func (l *Listener) Stranded(id identity.RemoteIdentity, at netip.Addr, own ...netip.AddrPort) bool {
	c := l.cameFrom(id, at)
	_, gone := c.stranded(own)
	return gone
}

// LookBack handles such a connection as after a change of the network.
func (l *Listener) LookBack(id identity.RemoteIdentity, at netip.Addr, own ...netip.AddrPort) {
	l.cameFrom(id, at).lookBack(own)
}

func (l *Listener) cameFrom(id identity.RemoteIdentity, at netip.Addr) *conn {
	c := l.running().best(id)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.source = at
	return c
}
