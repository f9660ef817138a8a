package carrier

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/ipv4"
)

const (
	firstWait   = time.Millisecond       // after a read that failed; doubles
	longestWait = 100 * time.Millisecond // at most
	atOnce      = 64                     // reads that fail because of one packet each, before a pause
)

// Numbers of reads from circuits between reads from the system. A read that
// does not wait costs next to nothing.
const (
	runOfBatches = 1
	runOfPackets = 32
)

// ReadBatch reads packets, several at once on systems that support it. Messages
// of length 0 are to be ignored. From the first call on, the system may
// coalesce packets (see [Gather]), which other methods then read as one.
func (s *Socket) ReadBatch(all []ipv4.Message, flags int) (n int, err error) {
	s.coalesces.Do(func() {
		if u, ok := s.kernel().(udp); ok && Gather != nil {
			if g := Gather(u); g != nil {
				s.gatherer.Store(&g)
			}
		}
	})
	err = s.readTurns(runOfBatches, func() bool {
		n = s.takeBatch(all)
		return n > 0
	}, func(wait bool) (err error) {
		n, err = s.readKernel(all, flags, wait)
		dropVirtual(all[:max(0, min(n, len(all)))])
		return err
	})
	return n, err
}

// readKernel reads packets from the system, or those that have been read from
// it and are due. Others of these are handed over once the system has no more.
func (s *Socket) readKernel(all []ipv4.Message, flags int, wait bool) (int, error) {
	for {
		if n := s.pacer.take(all, false); n > 0 {
			return n, nil
		}
		waits := s.pacer.held.Load() > 0
		n, err := s.readSystem(all, flags, wait && !waits)
		if err != nil && waits {
			return s.pacer.take(all, true), nil
		}
		if err != nil {
			return n, err
		}
		held := s.pacer.hold(all[:max(0, min(n, len(all)))])
		if n -= held; n > 0 || held == 0 {
			return n, nil
		}
	}
}

// readSystem reads packets from the system.
func (s *Socket) readSystem(all []ipv4.Message, flags int, wait bool) (int, error) {
	if g := s.gatherer.Load(); g != nil {
		return (*g).Read(all, below{s}, wait)
	}
	if wait {
		return s.kernel().ReadBatch(all, flags)
	}
	return s.glance(all, flags)
}

// A below is the system's socket below a Socket, for a [Gatherer].
type below struct{ s *Socket }

func (b below) Read(all []ipv4.Message, wait bool) (int, error) {
	if wait {
		return b.s.kernel().ReadBatch(all, 0)
	}
	return b.s.glance(all, 0)
}

// dropVirtual sets the length of packets from the network that claim a virtual
// address to 0. They keep their places, since the buffers there are quic-go's.
func dropVirtual(all []ipv4.Message) {
	for i := range all {
		if u, ok := all[i].Addr.(*net.UDPAddr); ok && isVirtual(u) {
			all[i].N = 0
		}
	}
}

// takeBatch takes packets from circuits.
func (s *Socket) takeBatch(all []ipv4.Message) (n int) {
	for ; n < len(all); n++ {
		p := s.injected.take()
		if p == nil {
			break
		}
		m := &all[n]
		m.N, m.NN, m.Flags, m.Addr = copy(m.Buffers[0], p.b[:p.n]), 0, 0, p.from.udp
		p.free()
	}
	return n
}

// ReadFrom reads a packet.
func (s *Socket) ReadFrom(b []byte) (n int, addr net.Addr, err error) {
	err = s.readTurns(runOfPackets, func() bool {
		p := s.injected.take()
		if p == nil {
			return false
		}
		n, addr = copy(b, p.b[:p.n]), p.from.udp
		p.free()
		return true
	}, func(wait bool) (err error) {
		defer s.hurry(wait)()
		n, addr, err = s.kernel().ReadFrom(b)
		if u, ok := addr.(*net.UDPAddr); ok && isVirtual(u) {
			n = 0
		}
		return err
	})
	return n, addr, err
}

// ReadMsgUDP reads a packet and its control messages.
func (s *Socket) ReadMsgUDP(b, oob []byte) (n, oobn, flags int, addr *net.UDPAddr, err error) {
	err = s.readTurns(runOfPackets, func() bool {
		p := s.injected.take()
		if p == nil {
			return false
		}
		n, oobn, flags, addr = copy(b, p.b[:p.n]), 0, 0, p.from.udp
		p.free()
		return true
	}, func(wait bool) (err error) {
		defer s.hurry(wait)()
		n, oobn, flags, addr, err = s.kernel().ReadMsgUDP(b, oob)
		if addr != nil && isVirtual(addr) {
			n = 0
		}
		return err
	})
	return n, oobn, flags, addr, err
}

// hurry makes a read end soon if it must not wait.
func (s *Socket) hurry(wait bool) (done func()) {
	if wait {
		return func() {}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.injected.poked.Store(true)
	_ = s.kernel().SetReadDeadline(time.Now().Add(firstWait))
	return func() { s.unpoke() }
}

// A trouble records the failures that one call of a reading method has met.
type trouble struct {
	reads int       // failed reads
	since time.Time // time of the first failure that was not about one packet
	wait  time.Duration
}

// waitOut handles a failed read: it returns the error to fail with, or nil,
// after a pause, to try again.
func (s *Socket) waitOut(t *trouble, err error) error {
	t.reads++
	expired, changed, left := s.expired()
	switch {
	case s.isClosed() && errors.Is(err, net.ErrClosed):
		return err
	case s.isClosed():
		return net.ErrClosed
	case expired || errors.Is(err, os.ErrDeadlineExceeded):
		return os.ErrDeadlineExceeded
	case about(err) == onePacket || isTooLong(err):
		if t.reads%atOnce != 0 {
			return nil // anybody can send such packets, and must not slow down others
		}
	case t.since.IsZero():
		t.since = time.Now()
	case errors.Is(err, net.ErrClosed) || time.Since(t.since) >= hopeless:
		s.examine(err, netip.AddrPort{})
	}
	t.wait = min(max(2*t.wait, firstWait), longestWait)
	pause := time.NewTimer(min(t.wait, left))
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-changed:
	case <-s.done:
	}
	return nil
}

// WriteMsgUDP sends a packet, or several of one size, with control messages.
func (s *Socket) WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	if r := s.redirects.Load(); r != nil {
		addr = r.of(addr)
	}
	return s.write(b, oob, addr)
}

// write sends to an address as it is, without redirects.
func (s *Socket) write(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	if isVirtual(addr) {
		return s.sendVirtual(b, oob, addr)
	}
	if s.fenced(addr) {
		return len(b), len(oob), nil
	}
	if u := s.unpinned.Load(); u != nil && (*u)[plain(addr.AddrPort())] > 0 {
		if rest, ok := withoutSource(oob); ok {
			n, _, err = s.write(b, rest, addr)
			return n, len(oob), err
		}
	}
	n, oobn, err = s.kernel().WriteMsgUDP(b, oob, addr)
	if err == nil {
		s.health.sent()
		return n, oobn, nil
	}
	if again, ok := retried(err, oob); ok {
		n, _, err = s.kernel().WriteMsgUDP(b, again, addr)
	}
	if err := s.outcome(err, addr); err != nil {
		return n, 0, err
	}
	return len(b), len(oob), nil
}

// sendVirtual sends into a circuit. Without one, the packet is lost.
func (s *Socket) sendVirtual(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	if s.isClosed() {
		return 0, 0, net.ErrClosed
	}
	if all := s.links.Load(); all != nil {
		if l := (*all)[plain(addr.AddrPort())]; l != nil {
			l.send(b, oob)
		}
	}
	return len(b), len(oob), nil
}

// WriteTo sends a packet.
func (s *Socket) WriteTo(b []byte, addr net.Addr) (int, error) {
	to, _ := addr.(*net.UDPAddr)
	if r := s.redirects.Load(); r != nil && to != nil {
		to = r.of(to)
		addr = to
	}
	if to != nil && isVirtual(to) {
		n, _, err := s.sendVirtual(b, nil, to)
		return n, err
	}
	if to != nil && s.fenced(to) {
		return len(b), nil
	}
	n, err := s.kernel().WriteTo(b, addr)
	if _, ok := retried(err, nil); ok {
		n, err = s.kernel().WriteTo(b, addr)
	}
	if err := s.outcome(err, to); err != nil {
		return n, err
	}
	return len(b), nil
}

// retried reports whether a packet that could not be sent should be tried once
// more, and with which control messages: without the source address, which this
// host may no longer have; or unchanged, since Linux sometimes refuses the
// first packet of a socket for no reason (golang/go#63322).
func retried(err error, oob []byte) (again []byte, ok bool) {
	if err == nil || about(err) == caller {
		return nil, false
	}
	if again, ok = withoutSource(oob); ok {
		return again, true
	}
	return oob, isPermission(err)
}

// outcome records the result of sending a packet, and returns the error for the
// caller.
func (s *Socket) outcome(err error, to *net.UDPAddr) error {
	switch {
	case err == nil:
		s.health.sent()
		return nil
	case errors.Is(err, net.ErrClosed) && s.isClosed():
		return err
	case errors.Is(err, net.ErrClosed) || about(err) == network:
		s.failed(err, to)
		return nil
	case about(err) == onePacket:
		return nil
	}
	return err
}
