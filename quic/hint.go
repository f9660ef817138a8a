package quic

import (
	"context"
	"net"
	"os"
	"sync"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/sdp2p/p2p"
)

// A hinted stream leads to a peer that is said to speak version 2, and has not
// shown it on this connection yet. The first call that needs a protocol decides
// which one it is:
//
// Write does not wait. It takes version 2, unless the introduction has found
// version 1 by then. Read and CloseWrite lose nothing by waiting for the
// introduction, since nothing of the application's has been written before
// them.
type hinted struct {
	conn          *conn
	first         *quicgo.Stream // on which nothing was written
	reads, writes deadline
	decided       chan struct{} // closed once stream or err is set

	mu      sync.Mutex
	cancel  context.CancelFunc // of the goroutine that decides; nil if there is none
	opening bool               // first is that goroutine's, which opens a stream of version 1
	ended   bool               // CloseWrite was called
	stream  *stream
	err     error // why there is no stream
}

var _ p2p.RawStream = (*hinted)(nil)

func newHinted(c *conn, s *quicgo.Stream) *hinted {
	c.serving.Add(1) // what this node opens is of use to it
	return &hinted{conn: c, first: s, decided: make(chan struct{})}
}

func (s *hinted) isDecided() bool {
	select {
	case <-s.decided:
		return true
	default:
		return false
	}
}

// decide makes sure that a goroutine decides. The caller holds mu, and nothing
// is decided.
func (s *hinted) decide() {
	if s.cancel != nil {
		return
	}
	ctx, cancel := context.WithCancel(s.conn.ctx)
	s.cancel = cancel
	if !s.conn.endpoint.start(func() {
		defer cancel()
		s.await(ctx)
	}) {
		s.abort(&p2p.ResetError{Code: p2p.ErrShuttingDown})
	}
}

// await decides once the connection is introduced.
func (s *hinted) await(ctx context.Context) {
	version, err := 0, error(nil)
	select {
	case <-s.decided:
		return
	case <-s.conn.known:
		version, err = s.conn.speaks()
	case <-ctx.Done():
		err = errLost
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.isDecided():
	case err != nil:
		s.abort(err)
	case version == 1:
		s.openAncestor(ctx)
	default:
		s.settle(newLazyStream(s.conn, s.first), nil)
	}
}

// openAncestor opens a stream of version 1 instead. The caller holds mu, which
// is free meanwhile.
func (s *hinted) openAncestor(ctx context.Context) {
	s.opening = true
	s.mu.Unlock()
	st, err := s.conn.openAncestor(ctx, s.first)
	s.mu.Lock()
	switch {
	case !s.isDecided():
		if s.conn.ctx.Err() != nil {
			err = errLost
		}
		s.settle(st, err)
	case err == nil:
		st.Reset(p2p.ErrCancelled)
	}
}

// settle records the decision, and does what was asked for before it. The
// caller holds mu.
func (s *hinted) settle(st *stream, err error) {
	s.stream, s.err = st, err
	if err == nil {
		if t, ok := s.reads.get(); ok {
			st.SetReadDeadline(t)
		}
		if t, ok := s.writes.get(); ok {
			st.SetWriteDeadline(t)
		}
		if s.ended {
			st.CloseWrite()
		}
	}
	s.conn.serving.Add(-1)
	close(s.decided)
}

// abort ends a stream about which nothing is decided. The caller holds mu.
func (s *hinted) abort(err error) {
	s.err = err
	s.conn.serving.Add(-1)
	close(s.decided)
	if s.cancel != nil {
		s.cancel()
	}
	if !s.opening { // else the goroutine sees to it
		reset(s.first, 0)
		s.conn.streamEnded(false)
	}
}

func (s *hinted) Read(b []byte) (int, error) {
	if !s.isDecided() {
		s.mu.Lock()
		if !s.isDecided() {
			s.decide()
		}
		s.mu.Unlock()
	}
	st, err := s.wait(&s.reads)
	if err != nil {
		return 0, err
	}
	return st.Read(b)
}

func (s *hinted) Write(b []byte) (int, error) {
	if !s.isDecided() && !s.writes.over() {
		s.mu.Lock()
		if !s.isDecided() {
			s.decideNow()
		}
		s.mu.Unlock()
	}
	st, err := s.wait(&s.writes)
	if err != nil {
		return 0, err
	}
	return st.Write(b)
}

// decideNow takes version 2, unless the peer has turned out to speak version 1.
// The caller holds mu, and nothing is decided.
func (s *hinted) decideNow() {
	if version, _ := s.conn.speaks(); version == 1 || s.conn.misled.Load() {
		s.decide()
		return
	}
	s.settle(newLazyStream(s.conn, s.first), nil)
}

// wait returns the stream once it is decided which one that is, or fails past a
// deadline.
func (s *hinted) wait(d *deadline) (*stream, error) {
	select {
	case <-s.decided:
		return s.stream, s.err
	default:
	}
	select {
	case <-s.decided:
		return s.stream, s.err
	case <-d.passed():
		return nil, os.ErrDeadlineExceeded
	}
}

func (s *hinted) CloseWrite() error {
	s.mu.Lock()
	if !s.isDecided() {
		s.ended = true
		s.decide()
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	return s.stream.CloseWrite()
}

// Close must not wait: if nothing is decided, nothing was said on the stream,
// and the peer need not hear of it.
func (s *hinted) Close() error {
	s.mu.Lock()
	if !s.isDecided() {
		s.abort(net.ErrClosed)
	}
	s.mu.Unlock()
	if s.stream == nil {
		return nil
	}
	return s.stream.Close()
}

func (s *hinted) Reset(code p2p.ResetCode) {
	s.mu.Lock()
	if !s.isDecided() {
		s.abort(&p2p.ResetError{Code: code})
	}
	s.mu.Unlock()
	if s.stream != nil {
		s.stream.Reset(code)
	}
}

func (s *hinted) SetReadDeadline(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads.set(t)
	if s.stream != nil {
		s.stream.SetReadDeadline(t)
	}
}

func (s *hinted) SetWriteDeadline(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes.set(t)
	if s.stream != nil {
		s.stream.SetWriteDeadline(t)
	}
}

// Version returns the version that the peer is said to speak until it is
// decided.
func (s *hinted) Version() int {
	if s.isDecided() && s.stream != nil {
		return s.stream.version
	}
	return 2
}

func (s *hinted) LocalAddr() net.Addr  { return s.conn.localAddr() }
func (s *hinted) RemoteAddr() net.Addr { return s.conn.remoteAddr() }
func (s *hinted) Path() p2p.Path       { return s.conn.Path() }

func (s *hinted) Exporter(label string) (value [32]byte, ok bool) { return s.conn.exporter(label) }

// A deadline is one of a stream that is not open yet. The zero value is none.
type deadline struct {
	mu    sync.Mutex
	at    time.Time
	isSet bool // also to none
	timer *time.Timer
	ended chan struct{} // closed while the deadline has passed; nil before it is needed
}

// set makes t the deadline; the zero time is none.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at, d.isSet = t, true
	d.arm()
}

// arm has ended closed at the deadline. The caller holds mu.
func (d *deadline) arm() {
	if d.timer != nil && !d.timer.Stop() {
		<-d.ended // or it would be closed later
	}
	d.timer = nil
	if d.ended == nil {
		return
	}
	select {
	case <-d.ended:
		d.ended = make(chan struct{})
	default:
	}
	ended := d.ended
	switch left := time.Until(d.at); {
	case d.at.IsZero():
	case left <= 0:
		close(ended)
	default:
		d.timer = time.AfterFunc(left, func() { close(ended) })
	}
}

// passed returns a channel that is closed while the deadline has passed.
func (d *deadline) passed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended == nil {
		d.ended = make(chan struct{})
		d.arm()
	}
	return d.ended
}

// over reports whether the deadline has passed.
func (d *deadline) over() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.at.IsZero() && !time.Now().Before(d.at)
}

// get returns the deadline, if one was ever set.
func (d *deadline) get() (at time.Time, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.at, d.isSet
}
