package netmon

import (
	"net"
	"net/netip"
)

// anywhere are addresses for documentation (RFC 5737, RFC 9637), which only a
// default route leads to.
var anywhere = [families]net.UDPAddr{
	IPv4: {IP: net.IP{203, 0, 113, 1}, Port: 9},
	IPv6: {IP: net.IP{0: 0x3f, 1: 0xff, 15: 1}, Port: 9},
}

// findDefaults finds the interfaces of the default routes in use, and their
// routers, from the source addresses that the system would use to reach
// anywhere. It sends nothing.
func (s *Snapshot) findDefaults() {
	for f := range s.Default {
		c, err := net.DialUDP("udp", nil, &anywhere[f])
		if err != nil {
			continue // no default route
		}
		local, _ := c.LocalAddr().(*net.UDPAddr)
		_ = c.Close()
		if i := s.holder(local.AddrPort().Addr().Unmap().WithZone("")); i != nil {
			s.Default[f] = DefaultRoute{i.Index, i.Gateways[f]}
		}
	}
}

// holder returns the interface that has an address.
func (s *Snapshot) holder(addr netip.Addr) *Interface {
	for n := range s.Interfaces {
		i := &s.Interfaces[n]
		for _, list := range [][]netip.Prefix{i.Prefixes, i.Temporary} {
			for _, p := range list {
				if p.Addr() == addr {
					return i
				}
			}
		}
	}
	return nil
}
