package block_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/sdp2p/p2p/block"
)

// A mishap happens to a stream after a number of bytes from the sender.
type mishap int

const (
	severed mishap = iota // both sides notice
	left                  // the sender notices; the receiver gets nothing more
	lost                  // the receiver notices; the sender gets nothing more
	silent                // neither notices
	mishaps
)

// A fate is the mishap of one stream of a held transfer.
type fate struct {
	mishap mishap
	after  int64
	rest   time.Duration // until the next stream can be opened
}

func (f fate) String() string {
	return fmt.Sprintf("mishap %d after %d, %v", f.mishap, f.after, f.rest)
}

// holding is a transfer over several streams, each with its fate. The last
// streams have none.
type holding struct {
	files  []int
	fates  []fate
	thinks time.Duration // time for each decision of the receiver's user
	dir    string

	mu       sync.Mutex
	streams  int
	free     time.Time // when the next stream can be opened
	accepted int
	writer   int // the latest stream that has written
	told     []error
	faults   []error
	sent     watched
	received watched
	calls    sync.WaitGroup
	all      block.Transfers
}

// A watched is progress that must not go back.
type watched struct{ block.Progress }

func (w *watched) show(h *holding, p block.Progress) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p.Bytes < w.Bytes || p.Verified < w.Verified || p.Files < w.Files || p.Bytes > p.TotalBytes {
		h.faults = append(h.faults, fmt.Errorf("from %+v to %+v", w.Progress, p))
	}
	w.Progress = p
}

// open opens the next stream.
func (h *holding) open(t *testing.T) block.Opener {
	return func(context.Context) (net.Conn, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if time.Now().Before(h.free) {
			return nil, errors.New("nobody answers")
		}
		n := h.streams
		h.streams++
		own, near := net.Pipe()
		far, other := net.Pipe()
		var f *fate
		if n < len(h.fates) {
			f = &h.fates[n]
		}
		h.carry(near, far, f)
		h.calls.Go(func() { h.receive(t, n, other) })
		return own, nil
	}
}

// A paced reader is slow enough for progress to be reported.
type paced struct{ io.Reader }

func (s paced) Read(p []byte) (int, error) {
	time.Sleep(10 * time.Millisecond)
	return s.Reader.Read(p)
}

// carry carries the bytes of both sides until the stream's fate.
func (h *holding) carry(near, far net.Conn, f *fate) {
	over := make(chan struct{})
	go func() {
		defer close(over)
		if f == nil {
			io.Copy(far, paced{near})
			far.Close()
			return
		}
		io.CopyN(far, paced{near}, f.after)
		h.mu.Lock()
		h.free = time.Now().Add(f.rest)
		h.mu.Unlock()
		switch f.mishap {
		case severed:
			near.Close()
			far.Close()
		case left:
			near.Close()
		case lost:
			far.Close()
		}
	}()
	go func() {
		b := make([]byte, 1024)
		for {
			n, err := far.Read(b)
			select {
			case <-over:
				if f != nil { // nothing gets through any more
					err = io.EOF
					n = 0
				}
			default:
			}
			if _, err2 := near.Write(b[:n]); err != nil || err2 != nil {
				break
			}
		}
		if f == nil {
			near.Close()
		}
	}()
}

// receive serves the nth stream.
func (h *holding) receive(t *testing.T, n int, stream net.Conn) {
	opts := block.ReceiveOptions{From: "alice", Progress: func(p block.Progress) { h.received.show(h, p) }}
	opts.SetFaults(func(op, _ string) error {
		h.mu.Lock()
		defer h.mu.Unlock()
		if op == "write" && n < h.writer {
			h.faults = append(h.faults, fmt.Errorf("stream %d writes after %d", n, h.writer))
		} else if op == "write" {
			h.writer = n
		}
		return nil
	})
	decide := func(ctx context.Context, o *block.Offer) error {
		select {
		case <-time.After(h.thinks):
			h.mu.Lock()
			defer h.mu.Unlock()
			h.accepted++
		case <-ctx.Done():
		}
		return ctx.Err()
	}
	r, err := h.all.Receive(t.Context(), stream, decide, open(t, h.dir), opts)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told = append(h.told, err)
	if err == nil && r.Files != len(h.files) {
		h.faults = append(h.faults, fmt.Errorf("%+v was received", r))
	}
}

// run runs the transfer, and returns everything that went wrong.
func (h *holding) run(t *testing.T) error {
	var sources []block.Source
	total := int64(0)
	for i, size := range h.files {
		sources = append(sources, source(fmt.Sprint("file ", i), random(size, uint64(i))))
		total += int64(size)
	}
	transfer := block.Transfer{Open: h.open(t)}
	r, err := transfer.Send(t.Context(), sources, block.SendOptions{Progress: func(p block.Progress) { h.sent.show(h, p) }})
	h.calls.Wait()
	errs := append(h.faults, err)
	if r.Files != len(h.files) || r.Bytes != total || h.sent.Bytes != total || h.received.Bytes != total {
		errs = append(errs, fmt.Errorf("%+v was sent; shown: %+v, %+v", r, h.sent, h.received))
	}
	done := 0
	for _, err := range h.told {
		if err == nil {
			done++
		}
	}
	if done != 1 || h.accepted != 1 {
		errs = append(errs, fmt.Errorf("accepted %d times, received %d times: %v", h.accepted, done, h.told))
	}
	names, _ := filepath.Glob(filepath.Join(h.dir, "file*"))
	if len(names) != len(h.files) {
		errs = append(errs, fmt.Errorf("%d files for %d: %v", len(names), len(h.files), names))
	}
	for i, size := range h.files {
		got, err := os.ReadFile(filepath.Join(h.dir, fmt.Sprint("file ", i)))
		if err != nil || string(got) != string(random(size, uint64(i))) {
			errs = append(errs, fmt.Errorf("file %d is not whole: %d bytes, %w", i, len(got), err))
		}
	}
	time.Sleep(6 * time.Minute) // must not leave a goroutine waiting for the transfer
	return errors.Join(errs...)
}

// Whatever happens to a transfer's streams, and wherever, every file arrives
// once, there is one decision and one report, and progress never goes back.
func TestHold(t *testing.T) {
	top := block.MemoryDir(t)
	rapid.Check(t, func(rt *rapid.T) {
		h := &holding{
			files:  rapid.SliceOfN(rapid.IntRange(0, 1<<20), 1, 5).Draw(rt, "files"),
			thinks: time.Duration(rapid.IntRange(0, 40).Draw(rt, "thinks")) * time.Second,
		}
		total := 0
		for _, size := range h.files {
			total += size
		}
		for range rapid.IntRange(0, 4).Draw(rt, "fates") {
			h.fates = append(h.fates, fate{
				mishap: mishap(rapid.IntRange(0, int(mishaps)-1).Draw(rt, "mishap")),
				after:  rapid.Int64Range(0, int64(total)+1000).Draw(rt, "after"),
				rest:   time.Duration(rapid.SampledFrom([]int{0, 1, 20}).Draw(rt, "rest")) * time.Second,
			})
		}
		var err error
		h.dir, err = os.MkdirTemp(top, "")
		require.NoError(rt, err)
		defer os.RemoveAll(h.dir)
		synctest.Test(t, func(t *testing.T) { err = h.run(t) })
		if err != nil {
			rt.Fatal(err)
		}
	})
}
