package block

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A hanging source does not answer until wake is closed.
type hanging struct{ wake chan struct{} }

func (h hanging) ReadAt(b []byte, _ int64) (int, error) {
	<-h.wake
	clear(b)
	return len(b), nil
}

// hang runs a transfer in which the disk of one side hangs, or its app hangs
// while it decides. That side's context ends after a second.
func hang(t *testing.T, side string) {
	root, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	defer root.Close()
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		wake := make(chan struct{})
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		sending, receiving := t.Context(), t.Context()
		source := Source{Name: "x", Reader: zeroReader{}, Size: 1000}
		opts := ReceiveOptions{From: "a"}
		var decide func(context.Context, *Offer) error
		over := false
		opts.Progress = func(Progress) { require.False(t, over && side != "sender", "progress was reported after the end") }
		switch side {
		case "sender":
			sending, source.Reader = short, hanging{wake}
		case "receiver":
			receiving = short
			opts.faults = func(op, _ string) error {
				if op == "create" {
					<-wake
				}
				return nil
			}
		case "decide":
			receiving = short
			decide = func(context.Context, *Offer) error { <-wake; return nil }
		}
		began := time.Now()
		type ended struct {
			err  error
			took time.Duration
		}
		sent, received := make(chan ended, 1), make(chan ended, 1)
		go func() {
			_, err := Send(sending, a, []Source{source}, SendOptions{})
			sent <- ended{err, time.Since(began)}
			a.Close()
		}()
		go func() {
			_, err := Receive(receiving, b, decide, root, opts)
			over = true
			received <- ended{err, time.Since(began)}
			b.Close()
		}()
		for _, end := range []ended{<-sent, <-received} {
			require.ErrorIs(t, end.err, ErrCanceled)
			require.Less(t, end.took, 2*time.Second) // simulated time
		}
		if side == "receiver" {
			require.NotEmpty(t, holders.m, "the journal is still in use")
		}
		close(wake)
		synctest.Wait()
		letGo(t, root.Name(), side)
	})
}

// letGo checks that nothing is held any more after the disk has woken up.
func letGo(t *testing.T, dir, side string) {
	require.Empty(t, holders.m)
	require.Zero(t, waiting.offers)
	if side == "receiver" { // the file was complete
		require.Len(t, contents(t, dir)["x"], 1000)
	} else {
		require.Empty(t, leftovers(t, dir))
	}
}

// A context may end at any moment, and with any cause.
func TestCancelAtOnce(t *testing.T) {
	for i := range 300 {
		synctest.Test(t, func(t *testing.T) { cancelAfter(t, i) })
	}
}

// cancelAfter ends the context of both sides after a number of goroutine
// switches.
func cancelAfter(t *testing.T, switches int) {
	a, b := net.Pipe()
	ctx, cancel := context.WithCancelCause(t.Context())
	both := make(chan error, 2)
	go func() {
		_, err := Send(ctx, a, []Source{{Name: "x", Reader: zeroReader{}, Size: 1}}, SendOptions{})
		a.Close()
		both <- err
	}()
	go func() {
		_, err := Receive(ctx, b, func(_ context.Context, o *Offer) error { o.Part(0, 0, 1, make(buf, 1)); return nil }, nil, ReceiveOptions{})
		b.Close()
		both <- err
	}()
	for range switches {
		runtime.Gosched()
	}
	cancel(causes{"not", "comparable"})
	for range 2 {
		if err := <-both; err != nil && !errors.Is(err, errStream) {
			require.ErrorIs(t, err, ErrCanceled)
		}
	}
}

// causes is an error that cannot be compared.
type causes []string

func (c causes) Error() string { return strings.Join(c, " ") }

// If a disk hangs, Send and Receive return all the same once their context is
// done, and they release everything when the disk wakes up.
func TestHangingDisk(t *testing.T) {
	for _, side := range []string{"sender", "receiver", "decide"} {
		t.Run(side, func(t *testing.T) { hang(t, side) })
	}
}
