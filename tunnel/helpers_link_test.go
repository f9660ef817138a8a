package tunnel

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

var errReset = errors.New("reset")

// A pipe is one direction of a link: it holds up to cap(buf) bytes that were
// written and not yet read. It allocates nothing.
type pipe struct {
	mu              sync.Mutex
	changed         sync.Cond
	buf             []byte
	ended           bool // no more data will come
	closed          bool // the reader has gone: written data vanishes
	reset           bool
	readBy, writeBy limit
}

// A limit is a deadline.
type limit struct {
	at    time.Time
	timer *time.Timer
}

func (l *limit) passed() bool { return !l.at.IsZero() && !time.Now().Before(l.at) }

func newPipe(size int) *pipe {
	p := &pipe{buf: make([]byte, 0, size)}
	p.changed.L = &p.mu
	return p
}

func (p *pipe) set(l *limit, at time.Time) {
	p.change(func() {
		if l.timer != nil {
			l.timer.Stop()
		}
		if l.at = at; !at.IsZero() && time.Until(at) > 0 {
			l.timer = time.AfterFunc(time.Until(at), func() { p.change(func() {}) })
		}
	})
}

func (p *pipe) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	p.changed.Broadcast()
}

// grow makes room for size bytes.
func (p *pipe) grow(size int) {
	p.change(func() { p.buf = append(make([]byte, 0, size), p.buf...) })
}

func (p *pipe) read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.reset:
			return 0, errReset
		case p.closed:
			return 0, net.ErrClosed
		case p.readBy.passed():
			return 0, os.ErrDeadlineExceeded
		case len(p.buf) > 0:
			n := copy(b, p.buf)
			p.buf = p.buf[:copy(p.buf, p.buf[n:])]
			p.changed.Broadcast()
			return n, nil
		case p.ended:
			return 0, io.EOF
		}
		p.changed.Wait()
	}
}

func (p *pipe) write(b []byte) (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.reset:
			return n, errReset
		case p.ended:
			return n, net.ErrClosed
		case p.writeBy.passed():
			return n, os.ErrDeadlineExceeded
		case p.closed:
			return n + len(b), nil
		}
		k := min(len(b), cap(p.buf)-len(p.buf))
		p.buf = append(p.buf, b[:k]...)
		p.changed.Broadcast()
		if n, b = n+k, b[k:]; len(b) == 0 {
			return n, nil
		}
		p.changed.Wait()
	}
}

// An end is one side of a link. It records what its user does with it.
type end struct {
	in, out *pipe
	sent    atomic.Pointer[[]byte] // written data, if not nil
	writes  atomic.Int32           // number of calls of Write
	bytes   atomic.Int64           // number of bytes written
	resets  atomic.Int32           // number of calls of Reset
	resetAt atomic.Pointer[time.Time]
	closes  atomic.Int32
}

// link returns a stream that buffers size bytes in each direction. Its ends can
// close one direction, and reset both. It works in bubbles.
func link(size int) (a, b *end) {
	ab, ba := newPipe(size), newPipe(size)
	return &end{in: ba, out: ab}, &end{in: ab, out: ba}
}

// tapped makes an end record the data that is written.
func (e *end) tapped() *end { e.sent.Store(new([]byte)); return e }

func (e *end) Read(b []byte) (int, error) { return e.in.read(b) }

func (e *end) Write(b []byte) (int, error) {
	e.writes.Add(1)
	n, err := e.out.write(b)
	e.bytes.Add(int64(n))
	if s := e.sent.Load(); s != nil {
		*s = append(*s, b[:n]...)
	}
	return n, err
}

func (e *end) CloseWrite() error {
	e.out.change(func() { e.out.ended = true })
	return nil
}

// Close ends this direction, and discards the data that still arrives.
func (e *end) Close() error {
	e.closes.Add(1)
	e.in.change(func() { e.in.closed, e.in.buf = true, e.in.buf[:0] })
	return e.CloseWrite()
}

// Reset ends both directions at once, at both ends.
func (e *end) Reset() {
	now := time.Now()
	if e.resets.Add(1) == 1 {
		e.resetAt.Store(&now)
	}
	for _, p := range []*pipe{e.in, e.out} {
		p.change(func() { p.reset = true })
	}
}

func (e *end) SetReadDeadline(t time.Time) error {
	e.in.set(&e.in.readBy, t)
	return nil
}

func (e *end) SetWriteDeadline(t time.Time) error {
	e.out.set(&e.out.writeBy, t)
	return nil
}

func (e *end) SetDeadline(t time.Time) error {
	e.SetReadDeadline(t)
	return e.SetWriteDeadline(t)
}

func (e *end) LocalAddr() net.Addr  { return address{} }
func (e *end) RemoteAddr() net.Addr { return address{} }

type address struct{}

func (address) Network() string { return "link" }
func (address) String() string  { return "link" }
