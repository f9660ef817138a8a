package relay

import (
	"errors"
	"net/netip"

	"github.com/sdp2p/p2p/internal/portmap"
)

// ErrNotMapped says that no mapped port was requested.
var ErrNotMapped = errors.New("relay: ports are not mapped: see Config.MapPorts")

// Mapped returns the external address that the gateway says it forwards to the
// listener. If there is none, the address is not valid, and err says why.
func (c *Client) Mapped() (addr netip.AddrPort, err error) {
	c.mu.Lock()
	m := c.mapper
	c.mu.Unlock()
	if m == nil {
		return netip.AddrPort{}, ErrNotMapped
	}
	return m.Addr()
}

// mapPort keeps the listener's port mapped until the run ends, if the
// configuration says so.
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
	port, _ = c.cfg.Listener.Port() // 0 if the listener does not run
	if c.cfg.gateway != nil {
		return c.cfg.gateway(), port
	}
	return c.seam.Gateway(), port
}

// renewPort renews the mapping if the gateway or the port has changed.
func (c *Client) renewPort() {
	c.mu.Lock()
	m := c.mapper
	c.mu.Unlock()
	if m != nil {
		m.Renew()
	}
}
