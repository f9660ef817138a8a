package block

import (
	"errors"
	"fmt"
	"math"

	"github.com/sdp2p/p2p/proto"
)

var errEarly = fmt.Errorf("%w answer: the offer is not complete", proto.ErrInvalid)

// readAnswer reads what the receiver wants. It is listen's.
func (s *sender) readAnswer(d *proto.Decoder) error {
	select {
	case <-s.offered:
	default:
		return errEarly
	}
	claims := maxChunks
	c := s.offer.entries()
	verdicts := make([]verdict, 0, s.offer.count)
	for c.next() {
		var w wish
		size := c.size
		if c.kind == kindFolder {
			size = -1
		}
		if err := w.decode(d, size, claims); err != nil {
			return err
		}
		verdicts = append(verdicts, w.verdict)
		claims -= len(w.claims)
		if w.verdict == verdictFrom || w.verdict == verdictPart {
			s.wishes[c.index] = w
		}
		s.count(c, w)
	}
	s.verdicts = verdicts
	if c.err != nil {
		return fmt.Errorf("%w: %w", ErrRead, c.err)
	}
	return d.Err()
}

// count books what is wanted of an entry.
func (s *sender) count(c *cursor, w wish) {
	switch w.verdict {
	case verdictNo:
		s.skip(c.path, &PeerError{Err: ErrRefused})
		return
	case verdictName:
		s.skip(c.path, &PeerError{Err: ErrName})
		return
	}
	if c.kind == kindFolder {
		return
	}
	size := c.size
	if w.verdict == verdictPart {
		size = w.end - w.start
		s.mu.Lock()
		s.ranges[c.index] = part{start: w.start, end: w.end}
		s.mu.Unlock()
	}
	s.update(func(p *Progress, r *Result) {
		p.TotalFiles++
		if p.TotalBytes += size; p.TotalBytes < 0 {
			p.TotalBytes = math.MaxInt64
		}
		if w.verdict == verdictHave {
			p.Files++
			p.Bytes += size
			p.Verified += size
			r.Resumed += size
		}
	})
}

// part returns which bytes of a file are wanted.
func (s *sender) part(index int, size int64) part {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := s.ranges[index]; ok {
		return p
	}
	return part{end: size}
}

// refused books an entry that the receiver could not receive. It is listen's.
func (s *sender) refused(m message) error {
	c := s.offer.entries()
	for c.next() && c.index < int(m.entry) {
	}
	if c.err != nil || c.index != int(m.entry) {
		return violation("there is no entry %d", m.entry)
	}
	s.fail(c.index, c.path, m.why())
	return nil
}

// book counts what has arrived, now that all has. It is listen's.
func (s *sender) book() error {
	c := s.offer.entries()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c.next() {
		if v := s.verdicts[c.index]; v == verdictNo || v == verdictName || s.failed[c.index] {
			continue
		}
		if c.kind == kindFolder {
			s.result.Folders++
			continue
		}
		s.result.Files++
		size := c.size
		if p, ok := s.ranges[c.index]; ok {
			size = p.end - p.start
		}
		s.result.Bytes += size
	}
	s.now.Verified = s.now.Bytes
	if c.err != nil && !errors.Is(c.err, ErrCut) {
		return fmt.Errorf("%w: %w", ErrRead, c.err)
	}
	return nil
}
