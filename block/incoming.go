package block

import (
	"fmt"
	"io"
	"os"
	"time"
)

const (
	placeEvery = 500 * time.Millisecond // small files that are whole wait for more, so long at most
	syncEvery  = 64 << 20               // bytes of a large file
)

// An incoming is a file that arrives.
type incoming struct {
	index       int
	entry       entry
	size, block int64 // of what is wanted of the file; of its chunks
	sink        io.WriterAt
	file        *os.File // sink, unless it is the app's; nil of a small file that has none yet
	held        []byte   // all of a small file that is not in a file yet; in the buffer of the batch that is handled
	number      uint32   // of the data file
	journaled   bool

	pos      int64  // what has arrived
	unsynced int64  // bytes
	hashes   []hash // of the chunks that have arrived
	missing  int    // chunks that have to come again
	ended    bool
	root     hash // what the sender says that the file is
	dead     bool // what still comes is of no use
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

// A repair is a chunk that comes again.
type repair struct {
	request
	in       *incoming // nil if it is not wanted any more
	pos, end int64
}

func violation(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...))
}

// take receives files until all of them are in their place.
func (r *receiver) take() error {
	ticker := time.NewTicker(placeEvery)
	defer ticker.Stop()
	for !r.sent || len(r.asked) > 0 {
		var err error
		select {
		case b, ok := <-r.files:
			if !ok { // whoever closed it tells why
				<-r.ctx.Done()
				return r.why()
			}
			err = r.handleAll(b)
		case <-ticker.C:
			err = r.placer.flush()
		case <-r.ctx.Done():
			return r.why()
		}
		if err != nil {
			return err
		}
	}
	return r.placer.finish()
}

func (r *receiver) handle(it *item) error {
	switch it.kind {
	case kindBegin:
		return r.begin(it)
	case kindData:
		return r.data(it.data)
	case kindChunk:
		if r.again != nil {
			return r.repaired(it)
		}
		return r.chunk(it)
	case kindEnd:
		return r.end(it)
	case kindRepair:
		return r.repair(request{it.entry, it.chunk})
	case kindFailed:
		return r.gone(it)
	case kindSent:
		if r.current != nil || r.again != nil {
			return violation("the end inside a file")
		}
		err := r.advance(r.offer.spool.count)
		r.sent = true
		return err
	}
	return violation("message %d", it.kind)
}

// wants tells whether the entry under the cursor has to be sent.
func (r *receiver) wants() bool {
	v := r.offer.verdicts[r.cursor.index]
	return r.cursor.kind == kindFile && (v == verdictWhole || v == verdictFrom || v == verdictPart)
}

// advance moves the cursor to an entry, and makes the folders before it. No file may be left out.
func (r *receiver) advance(to int) error {
	if to <= r.cursor.index || r.sent {
		return violation("entry %d after %d", to, r.cursor.index)
	}
	for r.cursor.next() {
		if r.cursor.index == to {
			return nil
		}
		if r.wants() {
			return violation("entry %d was left out", r.cursor.index)
		}
		if r.cursor.kind == kindFolder && r.offer.verdicts[r.cursor.index] == verdictWhole {
			if err := r.folder(); err != nil {
				return err
			}
		}
	}
	if r.cursor.err == nil && to > r.cursor.index+1 {
		return violation("there is no entry %d", to)
	}
	return writing(r.cursor.err)
}

// folder makes the folder under the cursor.
func (r *receiver) folder() error {
	path, err := r.placer.mkdir(r.cursor.path)
	if err != nil {
		return r.fail(r.cursor.index, r.cursor.path, err)
	}
	r.update(func(_ *Progress, result *Result) { result.Folders++ })
	if r.opts.Received != nil {
		r.placer.made = append(r.placer.made, made{r.cursor.file(r.cursor.index), path})
		if len(r.placer.made) >= batchFiles {
			return r.placer.flush()
		}
	}
	return nil
}

// fail books an entry that cannot be received, and tells the sender. It returns err if no other entry can be either.
func (r *receiver) fail(index int, path string, err error) error {
	if fatal(err) {
		return writing(err)
	}
	if codeOf(err) == 0 {
		err = writing(err)
	}
	r.skip(path, err)
	return r.say(message{kind: kindFailed, entry: uint16(index), code: codeOf(err)})
}

func (r *receiver) begin(it *item) error {
	if r.current != nil || r.again != nil {
		return violation("a file inside another")
	}
	if err := r.advance(int(it.entry)); err != nil {
		return err
	}
	e := r.cursor.entry
	if r.cursor.index != int(it.entry) || !r.wants() {
		return violation("entry %d is not wanted", it.entry)
	}
	in := &incoming{index: r.cursor.index, entry: e, size: e.size}
	claimed := r.resumes[in.index]
	if int(it.chunk) > len(claimed.hashes) {
		return violation("entry %d from chunk %d on", it.entry, it.chunk)
	}
	if p, ok := r.offer.parts[in.index]; ok && r.offer.verdicts[in.index] == verdictPart {
		in.size, in.sink = p.end-p.start, p.to
	}
	in.block = blockSize(in.size)
	r.current = in
	if in.sink == nil && (in.size > maxSmall || len(claimed.hashes) > 0) {
		if err := r.openData(in, claimed, it.chunk); err != nil {
			return writing(err)
		}
	}
	r.update(func(p *Progress, result *Result) {
		p.File, p.FileSize, p.FileBytes = e.path, in.size, in.pos
		p.Bytes += in.pos
		p.Verified += in.pos
		result.Resumed += in.pos
		if int(it.chunk) < len(claimed.hashes) {
			result.Restarted++
		}
	})
	return nil
}

// openData opens the file that the data goes to, which has chunks already if it was resumed.
func (r *receiver) openData(in *incoming, claimed resume, chunks uint32) (err error) {
	if len(claimed.hashes) > 0 {
		in.number, in.hashes, in.journaled = claimed.number, claimed.hashes[:chunks], true
		in.pos = min(int64(chunks)*in.block, in.size)
		if in.file, err = r.partial.OpenFile(r.journal.data(in.number), os.O_RDWR, 0); err != nil {
			return err
		}
		in.sink = in.file
		return in.file.Truncate(in.pos)
	}
	if in.journaled = in.size > in.block; in.journaled {
		in.number, err = r.journal.begin(&in.entry)
	} else {
		in.number = r.journal.number()
	}
	if err != nil {
		return err
	}
	in.file, err = r.partial.OpenFile(r.journal.data(in.number), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	in.sink = in.file
	return err
}

func (r *receiver) data(b []byte) error {
	n := int64(len(b))
	if a := r.again; a != nil {
		if a.in == nil {
			return nil
		}
		if n > a.end-a.pos {
			return violation("a chunk that is too long")
		}
		a.pos += n
		return r.write(a.in, b, a.pos-n)
	}
	in := r.current
	if in == nil || n > in.chunkEnd()-in.pos {
		return violation("data that belongs to nothing")
	}
	in.pos += n
	if in.dead {
		return nil
	}
	r.update(func(p *Progress, result *Result) {
		p.FileBytes += n
		p.Bytes += n
		result.Sent += n
	})
	if in.sink == nil {
		if in.held = b; n == in.size {
			return nil // it comes to nothing, or to its place, without another step in between
		}
		return r.spill(in)
	}
	return r.write(in, b, in.pos-n)
}

// spill gives a small file, of which all or the beginning is held, a file of its own, like those of large ones.
func (r *receiver) spill(in *incoming) error {
	b := in.held
	in.held = nil
	if err := r.openData(in, resume{}, 0); err != nil {
		return writing(err)
	}
	if len(b) == 0 {
		return nil
	}
	return r.write(in, b, 0)
}

// write writes b to a file, at offset.
func (r *receiver) write(in *incoming, b []byte, offset int64) error {
	if _, err := in.sink.WriteAt(b, offset); err != nil {
		if in.file != nil {
			return writing(err)
		}
		return r.drop(in, writing(err))
	}
	if in.unsynced += int64(len(b)); in.unsynced >= syncEvery && in.file != nil && r.placer.early(in.file) {
		in.unsynced = 0
	}
	return nil
}

func (r *receiver) chunk(it *item) error {
	in := r.current
	if in == nil || in.pos != in.chunkEnd() || in.pos == int64(len(in.hashes))*in.block {
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
			if err := r.spill(in); err != nil {
				return err
			}
		}
		in.missing++
		return r.ask(in, number)
	}
	return r.verified(in, number, it.hash, size)
}

// verified books a chunk. Its bytes were written; see journal.
func (r *receiver) verified(in *incoming, number uint32, h hash, size int64) error {
	r.update(func(p *Progress, _ *Result) { p.Verified += size })
	if !in.journaled {
		return nil
	}
	return writing(r.journal.chunk(in.number, number, h))
}

// ask asks for a chunk again, or gives the file up.
func (r *receiver) ask(in *incoming, chunk uint32) error {
	req := request{uint16(in.index), chunk}
	if r.asked[req]++; r.asked[req] > maxRepairs || len(r.asked) > maxAsked {
		return r.drop(in, ErrCorrupt)
	}
	return r.say(message{kind: kindRepair, entry: req.entry, chunk: chunk})
}

// drop gives a file up. What was verified of it is kept for the next attempt.
func (r *receiver) drop(in *incoming, err error) error {
	r.forget(in)
	return r.fail(in.index, in.entry.path, err)
}

func (r *receiver) forget(in *incoming) {
	in.close()
	in.dead = true
	delete(r.open, uint16(in.index))
	for req := range r.asked {
		if req.entry == uint16(in.index) {
			delete(r.asked, req)
		}
	}
	if r.again != nil && r.again.in == in {
		r.again.in = nil
	}
}

// repair is the announcement of a chunk that comes again.
func (r *receiver) repair(req request) error {
	if in := r.current; r.again != nil || in != nil && in.pos != min(int64(len(in.hashes))*in.block, in.size) {
		return violation("a repair inside a chunk")
	}
	if int(req.entry) > r.cursor.index {
		return violation("a repair of what was not sent")
	}
	r.again = &repair{request: req}
	if r.asked[req] == 0 {
		return nil // it is of a file that was given up
	}
	in := r.open[req.entry]
	if r.current != nil && r.current.index == int(req.entry) {
		in = r.current
	}
	a := r.again
	a.in, a.pos = in, int64(req.chunk)*in.block
	a.end = a.pos + chunkSize(in.size, in.block, req.chunk)
	return nil
}

// repaired is the end of a chunk that came again.
func (r *receiver) repaired(it *item) error {
	a := r.again
	r.again = nil
	in := a.in
	if in == nil {
		return nil
	}
	if a.pos != a.end {
		return violation("a chunk that is too short")
	}
	if it.sum != it.hash {
		return r.ask(in, a.chunk)
	}
	delete(r.asked, a.request)
	in.hashes[a.chunk] = it.hash
	in.missing--
	r.update(func(_ *Progress, result *Result) { result.Repaired++ })
	if err := r.verified(in, a.chunk, it.hash, a.end-int64(a.chunk)*in.block); err != nil {
		return err
	}
	if in.ended && in.missing == 0 {
		delete(r.open, a.entry)
		return r.whole(in)
	}
	return nil
}

func (r *receiver) end(it *item) error {
	in := r.current
	if in == nil || r.again != nil || in.pos != in.size || int64(len(in.hashes)) != chunkCount(in.size, in.block) {
		return violation("the end of a file that is not complete")
	}
	r.current = nil
	in.ended, in.root = true, it.hash
	switch {
	case in.dead:
		return nil
	case in.missing > 0:
		r.open[uint16(in.index)] = in
		return nil
	}
	return r.whole(in)
}

// whole verifies a file of which all has arrived, and hands it to the placer.
func (r *receiver) whole(in *incoming) error {
	r.root.Reset()
	for i := range in.hashes {
		r.root.Write(in.hashes[i][:])
	}
	if sum(r.root) != in.root {
		return r.drop(in, ErrCorrupt)
	}
	if in.sink == nil {
		in.number = r.journal.number()
		if err := r.dir.create(r.journal.data(in.number), in.held); err != nil {
			return writing(err)
		}
		in.held = nil
		return r.placer.add(finished{index: in.index, number: in.number, entry: in.entry})
	}
	if in.file == nil {
		r.update(func(p *Progress, result *Result) {
			p.Files++
			result.Files++
			result.Bytes += in.size
		})
		return nil
	}
	if err := in.file.Close(); err != nil {
		return writing(err)
	}
	return r.placer.add(finished{index: in.index, number: in.number, entry: in.entry})
}

// gone is the sender's word that a file does not come, or not to its end.
func (r *receiver) gone(it *item) error {
	if r.again != nil && r.again.entry == it.entry {
		r.again = nil
	}
	in := r.open[it.entry]
	if r.current != nil && r.current.index == int(it.entry) {
		in, r.current = r.current, nil
	}
	if in == nil {
		if int(it.entry) <= r.cursor.index { // it was given up here, or is whole already
			return nil
		}
		if r.current != nil {
			return violation("a file inside another")
		}
		if err := r.advance(int(it.entry)); err != nil {
			return err
		}
		if r.cursor.index != int(it.entry) || !r.wants() {
			return violation("entry %d is not wanted", it.entry)
		}
		r.skip(r.cursor.path, it.why())
		return nil
	}
	if !in.dead {
		r.skip(in.entry.path, it.why())
	}
	r.forget(in)
	return nil
}
