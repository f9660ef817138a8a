package quic

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// limits are the endpoint's own resource limits. The default resource manager of go-libp2p resets the 76th concurrent
// stream of a peer and allows 8 connections for each IPv4 address; streams are limited by the node instead, and addresses
// say little about peers behind one NAT.
type limits struct {
	network.NullResourceManager
	maxConns, maxConnsPerPeer int // < 0: no limit

	inbound atomic.Int64 // connections, those in their handshake included
	window  atomic.Int64 // bytes by which receive windows have grown

	mu    sync.Mutex
	peers map[peer.ID]int // inbound connections
}

func newLimits(maxConns, maxConnsPerPeer int) *limits {
	return &limits{maxConns: maxConns, maxConnsPerPeer: maxConnsPerPeer, peers: map[peer.ID]int{}}
}

var (
	errTooManyConns  = errors.New("quic: too many inbound connections")
	errTooMuchMemory = errors.New("quic: receive windows take too much memory")
	errConnOver      = errors.New("quic: the connection is over")
)

// OpenConnection counts a connection, an inbound one from the beginning of its handshake on.
func (l *limits) OpenConnection(dir network.Direction, _ bool, _ ma.Multiaddr) (network.ConnManagementScope, error) {
	s := &connScope{limits: l, inbound: dir == network.DirInbound}
	if s.inbound {
		if n := l.inbound.Add(1); l.maxConns >= 0 && n > int64(l.maxConns) {
			l.inbound.Add(-1)
			return nil, errTooManyConns
		}
	}
	return s, nil
}

// A connScope accounts for one connection.
type connScope struct {
	network.NullScope
	limits  *limits
	inbound bool
	window  atomic.Int64
	done    sync.Once

	// Guarded by limits.mu: a connection may be lost while its peer is told of.
	peer peer.ID // of an inbound connection, once it is known
	over bool
}

// SetPeer counts an inbound connection for its peer. It fails where that has too
// many, and where the connection is over already.
func (s *connScope) SetPeer(p peer.ID) error {
	if !s.inbound {
		return nil
	}
	l := s.limits
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.over {
		return errConnOver
	}
	if l.maxConnsPerPeer >= 0 && l.peers[p] >= l.maxConnsPerPeer {
		return errTooManyConns
	}
	l.peers[p]++
	s.peer = p
	return nil
}

func (s *connScope) ReserveMemory(size int, _ uint8) error {
	if s.limits.window.Add(int64(size)) > windowMemory {
		s.limits.window.Add(-int64(size))
		return errTooMuchMemory
	}
	s.window.Add(int64(size))
	return nil
}

func (s *connScope) ReleaseMemory(size int) {
	s.window.Add(-int64(size))
	s.limits.window.Add(-int64(size))
}

func (s *connScope) Done() {
	s.done.Do(func() {
		l := s.limits
		l.window.Add(-s.window.Swap(0))
		if !s.inbound {
			return
		}
		l.inbound.Add(-1)
		l.mu.Lock()
		defer l.mu.Unlock()
		s.over = true
		if s.peer != "" {
			if l.peers[s.peer]--; l.peers[s.peer] == 0 {
				delete(l.peers, s.peer)
			}
		}
	})
}
