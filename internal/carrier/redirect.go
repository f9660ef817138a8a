package carrier

import (
	"maps"
	"net"
	"net/netip"
	"sync"
)

// redirects are addresses that packets go to, by those that they are written
// to. A map in use does not change.
type redirects map[netip.AddrPort]*net.UDPAddr

func (r *redirects) of(addr *net.UDPAddr) *net.UDPAddr {
	if to := (*r)[plain(addr.AddrPort())]; to != nil {
		return to
	}
	return addr
}

// plain returns addr without the form of IPv4 addresses that IPv6 sockets have.
func plain(addr netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
}

// Redirect has packets that are written to an address go to another one, until
// undo is called. It fails, and reports false, while packets to from go
// elsewhere already: another peer was at that address, perhaps, and the caller
// takes another socket.
func (s *Socket) Redirect(from, to netip.AddrPort) (undo func(), ok bool) {
	from, to = plain(from), plain(to)
	s.mu.Lock()
	defer s.mu.Unlock()
	next := redirects{}
	if r := s.redirects.Load(); r != nil {
		maps.Copy(next, *r)
	}
	if next[from] != nil {
		return nil, false
	}
	next[from] = net.UDPAddrFromAddrPort(to)
	s.redirects.Store(&next)
	return sync.OnceFunc(func() { s.undirect(from) }), true
}

func (s *Socket) undirect(from netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := maps.Clone(*s.redirects.Load())
	delete(next, from)
	if len(next) == 0 {
		s.redirects.Store(nil)
		return
	}
	s.redirects.Store(&next)
}
