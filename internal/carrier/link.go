package carrier

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// MaxFrame is how long a frame may be that a circuit brings.
	MaxFrame = 1500
	// maxPacket is how long a packet is, at most, that quic-go takes.
	maxPacket = 1452

	maxQueued  = 64        // packets of a Link that wait for the reader; then its circuit waits
	maxPending = 512 << 10 // bytes that wait for a circuit; then packets are lost, as a router loses them
	maxSpare   = 16 << 10  // bytes of a buffer that an idle circuit keeps
)

// A Link is an address that leads into a circuit: a stream of bytes through a
// relay, in which each packet is a frame.
//
//	size  field
//	2     n, 1 to MaxFrame; big-endian
//	n     one packet of QUIC
//
// The address stays when another circuit takes the place of one that has ended.
// Without a circuit, packets are lost. The methods may be called concurrently.
type Link struct {
	socket *Socket
	addr   netip.AddrPort
	udp    *net.UDPAddr
	done   chan struct{} // closed with the Link

	queue []*packet     // that the reader has not taken; under the injector's mu
	room  chan struct{} // of size 1: the reader has taken one

	mu      sync.Mutex
	closed  bool
	circuit *circuit
}

// A circuit is one that a Link has, or had.
type circuit struct {
	stream  io.ReadWriteCloser
	ended   chan struct{} // closed when it has
	mu      sync.Mutex
	over    bool
	last    bool          // what is pending is all
	pending []byte        // frames to be written
	more    chan struct{} // of size 1: pending has got some
}

// Link returns a new one, which has no circuit yet. Its address has the first
// [GroupBits] in common with others of its group.
func (s *Socket) Link(group uint32) *Link {
	l := &Link{socket: s, addr: newVirtual(group), done: make(chan struct{}), room: make(chan struct{}, 1)}
	l.udp = net.UDPAddrFromAddrPort(l.addr)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		l.closed = true
		close(l.done)
		return l
	}
	next := links{l.addr: l}
	if all := s.links.Load(); all != nil {
		maps.Copy(next, *all)
	}
	s.links.Store(&next)
	return l
}

// links are those of a Socket. A map in use does not change.
type links map[netip.AddrPort]*Link

// Addr returns the address.
func (l *Link) Addr() netip.AddrPort { return l.addr }

// Done returns a channel that is closed with the Link.
func (l *Link) Done() <-chan struct{} { return l.done }

// Carry has packets go through a circuit, which belongs to the Link from then on,
// in the place of the one that it has. It returns a channel that is closed when
// the circuit has ended. Unlike the Link, that is not closed then.
func (l *Link) Carry(stream io.ReadWriteCloser) (ended <-chan struct{}) {
	c := &circuit{stream: stream, ended: make(chan struct{}), more: make(chan struct{}, 1)}
	l.mu.Lock()
	before := l.circuit
	l.circuit = c
	closed := l.closed
	l.mu.Unlock()
	if before != nil {
		before.end()
	}
	if closed {
		c.end()
		return c.ended
	}
	go c.write()
	go func() {
		defer c.end()
		_ = l.read(c)
	}()
	return c.ended
}

// Finish has the circuit end once it has taken what was sent, waits for that for
// some time, and closes the Link.
func (l *Link) Finish(within time.Duration) {
	l.mu.Lock()
	c := l.circuit
	l.mu.Unlock()
	if c != nil {
		c.mu.Lock()
		c.last = true
		c.mu.Unlock()
		select {
		case c.more <- struct{}{}:
		default:
		}
		timer := time.NewTimer(within)
		defer timer.Stop()
		select {
		case <-c.ended:
		case <-timer.C:
		}
	}
	l.Close()
}

// Close closes the Link and its circuit.
func (l *Link) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return net.ErrClosed
	}
	l.closed = true
	close(l.done)
	c := l.circuit
	l.mu.Unlock()
	l.socket.unlink(l)
	if c != nil {
		c.end()
	}
	return nil
}

func (s *Socket) unlink(l *Link) {
	s.mu.Lock()
	if all := s.links.Load(); all != nil {
		next := maps.Clone(*all)
		delete(next, l.addr)
		if len(next) == 0 {
			s.links.Store(nil)
		} else {
			s.links.Store(&next)
		}
	}
	s.mu.Unlock()
	s.injected.drop(l)
}

// end ends a circuit. Calls after the first have no effect.
func (c *circuit) end() {
	c.mu.Lock()
	over := c.over
	c.over, c.pending = true, nil
	c.mu.Unlock()
	if over {
		return
	}
	close(c.ended)
	c.stream.Close()
}

var errFrame = errors.New("carrier: a frame of a length that none has")

// read hands the packets of a circuit to the Socket's reader, until the circuit
// ends.
func (l *Link) read(c *circuit) error {
	r := bufio.NewReaderSize(c.stream, 32<<10)
	for {
		var size [2]byte
		if _, err := io.ReadFull(r, size[:]); err != nil {
			return err
		}
		n := int(binary.BigEndian.Uint16(size[:]))
		if n == 0 || n > MaxFrame {
			return errFrame
		}
		p := newPacket()
		if _, err := io.ReadFull(r, p.b[:n]); err != nil {
			p.free()
			return err
		}
		p.n, p.from = n, l
		if n > maxPacket || !l.socket.injected.put(l.socket, p, c.ended) {
			p.free()
		}
	}
}

// send sends what quic-go writes, which control messages may say to be several
// packets. What does not fit is lost.
func (l *Link) send(b, oob []byte) {
	l.mu.Lock()
	c := l.circuit
	l.mu.Unlock()
	if c == nil {
		return
	}
	size := segment(oob)
	if size == 0 {
		size = len(b)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(b) > 0 && !c.over {
		n := min(size, len(b))
		if n <= MaxFrame && len(c.pending)+2+n <= maxPending {
			c.pending = binary.BigEndian.AppendUint16(c.pending, uint16(n))
			c.pending = append(c.pending, b[:n]...)
		}
		b = b[n:]
	}
	select {
	case c.more <- struct{}{}:
	default:
	}
}

// write writes to a circuit all that is there, at a time, until the circuit ends.
func (c *circuit) write() {
	defer c.end()
	var spare []byte
	for {
		select {
		case <-c.more:
		case <-c.ended:
			return
		}
		c.mu.Lock()
		b, last := c.pending, c.last
		c.pending = spare[:0]
		c.mu.Unlock()
		if len(b) > 0 {
			if _, err := c.stream.Write(b); err != nil {
				return
			}
		}
		if last {
			return
		}
		spare = b
		c.mu.Lock()
		if len(c.pending) == 0 { // a burst is over
			if cap(c.pending) > maxSpare {
				c.pending = nil
			}
			if cap(spare) > maxSpare {
				spare = nil
			}
		}
		c.mu.Unlock()
	}
}
