package ancestor

import (
	"errors"
	"sync"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Bytes that peers may send before the app reads them, at worst.
const (
	maxMemory         = 64 << 20
	maxStrangerMemory = 16 << 20
)

var errMemory = errors.New("ancestor: no memory for another receive window")

// A budget bounds the receive windows of all connections.
type budget struct {
	mu             sync.Mutex
	all, strangers int
}

// A scope takes receive windows from the budget, with the interface of
// go-libp2p's muxers: those of a connection, or a span with that of one stream.
type scope struct {
	budget   *budget
	peer     peer.ID
	stranger bool
	taken    int // under budget.mu
}

var (
	_ network.PeerScope         = (*scope)(nil)
	_ network.ResourceScopeSpan = (*scope)(nil)
)

// ReserveMemory takes size bytes. Memory that is not indispensable leaves a
// part of the budget free.
func (s *scope) ReserveMemory(size int, prio uint8) error {
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	over := func(taken, most int) bool { return taken+size > most/256*(1+int(prio)) }
	if over(b.all, maxMemory) || s.stranger && over(b.strangers, maxStrangerMemory) {
		return errMemory
	}
	s.add(size)
	return nil
}

// ReleaseMemory returns size bytes.
func (s *scope) ReleaseMemory(size int) {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	s.add(-min(size, s.taken))
}

// add takes n bytes. The caller holds the budget's mu.
func (s *scope) add(n int) {
	s.taken += n
	s.budget.all += n
	if s.stranger {
		s.budget.strangers += n
	}
}

// Done returns all bytes taken. Calls after the first have no effect.
func (s *scope) Done() {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	s.add(-s.taken)
}

// BeginSpan returns the scope of a stream.
func (s *scope) BeginSpan() (network.ResourceScopeSpan, error) {
	return &scope{budget: s.budget, peer: s.peer, stranger: s.stranger}, nil
}

// Stat returns the number of bytes taken.
func (s *scope) Stat() network.ScopeStat {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	return network.ScopeStat{Memory: int64(s.taken)}
}

// Peer returns the peer's name.
func (s *scope) Peer() peer.ID { return s.peer }
