package quic

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/netmon"
)

// attend has a subscription notice sleep sooner while there are connections.
func (e *endpoint) attend(network *netmon.Subscription) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.network = network
	network.Attend(len(e.conns) > 0)
}

// all returns the connections on record.
func (e *endpoint) all() []*conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Collect(maps.Keys(e.conns))
}

// networkChanged looks after all connections. Those that this node dialed are moved
// by it, the others by their peers, which have to hear of it.
func (e *endpoint) networkChanged(change netmon.Changed) {
	woke := change.Kind&netmon.Woke != 0
	e.log.Debug("the network has changed", "woke", woke, "slept", change.Slept)
	e.scope.NetworkModified(p2p.NetworkModified{Woke: woke, Slept: change.Slept})
	var own []netip.AddrPort
	if !e.listener.cfg.DisableMigration {
		own = e.ownAddrs()
	}
	for _, c := range e.all() {
		switch {
		case c.Relayed(): // package relay has heard of it, too
		case c.moves():
			e.followSoon(c)
		case own != nil && !c.canAnswer():
			c.lookBack(own)
		case own != nil:
			c.tellMove(own)
		}
	}
}

// ownAddrs returns where this node can be reached, as far as it can know.
func (e *endpoint) ownAddrs() []netip.AddrPort {
	state, err := e.listener.cfg.monitor.Snapshot()
	if err != nil {
		return nil
	}
	var all []netip.AddrPort
	for _, i := range state.Interfaces {
		for _, p := range i.Prefixes {
			ip := p.Addr().Unmap()
			if ip.IsGlobalUnicast() && e.enabled(ip) && len(all) < maxMoved {
				all = append(all, netip.AddrPortFrom(ip, e.port))
			}
		}
	}
	return all
}

const (
	followRest = 250 * time.Millisecond // between two moves of a connection
	followMost = 5 * time.Second        // where the network keeps changing
)

// followSoon has a connection follow the network, once more if it does so already.
func (e *endpoint) followSoon(c *conn) {
	if !c.mover.wanted() {
		return
	}
	e.start(func() { // or the endpoint is closing
		ctx, cancel := context.WithCancel(c.ctx)
		defer cancel()
		defer context.AfterFunc(e.ctx, cancel)()
		c.mover.keepFollowing(ctx, func() { e.follow(c) })
	})
}

// wanted has follow be called, and reports whether somebody has to call keepFollowing
// for that.
func (m *mover) wanted() (begin bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	begin = !m.following
	m.following, m.again = true, true
	return begin
}

// keepFollowing calls follow for as long as that is wanted, with longer and longer
// rests between the calls.
func (m *mover) keepFollowing(ctx context.Context, follow func()) {
	for rest := followRest; ; rest = min(2*rest, followMost) {
		m.mu.Lock()
		m.following = m.again && ctx.Err() == nil
		m.again = false
		on := m.following
		m.mu.Unlock()
		if !on {
			return
		}
		follow()
		select {
		case <-time.After(rest):
		case <-ctx.Done():
		}
	}
}
