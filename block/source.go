package block

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"time"

	"github.com/zeebo/blake3"

	"github.com/sdp2p/p2p/proto"
)

// maxUnsized is the maximum size, in bytes, of a file that the system reports
// as empty although it is not. Such a file is read twice.
const maxUnsized = 1 << 30

// A Source is a file or a folder to send: a path ([Path], [Paths]), a part of
// an [fs.FS], or a reader.
//
// Files are read while they are sent, some parts more than once: after an
// interruption, and to repair a chunk. A file whose size or time of
// modification changes between the offer and its last byte fails with
// [ErrChanged].
type Source struct {
	// Name is its name at the receiver: one component of a path. If several
	// sources have the same name, later ones get another: "a (2).txt".
	Name string
	// ID identifies the file to the receiver, in this and later attempts,
	// whatever its name or content is; the ID of a folder is part of the IDs of
	// its files. If zero, it is derived from Name.
	ID [16]byte

	// FS and Path lead to the file or folder. Folders are sent with everything
	// in them except symbolic links and special files.
	FS   fs.FS
	Path string

	// Reader, if FS is nil, is the file: Size bytes, last modified at ModTime.
	// ReadAt is called by one goroutine at a time, and may still be running
	// when Send has returned because its context ended.
	Reader  io.ReaderAt
	Size    int64
	ModTime time.Time

	err   error
	ids   *blake3.Hasher  // for newEntry; shared by all sources of a sender
	empty map[string]bool // files that the system reports as empty although they are not
}

func newIDs() *blake3.Hasher { return blake3.NewDeriveKey("sdp2p block 1 id") }

// Path returns the source for a file or a folder on disk. A symbolic link is
// followed if it is path itself. A path that leads nowhere is left out by Send.
func Path(path string) Source {
	abs, err := filepath.Abs(path)
	if err != nil {
		return Source{Name: filepath.Base(path), err: err}
	}
	target, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return Source{Name: filepath.Base(abs), err: err}
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

// newEntry returns the entry of a file or a folder of s; rest is its path below
// the source's, with a leading slash, or empty.
func (s *Source) newEntry(rest string, mode fs.FileMode, size int64, modTime time.Time) entry {
	e := entry{
		kind: kindFile, path: s.Name + rest, size: size, stored: size, mode: uint16(mode.Perm()),
		seconds: modTime.Unix(), nanos: uint32(modTime.Nanosecond()),
	}
	switch {
	case mode.IsDir():
		e.kind, e.size, e.stored = kindFolder, 0, 0
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

// walk calls visit for the source and everything in it, folders before their
// content, and leaveOut for entries that cannot be sent. It ends with the first
// error of either.
func (s *Source) walk(ctx context.Context, visit func(entry) error, leaveOut func(path string, err error) error) error {
	if s.err != nil {
		return leaveOut(s.Name, fmt.Errorf("%w: %w", ErrRead, s.err))
	}
	if err := checkName(s.Name); err != nil {
		return leaveOut(s.Name, err)
	}
	if s.FS == nil {
		if s.Reader == nil || s.Size < 0 {
			return leaveOut(s.Name, fmt.Errorf("%w: the source has no content or a negative size", ErrRead))
		}
		return visit(s.newEntry("", 0o666, s.Size, s.ModTime))
	}
	at := path.Clean(s.Path)
	return fs.WalkDir(tree(s.FS), at, func(p string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
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
		if err != nil {
			return leaveOut(s.Name+rest, fmt.Errorf("%w: %w", ErrRead, err))
		}
		e, err := s.entryOf(ctx, rest, info)
		switch {
		case err == nil:
			return visit(e)
		case !info.IsDir():
			return leaveOut(s.Name+rest, err)
		}
		if err := leaveOut(s.Name+rest, err); err != nil {
			return err
		}
		return fs.SkipDir
	})
}

// entryOf returns the entry at a path, or an error if it cannot be sent.
func (s *Source) entryOf(ctx context.Context, rest string, info fs.FileInfo) (e entry, err error) {
	if !info.IsDir() && !info.Mode().IsRegular() {
		return e, ErrIrregular
	}
	if err := checkPath(s.Name + rest); err != nil {
		return e, err
	}
	e = s.newEntry(rest, info.Mode(), info.Size(), info.ModTime())
	if e.kind == kindFile {
		err = s.measure(ctx, &e, info)
	}
	return e, err
}

// measure sets the size of a file and how much of it is stored. It reads a file
// that the system reports as empty, since the system may be wrong.
func (s *Source) measure(ctx context.Context, e *entry, info fs.FileInfo) error {
	if stored, ok := storedBytes(info); ok {
		e.stored = min(e.size, stored)
	}
	if e.size > 0 {
		return nil
	}
	c, err := s.open(*e)
	if err != nil {
		return err
	}
	defer func() { c.close() }()
	b := make([]byte, 4<<10)
	for {
		n, err := c.readSome(b, e.size)
		switch e.size += int64(n); {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == io.EOF || n == 0 && err == nil:
			e.stored = e.size
			if e.size > 0 {
				if s.empty == nil {
					s.empty = map[string]bool{}
				}
				s.empty[e.path] = true
			}
			return nil
		case err != nil:
			return fmt.Errorf("%w: %w", ErrRead, err)
		case e.size > maxUnsized:
			return fmt.Errorf("%w: the system says that it is empty, and it has more than %d bytes", ErrRead, maxUnsized)
		}
		if len(b) < piece {
			b = make([]byte, piece)
		}
	}
}

// A content is an open file of a source.
type content struct {
	source *Source
	entry  entry
	file   opened // nil if the source is a reader
	at     io.ReaderAt
	pos    int64 // position in file, which has to be read in order if at is nil
	extent extent
}

// open opens the file that e describes, and checks that it is unchanged since
// the offer.
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
	if err := c.unchanged(); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// check checks, after the last byte, that the file is unchanged since the offer
// and has not grown.
func (c *content) check() error {
	if c.file == nil {
		return nil
	}
	if n, err := c.readSome(make([]byte, 1), c.entry.size); n > 0 {
		return ErrChanged
	} else if err != nil && err != io.EOF {
		return fmt.Errorf("%w: %w", ErrRead, err)
	}
	return c.unchanged()
}

// unsized reports whether the system reports the file as empty although it is
// not.
func (c *content) unsized() bool { return c.source != nil && c.source.empty[c.entry.path] }

// unchanged checks that the metadata of the file is that of the offer.
func (c *content) unchanged() error {
	if c.file == nil {
		return nil
	}
	info, err := c.file.Stat()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRead, err)
	}
	want := c.entry.size
	if c.unsized() {
		want = 0
	}
	if !info.Mode().IsRegular() || info.Size() != want || !info.ModTime().Equal(c.entry.modTime()) {
		return ErrChanged
	}
	return nil
}

// read fills p with the bytes at offset.
func (c *content) read(p []byte, offset int64) error {
	n, err := c.readSome(p, offset)
	switch {
	case n == len(p):
		return nil
	case err == nil || err == io.EOF: // the file has become shorter
		return ErrChanged
	case errors.Is(err, ErrChanged):
		return err
	}
	return fmt.Errorf("%w: %w", ErrRead, err)
}

// readWhole fills p with the whole file. It fails if the file is longer; p must
// have the capacity for one more byte.
func (c *content) readWhole(p []byte) error {
	if c.file == nil {
		return c.read(p, 0)
	}
	n, err := c.readSome(p[:len(p)+1], 0)
	switch {
	case err != nil && err != io.EOF && !errors.Is(err, ErrChanged):
		return fmt.Errorf("%w: %w", ErrRead, err)
	case n != len(p):
		return ErrChanged
	}
	return c.unchanged()
}

// readSome reads bytes at offset. If there are fewer than len(p), the error is
// io.EOF.
func (c *content) readSome(p []byte, offset int64) (n int, err error) {
	if c.at != nil {
		return c.at.ReadAt(p, offset)
	}
	if err = c.seek(offset); err == nil {
		n, err = io.ReadFull(c.file.(io.Reader), p)
		c.pos += int64(n)
	}
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	return n, err
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

// An extent is a range of a file, from start to end, that is either data or a
// hole.
type extent struct {
	start, end int64
	hole       bool
	none       bool // holes are unknown, or there are none
}

// storedBytes returns how many bytes of a file are not holes, and whether the
// system reports that.
func storedBytes(info fs.FileInfo) (int64, bool) {
	if d, ok := info.(interface{ storedBytes() int64 }); ok {
		return d.storedBytes(), true
	}
	return systemStored(info.Sys())
}
