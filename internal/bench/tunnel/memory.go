package tunnel

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// A pipe is one direction of a stream in memory. It holds whatever was written
// and not read yet, so that no write waits.
type pipe struct {
	mu      sync.Mutex
	changed sync.Cond
	buf     []byte
	closed  bool
	readBy  time.Time
	wake    *time.Timer // at readBy
}

func newPipe() *pipe {
	p := &pipe{buf: make([]byte, 0, 1024)}
	p.changed.L = &p.mu
	return p
}

func (p *pipe) read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case !p.readBy.IsZero() && !time.Now().Before(p.readBy):
			return 0, os.ErrDeadlineExceeded
		case len(p.buf) > 0:
			n := copy(b, p.buf)
			p.buf = p.buf[:copy(p.buf, p.buf[n:])]
			return n, nil
		case p.closed:
			return 0, io.EOF
		}
		p.changed.Wait()
	}
}

func (p *pipe) write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0, net.ErrClosed
	}
	p.buf = append(p.buf, b...)
	p.changed.Broadcast()
	return len(b), nil
}

func (p *pipe) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.stop()
	p.changed.Broadcast()
}

func (p *pipe) stop() {
	if p.wake != nil {
		p.wake.Stop()
	}
}

func (p *pipe) setReadBy(t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stop()
	if p.readBy = t; !t.IsZero() && !p.closed {
		p.wake = time.AfterFunc(time.Until(t), func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.changed.Broadcast()
		})
	}
}

// A memory is one end of a stream in memory. Its write deadline counts for
// nothing, since writes do not wait.
type memory struct{ in, out *pipe }

func newMemory() (a, b *memory) {
	ab, ba := newPipe(), newPipe()
	return &memory{in: ba, out: ab}, &memory{in: ab, out: ba}
}

func (m *memory) Read(b []byte) (int, error)  { return m.in.read(b) }
func (m *memory) Write(b []byte) (int, error) { return m.out.write(b) }

// Close ends both directions.
func (m *memory) Close() error {
	m.in.close()
	m.out.close()
	return nil
}

func (m *memory) SetDeadline(t time.Time) error {
	m.in.setReadBy(t)
	return nil
}

func (m *memory) SetReadDeadline(t time.Time) error { return m.SetDeadline(t) }
func (m *memory) SetWriteDeadline(time.Time) error  { return nil }
func (m *memory) LocalAddr() net.Addr               { return address{} }
func (m *memory) RemoteAddr() net.Addr              { return address{} }

type address struct{}

func (address) Network() string { return "memory" }
func (address) String() string  { return "memory" }
