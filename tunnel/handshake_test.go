package tunnel

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// An outcome is the result of Accept or Open.
type outcome struct {
	c   *Conn
	err error
}

func (w *world) accept(ctx context.Context, s Session) <-chan outcome {
	o := make(chan outcome, 1)
	go func() {
		c, err := w.responder.Accept(ctx, s)
		o <- outcome{c, err}
	}()
	return o
}

func (w *world) initiateWith(ctx context.Context, s Session) <-chan outcome {
	o := make(chan outcome, 1)
	go func() {
		c, err := Open(ctx, s, w.credential(w.iInstance), w.to())
		o <- outcome{c, err}
	}()
	return o
}

// failed requires that a handshake failed with err and reset its stream once.
func (o outcome) failed(t *testing.T, e *end, err error, note ...any) {
	t.Helper()
	require.ErrorIs(t, o.err, err, note...)
	require.Nil(t, o.c, note...)
	require.EqualValues(t, 1, e.resets.Load(), note...)
}

// A recorded session opens no tunnel on another connection, and its first
// message alone opens none anywhere.
func TestReplay(t *testing.T) {
	for _, same := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			a, b := link(1 << 16)
			a.tapped()
			i, r := w.open(t, a, b)
			_, err := i.Write([]byte("hello"))
			require.NoError(t, err)
			i.Abort(io.EOF)
			r.Abort(io.EOF)
			recorded := *a.sent.Load()
			require.Len(t, recorded, 98+19+19+5)

			if !same {
				w.binding[0]++
			}
			a, b = link(1 << 16)
			done := w.accept(t.Context(), w.accepting(b))
			a.Write(recorded)
			o := <-done
			o.failed(t, b, ErrHandshake)
			if same { // detected only at the confirmation
				require.ErrorIs(t, o.err, ErrRecordAuth)
				require.EqualValues(t, 48, b.bytes.Load())
			} else {
				require.Zero(t, b.bytes.Load())
			}
		})
	}
}

// A node in the middle that relays both legs gets no tunnel through. It ends
// the TLS session of each leg, so that their exporters differ, and it needs a
// stolen node key for each leg to get even this far.
func TestInTheMiddle(t *testing.T) {
	for _, c := range []struct {
		name               string
		seenByI, seenByR   string // the middle's identity to each side
		initiator, respond error
	}{
		{"own key", "middle", "middle", ErrUnauthorized, ErrHandshake},
		{"stolen key of the responder's node", "responder's node", "middle", ErrHandshake, ErrHandshake},
		{"stolen key of the initiator's node", "middle", "initiator's node", ErrUnauthorized, ErrHandshake},
		{"both", "responder's node", "initiator's node", ErrHandshake, ErrHandshake},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				a, am := link(1 << 16)
				bm, b := link(1 << 16)
				relay(am, bm)
				is, rs := w.session(a), w.accepting(b)
				is.Remote, is.Binding = named(t, c.seenByI).Remote(), [32]byte(seedOf("one leg"))
				rs.Remote, rs.Binding = named(t, c.seenByR).Remote(), [32]byte(seedOf("the other"))
				accepted, initiated := w.accept(t.Context(), rs), w.initiateWith(t.Context(), is)
				o := <-initiated
				o.failed(t, a, c.initiator)
				require.LessOrEqual(t, a.bytes.Load(), int64(98))
				(<-accepted).failed(t, b, c.respond)
				require.Zero(t, b.bytes.Load())
			})
		})
	}
	// The instance key decides: an initiator that is given the wrong node for
	// an instance, and finds that node, gets no further.
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, m := link(1 << 16)
		s := w.session(a)
		s.Remote = named(t, "middle").Remote()
		to := w.to()
		to.Node = s.Remote
		go func() {
			m1 := make([]byte, 98)
			io.ReadFull(m, m1)
			m.Write(m1[2:50])
		}()
		c, err := Open(t.Context(), s, w.credential(w.iInstance), to)
		outcome{c, err}.failed(t, a, ErrHandshake)
	})
}

// relay forwards bytes, ends and resets in both directions.
func relay(a, b *end) {
	pass := func(from, to *end) {
		if _, err := io.Copy(to, from); err != nil {
			to.Reset()
			return
		}
		to.CloseWrite()
	}
	go pass(a, b)
	go pass(b, a)
}

// dripping writes a byte every second until the stream fails.
func dripping(c net.Conn, b []byte) {
	for i := range b {
		time.Sleep(time.Second)
		if _, err := c.Write(b[i : i+1]); err != nil {
			return
		}
	}
}

// Slow peers meet the time limits: 2 s for the first message, and 10 s in all,
// however the bytes are spread.
func TestHandshakeTime(t *testing.T) {
	bubble := func(name string, f func(t *testing.T, w *world, a, b *end)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := link(1 << 16)
				f(t, newWorld(t), a, b)
				time.Sleep(time.Minute) // the dripping side finds out
			})
		})
	}
	for name, send := range map[string]func(w *world, a *end){
		"silence":           func(*world, *end) {},
		"one byte a second": func(w *world, a *end) { go dripping(a, w.m1(t)) },
		"all but one byte":  func(w *world, a *end) { a.Write(w.m1(t)[:97]) },
	} {
		bubble("first message: "+name, func(t *testing.T, w *world, a, b *end) {
			begun := time.Now()
			send(w, a)
			(<-w.accept(t.Context(), w.accepting(b))).failed(t, b, ErrTimeout)
			require.Equal(t, 2*time.Second, b.resetAt.Load().Sub(begun))
			require.Zero(t, b.bytes.Load())
		})
	}
	for name, drip := range map[string]bool{"silence": false, "one byte a second": true} {
		bubble("confirmation: "+name, func(t *testing.T, w *world, a, b *end) {
			begun := time.Now()
			done := w.accept(t.Context(), w.accepting(b))
			out, _ := w.dial(t, a)
			if drip {
				go dripping(a, out.seal(1, nil))
			}
			(<-done).failed(t, b, ErrTimeout)
			after := b.resetAt.Load().Sub(begun)
			require.Zero(t, after%(250*time.Millisecond))
			require.InDelta(t, 10, after.Seconds(), 0.25)
			require.EqualValues(t, 48, b.bytes.Load())
		})
		bubble("second message: "+name, func(t *testing.T, w *world, a, b *end) {
			begun := time.Now()
			if drip {
				go dripping(b, make([]byte, 48))
			}
			(<-w.initiateWith(t.Context(), w.session(a))).failed(t, a, ErrTimeout)
			require.Equal(t, 10*time.Second, a.resetAt.Load().Sub(begun))
		})
	}
	bubble("nobody reads the first message", func(t *testing.T, w *world, _, _ *end) {
		a, _ := link(50)
		begun := time.Now()
		(<-w.initiateWith(t.Context(), w.session(a))).failed(t, a, ErrTimeout)
		require.Equal(t, 10*time.Second, a.resetAt.Load().Sub(begun))
	})
	bubble("nobody reads the second message", func(t *testing.T, w *world, _, _ *end) {
		a, b := link(40)
		begun := time.Now()
		go a.Write(w.m1(t))
		(<-w.accept(t.Context(), w.accepting(b))).failed(t, b, ErrTimeout)
		require.InDelta(t, 10, b.resetAt.Load().Sub(begun).Seconds(), 0.25)
	})
}

// A context ends a handshake at once, on either side and at every step.
func TestHandshakeContext(t *testing.T) {
	reason := errors.New("reason")
	for _, after := range []time.Duration{0, time.Second} {
		for _, step := range []string{"initiator", "responder", "responder, confirmation", "responder, Allow"} {
			t.Run(step, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					a, b := link(1 << 16)
					ctx, cancel := context.WithCancelCause(t.Context())
					begun := time.Now()
					var done <-chan outcome
					e := b
					switch step {
					case "initiator":
						done, e = w.initiateWith(ctx, w.session(a)), a
					case "responder":
						done, after = w.accept(ctx, w.accepting(b)), min(after, 100*time.Millisecond)
					case "responder, confirmation":
						done = w.accept(ctx, w.accepting(b))
						w.dial(t, a)
					case "responder, Allow":
						w.dir.allow = func(ctx context.Context, _ Member) bool { <-ctx.Done(); return false }
						done, after = w.accept(ctx, w.accepting(b)), min(after, 100*time.Millisecond)
						a.Write(w.m1(t))
					}
					synctest.Wait()
					time.Sleep(after)
					cancel(reason)
					o := <-done
					require.Nil(t, o.c)
					if step != "responder, Allow" {
						o.failed(t, e, reason)
					}
					require.EqualValues(t, 1, e.resets.Load())
					require.Equal(t, after, e.resetAt.Load().Sub(begun))
				})
			})
		}
	}
}

// A slowStream sets a deadline in the future only after all other goroutines
// have come to rest.
type slowStream struct{ *end }

func (s slowStream) SetDeadline(at time.Time) error {
	if at.After(time.Now()) {
		synctest.Wait()
	}
	return s.end.SetDeadline(at)
}

// If a context is done before the handshake begins, the handshake's own
// deadline does not override it.
func TestHandshakeContextBefore(t *testing.T) {
	for _, responder := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			a, b := link(1 << 16)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			begun := time.Now()
			var o outcome
			if responder {
				o = <-w.accept(ctx, w.accepting(slowStream{b}))
				o.failed(t, b, context.Canceled)
				require.Equal(t, begun, *b.resetAt.Load())
				return
			}
			o = <-w.initiateWith(ctx, w.session(slowStream{a}))
			o.failed(t, a, context.Canceled)
			require.Equal(t, begun, *a.resetAt.Load())
		})
	}
}

// The agreement of two static keys is computed once, and later handshakes work
// with it. A handshake that fails stores none.
func TestAgreementIsKept(t *testing.T) {
	w := newWorld(t)
	c, there := w.credential(w.iInstance), w.dir.credentials[0]
	for range 3 {
		a, b := link(256)
		accepted := w.accept(t.Context(), w.accepting(b))
		i, err := Open(t.Context(), w.session(a), c, w.to())
		require.NoError(t, err)
		_, err = i.Write([]byte("hello"))
		require.NoError(t, err)
		r := (<-accepted).c
		require.NotNil(t, r)
		got := make([]byte, 5)
		_, err = io.ReadFull(r, got)
		require.NoError(t, err)
		require.Equal(t, "hello", string(got))
		i.Abort(io.EOF)
		r.Abort(io.EOF)
		require.Len(t, c.agreed, 1)
		require.Len(t, there.agreed, 1)
		for _, agreement := range c.agreed {
			require.Contains(t, there.agreed, [keySize]byte(c.static().PublicKey().Bytes()))
			require.Equal(t, agreement(), there.agreed[[keySize]byte(c.static().PublicKey().Bytes())]())
		}
	}
	stranger := w.credential(named(t, "stranger"))
	a, b := link(256)
	accepted := w.accept(t.Context(), w.accepting(b))
	_, err := Open(t.Context(), w.session(a), stranger, w.to())
	require.ErrorIs(t, err, ErrHandshake)
	require.ErrorIs(t, (<-accepted).err, ErrUnauthorized)
	require.Empty(t, stranger.agreed)
	require.Len(t, there.agreed, 1)
}
