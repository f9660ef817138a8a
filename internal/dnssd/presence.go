package dnssd

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/sdp2p/p2p/internal/dns"
)

// A missing is an instance that was complete on a link and whose records
// expired there without a goodbye: it may be back at any moment, without
// knowing that it was away. So it is asked for by name until it answers.
type missing struct {
	label  string        // raw
	name   string        // domain name
	from   sources       // where its records came from
	keep   bool          // Config.Keep returned true
	known  time.Duration // how long it was known before
	lost   time.Time
	next   time.Time // when it is asked for
	tries  int       // questions for it, those of others included
	asked  time.Time // the last of them
	own    time.Time // the last of ours
	calls  int       // questions for it because its address was heard
	called bool      // so is the next one
}

// sources are the addresses that an instance was heard from, the last one
// first: those of two interfaces, of either family.
type sources [4]netip.Addr

func (s *sources) has(a netip.Addr) bool { return slices.Contains(s[:], a) }

// moveIn records that an instance was heard from an address.
func (l *link) moveIn(s *seen, a netip.Addr) {
	i := slices.Index(s.from[:], a)
	if i < 0 {
		i = len(s.from) - 1
		l.moveOut(s, s.from[i])
	}
	copy(s.from[1:i+1], s.from[:i])
	s.from[0] = a
	l.tenants[a] = s
}

func (l *link) moveOut(s *seen, a netip.Addr) {
	if l.tenants[a] == s {
		delete(l.tenants, a)
	}
}

// A missed holds the missing instances of a link, by folded label.
type missed struct {
	list   map[string]*missing
	timer  timer
	sent   time.Time
	budget bucket // of packets, for each family
}

func newMissed() missed {
	return missed{
		list:   make(map[string]*missing),
		budget: bucket{rate: 1 / missingEvery.Seconds(), burst: missingBurst},
	}
}

const (
	missingSoon  = 10 * time.Minute // asked for 1, 2, 4, 8, 8 … s apart
	missingLater = time.Hour        // a minute apart
	missingEnd   = 24 * time.Hour   // 8 minutes apart; then it is dropped

	missingGap   = time.Second     // between two packets of questions
	missingEvery = 7 * time.Second // between two packets in the long run, of a burst of missingBurst
	missingBurst = 8
	missingOwn   = 8 // intervals after which an instance is asked for although others do so
)

// missingEnd returns for how long missing instances are asked for.
func (e *Engine) missingEnd() time.Duration {
	if e.cfg.Private {
		return missingSoon
	}
	return missingEnd
}

// interval returns how long to wait after a question for m.
func (m *missing) interval(now time.Time) time.Duration {
	switch age := now.Sub(m.lost); {
	case age < missingSoon:
		return min(time.Second<<min(m.tries, 3), 8*time.Second)
	case age < missingLater:
		return time.Minute
	default:
		return 8 * time.Minute
	}
}

// wait records that m was asked for. The next question is due up to an eighth
// earlier than its interval, so that nodes that miss the same instance do not
// act in step, and the first one asks for all.
func (m *missing) wait(now time.Time) {
	m.asked = now
	m.next = now.Add(m.interval(now) - rand.N(m.interval(now)/8))
	m.tries++
	m.called = false
}

// inhabited reports whether a fully known instance was heard from an address.
func (l *link) inhabited(src netip.Addr) bool {
	s := l.tenants[src]
	return s != nil && s.complete() || l.e.queue.sources[src] > 0
}

// vanish drops an instance with a record that has gone. Unless the record was
// withdrawn, the instance is then missing.
func (l *link) vanish(c *cached) {
	if !c.replaced {
		l.miss(c.s)
	}
	l.forget(c.s)
}

// miss records that an instance is going without a goodbye.
func (l *link) miss(s *seen) {
	e := l.e
	if !s.whole || s.retained || e.ownName(s.name) {
		return
	}
	m := &missing{
		label: s.in.name, name: s.name, from: s.from, known: e.now.Sub(s.in.since),
		keep: e.kept(s.in),
		lost: e.now, own: e.now,
	}
	if len(l.missed.list) >= maxMissing {
		least, key := m, ""
		for k, o := range l.missed.list {
			if o.less(least) {
				least, key = o, k
			}
		}
		if least == m {
			return
		}
		delete(l.missed.list, key)
	}
	m.wait(e.now)
	l.missed.list[s.in.key] = m
	l.missingDue(m.next)
}

// less reports whether m is given up before o: first those without keep, then
// those that were known for a shorter time.
func (m *missing) less(o *missing) bool {
	if m.keep != o.keep {
		return o.keep
	}
	return m.known < o.known
}

func (l *link) missingDue(at time.Time) { l.e.timers.soonest(&l.missed.timer, at) }

// askMissing asks in one packet for the missing instances that are due now or
// soon: by name, or if they are too many for that, with the question for all
// instances.
func (l *link) askMissing() {
	e := l.e
	if next := l.missed.sent.Add(missingGap); e.now.Before(next) {
		l.missingDue(next)
		return
	}
	if len(l.missed.list) == 0 || !l.here() {
		return
	}
	var due []*missing
	urgent := false
	for key, m := range l.missed.list {
		switch s := l.seen[key]; {
		case e.now.Sub(m.lost) >= e.missingEnd() || e.ownName(m.name):
			delete(l.missed.list, key)
		case m.next.After(e.now.Add(missingEvery)): // another packet will be sent by then
		case s != nil && s.asksWithin(missingEvery): // heard of again
			m.wait(e.now)
		default:
			due = append(due, m)
			urgent = urgent || !m.next.After(e.now)
		}
	}
	if urgent && l.missed.budget.take(e.now) {
		l.missed.sent = e.now
		l.askFor(due)
	}
	var next time.Time
	for _, m := range l.missed.list {
		if next.IsZero() || m.next.Before(next) {
			next = m.next
		}
	}
	if soonest := e.now.Add(missingGap); !next.IsZero() {
		if next.Before(soonest) {
			next = soonest
		}
		l.missingDue(next)
	}
}

// askFor asks for instances.
func (l *link) askFor(due []*missing) {
	slices.SortFunc(due, func(a, b *missing) int { return cmp.Or(a.next.Compare(b.next), cmp.Compare(a.name, b.name)) })
	room := l.ifc.payload(IPv6) - headerSize
	var questions []dns.Question
	for _, m := range due {
		m.wait(l.e.now)
		m.own = l.e.now
		room -= len(m.name) + 1 + 4 + 2 + 4 // the second one is a pointer to the first
		questions = append(questions, dns.Question{Name: m.name, Type: dns.TypeSRV}, dns.Question{Name: m.name, Type: dns.TypeTXT})
	}
	if room < 0 || l.e.cfg.Private {
		l.askForAll(true)
		return
	}
	l.ask(0, questions...)
}

// othersAsk records that another host asked a question. If it is one for a
// missing instance, we need not ask, except now and then: the other's question
// may not be heard where ours would be.
func (l *link) othersAsk(k historyKey) {
	now := l.e.now
	for key, m := range l.missed.list {
		if k.name != l.e.serviceKey && (k.typ != dns.TypeSRV || k.name != fold(m.name)) {
			continue
		}
		if l.seen[key] == nil && now.Sub(m.own) < missingOwn*m.interval(now) {
			m.wait(now)
		}
	}
}

// missingFrom reports whether a missing instance had an address.
func (l *link) missingFrom(src netip.Addr) bool {
	for _, m := range l.missed.list {
		if m.from.has(src) {
			return true
		}
	}
	return false
}

// heardFrom asks for the missing instances of an address from which a packet
// came: soon the first time, and then, if that is in vain, at intervals of at
// least 2, 4, 8 … 64 s.
func (l *link) heardFrom(src netip.Addr) {
	src = src.WithZone("")
	for _, m := range l.missed.list {
		if !m.from.has(src) || m.called {
			continue
		}
		at := l.e.now.Add(between(20*time.Millisecond, 120*time.Millisecond))
		if again := m.asked.Add(time.Second << min(m.calls, 6)); at.Before(again) {
			at = again
		}
		if at.Before(m.next) {
			m.next, m.called = at, true
			m.calls++
			l.missingDue(at)
		}
	}
}

// missingByName returns the missing instance with a domain name, if there is
// one.
func (l *link) missingByName(name string) *missing {
	label, ok := l.e.instanceLabel(name)
	if !ok {
		return nil
	}
	return l.missed.list[fold(label)]
}

// newSeen creates the cache entry of an instance on the link.
func (p *lesson) newSeen(in *instance, name string) *seen {
	l := p.l
	s := &seen{l: l, in: in, name: name}
	s.ptr = &cached{l: l, typ: dns.TypePTR, s: s, target: name, since: l.e.now}
	s.ptr.timer.fn = s.ptr.due
	s.resolve.fn = s.resolveNow
	s.doubt.timer.fn, s.doubt.probe.fn = s.askOwner, s.probeOwner
	l.seen[in.key] = s
	in.on = append(in.on, s)
	p.seen[s] = true
	return s
}

// readmit caches a missing instance again after a record other than its PTR was
// heard. The PTR is assumed for the lifetime of an SRV, and asked for within
// that time.
func (p *lesson) readmit(name string) *seen {
	m := p.l.missingByName(name)
	if m == nil {
		return nil
	}
	in, early := p.l.admitInstance(m.label, p.src, false)
	if early {
		p.l.refused()
	}
	if in == nil {
		return nil
	}
	s := p.newSeen(in, m.name)
	s.ptr.renew(hostTTL, p.family, p.jitter)
	return s
}
