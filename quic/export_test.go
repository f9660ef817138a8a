package quic

import (
	"context"
	"net/netip"
	"time"

	"github.com/sdp2p/p2p/identity"
)

// WithSlack returns a configuration of a listener that waits longer for
// answers: a machine that is busy does not look like a peer that is silent
// then.
func WithSlack(cfg Config, slack time.Duration) Config {
	cfg.slack = slack
	return cfg
}

// Supersede does what is done with a connection that cannot move after this
// node has got another address. Former says that it has its former one again.
func (l *Listener) Supersede(id identity.RemoteIdentity, former bool) {
	c := l.running().best(id)
	var was netip.Addr
	if former {
		was = sourceTo(c.remote())
	}
	l.running().supersede(c, was)
}

// Replace does what is done with a connection with a version 1 peer on which
// nothing is heard.
func (l *Listener) Replace(id identity.RemoteIdentity) { l.running().replace(l.running().best(id)) }

// Silent waits until it is known whether the connection with a peer is silent.
func (l *Listener) Silent(ctx context.Context, id identity.RemoteIdentity) bool {
	return l.running().best(id).silent(ctx)
}

// Stranded tells whether a connection that a peer has dialed at an address of
// this node cannot live where these are its addresses.
func (l *Listener) Stranded(id identity.RemoteIdentity, at netip.Addr, own ...netip.AddrPort) bool {
	c := l.cameFrom(id, at)
	_, gone := c.stranded(own)
	return gone
}

// LookBack does what is done with it after the network has changed.
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
