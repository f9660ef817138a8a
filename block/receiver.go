package block

import (
	"context"
	"crypto/rand"
	"os"
	"sync/atomic"
	"time"
)

// A receiver receives one transfer: an arrival reads messages, an assembler for
// each offer assembles files from them, and a placer places these. Fields
// belong to the goroutine of receive unless they say otherwise.
type receiver struct {
	*transfer
	opts    ReceiveOptions
	decide  func(context.Context, *Offer) error
	vol     *volume // nil if there is no destination
	arrival *arrival
	journal *journal        // nil before the first answer, or if there is no destination
	placer  *placer         // nil before the first answer
	names   *names          // nil before the first answer
	used    map[uint32]bool // numbers of data files that were claimed
	resumes map[int]resume  // the claims for the files of the offer, by index
	fresh   bool            // no earlier attempt has left anything
	index   *index          // of the files that this sender has placed, or nil
	olds    map[int]int64   // the offsets in index of the rows of files whose content has changed, by their index in the offer
	sites   sites
	hashed  int64 // bytes that were hashed for this sender
	id      [16]byte
	offer   *Offer
	waiting *waitingPlace // of an offer that is not accepted yet

	announced totals // of the whole transfer
	offered   totals // of the offers so far
	earlier   int    // entries of the offers before this one

	answered atomic.Bool // an answer was given
	arrived  atomic.Bool // everything was placed
	complete bool        // and the sender has acknowledged it
}

// farewellOfSender is how long the receiver waits for the sender's
// acknowledgment. If that arrives later, the journal stays, until the sender
// resumes the transfer or Clean removes it.
var farewellOfSender = farewell // tests wait longer

// receive runs the whole transfer.
func (r *receiver) receive() (err error) {
	defer func() {
		if err != nil {
			r.cancel(err) // tells the sender now
		}
		if r.placer != nil {
			r.placer.finish()
		}
	}()
	select {
	case r.id = <-r.arrival.id:
	case <-r.ctx.Done():
		return r.why()
	}
	if err := r.say(hintPacks.say(0, 0)); err != nil {
		return err
	}
	for last := false; !last; {
		if err := r.readOffer(); err != nil {
			return err
		}
		last = r.offered == r.announced
		if err := r.answerOffer(last); err != nil {
			return err
		}
		if err := r.takeFiles(last); err != nil {
			return err
		}
	}
	// Everything is in its place, whether the sender learns of it or not. If it
	// does not, it resumes the transfer, and the journal must still say so.
	r.arrived.Store(true)
	if err := r.finish(message{kind: kindDone}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.ctx, farewellOfSender)
	defer cancel()
	r.complete = r.arrival.done(ctx)
	if r.complete && r.opts.acknowledged != nil {
		r.opts.acknowledged()
	}
	r.cancel(errFinished)
	return nil
}

// spend records n bytes of earlier content that are about to be hashed. It
// reports false if they exceed the limit for the sender.
func (r *receiver) spend(n int64) bool {
	ok := r.index.spend(n)
	if ok {
		r.hashed += n
	}
	return ok
}

// sent returns how many bytes of files have arrived.
func (r *receiver) sent() (n int64) {
	r.update(func(_ *Progress, result *Result) { n = result.Sent })
	return n
}

// tidy releases everything.
func (r *receiver) tidy() {
	r.waiting.leave()
	if r.offer != nil {
		r.offer.spool.close()
	}
	if r.journal != nil {
		r.journal.close(r.complete && !r.again)
	}
	if r.index != nil {
		r.sites.leave()
		r.index.record(r.sent(), r.hashed)
		r.index.close()
	}
	if r.vol != nil {
		r.vol.leave()
	}
}

// readOffer reads the next offer.
func (r *receiver) readOffer() error {
	if r.offer != nil {
		r.earlier += r.offer.spool.count
		r.offer.spool.close()
	}
	r.offer = newOffer()
	r.offer.ID, r.offer.Earlier = r.id, r.earlier
	if r.vol != nil {
		r.offer.spool.limit, r.offer.spool.create = spoolAt, r.createSpool
	}
	var late *time.Timer
	for {
		it, err := r.arrival.receive(nil, func() {})
		if err != nil {
			return err
		}
		if it.entry == nil {
			return violation("message %d inside an offer", it.kind)
		}
		if late == nil && r.placer == nil { // later offers of an accepted transfer have no time limit
			late = time.AfterFunc(arriveWithin, func() { r.cancel(&told{ErrUnanswered, "the offer took over 60 s to arrive"}) })
			defer late.Stop()
		}
		if it.kind == kindOffered {
			return r.endOffer(it.entry.totals)
		}
		before := r.offer.spool.size
		if err := r.offer.add(it.entry); err != nil {
			return err
		}
		if err := r.wait(r.offer.spool.size - before); err != nil {
			return err
		}
	}
}

// wait reserves n bytes in the waiting room for an offer that is not accepted
// yet.
func (r *receiver) wait(n int64) (err error) {
	if r.placer != nil {
		return nil // an offer of the same transfer was accepted
	}
	if r.waiting == nil {
		if r.waiting, err = waiting.enter(r.opts.From); err != nil {
			return err
		}
	}
	return r.waiting.grow(n)
}

// endOffer checks that an offer continues the transfer that was announced.
func (r *receiver) endOffer(all totals) error {
	if err := r.wait(0); err != nil { // the offer may be empty
		return err
	}
	if r.placer == nil {
		r.announced = all
	}
	t := &r.offer.totals
	r.offered.files += t.files
	r.offered.folders += t.folders
	r.offered.leftOut += t.leftOut
	r.offered.bytes += t.bytes
	r.offered.stored += t.stored
	if all != r.announced || r.offered.bytes < 0 || !r.offered.within(&all) || r.offer.spool.count == 0 && r.offered != all {
		return violation("offers of other files than were announced")
	}
	o := r.offer
	o.Files, o.Folders, o.LeftOut, o.Bytes = int(all.files), int(all.folders), int(all.leftOut), all.bytes
	return nil
}

// createSpool creates the file for a long offer, next to the journals.
func (r *receiver) createSpool() (file *os.File, err error) {
	name := rand.Text() + ".offer"
	err = r.vol.enter(func() (err error) {
		file, err = r.vol.partial.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		return err
	})
	if err != nil {
		return nil, err
	}
	if r.vol.partial.Remove(name) != nil { // on systems that cannot remove an open file
		r.offer.spool.remove = func(string) { r.vol.partial.Remove(name) }
	}
	return file, nil
}

// answerOffer asks the app, finds out what the receiver has already, and sends
// the answer.
func (r *receiver) answerOffer(last bool) error {
	if err := r.ask(); err != nil {
		return err
	}
	if r.placer == nil {
		if err := r.accept(); err != nil {
			return err
		}
	}
	r.offer.decisions()
	b, needed, err := r.answer(last)
	if err != nil {
		return err
	}
	if err := r.room(needed); err != nil {
		return err
	}
	r.answered.Store(true)
	r.arrival.answered(r.largestChunk())
	return r.pass(&item{message: message{kind: kindRaw}, data: b})
}

// accept begins to receive files, once the app has accepted an offer.
func (r *receiver) accept() error {
	r.waiting.leave()
	r.waiting = nil
	if r.vol != nil {
		if err := r.vol.enter(r.openJournal); err != nil {
			return writing(err)
		}
		r.vol.clean(staleAfter) // what it cannot remove, a later transfer will
		r.fresh = r.journal.next == 0
		r.names = newNames(r.vol.style)
		if r.sites.vol = r.vol; r.opts.Trusted {
			r.index = openIndex(r.vol, r.opts.From)
		}
	} else {
		r.names = newNames(style{hidden: r.opts.Trusted})
	}
	r.used = map[uint32]bool{}
	r.placer = newPlacer(r)
	r.works.Go(r.placer.run)
	return nil
}

func (r *receiver) openJournal() (err error) {
	var key *hash
	if r.opts.From != "" {
		k := journalKey(r.opts.From, r.id)
		key = &k
	}
	r.journal, err = openJournal(r.ctx, r.vol, key)
	return err
}

// answer returns the encoded answer to the offer, and how many bytes will be
// written.
func (r *receiver) answer(last bool) (b []byte, needed uint64, err error) {
	r.expectOffer()
	b = []byte{byte(kindAnswer)}
	claims := maxChunks
	r.resumes, r.olds = map[int]resume{}, map[int]int64{}
	hints := foretold{verified: r.progress().Verified}
	defer r.sites.leave()
	c := r.offer.spool.all()
	for c.next() {
		if r.ctx.Err() != nil {
			return nil, 0, r.why()
		}
		w, err := r.wish(c, claims)
		if err != nil {
			return nil, 0, err
		}
		claims -= len(w.claims)
		if w.verdict == verdictWhole || w.verdict == verdictFrom {
			there := int64(len(w.claims)) * blockSize(c.size)
			needed += uint64(max(c.stored-there, 0))
		}
		b, _ = w.AppendBinary(b)
		hints.wish(c.index, &w)
	}
	if c.err != nil {
		return nil, 0, writing(c.err)
	}
	r.names.next()
	if r.fresh {
		needed += uint64(r.announced.stored - r.offered.stored)
	}
	if r.vol != nil && last {
		if err := r.journal.settle(r.ctx, r.vol.root, r.used); err != nil {
			return nil, 0, r.disk(err)
		}
	}
	return append(hints.end(), b...), needed, nil
}

// largestChunk returns the size of the largest chunk of the files of the offer,
// or of their wanted parts.
func (r *receiver) largestChunk() (largest int64) {
	c := r.offer.spool.all()
	for c.next() {
		size := c.size
		if p, ok := r.offer.parts[c.index]; ok {
			size = p.end - p.start
		}
		if c.kind == kindFile {
			largest = max(largest, min(blockSize(size), size))
		}
	}
	return largest
}

// expectOffer makes the totals of the progress cover only the later offers,
// since wish adds the entries of this one.
func (r *receiver) expectOffer() {
	t := &r.offer.totals
	r.update(func(p *Progress, _ *Result) {
		if r.earlier == 0 {
			p.expect(int(r.announced.files-t.files), r.announced.bytes-t.bytes)
		} else {
			p.expect(-int(t.files), -t.bytes)
		}
	})
}

// room checks that the destination has enough free space.
func (r *receiver) room(needed uint64) error {
	if r.vol == nil || r.opts.NoSpaceCheck {
		return nil
	}
	if has, ok := r.vol.free(); ok && needed > has {
		return &SpaceError{needed, has}
	}
	return nil
}

// takeFiles receives the files of an offer that was answered.
func (r *receiver) takeFiles(last bool) error {
	if err := newAssembler(r).run(); err != nil {
		return err
	}
	if err := r.placer.settle(); err != nil {
		return err
	}
	if r.vol != nil {
		if err := r.placer.folders(r.offer, r.names.last); err != nil {
			return err
		}
	}
	if last {
		return nil
	}
	return r.say(message{kind: kindDone})
}

// newAssembler returns the assembler for an offer that was answered.
func newAssembler(r *receiver) *assembler {
	return &assembler{
		transfer: r.transfer, in: r.arrival, vol: r.vol, journal: r.journal, placer: r.placer,
		offer: r.offer, resumes: r.resumes, olds: r.olds, index: r.index, spend: r.spend, root: newRoot(), cursor: r.offer.spool.all(),
		open: map[uint16]*incoming{}, asked: map[request]int{}, late: map[request]bool{},
	}
}

func newPlacer(r *receiver) *placer {
	return &placer{
		transfer: r.transfer, opts: &r.opts, vol: r.vol, journal: r.journal, index: r.index,
		in: make(chan work), done: make(chan struct{}), fresh: map[string]bool{},
		sites: sites{vol: r.vol}, near: sites{vol: r.vol},
	}
}

// outcome adds the features that the destination lacks to the result.
func (r *receiver) outcome(err error, allowIncomplete bool) (Result, error) {
	result, err := r.transfer.outcome(err, allowIncomplete)
	if r.vol != nil {
		result.Lacks = r.vol.lacking()
	}
	return result, err
}

// report sends the progress to both the app and the sender.
func (r *receiver) report(p Progress) {
	if p.Bytes > 0 && r.answered.Load() {
		select {
		case r.out <- &item{message: message{kind: kindProgress, received: uint64(p.Bytes), verified: uint64(p.Verified)}}:
		default: // the next one says more
		}
	}
	if r.opts.Progress != nil {
		r.tell(func() { r.opts.Progress(p) })
	}
}
