package library

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/tunnel"
)

const (
	// Route is the node's route for tunnels to libraries.
	Route = "sdp2p/library"

	reserved = "sdp2p/" // the prefix of our own routes
)

// Errors of [Libraries.Add]; ErrTooMany is also returned by changes that need
// room for a former secret.
var (
	// ErrTooMany is returned if the node would have more than
	// [p2p.MaxLibraries] libraries, or more than [tunnel.MaxCredentials]
	// secrets of them, including former ones.
	ErrTooMany = fmt.Errorf("library: more than %d libraries and former secrets on one node", tunnel.MaxCredentials)
	// ErrAdded is returned if the library has been added already.
	ErrAdded = errors.New("library: the library was added already")
)

// A Config tunes the hook. The zero value is ready to use.
type Config struct {
	// Limits bound the cost of handshakes.
	Limits tunnel.Limits

	// Store, if not nil, stores the libraries of this device. [New] adds those
	// that it contains.
	Store *Store

	// Added, if not nil, is called with each library before it is served: by
	// [New] for those of the store, later for each that is founded, joined or
	// added. It is the place for [Library.Handle]: if handlers are registered
	// later, members may be told in the meantime that a route is not served. It
	// must not call methods that change a library.
	Added func(*Library)

	// Changed, if not nil, is called with each new record of a library, for an
	// app that stores records itself: it returns once the record is stored in
	// place of the one before. If it fails, nothing changes. It is called by
	// one goroutine at a time, in order, and not after Remove; it must not call
	// methods that change a library or open tunnels.
	Changed func(Record) error

	// Notify, if not nil, is called with each change of members, after the
	// change was stored: by one goroutine at a time, in order. It must neither
	// block nor call methods that change a library.
	Notify func(Event)
}

// Libraries is a [p2p.Hook] that keeps the libraries of a node, and a
// [p2p.Handler] that serves their members. Its methods may be called
// concurrently, whether it runs or not.
type Libraries struct {
	cfg       Config
	responder *tunnel.Responder
	changed   signal     // libraries, members, or their presence
	keeping   sync.Mutex // held while a record changes and cfg.Changed is called; taken before mu
	telling   sync.Mutex // held while the node's metadata changes; taken before mu
	told      []string   // guarded by telling: the libraries that the metadata shows

	mu        sync.Mutex // guards what follows
	scope     *p2p.Scope // nil while it does not run
	libraries map[uuid.UUID]*Library
	tracked   map[identity.RemoteIdentity]*p2p.Peer

	broken error // the reason why the store's libraries could not be added; Run returns it
}

var (
	_ p2p.Voucher = (*Libraries)(nil)
	_ p2p.Handler = (*Libraries)(nil)
)

// New makes a hook for one node. Also register it as the handler for [Route]
// with the node's [p2p.Mux].
func New(cfg Config) *Libraries {
	h := &Libraries{
		cfg: cfg, libraries: map[uuid.UUID]*Library{}, tracked: map[identity.RemoteIdentity]*p2p.Peer{},
	}
	h.responder = tunnel.NewResponder((*directory)(h), cfg.Limits)
	if cfg.Store != nil {
		cfg.Store.load(h)
	}
	return h
}

// Name returns "library".
func (h *Libraries) Name() string { return "library" }

// Run keeps the node's metadata and its tracked peers in sync with the
// libraries, and tells members of new secrets and of each other, until ctx is
// done. Open tunnels are not closed: they end with their streams.
func (h *Libraries) Run(ctx context.Context, s *p2p.Scope) error {
	h.mu.Lock()
	if h.scope != nil {
		h.mu.Unlock()
		return errors.New("library: the hook runs already")
	}
	h.scope = s
	h.track()
	h.mu.Unlock()
	err := h.broken
	if err == nil {
		err = h.moved(s.Identity())
	}
	if err == nil {
		err = h.tell()
	}
	if err == nil {
		s.Ready()
		var errands sync.WaitGroup
		errands.Go(func() { h.runErrands(ctx) })
		h.follow(ctx, s)
		errands.Wait()
	}
	h.mu.Lock()
	h.scope = nil
	clear(h.tracked)
	h.mu.Unlock()
	if untold := h.tellNode(s.Node()); !errors.Is(untold, p2p.ErrClosed) {
		err = errors.Join(err, untold)
	} else { // the node shuts down
		for _, l := range h.All() {
			l.endListeners(p2p.ErrClosed)
		}
	}
	h.changed.tell()
	return err
}

// follow passes on the node's events about members, until ctx is done.
func (h *Libraries) follow(ctx context.Context, s *p2p.Scope) {
	events := s.Node().Subscribe()
	defer events.Close()
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-events.C:
			if !ok {
				<-ctx.Done()
				return
			}
			if h.concerns(e) {
				h.changed.tell()
			}
		}
	}
}

// concerns reports whether an event may change the presence of a member.
func (h *Libraries) concerns(e p2p.Event) bool {
	var peer *p2p.Peer
	switch e := e.(type) {
	case p2p.Resync, p2p.RevocationsModified, p2p.ListenerRegistered, p2p.ListenerUnregistered:
		return true
	case p2p.PeerAvailable:
		peer = e.Peer
	case p2p.PeerUnavailable:
		peer = e.Peer
	case p2p.PeerConnectedWith:
		peer = e.Peer
	case p2p.PeerDisconnectedWith:
		peer = e.Peer
	case p2p.PeerMetadataModified:
		peer = e.Peer
	case p2p.PeerDiscoveredBy:
		peer = e.Peer
	case p2p.PeerExpiredBy:
		peer = e.Peer
	}
	return peer != nil && h.peer(peer.Identity()) != nil
}

// moved makes each library state that its instance lives on this node. A
// library that can make no more statements does not keep the others from
// running.
func (h *Libraries) moved(node identity.Identity) error {
	for _, l := range h.All() {
		switch err := l.moved(node); {
		case errors.Is(err, roster.ErrFull):
			h.log().Warn("the other members cannot be told that this device has moved: it has to join again", "library", l.id, "cause", err)
		case err != nil:
			return fmt.Errorf("library: %v: %w", l.id, err)
		}
	}
	return nil
}

// Add adds a library with this node's instance of it. It fails with
// [ErrInvalid] if the record is not valid, with [ErrAdded] if this node has the
// library, and with [ErrTooMany] if there are too many libraries or secrets.
func (h *Libraries) Add(r Record, instance identity.Identity) (*Library, error) {
	l, err := h.add(r, instance)
	if err != nil {
		return nil, err
	}
	if node, _ := h.own(); !node.IsZero() {
		err = l.moved(node)
	}
	if err != nil {
		_ = h.Remove(r.ID)
		return nil, err
	}
	return l, nil
}

func (h *Libraries) add(r Record, instance identity.Identity) (*Library, error) {
	h.keeping.Lock()
	defer h.keeping.Unlock()
	l, err := h.enter(r, instance)
	if err != nil {
		return nil, err
	}
	if h.cfg.Store != nil {
		err = h.cfg.Store.create(l.Record(), instance)
	}
	if err == nil {
		err = h.tell()
	}
	if err != nil {
		_ = h.drop(r.ID)
		return nil, err
	}
	return l, nil
}

// enter adds a library. The caller holds keeping, unless it is New.
func (h *Libraries) enter(r Record, instance identity.Identity) (*Library, error) {
	if instance.IsZero() {
		return nil, fmt.Errorf("%w: library %v: there is no key of the own instance", ErrInvalid, r.ID)
	}
	r = r.Clone()
	all, err := r.roster()
	if err != nil {
		return nil, err
	}
	l := &Library{
		hook: h, id: r.ID, instance: instance, routes: map[string]HandlerFunc{}, open: map[*tunnel.Conn]struct{}{},
		members: map[identity.RemoteIdentity]*dealings{}, requests: map[identity.RemoteIdentity]roster.Statement{}, declined: map[identity.RemoteIdentity]bool{},
	}
	if l.now, err = l.compile(r, all, nil); err != nil {
		return nil, err
	}
	if err := h.mayEnter(l); err != nil {
		return nil, err
	}
	if h.cfg.Added != nil {
		h.cfg.Added(l)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.libraries[r.ID] = l
	h.track()
	h.changed.tell()
	return l, nil
}

// mayEnter returns an error if a library cannot be added.
func (h *Libraries) mayEnter(l *Library) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.libraries[l.id] != nil {
		return fmt.Errorf("%w: %v", ErrAdded, l.id)
	}
	return h.fits(l, &l.now.record)
}

// Remove removes a library from this device, including the store. Its tunnels
// end at once. The other members are not told: see [Library.Leave].
func (h *Libraries) Remove(id uuid.UUID) error {
	h.keeping.Lock()
	defer h.keeping.Unlock()
	return h.drop(id)
}

// drop removes a library. The caller holds keeping.
func (h *Libraries) drop(id uuid.UUID) error {
	h.mu.Lock()
	l := h.libraries[id]
	if l != nil {
		h.forget(l)
	}
	h.mu.Unlock()
	if l == nil {
		return ErrRemoved
	}
	var err error
	if h.cfg.Store != nil {
		err = h.cfg.Store.remove(id)
	}
	return errors.Join(err, h.tell())
}

// forget removes a library from the maps. The caller holds mu.
func (h *Libraries) forget(l *Library) {
	delete(h.libraries, l.id)
	l.mu.Lock()
	l.removed = true
	l.mu.Unlock()
	l.endListeners(ErrRemoved)
	l.cut(ErrRemoved)
	h.track()
	h.changed.tell()
}

// cut ends all tunnels of a library.
func (l *Library) cut(reason error) {
	l.mu.Lock()
	open := slices.Collect(maps.Keys(l.open))
	clear(l.open)
	l.mu.Unlock()
	for _, c := range open {
		c.Abort(reason)
	}
}

// Get returns a library that was added.
func (h *Libraries) Get(id uuid.UUID) (*Library, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l, ok := h.libraries[id]
	return l, ok
}

// All returns the libraries, ordered by UUID.
func (h *Libraries) All() []*Library {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := slices.Collect(maps.Values(h.libraries))
	slices.SortFunc(all, func(a, b *Library) int { return slices.Compare(a.id[:], b.id[:]) })
	return all
}

// fits returns an error if there is no room for this record of a library beside
// the others. The caller holds mu.
func (h *Libraries) fits(l *Library, r *Record) error {
	secrets := 1 + len(r.Former)
	for _, o := range h.libraries {
		if o != l {
			secrets += 1 + len(o.Record().Former)
		}
	}
	if secrets > tunnel.MaxCredentials { // it equals p2p.MaxLibraries
		return ErrTooMany
	}
	return nil
}

// tell makes the node's metadata show the libraries, if the hook runs.
func (h *Libraries) tell() error {
	if node := h.running(); node != nil {
		return h.tellNode(node)
	}
	return nil
}

// tellNode makes a node's metadata show the libraries if the hook runs on it,
// and none otherwise.
func (h *Libraries) tellNode(node *p2p.P2P) error {
	h.telling.Lock()
	defer h.telling.Unlock()
	entries := map[string]string{}
	h.mu.Lock()
	if h.scope != nil && h.scope.Node() == node {
		for _, l := range h.libraries {
			entries[l.id.String()] = l.instance.Remote().String()
		}
	}
	h.mu.Unlock()
	err := node.UpdateMetadata(func(m map[string]string) {
		for _, key := range h.told {
			delete(m, key)
		}
		maps.Copy(m, entries)
	})
	if err == nil {
		h.told = slices.Collect(maps.Keys(entries))
	}
	return err
}

// track makes the node keep the members' nodes in view. The caller holds mu.
func (h *Libraries) track() {
	if h.scope == nil {
		return
	}
	wanted := map[identity.RemoteIdentity]bool{}
	for _, l := range h.libraries {
		for _, m := range l.content().members {
			if m.Node != h.self() {
				wanted[m.Node] = true
			}
		}
	}
	for id := range h.tracked {
		if !wanted[id] {
			h.scope.Untrack(id)
			delete(h.tracked, id)
		}
	}
	for id := range wanted {
		if h.tracked[id] == nil {
			if peer := h.scope.Track(id); peer != nil {
				h.tracked[id] = peer
			}
		}
	}
}

// Speaks returns 2 for members of the libraries, whose signatures prove it, and
// 0 for others: nobody on the path to a member can pretend that it is an older
// node.
func (h *Libraries) Speaks(id identity.RemoteIdentity) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tracked[id] == nil {
		return 0
	}
	return 2
}

// self returns the node's identity, or zero while the hook does not run. The
// caller holds mu.
func (h *Libraries) self() identity.RemoteIdentity {
	if h.scope == nil {
		return identity.RemoteIdentity{}
	}
	return h.scope.Node().Identity()
}

// running returns the node, or nil while the hook does not run.
func (h *Libraries) running() *p2p.P2P {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.scope == nil {
		return nil
	}
	return h.scope.Node()
}

func (h *Libraries) peer(id identity.RemoteIdentity) *p2p.Peer {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tracked[id]
}

func (h *Libraries) log() *slog.Logger {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.scope == nil {
		return slog.New(slog.DiscardHandler)
	}
	return h.scope.Logger()
}
