package block_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/block"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/tunnel"
)

// nodes starts two nodes with QUIC on loopback, and returns two functions that
// open a stream from one to the other, which calls serve: a bare stream, and
// one in a tunnel.
func nodes(t testing.TB, serve func(net.Conn) error) (bare, inTunnel func() net.Conn) {
	network := p2ptest.NewNetwork(p2ptest.Config{}) // only tells the nodes their addresses
	type node struct {
		*p2p.P2P
		libraries *library.Libraries
		id        identity.Identity
	}
	start := func() *node {
		n := &node{libraries: library.New(library.Config{}), id: identity.New()}
		var mux p2p.Mux
		mux.HandleFunc("serve", p2p.Anyone, func(_ context.Context, s *p2p.Stream) error { return serve(s) })
		mux.Handle(library.Route, p2p.Anyone, n.libraries)
		var err error
		n.P2P, err = p2p.Start(t.Context(), p2p.Config{
			App: "bench", Identity: n.id, Handler: &mux, Logger: slog.New(slog.DiscardHandler),
			Hooks: []p2p.Hook{quic.New(quic.Config{}), network.Discovery(), n.libraries},
		})
		require.NoError(t, err)
		t.Cleanup(func() { n.Shutdown(context.Background()) })
		return n
	}
	here, there := start(), start()
	theirs, err := there.libraries.Found("", library.RecoveryKey{})
	require.NoError(t, err)
	theirs.Handle("serve", func(_ context.Context, c *tunnel.Conn) error { return serve(c) })
	r, instance := theirs.Record(), identity.New()
	first, err := r.First(here.id, instance)
	require.NoError(t, err)
	_, err = theirs.Admit(first, library.RoleMember, "", library.RecoveryKey{})
	require.NoError(t, err)
	lib, err := here.libraries.Add(theirs.Record(), instance)
	require.NoError(t, err)
	var peer *p2p.Peer
	for p := range here.Available(t.Context()) {
		peer = p
		break
	}
	open := func(s net.Conn, err error) net.Conn {
		require.NoError(t, err)
		return s
	}
	bare = func() net.Conn { s, err := peer.Open(t.Context(), "serve"); return open(s, err) }
	inTunnel = func() net.Conn {
		s, err := lib.Open(t.Context(), theirs.Instance(), "serve")
		return open(s, err)
	}
	return bare, inTunnel
}

const large = 1 << 30 // in bytes

// BenchmarkLarge moves one file of 1 GiB over a QUIC stream on loopback, bare
// and in a tunnel: copied through the stream and discarded, copied from file to
// file, and sent. Both ends are on this machine.
func BenchmarkLarge(b *testing.B) {
	source := put(b, filepath.Join(b.TempDir(), "large"), nil, 0o600)
	f, err := os.OpenFile(source, os.O_WRONLY, 0)
	require.NoError(b, err)
	chunk := random(1<<20, 1)
	for range large / len(chunk) {
		_, err := f.Write(chunk)
		require.NoError(b, err)
	}
	require.NoError(b, f.Sync())
	require.NoError(b, f.Close())
	dir := b.TempDir()
	served := make(chan error, 1)
	way := "stream"
	bare, inTunnel := nodes(b, func(s net.Conn) (err error) {
		defer func() { served <- err }()
		os.RemoveAll(filepath.Join(dir, "large"))
		switch way {
		case "stream":
			_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{s}, make([]byte, 256<<10))
		case "file":
			var to *os.File
			if to, err = os.Create(filepath.Join(dir, "large")); err == nil {
				defer to.Close()
				_, err = io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{s}, make([]byte, 256<<10))
			}
		case "block":
			var root *os.Root
			if root, err = os.OpenRoot(dir); err == nil {
				defer root.Close()
				_, err = block.Receive(context.Background(), s, nil, root, block.ReceiveOptions{From: "a"})
			}
		}
		return err
	})
	opens := map[string]func() net.Conn{"bare": bare, "tunnel": inTunnel}
	for _, over := range []string{"bare", "tunnel"} {
		for _, how := range []string{"stream", "file", "block"} {
			b.Run(over+"/"+how, func(b *testing.B) {
				way = how
				b.SetBytes(large)
				for b.Loop() {
					s := opens[over]()
					if how == "block" {
						_, err := block.Send(b.Context(), s, block.Paths(source), block.SendOptions{})
						require.NoError(b, err)
					} else {
						f, err := os.Open(source)
						require.NoError(b, err)
						_, err = io.CopyBuffer(struct{ io.Writer }{s}, struct{ io.Reader }{f}, make([]byte, 256<<10))
						require.NoError(b, err)
						f.Close()
						require.NoError(b, s.(interface{ CloseWrite() error }).CloseWrite())
					}
					require.NoError(b, <-served)
					s.Close()
				}
			})
		}
	}
}

// BenchmarkMemory measures the most memory that the transfer of a large file
// takes, on both sides together: memory in use or not yet collected.
func BenchmarkMemory(b *testing.B) {
	for _, size := range []int64{64 << 20, 1 << 30} {
		b.Run(fmt.Sprintf("%d MiB", size>>20), func(b *testing.B) {
			for b.Loop() {
				here, there := pair(b)
				dir := b.TempDir()
				source := block.Source{Name: "zeros", Reader: zeros{}, Size: size}
				stop, peak := make(chan struct{}), uint64(0)
				var watch sync.WaitGroup
				var before, now runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				watch.Go(func() {
					for {
						select {
						case <-stop:
							return
						case <-time.After(5 * time.Millisecond):
							runtime.ReadMemStats(&now)
							peak = max(peak, now.HeapInuse-min(now.HeapInuse, before.HeapInuse))
						}
					}
				})
				sent, received := move(b, here, there, []block.Source{source}, nil, dir, block.ReceiveOptions{})
				close(stop)
				watch.Wait()
				require.NoError(b, sent.err)
				require.NoError(b, received.err)
				b.ReportMetric(float64(peak)/(1<<20), "MiB")
			}
		})
	}
}

type zeros struct{}

func (zeros) ReadAt(b []byte, _ int64) (int, error) { clear(b); return len(b), nil }

// BenchmarkSmall moves 10,000 files of 4 KiB: in one offer, and like the
// ancestor, on a stream each, with an acknowledgement after each block.
func BenchmarkSmall(b *testing.B) {
	const files = 10_000
	content := random(4<<10, 1)
	source := b.TempDir()
	for i := range files {
		put(b, filepath.Join(source, fmt.Sprint(i%100), fmt.Sprint(i)), content, 0o644)
	}
	dir, n, way := b.TempDir(), 0, ""
	served := make(chan error, 1)
	bare, _ := nodes(b, func(s net.Conn) (err error) {
		if way == "block" {
			root, err := os.OpenRoot(dir)
			if err == nil {
				defer root.Close()
				_, err = block.Receive(context.Background(), s, nil, root, block.ReceiveOptions{From: "a"})
			}
			served <- err
			return err
		}
		got := make([]byte, len(content))
		if _, err := io.ReadFull(s, got); err != nil {
			return err
		}
		n++
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(n)), got, 0o644); err != nil {
			return err
		}
		_, err = s.Write([]byte{0})
		return err
	})
	for _, how := range []string{"streams", "block"} {
		b.Run(how, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				dir, way = b.TempDir(), how
				b.StartTimer()
				if how == "block" {
					s := bare()
					r, err := block.Send(b.Context(), s, []block.Source{{Name: "files", FS: os.DirFS(source), Path: "."}}, block.SendOptions{})
					require.NoError(b, err)
					require.Equal(b, files, r.Files)
					require.NoError(b, <-served)
					s.Close()
					continue
				}
				for i := range files {
					read, err := os.ReadFile(filepath.Join(source, fmt.Sprint(i%100), fmt.Sprint(i)))
					require.NoError(b, err)
					s := bare()
					_, err = io.Copy(s, bytes.NewReader(read))
					require.NoError(b, err)
					_, err = io.ReadFull(s, make([]byte, 1))
					require.NoError(b, err)
					s.Close()
				}
			}
			b.ReportMetric(files/b.Elapsed().Seconds()*float64(b.N), "files/s")
		})
	}
}
