package block

// sendEntry sends the wanted part of an entry.
func (s *sender) sendEntry(l *lot, index int, e entry) error {
	w := wish{verdict: l.verdicts[index]}
	if more, ok := l.wishes[index]; ok {
		w = more
		delete(l.wishes, index)
	}
	if e.kind != kindFile || w.verdict != verdictWhole && w.verdict != verdictFrom && w.verdict != verdictPart {
		return nil
	}
	if w.verdict == verdictWhole && e.size <= maxSmall {
		return s.sendSmall(l, index, e)
	}
	if err := s.sendPack(); err != nil {
		return err
	}
	if f := s.failure(l, index); f.there {
		return s.giveUp(l, index, e.path, f.err)
	}
	err := s.sendFile(l, index, e, w)
	if err == nil || !ofFile(err) {
		return err
	}
	return s.giveUp(l, index, e.path, err)
}

// sendFile sends a file, or the wanted part of it.
func (s *sender) sendFile(l *lot, index int, e entry, w wish) error {
	c, err := s.source(e.path).open(e)
	if err != nil {
		return err
	}
	defer func() { c.close() }()
	start, size := int64(0), e.size
	if w.verdict == verdictPart {
		start, size = w.start, w.end-w.start
	}
	s.update(func(p *Progress, _ *Result) { p.File, p.FileBytes, p.FileSize = e.path, 0, size })
	if w.verdict != verdictPart && l.changed[index] && isLarge(&e) {
		return s.sendChanged(l, index, c)
	}
	block := blockSize(size)
	claims, err := s.confirm(c, w.claims, block)
	if err != nil {
		return err
	}
	there := min(int64(len(claims))*block, size)
	s.update(func(p *Progress, r *Result) {
		p.FileBytes += there
		p.Bytes += there
		r.Resumed += there
		if len(claims) < len(w.claims) {
			r.Restarted++
		}
	})
	if err := s.say(message{kind: kindBegin, entry: uint16(index), chunk: uint32(len(claims))}); err != nil {
		return err
	}
	s.root.Reset()
	for i := range claims {
		s.root.Write(claims[i][:])
	}
	for pos := there; pos < size; {
		end := min(pos+block, size)
		sum, err := s.sendChunk(l, index, c, start+pos, start+end)
		if err != nil {
			return err
		}
		s.root.Write(sum[:])
		pos = end
		if err := s.serveRepairs(l); err != nil {
			return err
		}
	}
	return s.endFile(l, index, c)
}
