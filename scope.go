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
// called concurrently, and none but [Scope.Probe] blocks. The node takes over
// maps and slices that it is given: they must not be modified afterwards.
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
	s.node.mu.Lock()
	defer s.node.mu.Unlock()
	if !s.reg.live {
		return ErrStopped
	}
	return f(&s.node.state)
}

// Discovered reports a peer: its metadata, as far as the discovery knows, and
// how it might be reached. It replaces the hook's earlier report of the peer;
// repeating it is cheap and raises no event. No more than [MaxCandidates] of
// the candidates are kept, and of addresses only those of one host. Errors are
// [ErrSelf], [ErrTableFull], and those of [ValidateMetadata].
func (s *Scope) Discovered(id identity.RemoteIdentity, metadata map[string]string, candidates []Candidate) error {
	if err := s.checkPeer(id, metadata); err != nil {
		return err
	}
	candidates = slices.DeleteFunc(candidates, func(c Candidate) bool { return c.Kind != Relay && !somebodys(c.Addr.Addr()) })
	return s.do(func(st *state) error {
		return st.discovered(s.reg, id, metadata, candidates[:min(len(candidates), MaxCandidates)])
	})
}

// somebodys reports whether an address may be that of one host.
func somebodys(ip netip.Addr) bool {
	ip = ip.Unmap()
	return ip.IsValid() && !ip.IsUnspecified() && !ip.IsMulticast() && ip != netip.AddrFrom4([4]byte{255, 255, 255, 255})
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

// Expired takes back the hook's report of a peer with Discovered.
func (s *Scope) Expired(id identity.RemoteIdentity) error {
	return s.do(func(st *state) error {
		if p := st.peers.known[id]; p != nil {
			st.expired(s.reg, p)
		}
		return nil
	})
}

// AddAddr says that the listener accepts connections at addr. An unspecified
// address stands for every address of its family that the host has.
func (s *Scope) AddAddr(addr netip.AddrPort) error {
	return s.do(func(st *state) error {
		st.addAddr(s.reg, addr)
		return nil
	})
}

// RemoveAddr takes back AddAddr.
func (s *Scope) RemoveAddr(addr netip.AddrPort) error {
	return s.do(func(st *state) error {
		st.removeAddr(s.reg, addr)
		return nil
	})
}

// Connected reports a connection with a peer whose identity the listener has
// authenticated. The listener calls it before it hands over streams of the
// connection, and Disconnected when the connection is gone. Two connections
// with one peer at a time are normal: nodes that dial each other at once get
// two. Repeating it for one connection has no effect.
//
// For a connection initiated by the peer, the listener calls [P2P.Allows]
// first. If either call fails, it closes the connection without having sent
// anything; errors of Connected include [ErrSelf] and [ErrRevoked].
func (s *Scope) Connected(id identity.RemoteIdentity, conn RawConn) error {
	if err := s.checkPeer(id, nil); err != nil {
		return err
	}
	return s.do(func(st *state) error {
		if _, revoked := st.peers.revoked[id]; revoked {
			return ErrRevoked
		}
		st.connected(s.reg, id, conn)
		return nil
	})
}

// Disconnected takes back Connected.
func (s *Scope) Disconnected(id identity.RemoteIdentity, conn RawConn) error {
	return s.do(func(st *state) error {
		if p := st.peers.known[id]; p != nil {
			st.disconnected(s.reg, p, conn)
		}
		return nil
	})
}

// Moved reports that a connection runs another way than before, as [RawConn]'s Path
// tells from now on. It does nothing for one that is not connected.
func (s *Scope) Moved(id identity.RemoteIdentity, conn RawConn, from Path) error {
	to := conn.Path()
	return s.do(func(st *state) error {
		if p := st.peers.known[id]; p != nil && to != from && p.has(s.reg, conn) {
			st.bus.publish(PeerPathChanged{Peer: p.peer, From: from, To: to})
		}
		return nil
	})
}

// NetworkModified reports that the computer's network has changed, or that the
// computer was asleep.
func (s *Scope) NetworkModified(e NetworkModified) error {
	return s.do(func(st *state) error {
		st.bus.publish(e)
		return nil
	})
}

// Vanished reports that the listener lost a peer that did not say goodbye, or
// could not reach it. The node asks the hooks that discover the peer to check
// whether it is still there ([Reconfirmer]).
func (s *Scope) Vanished(id identity.RemoteIdentity) { s.node.reconfirm(id) }

// Stated reports the metadata that a peer has sent over a connection that
// authenticated it. It counts until the listener's last connection with the
// peer is gone. Errors are [ErrUnavailable] if there is none, and those of
// [ValidateMetadata].
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

// Track keeps a peer in view even while it is unavailable, such as another
// device of the user: it is among [P2P.Tracked], with the reason why it cannot
// be reached, and the table never evicts it. The hook's last Untrack, or its
// end, takes that back. Track returns the peer, or nil for this node itself and
// once the hook has stopped.
func (s *Scope) Track(id identity.RemoteIdentity) (peer *Peer) {
	if id.IsZero() || id == s.node.remote {
		return nil
	}
	_ = s.do(func(st *state) error {
		peer = st.track(s.reg, id)
		return nil
	})
	return peer
}

// Untrack takes back [Scope.Track].
func (s *Scope) Untrack(id identity.RemoteIdentity) {
	_ = s.do(func(st *state) error {
		st.untrack(s.reg, id)
		return nil
	})
}

// Announces reports whether the hook tells everybody on a network of this node
// and its metadata. Until a hook says so, and from its end on, it does not.
func (s *Scope) Announces(does bool) {
	_ = s.do(func(*state) error {
		s.reg.announces = does
		return nil
	})
}

// Announced reports whether a hook tells everybody on a network of this node
// and its metadata. Listeners tell strangers no more than they could hear
// there.
func (s *Scope) Announced() bool {
	s.node.mu.Lock()
	defer s.node.mu.Unlock()
	return slices.ContainsFunc(s.node.state.hooks.running, func(r *registration) bool { return r.announces })
}

// Stranger reports whether a peer is a stranger: neither tracked nor behind a
// [Manual] candidate. Listeners keep strangers within a budget of their own. On
// a connection that this node dialed, no peer is a stranger.
func (s *Scope) Stranger(id identity.RemoteIdentity) bool { return s.node.isStranger(id) }

// Speaks returns the version of the wire protocol that a peer speaks for certain, as
// a [Voucher] among the node's hooks knows; 0 if none does. It must not be called
// while a lock is held that such a hook may take.
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

// Accept hands over a stream that a connected peer has opened. The node serves
// the stream, or resets it with the code that says why not; either way it is
// the node's from now on.
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
		s.node.streams.serve(st.peer, raw)
	}
}
