package relay

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/junction"
)

// Reasons why a connection runs through a relay: see [Upgrade.Err]. Other
// errors come from the connection or its peer.
var (
	// ErrOnly says that this node keeps its addresses to itself.
	ErrOnly = errors.New("relay: connections through relays stay there: Config.Only")
	// ErrNotTracked says that the peer has called, and that this node does not
	// track it and so does not tell it addresses.
	ErrNotTracked = errors.New("relay: the peer is not tracked, and does not learn this node's addresses")
	// ErrNotBegun says that the peer, which was called and has to begin, has
	// not: it does not track this node, keeps its addresses to itself, or is
	// about to begin.
	ErrNotBegun = errors.New("relay: the peer, which was called, has not begun to look for a direct path")
	// ErrOneSided says that the peer has asked for addresses, but tells none.
	ErrOneSided = errors.New("relay: the peer keeps its addresses to itself")
	// ErrNoDirectPath says that none of the addresses has answered.
	ErrNoDirectPath = errors.New("relay: no address of the peer answers")
	// ErrPathLost says that the direct path has ended, and the search for
	// another has not begun.
	ErrPathLost = errors.New("relay: the direct path has ended")
	// ErrTooOften says that too many attempts with the peer are under way, or
	// that the last one ended too recently.
	ErrTooOften = errors.New("relay: too many attempts with that peer")
)

// An Upgrade describes the search for a direct path for a connection that runs
// through a relay, or did when it was made.
type Upgrade struct {
	Peer     identity.RemoteIdentity
	Dialed   bool      // this node has dialed, so that the peer begins attempts
	Direct   bool      // the connection runs directly now
	Attempts int       // number of attempts that have ended
	Since    time.Time // when the last attempt ended, or the connection was made
	Err      error     // why the connection is relayed; nil if it is not, or during the first attempt

	// The addresses of the last attempt, or so far of one under way: this
	// node's addresses that the peer was told; those at which the peer was
	// tried, which it has named or was heard from; and those of them that have
	// answered.
	Told, Tried, Answered []netip.AddrPort
}

// Upgrades describes the connections that began through a relay and have not
// ended, in the order in which they were made.
func (c *Client) Upgrades() []Upgrade {
	u := &c.upgrades
	u.mu.Lock()
	defer u.mu.Unlock()
	type entry struct {
		note *note
		conn junction.Conn
	}
	var list []entry
	for conn, n := range u.notes {
		list = append(list, entry{n, conn})
	}
	slices.SortFunc(list, func(a, b entry) int { return cmp.Compare(a.note.number, b.note.number) })
	all := make([]Upgrade, len(list))
	for i, e := range list {
		all[i] = e.note.report(e.conn)
	}
	return all
}

// A note records a connection's attempts.
type note struct {
	Upgrade
	number  int64    // of the connection
	attempt *attempt // the last one; nil before the first
}

// report returns the present state of a note.
func (n *note) report(conn junction.Conn) Upgrade {
	up := n.Upgrade
	if up.Direct = !conn.Relayed(); up.Direct {
		up.Err = nil
	}
	up.Told = slices.Clone(up.Told)
	if a := n.attempt; a != nil {
		up.Tried, up.Answered = a.came()
	}
	return up
}

// note begins to record a connection's attempts, until the connection ends. The
// caller holds mu.
func (u *upgrades) note(conn junction.Conn, why error) {
	if n := u.notes[conn]; n != nil {
		switch {
		case n.Attempts == 0:
			n.Err = why
		case n.Err == nil:
			n.Err = ErrPathLost
		}
		return
	}
	if u.notes == nil {
		u.notes = map[junction.Conn]*note{}
	}
	u.noted++
	u.notes[conn] = &note{Upgrade: Upgrade{Peer: conn.Peer(), Dialed: conn.Dialed(), Since: time.Now(), Err: why}, number: u.noted}
	context.AfterFunc(conn.Context(), func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		delete(u.notes, conn)
	})
}

// told records the addresses that a peer is about to be told.
func (u *upgrades) told(conn junction.Conn, addrs []netip.AddrPort) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if n := u.notes[conn]; n != nil {
		n.Told, n.attempt = addrs, nil
	}
}

// ended records how an attempt has ended.
func (u *upgrades) ended(conn junction.Conn, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if n := u.notes[conn]; n != nil {
		n.Attempts++
		n.Since, n.Err = time.Now(), err
	}
}

// came returns the addresses tried so far, and those that have answered.
func (a *attempt) came() (tried, answered []netip.AddrPort) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.addrs), slices.Clone(a.answering)
}
