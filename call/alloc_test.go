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

// A half is a stream to nowhere that allocates nothing: it reads what it was
// given, and then waits until it is closed.
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

// What a call costs on top of its stream and its messages, at either end: the
// guard against getting slower that no busy machine upsets. The documentation
// of the package has the figures.
func TestAllocations(t *testing.T) {
	measure := func(f func()) float64 { // the least: the pool forgets what it has now and then, with -race more often
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

	answer := &half{said: []byte("\x01\x00\x00")} // an empty string is no allocation
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
			in.open <- struct{}{} // the caller closes
			in.wait.Wait()
		})
	}
	require.LessOrEqual(t, request("\x01\x00\x00\x00\x00"), messages+4.0)
	require.LessOrEqual(t, request("\x01\x00\xff\x00\x00"), messages+6.0)
}
