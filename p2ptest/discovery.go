package p2ptest

import (
	"context"
	"maps"
	"net/netip"
	"slices"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// Discovery returns a new hook that discovers every other node of the same app
// that runs such a hook on this network, with its metadata and the addresses of
// all its listeners, as they change. It also serves listeners of real networks
// on this computer: instead of an unspecified address it reports the loopback
// address. When the hook ends, the others' discoveries expire.
//
// One hook may be run several times, also concurrently by different nodes.
func (n *Network) Discovery() p2p.Hook { return &discovery{network: n} }

type discovery struct {
	network  *Network
	contacts *Contacts // nil if it hides nothing
}

// Name returns the network's name with the suffix "-discovery".
func (d *discovery) Name() string { return d.network.cfg.Name + "-discovery" }

// A member is one run of a discovery.
type member struct {
	network  *Network
	contacts *Contacts // nil if it hides nothing
	scope    *p2p.Scope
	wakes    chan struct{} // of size 1: the network has changed
	announce *announcement // network.mu; replaced, never modified

	reported map[identity.RemoteIdentity]*announcement // Run's own
}

// An announcement is a node's description of itself.
type announcement struct {
	app      string
	id       identity.RemoteIdentity
	metadata map[string]string
	addrs    []netip.AddrPort
}

// Run announces the node and reports the others, until ctx is done.
func (d *discovery) Run(ctx context.Context, s *p2p.Scope) error {
	events := s.Node().Subscribe()
	defer events.Close()
	m := &member{
		network: d.network, contacts: d.contacts, scope: s, wakes: make(chan struct{}, 1),
		reported: map[identity.RemoteIdentity]*announcement{},
	}
	s.Announces(true)
	m.update()
	defer m.leave()
	m.report()
	s.Ready()
	queue := events.C
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-queue:
			if !ok {
				queue = nil
			}
			switch e.(type) {
			case p2p.Resync, p2p.MetadataModified, p2p.ListenerAddrAdded, p2p.ListenerAddrRemoved:
				m.update()
			}
		case <-m.wakes:
			m.report()
		}
	}
}

// update replaces the node's announcement if it has changed.
func (m *member) update() {
	node := m.scope.Node()
	a := &announcement{app: node.App(), id: node.Identity(), metadata: node.Metadata()}
	for _, listener := range node.Listeners() {
		for _, addr := range listener.Addrs {
			a.addrs = append(a.addrs, reachable(addr))
		}
	}
	n := m.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if m.announce == nil {
		n.members = append(n.members, m)
	} else if maps.Equal(m.announce.metadata, a.metadata) && slices.Equal(m.announce.addrs, a.addrs) {
		return
	}
	m.announce = a
	n.wake()
}

// reachable returns the address at which this computer reaches a listener.
func reachable(addr netip.AddrPort) netip.AddrPort {
	switch addr.Addr() {
	case netip.IPv4Unspecified():
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), addr.Port())
	case netip.IPv6Unspecified():
		return netip.AddrPortFrom(netip.IPv6Loopback(), addr.Port())
	}
	return addr
}

// leave withdraws the node's announcement.
func (m *member) leave() {
	n := m.network
	n.mu.Lock()
	defer n.mu.Unlock()
	n.members = slices.DeleteFunc(n.members, func(other *member) bool { return other == m })
	n.wake()
}

// wake makes all members look again. The caller holds n.mu.
func (n *Network) wake() {
	for _, m := range n.members {
		select {
		case m.wakes <- struct{}{}:
		default: // it is about to look already
		}
	}
}

// report reports to the node the changes since the last report.
func (m *member) report() {
	n := m.network
	n.mu.Lock()
	var others []*announcement
	for _, other := range n.members {
		a := other.announce
		if a.app == m.announce.app && a.id != m.announce.id && !n.link(a.id, m.announce.id).cut &&
			meet(m.contacts, m.announce.id, other.contacts, a.id) {
			others = append(others, a)
		}
	}
	n.mu.Unlock()

	for id := range m.reported {
		if !slices.ContainsFunc(others, func(a *announcement) bool { return a.id == id }) {
			m.scope.Expired(id)
			delete(m.reported, id)
		}
	}
	for _, a := range others {
		if m.reported[a.id] == a {
			continue
		}
		var candidates []p2p.Candidate
		for _, addr := range a.addrs {
			candidates = append(candidates, p2p.Candidate{Kind: p2p.Direct, Addr: addr})
		}
		if err := m.scope.Discovered(a.id, a.metadata, candidates); err != nil {
			m.scope.Logger().Warn("not discovered", "peer", a.id, "cause", err)
			continue
		}
		m.reported[a.id] = a
	}
}
