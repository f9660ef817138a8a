package carrier

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	quicgo "github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv4"
)

// For each error of this system, and each way to send, a packet that the system
// refuses is either lost silently or reported to the caller.
func TestRefusedPackets(t *testing.T) {
	t.Parallel()
	var err error
	f := newFake()
	f.write = func([]byte, []byte, *net.UDPAddr) error { return err }
	s := newBench(t, f)
	w := s.Way(there.AddrPort())
	send := map[string]func() (int, error){
		"WriteMsgUDP":     func() (int, error) { n, _, err := s.WriteMsgUDP(make([]byte, 9), nil, there); return n, err },
		"WriteTo":         func() (int, error) { return s.WriteTo(make([]byte, 9), there) },
		"Way.WriteMsgUDP": func() (int, error) { n, _, err := w.WriteMsgUDP(make([]byte, 9), nil, here); return n, err },
		"Way.WriteTo":     func() (int, error) { return w.WriteTo(make([]byte, 9), here) },
	}
	for name, send := range send {
		for _, errno := range lostErrors {
			err = failure("sendmsg", errno)
			n, got := send()
			require.NoError(t, got, "%s, %v", name, errno)
			require.Equal(t, 9, n)
		}
		for _, errno := range toldErrors {
			err = failure("sendmsg", errno)
			_, got := send()
			require.Equal(t, err, got, "%s: quic-go needs the unchanged error", name)
		}
		for _, other := range []error{os.ErrDeadlineExceeded, &net.AddrError{Err: "non-IPv4 address"}} {
			err = other
			_, got := send()
			require.ErrorIs(t, got, other, name)
		}
	}
	require.Zero(t, s.rebound())
	require.NoError(t, s.Close())
	for name, send := range send {
		_, got := send()
		require.ErrorIs(t, got, net.ErrClosed, name)
	}
	require.ErrorIs(t, s.Close(), net.ErrClosed)
}

// The pauses after failed reads double until a packet arrives.
func TestReadErrors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		fails := 0
		f.read = func() error {
			if fails--; fails >= 0 {
				return failure("recvmmsg", noRoute)
			}
			return nil
		}
		s := newBench(t, f)
		for _, read := range map[string]func() error{
			"ReadBatch":  func() error { _, err := s.ReadBatch(nil, 0); return err },
			"ReadFrom":   func() error { _, _, err := s.ReadFrom(nil); return err },
			"ReadMsgUDP": func() error { _, _, _, _, err := s.ReadMsgUDP(nil, nil); return err },
		} {
			fails, f.reads = 9, nil
			require.NoError(t, read())
			var pauses []time.Duration
			for i, at := range f.reads[1:] {
				pauses = append(pauses, at.Sub(f.reads[i])/time.Millisecond)
			}
			require.Equal(t, []time.Duration{1, 2, 4, 8, 16, 32, 64, 100, 100}, pauses)
		}
	})
}

// Errors that concern one packet each do not slow down the reading of others,
// since anybody may cause them. If they turn out to be of another kind, they do
// not use up the CPU.
func TestReadErrorsOfOnePacket(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		fails := atOnce - 1
		f.read = func() error {
			if fails--; fails >= 0 {
				return failure("recvmmsg", aboutPacket)
			}
			return nil
		}
		s := newBench(t, f)
		began := time.Now()
		_, err := s.ReadBatch(nil, 0)
		require.NoError(t, err)
		require.Equal(t, began, time.Now())
		fails = 1 << 30
		time.AfterFunc(10*time.Second, func() { s.Close() })
		_, err = s.ReadBatch(nil, 0)
		require.ErrorIs(t, err, net.ErrClosed)
		require.Less(t, len(f.reads), 120*atOnce)
		require.Zero(t, s.rebound())
	})
}

// A read ends at the owner's deadline, which quic-go sets to close its
// transport, and when the socket is closed: both while it waits for a packet
// and after errors.
func TestReadEnds(t *testing.T) {
	t.Parallel()
	for name, read := range map[string]func() error{
		"waiting": nil,
		"failing": func() error { return failure("recvmmsg", noRoute) },
	} {
		for _, how := range []string{"deadline", "deadline now", "close"} {
			t.Run(name+", "+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFake()
					f.read = read
					s := newBench(t, f)
					result := make(chan error)
					began := time.Now()
					go func() {
						_, err := s.ReadBatch(nil, 0)
						result <- err
					}()
					time.Sleep(1450 * time.Millisecond)
					synctest.Wait()
					want, after := os.ErrDeadlineExceeded, time.Duration(0)
					switch how {
					case "deadline":
						after = 33 * time.Millisecond
						require.NoError(t, s.SetReadDeadline(time.Now().Add(after)))
					case "deadline now":
						require.NoError(t, s.SetReadDeadline(time.Now()))
					default:
						want = net.ErrClosed
						s.Close()
					}
					err := <-result
					require.ErrorIs(t, err, want)
					require.Equal(t, 1450*time.Millisecond+after, time.Since(began))
					if want != net.ErrClosed {
						temporary, ok := err.(interface{ Temporary() bool })
						require.True(t, ok && temporary.Temporary(), "quic-go requires a temporary error")
						require.NoError(t, s.SetReadDeadline(time.Time{}))
						if read == nil {
							go s.ReadBatch(nil, 0) // waits once more
							synctest.Wait()
						}
					}
				})
			})
		}
	}
}

// A Way reads nothing, and its reads end in the way that quic-go requires.
func TestWayReads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newBench(t, newFake())
		w := s.Way(there.AddrPort())
		read := func() chan error {
			result := make(chan error, 1)
			go func() {
				_, err := w.ReadBatch(nil, 0)
				result <- err
			}()
			time.Sleep(time.Hour)
			synctest.Wait()
			require.Empty(t, result)
			return result
		}
		waiting := read()
		require.NoError(t, w.SetReadDeadline(time.Now().Add(time.Second)))
		require.ErrorIs(t, <-waiting, os.ErrDeadlineExceeded)
		_, _, err := w.ReadFrom(nil)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.NoError(t, w.SetReadDeadline(time.Time{}))
		waiting = read()
		require.NoError(t, w.Close())
		require.ErrorIs(t, <-waiting, net.ErrClosed)
		_, err = w.WriteTo(nil, there)
		require.ErrorIs(t, err, net.ErrClosed)

		w = s.Way(there.AddrPort())
		waiting = read()
		require.NoError(t, s.Close())
		require.ErrorIs(t, <-waiting, net.ErrClosed)
	})
}

// While an address is redirected, packets to it go elsewhere, in each form of
// the address; packets to others do not.
func TestRedirect(t *testing.T) {
	t.Parallel()
	var to *net.UDPAddr
	f := newFake()
	f.write = func(_, _ []byte, addr *net.UDPAddr) error { to = addr; return nil }
	s := newBench(t, f)
	arrives := func(addr string) string {
		udp, err := net.ResolveUDPAddr("udp", addr)
		require.NoError(t, err)
		if _, _, err := s.WriteMsgUDP(nil, nil, udp); err != nil {
			return err.Error()
		}
		sent := to.String()
		_, err = s.WriteTo(nil, udp)
		require.NoError(t, err)
		require.Equal(t, sent, to.String())
		return sent
	}
	const a, b, c, mapped = "192.0.2.1:1", "192.0.2.2:1", "[2001:db8::1]:1", "[::ffff:192.0.2.1]:1"
	require.Equal(t, a, arrives(a))
	undoA, ok := s.Redirect(addrPort(mapped), addrPort(c))
	require.True(t, ok)
	_, ok = s.Redirect(addrPort(a), addrPort(b))
	require.False(t, ok, "another peer's address")
	undoB, ok := s.Redirect(addrPort(b), addrPort(a))
	require.True(t, ok)
	require.Equal(t, []string{c, c, a, c}, []string{arrives(a), arrives(mapped), arrives(b), arrives(c)})
	require.Equal(t, "192.0.2.1:2", arrives("192.0.2.1:2"))
	w := s.Way(addrPort(a))
	_, err := w.WriteTo(nil, there)
	require.NoError(t, err)
	require.Equal(t, a, to.String(), "a Way's address is not redirected")
	w.Turn(addrPort(c))
	require.Equal(t, addrPort(c), w.To())
	_, err = w.WriteTo(nil, there)
	require.NoError(t, err)
	require.Equal(t, c, to.String())
	undoA()
	undoA()
	require.Equal(t, []string{a, a}, []string{arrives(a), arrives(b)})
	undoB()
	require.Equal(t, b, arrives(b))
	require.Nil(t, s.redirects.Load())
	require.True(t, errors.Is(s.Way(addrPort(a)).SetReadBuffer(1), nil))
}

// whole has the methods that quic-go looks for in a socket, and uses if they
// are there.
type whole interface {
	quicgo.OOBCapablePacketConn
	SetWriteBuffer(bytes int) error
	ReadBatch(all []ipv4.Message, flags int) (int, error)
}

var (
	_ whole          = (*Socket)(nil)
	_ whole          = (*Way)(nil)
	_ net.PacketConn = udp{}
)
