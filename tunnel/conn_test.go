package tunnel

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/nettest"
)

// A tunnel is a net.Conn, over any kind of stream, and on either side.
func TestConformance(t *testing.T) {
	for name, stream := range map[string]func() (net.Conn, net.Conn){
		"net.Pipe":   net.Pipe,
		"link":       func() (net.Conn, net.Conn) { a, b := link(1 << 16); return a, b },
		"small link": func() (net.Conn, net.Conn) { a, b := link(100); return a, b },
	} {
		for _, responder := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
					i, r, err := openInRealTime(t, stream)
					if err != nil {
						return nil, nil, nil, err
					}
					stop := func() {
						i.Abort(net.ErrClosed)
						r.Abort(net.ErrClosed)
					}
					if responder {
						return r, i, stop, nil
					}
					return i, r, stop, nil
				})
			})
		}
	}
}

// tunneled runs a test with both ends of a tunnel in a bubble.
func tunneled(t *testing.T, size int, f func(t *testing.T, i, r *Conn, a, b *end)) {
	synctest.Test(t, func(t *testing.T) {
		i, r, a, b := opened(t, size)
		f(t, i, r, a, b)
	})
}

// pattern returns bytes that show their position.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return b
}

// lost is the error of a lost idle connection, which some transports report as
// a timeout (quic-go's IdleTimeoutError): it must not look as if another try
// could help.
type lost struct{}

func (lost) Error() string   { return "no recent network activity" }
func (lost) Timeout() bool   { return true }
func (lost) Temporary() bool { return true }

type lossy struct {
	*end
	lost chan struct{}
}

func (l lossy) Read(b []byte) (int, error) {
	select {
	case <-l.lost:
		return 0, lost{}
	default:
		return l.end.Read(b)
	}
}

func (l lossy) Write(b []byte) (int, error) {
	select {
	case <-l.lost:
		return 0, lost{}
	default:
		return l.end.Write(b)
	}
}

func TestLostConnection(t *testing.T) {
	for name, call := range map[string]func(c *Conn) error{
		"Read":  func(c *Conn) error { _, err := c.Read(make([]byte, 1)); return err },
		"Write": func(c *Conn) error { _, err := c.Write(data); return err },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := link(1 << 16)
				l := lossy{a, make(chan struct{})}
				i, r := newWorld(t).open(t, l, b)
				defer r.Abort(io.EOF)
				defer i.Abort(io.EOF)
				close(l.lost)
				first := call(i)
				require.Error(t, first)
				if name == "Read" {
					require.ErrorIs(t, first, ErrTruncated)
				}
				_, err := i.Read(make([]byte, 1))
				require.Equal(t, first, err, "the first error sticks")
				select {
				case <-i.Done():
				default:
					t.Error("the tunnel has not ended")
				}
			})
		})
	}
}

// Each direction ends on its own; after its end nothing can be written, and
// reading goes on.
func TestHalfClose(t *testing.T) {
	for _, swap := range []bool{false, true} {
		tunneled(t, 1<<16, func(t *testing.T, i, r *Conn, a, b *end) {
			if swap {
				i, r, a, b = r, i, b, a
			}
			_, err := i.Write([]byte("question"))
			require.NoError(t, err)
			for range 2 {
				require.NoError(t, i.CloseWrite())
			}
			n, err := i.Write([]byte("x"))
			require.Zero(t, n)
			require.ErrorIs(t, err, net.ErrClosed)
			got, err := io.ReadAll(r)
			require.NoError(t, err)
			require.Equal(t, "question", string(got))
			_, err = r.Write([]byte("answer"))
			require.NoError(t, err)
			require.NoError(t, r.CloseWrite())
			got, err = io.ReadAll(i)
			require.NoError(t, err)
			require.Equal(t, "answer", string(got))
			sent := a.bytes.Load()
			require.NoError(t, i.Close())
			require.NoError(t, r.Close())
			<-i.Done()
			<-r.Done()
			require.Equal(t, sent, a.bytes.Load(), "no second end is sent")
			require.Zero(t, a.resets.Load()+b.resets.Load())
			require.EqualValues(t, 2, a.closes.Load()+b.closes.Load())
		})
	}
}

// A tunnel is reset once it is 24 h old, whether or not it is idle. The stream
// of a tunnel that was closed before is left alone.
func TestMaxAge(t *testing.T) {
	tunneled(t, 1<<16, func(t *testing.T, i, r *Conn, a, b *end) {
		time.Sleep(24*time.Hour - time.Second)
		_, err := i.Write(data)
		require.NoError(t, err)
		_, err = io.ReadFull(r, make([]byte, len(data)))
		require.NoError(t, err)
		time.Sleep(2 * time.Second)
		for _, c := range []*Conn{i, r} {
			_, err = c.Read(make([]byte, 1))
			require.ErrorIs(t, err, ErrExpired)
			_, err = c.Write(data)
			require.ErrorIs(t, err, ErrExpired)
			<-c.Done()
		}
		require.EqualValues(t, 2, a.resets.Load()+b.resets.Load())
	})
	synctest.Test(t, func(t *testing.T) { // no method was called before
		w := newWorld(t)
		a, b := link(1 << 16)
		w.open(t, a, b)
		time.Sleep(25 * time.Hour)
		require.EqualValues(t, 2, a.resets.Load()+b.resets.Load())
	})
	tunneled(t, 1<<16, func(t *testing.T, i, r *Conn, a, b *end) {
		require.NoError(t, i.Close())
		require.NoError(t, r.Close())
		require.False(t, i.age.Stop() || r.age.Stop(), "a timer still runs")
		time.Sleep(25 * time.Hour)
		require.Zero(t, a.resets.Load()+b.resets.Load())
	})
}

// Reading, writing and ending may happen at the same time, and a reader gets
// only bytes that were written.
func TestAtOnce(t *testing.T) {
	for range 30 {
		i, r, _, _ := opened(t, 200)
		var all sync.WaitGroup
		for _, c := range []*Conn{i, r} {
			for range 2 {
				all.Go(func() { c.Write(bytes.Repeat([]byte{7}, 50000)) })
				all.Go(func() {
					got, _ := io.ReadAll(c)
					if len(bytes.Trim(got, "\x07")) > 0 {
						t.Error("other bytes than were written")
					}
				})
			}
			all.Go(func() { c.SetDeadline(time.Now().Add(time.Hour)) })
			all.Go(func() { yield(rand.N(300)); c.CloseWrite() })
			all.Go(func() { yield(rand.N(1000)); c.Close() })
		}
		all.Wait()
		until(t, i.Done())
		until(t, r.Done())
	}
}

// yield lets other goroutines go first.
func yield(times int) {
	for range times {
		runtime.Gosched()
	}
}
