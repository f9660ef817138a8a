package block

import (
	"errors"
	"syscall"
)

const syncEvery = 64 << 20 // bytes of a large file after which it is synced

// unshared checks that no other process has written to a complete file, if
// another process may still have it open.
func (a *assembler) unshared(in *incoming) error {
	if !in.adopted {
		return nil
	}
	n, err := a.vol.verify(a.ctx, in.file, in.hashes, in.size)
	if err == nil && n < len(in.hashes) {
		return errShared
	}
	return err
}

// openData opens the data file. If the file was resumed, that has chunks
// already.
func (a *assembler) openData(in *incoming, claimed resume) (err error) {
	switch {
	case len(claimed.hashes) > 0:
		in.number, in.journaled, in.adopted = claimed.number, true, a.journal.adopted
		if in.file, err = a.vol.open(a.journal.data(in.number)); err == nil {
			err = in.file.Truncate(in.pos)
		}
	case in.size > in.block:
		in.journaled = true
		if in.number, err = a.journal.begin(&in.entry); err != nil {
			return writing(err)
		}
		in.file, err = a.vol.create(a.journal.data(in.number))
	default:
		in.number = a.journal.number()
		in.file, err = a.vol.create(a.journal.data(in.number))
	}
	if err != nil {
		return a.drop(in, writing(err))
	}
	in.sink = in.file
	return nil
}

// spill moves a small file, whose beginning may be held in memory, to a data
// file of its own, like that of a large one.
func (a *assembler) spill(in *incoming) error {
	b := in.held
	in.held = nil
	if err := a.openData(in, resume{}); err != nil || in.dead || len(b) == 0 {
		return err
	}
	return a.write(in, b, 0)
}

// write writes b to a file at offset.
func (a *assembler) write(in *incoming, b []byte, offset int64) (err error) {
	if in.file == nil {
		_, err = in.sink.WriteAt(b, offset)
	} else {
		err = a.vol.write(in.file, b, offset)
	}
	if err != nil {
		return a.drop(in, writing(err))
	}
	if in.unsynced += int64(len(b)); in.unsynced >= syncEvery && in.file != nil && a.placer.early(in.file, &in.lost) {
		in.unsynced = 0
	}
	return nil
}

// verified records a chunk whose bytes were written: see journal.
func (a *assembler) verified(in *incoming, number uint32, h hash, size int64) error {
	a.update(func(p *Progress, _ *Result) { p.Verified += size })
	if !in.journaled {
		return nil
	}
	return writing(a.journal.chunk(in.number, number, h))
}

// drop gives up a file. Verified chunks are kept for the next attempt, unless
// the disk has lost them or the file is too large for the file system.
func (a *assembler) drop(in *incoming, err error) error {
	if in.file != nil && (in.lost.Load() || errors.Is(err, syscall.EFBIG)) {
		in.file.Truncate(0)
	}
	a.forget(in)
	return a.placer.fail(in.index, in.entry.path, err)
}

func (a *assembler) forget(in *incoming) {
	in.close()
	in.dead = true
	in.held = nil
	delete(a.open, uint16(in.index))
	for req := range a.asked {
		if req.entry == uint16(in.index) {
			delete(a.asked, req)
			a.late[req] = true
		}
	}
	if a.again != nil && a.again.in == in {
		a.again.in = nil
	}
}

// whole verifies a file that has arrived completely, and hands it on.
func (a *assembler) whole(in *incoming) error {
	a.root.Reset()
	for i := range in.hashes {
		a.root.Write(in.hashes[i][:])
	}
	if sum(a.root) != in.root {
		return a.drop(in, ErrCorrupt)
	}
	switch {
	case in.sink == nil:
		in.number = a.journal.number()
		if err := a.vol.store(a.journal.data(in.number), in.held); err != nil {
			return a.drop(in, writing(err))
		}
		in.held = nil
	case in.file == nil:
		a.update(func(p *Progress, r *Result) {
			p.Files++
			r.Files++
			r.Bytes += in.size
		})
		return nil
	default:
		if err := a.unshared(in); err != nil {
			return a.drop(in, writing(err))
		}
		in.closeOld()
		if err := in.file.Close(); err != nil {
			return a.drop(in, writing(err))
		}
	}
	a.placer.add(wholeFile{
		index: in.index, number: in.number, entry: in.entry, hashes: in.hashes, old: a.olds[in.index], lost: &in.lost,
	})
	return nil
}

// skipHole leaves a hole in a file where nothing was written yet. An app's own
// writer gets zeros.
func (a *assembler) skipHole(in *incoming, offset, n int64) error {
	if in.file == nil {
		return a.writeZeros(in, offset, n)
	}
	if in.reuse != nil { // the whole file was a hole at first
		if in.reuse.spoilt[uint32(len(in.hashes))] {
			return a.writeZeros(in, offset, n)
		}
		return nil
	}
	if offset+n < in.chunkEnd() {
		return nil // data follows
	}
	if err := in.file.Truncate(offset + n); err != nil {
		return a.drop(in, writing(err))
	}
	return nil
}

func (a *assembler) writeZeros(in *incoming, offset, n int64) error {
	for n > 0 && !in.dead {
		step := min(n, int64(len(zeros)))
		if err := a.write(in, zeros[:step], offset); err != nil {
			return err
		}
		offset, n = offset+step, n-step
	}
	return nil
}
