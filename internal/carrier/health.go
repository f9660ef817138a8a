package carrier

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

const (
	hopeless   = 2 * time.Second        // of failures despite a route, before a rebind
	lookTime   = 500 * time.Millisecond // between examinations of failures
	rebindTime = 2 * time.Second        // after a new socket that failed too; doubles
	rebindMax  = time.Minute            // at most
)

// A health holds what is known about the condition of the system's socket.
// Times are since began.
type health struct {
	began   time.Time
	failing atomic.Int64 // when the run of failed sends began; 0 if the last send succeeded
	next    atomic.Int64 // no examination before this time
	looking atomic.Bool  // a goroutine owns the following fields

	run     int64         // the run that routed belongs to
	routed  time.Duration // since when a route has existed; 0 if there is none
	rebinds int           // in quick succession
	rebound time.Duration // time of the last one
}

// sent records that a packet was sent.
func (h *health) sent() {
	if h.failing.Load() != 0 {
		h.failing.Store(0)
	}
}

// failed records that the system refused to send to an address.
func (s *Socket) failed(err error, to *net.UDPAddr) {
	s.health.failing.CompareAndSwap(0, max(int64(time.Since(s.health.began)), 1))
	var addr netip.AddrPort
	if to != nil {
		addr = to.AddrPort()
	}
	s.examine(err, addr)
}

// examine starts a goroutine that examines a failure, unless it is too early
// for that. The failure is one of sending to an address, or, if the address is
// not valid, a persistent one of reading.
func (s *Socket) examine(err error, to netip.AddrPort) {
	h := &s.health
	if int64(time.Since(h.began)) < h.next.Load() || !h.looking.CompareAndSwap(false, true) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		h.looking.Store(false)
		return
	}
	s.mending.Go(func() {
		defer h.looking.Store(false)
		s.look(err, to)
	})
}

// look rebinds the socket if necessary.
func (s *Socket) look(cause error, to netip.AddrPort) {
	h := &s.health
	now := time.Since(h.began)
	h.next.Store(int64(now + lookTime))
	again := s.isBroken()
	if !again && (errors.Is(cause, net.ErrClosed) || to.IsValid() && !s.hopeless(now, to)) {
		return
	}
	if now-h.rebound > 2*rebindMax {
		h.rebinds = 0
	}
	h.rebound = now
	h.next.Store(int64(now + min(rebindTime<<min(h.rebinds, 5), rebindMax)))
	h.rebinds++
	err := s.rebind()
	switch log := s.cfg.Logger.With("addr", s.LocalAddr(), "cause", cause); {
	case errors.Is(err, net.ErrClosed):
	case err != nil && !again:
		log.Warn("the UDP socket failed, and cannot be bound anew yet", "cause", err)
	case err == nil && (h.rebinds == 1 || again):
		log.Warn("the UDP socket failed, and was bound anew")
	}
}

// hopeless reports whether sending has failed for long enough, although a new
// socket could have sent all the time.
func (s *Socket) hopeless(now time.Duration, to netip.AddrPort) bool {
	h := &s.health
	run := h.failing.Load()
	if run == 0 {
		return false
	}
	if run != h.run {
		h.run, h.routed = run, 0
	}
	switch {
	case !s.cfg.Routed(to):
		h.routed = 0
	case h.routed == 0:
		h.routed = max(now, 1)
	default:
		return now-h.routed >= hopeless
	}
	return false
}

func (s *Socket) isBroken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken
}

// rebind replaces the system's socket with a new one with the same options. The
// port becomes free only when the old one is closed: until the new one is open,
// packets are lost.
func (s *Socket) rebind() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	_ = s.kernel().Close()
	k, err := s.open()
	s.broken = err != nil
	if err != nil {
		return err
	}
	s.prepare(k)
	if u, ok := k.(udp); ok && s.gatherer.Load() != nil {
		Gather(u) // the gatherer of the Socket continues
	}
	s.below.Store(&k)
	s.wake()
	return nil
}

// prepare sets the owner's options on a new socket. Options that the socket
// refuses are ignored. The caller holds mu.
func (s *Socket) prepare(k kernel) {
	if s.readBuffer != 0 {
		_ = k.SetReadBuffer(s.readBuffer)
	}
	if s.writeBuffer != 0 {
		_ = k.SetWriteBuffer(s.writeBuffer)
	}
	if raw, err := k.SyscallConn(); err == nil {
		for _, f := range s.controls {
			_ = raw.Control(f)
		}
	}
	if !s.readUntil.IsZero() {
		_ = k.SetReadDeadline(s.readUntil)
	}
	if !s.writeUntil.IsZero() {
		_ = k.SetWriteDeadline(s.writeUntil)
	}
}
