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

// A Presence is the state of a member as this node sees it.
type Presence struct {
	// Member is the member. If the roster has no name for it, its name is its
	// node's.
	Member Member

	// Peer is the member's node. It is nil only while the hook does not run.
	Peer *p2p.Peer
	// Available is whether the node is available: discovered or connected.
	Available bool
	// Connected is whether it is connected.
	Connected bool
	// Serves is whether the node claims to have the library, as the instance on
	// record. Only a tunnel proves the claim.
	Serves bool
	// Err is why the member cannot be reached, or why the last attempt to open
	// a tunnel to it failed, in [Library.Open] or to tell it something;
	// otherwise nil.
	Err error
}

// same reports whether two presences are equal.
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

// Members returns the presence of each other member, the longest-standing
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
		p.Err = nil // a failed dial is not an event: Watch could not yield it
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

// A Change reports that a member's presence has changed, that it is no longer a
// member, or that the library is gone.
type Change struct {
	Library  *Library
	Presence Presence
	Removed  bool // Presence is the last one
}

// Watch yields the presence of every member of every library, then each change,
// until ctx is done. Of simultaneous changes it yields first the members that
// are gone, then the others; both in the order of [Libraries.All] and, within a
// library, of [Library.Members]. A slow consumer misses intermediate states,
// never the latest. Watch may be called any number of times.
func (h *Libraries) Watch(ctx context.Context) iter.Seq[Change] {
	return func(yield func(Change) bool) {
		var told presences
		for {
			again := h.changed.next()
			now := h.presences()
			for _, change := range now.since(told) {
				if !yield(change) {
					return
				}
			}
			told = now
			select {
			case <-again:
			case <-ctx.Done():
				return
			}
		}
	}
}

// A place is a member of one of the libraries.
type place struct {
	library  *Library
	instance identity.RemoteIdentity
}

// presences are the presences of all members of all libraries: in the order of
// [Libraries.All] and, within a library, of [Library.Members].
type presences struct {
	order []place
	at    map[place]Presence
}

func (h *Libraries) presences() presences {
	all := presences{at: map[place]Presence{}}
	for _, l := range h.All() {
		for _, p := range l.Members() {
			at := place{l, p.Member.Instance}
			all.order = append(all.order, at)
			all.at[at] = p
		}
	}
	return all
}

// since returns the changes since then: first the members that are gone, since
// the same library may have been added again.
func (now presences) since(then presences) (all []Change) {
	for _, at := range then.order {
		if _, ok := now.at[at]; !ok {
			all = append(all, Change{Library: at.library, Presence: then.at[at], Removed: true})
		}
	}
	for _, at := range now.order {
		p := now.at[at]
		if last, ok := then.at[at]; !ok || !last.same(p) {
			all = append(all, Change{Library: at.library, Presence: p})
		}
	}
	return all
}

// A signal wakes all waiting goroutines. The zero signal is ready to use.
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
