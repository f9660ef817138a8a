package block

// A request names a chunk to be sent again.
type request struct {
	entry uint16
	chunk uint32
}

// A repair is a chunk in transit again.
type repair struct {
	request
	in       *incoming // nil if the file was given up
	pos, end int64
}

// ask requests a chunk again, or gives up the file after too many requests.
func (a *assembler) ask(in *incoming, chunk uint32) error {
	req := request{uint16(in.index), chunk}
	if a.asked[req]++; a.asked[req] > maxRepairs || len(a.asked)+len(a.late) > maxAsked {
		delete(a.asked, req) // it was not sent this time
		return a.drop(in, ErrCorrupt)
	}
	return a.say(message{kind: kindRepair, entry: req.entry, chunk: chunk})
}

// unasked forgets the requests for chunks of a file that the sender has given
// up.
func (a *assembler) unasked(entry uint16) {
	for req := range a.asked {
		if req.entry == entry {
			delete(a.asked, req)
		}
	}
	for req := range a.late {
		if req.entry == entry {
			delete(a.late, req)
		}
	}
}

// repair handles the message that announces a repair.
func (a *assembler) repair(req request) error {
	if a.again != nil || a.current != nil && !a.current.between() {
		return violation("a repair inside a chunk")
	}
	if int(req.entry) > a.cursor.index {
		return violation("a repair of a file that was not sent")
	}
	r := &repair{request: req}
	a.again = r
	if a.asked[req] == 0 {
		return nil // it belongs to a file that was given up
	}
	r.in = a.open[req.entry]
	if a.current != nil && a.current.index == int(req.entry) {
		r.in = a.current
	}
	r.pos = int64(req.chunk) * r.in.block
	r.end = r.pos + chunkSize(r.in.size, r.in.block, req.chunk)
	return nil
}

// takeAgain receives n bytes of a repair: data, or a hole if data is nil. The
// zeros of a hole are written, since other bytes are there.
func (a *assembler) takeAgain(r *repair, n int64, data []byte) error {
	if r.in == nil {
		return nil
	}
	if n > r.end-r.pos {
		return violation("a chunk that is too long")
	}
	r.pos += n
	a.update(func(_ *Progress, result *Result) { result.Sent += int64(len(data)) })
	if data == nil {
		return a.writeZeros(r.in, r.pos-n, n)
	}
	return a.write(r.in, data, r.pos-n)
}

// repaired handles the end of a repair.
func (a *assembler) repaired(it *item) error {
	r := a.again
	a.again = nil
	delete(a.late, r.request)
	in := r.in
	if in == nil {
		return nil
	}
	if r.pos != r.end {
		return violation("a chunk that is too short")
	}
	if it.sum != it.hash {
		return a.ask(in, r.chunk)
	}
	delete(a.asked, r.request)
	in.hashes[r.chunk] = it.hash
	in.missing--
	a.update(func(_ *Progress, result *Result) { result.Repaired++ })
	if err := a.verified(in, r.chunk, it.hash, r.end-int64(r.chunk)*in.block); err != nil {
		return err
	}
	if in.ended && in.missing == 0 {
		delete(a.open, r.entry)
		return a.whole(in)
	}
	return nil
}
