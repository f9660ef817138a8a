package mdns

import (
	"slices"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/metadata"
)

// version is the protocol version that a node announces.
const version = 2

// services returns the services to announce: the node at the port of its first
// listener that has one, or nothing while there is no such listener.
func services(node *p2p.P2P) ([]dnssd.Service, error) {
	for _, l := range node.Listeners() {
		if len(l.Addrs) == 0 {
			continue
		}
		s := dnssd.Service{Instance: node.Identity().String(), Port: l.Addrs[0].Port(), TXT: metadata.TXT(node.Metadata(), version)}
		for _, addr := range l.Addrs {
			if addr.Port() == s.Port {
				s.IPv4 = s.IPv4 || addr.Addr().Unmap().Is4()
				s.IPv6 = s.IPv6 || !addr.Addr().Unmap().Is4()
			}
		}
		return []dnssd.Service{s}, nil
	}
	return nil, nil
}

// parseInstance returns the metadata and the addresses in an announcement.
// Addresses on the link come first. IPv6 link-local ones come last, since they
// add nothing to the interface on which the announcement was received.
func parseInstance(in dnssd.Instance) (entries map[string]string, candidates []p2p.Candidate) {
	entries, says := metadata.ParseTXT(in.TXT)
	for _, addr := range slices.Concat(in.Addrs, in.OffLink, in.LinkLocal) {
		candidates = append(candidates, p2p.Candidate{Kind: p2p.Direct, Addr: addr, Version: says})
	}
	return entries, candidates
}
