package p2p

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/labels"
	"github.com/sdp2p/p2p/internal/turn"
)

const (
	drainTime = 5 * time.Second // how long a closed stream waits for the peer's end, and Shutdown for open streams
	drainSize = 1 << 20         // how many bytes from the peer a closed stream discards
	graceTime = 2 * time.Second // how long hooks and handlers may take to stop once the time of Shutdown is over
)

// A Stream is a bidirectional byte stream between this node and a peer, which
// the connection has authenticated. It is a [net.Conn]; all methods may be
// called concurrently. The code that opened a stream, or was called to handle
// it, must close or reset it.
type Stream struct {
	raw      RawStream
	peer     *Peer
	streams  *streams
	inbound  bool
	by       string                 // the listener of an inbound one
	serving  labels.Context         // of its handler
	stranger bool                   // inbound, from a stranger
	route    atomic.Pointer[string] // nil: none

	reading turn.Turn // of Read
	writing turn.Turn // of Write and CloseWrite

	ended       atomic.Bool // Read has returned io.EOF
	closed      turn.End    // its reason is the error of all further reads and writes
	interrupted atomic.Bool // the node is shutting down: reads fail
	reset       atomic.Bool // it is counted as refused by the peer
	cut         bool        // writing's: a Write was interrupted by Close
	written     bool        // writing's: CloseWrite was called
}

var _ net.Conn = (*Stream)(nil)

func newStream(raw RawStream, peer *Peer, streams *streams, inbound bool) *Stream {
	return &Stream{raw: raw, peer: peer, streams: streams, inbound: inbound, reading: turn.New(), writing: turn.New()}
}

// errInterrupted is the error of a handler's reads once the node is shutting
// down.
var errInterrupted error = interruption{&ResetError{Code: ErrShuttingDown}}

// An interruption is an error of reads after which writes still work. A tunnel
// in the stream recognizes it by its method.
type interruption struct{ error }

// Unwrap returns a *[ResetError].
func (i interruption) Unwrap() error { return i.error }

// Interrupted reports true.
func (interruption) Interrupted() bool { return true }

// Peer returns the peer at the other end.
func (s *Stream) Peer() *Peer { return s.peer }

// RemoteIdentity returns the identity of the peer at the other end.
func (s *Stream) RemoteIdentity() identity.RemoteIdentity { return s.peer.id }

// Route returns the name of the route that the stream was opened with, or "".
func (s *Stream) Route() string {
	if route := s.route.Load(); route != nil {
		return *route
	}
	return ""
}

// Path returns the path of the stream's connection.
func (s *Stream) Path() Path { return s.raw.Path() }

// Version returns the version of the wire protocol that the stream was opened
// with: 2, or 1 with a node of the first implementation. If only an
// announcement said that the peer speaks version 2, the result may become 1
// with the first Read, Write or CloseWrite.
func (s *Stream) Version() int { return s.raw.Version() }

// Exporter returns keying material that both ends of the connection, and nobody
// else, can derive (RFC 8446 §7.5, with the given label and no context). It
// returns false if the connection has no TLS session of its own.
func (s *Stream) Exporter(label string) ([32]byte, bool) { return s.raw.Exporter(label) }

// LocalAddr returns this node's address, an [identity.Addr].
func (s *Stream) LocalAddr() net.Addr { return s.peer.node.remote.Addr() }

// RemoteAddr returns the peer's address, an [identity.Addr], which says who the
// peer is; [Stream.Path] says where.
func (s *Stream) RemoteAddr() net.Addr { return s.peer.id.Addr() }

// Endpoints returns the addresses of the connection's two ends in its
// transport. Through a relay they serve only to tell one connection from
// another.
func (s *Stream) Endpoints() (local, remote net.Addr) { return s.raw.LocalAddr(), s.raw.RemoteAddr() }

// Done returns a channel that is closed once this side, the app or the node,
// has closed or reset the stream. Reads and writes report what the peer does.
func (s *Stream) Done() <-chan struct{} { return s.closed.Done() }

// Err returns nil until this side has ended the stream, and then
// [net.ErrClosed] or a *[ResetError].
func (s *Stream) Err() error { return s.closed.Reason() }

// Read reads bytes that the peer has written. It returns io.EOF at their end;
// it fails with a *[ResetError] if the stream was reset, and with
// [ErrConnectionLost] if the connection was lost, so that a cut never looks
// like an end.
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
	s.refusedThere(err)
	return n, err
}

// Write writes b. It blocks while the peer does not read. A nil error does not
// mean that the peer has read b.
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
		s.refusedThere(err)
	}
	return n, err
}

// CloseWrite ends the writing direction: the peer reads io.EOF after everything
// that was written. Reading goes on.
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
// What the peer sends from now on is discarded; its writes fail with
// [ErrCanceled] if it goes on for more than 5 s or 1 MiB. Pending calls of Read
// and Write return [net.ErrClosed]; if that interrupts a Write, the stream is
// reset, since the peer would take the cut for the intended end. Close does not
// wait for the peer. Further calls have no effect.
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
		s.free(func() { s.raw.Reset(ErrCanceled) })
		return err
	}
	if s.ended.Load() {
		s.free(func() { s.raw.Close() })
		return nil
	}
	go func() {
		s.expire(s.raw.SetReadDeadline)
		s.reading.Take() // waits for the reader to leave; later ones find the stream closed
		s.reading.Release()
		s.raw.SetReadDeadline(time.Now().Add(drainTime))
		io.CopyN(io.Discard, s.raw, drainSize)
		s.free(func() { s.raw.Close() })
	}()
	return nil
}

// Reset ends both directions at once. Bytes already written may not arrive; the
// peer's reads and writes fail with code, as do pending calls here. Codes that
// are neither defined by this package nor the app's own become [ErrCanceled].
// After Close, Reset ends the delivery and draining that Close left running.
func (s *Stream) Reset(code ResetCode) {
	if int(code) >= len(resetTexts) && (code < FirstAppCode || code > LastAppCode) {
		code = ErrCanceled
	}
	s.closed.Begin(&ResetError{Code: code})
	s.free(func() { s.raw.Reset(code) })
}

// free releases the raw stream by calling end, once.
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

// expire interrupts the pending call that set's deadline applies to, after
// closed was set.
func (s *Stream) expire(set func(time.Time)) {
	s.closed.Do(func() { set(turn.Past) })
}

// interrupt makes reads fail from now on, so that a handler waiting for its
// peer notices the shutdown.
func (s *Stream) interrupt() {
	_ = s.closed.Before(func() error { // a stream that is over needs no interruption
		s.interrupted.Store(true)
		s.raw.SetReadDeadline(turn.Past)
		return nil
	})
}

// Count is like [Scope.Count], for events within a stream, such as the end of a
// transfer.
func (s *Stream) Count(what, by string, n uint64) {
	node := s.peer.node
	node.mu.Lock()
	defer node.mu.Unlock()
	node.state.counts.add(count{what, by}, n)
}

// refusedThere counts, once, that the peer has refused or reset a stream of
// this node.
func (s *Stream) refusedThere(err error) {
	reset, ok := err.(*ResetError)
	if !counting || !ok || !reset.Remote || s.inbound || s.reset.Swap(true) {
		return
	}
	s.streams.routes.of(s.Route()).refusedThere[reset.Code.index()].Add(1)
	if reset.Code != ErrCanceled {
		in := &circumstances{route: s.Route(), path: s.Path(), cause: reset.Code}
		s.peer.node.note(&note{what: kindRefusedThere, peer: s.peer.id, in: in}, "", "")
	}
}

// served tells the transport that a handler is serving the stream, and returns
// the handler's context, with the labels that the goroutine has from now on.
func (s *Stream) served(ctx context.Context) context.Context {
	if raw, ok := s.raw.(ServedStream); ok {
		raw.Served()
	}
	if !counting {
		return ctx
	}
	route := s.Route()
	s.streams.routes.of(route).accepted.Add(1)
	set := s.peer.labels.Load()
	if !set.Is(s.by, route) {
		set = labels.NewSet(s.by, s.peer.id, route)
		s.peer.labels.Store(set)
	}
	return set.Begin(ctx, &s.serving)
}
