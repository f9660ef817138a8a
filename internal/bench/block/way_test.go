package block

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// contents returns the hashes of all files in a folder and below, in order.
func contents(t *testing.T, dir string) []string {
	var all []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		h := sha256.New()
		_, err = io.Copy(h, f)
		all = append(all, fmt.Sprintf("%x", h.Sum(nil)))
		return err
	}))
	slices.Sort(all)
	return all
}

// Each contender moves all files, bare and in a tunnel, and once more.
func TestWays(t *testing.T) {
	dir := t.TempDir()
	p, err := newPair(t.Context(), dir, 0)
	require.NoError(t, err)
	defer p.close()
	one, many := filepath.Join(dir, "one"), filepath.Join(dir, "many")
	require.NoError(t, os.Mkdir(one, 0o700))
	one = filepath.Join(one, "file")
	require.NoError(t, write(one, 3*buffer+ancestor+1))
	require.NoError(t, writeMany(many, 2*openers+1, smallSize))
	for name, w := range map[string]way{"block": blocks, "copy": copied, "hash": hashed, "waiting": waiting, "hasty": hasty, "synced": synced} {
		for from, want := range map[string][]string{one: contents(t, filepath.Dir(one)), many: contents(t, many)} {
			if from == many && (w.route == copied.route || w.route == hashed.route) {
				continue
			}
			for at, open := range map[string]opener{"bare": p.bare(w), "tunnel": p.tunneled(w)} {
				c := p.contender(t.Context(), name, w, open, from)
				for range 2 {
					require.NoError(t, c.Before())
					require.Empty(t, contents(t, p.to))
					took, err := c.Run(1)
					require.NoError(t, err, "%s, %s", name, at)
					require.Positive(t, took)
					require.Equal(t, want, contents(t, p.to), "%s, %s, %s", name, at, filepath.Base(from))
				}
			}
		}
	}
	require.NoError(t, p.empty())
	require.NoError(t, discarded.send(t.Context(), p.bare(discarded), one))
	p.settle()
	require.Empty(t, contents(t, p.to))
}

// A way fails if its other end fails or if it is canceled.
func TestFailures(t *testing.T) {
	dir := t.TempDir()
	p, err := newPair(t.Context(), dir, 0)
	require.NoError(t, err)
	defer p.close()
	from := filepath.Join(dir, "file")
	require.NoError(t, write(from, 3*buffer))
	require.NoError(t, os.Remove(p.to))
	for _, w := range []way{blocks, copied, hashed, waiting, hasty, synced} {
		require.Error(t, w.send(t.Context(), p.bare(w), from), w.route)
		require.Error(t, w.send(t.Context(), p.bare(w), filepath.Join(dir, "none")), w.route)
	}
	require.NoError(t, p.empty())
	for _, name := range []string{"", "..", "a/b", "../x", strings.Repeat("x", maxName+1)} {
		s, err := p.bare(waiting)(t.Context())
		require.NoError(t, err)
		header := append([]byte{byte(len(name) >> 8), byte(len(name))}, name...)
		_, err = s.Write(append(header, 0, 0, 0, 0, 0, 0, 0, 1, 'x'))
		require.NoError(t, err)
		_, err = io.ReadFull(s, make([]byte, 1))
		require.Error(t, err, name)
		s.Close()
	}
	require.Empty(t, contents(t, p.to))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, w := range []way{blocks, copied, waiting} {
		require.Error(t, w.send(ctx, func(context.Context) (stream, error) { return p.bare(w)(t.Context()) }, from), w.route)
	}
}

// The ancestor's way has a block acknowledged before it sends the next one.
func TestWaiting(t *testing.T) {
	from := filepath.Join(t.TempDir(), "file")
	require.NoError(t, write(from, 2*ancestor+1))
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		done := make(chan error, 1)
		go func() { done <- sendFile(half{here}, from, make([]byte, ancestor+maxName+10)) }()
		for _, n := range []int{2 + len("file") + 8 + ancestor, ancestor, 1} {
			_, err := io.ReadFull(there, make([]byte, n))
			require.NoError(t, err)
			require.NoError(t, there.SetReadDeadline(time.Now().Add(time.Hour)))
			_, err = there.Read(make([]byte, 1))
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			require.NoError(t, there.SetReadDeadline(time.Time{}))
			_, err = there.Write([]byte{0})
			require.NoError(t, err)
		}
		require.NoError(t, <-done)
	})
}

type half struct{ net.Conn }

func (half) CloseWrite() error { return nil }
