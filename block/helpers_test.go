package block_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/block"
)

// pair returns both ends of a stream over the loopback interface.
func pair(t testing.TB) (net.Conn, net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	b, err := l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// A side is the result of one side of a transfer.
type side struct {
	block.Result
	err error
}

// move sends sources over a stream, and returns the results of both sides.
func move(t testing.TB, a, b net.Conn, sources []block.Source, decide func(context.Context, *block.Offer) error, dir string, opts block.ReceiveOptions) (sent, received side) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		sent.Result, sent.err = block.Send(t.Context(), a, sources, block.SendOptions{})
		a.Close()
	}()
	received.Result, received.err = block.Receive(t.Context(), b, decide, open(t, dir), opts)
	b.Close()
	<-done
	return sent, received
}

func open(t testing.TB, dir string) *os.Root {
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	t.Cleanup(func() { root.Close() })
	return root
}

func random(n int, seed uint64) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(n)}).Read(b)
	return b
}

func put(t testing.TB, path string, content []byte, mode fs.FileMode) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, content, 0o600))
	require.NoError(t, os.Chmod(path, mode))
	return path
}

// tree returns everything in a folder.
func tree(t testing.TB, dir string) map[string]string {
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch all[rel] = info.Mode().Type().String(); {
		case info.Mode().IsRegular():
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			all[rel] = string(content)
		}
		return nil
	})
	require.NoError(t, err)
	return all
}

func source(name string, content []byte) block.Source {
	return block.Source{Name: name, Reader: bytes.NewReader(content), Size: int64(len(content))}
}

// same compares two files.
func same(a, b string) error {
	f, err := os.Open(a)
	if err != nil {
		return err
	}
	defer f.Close()
	g, err := os.Open(b)
	if err != nil {
		return err
	}
	defer g.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size := int(min(info.Size()+1, 1<<20))
	r, s := bufio.NewReaderSize(f, size), bufio.NewReaderSize(g, size)
	for {
		x, err := r.Peek(size)
		y, err2 := s.Peek(size)
		if string(x) != string(y) {
			return fmt.Errorf("%s is not %s", a, b)
		}
		if err != nil || err2 != nil {
			return nil
		}
		r.Discard(len(x))
		s.Discard(len(y))
	}
}

// setting returns a number from the environment.
func setting(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// A mangler is a stream that changes what is written to it.
type mangler struct {
	net.Conn
	change func(b []byte, offset int64) error // an error breaks the stream
	offset int64
}

func (m *mangler) Write(b []byte) (int, error) {
	b = bytes.Clone(b)
	if err := m.change(b, m.offset); err != nil {
		// Closing a TCP connection with unread data would also discard the data
		// that has just arrived at the other side: so it is closed once all of
		// that was read.
		m.Conn.(interface{ CloseWrite() error }).CloseWrite()
		io.Copy(io.Discard, m.Conn)
		m.Conn.Close()
		return 0, err
	}
	m.offset += int64(len(b))
	return m.Conn.Write(b)
}

// marked returns content with 4 KiB of marks in each of the given chunks. See
// spoil.
func marked(size int, at ...int) []byte {
	b := random(size, 3)
	for _, chunk := range at {
		copy(b[chunk*(128<<10)+50_000:], bytes.Repeat([]byte("mark"), 1000))
	}
	return b
}

func spoil(times int) func([]byte, int64) error {
	return func(b []byte, _ int64) error {
		if i := bytes.Index(b, []byte("markmarkmark")); i >= 0 && times > 0 {
			times--
			b[i] ^= 1
		}
		return nil
	}
}

type writerAt []byte

func (w writerAt) WriteAt(b []byte, at int64) (int, error) { return copy(w[at:], b), nil }
