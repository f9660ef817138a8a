package block

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/proto"
	"github.com/zeebo/blake3"
)

// ReceiveOptions are the choices of a receiver. The zero value is for strangers.
type ReceiveOptions struct {
	// From names the sender. What it has begun to send is kept apart from what others have, and only it can go on with it.
	// If empty, the stream is asked: a *p2p.Stream and a *tunnel.Conn know. If it does not know either, nothing is kept.
	From string
	// Trusted says that the sender is no stranger: names may begin with a dot, which otherwise becomes an underscore, and
	// files may be executable.
	Trusted bool
	// Modes and Times say that permissions, and times of modification, are restored, as far as the file system takes them. The
	// owner keeps all rights to folders.
	Modes, Times bool
	// Progress is told how far the transfer is, at most every 100 ms, and at its end. Calls are made one after the other.
	Progress func(Progress)
	// Received is told of each file and folder that is in its place, and of its path in the destination. Calls are made
	// one after the other.
	Received func(f File, path string)
}

const staleAfter = 7 * 24 * time.Hour // of what was cut

// Receive receives what the other side of stream sends with [Send].
//
// decide looks at the offer: it returns nil to receive all that it did not leave out ([Offer.Skip], [Offer.Part]), or an error,
// such as that of [Refuse], to receive nothing; then Receive returns that error. Its context ends when the sender gives up. It
// may take its time. If nil, all is received.
//
// Files and folders appear in dest, files only once they are whole, verified and on the disk, and under another name where
// theirs is taken. dest may be nil if only parts are wanted. Where Receive fails, what was received is kept for the
// next attempt.
//
// The error tells why the transfer ended. If it did not, but some files failed, the error is a [*FileError] for the first of
// them, and the Result has all. Receive does not close the stream, of which nothing more can be read or written. The
// stream's deadlines are Receive's, as they are Send's.
func Receive(ctx context.Context, stream net.Conn, decide func(context.Context, *Offer) error, dest *os.Root, opts ReceiveOptions) (Result, error) {
	if err := stream.SetDeadline(time.Time{}); err != nil {
		return Result{}, streamError(err) // without deadlines, nothing would end a call
	}
	r := &receiver{
		transfer: newTransfer(ctx, stream), opts: opts, dest: dest, files: make(chan *batch, buffers), root: newRoot(),
		open: map[uint16]*incoming{}, asked: map[request]int{}, resumes: map[int]resume{},
	}
	if r.opts.From == "" {
		r.opts.From = from(stream)
	}
	r.in = bufio.NewReaderSize(r.link, readAhead)
	r.start(func() error { return r.talk(r.out) })
	err := r.run(func() error { return r.receive(decide) }, r.report)
	r.close()
	if r.arrived {
		err = nil
	}
	return r.finish(err)
}

// from returns a name for who is at the other end, and for the library that we share. It is empty if the stream does not
// know.
func from(stream net.Conn) string {
	switch s := stream.(type) {
	case interface {
		Instance() identity.RemoteIdentity
		Library() [16]byte
	}:
		library := s.Library()
		return "library " + string(library[:]) + s.Instance().String()
	case interface {
		RemoteIdentity() identity.RemoteIdentity
	}:
		return "node " + s.RemoteIdentity().String()
	}
	return ""
}

// A receiver receives one offer. Fields belong to the goroutine of Receive unless they say otherwise.
type receiver struct {
	*transfer
	opts    ReceiveOptions
	dest    *os.Root
	in      *bufio.Reader // the reader's, once there is one
	partial *os.Root      // partialDir
	dir     *handle       // likewise
	journal *journal
	offer   *Offer
	resumes map[int]resume // what was claimed, by index
	files   chan *batch    // what arrives, with hashes computed
	root    *blake3.Hasher // of whole

	cursor            *cursor // at the entry that came last
	current           *incoming
	again             *repair
	open              map[uint16]*incoming // files that are sent, and of which chunks have to come again
	asked             map[request]int      // repairs that are due, and how often each was asked for
	placer            *placer
	sent              bool // the sender only repairs now
	answered          atomic.Bool
	arrived, complete bool // all is in its place; and the sender knows
}

// A resume is what an earlier attempt has left of a file.
type resume struct {
	number uint32
	hashes []hash
}

// A request names a chunk that has to come again.
type request struct {
	entry uint16
	chunk uint32
}

func (r *receiver) receive(decide func(context.Context, *Offer) error) error {
	if r.dest != nil {
		if err := Clean(r.dest, staleAfter); err != nil {
			return err
		}
	}
	id, err := r.readOffer()
	if err != nil {
		return err
	}
	r.start(r.listen)
	if decide != nil {
		if err := decide(r.ctx, r.offer); err != nil {
			if r.ctx.Err() != nil {
				return r.why()
			}
			if !errors.Is(err, ErrRefused) {
				err = fmt.Errorf("%w: %w", ErrRefused, err)
			}
			return err
		}
		if r.offer.err != nil {
			return r.offer.err
		}
	}
	if err := r.answer(id); err != nil {
		return err
	}
	r.answered.Store(true)
	r.cursor, r.placer = r.offer.spool.entries(), newPlacer(r)
	r.start(r.placer.run)
	if err := r.take(); err != nil {
		return err
	}
	if err := r.folders(); err != nil {
		return err
	}
	// All is in its place, whether the sender learns of it or not. If not, it comes again, and has to find that.
	r.arrived = true
	if err := r.say(message{kind: kindDone}); err != nil {
		return err
	}
	if err := r.pass(r.out, &item{last: true}); err != nil {
		return err
	}
	<-r.said
	timer := time.NewTimer(farewell)
	defer timer.Stop()
	select {
	case b := <-r.files:
		r.complete = b != nil && len(b.items) == 1 && b.items[0].kind == kindDone
	case <-timer.C:
	case <-r.ctx.Done():
	}
	r.cancel(errFinished)
	return nil
}

// openJournal opens partialDir and the journal in it. Another transfer removes that folder at its end, if it is empty, until
// the journal is there.
func (r *receiver) openJournal(id [16]byte) (err error) {
	var key *hash
	if r.opts.From != "" {
		k := journalKey(r.opts.From, id)
		key = &k
	}
	for range 100 {
		if err = r.dest.Mkdir(partialDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			break
		}
		if r.partial, err = r.dest.OpenRoot(partialDir); err == nil {
			if r.journal, err = openJournal(r.partial, key); err == nil {
				r.dir, err = newHandle(r.partial)
				return writing(err)
			}
			r.partial.Close()
			r.partial = nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return writing(err)
}

// close frees everything.
func (r *receiver) close() {
	for _, in := range r.open {
		in.close()
	}
	if r.current != nil {
		r.current.close()
	}
	if r.offer != nil {
		r.offer.spool.close()
	}
	if r.journal != nil {
		failed := false
		for _, s := range r.result.Skipped {
			failed = failed || s.failed()
		}
		r.journal.close(r.complete && !failed)
	}
	if r.dir != nil {
		r.dir.close()
	}
	if r.partial != nil {
		r.partial.Close()
		r.dest.Remove(partialDir) // if it is empty
	}
}

// readOffer reads the offer and returns its ID.
func (r *receiver) readOffer() (id [16]byte, err error) {
	r.offer = newOffer(r.opts.Trusted)
	d := proto.NewDecoder(r.in)
	var h hello
	if err := h.DecodeFrom(d); err != nil {
		return id, decoding(err)
	}
	for {
		var e entry
		d.Reset(r.in)
		if err := e.DecodeFrom(d); err != nil {
			return id, decoding(err)
		}
		switch e.kind {
		case kindKeep:
			continue
		case kindAbort:
			m := message{kind: kindAbort}
			d.Reset(r.in)
			if err := m.fields(d); err != nil {
				return id, decoding(err)
			}
			return id, m.why()
		}
		if err := r.offer.add(&e); err != nil {
			return id, decoding(err)
		}
		if e.kind == kindOffered {
			return h.id, nil
		}
	}
}

// decoding tells what the peer has done wrong from what happened to the stream.
func decoding(err error) error {
	switch {
	case errors.Is(err, ErrVersion), errors.Is(err, ErrWrite), errors.Is(err, ErrDiskFull):
		return err
	case errors.Is(err, proto.ErrInvalid):
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	return streamError(err)
}

// answer finds what is there already, and tells the sender what is wanted.
func (r *receiver) answer(id [16]byte) error {
	if r.dest != nil {
		if err := r.openJournal(id); err != nil {
			return err
		}
	}
	b, needed, claims, used := []byte{byte(kindAnswer)}, uint64(0), maxChunks, map[uint32]bool{}
	c := r.offer.spool.entries()
	for c.next() {
		if r.ctx.Err() != nil {
			return r.why()
		}
		w, err := r.wish(c, claims, used)
		if err != nil {
			return err
		}
		claims -= len(w.claims)
		if w.verdict == verdictWhole || w.verdict == verdictFrom {
			needed += uint64(c.size)
		}
		there := int64(len(w.claims)) * blockSize(c.size)
		needed -= uint64(min(there, c.size))
		b, _ = w.AppendBinary(b)
	}
	if c.err != nil {
		return writing(c.err)
	}
	if r.dest != nil {
		if err := r.journal.settle(r.ctx, r.dest, used); err != nil {
			return r.disk(err)
		}
		if has, ok := free(r.dest); ok && needed > has {
			return &SpaceError{needed, has}
		}
	}
	return r.pass(r.out, &item{message: message{kind: kindRaw}, data: b})
}

// disk returns why something failed that ends with the transfer, or with an error of the destination.
func (r *receiver) disk(err error) error {
	if r.ctx.Err() != nil {
		return r.why()
	}
	return writing(err)
}

// wish decides about one entry.
func (r *receiver) wish(c *cursor, limit int, used map[uint32]bool) (w wish, err error) {
	w.verdict = r.offer.wanted(&c.entry, c.index)
	e := &c.entry
	switch {
	case w.verdict == verdictPart:
		p := r.offer.parts[c.index]
		w.start, w.end = p.start, p.end
		if p.start < 0 || p.end < p.start || p.end > e.size || e.kind != kindFile {
			return w, fmt.Errorf("block: no part of %q: %d to %d of %d bytes", e.path, p.start, p.end, e.size)
		}
	case w.verdict == verdictWhole && r.dest == nil:
		return w, fmt.Errorf("block: there is no destination for %q", e.path)
	case w.verdict == verdictWhole && e.kind == kindFile:
		there, err := r.journal.placed(r.dest, e)
		if err != nil {
			return w, writing(err)
		}
		if there {
			w.verdict = verdictHave
			break
		}
		number, claims, err := r.journal.claims(r.ctx, e, limit)
		if err != nil {
			return w, r.disk(err)
		}
		if len(claims) > 0 {
			w.verdict, w.claims, used[number] = verdictFrom, claims, true
			r.resumes[c.index] = resume{number, claims}
		}
	}
	r.offer.verdicts[c.index] = w.verdict
	if e.kind == kindFolder {
		if w.verdict == verdictNo {
			r.skip(e.path, ErrRefused)
		} else if w.verdict == verdictName {
			r.skip(e.path, r.offer.name(e, c.index))
		}
		return w, nil
	}
	r.update(func(p *Progress, result *Result) {
		size := e.size
		switch w.verdict {
		case verdictNo:
			result.Skipped = append(result.Skipped, &FileError{e.path, ErrRefused})
			return
		case verdictName:
			result.Skipped = append(result.Skipped, &FileError{e.path, r.offer.name(e, c.index)})
			return
		case verdictPart:
			size = w.end - w.start
		case verdictHave:
			p.Files++
			p.Bytes += size
			p.Verified += size
			result.Files++
			result.Bytes += size
			result.Resumed += size
		}
		p.TotalFiles++
		if p.TotalBytes += size; p.TotalBytes < 0 {
			p.TotalBytes = math.MaxInt64
		}
	})
	return w, nil
}

// report tells both the app and the sender how far we are.
func (r *receiver) report(p Progress) {
	if p.Bytes > 0 {
		select {
		case r.out <- &item{message: message{kind: kindProgress, received: uint64(p.Bytes), verified: uint64(p.Verified)}}:
		default: // the next one says more
		}
	}
	if r.opts.Progress != nil {
		r.opts.Progress(p)
	}
}

// folders restores what belongs to folders, now that nothing more comes into them, and waits for the disk.
func (r *receiver) folders() error {
	if r.dest == nil {
		return nil
	}
	synced, err := r.placer.syncFolders()
	if err != nil {
		return writing(err)
	}
	if synced && !r.opts.Modes && !r.opts.Times {
		return nil
	}
	c := r.offer.spool.entries()
	for left := r.offer.Folders; left > 0 && c.next(); {
		if c.kind != kindFolder {
			continue
		}
		if left--; r.offer.verdicts[c.index] != verdictWhole {
			continue
		}
		path := r.placer.here(c.path)
		if r.opts.Modes && runtime.GOOS != "windows" {
			r.dest.Chmod(path, os.FileMode(c.mode|0o700))
		}
		if r.opts.Times {
			r.dest.Chtimes(path, c.modTime(), c.modTime())
		}
		if !synced {
			syncFolder(r.dest, path)
		}
	}
	return writing(c.err)
}
