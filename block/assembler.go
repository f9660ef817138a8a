package block

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/zeebo/blake3"
)

const (
	placeEvery = 500 * time.Millisecond // small files that are whole wait for more, so long at most
	syncEvery  = 64 << 20               // bytes of a large file
)

// An incoming is a file that arrives.
type incoming struct {
	index       int
	entry       entry
	size, block int64 // of the part of the file that is wanted; of its chunks
	sink        io.WriterAt
	file        *os.File // sink, unless that is the app's; nil of a small file that has none yet
	held        []byte   // the start of a small file, or all of it, that is not in a file yet; in the buffer of its batch
	number      uint32   // of the data file
	journaled   bool
	adopted     bool // another transfer may still write to the data file

	lost atomic.Bool // the disk has lost what was written: a system says so once

	pos      int64  // bytes that have arrived
	unsynced int64  // bytes
	hashes   []hash // of the chunks that have arrived
	missing  int    // chunks that have to come again
	ended    bool
	root     hash // of the file, as the sender says
	dead     bool // the file was given up, and the rest of it is thrown away
}

func (in *incoming) close() {
	if in.file != nil {
		in.file.Close()
	}
}

// chunkEnd returns where the chunk ends that arrives now.
func (in *incoming) chunkEnd() int64 {
	start := int64(len(in.hashes)) * in.block
	return start + min(in.block, in.size-start)
}

// between tells whether no chunk has begun that is not complete.
func (in *incoming) between() bool {
	return in.pos == min(int64(len(in.hashes))*in.block, in.size)
}

// An assembler makes files of the messages of one offer, and hands those that are
// whole to a placer. It belongs to the goroutine of the receiver.
type assembler struct {
	*transfer
	in      *arrival
	vol     *volume  // nil if only parts are wanted
	journal *journal // likewise
	placer  *placer

	offer   *Offer
	resumes map[int]resume // what was claimed, by index
	root    *blake3.Hasher
	cursor  *cursor // at the entry that came last
	current *incoming
	again   *repair
	open    map[uint16]*incoming // files that were sent, and of which chunks have to come again
	asked   map[request]int      // repairs that are due, and how often each was asked for
	late    map[request]bool     // repairs that may come of files that were given up since
	sent    bool                 // the sender only repairs now
}

// A resume is what an earlier attempt has left of a file.
type resume struct {
	number uint32
	hashes []hash
}

// newAssembler returns the assembler for an offer of which claims were made.
func newAssembler(r *receiver, resumes map[int]resume) *assembler {
	return &assembler{
		transfer: r.transfer, in: r.arrival, vol: r.vol, journal: r.journal, placer: r.placer,
		offer: r.offer, resumes: resumes, root: newRoot(), cursor: r.offer.spool.all(),
		open: map[uint16]*incoming{}, asked: map[request]int{}, late: map[request]bool{},
	}
}

// run receives files until all of the offer have arrived or failed.
func (a *assembler) run() error {
	defer a.close()
	ticker := time.NewTicker(placeEvery)
	defer ticker.Stop()
	for !a.sent || len(a.asked)+len(a.late) > 0 {
		it, err := a.in.receive(ticker.C, a.keep)
		switch {
		case err != nil:
			return err
		case it == nil:
			a.placer.flush()
		default:
			if err := a.handle(it); err != nil {
				return err
			}
		}
	}
	return nil
}

// close gives up what is not whole.
func (a *assembler) close() {
	for _, in := range a.open {
		in.close()
	}
	if a.current != nil {
		a.current.close()
	}
}

// keep copies the part of a small file whose end is in the next batch.
func (a *assembler) keep() {
	if in := a.current; in != nil && in.held != nil {
		in.held = bytes.Clone(in.held)
	}
}

func (a *assembler) handle(it *item) error {
	switch it.kind {
	case kindBegin:
		return a.begin(it)
	case kindData:
		return a.take(int64(len(it.data)), it.data)
	case kindHole:
		return a.take(int64(it.size), nil)
	case kindChunk:
		if a.again != nil {
			return a.repaired(it)
		}
		return a.endChunk(it)
	case kindEnd:
		return a.end(it)
	case kindRepair:
		return a.repair(request{it.message.entry, it.chunk})
	case kindFailed:
		return a.gone(it)
	case kindSent:
		if a.current != nil || a.again != nil || a.sent {
			return violation("the end inside a file")
		}
		err := a.advance(a.offer.spool.count)
		a.sent = true
		return err
	}
	return violation("message %d", it.kind)
}

// wants tells whether the entry under the cursor has to be sent.
func (a *assembler) wants() bool {
	v := a.offer.verdicts[a.cursor.index]
	return a.cursor.kind == kindFile && (v == verdictWhole || v == verdictFrom || v == verdictPart)
}

// advance moves the cursor to an entry, and makes the folders before it. No file
// may be left out.
func (a *assembler) advance(to int) error {
	if to <= a.cursor.index || a.sent {
		return violation("entry %d after %d", to, a.cursor.index)
	}
	for a.cursor.next() {
		if a.cursor.index == to {
			return nil
		}
		if a.wants() {
			return violation("entry %d was left out", a.cursor.index)
		}
		if a.cursor.kind == kindFolder && a.offer.verdicts[a.cursor.index] == verdictWhole {
			if err := a.folder(); err != nil {
				return err
			}
		}
	}
	if a.cursor.err == nil && to > a.cursor.index+1 {
		return violation("there is no entry %d", to)
	}
	return writing(a.cursor.err)
}

// folder makes the folder under the cursor.
func (a *assembler) folder() error {
	path, err := a.placer.mkdir(a.cursor.path)
	if err != nil {
		return a.placer.fail(a.cursor.index, a.cursor.path, err)
	}
	a.update(func(_ *Progress, r *Result) { r.Folders++ })
	a.placer.tellOf(a.cursor.file(a.cursor.index), path)
	return nil
}

func (a *assembler) begin(it *item) error {
	index := int(it.message.entry)
	if a.current != nil || a.again != nil {
		return violation("a file inside another")
	}
	if err := a.advance(index); err != nil {
		return err
	}
	e := a.cursor.entry
	if a.cursor.index != index || !a.wants() {
		return violation("entry %d is not wanted", index)
	}
	in := &incoming{index: index, entry: e, size: e.size}
	claimed := a.resumes[index]
	delete(a.resumes, index)
	if int(it.chunk) > len(claimed.hashes) {
		return violation("entry %d from chunk %d on", index, it.chunk)
	}
	if p, ok := a.offer.parts[index]; ok && a.offer.verdicts[index] == verdictPart {
		in.size, in.sink = p.end-p.start, p.to
	}
	in.block = blockSize(in.size)
	in.pos = min(int64(it.chunk)*in.block, in.size)
	in.hashes = claimed.hashes[:it.chunk]
	a.current = in
	a.update(func(p *Progress, r *Result) {
		p.File, p.FileSize, p.FileBytes = e.path, in.size, in.pos
		p.Bytes += in.pos
		p.Verified += in.pos
		r.Resumed += in.pos
		if int(it.chunk) < len(claimed.hashes) {
			r.Restarted++
		}
	})
	if in.sink == nil && (in.size > maxSmall || len(claimed.hashes) > 0) {
		return a.openData(in, claimed)
	}
	return nil
}

// openData opens the file that the data goes to, which has chunks already if it
// was resumed.
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

// take takes n bytes of a chunk: data, or a hole if that is nil.
func (a *assembler) take(n int64, data []byte) error {
	if r := a.again; r != nil {
		return a.takeAgain(r, n, data)
	}
	in := a.current
	if in == nil || n > in.chunkEnd()-in.pos {
		return violation("data that belongs to nothing")
	}
	in.pos += n
	if in.dead {
		return nil
	}
	a.update(func(p *Progress, r *Result) {
		p.FileBytes += n
		p.Bytes += n
		r.Sent += int64(len(data))
	})
	if in.sink == nil {
		if in.held == nil && n == in.size && data != nil {
			in.held = data // it gets a file of its own, or its place, in one step
			return nil
		}
		if err := a.spill(in); err != nil || in.dead {
			return err
		}
	}
	if data == nil {
		return a.skipHole(in, in.pos-n, n)
	}
	return a.write(in, data, in.pos-n)
}

// spill gives a small file, of which the beginning may be held, a file of its own,
// like those of large ones.
func (a *assembler) spill(in *incoming) error {
	b := in.held
	in.held = nil
	if err := a.openData(in, resume{}); err != nil || in.dead || len(b) == 0 {
		return err
	}
	return a.write(in, b, 0)
}

// write writes b to a file, at offset.
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

// skipHole leaves a hole in a file, which has nothing there yet. The app's own
// writers get zeros.
func (a *assembler) skipHole(in *incoming, offset, n int64) error {
	if in.file == nil {
		return a.writeZeros(in, offset, n)
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

func (a *assembler) endChunk(it *item) error {
	in := a.current
	if in == nil || in.pos != in.chunkEnd() || in.between() {
		return violation("a hash that belongs to nothing")
	}
	number := uint32(len(in.hashes))
	size := in.pos - int64(number)*in.block
	in.hashes = append(in.hashes, it.hash)
	if in.dead {
		return nil
	}
	if it.sum != it.hash {
		if in.held != nil {
			if err := a.spill(in); err != nil || in.dead {
				return err
			}
		}
		in.missing++
		return a.ask(in, number)
	}
	return a.verified(in, number, it.hash, size)
}

// verified records a chunk. Its bytes were written; see journal.
func (a *assembler) verified(in *incoming, number uint32, h hash, size int64) error {
	a.update(func(p *Progress, _ *Result) { p.Verified += size })
	if !in.journaled {
		return nil
	}
	return writing(a.journal.chunk(in.number, number, h))
}

// drop gives a file up. What was verified of it is kept for the next attempt, if
// the disk has it and the file can get further than that.
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

func (a *assembler) end(it *item) error {
	in := a.current
	if in == nil || a.again != nil || in.pos != in.size || int64(len(in.hashes)) != chunkCount(in.size, in.block) {
		return violation("the end of a file that is not complete")
	}
	a.current = nil
	in.ended, in.root = true, it.hash
	switch {
	case in.dead:
		return nil
	case in.missing > 0:
		a.open[uint16(in.index)] = in
		return nil
	}
	return a.whole(in)
}

// whole verifies a file of which everything has arrived, and hands it on.
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
		if err := in.file.Close(); err != nil {
			return a.drop(in, writing(err))
		}
	}
	a.placer.add(wholeFile{index: in.index, number: in.number, entry: in.entry, lost: &in.lost})
	return nil
}

// gone is the sender's word that a file does not come, or not to its end.
func (a *assembler) gone(it *item) error {
	index := it.message.entry
	if a.again != nil && a.again.entry == index {
		a.again = nil
	}
	a.unasked(index)
	in := a.open[index]
	if a.current != nil && a.current.index == int(index) {
		in, a.current = a.current, nil
	}
	if in != nil {
		if !in.dead {
			a.skip(in.entry.path, it.why())
		}
		a.forget(in)
		return nil
	}
	if int(index) <= a.cursor.index { // it was given up here, or is whole already
		return nil
	}
	if a.current != nil || a.again != nil {
		return violation("a file inside another")
	}
	if err := a.advance(int(index)); err != nil {
		return err
	}
	if a.cursor.index != int(index) || !a.wants() {
		return violation("entry %d is not wanted", index)
	}
	a.skip(a.cursor.path, it.why())
	return nil
}
