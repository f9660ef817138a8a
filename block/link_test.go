package block

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// guarded returns a link that is guarded, and its other end.
func guarded(t *testing.T) (*link, net.Conn) {
	here, there := net.Pipe()
	l := newLink(here)
	go l.guard(t.Context())
	t.Cleanup(func() {
		here.Close()
		there.Close()
	})
	return l, there
}

// A peer that accepts a byte now and then is present, even if it sends nothing;
// a peer that accepts nothing for 30 s is not.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, there := guarded(t)
		go func() {
			for range 10 {
				time.Sleep(20 * time.Second)
				there.Read(make([]byte, 1))
			}
		}()
		began := time.Now()
		n, err := l.Write(make([]byte, 11))
		require.Equal(t, 10, n)
		require.ErrorIs(t, err, ErrTimeout)
		require.InDelta(t, 230, time.Since(began).Seconds(), 31)
	})
}

// A deadline that was set for a call that has already returned does not end the
// next call.
func TestLateWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, there := guarded(t)
		l.conn.SetDeadline(time.Unix(1, 0))
		l.readCut, l.writeCut = true, true
		go func() {
			time.Sleep(29 * time.Second)
			there.Write([]byte("x"))
			io.CopyN(io.Discard, there, 2)
		}()
		n, err := l.Read(make([]byte, 2))
		require.NoError(t, err)
		require.Equal(t, 1, n)
		n, err = l.Write(make([]byte, 2))
		require.NoError(t, err)
		require.Equal(t, 2, n)
		began := time.Now()
		_, err = l.Read(make([]byte, 1))
		require.ErrorIs(t, err, ErrTimeout)
		require.InDelta(t, 30, time.Since(began).Seconds(), 1)
		l.end(false, 0)
		_, err = l.Read(make([]byte, 1))
		require.ErrorIs(t, err, ErrTimeout)
	})
}

// An impatient stream sets deadlines of its own.
type impatient struct{ net.Conn }

func (c impatient) Read(p []byte) (int, error) {
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	return c.Conn.Read(p)
}

func (c impatient) Write(p []byte) (int, error) {
	c.SetWriteDeadline(time.Now().Add(10 * time.Second))
	return c.Conn.Write(p)
}

// A write that the stream itself gives up is not repeated without end.
func TestImpatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := guarded(t)
		l.conn = impatient{l.conn}
		for _, call := range []func([]byte) (int, error){l.Read, l.Write} {
			began := time.Now()
			_, err := call(make([]byte, 1))
			require.ErrorIs(t, err, ErrTimeout)
			require.Equal(t, 10*time.Second, time.Since(began))
		}
	})
}
