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

// unpinned are addresses to which the system chooses where packets leave from,
// with the number of those who asked for that. A map in use does not change.
type unpinned map[netip.AddrPort]int

// Unpin has packets to an address leave from where the system would send them
// to it, whatever their control messages say, until undo is called. quic-go
// answers from the address and by the interface at which it was asked, and the
// network there may lead nowhere any more, though both still exist.
func (s *Socket) Unpin(to netip.AddrPort) (undo func()) {
	to = plain(to)
	s.pin(to, 1)
	return sync.OnceFunc(func() { s.pin(to, -1) })
}

// pin changes how many want an address unpinned.
func (s *Socket) pin(to netip.AddrPort, by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := unpinned{}
	if u := s.unpinned.Load(); u != nil {
		maps.Copy(next, *u)
	}
	if next[to] += by; next[to] == 0 {
		delete(next, to)
	}
	if len(next) == 0 {
		s.unpinned.Store(nil)
		return
	}
	s.unpinned.Store(&next)
}
