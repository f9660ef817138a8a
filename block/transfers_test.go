package block_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/block"
)

// A counter receives streams, and collects the results of its calls, in their
// order.
type counter struct {
	block.Transfers
	dest   *os.Root
	asked  int
	no     error // the app's answer
	thinks bool  // the app does not answer while it is asked
	calls  chan side
	faults atomic.Int64 // calls of Progress after the end
}

func newCounter(t *testing.T) (*counter, string) {
	dir := t.TempDir()
	c := &counter{dest: open(t, dir), calls: make(chan side, 100)}
	t.Cleanup(func() { require.Zero(t, c.faults.Load()) })
	return c, dir
}

// stream opens a stream, which breaks after a number of bytes from the sender,
// unless that is 0.
func (c *counter) stream(ctx context.Context, from string, after int64) net.Conn {
	own, other := net.Pipe()
	go func() {
		var returned atomic.Bool
		r, err := c.Receive(ctx, other, func(ctx context.Context, _ *block.Offer) error {
			c.asked++
			if c.thinks {
				<-ctx.Done()
			}
			return c.no
		}, c.dest, block.ReceiveOptions{From: from, Progress: func(block.Progress) {
			if returned.Load() {
				c.faults.Add(1)
			}
		}})
		returned.Store(true)
		c.calls <- side{r, err}
	}()
	if after > 0 {
		return &short{own, after}
	}
	return own
}

// send sends once, and returns when the receiver knows the result.
func (c *counter) send(t *testing.T, stream net.Conn, sources ...block.Source) error {
	_, err := block.Send(t.Context(), stream, sources, block.SendOptions{})
	stream.Close()
	synctest.Wait()
	return err
}

func (c *counter) none(t *testing.T) {
	t.Helper()
	synctest.Wait()
	require.Empty(t, c.calls, "no call has returned")
}

// A call waits for another stream of its transfer, for as long as the app
// allows.
func TestTransfersWait(t *testing.T) {
	for _, within := range []time.Duration{0, time.Minute, -1} {
		synctest.Test(t, func(t *testing.T) {
			c, dir := newCounter(t)
			c.Within = within
			var lost []error
			c.Lost = func(_ net.Conn, err error) { lost = append(lost, err) }
			large, began := source("large", random(3<<20, 1)), time.Now()
			require.Error(t, c.send(t, c.stream(t.Context(), "alice", 1<<20), large))
			switch got := <-c.calls; within {
			case -1:
				require.ErrorIs(t, got.err, block.ErrCut)
				require.Empty(t, lost)
				return
			case 0:
				within = 5 * time.Minute
				fallthrough
			default:
				require.ErrorIs(t, got.err, block.ErrCut)
				require.Len(t, lost, 1)
				require.WithinDuration(t, began.Add(within), time.Now(), 5*time.Second)
			}
			// After that, the next stream begins a transfer of its own, about
			// which the app is asked, and which continues with the data.
			require.NoError(t, c.send(t, c.stream(t.Context(), "alice", 0), large))
			got := <-c.calls
			require.NoError(t, got.err)
			require.Positive(t, got.Resumed)
			require.Equal(t, 2, c.asked)
			require.FileExists(t, filepath.Join(dir, "large"))
		})
	}
}

// The receiver's app cancels a waiting transfer: its call returns, and the
// sender is told so when it opens the next stream.
func TestTransfersCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, dir := newCounter(t)
		ctx, cancel := context.WithCancel(t.Context())
		large := source("large", random(3<<20, 1))
		require.Error(t, c.send(t, c.stream(ctx, "alice", 1<<20), large))
		c.none(t)
		cancel()
		require.ErrorIs(t, (<-c.calls).err, block.ErrCanceled)
		err := c.send(t, c.stream(t.Context(), "alice", 0), large)
		var told *block.PeerError
		require.ErrorAs(t, err, &told)
		require.ErrorIs(t, err, block.ErrCanceled)
		require.ErrorIs(t, (<-c.calls).err, block.ErrContinued)
		require.Equal(t, 1, c.asked)
		require.NoFileExists(t, filepath.Join(dir, "large"))
	})
}

// The call of the first stream is canceled while another stream is in use.
func TestTransfersCancelLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newCounter(t)
		ctx, cancel := context.WithCancel(t.Context())
		large := source("large", random(3<<20, 1))
		require.Error(t, c.send(t, c.stream(ctx, "alice", 1<<20), large))
		stream := c.stream(t.Context(), "alice", 0)
		time.AfterFunc(time.Millisecond, cancel)
		err := c.send(t, &calling{stream, 1 << 20, func() { time.Sleep(time.Second) }}, large)
		require.ErrorIs(t, err, block.ErrCanceled)
		errs := []error{(<-c.calls).err, (<-c.calls).err}
		require.ErrorIs(t, errors.Join(errs...), block.ErrCanceled)
		require.ErrorIs(t, errors.Join(errs...), block.ErrContinued)
	})
}

// A calling stream calls a function after a number of written bytes.
type calling struct {
	net.Conn
	after int
	f     func()
}

func (c *calling) Write(p []byte) (int, error) {
	if c.after -= len(p); c.after < 0 && c.f != nil {
		c.f()
		c.f = nil
	}
	return c.Conn.Write(p)
}

// Other files under the same ID are another transfer, about which the app is
// asked; so are the files of another sender.
func TestTransfersOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, dir := newCounter(t)
		require.Error(t, c.send(t, c.stream(t.Context(), "alice", 1<<20), source("large", random(3<<20, 1))))
		require.NoError(t, c.send(t, c.stream(t.Context(), "bob", 0), source("large", random(3<<20, 1))))
		require.NoError(t, (<-c.calls).err)
		c.none(t)
		other := source("large", random(3<<20+1, 2))
		require.NoError(t, c.send(t, c.stream(t.Context(), "alice", 0), other))
		errs := []error{(<-c.calls).err, (<-c.calls).err}
		require.Contains(t, errs, nil)
		require.ErrorIs(t, errors.Join(errs...), block.ErrCut, "the first transfer has ended")
		require.Equal(t, 3, c.asked)
		got, err := os.ReadFile(filepath.Join(dir, "large (2)"))
		require.NoError(t, err)
		require.Equal(t, random(3<<20+1, 2), got)
	})
}

// If the receiver has not noticed that a stream is lost, its call ends as soon
// as the next stream makes the same offer.
func TestTransfersMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newCounter(t)
		large, stream := source("large", random(3<<20, 1)), c.stream(t.Context(), "alice", 0)
		require.Error(t, c.send(t, &short{unclosed{stream}, 1 << 20}, large))
		c.none(t)
		began := time.Now()
		require.NoError(t, c.send(t, c.stream(t.Context(), "alice", 0), large))
		require.Less(t, time.Since(began), 5*time.Second, "the receiver need not notice the loss first")
		errs := []error{(<-c.calls).err, (<-c.calls).err}
		require.Contains(t, errs, nil)
		require.ErrorIs(t, errors.Join(errs...), block.ErrContinued)
	})
}

// An unclosed stream accepts nothing after Close, but stays open.
type unclosed struct{ net.Conn }

func (u unclosed) Close() error { return u.Conn.SetWriteDeadline(time.Unix(1, 0)) }

// A question that the app has not answered is withdrawn when its stream ends.
func TestTransfersQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newCounter(t)
		c.thinks = true
		c.no = context.Canceled
		ctx, cancel := context.WithCancel(t.Context())
		stream := c.stream(t.Context(), "alice", 0)
		go func() {
			time.Sleep(time.Second)
			stream.Close()
			time.Sleep(time.Minute)
			cancel()
		}()
		require.Error(t, c.send(t, stream, source("a", nil)))
		require.ErrorIs(t, (<-c.calls).err, block.ErrCut)
		require.NoError(t, ctx.Err(), "the call must not wait")
		<-ctx.Done()
	})
}

// A declined transfer does not wait for another stream.
func TestTransfersDecline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newCounter(t)
		c.no = block.Refuse("no")
		for range 2 {
			require.ErrorIs(t, c.send(t, c.stream(t.Context(), "alice", 0), source("a", nil)), block.ErrRefused)
			require.ErrorIs(t, (<-c.calls).err, block.ErrRefused)
		}
		require.Equal(t, 2, c.asked)
	})
}

// A sender that did not learn that everything arrived opens another stream and
// is told so, without a question to the app. If it did learn it and sends
// again, the app is asked.
func TestTransfersAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, dir := newCounter(t)
		stream := c.stream(t.Context(), "alice", 0)
		unheard := &deaf{Conn: stream}
		unheard.left.Store(100)
		_, err := block.Send(t.Context(), unheard, []block.Source{source("a", random(100, 1))}, block.SendOptions{})
		require.Error(t, err)
		stream.Close()
		require.NoError(t, (<-c.calls).err, "everything has arrived")
		require.NoError(t, c.send(t, c.stream(t.Context(), "alice", 0), source("a", random(100, 1))))
		require.ErrorIs(t, (<-c.calls).err, block.ErrContinued)
		require.Equal(t, 1, c.asked)
		require.NoError(t, c.send(t, c.stream(t.Context(), "alice", 0), source("a", random(100, 1))))
		require.NoError(t, (<-c.calls).err)
		require.Equal(t, 2, c.asked)
		require.FileExists(t, filepath.Join(dir, "a (2)"))
	})
}

// A deaf stream stops reading after a number of written bytes.
type deaf struct {
	net.Conn
	left atomic.Int64
}

func (d *deaf) Write(p []byte) (int, error) {
	d.left.Add(-int64(len(p)))
	return d.Conn.Write(p)
}

func (d *deaf) Read(p []byte) (int, error) {
	n, err := d.Conn.Read(p)
	if d.left.Load() < 0 {
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

// The number of waiting transfers is limited: those that have waited longest
// end.
func TestTransfersLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newCounter(t)
		sent := func(from string, name int) {
			large := source(fmt.Sprint(name), random(1<<20, 1))
			require.Error(t, c.send(t, c.stream(t.Context(), from, 300<<10), large))
		}
		for i := range 8 {
			sent("alice", i)
		}
		c.none(t)
		sent("alice", 8)
		require.ErrorIs(t, (<-c.calls).err, block.ErrCut)
		c.none(t)
		for i := range 56 {
			sent(fmt.Sprint("bob", i), 0)
		}
		c.none(t)
		sent("carol", 0)
		require.ErrorIs(t, (<-c.calls).err, block.ErrCut)
		c.none(t)
		time.Sleep(6 * time.Minute)
		require.Len(t, c.calls, 64)
	})
}
