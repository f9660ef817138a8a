package block

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"time"

	"github.com/sdp2p/p2p/proto"
	"github.com/zeebo/blake3"
)

// A Source is a file or a folder to send: a path ([Path], [Paths]), a part of an [fs.FS], or a reader.
//
// Files are read while they are sent, some parts more than once: after an interruption, and to repair a chunk. A file of
// which size or time of modification change between the offer and its last byte fails with [ErrChanged].
type Source struct {
	// Name is what the receiver is to call it: one component of a path. Of sources with the same name, later ones get
	// another: "a (2).txt".
	Name string
	// ID names the file to the receiver, in this and later attempts, whatever its name or content is; of a folder, it takes
	// part in the IDs of the files in it. If zero, it is derived from Name.
	ID [16]byte

	// FS and Path lead to the file or folder. Folders are sent with all that is in them but symbolic links and special files.
	FS   fs.FS
	Path string

	// Reader, if FS is nil, is the file: Size bytes, last modified at ModTime. ReadAt is called by one goroutine at a time.
	Reader  io.ReaderAt
	Size    int64
	ModTime time.Time

	err error
	ids *blake3.Hasher // for newEntry; of all sources of a sender
}

func newIDs() *blake3.Hasher { return blake3.NewDeriveKey("sdp2p block 1 id") }

// Path returns the source for a file or a folder on disk. A symbolic link is followed if it is path itself. An error is
// returned by Send.
func Path(path string) Source {
	abs, err := filepath.Abs(path)
	if err != nil {
		return Source{err: err}
	}
	target, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return Source{err: err}
	}
	dir, base := filepath.Split(target)
	return Source{Name: filepath.Base(abs), FS: newDisk(dir), Path: base}
}

// Paths returns a source for each path.
func Paths(paths ...string) []Source {
	all := make([]Source, len(paths))
	for i, p := range paths {
		all[i] = Path(p)
	}
	return all
}

// newEntry describes a file or a folder of s; rest is its path below the source's, with a leading slash, or empty.
func (s *Source) newEntry(rest string, mode fs.FileMode, size int64, modTime time.Time) entry {
	e := entry{
		kind: kindFile, path: s.Name + rest, size: size, mode: uint16(mode.Perm()),
		seconds: modTime.Unix(), nanos: uint32(modTime.Nanosecond()),
	}
	switch {
	case mode.IsDir():
		e.kind, e.size = kindFolder, 0
	case s.ID != [16]byte{} && rest == "":
		e.id = s.ID
	default:
		h := s.ids
		h.Reset()
		h.Write(s.ID[:])
		h.WriteString(e.path)
		h.Digest().Read(e.id[:])
	}
	return e
}

// walk calls visit for the source and all that is in it, folders before what is in them, and skip for what cannot be sent.
func (s *Source) walk(visit func(entry) error, skip func(path string, err error)) error {
	if s.err != nil {
		return fmt.Errorf("%w: %w", ErrRead, s.err)
	}
	if err := checkName(s.Name, false); err != nil {
		return fmt.Errorf("%q: %w", s.Name, err)
	}
	if s.FS == nil {
		if s.Reader == nil || s.Size < 0 {
			return fmt.Errorf("block: the source %q has no content or a negative size", s.Name)
		}
		return visit(s.newEntry("", 0o666, s.Size, s.ModTime))
	}
	at := path.Clean(s.Path)
	return fs.WalkDir(tree(s.FS), at, func(p string, d fs.DirEntry, err error) error {
		rest := ""
		if at == "." && p != "." {
			rest = "/" + p
		} else if p != at {
			rest = p[len(at):]
		}
		var info fs.FileInfo
		if err == nil {
			info, err = d.Info()
		}
		switch {
		case err != nil && rest == "":
			return fmt.Errorf("%w: %w", ErrRead, err)
		case err != nil:
			skip(s.Name+rest, fmt.Errorf("%w: %w", ErrRead, err))
			return nil
		case !info.IsDir() && !info.Mode().IsRegular():
			skip(s.Name+rest, ErrIrregular)
			return nil
		}
		if err := checkPath(s.Name+rest, false); err != nil {
			skip(s.Name+rest, err)
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		return visit(s.newEntry(rest, info.Mode(), info.Size(), info.ModTime()))
	})
}

// A content is an open file of a source.
type content struct {
	source *Source
	entry  entry
	file   opened // nil if the source is a reader
	at     io.ReaderAt
	pos    int64 // of file, which has to be read in order if at is nil
}

// An opened is an [fs.File]; one without Read is an [io.ReaderAt].
type opened interface {
	Stat() (fs.FileInfo, error)
	Close() error
}

// open opens the file that e describes, and checks that it is still what was offered.
func (s *Source) open(e entry) (*content, error) {
	c := &content{source: s, entry: e, at: s.Reader}
	if s.FS == nil {
		return c, nil
	}
	var err error
	if c.file, err = openFile(s.FS, path.Join(s.Path, e.path[len(s.Name):])); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRead, err)
	}
	c.at, _ = c.file.(io.ReaderAt)
	if err := c.check(); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// check checks that the file is still what was offered.
func (c *content) check() error {
	if c.file == nil {
		return nil
	}
	info, err := c.file.Stat()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRead, err)
	}
	if !info.Mode().IsRegular() || info.Size() != c.entry.size || !info.ModTime().Equal(c.entry.modTime()) {
		return ErrChanged
	}
	return nil
}

// read fills p with the bytes at offset.
func (c *content) read(p []byte, offset int64) error {
	var n int
	var err error
	if c.at != nil {
		n, err = c.at.ReadAt(p, offset)
	} else {
		if err = c.seek(offset); err == nil {
			n, err = io.ReadFull(c.file.(io.Reader), p)
			c.pos += int64(n)
		}
	}
	switch {
	case n == len(p):
		return nil
	case err == nil || err == io.EOF || err == io.ErrUnexpectedEOF: // it has become shorter
		return ErrChanged
	case errors.Is(err, ErrChanged):
		return err
	}
	return fmt.Errorf("%w: %w", ErrRead, err)
}

// seek makes offset the next byte of a file that can only be read in order.
func (c *content) seek(offset int64) error {
	if offset < c.pos {
		again, err := c.source.open(c.entry)
		if err != nil {
			return err
		}
		c.close()
		*c = *again
	}
	n, err := io.CopyN(io.Discard, c.file.(io.Reader), offset-c.pos)
	c.pos += n
	return err
}

func (c *content) close() {
	if c.file != nil {
		c.file.Close()
	}
}

// offerID returns the ID of an offer of these sources.
func offerID(sources []Source) (id [16]byte) {
	h := blake3.NewDeriveKey("sdp2p block 1 offer")
	for i := range sources {
		h.Write(sources[i].ID[:])
		b, _ := proto.AppendString(nil, sources[i].Name)
		h.Write(b)
	}
	h.Digest().Read(id[:])
	return id
}
