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
	atOnce      = 64                     // reads that fail for one packet each, without a pause
)

// ReadBatch reads packets, on systems that can several at once.
func (s *Socket) ReadBatch(all []ipv4.Message, flags int) (int, error) {
	for t := (trouble{}); ; {
		n, err := s.kernel().ReadBatch(all, flags)
		if err == nil {
			return n, nil
		}
		if err := s.waitOut(&t, err); err != nil {
			return 0, err
		}
	}
}

// ReadFrom reads a packet.
func (s *Socket) ReadFrom(b []byte) (int, net.Addr, error) {
	for t := (trouble{}); ; {
		n, addr, err := s.kernel().ReadFrom(b)
		if err == nil {
			return n, addr, nil
		}
		if err := s.waitOut(&t, err); err != nil {
			return 0, nil, err
		}
	}
}

// ReadMsgUDP reads a packet and what the system says about it.
func (s *Socket) ReadMsgUDP(b, oob []byte) (n, oobn, flags int, addr *net.UDPAddr, err error) {
	for t := (trouble{}); ; {
		n, oobn, flags, addr, err = s.kernel().ReadMsgUDP(b, oob)
		if err == nil {
			return n, oobn, flags, addr, nil
		}
		if err := s.waitOut(&t, err); err != nil {
			return 0, 0, 0, nil, err
		}
	}
}

// Trouble is what one call of a reading method has met.
type trouble struct {
	reads int       // that failed
	since time.Time // when the first did that was not for one packet
	wait  time.Duration
}

// waitOut decides about a read that failed: it returns the error to fail with,
// or nil after a pause.
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
			return nil // anybody may send such packets, and must not slow down others
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

// write sends to an address that is not looked up.
func (s *Socket) write(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
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

// WriteTo sends a packet.
func (s *Socket) WriteTo(b []byte, addr net.Addr) (int, error) {
	to, _ := addr.(*net.UDPAddr)
	if r := s.redirects.Load(); r != nil && to != nil {
		to = r.of(to)
		addr = to
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

// retried reports whether a packet that could not be sent is to be tried once
// more, and with which control messages: without the source address, which may
// be gone from this host; or as it was, since on Linux the first packet of a
// socket is at times refused for no reason (golang/go#63322).
func retried(err error, oob []byte) (again []byte, ok bool) {
	if err == nil || about(err) == caller {
		return nil, false
	}
	if again, ok = withoutSource(oob); ok {
		return again, true
	}
	return oob, isPermission(err)
}

// outcome returns the error that a caller is told, of a packet that was sent or
// not.
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
