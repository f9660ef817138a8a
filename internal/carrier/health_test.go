package carrier

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// broken returns a fake that cannot send.
func broken() *fake {
	f := newFake()
	f.write = func([]byte, []byte, *net.UDPAddr) error { return failure("sendmsg", noRoute) }
	return f
}

// send sends a packet every 10 ms for some time.
func (b *bench) send(t *testing.T, d time.Duration) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		_, _, err := b.WriteMsgUDP(make([]byte, 9), nil, there)
		require.NoError(t, err)
	}
	synctest.Wait()
}

// A socket that fails for 2 s although there is a route is replaced; the new
// one has the options of the old one, and the log reports it once. A waiting
// read goes on, and Ways can send.
func TestRebind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newBench(t, broken())
		w := s.Way(there.AddrPort())
		require.NoError(t, s.SetReadBuffer(1000))
		require.NoError(t, s.SetWriteBuffer(2000))
		raw, err := s.SyscallConn()
		require.NoError(t, err)
		options := 0
		require.NoError(t, raw.Control(func(uintptr) { options++ }))
		raw, err = w.SyscallConn()
		require.NoError(t, err)
		require.NoError(t, raw.Control(func(uintptr) { options += 100 }))
		deadline := time.Now().Add(time.Hour)
		require.NoError(t, s.SetReadDeadline(deadline))
		read := make(chan error)
		go func() {
			_, err := s.ReadBatch(nil, 0)
			read <- err
		}()

		s.send(t, 1900*time.Millisecond)
		require.Zero(t, s.rebound())
		s.send(t, 700*time.Millisecond)
		require.Equal(t, 1, s.rebound())
		require.Equal(t, 1, s.logged(), s.log.String())
		require.Contains(t, s.log.String(), "bound anew")
		first, second := s.fakes[0], s.fakes[1]
		require.True(t, first.isClosed())
		require.Equal(t, 102, options, "the Way has the Socket's options")
		require.Equal(t, []int{1000, 2000}, []int{second.readBuffer, second.writeBuffer})
		require.Equal(t, deadline, second.deadline)
		_, before := second.count()
		_, _, err = w.WriteMsgUDP(nil, nil, nil)
		require.NoError(t, err)
		_, after := second.count()
		require.Equal(t, before+1, after)

		s.send(t, time.Minute)
		require.Equal(t, 1, s.rebound())
		require.Empty(t, read)
		require.NoError(t, s.SetReadDeadline(time.Now()))
		require.Error(t, <-read)
	})
}

// A socket is kept without a route, while packets to other addresses are sent,
// and if errors concern single packets. Time without a route does not count.
func TestNoRebind(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		errno  syscall.Errno
		routed bool
		during func(s *bench)
	}{
		"no route":           {noRoute, false, nil},
		"one peer":           {aboutPacket, true, nil},
		"others are reached": {noRoute, true, func(s *bench) { _, _, _ = s.WriteMsgUDP(nil, nil, here) }},
		"a route at times":   {noRoute, true, func(s *bench) { s.setRouted(time.Now().UnixMilli()%4000 < 1500) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.write = func(_, _ []byte, to *net.UDPAddr) error {
					if to == here {
						return nil
					}
					return failure("sendmsg", c.errno)
				}
				s := newBench(t, f)
				s.setRouted(c.routed)
				for range 60 {
					s.send(t, time.Second)
					if c.during != nil {
						c.during(s)
					}
				}
				require.Zero(t, s.rebound())
				require.Zero(t, s.logged())
				if !c.routed {
					s.setRouted(true)
					s.send(t, 1900*time.Millisecond)
					require.Zero(t, s.rebound())
					s.send(t, 1200*time.Millisecond)
					require.Equal(t, 1, s.rebound())
				}
			})
		})
	}
}

// A socket that fails for ever is rebound less and less often, and does not
// fill the log.
func TestFailsForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newBench(t, broken())
		s.next = func() (*fake, error) { return broken(), nil }
		s.send(t, 10*time.Minute)
		require.InDelta(t, 14, s.rebound(), 2)
		require.Equal(t, 1, s.logged(), s.log.String())
		for _, f := range s.fakes[:s.rebound()] {
			require.True(t, f.isClosed())
		}
	})
}

// If another program has taken the port meanwhile, packets are lost until the
// port is free again. The log reports the beginning and the end. Reading ends
// as usual.
func TestRebindFails(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"send", "read"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newBench(t, broken())
				s.next = func() (*fake, error) { return nil, errors.New("in use") }
				s.send(t, 3*time.Second)
				require.Zero(t, s.rebound())
				require.True(t, s.fakes[0].isClosed())
				require.Contains(t, s.log.String(), "cannot be bound anew yet")
				require.NoError(t, s.SetReadBuffer(1000))
				require.NoError(t, s.SetReadDeadline(time.Now().Add(time.Second)))
				_, err := s.ReadBatch(nil, 0)
				require.ErrorContains(t, err, "timeout")
				require.NoError(t, s.SetReadDeadline(time.Time{}))
				s.next = func() (*fake, error) { return newFake(), nil }
				if how == "send" {
					s.send(t, 6*time.Second)
				} else {
					go s.ReadBatch(nil, 0)
					time.Sleep(6 * time.Second)
					synctest.Wait()
				}
				require.Equal(t, 1, s.rebound())
				require.Equal(t, 1000, s.fakes[1].readBuffer)
				require.Equal(t, 2, s.logged(), s.log.String())
				_, writes := s.fakes[1].count()
				require.Equal(t, how == "send", writes > 0)
			})
		})
	}
}

// A socket that cannot be read for 2 s is also replaced, with or without a
// route.
func TestRebindReading(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.read = func() error { return failure("recvmmsg", noRoute) }
		s := newBench(t, f)
		s.setRouted(false)
		go s.ReadBatch(nil, 0)
		s.send(t, 1900*time.Millisecond) // that sending works does not help
		require.Zero(t, s.rebound())
		s.send(t, 300*time.Millisecond)
		require.Equal(t, 1, s.rebound())
		require.Equal(t, 1, s.logged())
	})
}

// The system's socket dies under a connection, and a new one gets the port: the
// stream goes on, in both directions, with the options that quic-go has set.
func TestRebindUnderQUIC(t *testing.T) {
	t.Parallel()
	for _, side := range []string{"dialer", "callee"} {
		t.Run(side, func(t *testing.T) {
			t.Parallel()
			callee, s := New(listenUDP(t), Config{}), New(listenUDP(t), Config{})
			defer callee.Close()
			defer s.Close()
			serveEcho(t, transport(t, callee))
			k := dial(t, transport(t, s), at(callee))
			dies := callee
			if side == "dialer" {
				dies = s
			}
			before, old := at(dies), dies.kernel()
			set := options(t, old)
			require.NoError(t, dies.rebind())
			require.True(t, old != dies.kernel())
			require.Equal(t, before, at(dies))
			require.Equal(t, set, options(t, dies.kernel()))
			for range 20 {
				k.echo()
			}
		})
	}
}

// A socket of IPv4 only is rebound as such, and one of both families as well.
func TestRebindFamily(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"udp4", "udp"} {
		c, err := net.ListenUDP(network, nil)
		require.NoError(t, err)
		s := New(c, Config{})
		before := s.LocalAddr().String()
		require.NoError(t, s.rebind())
		require.Equal(t, before, s.LocalAddr().String())
		w := s.Way(at(s))
		_, err = w.WriteTo([]byte("over IPv4"), nil)
		require.NoError(t, err)
		b := make([]byte, 100)
		require.NoError(t, s.SetReadDeadline(time.Now().Add(30*time.Second)))
		n, from, err := s.ReadFrom(b)
		require.NoError(t, err)
		require.Equal(t, "over IPv4", string(b[:n]))
		require.Equal(t, at(s), plain(from.(*net.UDPAddr).AddrPort()))
		require.NoError(t, s.Close())
	}
}
