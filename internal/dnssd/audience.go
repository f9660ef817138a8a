package dnssd

import (
	"net/netip"
	"slices"
	"time"

	"github.com/sdp2p/p2p/internal/backoff"
	"github.com/sdp2p/p2p/internal/dns"
)

// An audience records whether anybody on a link hears the announcements. A
// switch may drop the packets of a device that has just come up for 30 s, which
// looks the same as a network without other devices. So announcements that
// nobody seems to have heard are repeated.
type audience struct {
	timer   timer
	asking  bool // the next step is to announce
	steps   int  // repeated announcements
	reached bool // a question of ours was answered since the link came up
	heard   bool // an announcement made after that was heard, or somebody showed that it knows us

	probe  string // name of which the SRV was asked for, folded
	probed time.Time
	others time.Time // when another host asked for all instances
}

const (
	soundEvery = 8 * time.Second
	soundSteps = 15 // so often, two minutes in all, and once more after
	soundLast  = 64 * time.Second
	soundReply = time.Second // from the question to the announcement

	// Answers to the question for all instances are delayed by 120 ms or, when
	// more known answers were to come, 500 ms.
	replyTime = 600 * time.Millisecond
)

// startSounding begins to check whether anybody has heard an announcement,
// unless that is known.
func (l *link) startSounding() {
	a := &l.audience
	if a.reached {
		a.heard = true
	}
	if !a.reached && a.steps == 0 && !a.asking {
		l.e.timers.set(&a.timer, l.e.now.Add(soundEvery-soundReply))
	}
}

// sound asks for answers, and announces again a second later: for those that
// answered, or because nobody did. If somebody shows that it heard an
// announcement, but nobody has answered, it asks once more: a host that hears
// us need not be known here.
func (l *link) sound() {
	a := &l.audience
	ask := !a.asking
	a.asking = false
	switch announced := slices.ContainsFunc(l.pubs, func(p *publication) bool { return p.state == stateAnnounced }); {
	case !announced || a.heard && (a.reached || !ask) || ask && !l.here():
	case ask:
		// The first time, nobody known has to answer, however many there are.
		l.askForAll(a.steps > 0, l.trial()...)
		if a.heard {
			a.steps = soundSteps + 1
			return
		}
		a.asking = true
		l.e.timers.set(&a.timer, l.e.now.Add(soundReply))
	default:
		l.soundAgain()
	}
}

// soundAgain announces again, and schedules the next time.
func (l *link) soundAgain() {
	a := &l.audience
	a.steps++
	for _, p := range slices.Clone(l.pubs) {
		if p.state == stateAnnounced && p.due == 0 {
			p.due = 1
			p.announce()
		}
	}
	switch {
	case a.heard:
	case a.steps < soundSteps:
		l.e.timers.set(&a.timer, l.e.now.Add(soundEvery-soundReply))
	case a.steps == soundSteps:
		l.e.timers.set(&a.timer, l.e.now.Add(soundLast-soundReply))
	}
}

// trial returns a question for a known instance, if there is one: the answer
// shows that we are heard.
func (l *link) trial() []dns.Question {
	for _, s := range l.seen {
		if s.certain() {
			l.audience.probe, l.audience.probed = fold(s.name), l.e.now
			return []dns.Question{{Name: s.name, Type: dns.TypeSRV, Class: dns.ClassINET}}
		}
	}
	return nil
}

// noteAnswers records that a question of ours was answered, rather than one of
// another host.
func (l *link) noteAnswers(f Family, answers []told) {
	a := &l.audience
	for _, t := range answers {
		switch rr := t.rr.(type) {
		case *dns.PTR:
			a.reached = a.reached || t.key == l.e.serviceKey && !l.e.ownName(rr.Ptr) &&
				l.e.now.Sub(l.browse.asked) <= replyTime && l.e.now.Sub(a.others) > historyTime
		case *dns.SRV:
			a.reached = a.reached || t.key == a.probe && l.e.now.Sub(a.probed) <= soundReply &&
				!l.history.asked(f, dns.Question{Name: t.key, Type: dns.TypeSRV}, l.e.now)
		}
	}
}

// noteInterest records that somebody knows an instance of ours, because it
// lists the instance as known or asks for it by name.
func (l *link) noteInterest(m *dns.Message, known map[*ownRecord]bool) {
	if len(m.Ns) > 0 {
		return // a probe, for a name that is ours by chance
	}
	if l.asksForAll(m) {
		l.audience.others = l.e.now
	}
	for r := range known {
		l.audience.heard = l.audience.heard || r.typ() == dns.TypePTR && r.key == l.e.serviceKey
	}
	for _, p := range l.pubs {
		l.audience.heard = l.audience.heard || p.state == stateAnnounced && slices.ContainsFunc(m.Question, func(q dns.Question) bool {
			return sameName(q.Name, p.entry.name) || sameName(q.Name, p.host)
		})
	}
}

// asksForAll reports whether a query asks for all instances.
func (l *link) asksForAll(m *dns.Message) bool {
	return slices.ContainsFunc(m.Question, func(q dns.Question) bool {
		return q.Type == dns.TypePTR && sameName(q.Name, l.e.service)
	})
}

// newAudience starts over, since the link has come up.
func (l *link) newAudience() {
	a := &l.audience
	a.reached, a.heard, a.asking, a.steps = false, false, false, 0
	l.e.timers.stop(&a.timer)
}

// strangers are addresses without a known instance that have asked for
// instances. Most often such a host has an instance itself, and announced it
// when we did not hear. But it may also only watch, or repeat our own
// questions: if asking because of it was in vain, the next time is later and
// later.
type strangers struct {
	addrs map[netip.Addr]*stranger
	timer timer
	last  time.Time // when instances were last asked for because of them
}

type stranger struct {
	waits bool // instances are going to be asked for
	pause backoff.Backoff
	next  time.Time // from when on it is a reason to ask again
}

const (
	strangerPause = 8 * time.Second // between two questions because of strangers
	strangerTime  = 2 * time.Second // a device that is starting announces itself by then
)

// noteStranger schedules a question for instances, in case an address that
// asked for them has none here by then.
func (l *link) noteStranger(src netip.Addr, m *dns.Message) {
	src = src.WithZone("")
	s := &l.strangers
	if len(m.Ns) > 0 || l.inhabited(src) || !slices.ContainsFunc(m.Question, func(q dns.Question) bool {
		_, ok := l.e.instanceLabel(q.Name)
		return ok
	}) && !l.asksForAll(m) {
		return
	}
	who := s.addrs[src]
	if who == nil {
		for a := range s.addrs {
			if len(s.addrs) >= maxStrangers { // any
				delete(s.addrs, a)
			}
		}
		who = &stranger{pause: backoff.Backoff{Min: 2 * strangerPause, Max: browseMax}}
		s.addrs[src] = who
	}
	if who.waits || l.e.now.Before(who.next) {
		return
	}
	who.waits = true
	at := l.e.now.Add(between(strangerTime, strangerTime+time.Second))
	l.e.timers.soonest(&s.timer, later(at, s.last.Add(strangerPause)))
}

func (l *link) visitStrangers() {
	s := &l.strangers
	still := false
	for a, who := range s.addrs {
		if l.inhabited(a) {
			delete(s.addrs, a)
		} else if who.waits {
			still, who.waits = true, false
			who.next = l.e.now.Add(who.pause.Next())
		}
	}
	if still {
		s.last = l.e.now
		l.browseEarly()
	}
}
