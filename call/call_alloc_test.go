package call

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A half is a stream to nowhere that allocates nothing: reads return said, and
// then wait until the caller closes.
type half struct {
	net.Conn
	said []byte
	n    int
	open chan struct{}
	wait sync.WaitGroup
}

func (h *half) Open(context.Context, string) (*half, error) { return h, nil }

func (h *half) Read(b []byte) (int, error) {
	if h.n == len(h.said) {
		<-h.open
		h.wait.Done()
		return 0, io.EOF
	}
	n := copy(b, h.said[h.n:])
	h.n += n
	return n, nil
}

func (h *half) Write(b []byte) (int, error)      { return len(b), nil }
func (h *half) Close() error                     { h.n = 0; return nil }
func (h *half) CloseWrite() error                { return nil }
func (h *half) SetReadDeadline(time.Time) error  { return nil }
func (h *half) SetWriteDeadline(time.Time) error { return nil }

// TestAllocations bounds what a call costs on top of its stream and its
// messages, at either end. This guard against slower calls also holds on a busy
// machine. The documentation of the package has the figures.
func TestAllocations(t *testing.T) {
	// The least of many runs counts, since the pool loses its contents now and
	// then, more often with -race.
	measure := func(f func()) float64 {
		least := testing.AllocsPerRun(1, f)
		for range 100 {
			least = min(least, testing.AllocsPerRun(1, f))
		}
		return least
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	late, cancelLate := context.WithTimeout(ctx, time.Hour)
	defer cancelLate()

	answer := &half{said: []byte("\x01\x00\x00")} // an empty string takes no allocation
	do := func(ctx context.Context) float64 {
		return measure(func() {
			if _, err := Do[word](ctx, answer, "route", word{}); err != nil {
				panic(err)
			}
		})
	}
	const messages = 2 // the request and the answer
	require.LessOrEqual(t, do(context.Background()), messages+0.0)
	require.LessOrEqual(t, do(ctx), messages+3.0)
	require.LessOrEqual(t, do(late), messages+3.0)

	serve := serveDo(func(context.Context, word) (word, error) { return word{}, nil })
	request := func(header string) float64 {
		in := &half{said: []byte(header + "\x00\x00"), open: make(chan struct{}, 1)}
		return measure(func() {
			in.n = 0
			in.wait.Add(1)
			if err := serve(ctx, in); err != nil {
				panic(err)
			}
			in.open <- struct{}{} // the caller closes the stream
			in.wait.Wait()
		})
	}
	require.LessOrEqual(t, request("\x01\x00\x00\x00\x00"), messages+4.0)
	require.LessOrEqual(t, request("\x01\x00\xff\x00\x00"), messages+6.0)
}
