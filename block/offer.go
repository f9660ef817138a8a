package block

import (
	"bufio"
	"bytes"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"iter"
	"math"
	"os"
	"path"
	"runtime"
	"time"

	"github.com/sdp2p/p2p/proto"
)

const spoolAt = 1 << 20 // bytes of an offer that are kept in memory

// A spool keeps the entries of an offer, encoded: in memory at first, in a file when they are many.
type spool struct {
	count  int
	size   int64
	memory []byte
	file   *os.File // that has no name any more, where that is possible
}

// add adds an entry, or the end.
func (s *spool) add(e *entry) error {
	b, err := e.AppendBinary(s.memory)
	if err != nil {
		return err
	}
	s.size += int64(len(b) - len(s.memory))
	if s.memory = b; e.kind != kindOffered {
		s.count++
	}
	if s.count > MaxEntries || s.size > MaxOffer {
		return fmt.Errorf("%w: an offer may have %d entries and %d bytes", proto.ErrInvalid, MaxEntries, MaxOffer)
	}
	if len(s.memory) < spoolAt && (s.file == nil || e.kind != kindOffered) {
		return nil
	}
	if s.file == nil {
		if s.file, err = os.CreateTemp("", "sdp2p-block-"); err != nil {
			return writing(err)
		}
		os.Remove(s.file.Name())
	}
	_, err = s.file.Write(s.memory)
	s.memory = s.memory[:0]
	return writing(err)
}

// reader returns what was added, from the first entry on.
func (s *spool) reader() io.Reader {
	if s.file == nil {
		return bytes.NewReader(s.memory)
	}
	return io.NewSectionReader(s.file, 0, s.size)
}

func (s *spool) close() {
	if s.file != nil {
		s.file.Close()
		os.Remove(s.file.Name())
	}
}

// A cursor goes through the entries of a spool. More than one may.
type cursor struct {
	entry
	index int // of entry; -1 before the first
	d     *proto.Decoder
	r     *bufio.Reader
	err   error
}

func (s *spool) entries() *cursor {
	r := bufio.NewReaderSize(s.reader(), 32<<10)
	return &cursor{index: -1, r: r, d: proto.NewDecoder(r)}
}

// next moves to the next entry. It reports false at the end and after an error.
func (c *cursor) next() bool {
	c.d.Reset(c.r)
	if c.err = c.entry.DecodeFrom(c.d); c.err != nil || c.kind == kindOffered {
		return false
	}
	c.index++
	return true
}

// A File is a file or a folder of an offer, as the sender describes it. Nothing of it is verified.
type File struct {
	Index   int         // in the offer, from 0
	Path    string      // with slashes; a folder comes before what is in it
	Mode    fs.FileMode // permissions, and [fs.ModeDir]
	ModTime time.Time
	Size    int64    // in bytes; 0 of a folder
	ID      [16]byte // that the sender knows the file by; not of a folder
	Err     error    // why it cannot be received: it wraps [ErrName]. Whatever is decided, it is left out
}

func (e *entry) file(index int) File {
	f := File{Index: index, Path: e.path, Mode: fs.FileMode(e.mode), ModTime: e.modTime(), Size: e.size, ID: e.id}
	if e.kind == kindFolder {
		f.Mode |= fs.ModeDir
	}
	return f
}

// An Offer is what the sender wants to send. It is for the Decide function that it is given to, and only while that runs.
type Offer struct {
	Files, Folders int   // in all
	Bytes          int64 // of all files

	spool    spool
	verdicts []verdict
	parts    map[int]part
	trusted  bool
	seen     map[uint64]int32 // the index of what has this folded path; folders as -1-index
	seed     maphash.Seed
	err      error
	last     struct { // folder that wanted was asked about
		dir    string
		wanted bool
	}
}

// A part is what is wanted of a file.
type part struct {
	start, end int64
	to         io.WriterAt
}

func newOffer(trusted bool) *Offer {
	return &Offer{trusted: trusted, parts: map[int]part{}, seen: map[uint64]int32{}, seed: maphash.MakeSeed()}
}

// add adds an entry as it arrives, and decides what can be decided without the app.
func (o *Offer) add(e *entry) error {
	if err := o.spool.add(e); err != nil || e.kind == kindOffered {
		return err
	}
	if e.kind == kindFolder {
		o.Folders++
	} else if o.Files++; e.size > math.MaxInt64-o.Bytes {
		return fmt.Errorf("%w: more than 2^63 bytes are offered", proto.ErrInvalid)
	}
	o.Bytes += e.size
	v := verdictWhole
	if o.name(e, len(o.verdicts)) != nil {
		v = verdictName
	}
	o.verdicts = append(o.verdicts, v)
	return nil
}

// name checks the path of an entry, and remembers it: no other one may be taken for the same by a file system, and the
// folder must have been offered.
func (o *Offer) name(e *entry, index int) error {
	if err := checkPath(e.path, runtime.GOOS == "windows"); err != nil {
		return err
	}
	p := local(e.path, o.trusted)
	key := maphash.String(o.seed, fold(p))
	if other, ok := o.seen[key]; ok {
		if other == int32(index) || other == -1-int32(index) {
			return o.parent(p)
		}
		return fmt.Errorf("%w: another name of the offer may be taken for the same", ErrName)
	}
	if err := o.parent(p); err != nil {
		return err
	}
	if o.seen[key] = int32(index); e.kind == kindFolder {
		o.seen[key] = -1 - int32(index)
		o.seen[maphash.String(o.seed, "/"+p)] = int32(index) // as it is spelled; no path begins with a slash
	}
	return nil
}

// parent checks that the folder in which p lies was offered, in the same spelling.
func (o *Offer) parent(p string) error {
	if dir := path.Dir(p); dir != "." {
		if _, ok := o.seen[maphash.String(o.seed, "/"+dir)]; !ok {
			return fmt.Errorf("%w: the folder was not offered, or cannot be received", ErrName)
		}
	}
	return nil
}

// wanted returns what is wanted of an entry: nothing, if its folder is not.
func (o *Offer) wanted(e *entry, index int) verdict {
	v := o.verdicts[index]
	dir := path.Dir(e.path)
	if v != verdictWhole || dir == "." {
		return v
	}
	if dir != o.last.dir {
		folder, ok := o.seen[maphash.String(o.seed, "/"+local(dir, o.trusted))]
		o.last.dir, o.last.wanted = dir, ok && o.verdicts[folder] == verdictWhole
	}
	if !o.last.wanted {
		return verdictNo
	}
	return v
}

// All returns the offer's entries in their order. It may be called again.
func (o *Offer) All() iter.Seq[File] {
	return func(yield func(File) bool) {
		c := o.spool.entries()
		for c.next() {
			f := c.file(c.index)
			if o.verdicts[c.index] == verdictName {
				f.Err = o.name(&c.entry, c.index)
			}
			if !yield(f) {
				return
			}
		}
		if c.err != nil && o.err == nil {
			o.err = writing(c.err)
		}
	}
}

// Skip leaves out the entry with that index; of a folder, with all that is in it.
func (o *Offer) Skip(index int) { o.decide(index, verdictNo) }

func (o *Offer) decide(index int, v verdict) {
	if o.verdicts[index] != verdictName {
		o.verdicts[index] = v
	}
}

// Part asks for the bytes of a file from start up to, and without, end, which must lie in the file. They are written to to,
// from its offset 0 on, as they arrive: they are verified when Receive has returned without an error for the file. A part
// has no place in the destination and is not resumed.
func (o *Offer) Part(index int, start, end int64, to io.WriterAt) {
	o.decide(index, verdictPart)
	o.parts[index] = part{start, end, to}
}
