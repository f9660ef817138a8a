package block

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/sdp2p/p2p/proto"
)

// placed reports whether an earlier attempt has placed the file that e
// describes, and the file is still there. A complete file that was not placed
// counts as begun.
func (j *journal) placed(dest *os.Root, e *entry) (bool, error) {
	offset, ok := j.places[e.id]
	if !ok {
		return false, nil
	}
	delete(j.places, e.id) // another entry with this ID is another file
	p, there, err := j.check(dest, offset)
	if !there || p.entry.size != e.size || p.entry.seconds != e.seconds || p.entry.nanos != e.nanos {
		return false, err
	}
	delete(j.begun, e.id)
	return true, nil
}

// check reads the record of a place, and reports whether our file is there. If
// it is not, the record is withdrawn: once our data file is removed, nothing
// would distinguish our file from another one that is put there later.
func (j *journal) check(dest *os.Root, offset int64) (p place, there bool, err error) {
	_, content, err := readRecord(io.NewSectionReader(j.file, offset, recordSize+maxRecord))
	if err != nil {
		return p, false, err
	}
	if p = decodePlace(proto.NewDecoder(bytes.NewReader(content))); p.path == "" {
		return p, false, nil // it was withdrawn
	}
	data, err := j.dir.Lstat(j.data(p.number))
	ours := errors.Is(err, fs.ErrNotExist) // the data file was removed once the file had its name
	if err != nil && !ours {
		return p, false, err
	}
	if file, err := dest.Lstat(p.path); err == nil && file.Mode().IsRegular() {
		if !ours && os.SameFile(file, data) {
			ours = true
			j.abandon(p)
		}
		switch {
		case ours && file.Size() == p.entry.size && j.isPlaced(&p):
			return p, true, nil
		case !ours && p.hold && file.Size() == 0:
			dest.Remove(p.path)
		}
	}
	j.unsynced = true
	return p, false, j.place(place{number: p.number, entry: p.entry})
}

// abandon makes sure that nothing more is written to a data file that also has
// its final name, and so belongs to the user.
func (j *journal) abandon(p place) {
	j.dir.Remove(j.data(p.number))
	if b := j.begun[p.entry.id]; b != nil && b.number == p.number {
		delete(j.begun, p.entry.id)
	}
}

// settle withdraws records of places that no longer hold, among those that no
// offer has used, and then removes the data files of earlier attempts that are
// not in used.
func (j *journal) settle(ctx context.Context, dest *os.Root, used map[uint32]bool) error {
	for _, offset := range j.places {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, _, err := j.check(dest, offset); err != nil {
			return err
		}
	}
	if j.unsynced {
		if err := j.sync(); err != nil {
			return err
		}
	}
	j.sweep(func(number uint32) bool { return number < j.first && !used[number] })
	return nil
}

// claims returns the number of the data file that has chunks of e, and the
// hashes of at most limit of these, which it has read and hashed again.
func (j *journal) claims(ctx context.Context, e *entry, limit int) (uint32, []hash, error) {
	b := j.begun[e.id]
	if b == nil || blockSize(b.size) != blockSize(e.size) {
		return 0, nil, nil
	}
	delete(j.begun, e.id)
	f, err := j.vol.open(j.data(b.number))
	if err != nil {
		return 0, nil, nil // it starts over
	}
	defer f.Close()
	if !alone(f) {
		return 0, nil, nil // it has its final name, and the user has moved it
	}
	block := blockSize(e.size)
	hashes := b.hashes[:min(int64(len(b.hashes)), chunkCount(min(e.size, b.size), block), int64(limit))]
	for i := range hashes {
		if chunkSize(b.size, block, uint32(i)) != chunkSize(e.size, block, uint32(i)) {
			hashes = hashes[:i]
			break
		}
	}
	n, err := j.vol.verify(ctx, f, hashes, b.size)
	if err != nil && (ctx.Err() != nil || fatal(err)) {
		return 0, nil, err
	}
	return b.number, hashes[:n], nil // from the first unreadable chunk on, the file is sent again
}

// verify returns how many chunks at the beginning of a file of that size have
// these hashes.
func (v *volume) verify(ctx context.Context, f *os.File, hashes []hash, size int64) (int, error) {
	block := blockSize(size)
	buf := pool.Get().(*buffer)
	defer pool.Put(buf)
	h := newChunkHasher(ctx)
	c := &content{entry: entry{size: size}, file: f, at: f}
	for i := range hashes {
		if err := v.faults("read", f.Name()); err != nil {
			return i, err
		}
		start := int64(i) * block
		sum, err := c.hash(h, buf[:piece], start, start+chunkSize(size, block, uint32(i)))
		if errors.Is(err, ErrChanged) { // the file is shorter
			return i, nil
		}
		if err != nil {
			return i, err
		}
		if sum != hashes[i] {
			return i, nil
		}
	}
	return len(hashes), nil
}

// isPlaced reports whether a file that was to replace another one has done so.
// It is true for a file that was not to replace any.
func (j *journal) isPlaced(p *place) bool {
	s, ok := j.swaps[p.number]
	if !ok {
		return true // it was not to replace any
	}
	at := sites{vol: j.vol}
	defer at.leave()
	now := at.look(p.path)
	return now.file == s.new.file && now.device == s.new.device
}
