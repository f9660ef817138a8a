package carrier

import (
	"net"
	"net/netip"
)

// A fence reports whether packets may be sent to an address.
type fence func(to netip.AddrPort) bool

// Fence drops packets to addresses for which open returns false, for an owner
// that must not be visible in the present network. A nil open removes the
// fence. Links stay open.
func (s *Socket) Fence(open func(to netip.AddrPort) bool) {
	if open == nil {
		s.fence.Store(nil)
		return
	}
	f := fence(open)
	s.fence.Store(&f)
}

// fenced reports whether a packet to an address must be dropped.
func (s *Socket) fenced(to *net.UDPAddr) bool {
	f := s.fence.Load()
	return f != nil && !(*f)(plain(to.AddrPort()))
}
