package block

import (
	"bytes"
	"time"

	"github.com/zeebo/blake3"
)

const placeEvery = 500 * time.Millisecond // complete small files wait at most this long for others to be placed with

// An assembler assembles files from the messages of one offer, and hands
// complete ones to a placer. It belongs to the goroutine of the receiver.
type assembler struct {
	*transfer
	in      *arrival
	vol     *volume  // nil if only parts are wanted
	journal *journal // likewise
	placer  *placer

	offer   *Offer
	resumes map[int]resume // the claims that were made, by index
	olds    map[int]int64  // see receiver
	index   *index         // or nil
	spend   func(n int64) bool
	root    *blake3.Hasher
	cursor  *cursor // at the last entry received
	current *incoming
	again   *repair
	open    map[uint16]*incoming // files that were sent to their end, but need chunks to be sent again
	asked   map[request]int      // the pending repairs, and how often each was requested
	late    map[request]bool     // repairs that may still arrive for files given up since the request
	sent    bool                 // the sender sends nothing but repairs now
}

// run receives files until every file of the offer has arrived or failed.
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

// close gives up the incomplete files.
func (a *assembler) close() {
	for _, in := range a.open {
		in.close()
	}
	if a.current != nil {
		a.current.close()
	}
}

// keep copies the beginning of a small file whose end is in the next batch.
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
	case kindHashes:
		return a.told(it)
	case kindOld:
		return a.takeOld(int64(it.size))
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

// wants reports whether the entry at the cursor has to be sent.
func (a *assembler) wants() bool {
	v := a.offer.verdicts[a.cursor.index]
	return a.cursor.kind == kindFile && (v == verdictWhole || v == verdictFrom || v == verdictPart)
}

// advance moves the cursor to an entry, and creates the folders before it. It
// fails if a wanted file comes before that entry.
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

// folder creates the folder at the cursor.
func (a *assembler) folder() error {
	path, err := a.placer.mkdir(a.cursor.path)
	if err != nil {
		return a.placer.fail(a.cursor.index, a.cursor.path, err)
	}
	a.update(func(_ *Progress, r *Result) { r.Folders++ })
	a.placer.tellOf(a.cursor.file(a.cursor.index), path)
	return nil
}

// next moves on to the file that the sender begins.
func (a *assembler) next(index int) (in *incoming, claimed resume, err error) {
	if a.current != nil || a.again != nil {
		return nil, claimed, violation("a file inside another")
	}
	if err := a.advance(index); err != nil {
		return nil, claimed, err
	}
	if a.cursor.index != index || !a.wants() {
		return nil, claimed, violation("entry %d is not wanted", index)
	}
	claimed = a.resumes[index]
	delete(a.resumes, index)
	return &incoming{index: index, entry: a.cursor.entry, size: a.cursor.size}, claimed, nil
}

func (a *assembler) begin(it *item) error {
	in, claimed, err := a.next(int(it.message.entry))
	if err != nil {
		return err
	}
	index, e := in.index, in.entry
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

// take receives n bytes of a chunk: data, or a hole if data is nil.
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
			in.held = data // the whole file: it is written in one step
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

func (a *assembler) endChunk(it *item) error {
	in := a.current
	if in == nil || in.pos != in.chunkEnd() || in.between() {
		return violation("a hash that belongs to nothing")
	}
	number := uint32(len(in.hashes))
	size := in.pos - int64(number)*in.block
	in.hashes = append(in.hashes, it.hash)
	defer in.skip()
	if in.dead {
		return nil
	}
	if err := a.mixed(in, it); err != nil || in.dead {
		return err
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

// gone handles the sender's message that a file will not arrive, or not
// completely.
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
	if int(index) <= a.cursor.index { // this side gave it up, or it is complete
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
