package relay

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/sdp2p/p2p/identity"
)

// ParseServers parses relays in the form KEY@IP:PORT, separated by white space.
// Entries with the same key are one relay with several addresses. The error
// names the wrong entry.
func ParseServers(text string) (servers []Server, err error) {
	for entry := range strings.FieldsSeq(text) {
		key, addr, _ := strings.Cut(entry, "@")
		id, err := identity.Parse(key)
		if err != nil {
			return nil, fmt.Errorf("relay: %q is not KEY@IP:PORT: %w", entry, err)
		}
		at, err := netip.ParseAddrPort(addr)
		if err != nil {
			return nil, fmt.Errorf("relay: %q is not KEY@IP:PORT: %w", entry, err)
		}
		if i := slices.IndexFunc(servers, func(s Server) bool { return s.Identity == id }); i >= 0 {
			servers[i].Addrs = append(servers[i].Addrs, at)
			continue
		}
		servers = append(servers, Server{Identity: id, Addrs: []netip.AddrPort{at}})
	}
	return servers, Check(servers)
}
