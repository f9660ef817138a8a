package p2p_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// A replay is the state as far as the events tell it: the peers, the hooks that
// have discovered or connected them, the listeners and their addresses.
// Metadata and candidates are read when an event reports them.
type replay struct {
	node   *p2p.P2P
	strict bool // each event must make a difference, as Watch promises

	mu        sync.Mutex
	peers     map[*p2p.Peer]*replayPeer
	listeners map[string][]netip.AddrPort
	stopped   map[string]error
	metadata  map[string]string
	last      map[lastKey]bool // since the last Resync: was it reported as present?
	wrong     error            // the first event that should not have come
	yielded   map[*p2p.Peer]int
}

type lastKey struct {
	id       identity.RemoteIdentity
	listener string
	addr     netip.AddrPort
}

type replayPeer struct {
	found      map[string]bool
	connected  map[string]bool
	metadata   map[string]string
	verified   bool
	candidates []p2p.Candidate
}

func newReplay(node *p2p.P2P, strict bool) *replay {
	return &replay{
		node: node, strict: strict, peers: map[*p2p.Peer]*replayPeer{}, listeners: map[string][]netip.AddrPort{},
		stopped: map[string]error{}, metadata: node.Metadata(), last: map[lastKey]bool{}, yielded: map[*p2p.Peer]int{},
	}
}

// snapshot returns a replay that equals the node's present state.
func snapshot(node *p2p.P2P) *replay {
	r := newReplay(node, false)
	for _, peer := range node.Peers() {
		p := &replayPeer{found: map[string]bool{}, connected: map[string]bool{}}
		info := peer.Info()
		for _, hook := range info.DiscoveredBy {
			p.found[hook] = true
		}
		for _, c := range info.Connections {
			p.connected[c.Listener] = true
		}
		p.metadata, p.verified, p.candidates = info.Metadata, info.Verified, info.Candidates
		r.peers[peer] = p
	}
	for _, l := range node.Listeners() {
		r.listeners[l.Name] = l.Addrs
	}
	for _, h := range node.Hooks() {
		if h.Stopped {
			r.stopped[h.Name] = h.Err
		}
	}
	return r
}

func (p *replayPeer) readMetadata(peer *p2p.Peer) {
	info := peer.Info()
	p.metadata, p.verified = info.Metadata, info.Verified
}

func sameCandidate(a, b p2p.Candidate) bool {
	return a.Kind == b.Kind && a.Addr == b.Addr && a.Relay == b.Relay && a.Version == b.Version && slices.Equal(a.Sources, b.Sources)
}

// compare describes how r differs from now, or returns nil.
func (r *replay) compare(now *replay) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wrong != nil {
		return r.wrong
	}
	if len(r.peers) != len(now.peers) {
		return fmt.Errorf("%d peers instead of %d", len(r.peers), len(now.peers))
	}
	for peer, is := range now.peers {
		p := r.peers[peer]
		switch {
		case p == nil:
			return fmt.Errorf("%v was not announced", peer)
		case !maps.Equal(p.found, is.found):
			return fmt.Errorf("%v is discovered by %v instead of %v", peer, p.found, is.found)
		case !maps.Equal(p.connected, is.connected):
			return fmt.Errorf("%v is connected with %v instead of %v", peer, p.connected, is.connected)
		case !maps.Equal(p.metadata, is.metadata) || p.verified != is.verified:
			return fmt.Errorf("%v has metadata %v %t instead of %v %t", peer, p.metadata, p.verified, is.metadata, is.verified)
		case !slices.EqualFunc(p.candidates, is.candidates, sameCandidate):
			return fmt.Errorf("%v has candidates %v instead of %v", peer, p.candidates, is.candidates)
		}
	}
	if len(r.listeners) != len(now.listeners) {
		return fmt.Errorf("listeners %v instead of %v", r.listeners, now.listeners)
	}
	for name, is := range now.listeners {
		addrs, ok := r.listeners[name]
		if !ok || len(addrs) != len(is) || slices.ContainsFunc(is, func(a netip.AddrPort) bool { return !slices.Contains(addrs, a) }) {
			return fmt.Errorf("listener %q has %v instead of %v", name, addrs, is)
		}
	}
	for name, err := range now.stopped {
		if was, ok := r.stopped[name]; !ok || was != err {
			return fmt.Errorf("hook %q stopped with %v, not %v", name, err, was)
		}
	}
	if !maps.Equal(r.metadata, now.metadata) {
		return fmt.Errorf("the node's metadata is %v instead of %v", r.metadata, now.metadata)
	}
	return nil
}

// resync sets r to the node's present state.
func (r *replay) resync() {
	now := snapshot(r.node)
	r.peers, r.listeners, r.stopped, r.metadata = now.peers, now.listeners, now.stopped, now.metadata
	clear(r.last)
}

// alternates records that a thing was reported as present or absent, and
// complains if the last report said the same.
func (r *replay) alternates(e p2p.Event, key lastKey, there, changes bool) {
	was, said := r.last[key]
	if said && was == there {
		r.fail(e, "it was said before")
	}
	r.last[key] = there
	if r.strict && !changes {
		r.fail(e, "that is no news")
	}
}

func (r *replay) fail(e p2p.Event, text string) {
	if r.wrong == nil {
		r.wrong = fmt.Errorf("event %T%v: %s", e, e, text)
	}
}

// apply applies an event.
func (r *replay) apply(e p2p.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := func(peer *p2p.Peer) *replayPeer {
		p := r.peers[peer]
		if p == nil {
			if r.strict {
				r.fail(e, "the peer is not available")
			}
			p = &replayPeer{found: map[string]bool{}, connected: map[string]bool{}} // an event older than the Resync
		}
		return p
	}
	switch e := e.(type) {
	case p2p.Resync:
		if r.strict {
			r.fail(e, "not meant for watchers")
		}
		r.resync()
	case p2p.MetadataModified:
		r.metadata = r.node.Metadata()
	case p2p.ListenerRegistered:
		_, known := r.listeners[e.Listener]
		r.alternates(e, lastKey{listener: e.Listener}, true, !known)
		r.listeners[e.Listener] = nil
	case p2p.ListenerUnregistered:
		addrs, known := r.listeners[e.Listener]
		r.alternates(e, lastKey{listener: e.Listener}, false, known)
		for _, a := range addrs { // the addresses go with their listener
			r.last[lastKey{listener: e.Listener, addr: a}] = false
		}
		delete(r.listeners, e.Listener)
	case p2p.ListenerAddrAdded:
		addrs, known := r.listeners[e.Listener]
		there := slices.Contains(addrs, e.Addr)
		r.alternates(e, lastKey{listener: e.Listener, addr: e.Addr}, true, known && !there)
		if !there {
			r.listeners[e.Listener] = append(addrs, e.Addr)
		}
	case p2p.ListenerAddrRemoved:
		addrs := r.listeners[e.Listener]
		i := slices.Index(addrs, e.Addr)
		r.alternates(e, lastKey{listener: e.Listener, addr: e.Addr}, false, i >= 0)
		if i >= 0 {
			r.listeners[e.Listener] = slices.Delete(addrs, i, i+1)
		}
	case p2p.HookStopped:
		r.stopped[e.Hook] = e.Err
	case p2p.PeerAvailable:
		r.available(e)
	case p2p.PeerUnavailable:
		p := r.peers[e.Peer]
		r.alternates(e, lastKey{id: e.Peer.Identity()}, false, p != nil && len(p.found) == 0 && len(p.connected) == 0)
		delete(r.peers, e.Peer)
	case p2p.PeerDiscoveredBy:
		p := known(e.Peer)
		p.found[e.Hook] = true
		p.candidates = e.Peer.Info().Candidates
	case p2p.PeerExpiredBy:
		p := known(e.Peer)
		if r.strict && !p.found[e.Hook] {
			r.fail(e, "that is no news")
		}
		delete(p.found, e.Hook)
		p.candidates = e.Peer.Info().Candidates
	case p2p.PeerConnectedWith:
		p := known(e.Peer)
		r.alternates(e, lastKey{id: e.Peer.Identity(), listener: e.Listener}, true, !p.connected[e.Listener])
		p.connected[e.Listener] = true
	case p2p.PeerDisconnectedWith:
		p := known(e.Peer)
		r.alternates(e, lastKey{id: e.Peer.Identity(), listener: e.Listener}, false, p.connected[e.Listener])
		delete(p.connected, e.Listener)
	case p2p.PeerMetadataModified:
		p := known(e.Peer)
		p.readMetadata(e.Peer)
		p.candidates = e.Peer.Info().Candidates
	default:
		r.fail(e, "unknown")
	}
}

func (r *replay) available(e p2p.PeerAvailable) {
	id := e.Peer.Identity()
	if id == r.node.Identity() {
		r.fail(e, "a node does not discover itself")
	}
	r.alternates(e, lastKey{id: id}, true, r.peers[e.Peer] == nil)
	for other := range r.peers {
		if r.strict && other != e.Peer && other.Identity() == id {
			r.fail(e, "one identity is two peers")
		}
	}
	if r.peers[e.Peer] == nil {
		r.peers[e.Peer] = &replayPeer{found: map[string]bool{}, connected: map[string]bool{}}
	}
	r.peers[e.Peer].readMetadata(e.Peer)
}

// A follower consumes events or peers in a goroutine of its own, and keeps a
// replay.
type follower struct {
	*replay
	gate   chan struct{} // holds an element while the follower must wait
	stuck  bool          // whether the follower must wait
	cancel context.CancelFunc
	done   chan struct{}
	only   bool // follows Available instead of Watch
}

// follow begins to watch the node. The follower ends when it is stopped or the
// node shuts down.
func follow(node *p2p.P2P, peersOnly bool) *follower {
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{replay: newReplay(node, true), gate: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{}), only: peersOnly}
	f.metadata = node.Metadata()
	go func() {
		defer close(f.done)
		if peersOnly {
			for peer := range node.Available(ctx) {
				f.pass()
				f.mu.Lock()
				f.yielded[peer]++
				f.mu.Unlock()
			}
			return
		}
		for e := range node.Watch(ctx) {
			f.pass()
			f.apply(e)
		}
	}()
	return f
}

// pass waits until the gate is open.
func (f *follower) pass() {
	f.gate <- struct{}{}
	<-f.gate
}

// hold makes the follower wait in the body of its loop, or lets it go on.
func (f *follower) hold(stuck bool) {
	if f.stuck == stuck {
		return
	}
	if f.stuck = stuck; stuck {
		f.gate <- struct{}{}
	} else {
		<-f.gate
	}
}

func (f *follower) stop() {
	f.hold(false)
	f.cancel()
	<-f.done
}

// check compares what the follower was told with the state. The caller waits
// until there is nothing left to tell.
func (f *follower) check(now *replay) error {
	if !f.only {
		return f.compare(now)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for peer := range now.peers {
		if f.yielded[peer] == 0 {
			return fmt.Errorf("%v was not yielded", peer)
		}
	}
	for peer, n := range f.yielded {
		if n > 1 {
			return fmt.Errorf("%v was yielded %d times", peer, n)
		}
	}
	return nil
}

// A reader is a subscription that is read from time to time.
type reader struct {
	*replay
	sub   *p2p.Subscription
	begun bool
}

func newReader(node *p2p.P2P) *reader {
	return &reader{replay: newReplay(node, false), sub: node.Subscribe()}
}

// read reads at most limit events. Nothing else runs meanwhile.
func (r *reader) read(limit int) (events []p2p.Event) {
	for range limit {
		select {
		case e, ok := <-r.sub.C:
			if !ok {
				return events
			}
			if _, resync := e.(p2p.Resync); resync == !r.begun {
				r.begun = true
			} else if !r.begun {
				r.fail(e, "a subscription begins with Resync")
			} else if resync && len(r.sub.C) > 0 {
				r.fail(e, "Resync is not the last of a full queue")
			}
			r.apply(e)
			events = append(events, e)
		default:
			return events
		}
	}
	return events
}

// check reads all events and compares the replay with the state.
func (r *reader) check(now *replay) error {
	r.read(1 << 20)
	if !r.begun {
		return errors.New("no Resync")
	}
	return r.compare(now)
}
