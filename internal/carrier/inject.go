package carrier

import (
	"errors"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A packet is a packet that a circuit has brought.
type packet struct {
	b    [MaxFrame]byte
	n    int
	from *Link
}

var packets = sync.Pool{New: func() any { return new(packet) }}

func newPacket() *packet { return packets.Get().(*packet) }

func (p *packet) free() {
	p.from = nil
	packets.Put(p)
}

// An injector holds packets from circuits until the Socket's reader takes them.
// They take turns with the system's packets, and Links take turns with each
// other, so that a circuit that brings too much starves nobody.
//
// A reader that waits for the system is woken through the socket's deadline.
// Either the reader sees a packet before it waits, or the goroutine that brings
// the packet sees that the reader waits.
type injector struct {
	queued  atomic.Int32 // number of packets
	ran     atomic.Int32 // reads from circuits since the last read from the system
	waiting atomic.Int32 // readers that wait for the system, or are about to
	poked   atomic.Bool  // the system's deadline is set to wake the reader, not to the owner's; changed under the Socket's mu

	mu    sync.Mutex
	ready []*Link // Links with packets, in the order of their turns
}

// put hands over a packet of a Link. It waits for room, and returns false if
// the circuit ends first.
func (i *injector) put(s *Socket, p *packet, ended <-chan struct{}) bool {
	l := p.from
	for {
		i.mu.Lock()
		if len(l.queue) < maxQueued && !l.isClosed() {
			if len(l.queue) == 0 {
				i.ready = append(i.ready, l)
			}
			l.queue = append(l.queue, p)
			i.queued.Add(1)
			i.mu.Unlock()
			break
		}
		i.mu.Unlock()
		select {
		case <-l.room:
		case <-ended:
			return false
		case <-l.done:
			return false
		}
	}
	if i.waiting.Load() > 0 {
		s.poke()
	}
	return true
}

func (l *Link) isClosed() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// take returns the next packet, or nil.
func (i *injector) take() *packet {
	if i.queued.Load() == 0 {
		return nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.ready) == 0 {
		return nil
	}
	l := i.ready[0]
	i.ready = slices.Delete(i.ready, 0, 1)
	p := l.queue[0]
	l.queue = slices.Delete(l.queue, 0, 1)
	if len(l.queue) > 0 {
		i.ready = append(i.ready, l)
	}
	i.queued.Add(-1)
	select {
	case l.room <- struct{}{}:
	default:
	}
	return p
}

// drop discards the packets of a closed Link.
func (i *injector) drop(l *Link) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.queued.Add(-int32(len(l.queue)))
	for _, p := range l.queue {
		p.free()
	}
	l.queue = nil
	i.ready = slices.DeleteFunc(i.ready, func(other *Link) bool { return other == l })
}

// poke wakes the reader.
func (s *Socket) poke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.injected.poked.Swap(true) {
		_ = s.kernel().SetReadDeadline(time.Unix(1, 0))
	}
}

// unpoke restores the owner's deadline, and reports whether the reader was
// woken. It may have been woken for nothing.
func (s *Socket) unpoke() bool {
	if !s.injected.poked.Load() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.injected.poked.Store(false)
	_ = s.kernel().SetReadDeadline(s.readUntil)
	return true
}

// readTurns reads from circuits and from the system in turn: up to run times
// from circuits, then once from the system, if that has packets. take reads
// from circuits and reports whether it has read any; kernel reads from the
// system, without waiting if wait is false.
func (s *Socket) readTurns(run int32, take func() bool, kernel func(wait bool) error) error {
	i := &s.injected
	for t := (trouble{}); ; {
		if i.queued.Load() > 0 {
			if i.ran.Add(1) <= run && take() {
				return nil
			}
			i.ran.Store(0)
			s.unpoke()
			if kernel(false) == nil || take() {
				return nil
			}
		}
		i.waiting.Add(1)
		if i.queued.Load() > 0 {
			i.waiting.Add(-1)
			continue
		}
		err := kernel(true)
		i.waiting.Add(-1)
		if woken := s.unpoke(); err == nil {
			return nil
		} else if expired, _, _ := s.expired(); woken && !expired && errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err := s.waitOut(&t, err); err != nil {
			return err
		}
	}
}
