package quic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	quicgo "github.com/quic-go/quic-go"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/multistream"
)

// A stream is a p2p.RawStream over a QUIC stream. Its connection counts it
// until it is freed.
type stream struct {
	*quicgo.Stream
	conn    *conn
	version int

	// If the protocol is selected lazily, the question is sent with the first
	// bytes written, and the first reads consume the answer.
	asking sync.Mutex
	asked  atomic.Bool            // set under asking
	answer *multistream.Selection // of the reading side; nil once the answer was read
	rest   []byte                 // of the reading side: bytes that arrived with the selection

	writes deadline    // while waitEarly waits
	served atomic.Bool // a handler serves it or has served it
	freed  sync.Once
}

var _ p2p.ServedStream = (*stream)(nil)

// Served is called when a handler serves the stream.
func (s *stream) Served() {
	if s.served.Swap(true) {
		return
	}
	s.conn.serving.Add(1)
	if s.conn.charge != nil {
		s.conn.charge.served.Store(true)
	}
}

// firstWrite is the most of the application's first bytes that are sent
// together with the question.
const firstWrite = 1 << 10

// newStream wraps a stream whose protocol has been selected; rest was read
// after the selection.
func newStream(c *conn, s *quicgo.Stream, version int, rest []byte) *stream {
	st := &stream{Stream: s, conn: c, version: version, rest: rest}
	st.asked.Store(true)
	return st
}

// newLazyStream wraps a stream to a peer that is known or announced to speak
// version 2, without waiting for the answer. If the peer does not speak it
// after all, reads fail with errWrongVersion.
func newLazyStream(c *conn, s *quicgo.Stream) *stream {
	st := &stream{Stream: s, conn: c, version: 2, answer: multistream.NewSelection(s)}
	st.Served() // the node's own streams always count as use
	return st
}

// ask writes the question, unless it was written before, together with the
// beginning of b, and returns how many bytes of b that included.
func (s *stream) ask(b []byte) (n int, err error) {
	if s.asked.Load() {
		return 0, nil
	}
	s.asking.Lock()
	defer s.asking.Unlock()
	if s.asked.Load() {
		return 0, nil
	}
	q := streamQuestion
	b = b[:min(len(b), firstWrite, max(0, s.conn.early(len(q)+len(b))-len(q)))]
	n, err = s.Stream.Write(append(append(make([]byte, 0, len(q)+len(b)), q...), b...))
	s.asked.Store(n > 0 || err == nil) // after its deadline a write sends nothing: the next one asks
	return max(0, n-len(q)), err
}

func (s *stream) Read(b []byte) (int, error) {
	if s.answer != nil {
		if _, err := s.ask(nil); err != nil {
			return 0, streamError(err)
		}
		if err := s.answer.Answer(protocolStream); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			if errors.Is(err, multistream.ErrNotSupported) {
				s.conn.misled.Store(true)
				err = errWrongVersion
			}
			return 0, streamError(err)
		}
		s.rest, s.answer = s.answer.Rest(), nil
	}
	if len(s.rest) > 0 {
		n := copy(b, s.rest)
		s.rest = s.rest[n:]
		return n, nil
	}
	n, err := s.Stream.Read(b)
	return n, streamError(err)
}

func (s *stream) Write(b []byte) (int, error) {
	s.conn.endpoint.stir()
	first, err := s.ask(b)
	if err != nil || first > 0 && first == len(b) {
		return first, streamError(err)
	}
	n, err := s.write(b[first:])
	return first + n, streamError(err)
}

// write writes what may be sent before the introductions, waits for them, and
// writes the rest.
func (s *stream) write(b []byte) (n int, err error) {
	early := s.conn.early(len(b))
	if early == len(b) {
		return s.Stream.Write(b)
	}
	if early > 0 {
		if n, err = s.Stream.Write(b[:early]); err != nil {
			return n, err
		}
	}
	s.waitEarly()
	rest, err := s.Stream.Write(b[early:])
	return n + rest, err
}

func (s *stream) CloseWrite() error {
	if !s.asked.Load() {
		s.Stream.SetWriteDeadline(time.Time{}) // ignores the user's deadline: so few bytes are written without waiting
	}
	if _, err := s.ask(nil); err != nil {
		return streamError(err)
	}
	err := s.Stream.Close()
	if cause := context.Cause(s.Stream.Context()); err != nil && cause != nil {
		err = cause // if the peer no longer reads, quic-go only says that the stream cannot be closed
	}
	return streamError(err)
}

// Close must not wait, so it leaves an unread answer unread: the other side has
// answered, or finds that nobody listens.
func (s *stream) Close() error {
	err := s.CloseWrite()
	s.Stream.Close() // even if the question could not be written
	s.CancelRead(0)
	s.free(true)
	return err
}

func (s *stream) Reset(code p2p.ResetCode) {
	reset(s.Stream, network.StreamErrorCode(code))
	s.free(false) // a refused stream does not count as use
}

// reset ends both directions of a stream.
func reset(s *quicgo.Stream, code network.StreamErrorCode) {
	s.CancelRead(quicgo.StreamErrorCode(code))
	s.CancelWrite(quicgo.StreamErrorCode(code))
}

// free removes the stream from its connection's count. use reports whether it
// counts as use.
func (s *stream) free(use bool) {
	s.freed.Do(func() {
		served := s.served.Swap(true)
		if served {
			s.conn.serving.Add(-1)
		}
		if !use {
			s.conn.refusals.add()
		}
		s.conn.streamEnded(use && served)
	})
}

func (s *stream) SetReadDeadline(t time.Time) { s.Stream.SetReadDeadline(t) }

func (s *stream) SetWriteDeadline(t time.Time) {
	s.Stream.SetWriteDeadline(t) // first: waitEarly relies on it
	s.writes.set(t)
}

func (s *stream) SetDeadline(t time.Time) {
	s.SetReadDeadline(t)
	s.SetWriteDeadline(t)
}

func (s *stream) LocalAddr() net.Addr  { return s.conn.localAddr() }
func (s *stream) RemoteAddr() net.Addr { return s.conn.remoteAddr() }
func (s *stream) Path() p2p.Path       { return s.conn.Path() }
func (s *stream) Version() int         { return s.version }

func (s *stream) Exporter(label string) (value [32]byte, ok bool) { return s.conn.exporter(label) }

// exporter returns a value that is bound to the connection.
func (c *conn) exporter(label string) (value [32]byte, ok bool) {
	b, err := c.tls().ExportKeyingMaterial(label, nil, len(value))
	if err != nil {
		return value, false
	}
	return [32]byte(b), true
}

// errWrongVersion is the error of a stream on which application bytes were sent
// in vain.
var errWrongVersion = fmt.Errorf("%w %s that was announced for it: what was written is lost, and a new stream will speak %s",
	multistream.ErrNotSupported, protocolStream, protocolAncestor)
