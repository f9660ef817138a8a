package library

import (
	"context"
	"errors"
	"iter"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/text"
)

// A Presence tells how things stand with a member.
type Presence struct {
	// Member is the member. Its name is what its node calls itself if the roster
	// has none.
	Member Member

	// Peer is the member's node. It is nil only while the hook does not run.
	Peer *p2p.Peer
	// Available is whether the node is there: somebody has discovered it, or it is
	// connected.
	Available bool
	// Connected is whether it is connected.
	Connected bool
	// Serves is whether the node says that it has the library, as the instance on
	// record. That is no proof: a tunnel is.
	Serves bool
	// Err is why the member cannot be reached, or why the last attempt to open a
	// tunnel to it failed, by [Library.Open] or to hand out a secret; nil if
	// neither is so.
	Err error
}

// same reports whether there is nothing to tell.
func (p Presence) same(o Presence) bool {
	text := func(err error) string {
		if err == nil {
			return ""
		}
		return err.Error()
	}
	return p.Member == o.Member && p.Peer == o.Peer && p.Available == o.Available && p.Connected == o.Connected &&
		p.Serves == o.Serves && text(p.Err) == text(o.Err)
}

// Members returns how things stand with each other member, the longest-standing
// first, without those that this device has blocked.
func (l *Library) Members() []Presence {
	now := l.content()
	all := make([]Presence, len(now.order))
	for i, m := range now.order {
		all[i] = l.presence(m.Member)
	}
	return all
}

func (l *Library) presence(m Member) Presence {
	p := Presence{Member: m, Peer: l.hook.peer(m.Node)}
	if p.Peer == nil {
		p.Err = ErrNotRunning
		return p
	}
	info := p.Peer.Info()
	p.Available, p.Connected = info.Available, len(info.Connections) > 0
	if m.Name == "" { // the founder, or one that joined without a name
		p.Member.Name = text.Plain(info.Metadata["name"])
	}
	p.Serves = info.Available && claims(info.Metadata, l.id) == m.Instance.String()
	p.Err = info.Unreachable
	if dial := (*p2p.DialError)(nil); errors.As(p.Err, &dial) && len(dial.Attempts) > 0 {
		p.Err = nil // a dial that failed is no event: Watch could not yield it
	}
	if p.Err == nil {
		l.mu.Lock()
		p.Err = l.with(m.Instance).failed
		l.mu.Unlock()
	}
	return p
}

// claims returns the instance of a library that a node says it has, or "".
func claims(metadata map[string]string, id uuid.UUID) string {
	if instance, ok := metadata[id.String()]; ok {
		return instance
	}
	for key, instance := range p2p.Libraries(metadata) {
		if strings.EqualFold(key, id.String()) {
			return instance
		}
	}
	return ""
}

// A Change says that something is new with a member of a library, or that it is
// a member no longer, or the library is gone.
type Change struct {
	Library  *Library
	Presence Presence
	Removed  bool // Presence is the last one
}

// Watch yields what there is with all members of all libraries, and then what
// changes, until ctx is done. Of what is new at one time it yields first the
// members that are gone, then the others; of either, one library after the
// other in the order of [Libraries.All], and the members of each in the order
// of [Library.Members]. A loop body that takes its time misses steps, and never
// the last one. Watch may be called any number of times.
func (h *Libraries) Watch(ctx context.Context) iter.Seq[Change] {
	return func(yield func(Change) bool) {
		told := map[place]Presence{}
		var before []place // those in told, in order
		for {
			again := h.changed.next()
			order, now := h.presences()
			for _, at := range before { // first, since the same library may have been added again
				if _, ok := now[at]; ok {
					continue
				}
				last := told[at]
				delete(told, at)
				if !yield(Change{Library: at.library, Presence: last, Removed: true}) {
					return
				}
			}
			for _, at := range order {
				p := now[at]
				if last, ok := told[at]; ok && last.same(p) {
					continue
				}
				if told[at] = p; !yield(Change{Library: at.library, Presence: p}) {
					return
				}
			}
			before = order
			select {
			case <-again:
			case <-ctx.Done():
				return
			}
		}
	}
}

// A place is a member of a library that was added.
type place struct {
	library  *Library
	instance identity.RemoteIdentity
}

// presences returns how things stand with all members of all libraries, and
// their order: that of All, and in each library that of
// Members.
func (h *Libraries) presences() (order []place, all map[place]Presence) {
	all = map[place]Presence{}
	for _, l := range h.All() {
		for _, p := range l.Members() {
			at := place{l, p.Member.Instance}
			order = append(order, at)
			all[at] = p
		}
	}
	return order, all
}

// A signal wakes all who wait for it. The zero signal is ready to use.
type signal struct {
	mu sync.Mutex
	c  chan struct{}
}

// next returns a channel that is closed by the next tell.
func (s *signal) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.c == nil {
		s.c = make(chan struct{})
	}
	return s.c
}

func (s *signal) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.c != nil {
		close(s.c)
		s.c = nil
	}
}
