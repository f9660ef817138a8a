package relay

import (
	"errors"
	"net/netip"

	"github.com/sdp2p/p2p/internal/portmap"
)

// ErrNotMapped is why there is no mapped port where none was asked for.
var ErrNotMapped = errors.New("relay: ports are not mapped: see Config.MapPorts")

// Mapped returns the address outside that the gateway forwards to the listener, as
// the gateway says. If there is none, it is not valid, and err says why.
func (c *Client) Mapped() (addr netip.AddrPort, err error) {
	c.mu.Lock()
	m := c.mapper
	c.mu.Unlock()
	if m == nil {
		return netip.AddrPort{}, ErrNotMapped
	}
	return m.Addr()
}

// mapPort begins to have the listener's port mapped, if that is wanted, until the run
// ends.
func (c *Client) mapPort() {
	if !c.cfg.MapPorts || c.cfg.Only {
		return
	}
	m := portmap.New(portmap.Config{Target: c.portToMap, Changed: c.look, Logger: c.log})
	c.mu.Lock()
	c.mapper = m
	c.mu.Unlock()
	c.start(func() { m.Run(c.ctx) })
}

func (c *Client) portToMap() (gateway netip.Addr, port uint16) {
	port, _ = c.cfg.Listener.Port() // 0 if it does not run
	if c.cfg.gateway != nil {
		return c.cfg.gateway(), port
	}
	return c.seam.Gateway(), port
}

// renewPort has the mapping be made at another gateway, or for another port, if it
// is one.
func (c *Client) renewPort() {
	c.mu.Lock()
	m := c.mapper
	c.mu.Unlock()
	if m != nil {
		m.Renew()
	}
}
