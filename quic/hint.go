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

// A hinted is a stream to a peer that reportedly speaks version 2, but has not
// proved it on this connection yet. The first call that needs a protocol
// decides which one is used:
//
// Write does not wait. It chooses version 2, unless the introduction has
// already found version 1. Read and CloseWrite can wait for the introduction,
// since the application has not written anything before them.
type hinted struct {
	conn          *conn
	first         *quicgo.Stream // to which nothing was written
	reads, writes deadline
	decided       chan struct{} // closed once stream or err is set

	mu      sync.Mutex
	cancel  context.CancelFunc // of the deciding goroutine; nil if there is none
	opening bool               // that goroutine owns first, and opens a version 1 stream
	ended   bool               // CloseWrite was called
	stream  *stream
	err     error // why there is no stream
}

var _ p2p.RawStream = (*hinted)(nil)

func newHinted(c *conn, s *quicgo.Stream) *hinted {
	c.serving.Add(1) // the node's own streams always count as use
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

// decide starts the deciding goroutine unless it runs. The caller holds mu, and
// the version is undecided.
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

// openAncestor opens a version 1 stream instead. The caller holds mu, which it
// releases meanwhile.
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
		st.Reset(p2p.ErrCanceled)
	}
}

// settle records the decision, and catches up on calls from before it. The
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

// abort ends an undecided stream. The caller holds mu.
func (s *hinted) abort(err error) {
	s.err = err
	s.conn.serving.Add(-1)
	close(s.decided)
	if s.cancel != nil {
		s.cancel()
	}
	if !s.opening { // otherwise the goroutine does it
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

// decideNow chooses version 2, unless the peer has turned out to speak version
// 1. The caller holds mu, and the version is undecided.
func (s *hinted) decideNow() {
	if version, _ := s.conn.speaks(); version == 1 || s.conn.misled.Load() {
		s.decide()
		return
	}
	s.settle(newLazyStream(s.conn, s.first), nil)
}

// wait returns the stream once the version is decided, or fails at a deadline.
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

// Close must not wait: if the version is undecided, nothing was sent on the
// stream, and the peer need not learn of it.
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

// Version returns the version of the stream; while undecided, the one that the
// peer reportedly speaks.
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

// A deadline is a deadline of a stream that is not open yet. The zero value
// means none.
type deadline struct {
	mu    sync.Mutex
	at    time.Time
	isSet bool // even to none
	timer *time.Timer
	ended chan struct{} // closed while the deadline has passed; nil until it is needed
}

// set makes t the deadline; the zero time is none.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at, d.isSet = t, true
	d.arm()
}

// arm arranges for ended to be closed at the deadline. The caller holds mu.
func (d *deadline) arm() {
	if d.timer != nil && !d.timer.Stop() {
		<-d.ended // the timer has fired: wait until it has closed ended
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
