package block

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"time"

	"github.com/sdp2p/p2p/proto"
	"github.com/zeebo/blake3"
)

// SendOptions are the choices of a sender. The zero value is a good one.
type SendOptions struct {
	// ID names the offer to the receiver: one of the same ID, by the same sender, goes on with what was cut. If zero, it is
	// derived from the names and IDs of the sources.
	ID [16]byte
	// Progress is told how far the transfer is, at most every 100 ms, and at its end. Calls are made one after the other.
	Progress func(Progress)
}

// Send offers sources to the other side of stream, which calls [Receive], and sends what that wants of them. It returns
// once all of it is verified, on the disk, and in its place over there.
//
// What cannot be offered (symbolic links, special files, names that no receiver would take) is left out, and in the Result's
// Skipped, as is what the receiver does not want. The error tells why the transfer ended: a [*PeerError] if the receiver did
// it. If the transfer did not end, but some files failed, the error is a [*FileError] for the first of them. Sending the
// same again goes on where it ended.
//
// Send does not close the stream, of which nothing more can be read or written. The stream's deadlines are Send's; one that
// cannot have any is refused with the error of SetDeadline.
func Send(ctx context.Context, stream net.Conn, sources []Source, opts SendOptions) (Result, error) {
	if err := stream.SetDeadline(time.Time{}); err != nil {
		return Result{}, streamError(err) // without deadlines, nothing would end a call
	}
	s := &sender{
		transfer: newTransfer(ctx, stream), sources: map[string]*Source{}, chunk: blake3.New(), root: newRoot(),
		answered: make(chan struct{}), done: make(chan struct{}), repairs: make(chan request, maxAsked), wishes: map[int]wish{},
		offered: make(chan struct{}), failed: map[int]bool{}, ranges: map[int]part{},
	}
	defer s.offer.close()
	if opts.ID == [16]byte{} {
		opts.ID = offerID(sources)
	}
	s.greeting, _ = (&hello{opts.ID}).AppendBinary(nil)
	s.start(func() error { return s.talk(s.out) })
	s.start(s.listen)
	err := s.run(func() error { return s.send(sources) }, func(p Progress) {
		if opts.Progress != nil {
			opts.Progress(p)
		}
	})
	return s.finish(err)
}

// A sender sends one offer. Fields belong to the goroutine of Send unless they say otherwise.
type sender struct {
	*transfer
	sources map[string]*Source // by the first component of their paths
	offer   spool              // of listen as well, once it is complete
	chunk   *blake3.Hasher     // of the chunk that is read
	root    *blake3.Hasher     // of the file
	pack    []byte             // small files, encoded, that wait for more; or nil
	packed  time.Time          // when the first of them was read

	verdicts []verdict    // set before answered is closed
	wishes   map[int]wish // those with more to them than a verdict
	answered chan struct{}
	done     chan struct{}
	repairs  chan request
	offered  chan struct{} // closed when offer is complete
	failed   map[int]bool  // guarded by mu: files that failed, here or there
	ranges   map[int]part  // guarded by mu: parts that are wanted
}

func (s *sender) send(sources []Source) error {
	if err := s.sendOffer(sources); err != nil {
		return err
	}
	select {
	case <-s.answered:
	case <-s.ctx.Done():
		return s.why()
	}
	c := s.offer.entries()
	for c.next() {
		if err := s.sendEntry(c); err != nil {
			return err
		}
	}
	if c.err != nil {
		return fmt.Errorf("%w: %w", ErrRead, c.err)
	}
	if err := s.sendPack(); err != nil {
		return err
	}
	if err := s.say(message{kind: kindSent}); err != nil {
		return err
	}
	for {
		select {
		case q := <-s.repairs:
			if err := s.repair(q); err != nil {
				return err
			}
		case <-s.done:
			if err := s.say(message{kind: kindDone}); err != nil {
				return err
			}
			if err := s.pass(s.out, &item{last: true}); err != nil {
				return err
			}
			<-s.said
			return nil
		case <-s.ctx.Done():
			return s.why()
		}
	}
}

func (s *sender) sendOffer(sources []Source) error {
	var b []byte
	flush := func() error {
		err := s.pass(s.out, &item{message: message{kind: kindRaw}, data: b})
		b = nil
		return err
	}
	add := func(e entry) (err error) {
		if err = s.ctx.Err(); err != nil {
			return s.why()
		}
		if err = s.offer.add(&e); err != nil {
			return err
		}
		if e.kind == kindOffered {
			close(s.offered)
		}
		if b, err = e.AppendBinary(b); err == nil && (len(b) >= maxData/8 || e.kind == kindOffered) {
			err = flush()
		}
		return err
	}
	ids := newIDs()
	for i := range sources {
		source := sources[i]
		source.ids = ids
		name := source.Name
		for n := 2; s.sources[fold(source.Name)] != nil; n++ {
			source.Name = another(name, n, false)
		}
		s.sources[fold(source.Name)] = &source
		if err := source.walk(add, s.skip); err != nil {
			return err
		}
	}
	return add(entry{kind: kindOffered})
}

func (s *sender) source(path string) *Source {
	first, _ := top(path)
	return s.sources[fold(first)]
}

// sendEntry sends what is wanted of the entry under the cursor.
func (s *sender) sendEntry(c *cursor) error {
	w := wish{verdict: s.verdicts[c.index]}
	if more, ok := s.wishes[c.index]; ok {
		w = more
		delete(s.wishes, c.index)
	}
	if c.kind == kindFolder || w.verdict != verdictWhole && w.verdict != verdictFrom && w.verdict != verdictPart {
		return nil
	}
	if w.verdict == verdictWhole && c.size <= maxSmall {
		return s.sendSmall(c.index, c.entry)
	}
	if err := s.sendPack(); err != nil {
		return err
	}
	err := s.sendFile(c.index, c.entry, w)
	if !ofFile(err) {
		return err
	}
	s.fail(c.index, c.path, err)
	return s.say(message{kind: kindFailed, entry: uint16(c.index), code: codeOf(err)})
}

// fail books a file that failed, once.
func (s *sender) fail(index int, path string, err error) {
	s.mu.Lock()
	before := s.failed[index]
	s.failed[index] = true
	s.mu.Unlock()
	if !before {
		s.skip(path, err)
	}
}

// ofFile tells an error that ends a file alone.
func ofFile(err error) bool { return errors.Is(err, ErrChanged) || errors.Is(err, ErrRead) }

// sendFile sends a file, or the part of it that is wanted.
func (s *sender) sendFile(index int, e entry, w wish) error {
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
		sum, err := s.sendChunk(c, start+pos, start+end)
		if err != nil {
			return err
		}
		s.root.Write(sum[:])
		pos = end
		if err := s.serveRepairs(); err != nil {
			return err
		}
	}
	if err := c.check(); err != nil {
		return err
	}
	s.update(func(p *Progress, _ *Result) { p.Files++ })
	return s.say(message{kind: kindEnd, hash: sum(s.root)})
}

// confirm returns the claims that are true: up to the first chunk that is not what the file has there.
func (s *sender) confirm(c *content, claims []hash, block int64) ([]hash, error) {
	h := s.chunk
	for i := range claims {
		h.Reset()
		start := int64(i) * block
		end := start + chunkSize(c.entry.size, block, uint32(i))
		for start < end {
			b, err := s.buffer()
			if err != nil {
				return nil, err
			}
			n := min(piece, end-start)
			if err = c.read(b[:n], start); err == nil {
				h.Write(b[:n])
			}
			s.recycle(b)
			if err != nil {
				return nil, err
			}
			start += n
		}
		if sum(h) != claims[i] {
			return claims[:i], nil
		}
	}
	return claims, nil
}

// sendChunk sends a chunk and returns its hash. A buffer holds all that is written in one step: the end of a write costs a
// switch between goroutines, and packets that are not full.
func (s *sender) sendChunk(c *content, start, end int64) (h hash, err error) {
	s.chunk.Reset()
	for start < end {
		b, err := s.buffer()
		if err != nil {
			return h, err
		}
		n := min(piece, end-start)
		b, _ = (&message{kind: kindData, size: uint32(n)}).AppendBinary(b[:0])
		data := b[len(b) : len(b)+int(n)]
		if err := c.read(data, start); err != nil {
			s.recycle(b)
			return h, err
		}
		s.chunk.Write(data) // now, while the processor has it at hand
		b = b[:len(b)+len(data)]
		if start += n; start == end {
			h = sum(s.chunk)
			b, _ = (&message{kind: kindChunk, hash: h}).AppendBinary(b)
		}
		s.update(func(p *Progress, r *Result) {
			p.FileBytes += n
			p.Bytes += n
			r.Sent += n
		})
		if err := s.pass(s.out, &item{message: message{kind: kindPack}, data: b}); err != nil {
			return h, err
		}
	}
	return h, nil
}

// serveRepairs sends the chunks that the receiver has asked for by now.
func (s *sender) serveRepairs() error {
	for {
		select {
		case q := <-s.repairs:
			if err := s.repair(q); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// repair sends a chunk again.
func (s *sender) repair(q request) error {
	c := s.offer.entries() // from the start: repairs are rare
	for c.next() && c.index < int(q.entry) {
	}
	if c.err != nil || c.index != int(q.entry) || c.kind != kindFile {
		return violation("a repair of entry %d", q.entry)
	}
	part := s.part(c.index, c.size)
	size := part.end - part.start
	block := blockSize(size)
	if int64(q.chunk) >= chunkCount(size, block) {
		return violation("a repair of chunk %d of entry %d", q.chunk, q.entry)
	}
	start := part.start + int64(q.chunk)*block
	file, err := s.source(c.path).open(c.entry)
	if err == nil {
		defer func() { file.close() }()
		if err = s.say(message{kind: kindRepair, entry: q.entry, chunk: q.chunk}); err != nil {
			return err
		}
		before := s.progress()
		_, err = s.sendChunk(file, start, start+chunkSize(size, block, q.chunk))
		s.update(func(p *Progress, r *Result) {
			p.FileBytes, p.Bytes = before.FileBytes, before.Bytes
			r.Repaired++
		})
	}
	if !ofFile(err) {
		return err
	}
	s.fail(c.index, c.path, err)
	return s.say(message{kind: kindFailed, entry: q.entry, code: codeOf(err)})
}

// listen reads what the receiver says.
func (s *sender) listen() error {
	r := bufio.NewReaderSize(s.link, 4<<10)
	d := proto.NewDecoder(r)
	answered := false
	for {
		var m message
		d.Reset(r)
		if err := m.DecodeFrom(d); err != nil {
			return decoding(err)
		}
		switch m.kind {
		case kindKeep:
			continue
		case kindAbort:
			return m.why()
		case kindAnswer:
			if answered {
				return violation("two answers")
			}
			answered = true
			if err := s.readAnswer(d); err != nil {
				return decoding(err)
			}
			close(s.answered)
			continue
		}
		if !answered {
			return violation("message %d before the answer", m.kind)
		}
		switch m.kind {
		case kindProgress:
			s.update(func(p *Progress, _ *Result) { p.Verified = int64(min(m.verified, math.MaxInt64)) })
		case kindRepair:
			select {
			case s.repairs <- request{m.entry, m.chunk}:
			case <-s.ctx.Done():
				return nil
			}
		case kindFailed:
			if err := s.refused(m); err != nil {
				return err
			}
		case kindDone:
			if err := s.book(); err != nil {
				return err
			}
			close(s.done)
			return nil
		default:
			return violation("message %d of a receiver", m.kind)
		}
	}
}
