package dnssd

import (
	"net/netip"
	"slices"
	"time"

	"github.com/sdp2p/p2p/internal/dns"
)

// A browser asks for instances of the service type on a link (RFC 6762 §5.2).
type browser struct {
	timer    timer
	interval time.Duration // until the query after the next one
	early    timer         // a query beside the schedule
	asked    time.Time     // when it was asked last
	former   time.Time     // when the timer was due before it was put off
	skipped  time.Time     // when the early query was due before it was dropped
	firm     bool          // the next query is sent even if another host has just asked
}

const (
	browseFirst = time.Second
	browseMax   = time.Hour
)

// startBrowsing asks after 20 to 120 ms, and again after 1, 2, 4 s and so on,
// up to an hour. All intervals are up to an eighth longer than that, or shorter
// than an hour, so that nodes that started together do not stay in step.
func (l *link) startBrowsing() {
	l.browse.interval = between(browseFirst, browseFirst+browseFirst/8)
	l.e.timers.set(&l.browse.timer, l.e.now.Add(between(20*time.Millisecond, 120*time.Millisecond)))
}

// browseNow asks for instances, and schedules the next time.
func (l *link) browseNow() {
	if !l.here() {
		return
	}
	wait := l.browse.interval
	if l.browse.interval *= 2; wait >= browseMax {
		wait = between(browseMax-browseMax/8, browseMax)
		l.browse.interval = browseMax
	}
	l.e.timers.set(&l.browse.timer, l.e.now.Add(wait))
	l.askForAll(false)
}

// crowd is the number of instances from which on a link is crowded. There,
// nodes rely on each other's questions for all instances.
const crowd = 40

// browseLater puts off the next question for all instances, and drops one
// outside the schedule, since another host has asked it: on a crowded link, one
// asks for all. Chance decides which one: the more nodes there are, the more
// the times at which they would ask differ. Once an hour, this node asks in any
// case.
func (l *link) browseLater() {
	if len(l.seen) < crowd || l.e.now.Sub(l.browse.asked) >= browseMax {
		return
	}
	if early := &l.browse.early; early.pending() {
		l.browse.skipped = early.at
		l.e.timers.stop(early)
	}
	if !l.browse.timer.pending() || l.browse.firm {
		return
	}
	wait := l.browse.interval
	spread := min(wait*time.Duration(len(l.seen))/crowd, 2*wait)
	at := l.e.now.Add(between(wait, wait+spread))
	if l.browse.interval = min(2*wait, browseMax); at.After(l.browse.timer.at) {
		l.browse.former = l.browse.timer.at
		l.e.timers.set(&l.browse.timer, at)
	}
}

// browseAfterAll undoes browseLater, since the other's question suppresses
// answers that this node wants.
func (l *link) browseAfterAll(f Family) {
	l.history.asker[f] = netip.Addr{}
	delete(l.history.seen[f], historyKey{l.e.serviceKey, dns.TypePTR})
	if l.browse.timer.pending() && l.browse.former.After(l.e.now) {
		l.e.timers.soonest(&l.browse.timer, l.browse.former)
	}
	if l.browse.skipped.After(l.e.now) {
		l.e.timers.soonest(&l.browse.early, l.browse.skipped)
	}
}

// browseSoon asks for instances outside the schedule.
func (l *link) browseSoon(in time.Duration) {
	l.e.timers.soonest(&l.browse.early, l.e.now.Add(in))
}

func (l *link) browseEarly() {
	if l.here() {
		l.askForAll(false)
	}
}

// here reads the interfaces, and reports whether the link still exists: what
// was learned in another network must not be sent in this one.
func (l *link) here() bool {
	l.e.pollInterfaces()
	return l.e.links[l.ifc.Index] == l
}

// askForAll asks for all instances, together with other questions, and lists
// the known ones; if brief, only as many of them as fit in one packet. No
// question asks for unicast answers, which another process on this host might
// get.
func (l *link) askForAll(brief bool, others ...dns.Question) {
	question := dns.Question{Name: l.e.service, Type: dns.TypePTR, Class: dns.ClassINET}
	known := l.knownAnswers()
	for f := range Family(families) {
		if !l.joined[f] || !l.browse.firm && l.history.asked(f, question, l.e.now) {
			continue
		}
		l.browse.asked = l.e.now
		questions := append([]dns.Question{question}, others...)
		limit, listed := l.ifc.payload(f), known
		if brief {
			listed = fitting(questions, known, limit)
		}
		l.multicast(f, packQueries(questions, listed, limit), queries)
	}
	l.browse.firm = false
}

// fitting returns as many records as fit in a query that is limit bytes long.
func fitting(questions []dns.Question, known []dns.Record, limit int) []dns.Record {
	m := &dns.Message{Question: questions}
	size := sizer{limit: limit, bound: m.Len()}
	for i, rr := range known {
		if m.Answer = append(m.Answer, rr); !size.fits(m, rr) {
			return known[:i]
		}
	}
	return known
}

// certain reports whether the instance's PTR may be listed as known: it is
// valid for at least half of its time to live (RFC 6762 §7.1), and the instance
// is not in doubt. If it is in doubt, it should answer.
func (s *seen) certain() bool {
	return s.ptr.fresh(s.l.e.now) && s.doubted == nil && s.complete() && slices.ContainsFunc(s.srvs, func(c *cached) bool {
		return c.doomed.IsZero() && c.stage <= 1 // from stage 2 on, the first refresh was not answered
	})
}

// knownAnswers returns the PTR records of the instances that are certain, with
// what is left of their time to live.
func (l *link) knownAnswers() []dns.Record {
	var known []dns.Record
	for _, s := range l.seen {
		if s.certain() {
			left := s.ptr.expires().Sub(l.e.now)
			known = append(known, &dns.PTR{
				Header: dns.Header{Name: l.e.service, Type: dns.TypePTR, Class: dns.ClassINET, TTL: uint32(left / time.Second)},
				Ptr:    s.ptr.target,
			})
		}
	}
	for _, a := range l.e.queue.list {
		if a.l == l && a.listed && a.timely() {
			known = append(known, withTTL(a.ptr, a.ptr.TTL-uint32(l.e.now.Sub(a.at)/time.Second), true))
		}
	}
	sortRecords(known)
	return known
}

// A batch collects questions for records that expire or are missing, so that
// those that come up together share a packet.
type batch struct {
	questions [families][]dns.Question
	firm      map[dns.Question]bool // asked even if another host has just asked
	timer     timer
}

const batchTime = 10 * time.Millisecond

// insist asks for records soon, over all families, even if another host has
// just asked, since the first question was in vain. The other host's question
// may have been heard only here.
func (l *link) insist(questions ...dns.Question) {
	if l.batch.firm == nil {
		l.batch.firm = make(map[dns.Question]bool)
	}
	for _, q := range questions {
		q.Class |= dns.ClassINET
		l.batch.firm[q] = true
	}
	l.ask(0, questions...)
}

// ask asks for records soon, over the families in via; over all if that is
// empty.
func (l *link) ask(via familySet, questions ...dns.Question) {
	for _, q := range questions {
		l.noteAsked(q)
	}
	for f := range Family(families) {
		if !l.joined[f] || via != 0 && !via.has(f) {
			continue
		}
		for _, q := range questions {
			q.Class |= dns.ClassINET
			if b := &l.batch.questions[f]; !slices.Contains(*b, q) && len(*b) < maxResolveBatch {
				*b = append(*b, q)
			}
		}
	}
	l.e.timers.soonest(&l.batch.timer, l.e.now.Add(batchTime))
}

// flushBatch sends the collected questions, except those that another host has
// just asked.
func (l *link) flushBatch() {
	firm := l.batch.firm
	l.batch.firm = nil
	for f := range Family(families) {
		questions := slices.DeleteFunc(l.batch.questions[f], func(q dns.Question) bool { return !firm[q] && l.history.asked(f, q, l.e.now) })
		l.batch.questions[f] = nil
		if len(questions) == 0 {
			continue
		}
		var known []dns.Record
		if slices.ContainsFunc(questions, func(q dns.Question) bool { return q.Type == dns.TypePTR }) {
			known = l.knownAnswers()
		}
		l.multicast(f, packQueries(questions, known, l.ifc.payload(f)), queries)
	}
}

// A history holds the recent questions of other hosts (RFC 6762 §7.3).
type history struct {
	seen    [families]map[historyKey]time.Time
	expired [families]time.Time  // when old questions were last dropped
	asker   [families]netip.Addr // the last host that asked for all instances
}

type historyKey struct {
	name string // folded
	typ  uint16
}

const historyTime = time.Second

// asked reports whether another host has just asked a question of ours, so that
// the answer is going to be multicast.
func (h *history) asked(f Family, q dns.Question, now time.Time) bool {
	at, ok := h.seen[f][historyKey{fold(q.Name), q.Type}]
	return ok && now.Sub(at) <= historyTime
}

// noteQuestions records the questions of a query of another host, unless they
// ask for unicast answers, or the query suppresses answers that ours would not,
// or comes from a host that could answer, since no host answers itself. With
// many instances, the list of known answers comes in several packets (RFC 6762
// §7.2).
func (l *link) noteQuestions(src netip.Addr, f Family, m *dns.Message) {
	if len(m.Ns) > 0 || m.Truncated && len(l.seen) < crowd {
		return
	}
	h := &l.history
	if len(m.Question) == 0 {
		if h.asker[f] == src && slices.ContainsFunc(m.Answer, func(rr dns.Record) bool { return !l.wouldList(rr) }) {
			l.browseAfterAll(f)
		}
		return
	}
	if h.seen[f] == nil {
		h.seen[f] = make(map[historyKey]time.Time)
	}
	h.expire(f, l.e.now)
	keys := folder{}
	hides := make(map[historyKey]bool) // answers that ours would not
	for _, rr := range m.Answer {
		if key := (historyKey{keys.fold(rr.Head().Name), rr.Head().Type}); !hides[key] && !l.wouldList(rr) {
			hides[key] = true
		}
	}
	for _, q := range m.Question {
		key := historyKey{keys.fold(q.Name), q.Type}
		if q.Class == dns.ClassINET && len(h.seen[f]) < maxHistory && !hides[key] && l.interesting(key) && !l.concerns(key, src) {
			h.seen[f][key] = l.e.now
			l.othersAsk(key)
			if key.name == l.e.serviceKey {
				h.asker[f] = src
				l.browseLater()
			}
		}
	}
}

// expire drops old questions, only now and then, so that it costs little for
// each packet.
func (h *history) expire(f Family, now time.Time) {
	if len(h.seen[f]) < maxHistory && now.Sub(h.expired[f]) <= historyTime {
		return
	}
	h.expired[f] = now
	for k, at := range h.seen[f] {
		if now.Sub(at) > historyTime {
			delete(h.seen[f], k)
		}
	}
}

// concerns reports whether the host with an address may have an answer to a
// question. It has one to the question for all instances, unless all of its own
// are known here.
func (l *link) concerns(k historyKey, src netip.Addr) bool {
	src = src.WithZone("")
	if k.name == l.e.serviceKey {
		return !l.inhabited(src) || l.missingFrom(src)
	}
	if h := l.hosts[k.name]; h != nil {
		return slices.ContainsFunc(h.users, func(s *seen) bool { return s.from.has(src) })
	}
	if s := l.seenByName(k.name); s != nil {
		return s.from.has(src)
	}
	m := l.missingByName(k.name)
	return m != nil && m.from.has(src)
}

// interesting reports whether the question is one that this link might ask.
func (l *link) interesting(k historyKey) bool {
	switch k.typ {
	case dns.TypePTR:
		return k.name == l.e.serviceKey
	case dns.TypeA, dns.TypeAAAA:
		return l.hosts[k.name] != nil
	case dns.TypeSRV, dns.TypeTXT:
		return l.seenByName(k.name) != nil || l.missingByName(k.name) != nil
	}
	return false
}

// wouldList reports whether a known answer of another host would be one of
// ours.
func (l *link) wouldList(rr dns.Record) bool {
	ptr, ok := rr.(*dns.PTR)
	if !ok {
		return false
	}
	label, ok := l.e.instanceLabel(ptr.Ptr)
	if !ok {
		return false
	}
	key := fold(label)
	s := l.seen[key]
	if s == nil {
		return l.e.ownName(ptr.Ptr) || l.e.queue.labels[key] > 0 // need not be heard
	}
	return s.certain()
}
