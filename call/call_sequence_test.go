package call_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/call"
	"github.com/sdp2p/p2p/proto"
)

// A sequence that panics does not wait for a caller that does not read.
func TestPanicReceive(t *testing.T) {
	bubble(t, func(t *testing.T, p pair) {
		call.HandleReceive(p.mux, "many", p2p.Anyone, func(context.Context, text) iter.Seq2[large, error] {
			return func(yield func(large, error) bool) {
				yield(large{make([]byte, 100<<10)}, nil)
				panic("secret")
			}
		})
		s, err := p.peer.Open(t.Context(), "many")
		require.NoError(t, err)
		_, err = s.Write([]byte("\x02\x00\x00\x00\x00" + "\x00\x00"))
		require.NoError(t, err)
		synctest.Wait()
		_, err = s.Read(make([]byte, 1)) // the first read fails: the stream was reset before
		require.ErrorIs(t, err, p2p.ErrHandlerFailed)
		s.Close()
		p.noStreams(t)
	})
}

// The answers before an error arrive in order, and so does the error.
func TestReceiveError(t *testing.T) {
	bubble(t, func(t *testing.T, p pair) {
		call.HandleReceive(p.mux, "many", p2p.Anyone, func(context.Context, number) iter.Seq2[text, error] { return texts(5000, errEmpty) })
		all, err := collect(call.Receive[text](t.Context(), p.peer, "many", number{}))
		require.ErrorIs(t, err, errEmpty)
		require.Len(t, all, 5000)
		for i, got := range all {
			require.Equal(t, fmt.Sprint(i), got.s)
		}
		p.noStreams(t)
	})
}

func TestReceive(t *testing.T) {
	bubble(t, func(t *testing.T, p pair) {
		call.HandleReceive(p.mux, "many", p2p.Anyone, func(_ context.Context, n number) iter.Seq2[text, error] {
			return texts(int(n.n), nil)
		})
		for _, n := range []uint32{0, 1, 1000} {
			seq := call.Receive[text](t.Context(), p.peer, "many", number{n})
			for range 2 { // each loop is a call
				all, err := collect(seq)
				require.NoError(t, err)
				require.Len(t, all, int(n))
			}
		}
		p.noStreams(t)
	})
}

// A caller that leaves the loop ends the function's ctx, even if the function
// does nothing but wait.
func TestReceiveLeft(t *testing.T) {
	bubble(t, func(t *testing.T, p pair) {
		left := make(chan error, 1)
		call.HandleReceive(p.mux, "many", p2p.Anyone, func(ctx context.Context, _ text) iter.Seq2[text, error] {
			return func(yield func(text, error) bool) {
				yield(text{"first"}, nil)
				<-ctx.Done()
				left <- ctx.Err()
			}
		})
		for got, err := range call.Receive[text](t.Context(), p.peer, "many", text{}) {
			require.NoError(t, err)
			require.Equal(t, "first", got.s)
			break
		}
		require.ErrorIs(t, <-left, context.Canceled)
		p.noStreams(t)

		require.Panics(t, func() {
			for range call.Receive[text](t.Context(), p.peer, "many", text{}) {
				panic("oh")
			}
		})
		<-left
		p.noStreams(t)
	})
}

// A caller that does not read makes the function wait.
func TestReceiveSlow(t *testing.T) {
	bubble(t, func(t *testing.T, p pair) {
		sent := 0
		call.HandleReceive(p.mux, "many", p2p.Anyone, func(ctx context.Context, _ text) iter.Seq2[large, error] {
			return func(yield func(large, error) bool) {
				for yield(large{make([]byte, 10<<10)}, nil) {
					sent++
				}
			}
		})
		for _, err := range call.Receive[large](t.Context(), p.peer, "many", text{}) {
			require.NoError(t, err)
			synctest.Wait()
			require.Less(t, sent, 15) // 64 KiB are under way, and some messages wait
			break
		}
		p.noStreams(t)
	})
}

func TestSend(t *testing.T) {
	bubble(t, func(t *testing.T, p pair) {
		call.HandleSend(p.mux, "send", p2p.Anyone, func(ctx context.Context, reqs iter.Seq2[text, error]) (number, error) {
			require.Equal(t, p.a.Identity(), call.From(ctx).Node)
			all, err := collect(reqs)
			again, errAgain := collect(reqs)
			require.Empty(t, again)
			require.Equal(t, err, errAgain, "when read again, an error must not look like the end")
			return number{uint32(len(all))}, err
		})
		for _, n := range []int{0, 1, 1000} {
			got, err := call.Send[number](t.Context(), p.peer, "send", texts(n, nil))
			require.NoError(t, err)
			require.EqualValues(t, n, got.n)
		}
		own := &call.Error{Code: errEmpty}
		_, err := call.Send[number](t.Context(), p.peer, "send", texts(2, own))
		require.ErrorIs(t, err, own)
		p.noStreams(t)
		_, err = call.Send[number](t.Context(), p.peer, "send", func(yield func(text, error) bool) { yield(text{strings.Repeat("x", 65)}, nil) })
		require.ErrorIs(t, err, proto.ErrInvalid)
		p.noStreams(t)
	})
}

// When a sequence of requests fails, the function does not take this for the
// end of the sequence, neither at first nor when it reads again.
func TestSendFails(t *testing.T) {
	bubble(t, func(t *testing.T, p pair) {
		seen := make(chan error, 2)
		call.HandleSend(p.mux, "send", p2p.Anyone, func(ctx context.Context, reqs iter.Seq2[text, error]) (text, error) {
			for range 2 {
				_, err := collect(reqs)
				seen <- err
			}
			return text{}, nil
		})
		for _, own := range []error{errors.New("own"), &call.Error{Code: errEmpty}} {
			_, err := call.Send[text](t.Context(), p.peer, "send", func(yield func(text, error) bool) {
				yield(text{}, nil)
				synctest.Wait() // until the function is called
				yield(text{}, own)
			})
			require.ErrorIs(t, err, own)
			for range 2 {
				require.ErrorIs(t, <-seen, p2p.ErrCanceled)
			}
			p.noStreams(t)
		}
	})
}

// Answers that end because the deadline has passed are not taken for all
// answers.
func TestReceiveDeadline(t *testing.T) {
	bubble(t, func(t *testing.T, p pair) {
		call.HandleReceive(p.mux, "many", p2p.Anyone, func(ctx context.Context, _ text) iter.Seq2[text, error] {
			return func(func(text, error) bool) { <-ctx.Done() }
		})
		s, err := p.peer.Open(t.Context(), "many")
		require.NoError(t, err)
		_, err = s.Write([]byte("\x02\xe8\x03\x00\x00" + "\x00\x00"))
		require.NoError(t, err)
		got, err := io.ReadAll(s)
		require.NoError(t, err)
		require.Equal(t, "\x02\x02\x00\x00\x00", string(got))
		s.Close()
	})
}

// A function can answer once it has seen enough requests, and its answer
// arrives, however much the caller still has to send.
func TestSendEnough(t *testing.T) {
	bubble(t, func(t *testing.T, p pair) {
		call.HandleSend(p.mux, "send", p2p.Anyone, func(_ context.Context, reqs iter.Seq2[large, error]) (number, error) {
			for range reqs {
				return number{7}, errEmpty
			}
			return number{}, nil
		})
		_, err := call.Send[number](t.Context(), p.peer, "send", func(yield func(large, error) bool) {
			for yield(large{make([]byte, 100<<10)}, nil) {
			}
		})
		require.ErrorIs(t, err, errEmpty)
		p.noStreams(t)
	})
}

// A caller whose sequence hangs does not hold the function beyond its deadline.
func TestSendDeadline(t *testing.T) {
	bubble(t, func(t *testing.T, p pair) {
		done := make(chan error, 1)
		call.HandleSend(p.mux, "send", p2p.Anyone, func(_ context.Context, reqs iter.Seq2[text, error]) (text, error) {
			_, err := collect(reqs)
			done <- err
			return text{}, err
		})
		s, err := p.peer.Open(t.Context(), "send")
		require.NoError(t, err)
		_, err = s.Write([]byte("\x03\xe8\x03\x00\x00" + "\x01\x00\x00"))
		require.NoError(t, err)
		require.ErrorIs(t, <-done, p2p.ErrTimeout)
		s.Close()
	})
}
