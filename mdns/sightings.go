package mdns

import (
	"net/netip"
	"slices"
	"sync"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/dnssd"
)

// sightings are the instances that an engine has found. It reports to the node
// those that are peers with an address that can be dialed. Methods may be
// called concurrently.
type sightings struct {
	scope *p2p.Scope

	mu       sync.Mutex
	families families
	all      map[string]*sighting // by instance
	said     int                  // log lines about peers that cannot be dialed
}

// A sighting is an instance that stands for a peer.
type sighting struct {
	id       identity.RemoteIdentity
	instance dnssd.Instance
	told     bool // it was reported to the node
	lamented bool // the log says why it was not
}

// maxSaid is the most peers that cannot be dialed to be named in the log, since
// anybody can announce any number.
const maxSaid = 16

func newSightings(s *p2p.Scope) *sightings {
	return &sightings{scope: s, families: servedBy(s.Node()), all: map[string]*sighting{}}
}

// families are the address families over which this node can dial.
type families struct{ ipv4, ipv6 bool }

// servedBy returns the families of a node's listeners. Until one of them has an
// address, it returns both.
func servedBy(node *p2p.P2P) (f families) {
	for _, l := range node.Listeners() {
		for _, addr := range l.Addrs {
			is4 := addr.Addr().Unmap().Is4()
			f.ipv4, f.ipv6 = f.ipv4 || is4, f.ipv6 || !is4
		}
	}
	if !f.ipv4 && !f.ipv6 {
		return families{true, true}
	}
	return f
}

func (f families) have(addr netip.Addr) bool {
	if addr.Unmap().Is4() {
		return f.ipv4
	}
	return f.ipv6
}

// found records an instance that is new or has changed.
func (s *sightings) found(in dnssd.Instance) {
	id, err := identity.Parse(in.Name)
	if err != nil {
		s.scope.Logger().Debug("not a peer", "instance", in.Name, "cause", err)
		return
	}
	if id == s.scope.Node().Identity() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.all[in.Name]
	if seen == nil {
		seen = &sighting{id: id}
		s.all[in.Name] = seen
	}
	seen.instance = in
	s.tell(seen)
}

// lost records that an instance is gone.
func (s *sightings) lost(instance string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seen := s.all[instance]; seen != nil {
		delete(s.all, instance)
		s.expire(seen)
	}
}

// end withdraws everything that was reported to the node.
func (s *sightings) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, seen := range s.all {
		s.expire(seen)
	}
	clear(s.all)
}

// review checks all instances again if the node's listeners have changed.
func (s *sightings) review() {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := servedBy(s.scope.Node())
	if f == s.families {
		return
	}
	s.families = f
	for _, seen := range s.all {
		s.tell(seen)
	}
}

// peer returns the identity that was reported for an instance.
func (s *sightings) peer(instance string) (id identity.RemoteIdentity, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seen := s.all[instance]; seen != nil && seen.told {
		return seen.id, true
	}
	return id, false
}

// wanted reports whether an instance is a peer that the node tracks or is
// connected with.
func (s *sightings) wanted(instance string) bool {
	id, ok := s.peer(instance)
	if !ok {
		return false
	}
	peer, ok := s.scope.Node().Peer(id)
	if !ok {
		return false
	}
	info := peer.Info()
	return info.Tracked || len(info.Connections) > 0
}

// tell reports a peer to the node if one of its addresses can be dialed. The
// caller holds mu.
func (s *sightings) tell(seen *sighting) {
	metadata, candidates := parseInstance(seen.instance)
	if !slices.ContainsFunc(candidates, func(c p2p.Candidate) bool { return s.families.have(c.Addr.Addr()) }) {
		s.expire(seen)
		s.lament(seen, candidates)
		return
	}
	err := s.scope.Discovered(seen.id, metadata, candidates)
	if err != nil {
		s.scope.Logger().Debug("not a peer", "instance", seen.instance.Name, "cause", err)
		return
	}
	seen.told, seen.lamented = true, false
}

func (s *sightings) expire(seen *sighting) {
	if seen.told {
		seen.told = false
		s.scope.Expired(seen.id)
	}
}

// lament logs why a peer that was found is not available.
func (s *sightings) lament(seen *sighting, candidates []p2p.Candidate) {
	if seen.lamented || s.said >= maxSaid {
		return
	}
	seen.lamented = true
	s.said++
	addrs := make([]netip.AddrPort, len(candidates))
	for i, c := range candidates {
		addrs[i] = c.Addr
	}
	s.scope.Logger().Info("a peer is announced at no address that this node can dial: it lacks the address family",
		"peer", seen.id, "addrs", addrs, "interfaces", seen.instance.Interfaces)
}
