package block

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/backoff"
)

const (
	holdWithin = 5 * time.Minute        // without progress, unless the app says otherwise
	retryFirst = 100 * time.Millisecond // after a stream was lost
	retryLast  = 5 * time.Second        // at most between two attempts
)

// An Opener opens a stream to the other side of a transfer. It may be called
// many times, and ctx applies to the opening only. [To] returns an Opener for a
// peer; an app's own may write a request first, or open a tunnel.
type Opener func(ctx context.Context) (net.Conn, error)

// To returns an Opener of bulk streams to a peer's route: see [p2p.Bulk].
func To(peer *p2p.Peer, route string) Opener {
	return func(ctx context.Context) (net.Conn, error) {
		s, err := peer.Open(p2p.Bulk(ctx), route)
		if err != nil {
			return nil, err // not a nil *p2p.Stream, which would be a non-nil net.Conn
		}
		return s, nil
	}
}

// A Transfer moves files as [Send] and [Receive] do, over as many streams as
// necessary: if one is lost, with a network or a transport, it opens another
// and continues where the last one ended. The side that opens streams uses a
// Transfer, the other side [Transfers].
//
// It opens another stream only after a lost one: one that ends early or fails,
// such as with [p2p.ErrConnectionLost], over which nothing arrives for 30 s
// ([ErrTimeout], of either side), or that the other side resets because it
// shuts down. After the first stream it also retries after a failure to open
// one, [ErrBusy] and [p2p.ErrBusy]. All other errors end a transfer at once:
// decisions of either side, faults of disks and files, other versions, other
// resets, and the errors [p2p.ErrClosed], [p2p.ErrRevoked] and
// [p2p.ErrNoListener] of opening.
type Transfer struct {
	Open Opener
	// Within is how long a transfer retries without progress, from the first
	// stream lost since the last progress. Then it fails with the error of the
	// last stream. If zero, 5 minutes. If negative, only the context limits it.
	Within time.Duration
	// Lost, if not nil, is called between streams with the reason why a stream
	// was lost or could not be opened, and the time until the next attempt.
	Lost func(err error, next time.Duration)
}

// Send is like the function [Send], over streams that it opens and closes. The
// Result and the progress are those of the whole transfer: Sent counts the
// bytes that crossed all streams, Resumed those that had arrived before the
// first one, and the progress does not go back when bytes are sent again. Rate
// is the rate of the last 2 s with a report.
//
// sources are read anew for each stream. If one has changed, that is another
// offer, on which the receiver's app decides again.
func (t *Transfer) Send(ctx context.Context, sources []Source, opts SendOptions) (Result, error) {
	a := &account{report: opts.Progress}
	opts.Progress = a.progress
	return t.run(ctx, a, func(stream net.Conn) (Result, error) {
		return Send(ctx, stream, sources, opts)
	})
}

// Receive is like the function [Receive], over streams that it opens and
// closes; for the Result and the progress, see Send. decide is not called again
// for an unchanged offer that it has accepted. If neither opts.From nor the
// streams name the sender, only later streams of the same call resume the
// transfer.
func (t *Transfer) Receive(ctx context.Context, decide func(context.Context, *Offer) error, dest *os.Root, opts ReceiveOptions) (Result, error) {
	a, known, call := &account{report: opts.Progress}, decisions{}, "transfer "+rand.Text()
	opts.Progress = a.progress
	asked := func(ctx context.Context, o *Offer) error { return known.ask(ctx, o, decide) }
	return t.run(ctx, a, func(stream net.Conn) (Result, error) {
		opts := opts
		opts.From = cmp.Or(opts.From, from(stream), call)
		return Receive(ctx, stream, asked, dest, opts)
	})
}

// run attempts the transfer over one stream after another, until it succeeds or
// must not be retried.
func (t *Transfer) run(ctx context.Context, a *account, attempt func(net.Conn) (Result, error)) (Result, error) {
	waits := backoff.Backoff{Min: retryFirst, Max: retryLast}
	within := cmp.Or(t.Within, holdWithin)
	var since time.Time // when the first stream without progress since was lost
	for first := true; ; first = false {
		stream, err := t.Open(ctx)
		opened := err == nil
		if opened {
			var r Result
			r, err = attempt(stream)
			stream.Close()
			a.add(r)
		}
		switch {
		case err == nil:
			return a.total(), nil
		case ctx.Err() != nil && !opened:
			return a.total(), canceled(context.Cause(ctx))
		case ctx.Err() != nil, opened && !lost(err, !first), !opened && (first || final(err)):
			return a.total(), err
		}
		if a.moved() || since.IsZero() {
			since = time.Now()
			waits.Reset()
		}
		wait := waits.Next()
		if within >= 0 && time.Since(since)+wait > within {
			return a.total(), err
		}
		if t.Lost != nil {
			t.Lost(err, wait)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return a.total(), canceled(context.Cause(ctx))
		}
	}
}

// lost reports whether an error is one of the stream, so that another stream
// may bring the rest, and not of the transfer. If later is set, the receiver is
// known to want the transfer.
func lost(err error, later bool) bool {
	var peer *PeerError
	var reset *p2p.ResetError
	switch {
	case errors.Is(err, ErrIncomplete):
		return false
	case errors.Is(err, ErrBusy), errors.Is(err, p2p.ErrBusy):
		return later
	case errors.As(err, &peer):
		return peer.Err == ErrTimeout
	case errors.As(err, &reset):
		return reset.Remote && (reset.Code == p2p.ErrShuttingDown || reset.Code == p2p.ErrTimeout)
	case errors.Is(err, os.ErrNoDeadline):
		return false
	}
	return errors.Is(err, ErrTimeout) || errors.Is(err, errStream)
}

// final reports whether an error of opening a stream means that no later stream
// can be opened either.
func final(err error) bool {
	return errors.Is(err, p2p.ErrClosed) || errors.Is(err, p2p.ErrRevoked) || errors.Is(err, p2p.ErrNoListener)
}
