package block

import (
	"encoding/binary"

	"github.com/zeebo/blake3"
)

// shortHash returns the first 8 bytes of the hash of a piece. They say which
// pieces are worth copying; the chunk is verified by its own hash.
func shortHash(b []byte) uint64 {
	h := blake3.Sum256(b)
	return binary.LittleEndian.Uint64(h[:])
}

// sendChanged sends a file of which the receiver has an earlier version: first
// the hashes of its chunks, then the bytes that the receiver lacks.
func (s *sender) sendChanged(l *lot, index int, c *content) error {
	size, block := c.entry.size, blockSize(c.entry.size)
	told, err := c.hashes(s.ctx, block)
	if err != nil {
		return err
	}
	claims, err := s.tellHashes(l, index, told)
	if err != nil {
		return err
	}
	s.root.Reset()
	pieces := claims.pieces
	for i, state := range claims.states {
		start := int64(i) * block
		end := min(start+block, size)
		sum := told[i]
		switch state {
		case chunkThere:
			s.reused(end - start)
		case chunkPieces:
			n := chunkCount(end-start, pieceSize(block))
			sum, err = s.sendMixed(l, index, c, start, end, pieces[:n])
			pieces = pieces[n:]
		default:
			sum, err = s.sendChunk(l, index, c, start, end)
		}
		if err == nil && sum != told[i] {
			err = ErrChanged
		}
		if err != nil {
			return err
		}
		s.root.Write(sum[:])
		if err := s.serveRepairs(l); err != nil {
			return err
		}
	}
	return s.endFile(l, index, c)
}

// tellHashes begins a file with the hashes of its chunks, and returns the
// receiver's claims.
func (s *sender) tellHashes(l *lot, index int, hashes []hash) (*message, error) {
	b, err := (&message{kind: kindHashes, entry: uint16(index), hashes: hashes}).AppendBinary(nil)
	if err != nil {
		return nil, err
	}
	if !s.askClaims(l, index) {
		return nil, errGivenUp
	}
	defer s.noClaims(l)
	if err := s.pass(&item{message: message{kind: kindRaw}, data: b}); err != nil {
		return nil, err
	}
	for {
		if s.failure(l, index).err != nil {
			return nil, errGivenUp
		}
		select {
		case claims := <-l.claims:
			return claims, nil
		case <-l.wake:
		case <-s.ctx.Done():
			return nil, s.why()
		}
	}
}

// askClaims makes the claims of a file acceptable, unless the file was given
// up.
func (s *sender) askClaims(l *lot, index int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.failed[index].err != nil {
		return false
	}
	l.told = index
	return true
}

// noClaims makes claims unacceptable again, and discards those of a file that
// was given up, so that they are not taken for those of the next one.
func (s *sender) noClaims(l *lot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.told = -1
	select {
	case <-l.claims:
	default:
	}
}

// claimed handles the receiver's claims of the file whose hashes were sent.
func (s *sender) claimed(l *lot, m *message) error {
	index := int(m.entry)
	if index >= l.end-l.first {
		return violation("claims of entry %d", index)
	}
	e, err := s.list.at(l.first + index)
	if err != nil {
		return spoolError(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case l.told != index && l.failed[index].there: // the receiver has failed it: the claims are void
		return nil
	case l.told != index:
		return violation("claims of entry %d", index)
	case int64(len(m.states)) != chunkCount(e.size, blockSize(e.size)) || int64(len(m.pieces)) != pieceCount(m.states, e.size):
		return violation("claims of %d chunks and %d pieces of entry %d", len(m.states), len(m.pieces), index)
	}
	l.told = -1
	l.claims <- m // it has room, since told was set
	return nil
}

// reused counts n bytes that the receiver has already.
func (s *sender) reused(n int64) {
	s.update(func(p *Progress, r *Result) {
		p.FileBytes += n
		p.Bytes += n
		r.Reused += n
	})
}

// sendMixed sends a chunk, except the pieces that the receiver has in the same
// place, and returns its hash.
func (s *sender) sendMixed(l *lot, index int, c *content, start, end int64, known []uint64) (hash, error) {
	old, size := int64(0), pieceSize(blockSize(c.entry.size))
	flush := func() error {
		n := old
		if old = 0; n == 0 {
			return nil
		}
		s.reused(n)
		return s.say(message{kind: kindOld, size: uint32(n)})
	}
	s.chunk.reset()
	for i := 0; start < end; i++ {
		if s.failure(l, index).err != nil {
			return hash{}, errGivenUp
		}
		b, err := s.buffer()
		if err != nil {
			return hash{}, err
		}
		n := min(size, end-start)
		b, _ = (&message{kind: kindData, size: uint32(n)}).AppendBinary(b[:0])
		data := b[len(b) : len(b)+int(n)]
		if err = c.read(data, start); err == nil {
			err = s.chunk.write(data)
		}
		if err != nil {
			s.recycle(b)
			return hash{}, err
		}
		if start += n; shortHash(data) == known[i] {
			s.recycle(b)
			if old += n; old+size > maxHole {
				err = flush()
			}
		} else if err = flush(); err != nil {
			s.recycle(b)
		} else {
			s.advance(n, n)
			err = s.pass(&item{message: message{kind: kindPack}, data: b[:len(b)+int(n)]})
		}
		if err != nil {
			return hash{}, err
		}
	}
	if err := flush(); err != nil {
		return hash{}, err
	}
	h, err := s.chunk.sum()
	if err == nil {
		err = s.say(message{kind: kindChunk, hash: h})
	}
	return h, err
}
