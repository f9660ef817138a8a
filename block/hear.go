package block

import (
	"bufio"
	"fmt"
	"math"

	"github.com/sdp2p/p2p/proto"
)

// hint handles a hint of the receiver. An unknown one is ignored.
func (s *sender) hint(l *lot, received uint64) error {
	value, h := uint32(received), hint(received>>32)
	switch h {
	case hintPacks:
		s.packs.Store(true)
		return nil
	case hintUnchanged, hintChanged:
	default:
		return nil
	}
	if l == nil || !l.offered.Load() || isClosed(l.answered) {
		return violation("a hint without an offer")
	}
	if h == hintChanged {
		l.changed[int(uint16(value))] = true
		return nil
	}
	more, n := stretch{uint16(value), uint16(value >> 16)}, len(l.unchanged)
	if more.last < more.first || n > 0 && more.first <= l.unchanged[n-1].last {
		return violation("entries %d to %d out of order", more.first, more.last)
	}
	l.unchanged = append(l.unchanged, more)
	return nil
}

// listen reads the receiver's messages, in a goroutine of its own. It never
// waits for the goroutine of send.
func (s *sender) listen() error {
	r := bufio.NewReaderSize(s.link, 4<<10)
	d := proto.NewDecoder(r)
	for over := false; !over; {
		var m message
		d.Reset(r)
		if err := m.DecodeFrom(d); err != nil {
			return decoding(err)
		}
		s.mu.Lock()
		l := s.lot
		s.mu.Unlock()
		var err error
		switch m.kind {
		case kindKeep:
		case kindAbort:
			err = m.why()
		case kindProgress:
			s.update(func(p *Progress, _ *Result) { p.Verified = int64(min(m.verified, math.MaxInt64)) })
			if m.received >= hintBit {
				err = s.hint(l, m.received)
			}
		default:
			over, err = s.hear(l, &m, d)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// hear handles a message about an offer. It reports whether it was the last one
// of the transfer.
func (s *sender) hear(l *lot, m *message, d *proto.Decoder) (over bool, err error) {
	if l == nil || !l.offered.Load() || isClosed(l.done) {
		return false, violation("message %d without an offer", m.kind)
	}
	if answered := isClosed(l.answered); answered == (m.kind == kindAnswer) {
		return false, violation("message %d, the offer being answered: %v", m.kind, answered)
	}
	switch m.kind {
	case kindAnswer:
		if err := s.readAnswer(l, d); err != nil {
			return false, err
		}
		close(l.answered)
	case kindRepair:
		return false, s.queue(l, request{m.entry, m.chunk})
	case kindFailed:
		return false, s.refused(l, m)
	case kindClaims:
		return false, s.claimed(l, m)
	case kindDone:
		if !l.sent.Load() {
			return false, violation("the end before all files were sent")
		}
		if err := s.count(l); err != nil {
			return false, err
		}
		close(l.done)
		return l == s.lots[len(s.lots)-1], nil
	default:
		return false, violation("message %d of a receiver", m.kind)
	}
	return false, nil
}

// readAnswer reads the receiver's answer to an offer.
func (s *sender) readAnswer(l *lot, d *proto.Decoder) error {
	claims := maxChunks
	l.verdicts = make([]verdict, 0, l.end-l.first)
	c := s.list.entries(l.first, l.end)
	files, bytes := 0, int64(0)
	for c.next() {
		var w wish
		size := c.size
		if c.kind == kindFolder {
			size = -1
		}
		if err := w.decode(d, size, claims); err != nil {
			return decoding(err)
		}
		if c.kind == kindLeftOut && w.verdict != verdictNo && w.verdict != verdictWhole {
			return violation("verdict %d on an entry that was left out", w.verdict)
		}
		if c.kind == kindFile {
			files, bytes = files+1, bytes+c.size
		}
		l.verdicts = append(l.verdicts, w.verdict)
		if c.kind == kindLeftOut {
			l.absent[c.index-l.first] = true
		}
		claims -= len(w.claims)
		if w.verdict == verdictFrom || w.verdict == verdictPart {
			l.wishes[c.index-l.first] = w
		}
		s.expect(l, c, w)
	}
	if c.err != nil {
		return spoolError(c.err)
	}
	s.update(func(p *Progress, _ *Result) { // later offers count in full
		if l.first == 0 {
			p.expect(int(s.totals.files)-files, s.totals.bytes-bytes)
		} else {
			p.expect(-files, -bytes)
		}
	})
	return nil
}

// expect records the receiver's wish for an entry.
func (s *sender) expect(l *lot, c *cursor, w wish) {
	switch {
	case c.kind == kindLeftOut && w.verdict == verdictWhole: // the receiver misses it
		s.mu.Lock()
		e := s.left[c.index]
		delete(s.left, c.index)
		s.mu.Unlock()
		s.skip(e.Path, e.Err)
		return
	case w.verdict == verdictNo:
		s.mu.Lock()
		delete(s.left, c.index)
		s.mu.Unlock()
		s.skip(c.path, &PeerError{Err: ErrRefused})
		return
	case w.verdict == verdictName:
		s.skip(c.path, &PeerError{Err: ErrName})
		return
	case c.kind == kindFolder:
		return
	}
	size := c.size
	if w.verdict == verdictPart {
		size = w.end - w.start
		s.mu.Lock()
		l.ranges[c.index-l.first] = part{start: w.start, end: w.end}
		s.mu.Unlock()
	}
	s.update(func(p *Progress, r *Result) {
		p.expect(1, size)
		if w.verdict == verdictHave {
			p.have(r, size, l.isUnchanged(c.index-l.first))
		}
	})
}

// queue queues a chunk to be sent again. A receiver may ask for each chunk at
// most three times, and for a limited number of chunks.
func (s *sender) queue(l *lot, q request) error {
	index := int(q.entry)
	if !l.wanted(index) || l.verdicts[index] == verdictHave {
		return violation("a repair of entry %d", index)
	}
	e, err := s.list.at(l.first + index)
	if err != nil {
		return spoolError(err)
	}
	p := s.part(l, index, e.size)
	if size := p.end - p.start; e.kind != kindFile || int64(q.chunk) >= chunkCount(size, blockSize(size)) {
		return violation("a repair of chunk %d of entry %d", q.chunk, index)
	}
	s.mu.Lock()
	l.mended[q]++
	times, chunks := l.mended[q], len(l.mended)
	l.repairs = append(l.repairs, q)
	s.mu.Unlock()
	switch {
	case times > maxRepairs:
		return violation("a chunk was asked for %d times again", times)
	case chunks > maxMended:
		return fmt.Errorf("%w: more than %d chunks", ErrCorrupt, maxMended)
	}
	l.rouse()
	return nil
}

// refused records an entry that the receiver has failed.
func (s *sender) refused(l *lot, m *message) error {
	index := int(m.entry)
	s.mu.Lock()
	before := l.failed[index].there
	s.mu.Unlock()
	if before || !l.wanted(index) || l.verdicts[index] == verdictHave {
		return violation("the failure of entry %d", index)
	}
	e, err := s.list.at(l.first + index)
	if err != nil {
		return spoolError(err)
	}
	s.fail(l, index, e.path, failure{there: true, err: m.why()})
	l.rouse()
	return nil
}

// count adds up the files and folders of an offer that have arrived, once the
// receiver is done with it.
func (s *sender) count(l *lot) error {
	c := s.list.entries(l.first, l.end)
	var arrived Result
	for c.next() {
		index := c.index - l.first
		switch {
		case !l.wanted(index) || s.failure(l, index).err != nil:
		case c.kind == kindFolder:
			arrived.Folders++
		default:
			p := s.part(l, index, c.size)
			arrived.Files++
			arrived.Bytes += p.end - p.start
		}
	}
	if c.err != nil {
		return spoolError(c.err)
	}
	s.update(func(p *Progress, r *Result) {
		r.Files += arrived.Files
		r.Folders += arrived.Folders
		r.Bytes += arrived.Bytes
		p.Verified = p.Bytes - r.unverified
	})
	return nil
}
