package p2p

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"github.com/sdp2p/p2p/identity"
)

// A Scope is a hook's access to its node. Everything it reports is recorded
// under its name, and it can take back only its own reports. Once its Run has
// returned, methods return [ErrStopped] and have no effect. All methods may be
// called concurrently, and only [Scope.Probe] and [Scope.Others] block. The
// node takes over maps and slices that it is given: they must not be modified
// afterwards.
type Scope struct {
	node *P2P
	reg  *registration
	log  *slog.Logger
}

// Node returns the node that the hook is registered with.
func (s *Scope) Node() *P2P { return s.node }

// Identity returns the node's key pair.
func (s *Scope) Identity() identity.Identity { return s.node.identity }

// Logger returns the node's logger, with the hook's name added.
func (s *Scope) Logger() *slog.Logger { return s.log }

// Ready says that the hook serves. Calls after the first have no effect.
func (s *Scope) Ready() {
	s.node.mu.Lock()
	defer s.node.mu.Unlock()
	if !s.reg.isReady {
		s.reg.isReady = true
		close(s.reg.ready)
	}
}

// do calls f with the node's state while the hook runs.
func (s *Scope) do(f func(*state) error) error {
	return s.node.change(s.reg, f)
}

// Discovered reports a peer: its metadata, as far as the discovery knows it,
// and how it might be reached. It replaces the hook's earlier report of the
// peer; repeating it is cheap and raises no event. At most [MaxCandidates]
// candidates are kept, and only those whose address can be that of a single
// host. Errors are [ErrSelf], [ErrTableFull], and those of [ValidateMetadata].
func (s *Scope) Discovered(id identity.RemoteIdentity, metadata map[string]string, candidates []Candidate) error {
	if err := s.checkPeer(id, metadata); err != nil {
		return err
	}
	candidates = slices.DeleteFunc(candidates, func(c Candidate) bool { return (c.Kind != Relay || c.Addr.IsValid()) && !somebodys(c.Addr.Addr()) })
	return s.do(func(st *state) error {
		return st.discovered(s.reg, id, metadata, candidates[:min(len(candidates), MaxCandidates)])
	})
}

func (s *Scope) checkPeer(id identity.RemoteIdentity, metadata map[string]string) error {
	if id.IsZero() {
		return identity.ErrInvalid
	}
	if id == s.node.remote {
		return ErrSelf
	}
	if err := ValidateMetadata(metadata); err != nil {
		return fmt.Errorf("p2p: metadata of %v: %w", id, err)
	}
	return nil
}

// Expired withdraws what the hook has reported of a peer with Discovered.
func (s *Scope) Expired(id identity.RemoteIdentity) error {
	return s.do(func(st *state) error {
		if p := st.peers.known[id]; p != nil {
			st.expired(s.reg, p)
		}
		return nil
	})
}

// AddAddr reports that the listener accepts connections at addr. An unspecified
// address stands for every address of its family that the host has.
func (s *Scope) AddAddr(addr netip.AddrPort) error {
	return s.do(func(st *state) error {
		st.addAddr(s.reg, addr)
		return nil
	})
}

// RemoveAddr undoes AddAddr.
func (s *Scope) RemoveAddr(addr netip.AddrPort) error {
	return s.do(func(st *state) error {
		st.removeAddr(s.reg, addr)
		return nil
	})
}

// Connected reports a connection with a peer whose identity the listener has
// authenticated. The listener calls it before it hands over streams of the
// connection, and Disconnected when the connection is gone. It is normal to
// have two connections with one peer: nodes that dial each other at once get
// two. Repeating it for a connection has no effect.
//
// For a connection initiated by the peer, the listener calls [P2P.Allows]
// first. If either call fails, it closes the connection without having sent
// anything; errors of Connected include [ErrSelf] and [ErrRevoked].
func (s *Scope) Connected(id identity.RemoteIdentity, conn RawConn) error {
	if err := s.checkPeer(id, nil); err != nil {
		return err
	}
	path := conn.Path()
	return s.do(func(st *state) error {
		if _, revoked := st.peers.revoked[id]; revoked {
			return ErrRevoked
		}
		st.connected(s.reg, id, conn, path)
		return nil
	})
}

// Disconnected undoes Connected.
func (s *Scope) Disconnected(id identity.RemoteIdentity, conn RawConn) error {
	stats := statsOf(conn)
	return s.do(func(st *state) error {
		if p := st.peers.known[id]; p != nil {
			st.disconnected(s.reg, p, conn, stats)
		}
		return nil
	})
}

// Moved reports that a connection no longer takes the path from, but the one
// that conn.Path now returns. It has no effect for a connection that is not
// connected.
func (s *Scope) Moved(id identity.RemoteIdentity, conn RawConn, from Path) error {
	to, stats := conn.Path(), statsOf(conn)
	return s.do(func(st *state) error {
		if p := st.peers.known[id]; p != nil && to != from {
			st.moved(s.reg, p, conn, from, to, stats)
		}
		return nil
	})
}

// NetworkModified reports that the computer's network has changed, or that the
// computer was asleep.
func (s *Scope) NetworkModified(e NetworkModified) error {
	return s.do(func(st *state) error {
		st.bus.publish(e)
		st.note(&note{what: kindNetwork, in: s.reg.in})
		return nil
	})
}

// Vanished reports that the listener lost a peer without a goodbye, or could
// not reach it. The node asks the hooks that discover the peer to check whether
// it is still there ([Reconfirmer]).
func (s *Scope) Vanished(id identity.RemoteIdentity) { s.node.reconfirm(id) }

// Stated reports the metadata that a peer has sent over a connection that
// authenticated it. The metadata counts until the listener's last connection
// with the peer is gone. Stated fails with [ErrUnavailable] if there is none,
// and with the errors of [ValidateMetadata].
func (s *Scope) Stated(id identity.RemoteIdentity, metadata map[string]string) error {
	if err := s.checkPeer(id, metadata); err != nil {
		return err
	}
	return s.do(func(st *state) error {
		p := st.peers.known[id]
		if p == nil || !p.connectedBy(s.reg) {
			return ErrUnavailable
		}
		st.stated(s.reg, p, metadata)
		return nil
	})
}

// Track keeps a peer in view for the hook, as [P2P.Track] does for the app. The
// hook's Untrack, or its end, undoes that. Track also returns nil once the hook
// has stopped.
func (s *Scope) Track(id identity.RemoteIdentity) *Peer { return s.node.track(s.reg, id) }

// Untrack undoes [Scope.Track].
func (s *Scope) Untrack(id identity.RemoteIdentity) { s.node.untrack(s.reg, id) }

// Announces records whether the hook announces this node and its metadata to
// everybody on a network. Until a hook calls it, and once the hook has ended,
// it counts as false.
func (s *Scope) Announces(does bool) {
	_ = s.do(func(*state) error {
		s.reg.announces = does
		return nil
	})
}

// Announced reports whether a hook announces this node and its metadata to
// everybody on a network. Listeners tell strangers no more than such an
// announcement does.
func (s *Scope) Announced() bool {
	s.node.mu.Lock()
	defer s.node.mu.Unlock()
	return slices.ContainsFunc(s.node.state.hooks.running, func(r *registration) bool { return r.announces })
}

// Stranger reports whether a peer is a stranger: neither tracked nor behind a
// [Manual] candidate. Listeners keep strangers within a budget of their own. On
// a connection that this node dialed, no peer is a stranger.
func (s *Scope) Stranger(id identity.RemoteIdentity) bool { return s.node.isStranger(id) }

// Speaks returns the version of the wire protocol that a peer is certain to
// speak, according to a [Voucher] among the node's hooks; 0 if none knows. It
// must not be called while holding a lock that such a hook may take.
func (s *Scope) Speaks(id identity.RemoteIdentity) (version int) {
	var vouchers []Voucher
	s.node.mu.Lock()
	for _, r := range s.node.state.hooks.running {
		if v, ok := r.hook.(Voucher); ok {
			vouchers = append(vouchers, v)
		}
	}
	s.node.mu.Unlock()
	for _, v := range vouchers {
		version = max(version, v.Speaks(id))
	}
	return version
}

// Expect prepares for a call from a node that is not known yet: it calls
// [Rendezvous] of all hooks that implement it. The caller must call over.
func (s *Scope) Expect() (at []Candidate, over func()) { return s.node.expect() }

// Accept hands over a stream that a connected peer has opened. The node serves
// the stream, or resets it with the code that says why not; either way the
// stream then belongs to the node.
func (s *Scope) Accept(from identity.RemoteIdentity, raw RawStream) {
	s.node.mu.Lock()
	st := s.node.state.peers.known[from]
	live := s.reg.live
	ok := live && st != nil && st.connectedBy(s.reg)
	s.node.mu.Unlock()
	switch {
	case !live:
		raw.Reset(ErrShuttingDown)
	case !ok:
		raw.Reset(ErrRefused)
	default:
		s.node.streams.serve(st.peer, raw, s.reg.name)
	}
}

// Count adds n to one of the hook's [Counters]. what is a name of lower-case
// letters and underscores, such as "tunnels_refused"; by is the cause, kind or
// outcome, one of a few. A node keeps 512 pairs of the two; for later pairs, by
// becomes "other". Count is meant for events that happen at most a few hundred
// times a second.
func (s *Scope) Count(what, by string, n uint64) {
	s.node.mu.Lock()
	defer s.node.mu.Unlock()
	s.node.state.counts.add(count{what, by}, n)
}

// Note records something that happened to the hook, for an operator to see
// later: among the events of [P2P.State], and in the log at level Debug. It
// must not contain a secret. peer may be zero, and cause nil.
func (s *Scope) Note(peer identity.RemoteIdentity, cause error) {
	s.node.note(&note{what: kindReported, peer: peer, in: &circumstances{hook: s.reg.name, cause: cause}}, "", "")
}
