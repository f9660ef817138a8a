package quic

import (
	"net/netip"

	"github.com/sdp2p/p2p/internal/reach"
)

// maxAddrs is how many addresses Addrs returns.
const maxAddrs = 4

// Addrs returns at most four addresses at which others may reach the listener,
// the likeliest first: what an app shows to a user who has to type one in on
// another device. None is a loopback or a link-local address; there is none
// while the listener does not run, or the host is in no network. A network that
// translates addresses, as a container's does, has others for the same port.
func (l *Listener) Addrs() []netip.AddrPort {
	e := l.running()
	if e == nil {
		return nil
	}
	var listening []netip.AddrPort
	for _, ip := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		if e.enabled(ip) {
			listening = append(listening, netip.AddrPortFrom(ip, e.port))
		}
	}
	return reach.Look().Addrs(listening, maxAddrs)
}
