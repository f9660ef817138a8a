package tunnel

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// An Abort without a reason ends the tunnel like any other, and only the first
// one counts.
func TestAbortWithoutReason(t *testing.T) {
	i, r, _, _ := opened(t, 1<<10)
	i.Abort(nil)
	_, err := i.Write([]byte("x"))
	require.ErrorIs(t, err, net.ErrClosed)
	require.NoError(t, i.Close())
	i.Abort(io.EOF)
	i.Abort(nil)
	<-i.Done()
	_, err = r.Read(make([]byte, 1))
	require.ErrorIs(t, err, ErrTruncated)
}

// Close does not wait for a slow reader, which still gets everything and the
// end; Done is closed once all has been handed over.
func TestCloseSlowReader(t *testing.T) {
	tunneled(t, 100, func(t *testing.T, i, r *Conn, a, b *end) {
		all := pattern(30000)
		i.SetWriteDeadline(time.Now().Add(time.Millisecond))
		n, err := i.Write(all)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, len(all), n)
		begun := time.Now()
		require.NoError(t, i.Close())
		require.Equal(t, begun, time.Now())
		select {
		case <-i.Done():
			t.Error("Done was closed before anything was read")
		case <-time.After(29 * time.Second):
		}
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, all, got)
		<-i.Done()
		require.Zero(t, a.resets.Load())
	})
}

// Calls after Close fail at once, even while Close still has data to send.
func TestCallsAfterClose(t *testing.T) {
	tunneled(t, 100, func(t *testing.T, i, r *Conn, a, b *end) {
		i.SetWriteDeadline(time.Now().Add(time.Millisecond))
		i.Write(pattern(30000))
		begun := time.Now()
		require.NoError(t, i.Close())
		synctest.Wait() // the end waits for the peer to read
		_, err := i.Read(make([]byte, 1))
		require.Equal(t, net.ErrClosed, err)
		_, err = i.Write(data)
		require.Equal(t, net.ErrClosed, err)
		require.Equal(t, net.ErrClosed, i.CloseWrite())
		require.Equal(t, begun, time.Now(), "the calls must not wait for the peer")
	})
}

// A side that does not read for 30 s after Close gets a reset instead of an
// end.
func TestCloseNoReader(t *testing.T) {
	tunneled(t, 100, func(t *testing.T, i, r *Conn, a, b *end) {
		i.SetWriteDeadline(time.Now().Add(time.Millisecond))
		i.Write(pattern(30000))
		read := make(chan error)
		go func() {
			_, err := i.Read(make([]byte, 1))
			read <- err
		}()
		synctest.Wait()
		begun := time.Now()
		require.NoError(t, i.Close())
		require.Equal(t, net.ErrClosed, <-read)
		require.Equal(t, begun, time.Now(), "a pending Read does not wait for the peer")
		<-i.Done()
		require.Equal(t, 30*time.Second, time.Since(begun))
		require.EqualValues(t, 1, a.resets.Load())
		_, err := io.ReadAll(r)
		require.ErrorIs(t, err, ErrTruncated)
	})
}

// Close interrupts a Write, and the peer then gets an error, not an end, even
// at the boundary of records. Interrupting a Read does no such harm.
func TestCloseInterrupts(t *testing.T) {
	for _, room := range []int{100, recordSize} {
		tunneled(t, room, func(t *testing.T, i, r *Conn, a, b *end) {
			wrote := make(chan error)
			go func() {
				_, err := i.Write(pattern(100000))
				wrote <- err
			}()
			synctest.Wait()
			begun := time.Now()
			require.NoError(t, i.Close())
			require.Equal(t, net.ErrClosed, <-wrote)
			<-i.Done()
			require.Equal(t, begun, time.Now())
			require.EqualValues(t, 1, a.resets.Load())
			_, err := io.ReadAll(r)
			require.ErrorIs(t, err, ErrTruncated)
		})
	}
	tunneled(t, 1<<16, func(t *testing.T, i, r *Conn, a, b *end) {
		read := make(chan error)
		go func() {
			_, err := i.Read(make([]byte, 1))
			read <- err
		}()
		_, err := i.Write(data)
		require.NoError(t, err)
		synctest.Wait()
		require.NoError(t, i.Close())
		require.Equal(t, net.ErrClosed, <-read)
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, data, got)
		require.Zero(t, a.resets.Load())
	})
}

// Abort ends pending and later calls with its reason, and those of the peer
// with an error; the first reason counts.
func TestAbort(t *testing.T) {
	tunneled(t, 100, func(t *testing.T, i, r *Conn, a, b *end) {
		revoked := errors.New("revoked")
		errs := make(chan error, 3)
		go func() { _, err := i.Read(make([]byte, 1)); errs <- err }()
		go func() { _, err := i.Write(pattern(100000)); errs <- err }()
		synctest.Wait()
		i.Abort(revoked)
		i.Abort(io.EOF)
		require.NoError(t, i.Close())
		for range 2 {
			require.Equal(t, revoked, <-errs)
		}
		_, err := i.Read(make([]byte, 1))
		require.Equal(t, revoked, err)
		<-i.Done()
		require.EqualValues(t, 1, a.resets.Load())
		_, err = io.ReadAll(r)
		require.ErrorIs(t, err, ErrTruncated)
	})
}

// Abort also stops the work that Close has left over: a peer that was revoked
// gets no more data.
func TestAbortAfterClose(t *testing.T) {
	tunneled(t, 100, func(t *testing.T, i, r *Conn, a, b *end) {
		i.SetWriteDeadline(time.Now().Add(time.Millisecond))
		i.Write(pattern(30000))
		require.NoError(t, i.Close())
		synctest.Wait()
		begun := time.Now()
		i.Abort(errors.New("revoked"))
		<-i.Done()
		require.Equal(t, begun, time.Now())
		require.EqualValues(t, 1, a.resets.Load())
	})
}

// After Abort or Close, bytes that had arrived before can no longer be read,
// whether data or the end.
func TestAbortUnread(t *testing.T) {
	for _, stop := range []func(c *Conn) error{
		func(c *Conn) error { c.Abort(io.ErrNoProgress); return io.ErrNoProgress },
		func(c *Conn) error { c.Close(); return net.ErrClosed },
	} {
		tunneled(t, 1<<16, func(t *testing.T, i, r *Conn, a, b *end) {
			_, err := i.Write(data)
			require.NoError(t, err)
			_, err = io.ReadFull(r, make([]byte, 2))
			require.NoError(t, err)
			want := stop(r)
			n, err := r.Read(make([]byte, 2))
			require.Zero(t, n)
			require.Equal(t, want, err)
		})
		tunneled(t, 1<<16, func(t *testing.T, i, r *Conn, a, b *end) {
			require.NoError(t, i.CloseWrite())
			_, err := r.Read(make([]byte, 2))
			require.Equal(t, io.EOF, err)
			want := stop(r)
			_, err = r.Read(make([]byte, 2))
			require.Equal(t, want, err)
		})
	}
}
