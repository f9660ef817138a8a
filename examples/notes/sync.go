package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/proto"
	"github.com/sdp2p/p2p/tunnel"
)

// route is the library's route by which a device gets operations: it opens a tunnel to each member that is there, and writes a
// [Want], and another one whenever it wants more authors, or has got operations elsewhere. The other side writes operations,
// first those that are missing and then each new one at once, until either ends. Each device does that for itself, so that
// between two there is a tunnel in each direction.
//
// Operations are added as they come. A tunnel that is cut anywhere costs what was under way: the next one begins with what
// is there by then.
const route = "notes"

const (
	batchSize  = 64 << 10               // bytes that are read from the log at a time
	batchCount = 256                    // operations that are added at a time
	openTime   = 30 * time.Second       // for a tunnel to be opened
	wantEvery  = time.Second            // for messages that only say what is no longer wanted
	retryFirst = 250 * time.Millisecond // after a tunnel that failed; doubled each time
	retryMost  = time.Minute
)

// A Syncer keeps a store in step with the other members of a library.
type Syncer struct {
	store   *Store
	library *library.Library
	self    Author
	wall    func() time.Time
	log     *slog.Logger
	members broadcast // there are other members
}

// NewSyncer makes a syncer, and has it serve the library's route.
func NewSyncer(s *Store, l *library.Library, wall func() time.Time, log *slog.Logger) *Syncer {
	y := &Syncer{store: s, library: l, self: author(l.Instance()), wall: wall, log: log}
	l.Handle(route, y.serve)
	return y
}

// Run gets operations from all members that are there, until ctx is done.
func (y *Syncer) Run(ctx context.Context, libraries *library.Libraries) {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx) // also where Watch ends
	defer cancel()
	running.Go(func() { y.enforce(ctx) })

	type puller struct {
		stop   context.CancelFunc
		again  chan struct{} // it is worth trying at once
		serves bool
	}
	pullers := map[identity.RemoteIdentity]*puller{}
	for c := range libraries.Watch(ctx) {
		if c.Library != y.library {
			continue
		}
		y.members.tell()
		m := c.Presence.Member
		p := pullers[m.Instance]
		there := !c.Removed && c.Presence.Available
		switch {
		case p == nil && there:
			pulling, stop := context.WithCancel(ctx)
			p = &puller{stop: stop, again: make(chan struct{}, 1), serves: c.Presence.Serves}
			pullers[m.Instance] = p
			again := p.again
			running.Go(func() { y.follow(pulling, m, again) })
		case p != nil && !there:
			p.stop()
			delete(pullers, m.Instance)
		case p != nil && c.Presence.Serves && !p.serves: // it has just got the library
			select {
			case p.again <- struct{}{}:
			default:
			}
		}
		if p != nil {
			p.serves = c.Presence.Serves
		}
	}
}

// follow gets operations from a member until ctx is done.
func (y *Syncer) follow(ctx context.Context, m library.Member, again <-chan struct{}) {
	wait := retryFirst
	for ctx.Err() == nil {
		got, err := y.pull(ctx, m)
		if got {
			wait = retryFirst
		}
		y.log.Debug("a tunnel has ended", "member", m.Name, "err", err)
		select {
		case <-ctx.Done():
		case <-again:
			wait = retryFirst
		case <-time.After(wait):
			wait = min(2*wait, retryMost)
		}
	}
}

// pull gets operations over one tunnel. It reports whether any came.
func (y *Syncer) pull(ctx context.Context, m library.Member) (got bool, err error) {
	opening, cancel := context.WithTimeout(ctx, openTime)
	c, err := y.library.Open(opening, m.Instance, route)
	cancel()
	if err != nil {
		return false, err
	}
	ctx, cancel = context.WithCancel(ctx)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	asking.Go(func() {
		if err := y.ask(ctx, c); err != nil {
			c.Abort(err)
		}
	})
	r := bufio.NewReaderSize(c, batchSize)
	d := proto.NewDecoder(r)
	for {
		ops, err := readOps(d, r)
		if len(ops) > 0 {
			got = true
			known := y.known()
			if failed := y.store.Add(ops, func(a Author) bool { return known[a] }); failed != nil {
				y.log.Warn("operations were not added", "from", m.Name, "err", failed)
				err = failed
			}
		}
		if err != nil {
			c.Abort(err)
			return got, err
		}
	}
}

// readOps waits for an operation, and returns it with those that came along, also if an error follows them.
func readOps(d *proto.Decoder, r *bufio.Reader) (ops []Op, err error) {
	for len(ops) < batchCount && (len(ops) == 0 || r.Buffered() > 0) {
		var o Op
		d.Reset(r)
		if err := o.DecodeFrom(d); err != nil {
			return ops, err
		}
		ops = append(ops, o)
	}
	return ops, nil
}

// ask says what is wanted, until ctx is done: at once if there are other authors, and now and then if operations have come,
// so that they are not sent by two.
func (y *Syncer) ask(ctx context.Context, c *tunnel.Conn) error {
	for {
		members, changed := y.members.next(), y.store.changed.next()
		asked := y.known()
		w := Want{y.wall().UnixMilli(), y.store.Have(asked)}
		b, err := w.AppendBinary(nil)
		if err == nil {
			_, err = c.Write(b)
		}
		if err != nil {
			return err
		}
		tick := time.NewTimer(wantEvery)
		for late, news := false, false; !news || !late; {
			select {
			case <-members:
				members = y.members.next()
			case <-changed:
				changed, news = y.store.changed.next(), true
			case <-tick.C:
				late = true
			case <-ctx.Done():
				tick.Stop()
				return context.Cause(ctx)
			}
			known := y.known()
			for a := range known {
				if !asked[a] {
					late, news = true, true
				}
			}
			for a := range asked {
				if !known[a] { // what comes of it is skipped, and must be asked for again if it comes back
					tick.Stop()
					return errors.New("notes: a member has been removed; beginning anew")
				}
			}
		}
		tick.Stop()
	}
}

// known returns whose operations count: those of the members, and what there was of those who were revoked.
func (y *Syncer) known() map[Author]bool {
	all := map[Author]bool{y.self: true}
	for _, m := range y.library.Record().Members {
		all[author(m.Instance)] = true
	}
	for _, a := range y.store.Revoked() {
		all[a] = true
	}
	return all
}

// enforce keeps revoked members out of the library, until ctx is done. The founder also revokes those that are members no
// longer for another reason, such as that their node has joined anew: so that the others learn how many of their operations
// there are.
func (y *Syncer) enforce(ctx context.Context) {
	for {
		members, changed := y.members.next(), y.store.changed.next()
		revoked := map[Author]bool{}
		for _, a := range y.store.Revoked() {
			revoked[a] = true
		}
		r := y.library.Record()
		for _, m := range r.Members {
			if revoked[author(m.Instance)] {
				if err := y.library.RemoveMember(m.Instance); err != nil && !errors.Is(err, library.ErrNoMember) {
					y.log.Warn("a revoked member cannot be removed", "member", m.Name, "err", err)
				}
			}
		}
		for _, gone := range r.Removed {
			if !revoked[author(gone)] {
				if err := y.store.Revoke(author(gone)); errors.Is(err, ErrNotFounder) {
					break
				} else if err != nil {
					y.log.Warn("a former member cannot be revoked", "member", gone, "err", err)
				}
			}
		}
		select {
		case <-members:
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// serve gives a member what it wants.
func (y *Syncer) serve(ctx context.Context, c *tunnel.Conn) error {
	defer context.AfterFunc(ctx, func() { c.Abort(p2p.ErrShuttingDown) })()
	wants, stop := make(chan Want), make(chan struct{})
	var reading sync.WaitGroup
	var ended error // why wants was closed
	reading.Go(func() {
		defer close(wants)
		d := proto.NewDecoder(c)
		for first := true; ; first = false {
			var w Want
			d.Reset(c)
			if ended = w.DecodeFrom(d); ended == nil {
				ended = y.hear(c.Instance(), w, first)
			}
			if ended != nil {
				return
			}
			select {
			case wants <- w:
			case <-stop:
				return
			}
		}
	})
	defer reading.Wait()
	defer c.SetReadDeadline(time.Unix(1, 0)) // ends it
	defer close(stop)

	now := make(chan struct{})
	close(now)
	var cursor Cursor
	var b []byte
	for {
		changed := y.store.changed.next()
		var err error
		if b, err = y.store.Next(&cursor, b[:0], batchSize); err != nil {
			y.log.Warn("operations cannot be read", "err", err)
			return err
		}
		if len(b) > 0 {
			if _, err := c.Write(b); err != nil {
				return err
			}
			changed = now // there may be more
		}
		select {
		case <-changed:
		case w, ok := <-wants:
			if !ok && errors.Is(ended, io.EOF) {
				return nil
			} else if !ok {
				return ended
			}
			y.store.Want(&cursor, w.Have)
		}
	}
}

// hear takes in what a member says besides what it wants. Its clock counts only in the first message, which did not wait
// behind anything.
func (y *Syncer) hear(from identity.RemoteIdentity, w Want, first bool) error {
	ahead := time.UnixMilli(w.Clock).Sub(y.wall()) // with the time on the way, which is much less than Drift
	for _, h := range w.Have {
		if h.Author == y.self {
			y.store.Known(h.Count)
		}
	}
	if !first {
		return nil
	}
	off, err := y.store.Hear(author(from), ahead)
	if off != 0 {
		y.log.Warn("the clock of this device is off; notes count by that of the others", "by", -off)
	}
	return err
}
