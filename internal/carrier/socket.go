package carrier

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
)

// A Config says how a [Socket] recovers from the loss of the system's socket.
// The zero value is ready to use.
type Config struct {
	// Rebind opens a socket on the port of the one that failed, which has been
	// closed. If nil, the new one is bound to the address of the old one. It
	// must not call methods of the Socket.
	Rebind func() (*net.UDPConn, error)
	// Routed reports whether a new socket could send to an address. If nil, the
	// system is asked, without sending anything.
	Routed func(netip.AddrPort) bool
	// Logger logs when a socket is rebound. If nil, nothing is logged.
	Logger *slog.Logger
}

// A kernel is a socket of the system.
type kernel interface {
	net.PacketConn
	SyscallConn() (syscall.RawConn, error)
	SetReadBuffer(bytes int) error
	SetWriteBuffer(bytes int) error
	ReadMsgUDP(b, oob []byte) (n, oobn, flags int, addr *net.UDPAddr, err error)
	WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error)
	ReadBatch(all []ipv4.Message, flags int) (int, error)
}

// udp is the kernel of a UDPConn.
type udp struct {
	*net.UDPConn
	batch *ipv4.PacketConn // on the same socket, also for IPv6
}

func newUDP(c *net.UDPConn) udp { return udp{c, ipv4.NewPacketConn(c)} }

func (u udp) ReadBatch(all []ipv4.Message, flags int) (int, error) {
	return u.batch.ReadBatch(all, flags)
}

// A Gatherer reads packets that the system has coalesced, and hands them over
// one by one. It waits for the system only if told to.
type Gatherer interface {
	Read(all []ipv4.Message, from System, wait bool) (int, error)
}

// A System is a socket of the system, for a [Gatherer].
type System interface {
	Read(all []ipv4.Message, wait bool) (int, error)
}

// Gather, if not nil, makes the system coalesce the packets that a socket
// receives; it returns nil if the system cannot. Package quic/gather sets it
// before main begins.
var Gather func(syscall.Conn) Gatherer

// A Socket is a UDP socket that survives the loss of a network. Its methods may
// be called concurrently. It implements quic-go's OOBCapablePacketConn.
type Socket struct {
	cfg       Config
	open      func() (kernel, error) // rebinds
	below     atomic.Pointer[kernel]
	redirects atomic.Pointer[redirects] // nil if there are none
	links     atomic.Pointer[links]     // the same
	unpinned  atomic.Pointer[unpinned]  // the same
	fence     atomic.Pointer[fence]     // nil: packets may go anywhere
	injected  injector
	coalesces sync.Once
	pacer     pacer
	gatherer  atomic.Pointer[Gatherer] // nil: the system hands over packets one by one
	health    health
	done      chan struct{}  // closed with the Socket
	mending   sync.WaitGroup // goroutines that examine failures; added to under mu

	mu                      sync.Mutex
	closed                  bool
	broken                  bool          // the system's socket is closed, and none could be opened since
	changed                 chan struct{} // closed and replaced when a waiting read has to check again
	readUntil, writeUntil   time.Time     // deadlines that the owner has set
	readBuffer, writeBuffer int           // bytes; 0 if the owner has not set them
	controls                []func(fd uintptr)
}

// New returns a Socket that uses c, which belongs to it from then on. c should
// be bound to the unspecified address: any other may disappear for good.
func New(c *net.UDPConn, cfg Config) *Socket {
	s := newSocket(newUDP(c), cfg)
	if cfg.Rebind == nil {
		local := c.LocalAddr().(*net.UDPAddr)
		network := "udp"
		if local.IP.To4() != nil {
			network = "udp4"
		}
		cfg.Rebind = func() (*net.UDPConn, error) { return net.ListenUDP(network, local) }
	}
	s.open = func() (kernel, error) {
		c, err := cfg.Rebind()
		if err != nil {
			return nil, err
		}
		return newUDP(c), nil
	}
	return s
}

func newSocket(k kernel, cfg Config) *Socket {
	if cfg.Routed == nil {
		cfg.Routed = func(to netip.AddrPort) bool { _, err := Route(to); return err == nil }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Socket{cfg: cfg, done: make(chan struct{}), changed: make(chan struct{}), health: health{began: time.Now()}}
	s.below.Store(&k)
	return s
}

// kernel returns the system's socket, which is closed while none can be opened.
func (s *Socket) kernel() kernel { return *s.below.Load() }

// Close closes the socket, and its Ways with it.
func (s *Socket) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return net.ErrClosed
	}
	s.closed = true
	close(s.done)
	err := s.kernel().Close()
	all := s.links.Load()
	s.mu.Unlock()
	if all != nil {
		for _, l := range *all {
			l.Close()
		}
	}
	s.mending.Wait()
	if errors.Is(err, net.ErrClosed) { // it had failed
		err = nil
	}
	return err
}

func (s *Socket) isClosed() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// LocalAddr returns the address that the socket is bound to, a [*net.UDPAddr].
func (s *Socket) LocalAddr() net.Addr { return s.kernel().LocalAddr() }

// wake makes a waiting read check again. The caller holds mu.
func (s *Socket) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// SetDeadline sets the deadlines of reading and writing.
func (s *Socket) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

// SetReadDeadline sets the deadline of reading, also after a rebind.
func (s *Socket) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readUntil = t
	s.wake()
	if s.injected.poked.Load() {
		return nil // the reader checks it
	}
	return s.unlessBroken(s.kernel().SetReadDeadline(t))
}

// SetWriteDeadline sets the deadline of writing, also after a rebind.
func (s *Socket) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writeUntil = t
	return s.unlessBroken(s.kernel().SetWriteDeadline(t))
}

// SetReadBuffer sets the size of the system's buffer in bytes, also after a
// rebind.
func (s *Socket) SetReadBuffer(bytes int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readBuffer = bytes
	return s.unlessBroken(s.kernel().SetReadBuffer(bytes))
}

// SetWriteBuffer sets the size of the system's buffer in bytes, also after a
// rebind.
func (s *Socket) SetWriteBuffer(bytes int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writeBuffer = bytes
	return s.unlessBroken(s.kernel().SetWriteBuffer(bytes))
}

// unlessBroken returns err, or nil if the only reason is that no new socket
// could be opened yet: the option is then set on the next one.
func (s *Socket) unlessBroken(err error) error {
	if !s.closed && errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// SyscallConn returns access to the system's socket, whichever that is at the
// time. Functions passed to Control, which set options, are kept and called
// again for each new socket, since quic-go sets its options only once.
func (s *Socket) SyscallConn() (syscall.RawConn, error) { return rawConn{s, true}, nil }

// A rawConn is a syscall.RawConn of a Socket.
type rawConn struct {
	socket *Socket
	keep   bool // the functions that Control is called with
}

func (r rawConn) Control(f func(fd uintptr)) error {
	r.socket.mu.Lock()
	defer r.socket.mu.Unlock()
	if r.keep {
		r.socket.controls = append(r.socket.controls, f)
	}
	raw, err := r.socket.kernel().SyscallConn()
	if err == nil {
		err = raw.Control(f)
	}
	return r.socket.unlessBroken(err)
}

func (r rawConn) Read(f func(fd uintptr) (done bool)) error {
	raw, err := r.socket.kernel().SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(f)
}

func (r rawConn) Write(f func(fd uintptr) (done bool)) error {
	raw, err := r.socket.kernel().SyscallConn()
	if err != nil {
		return err
	}
	return raw.Write(f)
}

// Route returns the source address that the system would now use to send to an
// address. It sends nothing. It fails if the system has no route or no such
// address, which sending over a Socket does not reveal. For a virtual address,
// it returns the address itself.
func Route(to netip.AddrPort) (from netip.Addr, err error) {
	if IsVirtual(to.Addr()) {
		return to.Addr(), nil
	}
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return from, err
	}
	from = c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	return from, c.Close()
}

// expired reports whether the owner's deadline of reading has passed; if not,
// it returns the channel that a reader waits for, and for how long.
func (s *Socket) expired() (expired bool, changed <-chan struct{}, left time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readUntil.IsZero() {
		return false, s.changed, longestWait
	}
	left = time.Until(s.readUntil)
	return left <= 0, s.changed, left
}
