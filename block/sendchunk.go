package block

import "errors"

// part returns the wanted range of a file.
func (s *sender) part(l *lot, index int, size int64) part {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := l.ranges[index]; ok {
		return p
	}
	return part{end: size}
}

// fail records the failure of a file by either side. It is reported to the app
// once.
func (s *sender) fail(l *lot, index int, path string, f failure) {
	s.mu.Lock()
	before, known := l.failed[index]
	if known {
		f.err = before.err
	}
	f.here, f.there = f.here || before.here, f.there || before.there
	l.failed[index] = f
	s.mu.Unlock()
	if !known {
		s.skip(path, f.err)
	}
}

// failure returns the failure of a file, which is zero if it has not failed.
func (s *sender) failure(l *lot, index int) failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	return l.failed[index]
}

func (s *sender) source(path string) *Source {
	first, _ := top(path)
	return s.sources[fold(first)]
}

// giveUp tells the receiver that a file will not arrive, or not completely,
// unless the receiver was told before.
func (s *sender) giveUp(l *lot, index int, path string, err error) error {
	if s.failure(l, index).here {
		return nil
	}
	s.fail(l, index, path, failure{here: true, err: err})
	return s.say(message{kind: kindFailed, entry: uint16(index), code: codeOf(s.failure(l, index).err)})
}

// errGivenUp says that one of the sides has given up a file.
var errGivenUp = errors.New("block: given up")

// ofFile reports whether an error ends only a file, not the transfer.
func ofFile(err error) bool {
	return errors.Is(err, ErrChanged) || errors.Is(err, ErrRead) || errors.Is(err, errGivenUp)
}

// endFile ends a file all of whose chunks were sent.
func (s *sender) endFile(l *lot, index int, c *content) error {
	if s.failure(l, index).err != nil {
		return errGivenUp
	}
	if err := c.check(); err != nil {
		return err
	}
	s.update(func(p *Progress, _ *Result) { p.Files++ })
	return s.say(message{kind: kindEnd, hash: sum(s.root)})
}

// confirm returns the valid claims: those before the first chunk that differs
// from the file.
func (s *sender) confirm(c *content, claims []hash, block int64) ([]hash, error) {
	if len(claims) == 0 {
		return nil, nil
	}
	b, err := s.buffer()
	if err != nil {
		return nil, err
	}
	defer s.recycle(b)
	for i := range claims {
		start := int64(i) * block
		h, err := c.hash(s.chunk, b[:piece], start, start+chunkSize(c.entry.size, block, uint32(i)))
		if err != nil {
			return nil, err
		}
		if h != claims[i] {
			return claims[:i], nil
		}
	}
	return claims, nil
}

// sendChunk sends a chunk of a file and returns its hash, unless one of the
// sides gives up the file. A buffer holds everything that is written at once,
// since each write ends with a switch between goroutines and a packet that is
// not full.
func (s *sender) sendChunk(l *lot, index int, c *content, start, end int64) (h hash, err error) {
	s.chunk.reset()
	for start < end {
		if s.failure(l, index).err != nil {
			return h, errGivenUp
		}
		if n := c.hole(start, end); n > 0 {
			start += n
			if h, err = s.sendHole(n, start == end); err != nil {
				return h, err
			}
			continue
		}
		b, err := s.buffer()
		if err != nil {
			return h, err
		}
		n := min(piece, c.dataEnd(end)-start)
		b, _ = (&message{kind: kindData, size: uint32(n)}).AppendBinary(b[:0])
		data := b[len(b) : len(b)+int(n)]
		if err := c.read(data, start); err != nil {
			s.recycle(b)
			return h, err
		}
		err = s.chunk.write(data) // now, while the data is in the processor's cache
		b = b[:len(b)+len(data)]
		if start += n; start == end && err == nil {
			h, err = s.chunk.sum()
			b, _ = (&message{kind: kindChunk, hash: h}).AppendBinary(b)
		}
		if err != nil {
			s.recycle(b)
			return h, s.why()
		}
		s.advance(n, n)
		if err := s.pass(&item{message: message{kind: kindPack}, data: b}); err != nil {
			return h, err
		}
	}
	return h, nil
}

// sendHole sends a hole of n bytes, and the hash of the chunk if it ends there.
func (s *sender) sendHole(n int64, last bool) (h hash, err error) {
	var b []byte
	s.chunk.zeros(n)
	s.advance(n, 0)
	for ; n > 0; n -= min(n, maxHole) {
		b, _ = (&message{kind: kindHole, size: uint32(min(n, maxHole))}).AppendBinary(b)
	}
	if last {
		if h, err = s.chunk.sum(); err != nil {
			return h, s.why()
		}
		b, _ = (&message{kind: kindChunk, hash: h}).AppendBinary(b)
	}
	return h, s.pass(&item{message: message{kind: kindRaw}, data: b})
}

// advance counts n bytes of the file, of which sent cross the stream.
func (s *sender) advance(n, sent int64) {
	s.update(func(p *Progress, r *Result) {
		p.FileBytes += n
		p.Bytes += n
		r.Sent += sent
	})
}

// serveRepairs sends the chunks that the receiver has requested again so far.
func (s *sender) serveRepairs(l *lot) error {
	for {
		s.mu.Lock()
		repairs := l.repairs
		l.repairs = nil
		s.mu.Unlock()
		if len(repairs) == 0 {
			return nil
		}
		for _, q := range repairs {
			if err := s.repair(l, q); err != nil {
				return err
			}
		}
	}
}

// repair sends a chunk again, or tells the receiver that its file was given up.
// Each request gets one of these answers, so that none is pending at the end.
func (s *sender) repair(l *lot, q request) error {
	index := int(q.entry)
	e, err := s.list.at(l.first + index)
	if err != nil {
		return spoolError(err)
	}
	if f := s.failure(l, index); f.err != nil {
		return s.giveUp(l, index, e.path, f.err)
	}
	part := s.part(l, index, e.size)
	size := part.end - part.start
	block := blockSize(size)
	start := part.start + int64(q.chunk)*block
	file, err := s.source(e.path).open(e)
	if err == nil {
		defer func() { file.close() }()
		if err := s.say(message{kind: kindRepair, entry: q.entry, chunk: q.chunk}); err != nil {
			return err
		}
		before := s.progress()
		_, err = s.sendChunk(l, index, file, start, start+chunkSize(size, block, q.chunk))
		s.update(func(p *Progress, r *Result) {
			p.FileBytes, p.Bytes = before.FileBytes, before.Bytes
			r.Repaired++
		})
	}
	if err == nil || !ofFile(err) {
		return err
	}
	return s.giveUp(l, index, e.path, err)
}
