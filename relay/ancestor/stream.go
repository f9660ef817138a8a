package ancestor

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-yamux/v5"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/multistream"
	"github.com/sdp2p/p2p/proto"
)

// A stream is a yamux stream; after its introduction, it is a stream of the
// application.
type stream struct {
	network.MuxedStream
	conn *conn
	rest []byte // of the reading side: bytes read after the selection

	reads  atomic.Pointer[time.Time] // the deadline of reads
	served atomic.Bool
	freed  sync.Once
}

var _ p2p.ServedStream = (*stream)(nil)

func newStream(c *conn, s network.MuxedStream) *stream { return &stream{MuxedStream: s, conn: c} }

// Served is called when a handler serves the stream.
func (s *stream) Served() {
	if !s.served.Swap(true) {
		s.conn.serving.Add(1)
	}
}

func (s *stream) Read(b []byte) (int, error) {
	if len(s.rest) > 0 {
		n := copy(b, s.rest)
		s.rest = s.rest[n:]
		return n, nil
	}
	// Past the deadline, yamux would read without telling the peer that there
	// is room again.
	if t := s.reads.Load(); t != nil && !t.IsZero() && !time.Now().Before(*t) {
		return 0, os.ErrDeadlineExceeded
	}
	n, err := s.MuxedStream.Read(b)
	if n > 0 {
		return n, nil // the next call returns it
	}
	return 0, s.conn.failed(err)
}

func (s *stream) Write(b []byte) (int, error) {
	n, err := s.MuxedStream.Write(b)
	return n, s.conn.failed(err)
}

// CloseWrite ends the writing direction.
func (s *stream) CloseWrite() error { return s.conn.failed(s.MuxedStream.CloseWrite()) }

// Close ends both directions. Data already written still arrives. A peer that
// has not ended its direction is told that nobody reads, by a reset, since
// yamux has nothing else for that; data that arrived before the reset stays
// readable.
func (s *stream) Close() error {
	err := s.CloseWrite()
	s.MuxedStream.Reset() // does nothing if both have ended
	s.free(true)
	return err
}

// Reset ends both directions at once.
func (s *stream) Reset(code p2p.ResetCode) {
	s.MuxedStream.ResetWithError(network.StreamErrorCode(code))
	s.free(false)
}

// free stops counting the stream; use is whether it was of use.
func (s *stream) free(use bool) {
	s.freed.Do(func() {
		served := s.served.Swap(true)
		if served {
			s.conn.serving.Add(-1)
		}
		s.conn.ended(use && served)
	})
}

// finish closes a stream once the other side has ended it, too, so that no data
// of either side is lost.
func (s *stream) finish() {
	s.MuxedStream.SetDeadline(time.Now().Add(firstFrame))
	defer context.AfterFunc(s.conn.run.ctx, func() { s.MuxedStream.SetDeadline(time.Unix(1, 0)) })()
	s.CloseWrite()
	io.Copy(io.Discard, s)
	s.Close()
}

func (s *stream) SetReadDeadline(t time.Time) {
	s.reads.Store(&t)
	s.MuxedStream.SetReadDeadline(t)
}
func (s *stream) SetWriteDeadline(t time.Time)              { s.MuxedStream.SetWriteDeadline(t) }
func (s *stream) LocalAddr() net.Addr                       { return &net.UDPAddr{} }
func (s *stream) RemoteAddr() net.Addr                      { return net.UDPAddrFromAddrPort(s.conn.path.Remote) }
func (s *stream) Path() p2p.Path                            { return s.conn.path }
func (s *stream) Version() int                              { return 1 }
func (s *stream) Exporter(string) (value [32]byte, ok bool) { return value, false }

// failed translates an error of a stream into one of package p2p. An error that
// is not about the stream alone means the end of its connection.
func (c *conn) failed(err error) error {
	var reset *network.StreamError
	switch {
	case err == nil, err == io.EOF:
		return err
	case errors.As(err, &reset):
		return &p2p.ResetError{Code: resetCode(reset.ErrorCode), Remote: reset.Remote}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return err
	case errors.Is(err, multistream.ErrNotSupported), errors.Is(err, multistream.ErrSelection), errors.Is(err, proto.ErrInvalid):
		return err
	case c.gone():
		return errLost
	case err == error(yamux.ErrTimeout):
		return os.ErrDeadlineExceeded
	case errors.Is(err, network.ErrReset): // without a code
		return &p2p.ResetError{Code: p2p.ErrCanceled, Remote: true}
	}
	return errLost
}

func resetCode(code network.StreamErrorCode) p2p.ResetCode {
	switch code {
	case network.StreamResourceLimitExceeded, network.StreamRateLimited:
		return p2p.ErrBusy
	case network.StreamShutdown:
		return p2p.ErrShuttingDown
	case network.StreamGated:
		return p2p.ErrRefused
	}
	return p2p.ResetCode(code)
}
