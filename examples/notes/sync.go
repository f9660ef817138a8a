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
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/proto"
	"github.com/sdp2p/p2p/tunnel"
)

// route is the library's route by which a device gets operations: it opens a
// tunnel to each available member, and writes a [Want], and another one
// whenever it wants more authors, or has got operations elsewhere. The other
// side writes operations, first those that are missing and then each new one at
// once, until either ends. Each device does that for itself, so that two
// devices have a tunnel in each direction.
//
// Operations are added as they arrive. If a tunnel is cut, only operations in
// transit are lost, and the next tunnel sends them.
const route = "notes"

const (
	batchSize  = 64 << 10               // bytes read from the log at a time
	batchCount = 256                    // operations added at a time
	openTime   = 30 * time.Second       // for a tunnel to be opened
	wantEvery  = time.Second            // between messages that only narrow what is wanted
	retryFirst = 250 * time.Millisecond // after a tunnel that failed; doubled each time
	retryMost  = time.Minute
	heedEvery  = time.Minute // between checks of the roster, if nothing happens
	settleLate = time.Minute // how long to wait for the revocation of the admin that removed a member before another admin makes its own
)

// A Syncer keeps a store in sync with the other members of a library.
type Syncer struct {
	store   *Store
	library *library.Library
	self    Author
	wall    func() time.Time
	log     *slog.Logger
	members broadcast // told when members or admins have changed
}

// NewSyncer makes a syncer, which serves the library's route.
func NewSyncer(s *Store, l *library.Library, wall func() time.Time, log *slog.Logger) *Syncer {
	y := &Syncer{store: s, library: l, self: s.self, wall: wall, log: log}
	l.Handle(route, y.serve)
	return y
}

// Run gets operations from all available members until ctx is done.
func (y *Syncer) Run(ctx context.Context, libraries *library.Libraries) {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx) // also when Watch ends
	defer cancel()
	running.Go(func() { y.heed(ctx) })

	type puller struct {
		stop   context.CancelFunc
		again  chan struct{} // try again at once
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
	told := false
	for {
		ops, err := readOps(d, r)
		if len(ops) > 0 {
			got = true
			failed := y.store.Add(ops)
			if stray := (*StrayError)(nil); errors.As(failed, &stray) {
				if !told {
					y.log.Warn("what an author wrote does not go together: was a copy of its files restored?", "from", m.Name, "err", failed)
				}
				told = true // other authors' operations are still added
			} else if failed != nil {
				err = failed
			}
		}
		if err != nil {
			c.Abort(err)
			return got, err
		}
	}
}

// readOps waits for an operation, and returns it with those that have arrived
// with it, even if an error follows.
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

// ask writes Wants until ctx is done: at once if there are other authors, and
// now and then if operations have arrived, so that two members do not send the
// same ones.
func (y *Syncer) ask(ctx context.Context, c *tunnel.Conn) error {
	asked := map[Author]uint64{} // the number that counted at some time
	for {
		members, changed := y.members.next(), y.store.changed.next()
		wanted := y.store.Wanted()
		if !consistent(asked, wanted) {
			return errAnew
		}
		w := Want{y.wall().UnixMilli(), y.store.Have(wanted)}
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
			for a := range y.store.Wanted() {
				if _, ok := asked[a]; !ok {
					late, news = true, true
				}
			}
		}
		tick.Stop()
	}
}

var errAnew = errors.New("notes: somebody counts again; beginning anew")

// consistent records how many operations of each author count. It reports false
// if more count of an author that was asked for before: those that arrived were
// skipped, and are not sent again.
func consistent(asked, wanted map[Author]uint64) bool {
	for a := range asked {
		if _, ok := wanted[a]; !ok {
			asked[a] = 0
		}
	}
	for a, counts := range wanted {
		if before, ok := asked[a]; ok && counts > before {
			return false
		}
		asked[a] = counts
	}
	return true
}

// heed applies the roster to the store, and makes this device's revocations of
// removed members, until ctx is done.
func (y *Syncer) heed(ctx context.Context) {
	seen := map[roster.Hash]time.Time{} // removals that others have signed
	tick := time.NewTicker(heedEvery)
	defer tick.Stop()
	for {
		members, changed := y.members.next(), y.store.changed.next()
		if err := y.store.Heed(); err != nil {
			y.log.Warn("the notes cannot be made anew", "err", err)
		}
		own, others := y.store.Unsettled()
		for _, r := range others {
			if _, ok := seen[r.Hash]; !ok {
				seen[r.Hash] = time.Now()
			}
			if time.Since(seen[r.Hash]) >= settleLate {
				own = append(own, r)
			}
		}
		for _, r := range own {
			if err := y.store.Revoke(r); err != nil && !errors.Is(err, library.ErrNotAdmin) {
				y.log.Warn("nothing can be said of a removed member", "member", r.Instance, "err", err)
			}
		}
		select {
		case <-members:
		case <-changed:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// settle makes this device's revocation of a removed member.
func (y *Syncer) settle(who identity.RemoteIdentity) error {
	if err := y.store.Heed(); err != nil {
		return err
	}
	own, others := y.store.Unsettled()
	for _, r := range append(own, others...) {
		if r.Instance != who {
			continue
		}
		if err := y.store.Revoke(r); !errors.Is(err, library.ErrNotAdmin) {
			return err
		}
	}
	return nil
}

// serve sends a member the operations that it wants.
func (y *Syncer) serve(ctx context.Context, c *tunnel.Conn) error {
	defer context.AfterFunc(ctx, func() { c.Abort(p2p.ErrShuttingDown) })()
	ctx, cancel := context.WithCancel(ctx)
	wants := make(chan Want)
	var reading sync.WaitGroup
	var ended error // why wants was closed
	reading.Go(func() {
		defer close(wants)
		ended = y.read(ctx, c, wants)
	})
	defer reading.Wait()
	defer c.SetReadDeadline(time.Unix(1, 0)) // ends it
	defer cancel()

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
			changed = now // there may be more operations
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

// read reads a member's Wants until it ends or ctx does.
func (y *Syncer) read(ctx context.Context, c *tunnel.Conn, wants chan<- Want) error {
	d := proto.NewDecoder(c)
	for first := true; ; first = false {
		var w Want
		d.Reset(c)
		if err := w.DecodeFrom(d); err != nil {
			return err
		}
		if err := y.hear(c.Instance(), w, first); err != nil {
			return err
		}
		select {
		case wants <- w:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// hear processes the rest of a Want. The clock counts only in the first
// message, which had nothing to wait for.
func (y *Syncer) hear(from identity.RemoteIdentity, w Want, first bool) error {
	ahead := time.UnixMilli(w.Clock).Sub(y.wall()) // including the transit time, which is much less than Drift
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
