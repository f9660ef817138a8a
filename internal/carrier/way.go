package carrier

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
)

// A Way sends from a [Socket] to one address, whatever address it is given, and
// receives nothing. A quic-go transport on a Way is a further path for a
// connection that was dialed from the Socket. Its methods may be called
// concurrently.
//
// quic-go keeps every transport that a connection has used until the connection
// ends, and closing the transport ends the connection. So it is better to turn
// an unused Way to another address than to close it.
type Way struct {
	socket *Socket
	to     atomic.Pointer[net.UDPAddr]
	done   chan struct{} // closed with the Way

	mu      sync.Mutex
	closed  bool
	until   time.Time     // the deadline of reading
	changed chan struct{} // closed and replaced when the deadline is set
}

// Way returns a new Way to an address.
func (s *Socket) Way(to netip.AddrPort) *Way {
	w := &Way{socket: s, done: make(chan struct{}), changed: make(chan struct{})}
	w.Turn(to)
	return w
}

// Turn makes packets go to another address from now on.
func (w *Way) Turn(to netip.AddrPort) { w.to.Store(net.UDPAddrFromAddrPort(plain(to))) }

// To returns the address that packets go to.
func (w *Way) To() netip.AddrPort { return plain(w.to.Load().AddrPort()) }

// WriteMsgUDP sends packets to the Way's address.
func (w *Way) WriteMsgUDP(b, oob []byte, _ *net.UDPAddr) (n, oobn int, err error) {
	if w.isClosed() {
		return 0, 0, net.ErrClosed
	}
	return w.socket.write(b, oob, w.to.Load())
}

// WriteTo sends a packet to the Way's address.
func (w *Way) WriteTo(b []byte, _ net.Addr) (int, error) {
	n, _, err := w.WriteMsgUDP(b, nil, nil)
	return n, err
}

// ReadBatch waits until the Way or its Socket is closed, or until the deadline.
func (w *Way) ReadBatch([]ipv4.Message, int) (int, error) { return 0, w.wait() }

// ReadFrom waits as ReadBatch does.
func (w *Way) ReadFrom([]byte) (int, net.Addr, error) { return 0, nil, w.wait() }

// ReadMsgUDP waits as ReadBatch does.
func (w *Way) ReadMsgUDP(_, _ []byte) (n, oobn, flags int, addr *net.UDPAddr, err error) {
	return 0, 0, 0, nil, w.wait()
}

func (w *Way) wait() error {
	for {
		w.mu.Lock()
		until, changed := w.until, w.changed
		w.mu.Unlock()
		var passed <-chan time.Time
		if !until.IsZero() {
			left := time.Until(until)
			if left <= 0 && !w.isClosed() {
				return os.ErrDeadlineExceeded
			}
			passed = time.After(left)
		}
		select {
		case <-w.done:
			return net.ErrClosed
		case <-w.socket.done:
			return net.ErrClosed
		case <-passed:
		case <-changed:
		}
	}
}

// Close closes the Way. Its Socket stays open.
func (w *Way) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return net.ErrClosed
	}
	w.closed = true
	close(w.done)
	return nil
}

func (w *Way) isClosed() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// LocalAddr returns the Socket's address.
func (w *Way) LocalAddr() net.Addr { return w.socket.LocalAddr() }

// SetDeadline sets the deadline of reading. Writing does not wait.
func (w *Way) SetDeadline(t time.Time) error { return w.SetReadDeadline(t) }

// SetReadDeadline sets the deadline of reading.
func (w *Way) SetReadDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.until = t
	close(w.changed)
	w.changed = make(chan struct{})
	return nil
}

// SetWriteDeadline does nothing.
func (*Way) SetWriteDeadline(time.Time) error { return nil }

// SetReadBuffer does nothing: the buffer is the Socket's.
func (*Way) SetReadBuffer(int) error { return nil }

// SetWriteBuffer does nothing.
func (*Way) SetWriteBuffer(int) error { return nil }

// SyscallConn returns access to the Socket's system socket. Options that are
// set through it are not set again after a rebind, since the Socket's own
// transport sets the same ones.
func (w *Way) SyscallConn() (syscall.RawConn, error) { return rawConn{w.socket, false}, nil }
