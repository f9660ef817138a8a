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

// attend makes a subscription notice sleep sooner while there are connections.
func (e *endpoint) attend(network *netmon.Subscription) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.network = network
	network.Attend(len(e.conns) > 0)
}

// all returns all connections.
func (e *endpoint) all() []*conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Collect(maps.Keys(e.conns))
}

// networkChanged adapts all connections to a change of the network. This node
// moves those that it dialed; it tells the peers of the others, which move
// them.
func (e *endpoint) networkChanged(change netmon.Changed) {
	woke := change.Kind&netmon.Woke != 0
	e.log.Debug("the network has changed", "woke", woke, "slept", change.Slept)
	e.scope.NetworkModified(p2p.NetworkModified{Woke: woke, Slept: change.Slept})
	var own []netip.AddrPort
	if !e.listener.cfg.DisableMigration {
		own = e.ownAddrs()
	}
	if e.veil != nil {
		e.listener.hides().endStranded(e)
	}
	for _, c := range e.all() {
		switch {
		case c.veiled: // see endStranded
		case !c.Candid():
		case c.Relayed(): // package relay also knows of the change
		case c.moves():
			e.followSoon(c)
		case own != nil && !c.canAnswer():
			c.lookBack(own)
		case own != nil:
			c.tellMove(own)
		}
	}
}

// ownAddrs returns the addresses at which this node can be reached, as far as
// it knows.
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
	followMost = 5 * time.Second        // while the network keeps changing
)

// followSoon makes a connection follow the network, once more if it is doing so
// already.
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

// wanted requests a call of follow, and reports whether the caller has to start
// keepFollowing for that.
func (m *mover) wanted() (begin bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	begin = !m.following
	m.following, m.again = true, true
	return begin
}

// keepFollowing calls follow until no further call is requested, with longer
// and longer pauses between the calls.
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
