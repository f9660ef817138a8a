package call_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/call"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/proto"
)

const errEmpty = call.FirstAppCode + 1

// A pair is two nodes: a calls b, which a knows as peer.
type pair struct {
	a, b *p2p.P2P
	peer *p2p.Peer // b, as a knows it
	link *p2ptest.Link
	mux  *p2p.Mux // of b
}

// bubble runs a test with a pair in a bubble.
func bubble(t *testing.T, test func(t *testing.T, p pair)) {
	synctest.Test(t, func(t *testing.T) { test(t, newPair(t, nil)) })
}

func newPair(t testing.TB, metadata map[string]string) pair {
	network := p2ptest.NewNetwork(p2ptest.Config{})
	p := pair{mux: &p2p.Mux{}}
	p.b = network.Start(t, p2p.Config{Handler: p.mux, Metadata: metadata})
	p.a = network.Start(t, p2p.Config{})
	for p.peer = range p.a.Available(t.Context()) {
		break
	}
	p.link = network.Link(p.a.Identity(), p.b.Identity())
	return p
}

func (p pair) do(ctx context.Context, s string) (text, error) {
	return call.Do[text](ctx, p.peer, "echo/1", text{s})
}

// noStreams waits until both nodes have released their streams.
func (p pair) noStreams(t *testing.T) {
	synctest.Wait()
	require.Zero(t, p.link.Stats().Open, "a stream was left open")
}

func TestDo(t *testing.T) {
	bubble(t, func(t *testing.T, p pair) {
		call.Handle(p.mux, "echo/1", p2p.Anyone, func(ctx context.Context, q text) (text, error) {
			from := call.From(ctx)
			require.Equal(t, p.a.Identity(), from.Node)
			require.Equal(t, p.a.Identity(), from.Peer.Identity())
			require.Zero(t, from.Instance)
			_, limited := ctx.Deadline()
			require.False(t, limited)
			return text{q.s + "!"}, nil
		})
		for _, s := range []string{"", "hello", strings.Repeat("x", 63)} {
			got, err := p.do(t.Context(), s)
			require.NoError(t, err)
			require.Equal(t, s+"!", got.s)
		}
		p.noStreams(t)
		require.Zero(t, call.From(t.Context()))
	})
}

// Messages can be larger than any buffer, and their methods can have value
// receivers.
func TestDoLarge(t *testing.T) {
	bubble(t, func(t *testing.T, p pair) {
		call.Handle(p.mux, "large", p2p.Anyone, func(_ context.Context, q large) (number, error) { return number{uint32(len(q.b))}, nil })
		for _, n := range []int{0, 4095, 4096, 1 << 20} {
			got, err := call.Do[number](t.Context(), p.peer, "large", large{make([]byte, n)})
			require.NoError(t, err)
			require.EqualValues(t, n, got.n)
		}
		_, err := call.Do[number](t.Context(), p.peer, "large", large{make([]byte, 1<<20+1)})
		require.ErrorIs(t, err, proto.ErrInvalid)
		require.NotErrorIs(t, err, call.ErrInvalid, "the message was too large to be sent")
		p.noStreams(t)
	})
}

// The caller learns the part of an error that is meant for it, and nothing
// else.
func TestErrors(t *testing.T) {
	secret := errors.New("/home/me/secret")
	for name, test := range map[string]struct {
		returned error
		is       error
		text     string
	}{
		"error":       {&call.Error{Code: errEmpty, Text: "nothing there"}, errEmpty, "nothing there"},
		"wrapped":     {fmt.Errorf("%w: %w", secret, &call.Error{Code: errEmpty}), errEmpty, ""},
		"code":        {fmt.Errorf("%w: %w", secret, errEmpty), errEmpty, ""},
		"long":        {&call.Error{Code: errEmpty, Text: strings.Repeat("é", 300)}, errEmpty, strings.Repeat("é", 256)},
		"not a line":  {&call.Error{Code: errEmpty, Text: "a\x1b[2J\nb\xff"}, errEmpty, "a[2J b\ufffd"},
		"other":       {secret, p2p.ErrHandlerFailed, ""},
		"a file's":    {os.ErrNotExist, p2p.ErrHandlerFailed, ""},
		"reset code":  {fmt.Errorf("%w: %w", p2p.ErrNoRoute, secret), p2p.ErrHandlerFailed, ""},
		"a reset":     {&p2p.ResetError{Code: p2p.FirstAppCode, Remote: true}, p2p.ErrHandlerFailed, ""},
		"not its own": {fmt.Errorf("%w", context.DeadlineExceeded), p2p.ErrHandlerFailed, ""},
		"invalid":     {proto.ErrInvalid, p2p.ErrHandlerFailed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, p pair) {
				call.Handle(p.mux, "echo/1", p2p.Anyone, func(context.Context, text) (text, error) { return text{"half"}, test.returned })
				call.HandleReceive(p.mux, "many", p2p.Anyone, func(context.Context, text) iter.Seq2[text, error] {
					return func(yield func(text, error) bool) { yield(text{}, test.returned) }
				})
				call.HandleSend(p.mux, "send", p2p.Anyone, func(context.Context, iter.Seq2[text, error]) (text, error) { return text{}, test.returned })
				one, err := p.do(t.Context(), "x")
				require.Zero(t, one)
				_, errMany := collect(call.Receive[text](t.Context(), p.peer, "many", text{}))
				_, errSend := call.Send[text](t.Context(), p.peer, "send", texts(3, nil))
				for _, err := range []error{err, errMany, errSend} {
					require.ErrorIs(t, err, test.is)
					require.NotContains(t, err.Error(), "secret")
					require.NotErrorIs(t, err, p2p.ErrNoRoute)
					var e *call.Error
					if require.Equal(t, test.is == errEmpty, errors.As(err, &e)); e != nil {
						require.Equal(t, test.text, e.Text)
					}
				}
				p.noStreams(t)
			})
		})
	}
}

// A function does not pass on to its caller an error that it got from another
// device.
func TestErrorOfAnother(t *testing.T) {
	bubble(t, func(t *testing.T, p pair) {
		call.Handle(p.mux, "fail", p2p.Anyone, func(context.Context, text) (text, error) { return text{}, &call.Error{Code: errEmpty, Text: "secret"} })
		var there *p2p.Peer
		call.Handle(p.mux, "echo/1", p2p.Anyone, func(ctx context.Context, _ text) (text, error) {
			_, err := call.Do[text](ctx, there, "fail", text{})
			require.ErrorIs(t, err, errEmpty)
			return text{}, err
		})
		other := &p2p.Mux{}
		call.Handle(other, "fail", p2p.Anyone, func(context.Context, text) (text, error) { return text{}, &call.Error{Code: errEmpty, Text: "secret"} })
		network := p2ptest.NewNetwork(p2ptest.Config{Name: "second"})
		c := network.Start(t, p2p.Config{Handler: other})
		d := network.Start(t, p2p.Config{})
		for there = range d.Available(t.Context()) {
			break
		}
		require.Equal(t, c.Identity(), there.Identity())
		_, err := p.do(t.Context(), "")
		require.ErrorIs(t, err, p2p.ErrHandlerFailed)
		require.NotErrorIs(t, err, errEmpty)
	})
}

func TestPanic(t *testing.T) {
	bubble(t, func(t *testing.T, p pair) {
		call.Handle(p.mux, "echo/1", p2p.Anyone, func(context.Context, text) (text, error) { panic("secret") })
		_, err := p.do(t.Context(), "")
		require.ErrorIs(t, err, p2p.ErrHandlerFailed)
		p.noStreams(t)
	})
}

// A function whose answer breaks a limit has failed; its caller is not to
// blame.
func TestInvalidAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, p pair) {
		call.Handle(p.mux, "echo/1", p2p.Anyone, func(context.Context, text) (text, error) { return text{strings.Repeat("x", 65)}, nil })
		_, err := p.do(t.Context(), "")
		require.ErrorIs(t, err, p2p.ErrHandlerFailed)
		p.noStreams(t)
	})
}

func TestRefused(t *testing.T) {
	bubble(t, func(t *testing.T, p pair) {
		_, err := p.do(t.Context(), "")
		require.ErrorIs(t, err, p2p.ErrNoRoute)
		call.Handle(p.mux, "echo/1", p2p.Access{}, func(context.Context, text) (text, error) { return text{}, nil })
		_, err = p.do(t.Context(), "")
		require.ErrorIs(t, err, p2p.ErrRefused)
		for range call.Receive[text](t.Context(), p.peer, "echo/1", text{strings.Repeat("x", 65)}) {
			break
		}
		require.Panics(t, func() { call.Handle[text, text](p.mux, "nil", p2p.Anyone, nil) })
		p.noStreams(t)
	})
}

// A deadline is sent as the time that is left, and the function's ctx ends by
// itself.
func TestDeadline(t *testing.T) {
	bubble(t, func(t *testing.T, p pair) {
		ended := make(chan time.Time, 1)
		call.Handle(p.mux, "echo/1", p2p.Anyone, func(ctx context.Context, q text) (text, error) {
			deadline, ok := ctx.Deadline()
			require.True(t, ok)
			require.Equal(t, 1500*time.Millisecond, time.Until(deadline))
			<-ctx.Done()
			ended <- time.Now()
			return text{}, ctx.Err()
		})
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		_, err := p.do(ctx, "")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 1500*time.Millisecond, (<-ended).Sub(began))
		p.noStreams(t)
	})
}

// When the function's deadline passes, the caller is told, since its own
// deadline may be later by its clock.
func TestDeadlineTold(t *testing.T) {
	bubble(t, func(t *testing.T, p pair) {
		call.Handle(p.mux, "echo/1", p2p.Anyone, func(ctx context.Context, _ text) (text, error) {
			<-ctx.Done()
			return text{}, fmt.Errorf("secret: %w", ctx.Err())
		})
		s, err := p.peer.Open(t.Context(), "echo/1")
		require.NoError(t, err)
		_, err = s.Write([]byte("\x01\xe8\x03\x00\x00" + "\x00\x00")) // one second
		require.NoError(t, err)
		got, err := io.ReadAll(s)
		require.NoError(t, err)
		require.Equal(t, "\x02\x02\x00\x00\x00", string(got))
		s.Close()
		require.ErrorIs(t, call.ErrTimeout, context.DeadlineExceeded)
		require.NotErrorIs(t, call.ErrInvalid, context.DeadlineExceeded)
	})
}

// When the caller's ctx ends, the function's ctx and the stream end as well,
// for every kind of call.
func TestCancel(t *testing.T) {
	bubble(t, func(t *testing.T, p pair) {
		ended := make(chan error, 1)
		wait := func(ctx context.Context) error {
			<-ctx.Done()
			ended <- ctx.Err()
			return ctx.Err()
		}
		call.Handle(p.mux, "echo/1", p2p.Anyone, func(ctx context.Context, _ text) (text, error) { return text{}, wait(ctx) })
		call.HandleReceive(p.mux, "many", p2p.Anyone, func(ctx context.Context, _ text) iter.Seq2[text, error] {
			return func(yield func(text, error) bool) {
				yield(text{"first"}, nil)
				yield(text{}, wait(ctx))
			}
		})
		call.HandleSend(p.mux, "send", p2p.Anyone, func(ctx context.Context, reqs iter.Seq2[text, error]) (text, error) {
			_, err := collect(reqs)
			require.NoError(t, err)
			return text{}, wait(ctx)
		})
		why := errors.New("why")
		for name, do := range map[string]func(ctx context.Context) error{
			"do": func(ctx context.Context) error { _, err := p.do(ctx, ""); return err },
			"receive": func(ctx context.Context) error {
				_, err := collect(call.Receive[text](ctx, p.peer, "many", text{}))
				return err
			},
			"send": func(ctx context.Context) error {
				_, err := call.Send[text](ctx, p.peer, "send", texts(3, nil))
				return err
			},
		} {
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Second, func() { cancel(why) })
			require.ErrorIs(t, do(ctx), why, name)
			require.ErrorIs(t, <-ended, context.Canceled, name)
			p.noStreams(t)
			require.ErrorIs(t, do(ctx), why, name)
			p.noStreams(t)
		}
	})
}

// When the connection breaks, the function's ctx ends, too.
func TestConnectionLost(t *testing.T) {
	bubble(t, func(t *testing.T, p pair) {
		ended := make(chan struct{})
		call.Handle(p.mux, "echo/1", p2p.Anyone, func(ctx context.Context, _ text) (text, error) {
			<-ctx.Done()
			close(ended)
			return text{}, ctx.Err()
		})
		time.AfterFunc(time.Second, p.link.Cut)
		_, err := p.do(t.Context(), "")
		require.ErrorIs(t, err, p2p.ErrConnectionLost)
		<-ended
		p.noStreams(t)
	})
}

// A bad request of a hostile or newer caller is refused with a code, and never
// reaches the function.
func TestBadRequest(t *testing.T) {
	bubble(t, func(t *testing.T, p pair) {
		call.Handle(p.mux, "echo/1", p2p.Anyone, func(context.Context, text) (text, error) {
			t.Error("called")
			return text{}, nil
		})
		for name, test := range map[string]struct {
			sent string
			code call.Code
			err  error
		}{
			"kind":    {"\x02\x00\x00\x00\x00", call.ErrKind, nil},
			"no kind": {"\x07\x00\x00\x00\x00", call.ErrInvalid, nil},
			"long":    {"\x01\x00\x00\x00\x00\x41\x00", call.ErrInvalid, nil},
			"UTF-8":   {"\x01\x00\x00\x00\x00\x01\x00\xff", call.ErrInvalid, nil},
			"late":    {"\x01\x00\x00\x00\x00\x02\x00a", 0, p2p.ErrTimeout},
			"nothing": {"", 0, p2p.ErrTimeout},
		} {
			s, err := p.peer.Open(t.Context(), "echo/1")
			require.NoError(t, err)
			began := time.Now()
			_, err = s.Write([]byte(test.sent))
			require.NoError(t, err)
			got, err := io.ReadAll(s)
			if test.err != nil {
				require.ErrorIs(t, err, test.err, name)
				require.Equal(t, 30*time.Second, time.Since(began), name)
			} else {
				require.NoError(t, err, name)
				require.Equal(t, string([]byte{2, byte(test.code), 0, 0, 0}), string(got), name)
			}
			s.Close()
		}
		_, err := collect(call.Receive[text](t.Context(), p.peer, "echo/1", text{}))
		require.ErrorIs(t, err, call.ErrKind)
		_, err = call.Send[text](t.Context(), p.peer, "echo/1", texts(1, nil))
		require.ErrorIs(t, err, call.ErrKind)
		p.noStreams(t)
	})
}

// A bad answer of a hostile peer is an error, and the stream is reset.
func TestBadAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, p pair) {
		var answer string
		p.mux.HandleFunc("bad", p2p.Anyone, func(_ context.Context, s *p2p.Stream) error {
			_, err := io.WriteString(s, answer)
			return err
		})
		for said, want := range map[string]error{
			"": io.ErrUnexpectedEOF, "\x01": io.ErrUnexpectedEOF, "\x01\x02\x00a": io.ErrUnexpectedEOF,
			"\x02\x01\x01\x05\x00": io.ErrUnexpectedEOF, "\x02\x01\x01\x01\x02": proto.ErrInvalid,
			"\x03": proto.ErrInvalid, "\x01\x41\x00": proto.ErrInvalid, "\x00": proto.ErrInvalid,
		} {
			answer = said
			_, err := call.Do[text](t.Context(), p.peer, "bad", text{})
			require.ErrorIs(t, err, want, "%q", said)
			if said != "\x00" {
				_, err = collect(call.Receive[text](t.Context(), p.peer, "bad", text{}))
				require.ErrorIs(t, err, want, "%q", said)
			}
			_, err = call.Send[text](t.Context(), p.peer, "bad", texts(1, nil))
			require.ErrorIs(t, err, want, "%q", said)
			p.noStreams(t)
		}
	})
}

// When a node shuts down, the ctx of its functions ends, and they can still
// answer.
func TestShutdown(t *testing.T) {
	bubble(t, func(t *testing.T, p pair) {
		call.Handle(p.mux, "echo/1", p2p.Anyone, func(ctx context.Context, _ text) (text, error) {
			<-ctx.Done()
			return text{"bye"}, nil
		})
		go func() {
			time.Sleep(time.Second)
			p.b.Shutdown(context.Background())
		}()
		got, err := p.do(t.Context(), "")
		require.NoError(t, err)
		require.Equal(t, "bye", got.s)
	})
}
