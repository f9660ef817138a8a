package p2p

import (
	"context"
	"log/slog"
	"time"

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

// note is a Note as it is kept.
type note struct {
	_      [0]func() // not comparable, so that no code for it is linked
	number uint64    // counts up
	at     time.Time
	times  int
	what   string
	peer   identity.RemoteIdentity
	hook   string
	in     *circumstances // nil: none
}

// circumstances are the parts of a note that most notes do without: peers come
// and go more often than anything else happens. They are never
// modified.
type circumstances struct {
	_     [0]func()
	route string
	path  Path
	from  *Path
	cause error
}

// The latest notes are kept by kind, so that a flood of one kind does not drive
// out the rarer ones: 64 of each, 256 in all.
const (
	ofDiscoveries = iota
	ofConnections
	ofFailures
	ofNode
	noteKinds

	notesOfKind = 64
)

// notes are the latest notable events, and, while the logger wants them, those
// of the present change.
type notes struct {
	kept   [noteKinds]ring
	taken  uint64
	logged bool    // the present change's are to be logged
	fresh  []*note // of the present change
}

// A ring keeps the latest notes of a kind.
type ring struct {
	notes     []note // of length 0 until there is one, then notesOfKind
	len, last int
}

func kindOf(what string) int {
	switch what {
	case NoteFound, NoteLost:
		return ofDiscoveries
	case NoteConnected, NoteDisconnected, NoteMoved:
		return ofConnections
	case NoteDialFailed, NoteRefused, NoteRefusedThere:
		return ofFailures
	}
	return ofNode
}

// note keeps a note of the present change.
func (s *state) note(n *note) {
	if !counting {
		return
	}
	n.at = s.now()
	s.notes.take(n)
}

func (ns *notes) take(n *note) {
	ns.taken++
	n.number, n.times = ns.taken, 1
	if ns.logged {
		fresh := *n
		ns.fresh = append(ns.fresh, &fresh)
	}
	ns.kept[kindOf(n.what)].take(n)
}

// take keeps a note. If it repeats the last one, only the count of that grows.
func (r *ring) take(n *note) {
	if r.notes == nil {
		r.notes, r.last = make([]note, notesOfKind), notesOfKind-1
	}
	kept := &r.notes[r.last]
	if kept.same(n) {
		n.times += kept.times
	} else {
		r.last = (r.last + 1) % notesOfKind
		r.len = min(r.len+1, notesOfKind)
		kept = &r.notes[r.last]
	}
	// Field by field takes half the time of a copy of all, which would have to
	// wait for the fields that were only just written.
	kept.number, kept.at, kept.times = n.number, n.at, n.times
	kept.what, kept.peer, kept.hook, kept.in = n.what, n.peer, n.hook, n.in
}

// same reports whether two notes differ in their times only.
func (n *note) same(m *note) bool {
	return n.what == m.what && n.peer == m.peer && n.hook == m.hook && n.in.same(m.in)
}

// same reports whether two notes have the same circumstances. Both may be nil.
func (c *circumstances) same(d *circumstances) bool {
	if c == nil || d == nil {
		return c == d
	}
	return c.route == d.route && c.path == d.path && c.from == nil && d.from == nil && text(c.cause) == text(d.cause)
}

// circumstances returns the circumstances, empty ones if there are none.
func (n *note) circumstances() *circumstances {
	if n.in == nil {
		return &circumstances{}
	}
	return n.in
}

func text(err error) string {
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
	if n.hook != "" {
		args = append(args, "hook", n.hook)
	}
	if in.route != "" || n.what == NoteRefused || n.what == NoteRefusedThere {
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
	log.Debug(n.what, args...)
}
