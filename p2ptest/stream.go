package p2ptest

import (
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/sdp2p/p2p"
)

// A stream is one end of a stream. Everything that the other end does arrives
// over the connection's wire; only the room that a Read makes is visible at
// once.
type stream struct {
	end  *end
	peer *stream
	size int // most bytes under way

	mu      sync.Mutex // no other lock is taken under it
	changed sync.Cond  // on mu
	known   bool       // the other side knows the stream: it opened it, or something was sent to it
	freed   bool       // by Close or Reset

	readDeadline deadline
	received     []byte
	ended        bool  // nothing follows the received bytes
	readErr      error // of all further reads

	writeDeadline deadline
	sent          int   // bytes that were written and not yet read by the peer
	finished      bool  // CloseWrite was called
	writeErr      error // of all further writes
}

var _ p2p.RawStream = (*stream)(nil)

// newStream opens a stream. The other end learns of it with the first bytes.
// The caller holds network.mu.
func (e *end) newStream() *stream {
	e.link.stats.Streams++
	size := e.host.network.cfg.BufferSize
	s, peer := &stream{end: e, size: size}, &stream{end: e.remote, size: size, known: true}
	s.peer, peer.peer = peer, s
	for _, s := range []*stream{s, peer} {
		s.changed.L = &s.mu
		s.readDeadline.stream, s.writeDeadline.stream = s, s
	}
	e.streams[s] = struct{}{}
	return s
}

// send calls f on the other side's stream, and hands the stream over there
// first if it was not known.
func (s *stream) send(known bool, f func(peer *stream)) {
	r := s.end.remote
	r.in.send(func() {
		if !known && !s.peer.arrive() {
			return
		}
		f(s.peer)
		if !known {
			r.host.scope.Accept(s.end.host.id, s.peer)
		}
	})
}

// arrive records a stream that the other side has opened, and reports false if
// the connection is gone.
func (s *stream) arrive() bool {
	n := s.end.host.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if s.end.closed {
		return false
	}
	s.end.streams[s] = struct{}{}
	return true
}

// Read reads bytes that have arrived.
func (s *stream) Read(b []byte) (int, error) {
	s.mu.Lock()
	for s.readErr == nil && !s.readDeadline.over && len(s.received) == 0 && !s.ended && len(b) > 0 {
		s.changed.Wait()
	}
	var err error
	n := 0
	switch {
	case s.readErr != nil:
		err = s.readErr
	case s.readDeadline.over:
		err = os.ErrDeadlineExceeded
	case len(s.received) > 0:
		n = copy(b, s.received)
		s.received = s.received[n:]
	case s.ended:
		err = io.EOF
	}
	s.mu.Unlock()
	if n > 0 {
		s.peer.update(func(p *stream) { p.sent -= n })
	}
	return n, err
}

// Write sends b, waiting for room as needed.
func (s *stream) Write(b []byte) (written int, err error) {
	for {
		s.mu.Lock()
		for s.writeErr == nil && !s.finished && !s.writeDeadline.over && s.sent >= s.size && len(b) > 0 {
			s.changed.Wait()
		}
		switch {
		case s.writeErr != nil:
			err = s.writeErr
		case s.finished:
			err = net.ErrClosed
		case s.writeDeadline.over:
			err = os.ErrDeadlineExceeded
		}
		if err != nil || len(b) == 0 {
			s.mu.Unlock()
			return written, err
		}
		n := min(len(b)-written, s.size-s.sent)
		data := append([]byte(nil), b[written:written+n]...)
		written += n
		s.sent += n
		known := s.known
		s.known = true
		s.mu.Unlock()
		s.end.sent.Add(uint64(n))
		s.send(known, func(p *stream) {
			p.end.received.Add(uint64(n))
			p.update(func(p *stream) {
				if p.readErr == nil {
					p.received = append(p.received, data...)
				}
			})
		})
		if written == len(b) {
			return written, nil
		}
	}
}

// CloseWrite ends the writing direction.
func (s *stream) CloseWrite() error {
	s.mu.Lock()
	if s.writeErr != nil || s.finished {
		defer s.mu.Unlock()
		return s.writeErr
	}
	s.finished = true
	known := s.known
	s.known = true
	s.changed.Broadcast()
	s.mu.Unlock()
	s.send(known, func(p *stream) {
		p.update(func(p *stream) { p.ended = true })
	})
	return nil
}

// Close ends the writing direction, and makes the peer's writes fail from now
// on.
func (s *stream) Close() error {
	err := s.CloseWrite()
	s.mu.Lock()
	complete := s.ended
	s.mu.Unlock()
	if freed, _ := s.free(net.ErrClosed); freed && !complete {
		s.send(true, func(p *stream) {
			p.update(func(p *stream) {
				if !p.finished {
					p.failWrites(&p2p.ResetError{Code: p2p.ErrCanceled, Remote: true})
				}
			})
		})
	}
	return err
}

// Reset ends both directions, on this side at once.
func (s *stream) Reset(code p2p.ResetCode) {
	if freed, known := s.free(&p2p.ResetError{Code: code}); !freed || !known {
		return
	}
	s.send(true, func(p *stream) {
		p.update(func(p *stream) {
			err := &p2p.ResetError{Code: code, Remote: true}
			if p.ended && len(p.received) == 0 { // all has been read
				p.failWrites(err)
				return
			}
			p.failReads(err)
			p.failWrites(err)
		})
	})
}

// free ends the stream on this side. It reports whether this call has freed it,
// and whether the other side knows the stream.
func (s *stream) free(err error) (freed, known bool) {
	s.update(func(s *stream) {
		freed, known = !s.freed, s.known
		s.freed = true
		s.readDeadline.stop()
		s.writeDeadline.stop()
		s.failReads(err)
		s.failWrites(err)
	})
	n := s.end.host.network
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(s.end.streams, s)
	return freed, known
}

// fail ends the stream because its connection has ended.
func (s *stream) fail(err error) {
	s.update(func(s *stream) {
		s.failReads(err)
		s.failWrites(err)
	})
}

// failReads makes reads fail. The caller holds s.mu.
func (s *stream) failReads(err error) {
	s.received = nil
	if s.readErr == nil {
		s.readErr = err
	}
}

// failWrites makes writes fail. The caller holds s.mu.
func (s *stream) failWrites(err error) {
	if s.writeErr == nil {
		s.writeErr = err
	}
}

// update changes the stream under its lock and wakes its readers and writers.
func (s *stream) update(change func(s *stream)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
	s.changed.Broadcast()
}

// SetReadDeadline makes reads fail from t on.
func (s *stream) SetReadDeadline(t time.Time) { s.readDeadline.set(t) }

// SetWriteDeadline makes writes fail from t on.
func (s *stream) SetWriteDeadline(t time.Time) { s.writeDeadline.set(t) }

// LocalAddr returns the listener's address.
func (s *stream) LocalAddr() net.Addr { return addr(s.end.host.addr) }

// RemoteAddr returns the address of the peer's listener.
func (s *stream) RemoteAddr() net.Addr { return addr(s.end.remote.host.addr) }

// Path returns the path of the connection.
func (s *stream) Path() p2p.Path { return s.end.Path() }

// Version returns the protocol version of the connection.
func (s *stream) Version() int { return s.end.version }

// Exporter derives a value that is bound to the connection.
func (s *stream) Exporter(label string) ([32]byte, bool) { return s.end.exporter(label) }

// An addr is an address on a network in memory.
type addr netip.AddrPort

// Network returns "p2ptest".
func (a addr) Network() string { return "p2ptest" }

// String returns the form of [netip.AddrPort].
func (a addr) String() string { return netip.AddrPort(a).String() }

// A deadline is a deadline of a stream, whose mu guards its fields.
type deadline struct {
	stream *stream
	timer  *time.Timer
	over   bool
}

func (d *deadline) set(t time.Time) {
	d.stream.update(func(s *stream) {
		d.stop()
		d.over = false
		if t.IsZero() || s.freed {
			return
		}
		wait := time.Until(t)
		if wait <= 0 {
			d.over = true
			return
		}
		var timer *time.Timer
		timer = time.AfterFunc(wait, func() {
			s.update(func(*stream) {
				if d.timer == timer { // not set again since
					d.over = true
				}
			})
		})
		d.timer = timer
	})
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}
