package block

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// watched returns a link that is watched, and its other end.
func watched(t *testing.T) (*link, net.Conn) {
	here, there := net.Pipe()
	l, over := newLink(here), make(chan struct{})
	go func() {
		tick := time.NewTicker(reportEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				l.watch()
			case <-over:
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(over)
		here.Close()
		there.Close()
	})
	return l, there
}

// Who takes a byte now and then is there, although nothing is heard from him; who takes nothing for 30 s is not.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, there := watched(t)
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

// A deadline that is set for a call that is over by then does not end the next one.
func TestLateWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, there := watched(t)
		l.conn.SetDeadline(time.Unix(1, 0))
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
		require.InDelta(t, 30, time.Since(began).Seconds(), 0.2)
		l.end(false)
		_, err = l.Read(make([]byte, 1))
		require.ErrorIs(t, err, ErrTimeout)
	})
}
