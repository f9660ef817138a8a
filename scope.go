package p2p

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"github.com/sdp2p/p2p/identity"
)

// A Scope is what a hook may do to its node: all that it reports is booked under its own name, it can take back only
// what it reported itself, and once its Run has returned nothing counts any more (then methods return [ErrStopped]).
// All methods may be called concurrently and never block. The node takes over maps and slices that it is given: they
// must not be modified afterwards.
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

// do calls f under the node's lock while the hook runs.
func (s *Scope) do(f func(n *P2P) error) error {
	s.node.mu.Lock()
	defer s.node.mu.Unlock()
	if !s.reg.live {
		return ErrStopped
	}
	return f(s.node)
}

// Discovered says that a peer is there, what it seems to say of itself, and how it might be reached. It replaces what
// the hook reported of the peer before; repeating it is cheap and raises no event. No more than [MaxCandidates] of the
// candidates are kept. Errors are [ErrSelf], [ErrTableFull], and those of [ValidateMetadata].
func (s *Scope) Discovered(id identity.RemoteIdentity, metadata map[string]string, candidates []Candidate) error {
	if err := s.checkPeer(id, metadata); err != nil {
		return err
	}
	return s.do(func(n *P2P) error {
		return n.discovered(s.reg, id, metadata, candidates[:min(len(candidates), MaxCandidates)])
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

// Expired takes back what the hook reported of a peer with Discovered.
func (s *Scope) Expired(id identity.RemoteIdentity) error {
	return s.do(func(n *P2P) error {
		if st := n.peers[id]; st != nil {
			n.expired(s.reg, st)
		}
		return nil
	})
}

// AddAddr says that the listener accepts connections at addr. An unspecified address stands for every address of its
// family that the host has.
func (s *Scope) AddAddr(addr netip.AddrPort) error {
	return s.do(func(n *P2P) error {
		if !slices.Contains(s.reg.addrs, addr) {
			s.reg.addrs = append(s.reg.addrs, addr)
			n.publish(ListenerAddrAdded{Listener: s.reg.name, Addr: addr})
		}
		return nil
	})
}

// RemoveAddr takes back AddAddr.
func (s *Scope) RemoveAddr(addr netip.AddrPort) error {
	return s.do(func(n *P2P) error {
		n.removeAddr(s.reg, addr)
		return nil
	})
}

func (n *P2P) removeAddr(r *registration, addr netip.AddrPort) {
	if i := slices.Index(r.addrs, addr); i >= 0 {
		r.addrs = slices.Delete(r.addrs, i, i+1)
		n.publish(ListenerAddrRemoved{Listener: r.name, Addr: addr})
	}
}

// Connected says that the listener has a connection with a peer, whose identity it has authenticated. It says so before
// it hands over streams of the connection, and Disconnected when it is gone. Two connections with one peer at a time are
// normal: nodes that dial each other at once get two. Repeating it for one connection has no effect.
//
// Before, the listener asks [P2P.Allows] about a connection that the peer has begun. Where either returns an error, it closes
// the connection, and has told the peer nothing; here that may be [ErrSelf] or [ErrRevoked].
func (s *Scope) Connected(id identity.RemoteIdentity, conn RawConn) error {
	if err := s.checkPeer(id, nil); err != nil {
		return err
	}
	return s.do(func(n *P2P) error {
		if _, revoked := n.revoked[id]; revoked {
			return ErrRevoked
		}
		n.connected(s.reg, id, conn)
		return nil
	})
}

// Disconnected takes back Connected.
func (s *Scope) Disconnected(id identity.RemoteIdentity, conn RawConn) error {
	return s.do(func(n *P2P) error {
		if st := n.peers[id]; st != nil {
			n.disconnected(s.reg, st, conn)
		}
		return nil
	})
}

// Vanished says that the listener has lost a peer that did not say goodbye, or could not reach it: hooks that discover the
// peer are asked to look whether it is still there ([Reconfirmer]).
func (s *Scope) Vanished(id identity.RemoteIdentity) {
	(&Peer{node: s.node, id: id}).reconfirm()
}

// Stated says which metadata a peer has sent over a connection that authenticated it. It counts until the listener's
// last connection with the peer is gone. Errors are [ErrUnavailable] where there is none, and those of
// [ValidateMetadata].
func (s *Scope) Stated(id identity.RemoteIdentity, metadata map[string]string) error {
	if err := s.checkPeer(id, metadata); err != nil {
		return err
	}
	return s.do(func(n *P2P) error {
		st := n.peers[id]
		if st == nil || !st.connectedBy(s.reg) {
			return ErrUnavailable
		}
		n.stated(s.reg, st, metadata)
		return nil
	})
}

// Accept hands over a stream that a connected peer has opened. The node serves it, or resets it with the code that says
// why not; either way it is the node's from now on.
func (s *Scope) Accept(from identity.RemoteIdentity, raw RawStream) {
	s.node.mu.Lock()
	st := s.node.peers[from]
	live := s.reg.live
	ok := live && st != nil && st.connectedBy(s.reg)
	s.node.mu.Unlock()
	switch {
	case !live:
		raw.Reset(ErrShuttingDown)
		return
	case !ok:
		raw.Reset(ErrRefused)
		return
	}
	s.node.streams.serve(st.peer, raw)
}
