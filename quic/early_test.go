package quic

import (
	"context"
	"io"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
)

// A write that waits for the introductions fails when its stream ends, at its
// deadline, and when its connection ends.
func TestEarlyWritesEnd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		end  func(*conn, *stream)
		err  error // nil: any error
	}{
		{"deadline", func(_ *conn, s *stream) { s.SetWriteDeadline(time.Now()) }, os.ErrDeadlineExceeded},
		{"reset", func(_ *conn, s *stream) { s.Reset(p2p.ErrCanceled) }, nil},
		{"connection", func(c *conn, _ *stream) { c.Close() }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			conn, s := strangely(t)
			failed := make(chan error, 1)
			go func() {
				n, err := s.Write(make([]byte, 2*earlyDialed))
				if n >= earlyDialed {
					t.Error("more was written than is allowed early")
				}
				failed <- err
			}()
			require.Eventually(t, func() bool { return left(conn) <= 0 }, time.Minute, time.Millisecond)
			c.end(conn, s)
			err := <-failed
			require.Error(t, err)
			if c.err != nil {
				require.ErrorIs(t, err, c.err)
			}
		})
	}
}

// A peer that does not ask for this node's metadata holds up writes only
// briefly.
func TestEarlyWritesGoOn(t *testing.T) {
	t.Parallel()
	conn, s := strangely(t)
	n, err := s.Write(make([]byte, earlyDialed+1))
	require.NoError(t, err)
	require.Equal(t, earlyDialed+1, n)
	require.True(t, conn.acquainted())
}

// strangely returns a connection whose peer seems not to have asked for the
// metadata yet, and a stream on it.
func strangely(t *testing.T) (*conn, *stream) {
	t.Helper()
	_, la, _ := startAlone(t, Config{})
	b, _, via := startServing(t, Config{}, func(_ context.Context, s *p2p.Stream) error {
		_, err := io.Copy(io.Discard, s)
		return err
	})
	first, err := la.Dial(t.Context(), b.Identity(), via)
	require.NoError(t, err)
	first.Reset(p2p.ErrCanceled)
	c := la.running().best(b.Identity())
	<-c.acquaintance.made
	c.mu.Lock()
	c.acquaintance, c.told = newAcquaintance(true), false
	c.mu.Unlock()
	require.True(t, c.streamBegins())
	s, err := c.newStream(t.Context(), time.Second)
	require.NoError(t, err)
	return c, newLazyStream(c, s)
}

func left(c *conn) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.acquaintance.early
}
