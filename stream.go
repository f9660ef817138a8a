package p2p

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/turn"
)

const (
	drainTime = 5 * time.Second // how long a closed stream waits for the peer's end, and Shutdown for open streams
	drainSize = 1 << 20         // how many bytes from the peer a closed stream discards
	graceTime = 2 * time.Second // how long what Shutdown tells to stop may take once its time is over
)

// A Stream is a two-way sequence of bytes to or from a peer, whom the
// connection has authenticated. It is a [net.Conn]; all methods may be called
// concurrently. The side that opened a stream, or was called to handle it,
// closes or resets it.
type Stream struct {
	raw      RawStream
	peer     *Peer
	streams  *streams
	inbound  bool
	stranger bool                   // inbound, from a stranger
	route    atomic.Pointer[string] // nil: none

	reading turn.Turn // of Read
	writing turn.Turn // of Write and CloseWrite

	ended       atomic.Bool // the peer's end was read
	closed      turn.End    // its reason is what reads and writes return from now on
	interrupted atomic.Bool // the node is shutting down: reads fail
	cut         bool        // writing's: a Write was interrupted by Close
	written     bool        // writing's: CloseWrite was called
}

var _ net.Conn = (*Stream)(nil)

func newStream(raw RawStream, peer *Peer, streams *streams, inbound bool) *Stream {
	return &Stream{raw: raw, peer: peer, streams: streams, inbound: inbound, reading: turn.New(), writing: turn.New()}
}

// errInterrupted is what reads by a handler return once the node is shutting
// down.
var errInterrupted error = &ResetError{Code: ErrShuttingDown}

// Peer returns the peer at the other end.
func (s *Stream) Peer() *Peer { return s.peer }

// RemoteIdentity returns who is at the other end.
func (s *Stream) RemoteIdentity() identity.RemoteIdentity { return s.peer.id }

// Route returns the name of the route that the stream was opened with, or "".
func (s *Stream) Route() string {
	if route := s.route.Load(); route != nil {
		return *route
	}
	return ""
}

// Path returns the way that the stream's connection runs.
func (s *Stream) Path() Path { return s.raw.Path() }

// Version returns the version of the wire protocol that the stream was opened
// with: 2, or 1 with a node of the first implementation. If the peer was only
// announced to speak version 2, it may become 1 with the first Read, Write or
// CloseWrite.
func (s *Stream) Version() int { return s.raw.Version() }

// Exporter returns keying material that both ends of the connection, and nobody
// else, can derive (RFC 8446 §7.5, label as given and no context). It reports
// false where the connection has no TLS session of its own.
func (s *Stream) Exporter(label string) ([32]byte, bool) { return s.raw.Exporter(label) }

// LocalAddr returns the local address of the connection.
func (s *Stream) LocalAddr() net.Addr { return s.raw.LocalAddr() }

// RemoteAddr returns the remote address of the connection.
func (s *Stream) RemoteAddr() net.Addr { return s.raw.RemoteAddr() }

// Read reads what the peer has written. At its end it returns io.EOF; if the
// stream was reset, a *[ResetError]; if the connection was lost,
// [ErrConnectionLost]: a cut never looks like an end.
func (s *Stream) Read(b []byte) (int, error) {
	s.reading.Take()
	defer s.reading.Release()
	if err := s.closed.Reason(); err != nil {
		return 0, err
	}
	n, err := s.raw.Read(b)
	if err == nil {
		return n, nil
	}
	if err == io.EOF {
		s.ended.Store(true)
		return n, err
	}
	if closed := s.closed.Reason(); closed != nil {
		return n, closed
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && s.interrupted.Load() {
		err = errInterrupted
	}
	return n, err
}

// Write writes b. It blocks while the peer does not read. That it returns nil
// does not mean that the peer has read it.
func (s *Stream) Write(b []byte) (int, error) {
	s.writing.Take()
	defer s.writing.Release()
	if err := s.closed.Reason(); err != nil {
		return 0, err
	}
	if s.written {
		return 0, net.ErrClosed
	}
	n, err := s.raw.Write(b)
	if err != nil {
		if closed := s.closed.Reason(); closed != nil {
			s.cut = true
			err = closed
		}
	}
	return n, err
}

// CloseWrite ends the writing direction: the peer reads io.EOF after all that
// was written. Reading goes on.
func (s *Stream) CloseWrite() error {
	s.writing.Take()
	defer s.writing.Release()
	if err := s.closed.Reason(); err != nil {
		return err
	}
	return s.closeWrite()
}

func (s *Stream) closeWrite() error {
	if s.written {
		return nil
	}
	s.written = true
	return s.raw.CloseWrite()
}

// Close ends the stream: what was written still arrives, followed by io.EOF.
// What the peer has yet to send is discarded; its writes fail with
// [ErrCancelled] if it goes on for more than 5 s or 1 MiB. Pending calls of
// Read and Write return [net.ErrClosed]; where a Write is interrupted, the
// stream is reset, since its end would look like one that was meant. Close does
// not wait for the peer. Further calls have no effect.
func (s *Stream) Close() error {
	if !s.closed.Begin(net.ErrClosed) {
		return nil
	}
	if !s.writing.TakeNow() {
		s.expire(s.raw.SetWriteDeadline)
		s.writing.Take()
	}
	cut, err := s.cut, error(nil)
	if !cut {
		err = s.closeWrite()
	}
	s.writing.Release()
	if cut || err != nil {
		s.free(func() { s.raw.Reset(ErrCancelled) })
		return err
	}
	if s.ended.Load() {
		s.free(func() { s.raw.Close() })
		return nil
	}
	go func() {
		s.expire(s.raw.SetReadDeadline)
		s.reading.Take() // the reader leaves; whoever comes after it finds the stream closed
		s.reading.Release()
		s.raw.SetReadDeadline(time.Now().Add(drainTime))
		io.CopyN(io.Discard, s.raw, drainSize)
		s.free(func() { s.raw.Close() })
	}()
	return nil
}

// Reset ends both directions at once. What was written may not arrive; the
// peer's reads and writes fail with code, and pending calls here as well. Codes
// other than those above and the app's own become [ErrCancelled]. After Close
// it ends what Close left to be done.
func (s *Stream) Reset(code ResetCode) {
	if int(code) >= len(resetTexts) && (code < FirstAppCode || code > LastAppCode) {
		code = ErrCancelled
	}
	s.closed.Begin(&ResetError{Code: code})
	s.free(func() { s.raw.Reset(code) })
}

// free gives the raw stream back with end, once.
func (s *Stream) free(end func()) {
	end()
	s.streams.ended(s)
}

// SetDeadline sets both deadlines.
func (s *Stream) SetDeadline(t time.Time) error {
	if err := s.SetReadDeadline(t); err != nil {
		return err
	}
	return s.SetWriteDeadline(t)
}

// SetReadDeadline makes reads fail with [os.ErrDeadlineExceeded] from t on; the
// zero time means never.
func (s *Stream) SetReadDeadline(t time.Time) error {
	return s.closed.Before(func() error {
		if !s.interrupted.Load() {
			s.raw.SetReadDeadline(t)
		}
		return nil
	})
}

// SetWriteDeadline makes writes fail with [os.ErrDeadlineExceeded] from t on;
// the zero time means never.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	return s.closed.Before(func() error {
		s.raw.SetWriteDeadline(t)
		return nil
	})
}

// expire makes the pending call that set's deadline is for return, now that
// closed is set.
func (s *Stream) expire(set func(time.Time)) {
	s.closed.Do(func() { set(turn.Past) })
}

// interrupt makes reads fail from now on, so that a handler that waits for its
// peer notices the shutdown.
func (s *Stream) interrupt() {
	_ = s.closed.Before(func() error { // a stream that is over needs no interruption
		s.interrupted.Store(true)
		s.raw.SetReadDeadline(turn.Past)
		return nil
	})
}
