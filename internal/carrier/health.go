package carrier

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

const (
	hopeless   = 2 * time.Second        // of failing, though there is a route
	lookTime   = 500 * time.Millisecond // between looks at what fails
	rebindTime = 2 * time.Second        // after a new socket that failed, too; doubles
	rebindMax  = time.Minute            // at most
)

// Health is what is known about the system's socket. Times are since began.
type health struct {
	began   time.Time
	failing atomic.Int64 // when a run of failures to send began; 0 if the last packet was sent
	next    atomic.Int64 // nothing is looked at before
	looking atomic.Bool  // a goroutine has what follows

	run     int64         // that routed is about
	routed  time.Duration // since when packets could have been sent; 0 if they could not
	rebinds int           // a short time after one another
	rebound time.Duration // the last one
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

// examine has a goroutine look at what failed, if it is time for that: sending
// to an address, or if that is none, reading, for long.
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

// look binds the socket anew if that is called for.
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
		log.Warn("the UDP socket failed, and cannot be bound anew yet", "err", err)
	case err == nil && (h.rebinds == 1 || again):
		log.Warn("the UDP socket failed, and was bound anew")
	}
}

// hopeless reports whether nothing can be sent for long enough, although a new
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

// rebind replaces the system's socket by a new one with the same options. The
// port is free only after the old one is closed: until there is a new one,
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
	s.below.Store(&k)
	s.wake()
	return nil
}

// prepare gives a new socket what the owner has set on the old one. What a new
// one does not take, it lacks. The caller holds mu.
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
