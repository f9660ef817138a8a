package block

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/zeebo/blake3"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/block"
	"github.com/sdp2p/p2p/tunnel"
)

// A stream is a *p2p.Stream or a *tunnel.Conn.
type stream interface {
	net.Conn
	CloseWrite() error
}

// An opener opens a stream to anyone who serves a way.
type opener func(context.Context) (stream, error)

// A way is one of moving a file, or the files in a folder, into a folder at the
// other end.
type way struct {
	route   string                                                     // that receive serves
	send    func(ctx context.Context, open opener, from string) error  // returns once all has arrived
	receive func(ctx context.Context, s stream, to string) (err error) // anyone who calls it closes the stream
}

var (
	blocks    = way{"block", sendBlock, receiveBlock}
	copied    = way{"copy", sendCopy, receiveCopy}
	hashed    = way{"hash", sendHashed, receiveHashed}
	discarded = way{"discard", sendCopy, discard}                        // and not moved
	waiting   = way{"wait", sendWaiting(1), receiveWaiting(false)}       // the ancestor's
	hasty     = way{"wait", sendWaiting(openers), receiveWaiting(false)} // several files at a time
	synced    = way{"synced", sendWaiting(1), receiveWaiting(true)}      // with an fsync of each file

	served = []way{blocks, copied, hashed, discarded, waiting, synced, again}
)

const (
	buffer      = 256 << 10 // bytes, of a copy
	ancestor    = 128 << 10 // bytes, of its blocks
	openers     = 16
	maxName     = 255
	acknowledge = 1
)

// over opens a stream for talk, and resets it if that fails. When ctx ends,
// what waits for an answer fails.
func over(ctx context.Context, open opener, talk func(stream) error) error {
	s, err := open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	defer expire(ctx, s)()
	if err = talk(s); err != nil {
		reset(s, err)
	}
	return err
}

// reset ends a stream so that it does not look as if all had been sent.
func reset(s stream, reason error) {
	switch s := s.(type) {
	case *p2p.Stream:
		s.Reset(p2p.FirstAppCode)
	case *tunnel.Conn:
		s.Abort(reason)
	}
}

// expire has reads and writes fail when ctx ends.
func expire(ctx context.Context, s stream) (stop func() bool) {
	return context.AfterFunc(ctx, func() { s.SetDeadline(time.Unix(1, 0)) })
}

func sendBlock(ctx context.Context, open opener, from string) error {
	return over(ctx, open, func(s stream) error {
		_, err := block.Send(ctx, s, block.Paths(from), block.SendOptions{})
		return err
	})
}

func receiveBlock(ctx context.Context, s stream, to string) error {
	root, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer root.Close()
	_, err = block.Receive(ctx, s, nil, root, block.ReceiveOptions{From: "bench"})
	return err
}

// copyAll is io.Copy without what it finds out about files.
func copyAll(to io.Writer, from io.Reader) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, make([]byte, buffer))
	return err
}

func sendCopy(ctx context.Context, open opener, from string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	return over(ctx, open, func(s stream) error {
		if err := copyAll(s, f); err != nil {
			return err
		}
		if err := s.CloseWrite(); err != nil {
			return err
		}
		if n, err := s.Read(make([]byte, 1)); n > 0 || err != io.EOF {
			return fmt.Errorf("instead of the end: %d bytes, %w", n, err)
		}
		return nil
	})
}

func receiveCopy(_ context.Context, s stream, to string) error {
	f, err := os.Create(filepath.Join(to, "copy"))
	if err != nil {
		return err
	}
	defer f.Close()
	return copyAll(f, s)
}

var errHash = errors.New("what arrived is not what was sent")

// sendHashed is sendCopy with a BLAKE3 of everything at both ends, which the
// receiver tells.
func sendHashed(ctx context.Context, open opener, from string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	return over(ctx, open, func(s stream) error {
		h := blake3.New()
		if err := copyAll(io.MultiWriter(h, s), f); err != nil {
			return err
		}
		if err := s.CloseWrite(); err != nil {
			return err
		}
		there, err := io.ReadAll(s)
		if err == nil && !bytes.Equal(there, h.Sum(nil)) {
			err = errHash
		}
		return err
	})
}

func receiveHashed(_ context.Context, s stream, to string) error {
	f, err := os.Create(filepath.Join(to, "copy"))
	if err != nil {
		return err
	}
	defer f.Close()
	h := blake3.New()
	if err := copyAll(io.MultiWriter(h, f), s); err != nil {
		return err
	}
	_, err = s.Write(h.Sum(nil))
	return err
}

func discard(_ context.Context, s stream, _ string) error { return copyAll(io.Discard, s) }

// sendWaiting sends each file on a stream of its own, some at a time: the
// length of its name (2 bytes), the name, its size (8 bytes), and its blocks,
// of which each is followed by a byte of the receiver. No file is empty.
func sendWaiting(atOnce int) func(context.Context, opener, string) error {
	return func(ctx context.Context, open opener, from string) error {
		files, err := filesIn(from)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		var senders sync.WaitGroup
		for i := range atOnce {
			senders.Go(func() {
				buf := make([]byte, ancestor+maxName+10)
				for j := i; j < len(files) && ctx.Err() == nil; j += atOnce {
					err := over(ctx, open, func(s stream) error { return sendFile(s, files[j], buf) })
					if err != nil {
						cancel(err)
					}
				}
			})
		}
		senders.Wait()
		return context.Cause(ctx)
	}
}

// filesIn returns the paths of the files in a folder, or of the file that it
// is.
func filesIn(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return []string{path}, err
	}
	all, err := os.ReadDir(path)
	files := make([]string, len(all))
	for i, e := range all {
		files[i] = filepath.Join(path, e.Name())
	}
	return files, err
}

func sendFile(s stream, path string, buf []byte) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	name := filepath.Base(path)
	out := binary.BigEndian.AppendUint16(buf[:0], uint16(len(name)))
	out = append(out, name...)
	out = binary.BigEndian.AppendUint64(out, uint64(info.Size()))
	for left := info.Size(); left > 0; out = buf[:0] { // the first block leaves with what is in front of it
		n := int(min(left, ancestor))
		from := len(out)
		out = out[:from+n]
		if _, err := io.ReadFull(f, out[from:]); err != nil {
			return err
		}
		if _, err := s.Write(out); err != nil {
			return err
		}
		if _, err := io.ReadFull(s, buf[:acknowledge]); err != nil {
			return err
		}
		left -= int64(n)
	}
	return nil
}

var errName = errors.New("a name that is none")

// readHead reads the name and the size of a file of an ancestor.
func readHead(s io.Reader) (name string, size int64, err error) {
	buf := make([]byte, maxName+8)
	if _, err := io.ReadFull(s, buf[:2]); err != nil {
		return "", 0, err
	}
	length := int(binary.BigEndian.Uint16(buf))
	if length > maxName {
		return "", 0, errName
	}
	if _, err := io.ReadFull(s, buf[:length+8]); err != nil {
		return "", 0, err
	}
	name, size = string(buf[:length]), int64(binary.BigEndian.Uint64(buf[length:]))
	if filepath.Base(name) != name || !filepath.IsLocal(name) {
		return "", 0, errName
	}
	return name, size, nil
}

// receiveWaiting receives one file of an ancestor, which it writes where it
// belongs.
func receiveWaiting(sync bool) func(context.Context, stream, string) error {
	return func(_ context.Context, s stream, to string) error {
		name, size, err := readHead(s)
		if err != nil {
			return err
		}
		f, err := os.Create(filepath.Join(to, name))
		if err != nil {
			return err
		}
		defer f.Close()
		buf := make([]byte, max(acknowledge, min(size, ancestor)))
		for left := size; left > 0; {
			b := buf[:min(left, ancestor)]
			if _, err := io.ReadFull(s, b); err != nil {
				return err
			}
			if _, err := f.Write(b); err != nil {
				return err
			}
			if left -= int64(len(b)); left == 0 && sync {
				if err := f.Sync(); err != nil {
					return err
				}
			}
			if _, err := s.Write(buf[:acknowledge]); err != nil {
				return err
			}
		}
		return nil
	}
}
