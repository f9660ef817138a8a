package block

import "time"

const packFor = 50 * time.Millisecond // that a small file waits for the next ones at most

// sendSmall sends a whole file of at most one chunk. The messages of many such
// files share one buffer. A file that fails takes only its failed message.
func (s *sender) sendSmall(l *lot, index int, e entry) error {
	if len(s.pack)+framing+int(e.size) > len(buffer{}) || s.pack != nil && time.Since(s.packed) > packFor {
		if err := s.sendPack(); err != nil {
			return err
		}
		if err := s.serveRepairs(l); err != nil {
			return err
		}
	}
	if s.pack == nil {
		b, err := s.buffer()
		if err != nil {
			return err
		}
		s.pack, s.packed = b[:0], time.Now()
	}
	s.update(func(p *Progress, _ *Result) { p.File, p.FileBytes, p.FileSize = e.path, 0, e.size })
	b, err := s.encode(s.pack, uint16(index), e)
	if err != nil && ofFile(err) {
		s.fail(l, index, e.path, failure{here: true, err: err})
		b, err = (&message{kind: kindFailed, entry: uint16(index), code: codeOf(err)}).AppendBinary(s.pack)
	} else if err == nil {
		s.update(func(p *Progress, r *Result) {
			p.FileBytes = e.size
			p.Bytes += e.size
			p.Files++
			r.Sent += e.size
		})
	}
	if err == nil {
		s.pack = b
	}
	return err
}

// encode appends all messages of a file to b, which must have room for them.
func (s *sender) encode(b []byte, index uint16, e entry) ([]byte, error) {
	c, err := s.source(e.path).open(e)
	if err != nil {
		return b, err
	}
	defer func() { c.close() }()
	b, _ = (&message{kind: kindBegin, entry: index}).AppendBinary(b)
	s.root.Reset()
	if e.size == 0 {
		if err := c.check(); err != nil {
			return b, err
		}
	} else {
		b, _ = (&message{kind: kindData, size: uint32(e.size)}).AppendBinary(b)
		content := b[len(b) : len(b)+int(e.size)]
		if err := c.readWhole(content); err != nil {
			return b, err
		}
		s.chunk.reset()
		s.chunk.write(content)
		m := message{kind: kindChunk}
		m.hash, _ = s.chunk.sum() // it does not fail without a hole
		s.root.Write(m.hash[:])
		b, _ = m.AppendBinary(b[:len(b)+len(content)])
	}
	return (&message{kind: kindEnd, hash: sum(s.root)}).AppendBinary(b)
}

// sendPack sends the waiting small files.
func (s *sender) sendPack() error {
	if s.pack == nil {
		return nil
	}
	b := s.pack
	s.pack = nil
	return s.pass(&item{message: message{kind: kindPack}, data: b})
}
