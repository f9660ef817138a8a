package block

import (
	"context"
	"net"
	"os"
	"time"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p/identity"
)

// Receive receives the files that the other side of stream sends with [Send].
//
// decide decides on the offer. It returns nil to receive everything that it did
// not leave out ([Offer.Skip], [Offer.Part]), or an error, such as that of
// [Refuse], to receive nothing; then Receive returns that error. Its context
// ends when the sender gives up. A large transfer consists of several offers:
// see [Offer].Earlier. If decide is nil, everything is received.
//
// Files and folders appear in dest, files only once they are complete, verified
// and on the disk, and under another name if theirs is taken. dest may be nil
// if only parts are wanted. If Receive fails, received data is kept for the
// next attempt.
//
// If the transfer was aborted, the error tells why. If it ran to its end but
// some files or folders did not arrive, including those that the sender had to
// leave out, the error is an [*IncompleteError].
//
// Receive returns within a second of the end of ctx. If a disk hangs at that
// time, calls to the file system may still be running. Receive does not close
// the stream, which cannot be used afterwards. Receive sets the stream's
// deadlines, and fails with the error of SetDeadline if it cannot.
//
// In a process, at most 16 offers wait for an answer, 2 of one sender, with 32
// MiB in total; others are refused with [ErrBusy]. An offer has 60 s to arrive.
func Receive(ctx context.Context, stream net.Conn, decide func(context.Context, *Offer) error, dest *os.Root, opts ReceiveOptions) (_ Result, err error) {
	defer func() { counted(stream, "block_transfers_received", err) }()
	if err := stream.SetDeadline(time.Time{}); err != nil {
		return Result{}, streamError(err) // without deadlines, no call could be interrupted
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
	err = r.run(r.receive, r.report, r.tidy)
	if r.arrived.Load() {
		err = nil
	}
	return r.outcome(err, opts.AllowIncomplete)
}

// A tunnelConn is a tunnel between instances of a library, as from needs it.
type tunnelConn interface {
	Instance() identity.RemoteIdentity
	Library() uuid.UUID
}

// A nodeConn is a stream between nodes, as from needs it.
type nodeConn interface {
	RemoteIdentity() identity.RemoteIdentity
}

// from returns a name for the other end of a stream, including the library of a
// tunnel. It is empty if the stream does not know its other end.
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
