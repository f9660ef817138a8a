package block

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/zeebo/blake3"
)

const (
	maxList  = 32 << 20 // bytes of entries that a sender keeps in memory
	lotBytes = 4 << 20  // bytes of entries after which a new offer begins
)

// SendOptions are the choices of a sender. The zero value is ready to use.
type SendOptions struct {
	// ID identifies the offer to the receiver: an offer with the same ID, by
	// the same sender, resumes an interrupted transfer. If zero, it is derived
	// from the names and IDs of the sources.
	ID [16]byte
	// Progress is called with the progress of the transfer, at most every 100
	// ms, and at its end, from one goroutine at a time.
	Progress func(Progress)
	// Spool is a folder for the list of files once that takes more than 32 MiB
	// of memory, at some hundred thousand files. If nil, Send fails with
	// [ErrSpool] at that point.
	Spool *os.Root
	// AllowIncomplete makes Send return nil instead of an [*IncompleteError].
	AllowIncomplete bool

	perOffer int // for tests: the maximum number of entries of an offer, if not 0
	inMemory int // for tests: bytes of the list that are kept in memory, if not 0
}

// Send offers sources to the other side of stream, which calls [Receive], and
// sends those that the receiver accepts. It returns once everything is
// verified, on disk and in place at the receiver.
//
// Entries that cannot be offered (symbolic links, special files, names that no
// receiver would accept, sources that cannot be read) are left out, and the
// receiver is told. They are in the Result's Skipped, as are files that the
// receiver does not want. If the transfer was aborted, the error tells why: it
// is a [*PeerError] if the receiver did it. If it ran to its end but some files
// did not arrive, the error is an [*IncompleteError], unless that was the
// receiver's choice. Sending the same again resumes where it ended.
//
// Send returns within a second of the end of ctx. If a source hangs at that
// time, calls to it may still be running. Send does not close the stream, which
// cannot be used afterwards. Send sets the stream's deadlines, and fails with
// the error of SetDeadline if it cannot.
func Send(ctx context.Context, stream net.Conn, sources []Source, opts SendOptions) (_ Result, err error) {
	defer func() { counted(stream, "block_transfers_sent", err) }()
	if err := stream.SetDeadline(time.Time{}); err != nil {
		return Result{}, streamError(err) // without deadlines, no call could be interrupted
	}
	s := &sender{
		transfer: newTransfer(ctx, stream), opts: opts, sources: map[string]*Source{},
		root: newRoot(), left: map[int]*FileError{},
	}
	s.chunk = newChunkHasher(s.ctx)
	s.list = spool{limit: cmp.Or(opts.inMemory, maxList), create: s.createSpool}
	if opts.ID == [16]byte{} {
		opts.ID = offerID(sources)
	}
	s.greeting, _ = (&hello{opts.ID}).AppendBinary(nil)
	s.start(&s.talks, s.talk)
	s.start(&s.talks, s.listen)
	err = s.run(func() error { return s.send(sources) }, func(p Progress) {
		if opts.Progress != nil {
			s.tell(func() { opts.Progress(p) })
		}
	}, s.list.close)
	if s.arrived.Load() {
		err = nil
	}
	s.tellLeft()
	return s.outcome(err, opts.AllowIncomplete)
}

// A sender sends one transfer. Fields belong to the goroutine of send unless
// they say otherwise.
type sender struct {
	*transfer
	opts    SendOptions
	sources map[string]*Source // by the folded first component of their paths
	list    spool              // the entries of all offers; listen uses it, too, once it is complete
	totals  totals             // of list
	lots    []*lot
	left    map[int]*FileError // guarded by mu: left-out entries of list that were not reported yet, by index

	chunk  *chunkHasher   // of the current chunk
	root   *blake3.Hasher // of the current file
	pack   []byte         // encoded small files that wait for more, or nil
	packed time.Time      // when the first file of pack was read
	lot    *lot           // guarded by mu: the current offer

	arrived atomic.Bool // the receiver has placed everything
	packs   atomic.Bool // the receiver accepts packed entries
}

func (s *sender) send(sources []Source) error {
	if err := s.collect(sources); err != nil {
		return err
	}
	for _, l := range s.lots {
		if err := s.sendLot(l); err != nil {
			return err
		}
	}
	// The receiver has everything, even if it does not get our acknowledgment,
	// for which it does not wait long.
	s.arrived.Store(true)
	return s.finish(message{kind: kindDone})
}

// collect lists the sources and everything in them, in one or more offers.
func (s *sender) collect(sources []Source) error {
	s.lots = []*lot{newLot(0, 0)}
	ids := newIDs()
	for i := range sources {
		source := sources[i]
		source.ids = ids
		name := source.Name
		for n := 2; s.sources[fold(source.Name)] != nil; n++ {
			source.Name = another(name, n, false)
		}
		s.sources[fold(source.Name)] = &source
		if err := source.walk(s.ctx, s.add, s.leaveOut); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.totals.files+s.totals.folders == 0 && s.left[0] != nil {
		return s.left[0] // there is nothing to ask the receiver about
	}
	return nil
}

// add adds an entry to the list.
func (s *sender) add(e entry) error {
	if s.ctx.Err() != nil {
		return s.why()
	}
	l := s.lots[len(s.lots)-1]
	if l.end-l.first >= cmp.Or(s.opts.perOffer, maxEntries) || s.list.size-l.offset >= lotBytes {
		l = newLot(l.end, s.list.size)
		s.lots = append(s.lots, l)
	}
	if _, err := s.list.add(&e); err != nil {
		return spoolError(err)
	}
	l.end++
	l.size = s.list.size - l.offset
	if !s.totals.add(&e) {
		return fmt.Errorf("block: there is more to send than 2^63 bytes, or 2^32 files")
	}
	return nil
}

// leaveOut records an entry that cannot be sent, and adds it to the offer as
// left out. The receiver's answer decides whether it counts as missing.
func (s *sender) leaveOut(path string, err error) error {
	s.mu.Lock()
	s.left[s.list.count] = &FileError{path, err}
	s.mu.Unlock()
	return s.add(entry{kind: kindLeftOut, path: printable(path, maxPath), code: codeOf(err)})
}

// tellLeft records the left-out entries of offers that were not answered.
func (s *sender) tellLeft() {
	s.mu.Lock()
	left := s.left
	s.left = map[int]*FileError{} // a walk that hangs may still add to it
	s.mu.Unlock()
	for _, i := range slices.Sorted(maps.Keys(left)) {
		s.skip(left[i].Path, left[i].Err)
	}
}

// createSpool creates the file for a long list.
func (s *sender) createSpool() (*os.File, error) {
	dir := s.opts.Spool
	if dir == nil {
		return nil, &told{ErrSpool, "it takes more than 32 MiB"}
	}
	name := rand.Text() + ".sdp2p-list"
	f, err := dir.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if dir.Remove(name) != nil { // on systems that cannot remove an open file
		s.list.remove = func(string) { dir.Remove(name) }
	}
	return f, nil
}

// sendLot makes an offer, sends the wanted files, and returns once the receiver
// has placed them.
func (s *sender) sendLot(l *lot) error {
	s.mu.Lock()
	s.lot = l
	s.mu.Unlock()
	if err := s.sendOffer(l); err != nil {
		return err
	}
	select {
	case <-l.answered:
	case <-s.ctx.Done():
		return s.why()
	}
	c := s.list.entries(l.first, l.end)
	for c.next() {
		if err := s.sendEntry(l, c.index-l.first, c.entry); err != nil {
			return err
		}
	}
	if c.err != nil {
		return spoolError(c.err)
	}
	if err := s.sendPack(); err != nil {
		return err
	}
	l.sent.Store(true)
	if err := s.say(message{kind: kindSent}); err != nil {
		return err
	}
	for {
		if err := s.serveRepairs(l); err != nil {
			return err
		}
		select {
		case <-l.wake:
		case <-l.done:
			return nil
		case <-s.ctx.Done():
			return s.why()
		}
	}
}

// sendOffer sends the entries of a lot.
func (s *sender) sendOffer(l *lot) error {
	if err := s.sendEntries(l); err != nil {
		return err
	}
	l.offered.Store(true)
	b, err := (&entry{kind: kindOffered, totals: s.totals}).AppendBinary(nil)
	if err != nil {
		return err
	}
	return s.pass(&item{message: message{kind: kindRaw}, data: b})
}

// sendEntries sends the entries of a lot, packed if the receiver accepts that.
func (s *sender) sendEntries(l *lot) error {
	r, end := s.list.reader(l.offset), l.offset+l.size
	for at := l.offset; at < end; {
		next := s.list.bounds(at, end, packBytes)
		b := make([]byte, next-at)
		if _, err := io.ReadFull(r, b); err != nil {
			return spoolError(err)
		}
		if at = next; s.packs.Load() && len(b) >= fewBytes && len(b) <= maxUnpacked {
			packed, err := appendPacked(nil, b)
			if err != nil {
				return err
			}
			b = packed
		}
		if err := s.pass(&item{message: message{kind: kindRaw}, data: b}); err != nil {
			return err
		}
	}
	return nil
}
