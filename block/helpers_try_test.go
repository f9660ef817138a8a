package block

import (
	"context"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// A try is one transfer over a pipe. Everything except the sources has a
// default.
type try struct {
	sources []Source
	decide  func(context.Context, *Offer) error
	dir     string
	send    SendOptions
	receive ReceiveOptions
	cut     func(written int64, b []byte) bool // reports whether the stream breaks before b
	ctx     context.Context                    // the receiver's context
}

// An outcome is the result of one side of a transfer.
type outcome struct {
	Result
	err error
}

// run runs both sides.
func (r try) run(t testing.TB) (sent, received outcome) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	root, err := os.OpenRoot(r.dir)
	require.NoError(t, err)
	defer root.Close()
	if r.ctx == nil {
		r.ctx = t.Context()
	}
	if r.receive.From == "" {
		r.receive.From = "sender"
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer a.Close()
		sent.Result, sent.err = Send(t.Context(), &cutter{Conn: a, cut: r.cut}, r.sources, r.send)
	}()
	received.Result, received.err = Receive(r.ctx, b, r.decide, root, r.receive)
	b.Close()
	<-ended
	return sent, received
}

// A cutter is a stream that breaks.
type cutter struct {
	net.Conn
	cut     func(int64, []byte) bool
	written int64
}

func (c *cutter) Write(b []byte) (int, error) {
	if c.cut != nil && c.cut(c.written, b) {
		c.Conn.Close()
		return 0, net.ErrClosed
	}
	c.written += int64(len(b))
	return c.Conn.Write(b)
}

// after breaks a stream after a number of bytes.
func after(limit int64) func(int64, []byte) bool {
	return func(written int64, b []byte) bool { return written+int64(len(b)) > limit }
}

// folderOf returns a folder with files of the given sizes, each with its own
// content.
func folderOf(sizes map[string]int) (Source, map[string]string) {
	files, want := fstest.MapFS{}, map[string]string{}
	for name, size := range sizes {
		content := strings.Repeat(name+".", size/(len(name)+1)+1)[:size]
		files[name] = &fstest.MapFile{Data: []byte(content), Mode: 0o644}
		want[name] = content
	}
	return Source{Name: "top", FS: files, Path: "."}, want
}

// contents returns the files in a folder.
func contents(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		b, err := os.ReadFile(path)
		all[rel] = string(b)
		return err
	})
	require.NoError(t, err)
	return all
}

// leftovers returns the names in the partial folder.
func leftovers(t testing.TB, dir string) (names []string) {
	t.Helper()
	all, err := os.ReadDir(filepath.Join(dir, partialDir))
	if !os.IsNotExist(err) {
		require.NoError(t, err)
	}
	for _, e := range all {
		names = append(names, e.Name())
	}
	return names
}

// failOnce returns faults that make one operation fail: the nth of its kind
// whose name contains part.
func failOnce(op, part string, nth int32, err error) func(string, string) error {
	var n atomic.Int32
	return func(o, name string) error {
		if o == op && strings.Contains(name, part) && n.Add(1) == nth {
			return err
		}
		return nil
	}
}

type zeroReader struct{}

func (zeroReader) ReadAt(b []byte, _ int64) (int, error) { clear(b); return len(b), nil }

// lacking returns faults that make operations fail which the file system does
// not support.
func lacking(err error, ops ...string) func(op, name string) error {
	return func(op, _ string) error {
		for _, o := range ops {
			if op == o {
				return err
			}
		}
		return nil
	}
}
