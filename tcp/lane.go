package tcp

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/turn"
)

// A lane is one TCP connection: it is a p2p.RawStream, or is kept so that the
// peer stays connected.
//
// One goroutine reads frames from the beginning to the end, so that a reset is
// noticed even if the app only writes. Writes are sent in the caller's
// goroutine.
type lane struct {
	run   *run
	peer  identity.RemoteIdentity
	path  p2p.Path
	wire  *wire
	tls   *tls.Conn
	frame io.Reader // reads from tls
	hello hello     // the peer's
	rtt   time.Duration
	born  time.Time

	stranger bool // guarded by run.mu: the node did not know the peer that has dialed it
	news     int  // guarded by run.mu: 1 while metadata is sent, 2 if it has changed since

	in    inbox
	heard atomic.Int64 // when the last frame arrived, since born
	read  chan struct{}

	sealing sync.Mutex
	scratch []byte // under sealing: small frames

	mu        sync.Mutex
	writeBy   time.Time     // the deadline
	ended     bool          // frameEnd is on its way
	over      error         // of local calls, from Close or Reset on
	stopped   error         // the peer's reset
	writing   time.Time     // when the pending write began; zero if none is pending
	unlimited bool          // TCP_USER_TIMEOUT is off: see tend
	freed     chan struct{} // closed once the lane is gone

	why atomic.Pointer[string] // it has ended: see endOf; nil before
}

var _ p2p.RawStream = (*lane)(nil)

func newLane(r *run, c *wire, t *tls.Conn, peer identity.RemoteIdentity, path p2p.Path) *lane {
	l := &lane{
		run: r, peer: peer, path: path, wire: c, tls: t, frame: t, born: time.Now(),
		read: make(chan struct{}), freed: make(chan struct{}),
	}
	l.in.init()
	return l
}

// lostError is the error of reads and writes of a lane that was cut.
func lostError(why error) error {
	if errors.Is(why, io.EOF) {
		return fmt.Errorf("%w: it ended before the stream did", p2p.ErrConnectionLost)
	}
	if errors.Is(why, p2p.ErrConnectionLost) {
		return why
	}
	return fmt.Errorf("%w: %w", p2p.ErrConnectionLost, why)
}

// Read returns what the peer has written.
func (l *lane) Read(b []byte) (int, error) { return l.in.Read(b) }

// seal adds a frame to the buffer, to be sent with the next flush.
func (l *lane) seal(k kind, payload []byte) error {
	l.sealing.Lock()
	defer l.sealing.Unlock()
	const record = 16<<10 - headerSize // fits in one TLS record together with the header
	first := payload[:min(len(payload), record)]
	l.scratch = append(appendHeader(l.scratch[:0], k, len(payload)), first...)
	if _, err := l.tls.Write(l.scratch); err != nil {
		return err
	}
	if len(payload) == len(first) {
		return nil
	}
	_, err := l.tls.Write(payload[len(first):])
	return err
}

// Write sends b. After a deadline, bytes that were accepted but not sent go out
// with the next write.
func (l *lane) Write(b []byte) (n int, err error) {
	if err := l.begin(); err != nil {
		return 0, err
	}
	defer l.pause()
	if err := l.wire.flush(); err != nil {
		return 0, l.writeError(err)
	}
	for len(b) > 0 {
		chunk := b[:min(len(b), maxData)]
		if err := l.seal(frameData, chunk); err != nil {
			return n, l.writeError(err)
		}
		b, n = b[len(chunk):], n+len(chunk)
		if err := l.wire.flush(); err != nil {
			return n, l.writeError(err)
		}
	}
	return n, nil
}

// begin records that a write begins, or returns the error of writes.
func (l *lane) begin() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.over != nil:
		return l.over
	case l.ended:
		return net.ErrClosed
	case !l.writeBy.IsZero() && !time.Now().Before(l.writeBy):
		return os.ErrDeadlineExceeded
	}
	l.writing = time.Now()
	return nil
}

// pause records that no write is pending.
func (l *lane) pause() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writing = time.Time{}
	if l.unlimited {
		l.unlimited = false
		setUserTimeout(l.wire.TCPConn, l.run.listener.cfg.patience)
	}
}

// writeError translates the error of a write.
func (l *lane) writeError(err error) error {
	l.mu.Lock()
	over := l.over
	l.mu.Unlock()
	if over != nil {
		return over
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return os.ErrDeadlineExceeded
	}
	select { // the peer may have sent a reset before
	case <-l.read:
	case <-time.After(time.Second):
	}
	if reset := l.resetBy(); reset != nil {
		return reset
	}
	return lostError(err)
}

// resetBy returns the peer's reset, or nil.
func (l *lane) resetBy() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over != nil {
		return l.over
	}
	return l.stopped
}

// CloseWrite ends the writing direction. It does not wait for the peer.
func (l *lane) CloseWrite() error {
	l.mu.Lock()
	switch {
	case l.over != nil:
		defer l.mu.Unlock()
		return l.over
	case l.ended:
		defer l.mu.Unlock()
		return nil
	}
	l.ended = true
	l.mu.Unlock()
	if err := l.seal(frameEnd, nil); err != nil {
		return l.writeError(err)
	}
	return l.sendRest()
}

// quick is how long CloseWrite waits for the rest to be sent before it leaves
// that to another goroutine.
const quick = 10 * time.Millisecond

// sendRest sends the rest of the buffer, without waiting for a peer that does
// not read.
func (l *lane) sendRest() error {
	l.wire.SetWriteDeadline(time.Now().Add(quick))
	err := l.wire.flush()
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		if err != nil {
			return l.writeError(err)
		}
		return nil
	}
	l.run.start(func() {
		l.mu.Lock()
		by := time.Time{}
		if l.over != nil {
			by = time.Now().Add(parting)
		}
		l.mu.Unlock()
		l.wire.SetWriteDeadline(by)
		l.wire.flush()
	})
	return nil
}

// parting is how long a lane that was closed or reset waits for the peer to
// notice.
const parting = 5 * time.Second

// Close ends the stream. Bytes already written still arrive.
func (l *lane) Close() error {
	err := l.CloseWrite()
	l.finish(net.ErrClosed, p2p.ErrCanceled)
	return err
}

// Reset ends both directions at once.
func (l *lane) Reset(code p2p.ResetCode) {
	l.finish(&p2p.ResetError{Code: code}, code)
}

// finish frees the lane once the peer knows of its end. Only the first call
// counts. If the peer has not ended its direction, it gets a reset with the
// code.
func (l *lane) finish(why error, code p2p.ResetCode) {
	l.mu.Lock()
	if l.over != nil {
		l.mu.Unlock()
		return
	}
	l.over = why
	ended := l.ended
	l.endedBy("idle") // the stream is over, and needs it no more
	l.mu.Unlock()
	inbound := l.in.ended()
	l.in.drop(why)
	if inbound == nil || inbound == io.EOF && !ended {
		_ = l.sealReset(code) // on failure the lane is cut, which the peer notices
	}
	l.wire.SetWriteDeadline(turn.Past) // interrupts a pending write
	by := time.Time{}
	if why != net.ErrClosed {
		by = time.Now().Add(parting)
		time.AfterFunc(2*parting, l.cut)
	}
	if !l.run.start(func() { l.leave(inbound, by) }) {
		l.cut()
	}
}

func (l *lane) sealReset(code p2p.ResetCode) error {
	return l.seal(frameReset, binary.LittleEndian.AppendUint32(nil, uint32(code)))
}

// leave sends the rest of the buffer, until by if that is not zero, and closes
// the connection once the peer has closed it: a system that closes with unread
// bytes discards the bytes it has yet to send.
func (l *lane) leave(inbound error, by time.Time) {
	defer l.cut()
	l.wire.flushing.Lock() // waits for the interrupted write
	l.wire.SetWriteDeadline(by)
	l.wire.flushing.Unlock()
	if l.wire.flush() != nil || inbound != nil && inbound != io.EOF {
		return
	}
	l.wire.CloseWrite()
	look := time.NewTicker(l.run.listener.cfg.tend)
	defer look.Stop()
	for began := time.Now(); ; {
		select {
		case <-l.read:
			return
		case <-l.run.ending:
			return
		case <-look.C:
		}
		if !by.IsZero() && time.Since(began) >= parting || by.IsZero() && l.deaf() {
			return
		}
	}
}

// deaf reports whether the other side has all that it was sent, and neither
// closes nor says that it is there. It is false on systems that do not tell
// what has arrived.
func (l *lane) deaf() bool {
	silent := time.Since(l.born) - time.Duration(l.heard.Load())
	return silent > l.run.listener.cfg.patience && allAcknowledged(l.wire.TCPConn)
}

// cut closes the connection at once. Calls after the first have no effect.
func (l *lane) cut() {
	l.mu.Lock()
	if l.over == nil {
		l.over = lostError(net.ErrClosed)
	}
	over := l.over
	select {
	case <-l.freed:
		l.mu.Unlock()
		return
	default:
		close(l.freed)
	}
	l.mu.Unlock()
	l.in.drop(over)
	l.wire.TCPConn.Close()
	l.run.gone(l)
}

func (l *lane) SetReadDeadline(t time.Time) { l.in.SetReadDeadline(t) }

func (l *lane) SetWriteDeadline(t time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended || l.over != nil { // the rest of the buffer goes out first
		return
	}
	l.writeBy = t
	l.wire.SetWriteDeadline(t)
}

func (l *lane) LocalAddr() net.Addr  { return l.wire.LocalAddr() }
func (l *lane) RemoteAddr() net.Addr { return l.wire.RemoteAddr() }
func (l *lane) Path() p2p.Path       { return l.path }
func (l *lane) Version() int         { return 2 }

// Exporter returns keying material that is bound to the lane's TLS session.
func (l *lane) Exporter(label string) (value [32]byte, ok bool) {
	state := l.tls.ConnectionState()
	b, err := state.ExportKeyingMaterial(label, nil, len(value))
	if err != nil {
		return value, false
	}
	return [32]byte(b), true
}
