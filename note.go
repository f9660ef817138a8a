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
	number uint64 // counts up
	at     time.Time
	times  int
	what   string
	peer   identity.RemoteIdentity
	hook   string
	route  string
	path   Path
	from   *Path
	cause  error
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
	notes []note
	last  int
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

// take keeps a note. If it repeats the last one of its kind, only the count of
// that grows.
func (ns *notes) take(n *note) {
	if !counting {
		return
	}
	if n.at.IsZero() {
		n.at = time.Now()
	}
	n.times = 1
	ns.taken++
	n.number = ns.taken
	if ns.logged {
		fresh := *n
		ns.fresh = append(ns.fresh, &fresh)
	}
	r := &ns.kept[kindOf(n.what)]
	switch {
	case len(r.notes) > 0 && r.notes[r.last].same(n):
		n.times += r.notes[r.last].times
	case len(r.notes) < notesOfKind:
		r.last = len(r.notes)
		r.notes = append(r.notes, note{})
	default:
		r.last = (r.last + 1) % notesOfKind
	}
	r.notes[r.last] = *n
}

// same reports whether two notes differ in their times only.
func (n *note) same(m *note) bool {
	return n.what == m.what && n.peer == m.peer && n.hook == m.hook && n.route == m.route && n.path == m.path &&
		n.from == nil && m.from == nil && text(n.cause) == text(m.cause)
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
	args := make([]any, 0, 12)
	if !n.peer.IsZero() {
		args = append(args, "peer", n.peer)
	}
	if n.hook != "" {
		args = append(args, "hook", n.hook)
	}
	if n.route != "" || n.what == NoteRefused || n.what == NoteRefusedThere {
		args = append(args, "route", n.route)
	}
	if n.path != (Path{}) {
		args = append(args, "path", n.path)
	}
	if n.from != nil {
		args = append(args, "from", *n.from)
	}
	if n.cause != nil {
		args = append(args, "cause", shown{n.cause})
	}
	log.Debug(n.what, args...)
}
