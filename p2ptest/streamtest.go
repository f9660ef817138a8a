package p2ptest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// testStreams: streams are opened in both directions over one connection, and
// each side knows the other's identity.
func (h HookTest) testStreams(t *testing.T) {
	from := make(chan identity.RemoteIdentity, 2)
	handler := p2p.HandlerFunc(func(ctx context.Context, s *p2p.Stream) error {
		from <- s.RemoteIdentity()
		return echoes(ctx, s)
	})
	d := h.newDuo(t, handler, handler)
	for _, c := range []struct {
		node *p2p.P2P
		to   *p2p.Peer
	}{{d.a, d.ab}, {d.b, d.ba}} {
		s := newStream(t, c.to)
		mustExchange(t, s)
		if got := <-from; got != c.node.Identity() {
			t.Errorf("the stream came from %v; want %v", got, c.node.Identity())
		}
		if !d.ab.Connected() || !d.ba.Connected() {
			t.Error("a stream is open, but a node knows of no connection")
		}
		if local, remote := s.Endpoints(); local == nil || remote == nil {
			t.Error("a stream has no address")
		}
		if v := s.Version(); v != 1 && v != 2 {
			t.Errorf("the stream has version %d", v)
		}
	}
	if n := len(d.ab.Info().Connections); n != 1 {
		t.Errorf("%d connections; want one that is used in both directions", n)
	}
}

func (h HookTest) testHalfClose(t *testing.T) {
	after := make(chan string, 1)
	d := h.newDuo(t,
		p2p.HandlerFunc(func(_ context.Context, s *p2p.Stream) error { // ends first, and still reads
			if _, err := s.Write([]byte("first")); err != nil {
				return err
			}
			if err := s.CloseWrite(); err != nil {
				return err
			}
			got, err := io.ReadAll(s)
			after <- string(got)
			return err
		}),
		p2p.HandlerFunc(func(_ context.Context, s *p2p.Stream) error { // answers when it has read all
			got, err := io.ReadAll(s)
			if err != nil {
				return err
			}
			_, err = s.Write(append(got, '!'))
			return err
		}))

	s := newStream(t, d.ab)
	write(t, s, []byte("all"))
	if err := s.CloseWrite(); err != nil {
		t.Fatalf("close for writing: %v", err)
	}
	if _, err := s.Write([]byte{1}); err == nil {
		t.Error("write after CloseWrite: no error")
	}
	wantRead(t, s, "all!", true)

	s = newStream(t, d.ba)
	write(t, s, []byte("se"))
	wantRead(t, s, "first", true)
	write(t, s, []byte("cond"))
	if err := s.CloseWrite(); err != nil {
		t.Fatalf("close for writing: %v", err)
	}
	if got := <-after; got != "second" {
		t.Errorf("the handler has read %q; want %q", got, "second")
	}
}

// testResets: the code of a reset reaches reads and writes, in both directions.
func (h HookTest) testResets(t *testing.T) {
	errs := make(chan error, 2)
	d := h.newDuo(t, nil, p2p.HandlerFunc(func(_ context.Context, s *p2p.Stream) error {
		var request struct {
			ByYou bool
			Code  p2p.ResetCode
		}
		if err := binary.Read(s, binary.BigEndian, &request); err != nil {
			return err
		}
		if request.ByYou {
			return request.Code
		}
		if _, err := s.Write([]byte{'k'}); err != nil {
			return err
		}
		_, err := s.Read(make([]byte, 1))
		errs <- err
		errs <- writeUntilError(s)
		return err
	}))
	codes := []p2p.ResetCode{
		p2p.ErrCanceled, p2p.ErrNoRoute, p2p.ErrRefused, p2p.ErrBusy, p2p.ErrTimeout, p2p.ErrHandlerFailed,
		p2p.ErrTunnelRefused, p2p.ErrShuttingDown, p2p.FirstAppCode, p2p.LastAppCode,
	}
	for _, code := range codes {
		for _, byYou := range []bool{true, false} {
			s := newStream(t, d.ab)
			request := []byte{0}
			if byYou {
				request[0] = 1
			}
			write(t, s, binary.BigEndian.AppendUint32(request, uint32(code)))
			if byYou {
				_, err := s.Read(make([]byte, 1))
				wantReset(t, "read", err, code)
				wantReset(t, "write", writeUntilError(s), code)
				continue
			}
			wantRead(t, s, "k", false)
			s.Reset(code)
			wantReset(t, "the handler's read", <-errs, code)
			wantReset(t, "the handler's write", <-errs, code)
		}
	}
}

// writeUntilError writes until a write fails, since a reset by the peer may be
// noticed late.
func writeUntilError(s *p2p.Stream) error {
	s.SetWriteDeadline(time.Now().Add(patience))
	for {
		if _, err := s.Write(make([]byte, 1024)); err != nil {
			return err
		}
	}
}

func (h HookTest) testTransfer(t *testing.T) {
	const size = 1 << 20
	random := rand.NewChaCha8([32]byte{1})
	fromA, fromB := make([]byte, size), make([]byte, size)
	random.Read(fromA)
	random.Read(fromB)
	type result struct {
		got []byte
		err error
	}
	swap := func(s *p2p.Stream, data []byte) (r result) {
		wrote := make(chan error)
		go func() {
			_, err := s.Write(data)
			wrote <- errors.Join(err, s.CloseWrite())
		}()
		r.got, r.err = io.ReadAll(s)
		r.err = errors.Join(r.err, <-wrote)
		return r
	}
	handled := make(chan result, 1)
	d := h.newDuo(t, nil, p2p.HandlerFunc(func(_ context.Context, s *p2p.Stream) error {
		r := swap(s, fromB)
		handled <- r
		return r.err
	}))
	a := swap(newStream(t, d.ab), fromA)
	if a.err != nil || !bytes.Equal(a.got, fromB) {
		t.Fatalf("%d of %d bytes, or others, came from the second node: %v", len(a.got), size, a.err)
	}
	if b := <-handled; b.err != nil || !bytes.Equal(b.got, fromA) {
		t.Fatalf("%d of %d bytes, or others, came from the first node: %v", len(b.got), size, b.err)
	}
}

func (h HookTest) testDeadlines(t *testing.T) {
	d := h.newDuo(t, nil, echoes)
	s := newStream(t, d.ab)
	mustExchange(t, s)
	wantTimeout := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("%s: %v; want %v", what, err, os.ErrDeadlineExceeded)
		}
	}
	s.SetDeadline(time.Now().Add(-time.Second))
	_, err := s.Read(make([]byte, 1))
	wantTimeout("read past the deadline", err)
	_, err = s.Write(make([]byte, 1))
	wantTimeout("write past the deadline", err)
	s.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	_, err = s.Read(make([]byte, 1))
	wantTimeout("read until the deadline", err)

	s.SetReadDeadline(time.Time{})
	read := make(chan error)
	go func() {
		_, err := s.Read(make([]byte, 1))
		read <- err
	}()
	s.SetReadDeadline(time.Now().Add(-time.Second))
	wantTimeout("a read that may have begun before the deadline was set", <-read)

	s.SetDeadline(time.Now().Add(patience))
	mustExchange(t, s)
}

// testBackpressure: a peer that does not read blocks the writer, without losing
// anything.
func (h HookTest) testBackpressure(t *testing.T) {
	const most = 64 << 20
	read, counted := make(chan struct{}), make(chan int64, 1)
	d := h.newDuo(t, nil, p2p.HandlerFunc(func(_ context.Context, s *p2p.Stream) error {
		<-read
		n, err := io.Copy(io.Discard, s)
		counted <- n
		return err
	}))
	s := newStream(t, d.ab)
	written := 0
	var err error
	for chunk := make([]byte, 64<<10); err == nil && written < most; {
		var n int
		s.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		n, err = s.Write(chunk)
		written += n
	}
	close(read)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes were written that nobody reads: %v; want %v", written, err, os.ErrDeadlineExceeded)
	}
	s.SetWriteDeadline(time.Now().Add(patience))
	write(t, s, []byte("end"))
	if err := s.CloseWrite(); err != nil {
		t.Fatalf("close for writing: %v", err)
	}
	if got := <-counted; got != int64(written)+3 {
		t.Errorf("%d bytes were read; want %d", got, written+3)
	}
}

func (h HookTest) testExporter(t *testing.T) {
	const label = "EXPORTER-p2ptest"
	type exported struct {
		key [32]byte
		ok  bool
	}
	other := make(chan exported, 1)
	d := h.newDuo(t, nil, p2p.HandlerFunc(func(_ context.Context, s *p2p.Stream) error {
		var e exported
		e.key, e.ok = s.Exporter(label)
		other <- e
		return nil
	}))
	for range 2 { // streams of one connection
		s := newStream(t, d.ab)
		write(t, s, []byte{1})
		var mine exported
		mine.key, mine.ok = s.Exporter(label)
		if got := <-other; got != mine {
			t.Errorf("the exporters of the two ends differ: %v and %v", got, mine)
		}
		if !mine.ok {
			t.Log("the listener has no exporter")
			return
		}
		if key, ok := s.Exporter(label + "2"); !ok || key == mine.key {
			t.Errorf("another label: %x, %v; want another value", key, ok)
		}
		if mine.key == [32]byte{} {
			t.Error("the exporter's value is zero")
		}
	}
}

// testCloseUnread: streams that are closed with unread data at both ends leave
// nothing behind.
func (h HookTest) testCloseUnread(t *testing.T) {
	var echo atomic.Bool
	handler := p2p.HandlerFunc(func(ctx context.Context, s *p2p.Stream) error {
		if echo.Load() {
			return echoes(ctx, s)
		}
		_, err := s.Write(make([]byte, 100))
		return err
	})
	d := h.newDuo(t, handler, handler)
	const many = 300 // more than a node serves at a time
	for i := range many {
		to := []*p2p.Peer{d.ab, d.ba}[i%2]
		s, err := to.NewStream(soon(t))
		if err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
		write(t, s, make([]byte, 100))
		if err := s.Close(); err != nil {
			t.Fatalf("close stream %d: %v", i, err)
		}
	}
	echo.Store(true)
	for _, to := range []*p2p.Peer{d.ab, d.ba} {
		s := newStream(t, to)
		mustExchange(t, s)
		s.Close()
	}
	for _, node := range []*p2p.P2P{d.a, d.b} {
		began := time.Now()
		if err := node.Shutdown(soon(t)); err != nil {
			t.Errorf("shut down: %v", err)
		}
		if took := time.Since(began); took > 4*time.Second { // streams whose end did not arrive are given up after 5 s
			t.Errorf("shut down took %v: streams were still open", took)
		}
	}
}

// testCloseEarly: a peer that writes more than a closed stream discards gets an
// error.
func (h HookTest) testCloseEarly(t *testing.T) {
	wrote := make(chan error, 1)
	d := h.newDuo(t, nil, p2p.HandlerFunc(func(_ context.Context, s *p2p.Stream) error {
		err := writeUntilError(s)
		wrote <- err
		return err
	}))
	s := newStream(t, d.ab)
	write(t, s, []byte{1})
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	wantReset(t, "the handler's write", <-wrote, p2p.ErrCanceled)
}

func (h HookTest) testRefused(t *testing.T) {
	d := h.newDuo(t, nil, nil)
	for range 3 {
		s := newStream(t, d.ab)
		write(t, s, []byte{1})
		_, err := s.Read(make([]byte, 1))
		wantReset(t, "read", err, p2p.ErrRefused)
	}
}

func (h HookTest) testBusy(t *testing.T) {
	d := h.newDuo(t, nil, echoes)
	const limit = 200 // the default of p2p.Config.MaxStreamsPerPeer
	var all []*p2p.Stream
	for range limit {
		s := newStream(t, d.ab)
		mustExchange(t, s)
		all = append(all, s)
	}
	s := newStream(t, d.ab)
	write(t, s, []byte{1})
	_, err := s.Read(make([]byte, 1))
	wantReset(t, "read from one stream too many", err, p2p.ErrBusy)
	for _, s := range all {
		mustExchange(t, s)
	}
}
