package quic

import (
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
	m := c.mover
	m.mu.Lock()
	begin := !m.following
	m.following, m.again = true, true
	m.mu.Unlock()
	if begin {
		e.start(func() { e.keepFollowing(c) }) // or the endpoint is closing
	}
}

func (e *endpoint) keepFollowing(c *conn) {
	m := c.mover
	for rest := followRest; ; rest = min(2*rest, followMost) {
		m.mu.Lock()
		m.following = m.again && c.ctx.Err() == nil && e.ctx.Err() == nil
		m.again = false
		on := m.following
		m.mu.Unlock()
		if !on {
			return
		}
		e.follow(c)
		select {
		case <-time.After(rest):
		case <-c.ctx.Done():
		case <-e.ctx.Done():
		}
	}
}
