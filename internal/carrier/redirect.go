package carrier

import (
	"maps"
	"net"
	"net/netip"
	"sync"
)

// redirects maps the addresses that packets are written to to those that they
// are sent to. A map in use is never modified.
type redirects map[netip.AddrPort]*net.UDPAddr

func (r *redirects) of(addr *net.UDPAddr) *net.UDPAddr {
	if to := (*r)[plain(addr.AddrPort())]; to != nil {
		return to
	}
	return addr
}

// plain returns addr with an IPv4-mapped address turned into an IPv4 address.
func plain(addr netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
}

// Redirect makes packets that are written to the address from go to another one
// until undo is called. It returns false if packets to from are redirected
// elsewhere already, perhaps because another peer had that address; the caller
// then uses another socket.
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

// unpinned are destinations for which the system chooses the source address,
// with the number of callers that asked for it. A map in use is never modified.
type unpinned map[netip.AddrPort]int

// Unpin lets the system choose the source address and interface of packets to
// an address, whatever their control messages say, until undo is called.
// quic-go answers from the address and interface that received a packet, whose
// network may have stopped working although both still exist.
func (s *Socket) Unpin(to netip.AddrPort) (undo func()) {
	to = plain(to)
	s.pin(to, 1)
	return sync.OnceFunc(func() { s.pin(to, -1) })
}

// pin changes the number of callers that want an address unpinned.
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
