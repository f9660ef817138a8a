package library

import (
	"context"
	"maps"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/backoff"
	"github.com/sdp2p/p2p/library/roster"
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
	news     roster.Hash // what it is about
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
		if r := l.Record(); len(r.Former) > 0 {
			l.expireFormer()
			for _, f := range l.Record().Former {
				soonest(f.Until)
			}
		}
		for _, p := range l.reachable() {
			for _, e := range l.errands(p) {
				open[e] = true
				t := tried[e]
				if !p.available {
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

// A contact is a member, or an admin that was removed, to run errands to.
type contact struct {
	*peer
	available bool
}

// reachable returns those to run errands to.
func (l *Library) reachable() (all []contact) {
	for _, m := range l.content().members {
		node := l.hook.peer(m.Node)
		all = append(all, contact{m, node != nil && node.Info().Available})
	}
	return all
}

// errands returns what a member has to be told. An admin that was removed is told
// nothing unless it asks.
func (l *Library) errands(m contact) (all []errand) {
	if m.out {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now.members[m.Instance] == nil || l.now.out && !l.now.view.WasAdmin(l.instance.Remote()) {
		return nil // nobody would take it from us
	}
	r := &l.now.record
	with := *l.with(m.Instance)
	if with.synced != l.now.digest {
		all = append(all, errand{l, m.Instance, rosterRoute, l.now.digest})
	}
	if l.now.out {
		return all
	}
	if !with.secret.IsZero() && with.secret != r.Secret {
		all = append(all, errand{l, m.Instance, secretRoute, roster.HashSecret(r.Secret.Bytes())})
	}
	if r.Asking != nil && m.Role == RoleAdmin {
		about, _ := subject(r.Asking, r.Founder)
		if h := r.Asking.UnsignedHash(); with.asked != h && about != m.Instance {
			all = append(all, errand{l, m.Instance, askRoute, h})
		}
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
	switch e.route {
	case secretRoute:
		return e.library.exchangeSecret(c)
	case askRoute:
		return e.library.exchangeAsk(c)
	}
	return e.library.exchangeRoster(c)
}

// ours returns the handler of a route that the library serves itself; nil if it is
// none of those. Those that are no members, but were admins, reach one of them.
func (l *Library) ours(route string, full bool) HandlerFunc {
	serve := map[string]HandlerFunc{rosterRoute: l.serveRoster, secretRoute: l.serveSecret, askRoute: l.serveAsk}[route]
	if serve == nil || !full && route != rosterRoute {
		return nil
	}
	return func(ctx context.Context, c *tunnel.Conn) error {
		c.SetDeadline(time.Now().Add(exchangeTime))
		return serve(ctx, c)
	}
}
