package p2p

import (
	"context"
	"log/slog"

	"github.com/sdp2p/p2p/identity"
)

// Values of [Note.What].
const (
	NoteFound        = "found"         // a hook has discovered a peer, or now reports other candidates for it
	NoteLost         = "lost"          // a hook no longer discovers a peer
	NoteConnected    = "connected"     // a connection is up
	NoteDisconnected = "disconnected"  // a connection is down
	NoteMoved        = "moved"         // a connection has changed its path
	NoteDialFailed   = "dial failed"   // no candidate led to a peer
	NoteRefused      = "refused"       // this node has refused a connection, a stream or a tunnel
	NoteRefusedThere = "refused there" // a peer has refused a stream of this node, or reset it
	NoteHookStopped  = "hook stopped"  // a hook has ended unasked
	NoteRevoked      = "revoked"       // see [P2P.Revoke]
	NoteReinstated   = "reinstated"    // see [P2P.Reinstate]
	NoteNetwork      = "network"       // the network of this computer has changed
	NoteReported     = "reported"      // what a hook reports of itself: see [Scope.Note]
)

// note is a Note as it is kept. It has the size of a cache line, since peers
// come and go more often than anything else happens, and what a note costs is
// mostly the memory that it touches.
type note struct {
	_      [0]func() // not comparable, so that no code for it is linked
	number uint64    // counts up
	at     int64     // Unix nanoseconds
	peer   identity.RemoteIdentity
	in     *circumstances // nil: none
	times  uint32
	what   noteKind
}

// circumstances are the rarer parts of a note, or those that many notes share:
// the name of a hook. They are not modified.
type circumstances struct {
	_     [0]func()
	hook  string
	route string
	path  Path
	from  *Path
	cause error
}

// The latest notes are kept in rings, so that a flood of some does not drive out
// the rarer ones: 64 in each, 256 in all.
const (
	ofDiscoveries = iota
	ofConnections
	ofFailures
	ofNode
	noteRings

	ringSize = 64
)

// notes are the latest notable events, and, while the logger wants them, those
// of the present change.
type notes struct {
	kept   [noteRings]ring
	taken  uint64
	logged bool    // the present change's are to be logged
	fresh  []*note // of the present change
}

// A ring keeps the latest notes of some kinds.
type ring struct {
	notes     []note // nil until there is one, then of length ringSize
	len, last int
}

// A noteKind is a value of [Note.What].
type noteKind uint8

const (
	kindFound noteKind = iota
	kindLost
	kindConnected
	kindDisconnected
	kindMoved
	kindDialFailed
	kindRefused
	kindRefusedThere
	kindHookStopped
	kindRevoked
	kindReinstated
	kindNetwork
	kindReported
)

// whats are the values, by kind.
var whats = [...]string{
	NoteFound, NoteLost, NoteConnected, NoteDisconnected, NoteMoved, NoteDialFailed, NoteRefused, NoteRefusedThere,
	NoteHookStopped, NoteRevoked, NoteReinstated, NoteNetwork, NoteReported,
}

// ringOf returns the ring in which notes of a kind are kept.
func ringOf(k noteKind) int {
	switch {
	case k <= kindLost:
		return ofDiscoveries
	case k <= kindMoved:
		return ofConnections
	case k <= kindRefusedThere:
		return ofFailures
	}
	return ofNode
}

// note keeps a note of the present change.
func (s *state) note(n *note) {
	if !counting {
		return
	}
	n.at = s.now().UnixNano()
	s.notes.take(n)
}

func (ns *notes) take(n *note) {
	ns.taken++
	n.number, n.times = ns.taken, 1
	if ns.logged {
		fresh := *n
		ns.fresh = append(ns.fresh, &fresh)
	}
	ns.kept[ringOf(n.what)].take(n)
}

// take keeps a note. If it repeats the last one, only the count of that grows.
func (r *ring) take(n *note) {
	if r.notes == nil {
		r.notes, r.last = make([]note, ringSize), ringSize-1
	}
	kept := &r.notes[r.last]
	if kept.same(n) {
		n.times = max(kept.times, kept.times+1) // it stays at the most
	} else {
		r.last = (r.last + 1) % ringSize
		r.len = min(r.len+1, ringSize)
		kept = &r.notes[r.last]
	}
	// Field by field takes half the time of a copy of all, which would have to
	// wait for the fields that were only just written.
	kept.number, kept.at, kept.times = n.number, n.at, n.times
	kept.what, kept.peer = n.what, n.peer
	if kept.in != n.in { // seldom; the garbage collector has to be told of it
		kept.in = n.in
	}
}

// same reports whether two notes differ in their times only.
func (n *note) same(m *note) bool {
	return n.what == m.what && n.peer == m.peer && n.in.same(m.in)
}

// same reports whether two notes have the same circumstances. Both may be nil.
func (c *circumstances) same(d *circumstances) bool {
	if c == nil || d == nil {
		return c == d
	}
	return c.hook == d.hook && c.route == d.route && c.path == d.path && c.from == nil && d.from == nil && textOf(c.cause) == textOf(d.cause)
}

// circumstances returns the circumstances, empty ones if there are none.
func (n *note) circumstances() *circumstances {
	if n.in == nil {
		return &circumstances{}
	}
	return n.in
}

func textOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// log writes a note to the log. All lines have the same keys.
func (n *note) log(log *slog.Logger) {
	if !log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	args, in := make([]any, 0, 12), n.circumstances()
	if !n.peer.IsZero() {
		args = append(args, "peer", n.peer)
	}
	if in.hook != "" {
		args = append(args, "hook", in.hook)
	}
	if in.route != "" || n.what == kindRefused || n.what == kindRefusedThere {
		args = append(args, "route", in.route)
	}
	if in.path != (Path{}) {
		args = append(args, "path", in.path)
	}
	if in.from != nil {
		args = append(args, "from", *in.from)
	}
	if in.cause != nil {
		args = append(args, "cause", shown{in.cause})
	}
	log.Debug(whats[n.what], args...)
}
