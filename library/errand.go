package library

import (
	"context"
	"maps"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/backoff"
	"github.com/sdp2p/p2p/tunnel"
)

const (
	exchangeTime = 10 * time.Second // for one exchange
	errandAgain  = time.Minute      // after one that failed; doubled each time
	errandMax    = time.Hour        // and no longer than that
	errandGap    = 2 * time.Second  // between two to a member, which is short of five tunnels a second
)

// An errand is to tell a member what it may not know yet.
type errand struct {
	library  *Library
	instance identity.RemoteIdentity
	route    string
	number   uint64 // of the secret, where it is that
}

// A retry says when an errand is done again, if it has to be.
type retry struct {
	last, at time.Time
	backoff  backoff.Backoff
}

// soon forgets that the errand has failed before.
func (t *retry) soon() {
	t.at = t.last.Add(errandGap)
	t.backoff.Reset()
}

// runErrands tells members what they have to know, as they come by, until ctx is done.
func (h *Libraries) runErrands(ctx context.Context) {
	tried := map[errand]*retry{}
	for ctx.Err() == nil {
		changed := h.changed.next()
		wait, cancel := ctx, context.CancelFunc(func() {})
		if due := h.runErrandsNow(ctx, tried); !due.IsZero() {
			wait, cancel = context.WithDeadline(ctx, due)
		}
		select {
		case <-wait.Done():
		case <-changed:
		}
		cancel()
	}
}

// runErrandsNow does what is due, and returns when there is something to do again; zero if only a change can tell.
func (h *Libraries) runErrandsNow(ctx context.Context, tried map[errand]*retry) (due time.Time) {
	soonest := func(at time.Time) {
		if due.IsZero() || at.Before(due) {
			due = at
		}
	}
	open := map[errand]bool{}
	for _, l := range h.All() {
		r := l.Record()
		if len(r.Former) > 0 {
			l.expireFormer()
			r = l.Record()
		}
		for _, f := range r.Former {
			soonest(f.Until)
		}
		for _, p := range l.Members() {
			for _, e := range l.errands(&r, p.Member.Instance) {
				open[e] = true
				t := tried[e]
				if !p.Available {
					if t != nil {
						t.soon() // once it is back
					}
					continue
				}
				if t == nil {
					t = &retry{backoff: backoff.Backoff{Min: errandAgain, Max: errandMax}}
					tried[e] = t
				}
				if !time.Now().Before(t.at) {
					err := e.run(ctx)
					t.last = time.Now()
					if err == nil {
						t.soon() // there may be more by now
					} else {
						h.log().Debug("a member could not be told", "library", l.id, "member", e.instance, "what", e.route, "err", err)
						t.at = t.last.Add(t.backoff.Next())
					}
				}
				soonest(t.at)
			}
		}
	}
	maps.DeleteFunc(tried, func(e errand, t *retry) bool { return !open[e] && !time.Now().Before(t.at) })
	return due
}

// errands returns what a member has to be told.
func (l *Library) errands(r *Record, instance identity.RemoteIdentity) (all []errand) {
	if r.pending(instance) {
		all = append(all, errand{l, instance, secretRoute, r.Number})
	}
	if r.untold(instance) {
		all = append(all, errand{l, instance, membersRoute, 0})
	}
	return all
}

func (e errand) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, exchangeTime)
	defer cancel()
	c, err := e.library.openRoute(ctx, e.instance, e.route)
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Abort(context.Cause(ctx)) })
	defer stop()
	if e.route == secretRoute {
		return e.library.exchangeSecret(c)
	}
	return e.library.exchangeMembers(c)
}

// ours returns the handler of a route that the library serves itself; nil if it is none of those.
func (l *Library) ours(route string) HandlerFunc {
	serve := map[string]HandlerFunc{secretRoute: l.serveSecret, membersRoute: l.serveMembers}[route]
	if serve == nil {
		return nil
	}
	return func(ctx context.Context, c *tunnel.Conn) error {
		c.SetDeadline(time.Now().Add(exchangeTime))
		return serve(ctx, c)
	}
}
