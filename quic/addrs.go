package quic

import (
	"net/netip"

	"github.com/sdp2p/p2p/internal/reach"
)

// maxAddrs is the most addresses that Addrs returns.
const maxAddrs = 4

// Addrs returns at most four addresses at which others may reach the listener,
// the likeliest first, for an app to show to a user who has to type one on
// another device. It never returns loopback or link-local addresses. It returns
// none while the listener does not run, the host is in no network, or the node
// is visible only to its contacts. Behind address translation, as in a
// container, the port is reached at other addresses.
func (l *Listener) Addrs() []netip.AddrPort {
	e := l.running()
	if e == nil || e.veil != nil {
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
