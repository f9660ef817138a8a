package block

import (
	"cmp"
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// Limits of the transfers that have lost their stream and wait for another one.
// Beyond them, the transfer that has waited longest ends.
const (
	maxHeld     = 64
	maxHeldEach = 8 // of one sender
)

// ErrContinued says that a stream has continued a transfer whose result an
// earlier call of [Transfers.Receive] returns.
var ErrContinued = errors.New("block: another stream's transfer was continued")

// errMoved ends a transfer's stream when the sender has opened another one.
var errMoved = &told{ErrCanceled, "it goes on over another stream"}

// Transfers are the transfers of the side that does not open streams: the other
// side sends with a [Transfer], or with [Send] repeatedly. The zero value is
// ready to use. One value serves all streams, and must not be copied.
type Transfers struct {
	// Within is how long the receiver waits for another stream after a transfer
	// has lost one. Then the transfer ends with the error of the lost stream.
	// If zero, 5 minutes. If negative, it does not wait.
	Within time.Duration
	// Lost, if not nil, is called with each lost stream of a transfer that
	// continues, and its error. It must not block.
	Lost func(stream net.Conn, err error)

	mu   sync.Mutex
	held map[heldKey]*held
}

// A heldKey names a transfer.
type heldKey struct {
	from  string
	offer [16]byte
}

// A held is a transfer with an offer that is being decided on or was accepted.
// Transfers.mu guards its fields, unless they say otherwise.
type held struct {
	key      heldKey
	first    hash // the hash of its first offer
	account  *account
	known    decisions // used by the visit
	decide   func(context.Context, *Offer) error
	received func(File, string)

	accepted bool
	visit    *visit // the stream that continues it now, or nil
	why      error  // why the last stream was lost
	since    time.Time
	timer    *time.Timer // runs while there is no stream
	over     chan struct{}
	err      error // once it is over
}

// A visit is a call of Receive, with its stream.
type visit struct {
	*Transfers
	from   string
	stop   context.CancelCauseFunc
	done   chan struct{} // closed when the call no longer uses the destination
	own    *held         // the transfer that it begins unless it continues another one
	held   *held         // set by ask; guarded by Transfers.mu, except in the goroutine of ask
	silent bool          // held was over when the visit began; guarded like held
	known  bool          // the sender has acknowledged that everything has arrived; guarded by Transfers.mu
}

// Receive receives over a stream as the function [Receive] does, and closes the
// stream. If the stream is lost (see [Transfer]) after decide has accepted its
// offer, Receive waits for another stream. A call of Receive for a later stream
// with the same offer continues where this one ended, does not call decide, and
// returns [ErrContinued] at the end of its stream: the first call's decide and
// functions are used, and it returns the result. For the Result and the
// progress, see [Transfer.Send].
//
// The later stream counts: if the earlier one was not known to be lost, it is
// ended before anything is written to the later one. An offer that is not
// accepted yet is withdrawn, and decided on again. An offer with the same ID by
// the same sender, but of other files, is another transfer, and ends the
// waiting one.
//
// dest, and the fields of opts that are not functions, must be the same in all
// calls for one sender. If neither opts.From nor the stream names the sender,
// Receive does not wait. At most 64 transfers wait, 8 of one sender.
func (t *Transfers) Receive(ctx context.Context, stream net.Conn, decide func(context.Context, *Offer) error, dest *os.Root, opts ReceiveOptions) (Result, error) {
	defer stream.Close()
	opts.From = cmp.Or(opts.From, from(stream))
	if opts.From == "" {
		return Receive(ctx, stream, decide, dest, opts)
	}
	own := &held{
		account: &account{report: opts.Progress}, known: decisions{}, decide: decide, received: opts.Received,
		over: make(chan struct{}),
	}
	v := &visit{Transfers: t, from: opts.From, done: make(chan struct{}), own: own}
	visiting, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	v.stop = stop
	opts.Progress, opts.Received, opts.acknowledged = v.progress, v.received, v.acknowledged
	result, err := Receive(visiting, stream, v.ask, dest, opts)
	stream.Close()
	h, waits := v.leave(result, err)
	if waits && t.Lost != nil {
		t.Lost(stream, err)
	}
	switch {
	case h == nil && !errors.Is(err, errMoved): // no offer was accepted
		return own.account.total(), err
	case h != own:
		return Result{}, ErrContinued
	}
	select {
	case <-h.over:
	case <-ctx.Done():
		t.abandon(h, canceled(context.Cause(ctx)))
	}
	return h.account.total(), h.err
}

// ask decides on an offer. The first one determines the transfer that the visit
// belongs to.
func (v *visit) ask(ctx context.Context, o *Offer) error {
	if o.Earlier == 0 {
		sum, err := o.sum()
		if err != nil {
			return err
		}
		if err := v.join(ctx, heldKey{v.from, o.ID}, sum); err != nil {
			return err
		}
	}
	h := v.held
	decide := h.decide
	if v.silent {
		decide = func(context.Context, *Offer) error { return Refuse("the transfer is over") }
	}
	if err := h.known.ask(ctx, o, decide); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	h.accepted = true
	return nil
}

// join finds the transfer that the visit continues, or begins the visit's own.
// If another stream is in use for that transfer, join ends it and waits for its
// call.
func (v *visit) join(ctx context.Context, key heldKey, first hash) error {
	for {
		v.mu.Lock()
		h := v.Transfers.held[key]
		if h == nil || h.visit == nil {
			err := v.take(h, key, first)
			v.mu.Unlock()
			return err
		}
		other := h.visit
		v.mu.Unlock()
		other.stop(errMoved)
		select {
		case <-other.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// take gives the visit the transfer h, which has no stream, or its own if h is
// nil or was begun with another offer. The caller holds mu.
func (v *visit) take(h *held, key heldKey, first hash) error {
	if h != nil && h.first != first {
		v.remove(h, h.why)
		h = nil
	}
	if h == nil {
		h = v.own
		h.key, h.first = key, first
		if v.Transfers.held == nil {
			v.Transfers.held = map[heldKey]*held{}
		}
		v.Transfers.held[key] = h
	}
	if h.timer != nil {
		h.timer.Stop()
	}
	v.held, h.visit, v.silent = h, v, h.ended()
	return h.err // not nil if the app has canceled it meanwhile
}

// ended reports whether the transfer is over for its first call. The caller
// holds mu.
func (h *held) ended() bool {
	select {
	case <-h.over:
		return true
	default:
		return false
	}
}

// leave records how a stream ended. It returns the transfer of the stream, if
// an offer of it was accepted, and whether that transfer now waits for another
// stream.
func (v *visit) leave(result Result, err error) (h *held, waits bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	defer close(v.done)
	if h = v.held; h == nil {
		v.own.account.add(result)
		return nil, false
	}
	h.visit = nil
	if !v.silent {
		h.account.add(result)
	}
	lost := err != nil && (errors.Is(err, errMoved) || lost(err, true))
	switch {
	case !h.accepted:
		delete(v.Transfers.held, h.key)
		return nil, false
	case v.Within < 0, h.ended() && !lost, !lost && (err != nil || v.known):
		v.remove(h, err)
	case h.ended():
		v.keep(h) // still: the sender has not got the acknowledgment over this stream either
	case err == nil:
		h.finish(nil)
		v.keep(h) // for the sender to resume it and find it complete
	default:
		h.why = err
		v.keep(h)
		return h, true
	}
	return h, false
}

// keep makes a transfer wait for another stream. The caller holds mu.
func (t *Transfers) keep(h *held) {
	h.since = time.Now()
	h.timer = time.AfterFunc(cmp.Or(t.Within, holdWithin), func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if h.visit == nil && t.held[h.key] == h {
			t.remove(h, h.why)
		}
	})
	var all, same int
	var oldest, oldestSame *held
	for _, other := range t.held {
		if other.visit != nil {
			continue
		}
		if all++; oldest == nil || other.since.Before(oldest.since) {
			oldest = other
		}
		if other.key.from != h.key.from {
			continue
		}
		if same++; oldestSame == nil || other.since.Before(oldestSame.since) {
			oldestSame = other
		}
	}
	switch {
	case same > maxHeldEach:
		t.remove(oldestSame, oldestSame.why)
	case all > maxHeld:
		t.remove(oldest, oldest.why)
	}
}

// remove ends a transfer that has no stream, unless it is over, and forgets it.
// The caller holds mu.
func (t *Transfers) remove(h *held, err error) {
	if h.timer != nil {
		h.timer.Stop()
	}
	h.finish(err)
	if t.held[h.key] == h {
		delete(t.held, h.key)
	}
}

// finish ends the transfer for its first call, which returns err. The caller
// holds mu.
func (h *held) finish(err error) {
	if !h.ended() {
		h.err = err
		close(h.over)
	}
}

// abandon ends a transfer for its first call, whose context is done. If it has
// no stream over which to tell the sender, the sender is told over the next
// one.
func (t *Transfers) abandon(h *held, err error) {
	t.mu.Lock()
	h.finish(err)
	v := h.visit
	t.mu.Unlock()
	if v != nil {
		v.stop(err)
		<-v.done
	}
}

// whose returns the transfer whose functions are called for events of the
// stream, or nil.
func (v *visit) whose() *held {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.silent {
		return nil
	}
	return v.held
}

func (v *visit) progress(p Progress) {
	if h := v.whose(); h != nil {
		h.account.progress(p)
	}
}

func (v *visit) received(f File, path string) {
	if h := v.whose(); h != nil && h.received != nil {
		h.received(f, path)
	}
}

// acknowledged records that the sender knows that everything has arrived.
func (v *visit) acknowledged() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.known = true
}
