package block

import (
	"os"
	"path"
)

// told begins a file whose hashes the sender has sent. It copies and verifies
// the chunks that are in files that the same sender has placed, and claims
// them.
func (a *assembler) told(it *item) error {
	in, claimed, err := a.next(int(it.message.entry))
	if err != nil {
		return err
	}
	in.block = blockSize(in.size)
	if a.olds[in.index] == 0 || !isLarge(&in.entry) || a.offer.verdicts[in.index] == verdictPart ||
		int64(len(it.hashes)) != chunkCount(in.size, in.block) {
		return violation("%d hashes of entry %d", len(it.hashes), in.index)
	}
	a.current = in
	in.reuse = &reuse{told: it.hashes, states: make([]chunkState, len(it.hashes)), spoilt: map[uint32]bool{}}
	a.update(func(p *Progress, _ *Result) { p.File, p.FileSize, p.FileBytes = in.entry.path, in.size, 0 })
	in.pos = min(int64(len(claimed.hashes))*in.block, in.size)
	if err := a.openData(in, claimed); err != nil || in.dead {
		return err
	}
	in.pos = 0
	if err := in.file.Truncate(in.size); err != nil {
		return a.drop(in, writing(err))
	}
	for i := range claimed.hashes {
		if claimed.hashes[i] == it.hashes[i] {
			a.resumed(in, uint32(i))
		} else {
			in.reuse.spoilt[uint32(i)] = true
		}
	}
	if err := a.claim(in); err != nil || in.dead {
		return err
	}
	in.skip()
	return nil
}

// resumed counts a chunk that has arrived in an earlier attempt.
func (a *assembler) resumed(in *incoming, chunk uint32) {
	n := chunkSize(in.size, in.block, chunk)
	in.reuse.states[chunk] = chunkThere
	a.update(func(p *Progress, r *Result) {
		p.FileBytes += n
		p.Bytes += n
		p.Verified += n
		r.Resumed += n
	})
}

// claim copies the chunks that the receiver has, and sends its claims.
func (a *assembler) claim(in *incoming) error {
	s := a.sources(in)
	defer s.close()
	if err := a.copyAll(in, s); err != nil || in.dead {
		return err
	}
	m := message{kind: kindClaims, entry: uint16(in.index), states: in.reuse.states}
	for i := range m.states {
		if m.states[i] == chunkComes {
			m.pieces = append(m.pieces, a.pieces(in, s, uint32(i), maxPieces-len(m.pieces))...)
		}
	}
	if s.old != nil { // stays open for pieces
		in.reuse.old, s.old.content = s.old.content, nil
	}
	b, err := m.AppendBinary(nil)
	if err != nil {
		return err
	}
	return a.pass(&item{message: message{kind: kindRaw}, data: b})
}

// hashData returns the hash of the bytes from start to end of the data file.
func (a *assembler) hashData(in *incoming, start, end int64) (hash, error) {
	buf := pool.Get().(*buffer)
	defer pool.Put(buf)
	c := &content{entry: entry{size: in.size}, file: in.file, at: in.file, extent: extent{none: true}} // its holes still change
	return c.hash(newChunkHasher(a.ctx), buf[:piece], start, end)
}

// pieces returns the hashes of the pieces of a chunk of the earlier version. It
// returns none if there are more than limit, or if the chunk is no longer the
// one that the sender has sent.
func (a *assembler) pieces(in *incoming, s *sources, chunk uint32, limit int) (hashes []uint64) {
	n, start, step := chunkSize(in.size, in.block, chunk), int64(chunk)*in.block, pieceSize(in.block)
	if !s.covers(chunk, n) || chunkCount(n, step) > int64(limit) || !a.spend(n) {
		return nil
	}
	buf := pool.Get().(*buffer)
	defer pool.Put(buf)
	h := newChunkHasher(a.ctx)
	for end := start + n; start < end; {
		b := buf[:min(step, end-start)]
		if err := s.old.content.read(b, start); err != nil {
			return nil
		}
		h.write(b)
		hashes = append(hashes, shortHash(b))
		start += int64(len(b))
	}
	if sum, err := h.sum(); err != nil || sum != s.old.row.hashes[chunk] {
		return nil
	}
	in.reuse.states[chunk] = chunkPieces
	return hashes
}

// takeOld copies n bytes of a chunk from the earlier version.
func (a *assembler) takeOld(n int64) error {
	in := a.current
	if in == nil || a.again != nil || in.reuse == nil || n > in.chunkEnd()-in.pos || in.reuse.states[len(in.hashes)] != chunkPieces {
		return violation("old data that belongs to nothing")
	}
	in.pos += n
	if in.dead {
		return nil
	}
	in.reuse.mixed = true
	a.update(func(p *Progress, r *Result) {
		p.FileBytes += n
		p.Bytes += n
		r.Reused += n
	})
	if err := copyData(in.file, in.pos-n, in.reuse.old, in.pos-n, n); err != nil {
		if noSpace(err) {
			return a.drop(in, writing(err))
		}
		in.reuse.spoilt[uint32(len(in.hashes))] = true // its hash will not match, and it is requested again
	}
	return nil
}

// mixed hashes a chunk that has pieces of the earlier version by reading it
// from the data file, since only a part of it has arrived.
func (a *assembler) mixed(in *incoming, it *item) (err error) {
	if in.reuse == nil || !in.reuse.mixed {
		return nil
	}
	in.reuse.mixed = false
	if it.sum, err = a.hashData(in, int64(len(in.hashes)-1)*in.block, in.pos); err != nil {
		return a.drop(in, writing(err))
	}
	return nil
}

// Sources are files that the sender has placed, to copy from. Each is checked
// again before it is used.
type sources struct {
	index *index
	sites sites
	block int64
	old   *placedFile // the earlier version, or nil
	other *placedFile // the other file used last, or nil

	leaving func() error // called before other is closed
}

// A placedFile is a placed file that is open.
type placedFile struct {
	at  int64 // of its row
	row *row
	*content
}

func (a *assembler) sources(in *incoming) *sources {
	s := &sources{index: a.index, sites: sites{vol: a.vol}, block: in.block}
	s.old = s.open(a.olds[in.index])
	return s
}

// open opens the file of a row, or returns nil if the file has changed since.
func (s *sources) open(at int64) *placedFile {
	m := s.index.row(at)
	if m == nil {
		return nil
	}
	now := s.sites.look(m.here)
	if !s.index.same(&m.ident, &now) {
		return nil
	}
	f, err := s.sites.at.root.Open(path.Base(m.here))
	if err != nil {
		return nil
	}
	return &placedFile{at, m, &content{entry: entry{size: m.ident.size}, file: f, at: f}}
}

// find returns a file that has a chunk with that hash, and its offset there:
// the earlier version, in the same place, or any other file. It returns nil if
// there is none.
func (s *sources) find(chunk uint32, h hash) (*content, int64, error) {
	if s.old != nil && int(chunk) < len(s.old.row.hashes) && s.old.row.hashes[chunk] == h && blockSize(s.old.row.ident.size) == s.block {
		return s.old.content, int64(chunk) * s.block, nil
	}
	at, ok := s.index.chunk(h)
	if !ok {
		return nil, 0, nil
	}
	p := s.other
	switch {
	case s.old != nil && s.old.at == at.row:
		p = s.old
	case p == nil || p.at != at.row:
		if err := s.leaving(); err != nil {
			return nil, 0, err
		}
		s.closeOther()
		if p = s.open(at.row); p == nil {
			return nil, 0, nil
		}
		s.other = p
	}
	if int(at.chunk) >= len(p.row.hashes) || p.row.hashes[at.chunk] != h {
		return nil, 0, nil
	}
	return p.content, int64(at.chunk) * blockSize(p.row.ident.size), nil
}

// covers reports whether the earlier version has a chunk of n bytes in the same
// place.
func (s *sources) covers(chunk uint32, n int64) bool {
	return s.old != nil && int(chunk) < len(s.old.row.hashes) && blockSize(s.old.row.ident.size) == s.block &&
		chunkSize(s.old.row.ident.size, s.block, chunk) == n
}

func (s *sources) closeOther() {
	if s.other != nil {
		s.other.close()
		s.other = nil
	}
}

func (s *sources) close() {
	s.closeOther()
	if s.old != nil && s.old.content != nil {
		s.old.close()
	}
	s.sites.leave()
}

// copyData copies n bytes from one file to another, except holes. If the file
// system can share them, they are not read.
func copyData(to *os.File, at int64, from *content, start, n int64) error {
	for end := start + n; start < end; {
		if hole := from.hole(start, end); hole > 0 {
			start, at = start+hole, at+hole
			continue
		}
		step := from.dataEnd(end) - start
		if err := copyRange(to, at, from.file.(*os.File), start, step); err != nil {
			return err
		}
		start, at = start+step, at+step
	}
	return nil
}

// copied accepts a copied chunk if it has the hash that the sender has sent.
func (a *assembler) copied(in *incoming, x *chunkCopy) error {
	switch {
	case in.dead:
		return nil
	case a.ctx.Err() != nil:
		return a.why()
	case x.err != nil && noSpace(x.err):
		in.reuse.spoilt[x.chunk] = true
		return a.drop(in, writing(x.err))
	case x.err != nil || x.unread != nil || x.sum != in.reuse.told[x.chunk]:
		in.reuse.spoilt[x.chunk] = true
		return nil // the sender will send it
	}
	in.reuse.states[x.chunk] = chunkThere
	a.update(func(p *Progress, r *Result) {
		p.FileBytes += x.size
		p.Bytes += x.size
		r.Reused += x.size
	})
	if in.unsynced += x.size; in.unsynced >= syncEvery && a.placer.early(in.file, &in.lost) {
		in.unsynced = 0
	}
	return a.verified(in, x.chunk, x.sum, x.size)
}

// copyAll copies all chunks that are found in other files, and verifies the
// copies.
func (a *assembler) copyAll(in *incoming, s *sources) error {
	c := &copies{assembler: a, in: in}
	defer c.wait() // before anything is closed
	s.leaving = c.settle
	for i, h := range in.reuse.told {
		chunk := uint32(i)
		if in.reuse.states[i] == chunkThere {
			continue
		}
		if a.ctx.Err() != nil {
			return a.why()
		}
		from, at, err := s.find(chunk, h)
		if err != nil || in.dead {
			return err
		}
		n := chunkSize(in.size, in.block, chunk)
		if from == nil || !a.spend(n) {
			continue
		}
		if err := c.begin(chunk, from, at, n); err != nil || in.dead {
			return err
		}
	}
	return c.settle()
}
