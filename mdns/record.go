package mdns

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/metadata"
	"github.com/sdp2p/p2p/proto"
)

// versionKey is the key of the TXT string that says which protocol a node speaks. It is no metadata.
const (
	versionKey = "sdp2p"
	version    = 2
)

// nodeFields go first, in this order, so that a reader of only the beginning of
// a TXT record learns them.
var nodeFields = metadata.NodeFields()

// services is what a node announces: itself, at the port of its first listener that has one, or nothing while there is
// none.
func services(node *p2p.P2P) ([]dnssd.Service, error) {
	for _, l := range node.Listeners() {
		if len(l.Addrs) == 0 {
			continue
		}
		s := dnssd.Service{Instance: node.Identity().String(), Port: l.Addrs[0].Port(), TXT: txt(node.Metadata())}
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

// txt returns the strings of the TXT record for a node's metadata.
func txt(entries map[string]string) []string {
	strings := make([]string, 0, len(entries)+1)
	for _, key := range nodeFields {
		if value, ok := entries[key]; ok {
			strings = append(strings, key+"="+value)
		}
	}
	strings = append(strings, versionKey+"="+strconv.Itoa(version))
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		if !slices.Contains(nodeFields, key) && key != versionKey {
			strings = append(strings, key+"="+entries[key])
		}
	}
	return strings
}

// parseInstance reads an announcement. A label that is no identity is an error.
func parseInstance(in dnssd.Instance) (id identity.RemoteIdentity, entries map[string]string, candidates []p2p.Candidate, err error) {
	if id, err = identity.Parse(in.Name); err != nil {
		return id, nil, nil, fmt.Errorf("mdns: %w", err)
	}
	entries, says := parseTXT(in.TXT)
	for _, addr := range slices.Concat(in.Addrs, in.OffLink) {
		candidates = append(candidates, p2p.Candidate{Kind: p2p.Direct, Addr: addr, Version: says})
	}
	return id, entries, candidates, nil
}

// parseTXT reads the strings of a TXT record (RFC 6763 §6.4): of a key that
// comes twice, the first counts. Strings that are no metadata, and entries over
// a limit, are left out one by one, so that what a stranger announces hides no
// peer.
func parseTXT(txt []string) (entries map[string]string, says int) {
	entries = map[string]string{}
	for _, s := range txt {
		key, value, ok := strings.Cut(s, "=")
		if !ok || proto.ValidateMetadataKey(key) != nil || proto.ValidateMetadataValue(key, value) != nil {
			continue
		}
		if strings.EqualFold(key, versionKey) {
			if v, err := strconv.Atoi(value); err == nil && says == 0 && v > 0 {
				says = v
			}
			continue
		}
		if _, twice := entries[key]; !twice {
			entries[key] = value
		}
	}
	return metadata.Cut(entries, func(string, error) {}), says
}
