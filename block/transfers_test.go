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

// A counter is where streams arrive, and what its calls returned, in their
// order.
type counter struct {
	block.Transfers
	dest   *os.Root
	asked  int
	no     error // the app's answer
	thinks bool  // until the question is withdrawn
	calls  chan side
	faults atomic.Int64 // what apps were told too late
}

func newCounter(t *testing.T) (*counter, string) {
	dir := t.TempDir()
	c := &counter{dest: open(t, dir), calls: make(chan side, 100)}
	t.Cleanup(func() { require.Zero(t, c.faults.Load()) })
	return c, dir
}

// stream opens a stream, of which the sender's side is cut after so many bytes,
// if not 0.
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

// send sends once, and returns when the receiver knows how that ended.
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

// A call waits for another stream of its transfer, as long as the app says.
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
			// It is over: the next one is a transfer of its own, asked about,
			// that goes on.
			require.NoError(t, c.send(t, c.stream(t.Context(), "alice", 0), large))
			got := <-c.calls
			require.NoError(t, got.err)
			require.Positive(t, got.Resumed)
			require.Equal(t, 2, c.asked)
			require.FileExists(t, filepath.Join(dir, "large"))
		})
	}
}

// The receiver's app cancels a transfer that waits: its call returns, and the
// sender is told when it comes back.
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

// The call of the first stream is canceled while another stream is under way.
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

// A calling stream calls a function once so much was written to it.
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

// Other files under the same ID are another transfer, which the app is asked
// about; so is what another sender sends.
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
		require.ErrorIs(t, errors.Join(errs...), block.ErrCut, "the first one has ended")
		require.Equal(t, 3, c.asked)
		got, err := os.ReadFile(filepath.Join(dir, "large (2)"))
		require.NoError(t, err)
		require.Equal(t, random(3<<20+1, 2), got)
	})
}

// A stream of which the receiver has not noticed that it is lost ends as soon
// as the next one makes the same offer.
func TestTransfersMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newCounter(t)
		large, stream := source("large", random(3<<20, 1)), c.stream(t.Context(), "alice", 0)
		require.Error(t, c.send(t, &short{unclosed{stream}, 1 << 20}, large))
		c.none(t)
		began := time.Now()
		require.NoError(t, c.send(t, c.stream(t.Context(), "alice", 0), large))
		require.Less(t, time.Since(began), 5*time.Second, "not when the receiver notices")
		errs := []error{(<-c.calls).err, (<-c.calls).err}
		require.Contains(t, errs, nil)
		require.ErrorIs(t, errors.Join(errs...), block.ErrContinued)
	})
}

// An unclosed stream takes nothing more once it is closed, and stays open.
type unclosed struct{ net.Conn }

func (u unclosed) Close() error { return u.Conn.SetWriteDeadline(time.Unix(1, 0)) }

// A question that nobody has answered is withdrawn with its stream.
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
		require.NoError(t, ctx.Err(), "it waits for nothing")
		<-ctx.Done()
	})
}

// What was declined is not waited for.
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

// A sender that does not learn that all has arrived comes again and is told,
// and nobody is asked. One that has learned it and sends again is asked about.
func TestTransfersAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, dir := newCounter(t)
		stream := c.stream(t.Context(), "alice", 0)
		unheard := &deaf{Conn: stream}
		unheard.left.Store(100)
		_, err := block.Send(t.Context(), unheard, []block.Source{source("a", random(100, 1))}, block.SendOptions{})
		require.Error(t, err)
		stream.Close()
		require.NoError(t, (<-c.calls).err, "all is there")
		require.NoError(t, c.send(t, c.stream(t.Context(), "alice", 0), source("a", random(100, 1))))
		require.ErrorIs(t, (<-c.calls).err, block.ErrContinued)
		require.Equal(t, 1, c.asked)
		require.NoError(t, c.send(t, c.stream(t.Context(), "alice", 0), source("a", random(100, 1))))
		require.NoError(t, (<-c.calls).err)
		require.Equal(t, 2, c.asked)
		require.FileExists(t, filepath.Join(dir, "a (2)"))
	})
}

// A deaf stream hears nothing more once so much was said.
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

// No more than some transfers wait: those that have waited longest end.
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
