package dnssd

import (
	"errors"
	"maps"
	"slices"
	"sort"
	"time"

	"github.com/sdp2p/p2p/internal/backoff"
	"github.com/sdp2p/p2p/internal/netmon"
)

const (
	// awayTime is the longest time after which a link that went down may still
	// be the same.
	awayTime = 2 * time.Second
	// awayPoll is the time between checks whether its router is known again.
	awayPoll = 250 * time.Millisecond

	// lookTime is the shortest time between reads of the interfaces before
	// questions, of which there are many with many links.
	lookTime = time.Second

	// rejoinPause is the shortest time between two times that groups are joined
	// again.
	rejoinPause = time.Minute

	// Pauses before listing the interfaces or joining a group is tried again.
	retryPause    = 4 * time.Second
	retryPauseMax = 30 * time.Second

	// The shortest pauses between changes of a router that count.
	movePause    = 10 * time.Second
	movePauseMax = 5 * time.Minute
)

// watch begins to receive changes, if the network reports them.
func (e *Engine) watch() (changes <-chan netmon.Changed, stop func()) {
	if w, ok := e.cfg.Network.(Watcher); ok {
		return w.Watch()
	}
	return nil, func() {}
}

// networkChanged reads the interfaces after a change. After a sleep, it makes
// up for the time in which nothing was sent or received.
func (e *Engine) networkChanged(c netmon.Changed) {
	before := e.ranked()
	e.followInterfaces()
	if c.Kind&netmon.Woke == 0 {
		return
	}
	for _, l := range before {
		if e.links[l.ifc.Index] == l && l.away.IsZero() {
			l.resume()
		}
	}
}

// ranked returns the links, best-ranked first.
func (e *Engine) ranked() []*link {
	list := make([]*link, 0, len(e.links))
	for _, l := range e.links {
		list = append(list, l)
	}
	sort.Slice(list, func(x, y int) bool { return list[x].before(list[y]) })
	return list
}

// before reports whether the interface of l is better-ranked than that of o.
func (l *link) before(o *link) bool {
	if l.ifc.Rank != o.ifc.Rank {
		return l.ifc.Rank < o.ifc.Rank
	}
	return l.ifc.Index < o.ifc.Index
}

// retryPoll reads the interfaces again, after something failed or while a link
// is away.
func (e *Engine) retryPoll() {
	e.retrying = true
	e.followInterfaces()
	e.retrying = false
}

// pollInterfaces reads the interfaces, unless that was done a moment ago and
// the network would have reported a change.
func (e *Engine) pollInterfaces() {
	if _, tells := e.cfg.Network.(Watcher); !tells || e.looked.IsZero() || e.now.Sub(e.looked) >= lookTime {
		e.followInterfaces()
	}
}

// followInterfaces updates the links: an interface that appeared gets a link,
// and one that vanished or moved to another network loses it, with everything
// that was learned there.
func (e *Engine) followInterfaces() {
	e.looked, e.postponed = e.now, time.Time{}
	found, err := e.cfg.Network.Interfaces()
	if err != nil {
		if e.listing == nil {
			e.log.Warn("cannot list network interfaces", "cause", err)
		}
		e.listing = err
		e.pollAgain()
		return
	}
	e.listing = nil
	exists := make(map[int]string)
	for n := range found {
		exists[found[n].Index] = found[n].Name
	}
	maps.DeleteFunc(e.movers, func(index int, _ *mover) bool { return exists[index] == "" })
	usable := e.choose(found)
	chosen := make(map[int]*Interface)
	for _, ifc := range usable {
		chosen[ifc.Index] = ifc
	}
	for _, l := range e.ranked() {
		switch ifc := chosen[l.ifc.Index]; {
		case ifc != nil:
			l.follow(*ifc)
		case exists[l.ifc.Index] == l.ifc.Name && l.stayAway():
			// It is there, but down or without an address.
		default:
			l.close()
		}
	}
	for _, ifc := range usable {
		if e.links[ifc.Index] == nil {
			e.openLink(*ifc)
		}
	}
	e.reportDeaf()
	e.heedSilence(found)
	e.pollAgain()
}

// pollAgain schedules the next read of the interfaces without an event.
func (e *Engine) pollAgain() {
	away := slices.ContainsFunc(e.ranked(), func(l *link) bool { return !l.away.IsZero() })
	switch {
	case away:
		e.timers.soonest(&e.poll, e.now.Add(awayPoll))
	case e.listing != nil || len(e.deaf) > 0:
		if !e.poll.pending() {
			e.timers.set(&e.poll, e.now.Add(e.retry.Next()))
		}
	default:
		e.timers.stop(&e.poll)
		e.retry.Reset()
	}
	if !e.postponed.IsZero() {
		e.timers.soonest(&e.poll, e.postponed)
	}
}

// choose returns the interfaces to use, best-ranked first, and at most
// maxLinks.
func (e *Engine) choose(found []Interface) (usable []*Interface) {
	for n := range found {
		if e.usable(&found[n]) {
			usable = append(usable, &found[n])
		}
	}
	sort.Slice(usable, func(x, y int) bool {
		a, b := usable[x], usable[y]
		switch inUse := e.links[a.Index] != nil; {
		case a.Rank != b.Rank:
			return a.Rank < b.Rank
		case inUse != (e.links[b.Index] != nil):
			return inUse // it stays so
		}
		return a.Index < b.Index
	})
	n := min(len(usable), maxLinks)
	e.tooMany = e.tooMany[:0]
	for _, i := range usable[n:] {
		e.tooMany = append(e.tooMany, i.Name)
	}
	return usable[:n]
}

// usable reports whether to announce and browse on an interface.
func (e *Engine) usable(ifc *Interface) bool {
	if !ifc.Up || len(ifc.Addrs) == 0 {
		return false
	}
	if len(e.cfg.Interfaces) > 0 {
		return slices.Contains(e.cfg.Interfaces, ifc.Name)
	}
	return ifc.Multicast && !ifc.Loopback && !ifc.PointToPoint && !ifc.Port
}

// follow updates the link from its interface, or closes it if the interface is
// in another network now.
//
// A link that was down may lead anywhere. It is the same if its router proves
// that; until then, for awayTime, nothing is sent, and the cache is kept. (A
// computer that moves between the access points of a Wi-Fi has such pauses.)
func (l *link) follow(ifc Interface) {
	wasDown := !l.away.IsZero() || l.ifc.Ups != ifc.Ups
	switch {
	case !l.ifc.samePlace(&ifc):
		l.close()
	case l.ifc.otherRouter(&ifc):
		if wasDown || l.e.mayMove(ifc.Index) {
			l.close()
			return
		}
		ifc.Gateway, ifc.GatewayLink = l.ifc.Gateway, l.ifc.GatewayLink
		l.update(ifc)
	case wasDown && l.ifc.sameRouter(&ifc):
		l.away = time.Time{}
		l.joined = [families]bool{} // for the switch to learn of it
		l.update(ifc)
		l.resume()
	case wasDown:
		if !l.stayAway() {
			l.close()
		}
	default:
		l.update(ifc)
	}
}

// A mover limits how often a change of the router alone counts as a change of
// the network.
type mover struct {
	next  time.Time // not before
	pause backoff.Backoff
}

// mayMove reports whether a new router of an interface that was not down may
// count as another network now. Anybody on the link can pretend to be the
// router, and by doing so repeatedly could keep this node from being announced.
// A change that is put off is checked again.
func (e *Engine) mayMove(index int) bool {
	if e.moving {
		return true
	}
	m := e.movers[index]
	if m == nil {
		m = &mover{pause: backoff.Backoff{Min: movePause, Max: movePauseMax}}
		e.movers[index] = m
	}
	if e.now.Before(m.next) {
		if e.postponed.IsZero() || m.next.Before(e.postponed) {
			e.postponed = m.next
		}
		return false
	}
	if e.now.Sub(m.next) > movePauseMax {
		m.pause.Reset()
	}
	m.next = e.now.Add(m.pause.Next())
	return true
}

// stayAway reports whether the link may be the same one when it comes back,
// which only a router can prove. Until then it is silent.
func (l *link) stayAway() bool {
	if l.ifc.GatewayLink == "" {
		return false
	}
	if l.away.IsZero() {
		l.away = l.e.now
	}
	return l.e.now.Sub(l.away) < awayTime
}

// update takes over an interface's state, and announces what is new.
func (l *link) update(ifc Interface) {
	ifc.inherit(&l.ifc)
	same := l.ifc.equal(&ifc)
	l.ifc = ifc
	joined := l.join()
	if l.e.cfg.Private {
		l.publishMissing() // the router may be known now
	}
	switch {
	case !same:
		for _, p := range slices.Clone(l.pubs) {
			l.changed(p.entry)
		}
		l.publishMissing()
		if joined { // a family that somebody may speak alone
			l.startBrowsing()
		}
	case joined: // which failed the last time
		l.restart()
	}
}

// resume makes up for a time in which the engine did not run or the link was
// down: our announcements have expired at others, which would not ask again for
// up to an hour; and cached instances may have gone unnoticed.
func (l *link) resume() {
	for _, s := range l.seen {
		l.suspect(s)
	}
	for _, p := range l.pubs {
		for _, r := range p.records {
			r.sent = [families]time.Time{} // or not: nobody may have heard it
		}
	}
	l.restart()
}

// wants reports whether the link should receive the group of a family. IPv6
// multicast does not work on loopback.
func (l *link) wants(f Family) bool {
	return l.e.sockets[f].conn != nil && l.ifc.has(f) && !(l.ifc.Loopback && f == IPv6)
}

// join joins the groups of the families that the interface has addresses of,
// and reports whether it has joined one that was not joined before.
func (l *link) join() (joined bool) {
	l.deaf = nil
	for f := range Family(families) {
		conn := l.e.sockets[f].conn
		want := l.wants(f)
		if want == l.joined[f] || conn == nil {
			continue
		}
		if !want {
			conn.Leave(l.ifc)
			l.joined[f] = false
			continue
		}
		err := conn.Join(l.ifc)
		if errors.Is(err, ErrNoMembership) && l.e.spare(l, f) {
			err = conn.Join(l.ifc)
		}
		if err != nil {
			l.deaf = err
			l.e.log.Debug("cannot join the multicast group", "interface", l.ifc.Name, "family", f, "cause", err)
			continue
		}
		l.joined[f], joined = true, true
	}
	return joined
}

// rejoin joins the groups again, since questions are in vain: without a router
// that asks for memberships, a switch that snoops on them forgets them after
// some minutes, and then stops forwarding multicast to us. It learns of a
// membership when it begins.
func (l *link) rejoin() {
	if l.e.now.Sub(l.rejoined) < rejoinPause {
		return
	}
	l.rejoined = l.e.now
	for f := range Family(families) {
		if l.joined[f] {
			l.e.sockets[f].conn.Leave(l.ifc)
			l.joined[f] = false
		}
	}
	l.join()
	l.e.reportDeaf()
	l.e.pollAgain()
}

// spare leaves the group on the worst-ranked link so that a better one can join
// it, and reports whether there was such a link.
func (e *Engine) spare(better *link, f Family) bool {
	var worst *link
	for _, l := range e.links {
		if l.joined[f] && l.ifc.Rank > better.ifc.Rank && (worst == nil || worst.before(l)) {
			worst = l
		}
	}
	if worst == nil {
		return false
	}
	e.sockets[f].conn.Leave(worst.ifc)
	worst.joined[f], worst.deaf = false, ErrNoMembership
	return true
}

// reportDeaf records the interfaces on which nothing can be received over some
// family, and logs them once: at once if that is permanent, and otherwise after
// another try.
func (e *Engine) reportDeaf() {
	var names []string
	var why error
	for _, l := range e.ranked() {
		if l.deaf != nil && l.away.IsZero() {
			names = append(names, l.ifc.Name)
			if why == nil || errors.Is(l.deaf, ErrNoMembership) {
				why = l.deaf
			}
		}
	}
	if names = append(names, e.tooMany...); len(e.tooMany) > 0 && why == nil {
		why = errTooMany
	}
	if !slices.Equal(names, e.deaf) {
		e.deaf = names
		e.count(func(s *Stats) { s.Deaf = names })
	}
	stays := errors.Is(why, ErrNoMembership) || errors.Is(why, errTooMany)
	if why != nil && !e.saidDeaf && (stays || e.retrying) {
		e.saidDeaf = true
		e.log.Warn("multicast DNS does not work on some network interfaces",
			"number", len(names), "interfaces", names[:min(len(names), maxNames)], "cause", why)
	}
}
