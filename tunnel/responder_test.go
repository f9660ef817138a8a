package tunnel

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// The confirmation must be the right record, and arrive in time.
func TestConfirmation(t *testing.T) {
	replayed := func(w *world, out *refDirection) []byte { return w.m1(t) }
	for _, c := range []struct {
		name string
		send func(w *world, out *refDirection) []byte
		err  error
	}{
		{"data", func(_ *world, out *refDirection) []byte { return out.seal(0, []byte("hello")) }, ErrProtocol},
		{"close", func(_ *world, out *refDirection) []byte { return out.seal(2, nil) }, ErrProtocol},
		{"the first message again", replayed, ErrProtocol},
		{"unknown", func(_ *world, out *refDirection) []byte { return out.seal(3, nil) }, ErrProtocol},
		{"data as confirmation", func(_ *world, out *refDirection) []byte { return out.seal(1, []byte("hello")) }, ErrRecordSize},
		{"record 1", func(_ *world, out *refDirection) []byte { out.n++; return out.seal(1, nil) }, ErrRecordAuth},
		{"other key", func(_ *world, out *refDirection) []byte {
			out.aead = cipherOf(seedOf("x"))
			return out.seal(1, nil)
		}, ErrRecordAuth},
		{"revoked", func(w *world, out *refDirection) []byte {
			w.dir.remove(w.iInstance.Remote())
			return out.seal(1, nil)
		}, ErrUnauthorized},
		{"moved", func(w *world, out *refDirection) []byte {
			w.dir.add(t, w.library, Member{w.iInstance.Remote(), w.rNode.Remote()})
			return out.seal(1, nil)
		}, ErrUnauthorized},
		{"end", func(*world, *refDirection) []byte { return nil }, ErrTruncated},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				a, b := link(1 << 16)
				done := w.accept(t.Context(), w.accepting(b))
				out, _ := w.dial(t, a)
				synctest.Wait()
				begun := time.Now()
				a.Write(c.send(w, out))
				a.CloseWrite()
				o := <-done
				o.failed(t, b, c.err)
				require.Equal(t, 250*time.Millisecond, b.resetAt.Load().Sub(begun))
				require.EqualValues(t, 48, b.bytes.Load())
			})
		})
	}
}

// A confirmation with a flipped bit does not count.
func TestFlipConfirmation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for bit := range 19 * 8 {
			a, b := link(1 << 10)
			done := w.accept(t.Context(), w.accepting(b))
			out, _ := w.dial(t, a)
			a.Write(flip(out.seal(1, nil), bit))
			a.CloseWrite()
			o := <-done
			o.failed(t, b, ErrHandshake, bit)
			if bit/8 >= 3 {
				require.ErrorIs(t, o.err, ErrRecordAuth, bit)
			}
		}
	})
}

// A canceller cancels a context when the confirmation has been read.
type canceller struct {
	*end
	cancel func()
}

func (c canceller) Read(b []byte) (int, error) {
	n, err := c.end.Read(b)
	if len(b) == tagSize && n == tagSize {
		c.cancel()
	}
	return n, err
}

// An Accept that fails after the confirmation leaves no timer behind that would
// reset the stream a day later.
func TestAcceptCanceledLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, b := link(1 << 16)
		ctx, cancel := context.WithCancel(t.Context())
		done := w.accept(ctx, w.accepting(canceller{b, cancel}))
		out, _ := w.dial(t, a)
		a.Write(out.seal(1, nil))
		o := <-done
		o.failed(t, b, context.Canceled)
		time.Sleep(25 * time.Hour)
		require.EqualValues(t, 1, b.resets.Load(), "the tunnel's timer still runs")
	})
}
