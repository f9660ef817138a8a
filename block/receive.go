package block

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"time"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p/identity"
)

// ReceiveOptions are the choices of a receiver. The zero value is safe for
// untrusted senders.
type ReceiveOptions struct {
	// From names the sender. Its interrupted transfers are kept apart from those of
	// others, and only it can go on with them. If empty, the stream is asked: a
	// *p2p.Stream and a *tunnel.Conn know. If the stream does not know either,
	// nothing is kept.
	From string
	// Trusted says that the sender is no stranger: names may begin with a dot, which
	// otherwise becomes an underscore, and files may be executable.
	Trusted bool
	// Modes and Times say that permissions, and times of modification, are
	// restored, as far as the file system takes them. The owner keeps all rights to
	// folders.
	Modes, Times bool
	// Progress is told how far the transfer is, at most every 100 ms, and at its
	// end. Calls are made one after the other.
	Progress func(Progress)
	// Received is told of each file and folder that is in its place, and of its path
	// in the destination. Calls are made one after the other.
	Received func(f File, path string)
	// AnswerWithin is the time that decide has. After it the offer is refused with
	// ErrUnanswered. If zero, 60 s. If negative, no limit.
	AnswerWithin time.Duration
	// AllowIncomplete has Receive return nil where it would return an
	// [*IncompleteError].
	AllowIncomplete bool
	// NoSpaceCheck leaves out the check, before anything is received, that the
	// destination has enough free space. Some network file systems do not know.
	NoSpaceCheck bool

	faults func(op, name string) error // of tests: see newVolume
}

const staleAfter = 7 * 24 * time.Hour // of interrupted transfers

// Receive receives what the other side of stream sends with [Send].
//
// decide looks at the offer. It returns nil to receive everything that it did not
// leave out ([Offer.Skip], [Offer.Part]), or an error, such as that of [Refuse],
// to receive nothing; then Receive returns that error. Its context ends when the
// sender gives up. A large transfer comes as several offers: see [Offer].Earlier.
// If decide is nil, everything is received.
//
// Files and folders appear in dest, files only once they are whole, verified and
// on the disk, and under another name where theirs is taken. dest may be nil if
// only parts are wanted. Where Receive fails, what was received is kept for the
// next attempt.
//
// If the transfer was aborted, the error tells why. If it ran to its end but some
// files or folders did not arrive, also such that the sender had to leave out, the
// error is an [*IncompleteError].
//
// Receive returns within a second of the end of ctx. If a disk hangs at that time,
// calls to the file system may still be running. Receive does not close the
// stream, which cannot be used any more. The stream's deadlines are Receive's; one
// that cannot have any is refused with the error of SetDeadline.
//
// In a process, at most 16 offers wait for an answer, 2 of one sender, with 32 MiB
// in all; others are refused with [ErrBusy]. An offer has 60 s to arrive.
func Receive(ctx context.Context, stream net.Conn, decide func(context.Context, *Offer) error, dest *os.Root, opts ReceiveOptions) (Result, error) {
	if err := stream.SetDeadline(time.Time{}); err != nil {
		return Result{}, streamError(err) // without deadlines, nothing would end a call
	}
	r := &receiver{transfer: newTransfer(ctx, stream), opts: opts, decide: decide}
	if r.opts.From == "" {
		r.opts.From = from(stream)
	}
	if dest != nil {
		r.vol = newVolume(dest, opts.Trusted, opts.faults)
	}
	r.arrival = newArrival(r.transfer)
	r.start(&r.talks, r.talk)
	r.start(&r.talks, r.arrival.run)
	err := r.run(r.receive, r.report, r.tidy)
	if r.arrived.Load() {
		err = nil
	}
	return r.outcome(err, opts.AllowIncomplete)
}

// A tunnelConn is what from asks of a tunnel between instances of a library.
type tunnelConn interface {
	Instance() identity.RemoteIdentity
	Library() uuid.UUID
}

// A nodeConn is what from asks of a stream between nodes.
type nodeConn interface {
	RemoteIdentity() identity.RemoteIdentity
}

// from returns a name for the other end of a stream, and for the library that it
// shares. It is empty if the stream does not know.
func from(stream net.Conn) string {
	switch s := stream.(type) {
	case tunnelConn:
		library := s.Library()
		return "library " + string(library[:]) + s.Instance().String()
	case nodeConn:
		return "node " + s.RemoteIdentity().String()
	}
	return ""
}

// outcome returns the result, with what the destination lacks.
func (r *receiver) outcome(err error, allowIncomplete bool) (Result, error) {
	result, err := r.transfer.outcome(err, allowIncomplete)
	if r.vol != nil {
		result.Lacks = r.vol.lacking()
	}
	return result, err
}

// report tells both the app and the sender how far this side is.
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

// wish decides about one entry. What is there of earlier attempts may be claimed,
// in at most limit chunks; used has the numbers of the data files.
func (r *receiver) wish(c *cursor, limit int, used map[uint32]bool, resumes map[int]resume) (w wish, err error) {
	e := &c.entry
	v, bad := r.names.check(e, r.offer.verdicts[c.index])
	w.verdict = v
	switch {
	case e.kind == kindLeftOut:
		if v != verdictNo {
			w.verdict = verdictWhole
		}
	case v == verdictPart:
		p := r.offer.parts[c.index]
		w.start, w.end = p.start, p.end
		if p.start < 0 || p.end < p.start || p.end > e.size || e.kind != kindFile || p.to == nil {
			return w, fmt.Errorf("block: no part of %q: %d to %d of %d bytes", e.path, p.start, p.end, e.size)
		}
	case v == verdictWhole && r.vol == nil:
		return w, fmt.Errorf("block: there is no destination for %q", e.path)
	case v == verdictWhole && e.kind == kindFile:
		there, err := r.journal.placed(r.vol.root, e)
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
			resumes[c.index] = resume{number, claims}
		}
	}
	r.offer.verdicts[c.index] = w.verdict
	r.count(e, &w, bad)
	return w, nil
}

// count records a decision about an entry; bad tells what is wrong with its name.
func (r *receiver) count(e *entry, w *wish, bad error) {
	switch {
	case w.verdict == verdictNo:
		r.skip(printable(e.path, maxPath), ErrRefused)
		return
	case e.kind == kindLeftOut:
		r.skip(printable(e.path, maxPath), e.why())
		return
	case w.verdict == verdictName:
		r.skip(printable(e.path, maxPath), bad)
		return
	case e.kind == kindFolder:
		return
	}
	r.update(func(p *Progress, result *Result) {
		size := e.size
		switch w.verdict {
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
		p.expect(1, size)
	})
}

// expect adds files and bytes to the totals, where that does not overflow.
func (p *Progress) expect(files int, bytes int64) {
	p.TotalFiles += files
	if p.TotalBytes += bytes; p.TotalBytes < 0 {
		p.TotalBytes = math.MaxInt64
	}
}

// disk returns the error of something that ends with the transfer, or with an
// error of the destination.
func (r *receiver) disk(err error) error {
	if r.ctx.Err() != nil {
		return r.why()
	}
	return writing(err)
}

// ask has the app decide on the offer.
func (r *receiver) ask() error {
	if r.decide == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	within := r.opts.AnswerWithin
	if within == 0 {
		within = answerWithin
	}
	if within > 0 {
		timer := time.AfterFunc(within, func() { r.cancel(fmt.Errorf("%w: within %v", ErrUnanswered, within)) })
		defer timer.Stop()
	}
	if err := r.decide(ctx, r.offer); err != nil {
		if r.ctx.Err() != nil {
			return r.why()
		}
		if !errors.Is(err, ErrRefused) {
			err = fmt.Errorf("%w: %w", ErrRefused, err)
		}
		return err
	}
	return r.offer.err
}
