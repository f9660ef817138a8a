package p2p_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// A model knows which operations were applied to a node, and works out from
// them alone the state that the node must show.
type model struct {
	*rapid.T
	node     *p2p.P2P
	maxPeers int
	hooks    []*modelHook
	starts   int // counts up: the order in which hooks were registered
	peers    map[identity.RemoteIdentity]*modelPeer
	met      int          // peers that became available so far
	waiting  []*modelPeer // peers that are not connected, in the order in which they are evicted
	stopped  []*modelHook // in the order in which they stopped
	metadata map[string]string
	want     []change // the changes that the current operation must report

	quick     *reader // is read after every operation
	readers   []*reader
	followers []*follower
}

type modelHook struct {
	hook     p2p.Hook
	fake     *fakeHook
	number   int // its place in the order of registration, or 0
	ran      bool
	err      error // why it stopped
	addrs    []netip.AddrPort
	listener bool
}

type modelPeer struct {
	id         identity.RemoteIdentity
	number     int // counts up: the order in which peers became available
	peer       *p2p.Peer
	found      map[*modelHook]finding
	conns      []modelConn
	said       []modelSaid
	met        bool // it was connected once
	metadata   map[string]string
	verified   bool
	candidates []p2p.Candidate
}

type finding struct {
	metadata   map[string]string
	candidates []p2p.Candidate
}

type modelConn struct {
	by   *modelHook
	conn *fakeConn
}

type modelSaid struct {
	by       *modelHook
	metadata map[string]string
}

// A change is an event with the identity in place of the peer, so that the
// model can predict it.
type change struct {
	kind string
	id   identity.RemoteIdentity
	by   string
	addr netip.AddrPort
	err  error
}

func (c change) String() string {
	switch {
	case !c.id.IsZero():
		return fmt.Sprintf("peer%d %s %s", slices.Index(crowd, c.id), c.kind, c.by)
	case c.addr.IsValid():
		return fmt.Sprintf("%s %s %v", c.by, c.kind, c.addr)
	}
	return fmt.Sprintf("%s %s %v", c.by, c.kind, c.err)
}

func changeOf(e p2p.Event) change {
	switch e := e.(type) {
	case p2p.MetadataModified:
		return change{kind: "metadata"}
	case p2p.ListenerRegistered:
		return change{kind: "registered", by: e.Listener}
	case p2p.ListenerUnregistered:
		return change{kind: "unregistered", by: e.Listener}
	case p2p.ListenerAddrAdded:
		return change{kind: "added", by: e.Listener, addr: e.Addr}
	case p2p.ListenerAddrRemoved:
		return change{kind: "removed", by: e.Listener, addr: e.Addr}
	case p2p.HookStopped:
		return change{kind: "stopped", by: e.Hook, err: e.Err}
	case p2p.PeerAvailable:
		return change{kind: "available", id: e.Peer.Identity()}
	case p2p.PeerUnavailable:
		return change{kind: "unavailable", id: e.Peer.Identity()}
	case p2p.PeerDiscoveredBy:
		return change{kind: "discovered", id: e.Peer.Identity(), by: e.Hook}
	case p2p.PeerExpiredBy:
		return change{kind: "expired", id: e.Peer.Identity(), by: e.Hook}
	case p2p.PeerConnectedWith:
		return change{kind: "connected", id: e.Peer.Identity(), by: e.Listener}
	case p2p.PeerDisconnectedWith:
		return change{kind: "disconnected", id: e.Peer.Identity(), by: e.Listener}
	case p2p.PeerMetadataModified:
		return change{kind: "modified", id: e.Peer.Identity()}
	}
	return change{kind: "unknown"}
}

// bySubject sorts changes such that those of one peer, hook or address keep
// their order, which is all that the node promises.
func bySubject(changes []change) []change {
	slices.SortStableFunc(changes, func(a, b change) int {
		x, y := a.id.Bytes(), b.id.Bytes()
		if c := bytes.Compare(x[:], y[:]); c != 0 || !a.id.IsZero() {
			return c
		}
		return cmp.Or(cmp.Compare(a.by, b.by), a.addr.Compare(b.addr))
	})
	return changes
}

func (m *model) tell(c change) { m.want = append(m.want, c) }

// recompute works out a peer's metadata and candidates, and records a change if
// the metadata is new.
func (m *model) recompute(p *modelPeer, silent bool) {
	metadata := map[string]string{}
	order := slices.SortedFunc(maps.Keys(p.found), func(a, b *modelHook) int { return a.number - b.number })
	p.candidates = nil
	for _, h := range order {
		if len(p.said) == 0 {
			maps.Copy(metadata, p.found[h].metadata)
		}
		for _, c := range p.found[h].candidates {
			i := slices.IndexFunc(p.candidates, func(o p2p.Candidate) bool { return o.Kind == c.Kind && o.Addr == c.Addr && o.Relay == c.Relay })
			if i < 0 {
				i = len(p.candidates)
				p.candidates = append(p.candidates, p2p.Candidate{Kind: c.Kind, Addr: c.Addr, Relay: c.Relay})
			}
			o := &p.candidates[i]
			o.Version = max(o.Version, c.Version)
			if !slices.Contains(o.Sources, h.fake.name) {
				o.Sources = append(o.Sources, h.fake.name)
			}
		}
	}
	for _, s := range p.said {
		maps.Copy(metadata, s.metadata)
	}
	verified := len(p.said) > 0
	if (!maps.Equal(metadata, p.metadata) || verified != p.verified) && !silent {
		m.tell(change{kind: "modified", id: p.id})
	}
	p.metadata, p.verified = metadata, verified
}

func (m *model) admit(id identity.RemoteIdentity) *modelPeer {
	p := m.peers[id]
	if p == nil {
		m.met++
		p = &modelPeer{id: id, number: m.met, found: map[*modelHook]finding{}}
		m.peers[id] = p
		m.tell(change{kind: "available", id: id})
	}
	return p
}

func (m *model) leaves(p *modelPeer) {
	m.waiting = slices.DeleteFunc(m.waiting, func(o *modelPeer) bool { return o == p })
}

// linesUp puts a peer at the end of the queue for eviction if it may be
// evicted: if it is not connected, and no hook has reported a manual candidate.
func (m *model) linesUp(p *modelPeer) {
	stays := len(p.conns) > 0
	for _, f := range p.found {
		stays = stays || slices.ContainsFunc(f.candidates, func(c p2p.Candidate) bool { return c.Kind == p2p.Manual })
	}
	if stays {
		m.leaves(p)
	} else if !slices.Contains(m.waiting, p) {
		m.waiting = append(m.waiting, p)
	}
}

// remains updates a peer after a discovery or a connection was removed.
func (m *model) remains(p *modelPeer) {
	if len(p.found) > 0 || len(p.conns) > 0 {
		m.linesUp(p)
		m.recompute(p, false)
		return
	}
	m.leaves(p)
	delete(m.peers, p.id)
	m.tell(change{kind: "unavailable", id: p.id})
}

func (m *model) room() bool {
	if m.maxPeers < 0 || len(m.peers) < m.maxPeers {
		return true
	}
	if len(m.peers)-len(m.waiting) >= m.maxPeers {
		return false // the peers that cannot be evicted fill the table: none makes room
	}
	for len(m.peers) >= m.maxPeers {
		i := slices.IndexFunc(m.waiting, func(p *modelPeer) bool { return !p.met })
		p := m.waiting[max(i, 0)]
		for len(p.found) > 0 {
			m.expire(slices.MinFunc(slices.Collect(maps.Keys(p.found)), func(a, b *modelHook) int { return a.number - b.number }), p)
		}
	}
	return true
}

func (m *model) discover(h *modelHook, id identity.RemoteIdentity, f finding) (ok bool) {
	known := m.peers[id] != nil
	if !known && !m.room() {
		return false
	}
	p := m.admit(id)
	f.candidates = f.candidates[:min(len(f.candidates), p2p.MaxCandidates)]
	before, found := p.found[h]
	p.found[h] = f
	m.linesUp(p)
	same := func(a, b p2p.Candidate) bool {
		return a.Kind == b.Kind && a.Addr == b.Addr && a.Relay == b.Relay && a.Version == b.Version
	}
	if !found || !slices.EqualFunc(before.candidates, f.candidates, same) {
		m.tell(change{kind: "discovered", id: id, by: h.fake.name})
	}
	m.recompute(p, !known)
	return true
}

func (m *model) expire(h *modelHook, p *modelPeer) {
	if _, found := p.found[h]; !found {
		return
	}
	delete(p.found, h)
	m.tell(change{kind: "expired", id: p.id, by: h.fake.name})
	m.remains(p)
}

func (p *modelPeer) connectedBy(h *modelHook) bool {
	return slices.ContainsFunc(p.conns, func(c modelConn) bool { return c.by == h })
}

func (m *model) connect(h *modelHook, id identity.RemoteIdentity, conn *fakeConn) {
	if m.peers[id] == nil {
		m.room() // even if there is no room, the peer is connected
	}
	p := m.admit(id)
	m.leaves(p)
	if !p.connectedBy(h) {
		m.tell(change{kind: "connected", id: id, by: h.fake.name})
	}
	p.conns = append(p.conns, modelConn{h, conn})
}

func (m *model) disconnect(p *modelPeer, c modelConn) {
	p.conns = slices.DeleteFunc(p.conns, func(o modelConn) bool { return o == c })
	if !p.connectedBy(c.by) {
		m.tell(change{kind: "disconnected", id: p.id, by: c.by.fake.name})
		p.said = slices.DeleteFunc(p.said, func(s modelSaid) bool { return s.by == c.by })
	}
	if len(p.conns) == 0 {
		p.met = true
	}
	m.remains(p)
}

func (m *model) state(h *modelHook, p *modelPeer, metadata map[string]string) {
	i := slices.IndexFunc(p.said, func(s modelSaid) bool { return s.by == h })
	if i < 0 {
		p.said = append(p.said, modelSaid{h, metadata})
	} else {
		p.said[i].metadata = metadata
	}
	m.recompute(p, false)
}

func (m *model) register(h *modelHook) {
	m.starts++
	h.number, h.ran = m.starts, true
	m.stopped = slices.DeleteFunc(m.stopped, func(o *modelHook) bool { return o == h })
	if h.listener {
		m.tell(change{kind: "registered", by: h.fake.name})
	}
}

func (m *model) leave(h *modelHook) {
	for _, p := range slices.SortedFunc(maps.Values(m.peers), func(a, b *modelPeer) int { return a.number - b.number }) {
		m.expire(h, p)
		for _, c := range slices.Clone(p.conns) {
			if c.by == h {
				m.disconnect(p, c)
			}
		}
	}
	for _, a := range h.addrs {
		m.tell(change{kind: "removed", by: h.fake.name, addr: a})
	}
	if h.number, h.addrs = 0, nil; h.listener {
		m.tell(change{kind: "unregistered", by: h.fake.name})
	}
}

func (m *model) fail(h *modelHook, err error) {
	m.leave(h)
	h.err = err
	m.stopped = append(m.stopped, h)
	m.tell(change{kind: "stopped", by: h.fake.name, err: err})
}

// check compares the changes that the operation reported, and the state that
// the node shows now, with the model.
func (m *model) check() {
	events := m.quick.read(1 << 20)
	got := make([]change, len(events))
	for i, e := range events {
		got[i] = changeOf(e)
		if e, ok := e.(p2p.PeerAvailable); ok {
			if p := m.peers[e.Peer.Identity()]; p != nil {
				p.peer = e.Peer
			}
		}
	}
	if got, want := bySubject(got), bySubject(m.want); !slices.Equal(got, want) {
		m.Fatalf("told %v\ninstead of %v", got, want)
	}
	m.want = m.want[:0]

	peers := m.node.Peers()
	if len(peers) != len(m.peers) {
		m.Fatalf("%d peers instead of %d", len(peers), len(m.peers))
	}
	for _, peer := range peers {
		if p := m.peers[peer.Identity()]; p == nil || p.peer != peer {
			m.Fatalf("Peers has %v", peer)
		}
	}
	for _, id := range crowd {
		peer, ok := m.node.Peer(id)
		if (m.peers[id] != nil) != ok {
			m.Fatalf("Peer(%v) says %t", id, ok)
		}
		if ok {
			m.checkPeer(peer, m.peers[id])
		}
	}
	m.checkHooks()
	if !maps.Equal(m.node.Metadata(), m.metadata) {
		m.Fatalf("Metadata is %v instead of %v", m.node.Metadata(), m.metadata)
	}
}

func (m *model) checkPeer(peer *p2p.Peer, p *modelPeer) {
	var found, connected []string
	for _, h := range slices.SortedFunc(maps.Keys(p.found), func(a, b *modelHook) int { return a.number - b.number }) {
		found = append(found, h.fake.name)
	}
	for _, c := range p.conns {
		connected = append(connected, c.by.fake.name)
	}
	info := peer.Info()
	var connections []string
	for _, c := range info.Connections {
		connections = append(connections, c.Listener)
	}
	switch {
	case peer != p.peer:
		m.Fatalf("%v is another *Peer", peer)
	case !peer.Available() || !info.Available || info.Identity != p.id:
		m.Fatalf("%v is not available: %+v", peer, info)
	case !slices.Equal(info.DiscoveredBy, found):
		m.Fatalf("%v is discovered by %v instead of %v", peer, info.DiscoveredBy, found)
	case !slices.Equal(connections, connected) || peer.Connected() != (len(connected) > 0):
		m.Fatalf("%v is connected with %v instead of %v", peer, connections, connected)
	case !slices.EqualFunc(info.Candidates, p.candidates, sameCandidate):
		m.Fatalf("%v has candidates %+v instead of %+v", peer, info.Candidates, p.candidates)
	case !maps.Equal(info.Metadata, p.metadata) || info.Name != p.metadata["name"] || info.Verified != p.verified:
		m.Fatalf("%v has metadata %v, %t, instead of %v, %t", peer, info.Metadata, info.Verified, p.metadata, p.verified)
	case peer.Name() != info.Name || peer.Verified() != info.Verified:
		m.Fatalf("%v is called %q, %t, and described as %+v", peer, peer.Name(), peer.Verified(), info)
	case info.Tracked || info.Revoked || info.LastSeen.IsZero():
		m.Fatalf("%v is described as %+v", peer, info)
	}
}

func (m *model) checkHooks() {
	var hooks []p2p.HookInfo
	var listeners []p2p.ListenerInfo
	running := slices.DeleteFunc(slices.Clone(m.hooks), func(h *modelHook) bool { return h.number == 0 })
	slices.SortFunc(running, func(a, b *modelHook) int { return a.number - b.number })
	for _, h := range running {
		hooks = append(hooks, p2p.HookInfo{Name: h.fake.name, Listener: h.listener, Ready: true})
		if h.listener {
			listeners = append(listeners, p2p.ListenerInfo{Name: h.fake.name, Addrs: h.addrs})
		}
	}
	for _, h := range m.stopped {
		hooks = append(hooks, p2p.HookInfo{Name: h.fake.name, Listener: h.listener, Stopped: true, Err: h.err})
	}
	if got := m.node.Hooks(); !slices.Equal(got, hooks) {
		m.Fatalf("Hooks is %v instead of %v", got, hooks)
	}
	same := func(a, b p2p.ListenerInfo) bool { return a.Name == b.Name && slices.Equal(a.Addrs, b.Addrs) }
	if got := m.node.Listeners(); !slices.EqualFunc(got, listeners, same) {
		m.Fatalf("Listeners is %v instead of %v", got, listeners)
	}
}

// settle lets all readers and watchers catch up, except those that are stuck,
// and compares the state that they have put together with the node's.
func (m *model) settle() {
	synctest.Wait()
	now := snapshot(m.node)
	for _, r := range m.readers {
		if err := r.check(now); err != nil {
			m.Fatalf("a subscriber: %v", err)
		}
	}
	if err := m.quick.check(now); err != nil {
		m.Fatalf("the quick subscriber: %v", err)
	}
	for _, f := range m.followers {
		if f.stuck {
			continue
		}
		if err := f.check(now); err != nil {
			m.Fatalf("a watcher: %v", err)
		}
	}
}

// end releases all watchers, and checks the events that they see until the end.
func (m *model) end() {
	for _, f := range m.followers {
		f.hold(false)
	}
	m.settle()
	for _, h := range m.hooks {
		if h.number > 0 {
			m.leave(h)
		}
	}
	if err := m.node.Shutdown(context.Background()); err != nil {
		m.Fatalf("Shutdown: %v", err)
	}
	if err := m.quick.check(snapshot(m.node)); err != nil {
		m.Fatalf("after Shutdown: %v", err)
	}
	m.want = nil // hooks end in no particular order
	m.check()
	for _, f := range m.followers {
		<-f.done // the iterator ended with the node
	}
}
