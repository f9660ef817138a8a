package session

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/libp2p/go-yamux/v5"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/tunnel"
)

// A Conn is a stream of a session. Its methods may be called concurrently. A
// stream that was reset fails with a *[p2p.ResetError], and one whose tunnel is
// gone with [p2p.ErrConnectionLost]: neither looks like a regular end.
type Conn struct {
	stream  *yamux.Stream
	tunnel  *tunnel.Conn
	release func()
	once    sync.Once
	over    chan struct{} // closed once this side has closed or reset it
	lost    atomic.Bool   // it was reset because its tunnel is gone, or the node shuts down

	reading, writing sync.Mutex // yamux allows one call of each at a time
}

var _ net.Conn = (*Conn)(nil)

func newConn(s *yamux.Stream, t *tunnel.Conn, release func()) *Conn {
	return &Conn{stream: s, tunnel: t, release: release, over: make(chan struct{})}
}

// String returns a placeholder that names the member.
func (c *Conn) String() string { return "a stream in " + c.tunnel.String() }

// Format prints the placeholder for every verb, since the buffers hold the
// stream's contents.
func (c *Conn) Format(f fmt.State, _ rune) { fmt.Fprint(f, c.String()) }

// LogValue returns the placeholder.
func (c *Conn) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Library returns the library's UUID.
func (c *Conn) Library() uuid.UUID { return c.tunnel.Library() }

// Instance returns the member at the other end.
func (c *Conn) Instance() identity.RemoteIdentity { return c.tunnel.Instance() }

// Node returns the member's node.
func (c *Conn) Node() identity.RemoteIdentity { return c.tunnel.Node() }

// LocalAddr returns the address of our instance, an [identity.Addr].
func (c *Conn) LocalAddr() net.Addr { return c.tunnel.LocalAddr() }

// RemoteAddr returns the address of the member, an [identity.Addr].
func (c *Conn) RemoteAddr() net.Addr { return c.tunnel.RemoteAddr() }

// NetConn returns the tunnel. Reading from it, writing to it or closing it
// breaks the session.
func (c *Conn) NetConn() net.Conn { return c.tunnel }

// Read reads data from the member; [io.EOF] says that it has closed its side.
func (c *Conn) Read(b []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	n, err := c.stream.Read(b)
	return n, c.fault(err)
}

// Write sends b. It waits while the member does not read.
func (c *Conn) Write(b []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	n, err := c.stream.Write(b)
	return n, c.fault(err)
}

// CloseWrite ends the writing direction.
func (c *Conn) CloseWrite() error { return c.fault(c.stream.CloseWrite()) }

// Close ends the stream. Data already written still arrives; unread data is
// lost, and the member's writes fail.
func (c *Conn) Close() error {
	_ = c.stream.CloseWrite()
	c.Reset(p2p.ErrCanceled) // which does not affect the direction that is closed
	return nil
}

// Reset ends the stream with a reason, with which the member's reads and writes
// fail.
func (c *Conn) Reset(code p2p.ResetCode) {
	_ = c.stream.ResetWithError(uint32(code))
	c.once.Do(func() {
		close(c.over)
		c.release()
	})
}

// drop resets a stream whose tunnel is gone, or is about to be as the node
// shuts down.
func (c *Conn) drop() {
	c.lost.Store(true)
	c.Reset(p2p.ErrShuttingDown)
}

// SetDeadline sets both deadlines, as described at [net.Conn].
func (c *Conn) SetDeadline(t time.Time) error { return c.stream.SetDeadline(t) }

// SetReadDeadline sets the time until which a Read waits.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.stream.SetReadDeadline(t) }

// SetWriteDeadline sets the time until which a Write waits.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.stream.SetWriteDeadline(t) }

// fault translates an error of yamux into one of this package.
func (c *Conn) fault(err error) error {
	var reset *yamux.StreamError
	switch {
	case err == nil, err == io.EOF:
		return err
	case errors.Is(err, yamux.ErrTimeout):
		return os.ErrDeadlineExceeded
	case errors.As(err, &reset) && reset.Remote:
		return &p2p.ResetError{Code: p2p.ResetCode(reset.ErrorCode), Remote: true}
	case c.lost.Load():
		return p2p.ErrConnectionLost
	case errors.As(err, &reset), errors.Is(err, yamux.ErrStreamClosed):
		return net.ErrClosed
	default:
		return fmt.Errorf("%w: %w", p2p.ErrConnectionLost, err)
	}
}
