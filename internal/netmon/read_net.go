//go:build !linux

package netmon

import (
	"net"
	"net/netip"
)

// readInterfaces reads the interfaces through package net.
func readInterfaces() (Snapshot, error) {
	list, err := net.Interfaces()
	if err != nil {
		return Snapshot{}, err
	}
	var s Snapshot
	for _, n := range list {
		addrs, err := n.Addrs()
		if err != nil {
			continue // it vanished in between
		}
		i := Interface{
			Index: n.Index, Name: n.Name, MTU: n.MTU, Flags: n.Flags,
			Physical: len(n.HardwareAddr) > 0 && n.Flags&(net.FlagLoopback|net.FlagPointToPoint) == 0,
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok {
				ip, ok := netip.AddrFromSlice(n.IP)
				ones, _ := n.Mask.Size()
				if ip = ip.Unmap(); ok && ones <= ip.BitLen() {
					i.Prefixes = append(i.Prefixes, netip.PrefixFrom(ip, ones))
				}
			}
		}
		s.Interfaces = append(s.Interfaces, i)
	}
	return s, nil
}

// setGateway records the router of a default route through an interface. Only
// the first call for an interface counts.
func (s *Snapshot) setGateway(index, f int, g Gateway) {
	if i := s.find(index); i != nil && !i.Routed[f] {
		i.Routed[f], i.Gateways[f] = true, g
	}
}
