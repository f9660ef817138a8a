package block_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/block"
	"github.com/sdp2p/p2p/p2ptest"
)

// broken returns an Opener whose streams fail with these errors, one after
// another, and then succeed.
func broken(t *testing.T, dir string, errs ...error) (block.Opener, *int) {
	opened := new(int)
	return func(context.Context) (net.Conn, error) {
		*opened++
		own, other := net.Pipe()
		if *opened <= len(errs) {
			return &fallen{Conn: own, err: errs[*opened-1]}, nil
		}
		root := open(t, dir)
		go func() {
			block.Receive(t.Context(), other, nil, root, block.ReceiveOptions{From: "alice"})
			other.Close()
		}()
		return own, nil
	}, opened
}

// A fallen stream fails at once.
type fallen struct {
	net.Conn
	err error
}

func (f *fallen) Read([]byte) (int, error)  { return 0, f.err }
func (f *fallen) Write([]byte) (int, error) { return 0, f.err }
func (f *fallen) SetDeadline(t time.Time) error {
	if errors.Is(f.err, os.ErrNoDeadline) {
		return f.err
	}
	return f.Conn.SetDeadline(t)
}

// A short stream ends after a number of written bytes.
type short struct {
	net.Conn
	left int64
}

func (s *short) Write(p []byte) (int, error) {
	if s.left -= int64(len(p)); s.left < 0 {
		s.Close()
	}
	return s.Conn.Write(p)
}

// Only a lost stream is followed by another one.
func TestLost(t *testing.T) {
	reset := func(code p2p.ResetCode, remote bool) error { return &p2p.ResetError{Code: code, Remote: remote} }
	for _, test := range []struct {
		err  error
		goes bool
	}{
		{io.EOF, true},
		{io.ErrUnexpectedEOF, true},
		{fmt.Errorf("%w: idle", p2p.ErrConnectionLost), true},
		{net.ErrClosed, true},
		{reset(p2p.ErrShuttingDown, true), true},
		{reset(p2p.ErrTimeout, true), true},
		{reset(p2p.ErrShuttingDown, false), false}, // this node's own shutdown
		{reset(p2p.ErrNoRoute, true), false},
		{reset(p2p.ErrRefused, true), false},
		{reset(p2p.ErrCanceled, true), false},
		{reset(p2p.ErrHandlerFailed, true), false},
		{reset(p2p.ErrTunnelRefused, true), false},
		{reset(p2p.FirstAppCode, true), false},
		{fmt.Errorf("no: %w", os.ErrNoDeadline), false},
	} {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			open, opened := broken(t, dir, test.err)
			transfer := block.Transfer{Open: open}
			_, err := transfer.Send(t.Context(), []block.Source{source("a", []byte("content"))}, block.SendOptions{})
			if test.goes {
				require.NoError(t, err)
				require.Equal(t, 2, *opened)
				require.FileExists(t, filepath.Join(dir, "a"))
			} else {
				require.ErrorIs(t, err, test.err)
				require.Equal(t, 1, *opened)
			}
		})
	}
}

// For the first stream, ErrBusy is a refusal; later on, it is temporary.
func TestLostBusy(t *testing.T) {
	busy := &p2p.ResetError{Code: p2p.ErrBusy, Remote: true}
	synctest.Test(t, func(t *testing.T) {
		open, _ := broken(t, t.TempDir(), busy)
		transfer := block.Transfer{Open: open}
		_, err := transfer.Send(t.Context(), []block.Source{source("a", nil)}, block.SendOptions{})
		require.ErrorIs(t, err, p2p.ErrBusy)
		open, opened := broken(t, t.TempDir(), io.EOF, busy, busy)
		transfer.Open = open
		_, err = transfer.Send(t.Context(), []block.Source{source("a", nil)}, block.SendOptions{})
		require.NoError(t, err)
		require.Equal(t, 4, *opened)
	})
}

// A decision of the other side, or a fault of its disk, aborts a transfer at
// once.
func TestLostToTheEnd(t *testing.T) {
	full := block.ReceiveOptions{From: "alice"}
	full.SetFaults(func(op, _ string) error {
		if op == "create" {
			return os.ErrPermission
		}
		return nil
	})
	for name, test := range map[string]struct {
		decide func(context.Context, *block.Offer) error
		opts   block.ReceiveOptions
		want   error
	}{
		"declined": {func(context.Context, *block.Offer) error { return block.Refuse("no") }, block.ReceiveOptions{}, block.ErrRefused},
		"disk":     {nil, full, block.ErrIncomplete},
		"late": {func(ctx context.Context, _ *block.Offer) error { <-ctx.Done(); return ctx.Err() },
			block.ReceiveOptions{}, block.ErrUnanswered},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				streams, dest := 0, open(t, t.TempDir())
				transfer := block.Transfer{Open: func(context.Context) (net.Conn, error) {
					own, other := net.Pipe()
					streams++
					go func() {
						block.Receive(t.Context(), other, test.decide, dest, test.opts)
						other.Close()
					}()
					return own, nil
				}}
				_, err := transfer.Send(t.Context(), []block.Source{source("a", random(10, 1))}, block.SendOptions{})
				require.ErrorIs(t, err, test.want)
				require.Equal(t, 1, streams)
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // another receiver
		streams := 0
		transfer := block.Transfer{Open: func(context.Context) (net.Conn, error) {
			own, other := net.Pipe()
			streams++
			go io.Copy(io.Discard, other)
			go other.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			return own, nil
		}}
		_, err := transfer.Send(t.Context(), []block.Source{source("a", nil)}, block.SendOptions{})
		require.ErrorIs(t, err, block.ErrProtocol)
		require.Equal(t, 1, streams)
	})
}

// The first stream must open. Later ones are tried, at growing intervals, for
// as long as the app allows, or until it gives up.
func TestTransferTime(t *testing.T) {
	none := errors.New("nobody answers")
	synctest.Test(t, func(t *testing.T) {
		first := true
		transfer := block.Transfer{Open: func(context.Context) (net.Conn, error) { return nil, none }}
		_, err := transfer.Send(t.Context(), nil, block.SendOptions{})
		require.ErrorIs(t, err, none)

		var waits []time.Duration
		end := none
		transfer.Open = func(context.Context) (net.Conn, error) {
			if first {
				first = false
				own, _ := net.Pipe()
				return &fallen{Conn: own, err: io.EOF}, nil
			}
			return nil, end
		}
		transfer.Lost = func(_ error, wait time.Duration) { waits = append(waits, wait) }
		began := time.Now()
		_, err = transfer.Send(t.Context(), nil, block.SendOptions{})
		require.ErrorIs(t, err, none)
		require.WithinDuration(t, began.Add(5*time.Minute), time.Now(), 6*time.Second)
		require.Equal(t, []time.Duration{1e8, 2e8, 4e8, 8e8, 16e8, 32e8, 5e9, 5e9}, waits[:8])

		first, transfer.Within = true, time.Second
		began = time.Now()
		_, err = transfer.Send(t.Context(), nil, block.SendOptions{})
		require.ErrorIs(t, err, none)
		require.LessOrEqual(t, time.Since(began), 2*time.Second) // with a second for its end

		first, transfer.Within = true, -1
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err = transfer.Send(ctx, nil, block.SendOptions{})
		require.ErrorIs(t, err, block.ErrCanceled)
		require.ErrorIs(t, err, context.DeadlineExceeded)

		for _, end = range []error{p2p.ErrClosed, &p2p.DialError{Err: p2p.ErrRevoked}, &p2p.DialError{Err: p2p.ErrNoListener}} {
			first = true
			_, err = transfer.Send(t.Context(), nil, block.SendOptions{})
			require.ErrorIs(t, err, end)
		}
	})
}

// Each stream that makes progress gives the transfer its full time again.
func TestTransferTimeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dest, rest := open(t, t.TempDir()), 0
		transfer := block.Transfer{Within: 10 * time.Second, Open: func(context.Context) (net.Conn, error) {
			if rest++; rest%6 != 1 { // after each stream, opening fails for some seconds
				return nil, io.EOF
			}
			own, other := net.Pipe()
			go func() {
				block.Receive(t.Context(), other, nil, dest, block.ReceiveOptions{From: "alice"})
				other.Close()
			}()
			return &short{own, 1 << 20}, nil
		}}
		began := time.Now()
		_, err := transfer.Send(t.Context(), []block.Source{source("a", random(6<<20, 1))}, block.SendOptions{})
		require.NoError(t, err)
		require.Greater(t, time.Since(began), 12*time.Second)
	})
}

// A transfer between nodes continues over another transport, and the receiver's
// handler of the first stream reports it.
func TestTransferTransports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		both := []*p2ptest.Network{p2ptest.NewNetwork(p2ptest.Config{Name: "one"}), p2ptest.NewNetwork(p2ptest.Config{Name: "two"})}
		start := func(cfg p2p.Config) *p2p.P2P {
			cfg.App = "test"
			for _, n := range both {
				cfg.Hooks = append(cfg.Hooks, n.Hooks()...)
			}
			node, err := p2p.Start(t.Context(), cfg)
			require.NoError(t, err)
			t.Cleanup(func() { node.Shutdown(context.Background()) })
			return node
		}
		var transfers block.Transfers
		var mux p2p.Mux
		dir := t.TempDir()
		dest := open(t, dir)
		outcomes := make(chan side, 10)
		mux.HandleFunc("files", p2p.Anyone, func(ctx context.Context, s *p2p.Stream) error {
			r, err := transfers.Receive(ctx, s, nil, dest, block.ReceiveOptions{})
			outcomes <- side{r, err}
			return nil
		})
		receiver, sender := start(p2p.Config{Handler: &mux}), start(p2p.Config{})
		var to *p2p.Peer
		for to = range sender.Available(t.Context()) {
			break
		}
		links := []*p2ptest.Link{both[0].Link(sender.Identity(), receiver.Identity()), both[1].Link(sender.Identity(), receiver.Identity())}
		links[0].SetDelay(20 * time.Millisecond)
		links[1].SetDelay(20 * time.Millisecond)
		links[1].Cut()
		next, turn := int64(1<<20), 0
		content := random(5<<20, 1)
		transfer := block.Transfer{Open: block.To(to, "files")}
		r, err := transfer.Send(t.Context(), []block.Source{source("a", content)}, block.SendOptions{Progress: func(p block.Progress) {
			if p.Verified >= next {
				next += 1 << 20
				links[turn].Cut()
				turn = 1 - turn
				links[turn].Restore()
			}
		}})
		require.NoError(t, err)
		require.Equal(t, 1, r.Files)
		got := <-outcomes
		for errors.Is(got.err, block.ErrContinued) {
			got = <-outcomes
		}
		require.NoError(t, got.err)
		require.Equal(t, 1, got.Files)
		require.NoError(t, same(put(t, filepath.Join(t.TempDir(), "a"), content, 0o600), filepath.Join(dir, "a")))
		require.Positive(t, links[1].Stats().Streams, "the transport must have changed")
	})
}

// The side that opens streams may also be the receiver, even if it does not
// know who sends.
func TestTransferReceive(t *testing.T) {
	for _, from := range []string{"", "alice"} {
		synctest.Test(t, func(t *testing.T) {
			dir, streams, asked := t.TempDir(), 0, 0
			sources := []block.Source{source("a", random(100, 1)), source("b", random(3<<20, 2))}
			transfer := block.Transfer{Open: func(context.Context) (net.Conn, error) {
				own, other := net.Pipe()
				streams++
				after := int64(streams) << 20
				go func() {
					block.Send(t.Context(), &short{Conn: other, left: after}, sources, block.SendOptions{})
					other.Close()
				}()
				return own, nil
			}}
			decide := func(context.Context, *block.Offer) error { asked++; return nil }
			r, err := transfer.Receive(t.Context(), decide, open(t, dir), block.ReceiveOptions{From: from})
			require.NoError(t, err)
			require.Equal(t, 1, asked)
			require.Equal(t, 2, r.Files)
			require.Greater(t, streams, 2)
			require.Zero(t, r.Resumed)
			require.Less(t, r.Sent, int64(5<<20))
			require.Len(t, tree(t, dir), 3, "the files and the folder itself")
		})
	}
}
