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
	"sync/atomic"
	"time"
)

const (
	// MaxFrame is the length in bytes of the longest frame that a circuit may
	// bring.
	MaxFrame = 1500
	// maxPacket is the length in bytes of the longest packet that quic-go
	// accepts.
	maxPacket = 1452

	maxQueued  = 64        // packets of a Link waiting for the reader; beyond it the circuit waits
	maxPending = 512 << 10 // bytes waiting for a circuit; beyond it packets are dropped, as a router does
	maxSpare   = 16 << 10  // bytes of the buffer that an idle circuit keeps
	idleAfter  = time.Second
)

// A Link is an address that leads into a circuit: a stream of bytes through a
// relay, in which each packet is a frame.
//
//	size  field
//	2     n, 1 to MaxFrame; big-endian
//	n     one packet of QUIC
//
// The address stays the same when another circuit replaces one that has ended.
// Without a circuit, packets are dropped. The methods may be called
// concurrently.
type Link struct {
	socket *Socket
	addr   netip.AddrPort
	udp    *net.UDPAddr
	done   chan struct{} // closed with the Link

	brought atomic.Uint64 // packets so far
	gate    sync.Mutex    // held while a packet is handed over

	queue []*packet     // not yet taken by the reader; under the injector's mu
	room  chan struct{} // of size 1: the reader has taken a packet

	mu      sync.Mutex
	closed  bool
	circuit *circuit
}

// A circuit is a present or former circuit of a Link.
type circuit struct {
	stream  io.ReadWriteCloser
	ended   chan struct{} // closed when the circuit has ended
	mu      sync.Mutex
	over    bool
	last    bool          // nothing will be added to pending
	pending []byte        // frames to be written
	more    chan struct{} // of size 1: pending has grown
}

// Link returns a new Link without a circuit. Its address shares the first
// [GroupBits] bits with other Links of its group.
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

// links are the Links of a Socket. A map in use is never modified.
type links map[netip.AddrPort]*Link

// Addr returns the address.
func (l *Link) Addr() netip.AddrPort { return l.addr }

// Packets returns the number of packets that its circuits have brought so far.
func (l *Link) Packets() uint64 { return l.brought.Load() }

// Hold stops packets from arriving over the Link until release is called, and
// returns once those that have arrived are read.
func (l *Link) Hold() (release func()) {
	l.gate.Lock()
	for l.waits() {
		time.Sleep(time.Millisecond)
	}
	return l.gate.Unlock
}

// waits reports whether packets wait for the reader.
func (l *Link) waits() bool {
	i := &l.socket.injected
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(l.queue) > 0 && !l.isClosed()
}

// Done returns a channel that is closed when the Link is closed.
func (l *Link) Done() <-chan struct{} { return l.done }

// Carry makes packets go through a circuit, which replaces the one that the
// Link has and belongs to the Link from then on. It returns a channel that is
// closed when the circuit has ended. The end of a circuit does not close the
// Link.
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

// Finish ends the circuit once everything was written to it, or after the time
// within, and closes the Link.
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

var errFrame = errors.New("carrier: a frame with an invalid length")

// read hands the packets of a circuit to the Socket's reader until the circuit
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
		l.brought.Add(1)
		l.gate.Lock()
		put := n <= maxPacket && l.socket.injected.put(l.socket, p, c.ended)
		l.gate.Unlock()
		if !put {
			p.free()
		}
	}
}

// send sends a write of quic-go, which is several packets if its control
// messages say so. Packets for which there is no room are dropped.
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

// write writes everything pending to a circuit, in one call each time, until
// the circuit ends. It alternates between two buffers, which grow as needed,
// and are released after a while without traffic.
func (c *circuit) write() {
	defer c.end()
	idle := time.NewTimer(idleAfter)
	defer idle.Stop()
	var spare []byte
	for {
		select {
		case <-c.more:
		case <-c.ended:
			return
		case <-idle.C:
			spare = c.rest(spare)
			continue
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
		idle.Reset(idleAfter)
	}
}

// rest releases large buffers, and returns the spare one to keep.
func (c *circuit) rest(spare []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pending) == 0 && cap(c.pending) > maxSpare {
		c.pending = nil
	}
	if cap(spare) > maxSpare {
		return nil
	}
	return spare
}
