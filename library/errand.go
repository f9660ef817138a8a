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
	exchangeTime  = 10 * time.Second // for one exchange
	errandAgain   = time.Minute      // after a failure; doubled each time
	errandMax     = time.Hour        // and at most this
	errandGap     = time.Second      // between two to a member, except the first ones,
	errandBurst   = 4                // of which there are this many
	errandsAtOnce = 64               // to different members
)

// An errand tells a member something that it may not know yet.
type errand struct {
	library  *Library
	instance identity.RemoteIdentity
	route    string
	news     roster.Hash // a digest of its subject
}

// A round is the errands to all members. Those to one member are run one after
// the other, so that a member that does not answer keeps no other waiting.
type round struct {
	h       *Libraries
	visits  map[place]*visit
	running int
	over    chan func() // functions to call once an errand was run
}

// A visit is the errands to one member.
type visit struct {
	running bool
	paid    time.Time         // until when the member's time is taken by the errands so far
	tried   map[string]*retry // by route
}

// A retry says when an errand is to be run again.
type retry struct {
	news    roster.Hash
	at      time.Time // zero: at once
	backoff backoff.Backoff
}

// soon forgets that the errand has failed before.
func (t *retry) soon() {
	t.at = time.Time{}
	t.backoff.Reset()
}

// free returns when a visit may run another errand.
func (v *visit) free() time.Time { return v.paid.Add(-(errandBurst - 1) * errandGap) }

// pay counts an errand.
func (v *visit) pay(now time.Time) {
	if v.paid.Before(now) {
		v.paid = now
	}
	v.paid = v.paid.Add(errandGap)
}

// runErrands runs the errands to members as they become available, until ctx is
// done.
func (h *Libraries) runErrands(ctx context.Context) {
	r := &round{h: h, visits: map[place]*visit{}, over: make(chan func())}
	for ctx.Err() == nil {
		changed := h.changed.next()
		wait, cancel := ctx, context.CancelFunc(func() {})
		if due := r.begin(ctx); !due.IsZero() {
			wait, cancel = context.WithDeadline(ctx, due)
		}
		select {
		case <-wait.Done():
		case <-changed:
		case end := <-r.over:
			end()
		}
		cancel()
	}
	for r.running > 0 {
		(<-r.over)()
	}
}

// begin begins the errands that are due, and returns when the next one will be;
// zero if that depends on a change or on the end of an errand.
func (r *round) begin(ctx context.Context) (due time.Time) {
	soonest := func(at time.Time) {
		if !at.IsZero() && (due.IsZero() || at.Before(due)) {
			due = at
		}
	}
	seen := map[place]bool{}
	for _, l := range r.h.All() {
		soonest(l.keepUp())
		for _, p := range l.reachable() {
			at := place{l, p.Instance}
			seen[at] = true
			v := r.visits[at]
			if v == nil {
				v = &visit{tried: map[string]*retry{}}
				r.visits[at] = v
			}
			for _, e := range l.errands(p) {
				soonest(r.consider(ctx, v, e, p.available))
			}
		}
	}
	maps.DeleteFunc(r.visits, func(at place, v *visit) bool { return !seen[at] && !v.running })
	return due
}

// consider begins an errand if it is due, or returns when it will be; zero if
// that depends on a change or on the end of an errand.
func (r *round) consider(ctx context.Context, v *visit, e errand, available bool) (due time.Time) {
	t := v.tried[e.route]
	if t == nil {
		t = &retry{backoff: backoff.Backoff{Min: errandAgain, Max: errandMax}}
		v.tried[e.route] = t
	}
	if t.news != e.news || !available {
		t.news = e.news
		t.soon() // once the member is back
	}
	now := time.Now()
	switch {
	case !available || v.running || r.running >= errandsAtOnce:
		return time.Time{}
	case now.Before(t.at):
		return t.at
	case now.Before(v.free()):
		return v.free()
	}
	v.pay(now)
	v.running = true
	r.running++
	go func() {
		err := e.run(ctx)
		r.over <- func() { r.end(v, t, e, err) }
	}()
	return time.Time{}
}

// end records that an errand was run.
func (r *round) end(v *visit, t *retry, e errand, err error) {
	v.running = false
	r.running--
	switch {
	case err == nil:
		t.soon() // there may be more to tell by now
	case t.news == e.news:
		r.h.log().Debug("a member could not be told", "library", e.library.id, "member", e.instance, "what", e.route, "cause", err)
		t.at = time.Now().Add(t.backoff.Next())
	}
}

// keepUp does the work of a library that is due by now, and returns when it is
// to be called again; zero: never.
func (l *Library) keepUp() (due time.Time) {
	due = l.rotateIfDue()
	if r := l.content().record; len(r.Former) > 0 {
		l.expireFormer()
		now := time.Now()
		for _, f := range l.content().record.Former {
			at := f.Until
			if !at.After(now) { // its end could not be stored
				at = now.Add(errandAgain)
			}
			if due.IsZero() || at.Before(due) {
				due = at
			}
		}
	}
	return due
}

// A contact is a member, or a removed admin, to run errands to.
type contact struct {
	*peer
	available bool
}

// reachable returns the contacts of the library.
func (l *Library) reachable() (all []contact) {
	for _, m := range l.content().members {
		node := l.hook.peer(m.Node)
		all = append(all, contact{m, node != nil && node.Info().Available})
	}
	return all
}

// errands returns the errands to a member. A removed admin is told only of its
// removal.
func (l *Library) errands(m contact) (all []errand) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now.members[m.Instance] == nil || l.now.out && !l.now.left && !l.now.view.WasAdmin(l.instance.Remote()) {
		return nil // nobody would accept it from us
	}
	r := &l.now.record
	with := *l.with(m.Instance)
	if m.out {
		if news := l.now.removals(m.Instance); with.synced != news && !l.now.out {
			all = append(all, errand{l, m.Instance, rosterRoute, news})
		}
		return all
	}
	if with.taking > 0 {
		return nil // the exchange tells it; what else there is depends on these statements
	}
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

// ours returns the handler of a route that the library serves itself, or nil if
// route is none of those. Removed admins, which are not full, can use one of
// them.
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
