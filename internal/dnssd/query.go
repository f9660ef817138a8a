package dnssd

import (
	"slices"
	"time"

	"github.com/sdp2p/p2p/internal/dns"
)

// A browser asks for instances of the service type on a link (RFC 6762 §5.2).
type browser struct {
	timer    timer
	interval time.Duration // until the query after the next one
	soon     bool          // the query was put forward
	asked    time.Time     // the last query
}

const (
	browseFirst = time.Second
	browseMax   = time.Hour
)

// startBrowsing asks after 20 to 120 ms, and again after 1, 2, 4 s and so on, up to an hour.
func (l *link) startBrowsing() {
	l.browse.interval = browseFirst
	l.e.timers.set(&l.browse.timer, l.e.now.Add(between(20*time.Millisecond, 120*time.Millisecond)))
}

// browseNow asks for instances, listing those that are known. The questions do not ask for unicast answers: another
// process on this host might get them.
func (l *link) browseNow() {
	// What was learnt in another network must not be listed in this one.
	if l.e.pollInterfaces(); l.e.links[l.ifc.Index] != l {
		return
	}
	at := l.e.now.Add(l.browse.interval)
	l.browse.interval = min(2*l.browse.interval, browseMax)
	l.e.timers.set(&l.browse.timer, at)
	l.browse.soon = false

	question := dns.Question{Name: l.e.service, Type: dns.TypePTR, Class: dns.ClassINET}
	known := l.knownAnswers()
	for f := range Family(families) {
		if l.joined[f] && !l.history.asked(f, question, l.e.now) {
			l.browse.asked = l.e.now
			l.multicast(f, packQueries([]dns.Question{question}, known, l.ifc.payload(f)), queries)
		}
	}
}

// browseSoon puts the next query forward.
func (l *link) browseSoon(in time.Duration) {
	if !l.browse.soon {
		l.browse.soon = true
		l.e.timers.soonest(&l.browse.timer, l.e.now.Add(in))
	}
}

// knownAnswers returns the PTR records of the instances seen, those that are good for at least half of their time to
// live (RFC 6762 §7.1), with what is left of it.
func (l *link) knownAnswers() []dns.Record {
	var known []dns.Record
	for _, s := range l.seen {
		if s.ptr.fresh(l.e.now) {
			left := s.ptr.expires().Sub(l.e.now)
			known = append(known, &dns.PTR{
				Header: dns.Header{Name: l.e.service, Type: dns.TypePTR, Class: dns.ClassINET, TTL: uint32(left / time.Second)},
				Ptr:    s.ptr.target,
			})
		}
	}
	sortRecords(known)
	return known
}

// A batch collects questions for records that run out or are missing, so that those which come up together share a packet.
type batch struct {
	questions [families][]dns.Question
	timer     timer
}

const batchTime = 10 * time.Millisecond

// ask asks for records soon, over the families in via; over all if that is empty.
func (l *link) ask(via familySet, questions ...dns.Question) {
	for _, q := range questions {
		l.noteAsked(q)
	}
	for f := range Family(families) {
		if !l.joined[f] || via != 0 && !via.has(f) {
			continue
		}
		for _, q := range questions {
			q.Class = dns.ClassINET
			if b := &l.batch.questions[f]; !slices.Contains(*b, q) && len(*b) < maxResolveBatch {
				*b = append(*b, q)
			}
		}
	}
	l.e.timers.soonest(&l.batch.timer, l.e.now.Add(batchTime))
}

// flushBatch sends the questions collected, but for those that somebody else just asked.
func (l *link) flushBatch() {
	for f := range Family(families) {
		questions := slices.DeleteFunc(l.batch.questions[f], func(q dns.Question) bool { return l.history.asked(f, q, l.e.now) })
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

// A history holds the questions that others asked lately (RFC 6762 §7.3).
type history struct {
	seen    [families]map[historyKey]time.Time
	expired [families]time.Time // when what was too old was forgotten
}

type historyKey struct {
	name string // folded
	typ  uint16
}

const historyTime = time.Second

// asked reports whether somebody else just asked a question of ours, so that the answer is going to be multicast.
func (h *history) asked(f Family, q dns.Question, now time.Time) bool {
	at, ok := h.seen[f][historyKey{fold(q.Name), q.Type}]
	return ok && now.Sub(at) <= historyTime
}

// noteQuestions remembers the questions of a query of another host, unless they ask for unicast answers, or the query
// suppresses answers that ours would not.
func (l *link) noteQuestions(f Family, m *dns.Message) {
	if m.Truncated || len(m.Ns) > 0 {
		return
	}
	h := &l.history
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
		if q.Class == dns.ClassINET && len(h.seen[f]) < maxHistory && !hides[key] && l.interesting(key) {
			h.seen[f][key] = l.e.now
		}
	}
}

// expire forgets what was asked too long ago: now and then, so that it costs little for each packet.
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

// interesting reports whether the question is one that this link might ask.
func (l *link) interesting(k historyKey) bool {
	switch k.typ {
	case dns.TypePTR:
		return k.name == l.e.serviceKey
	case dns.TypeA, dns.TypeAAAA:
		return l.hosts[k.name] != nil
	case dns.TypeSRV, dns.TypeTXT:
		return l.seenByName(k.name) != nil
	}
	return false
}

// wouldList reports whether a known answer of another host would be one of ours.
func (l *link) wouldList(rr dns.Record) bool {
	ptr, ok := rr.(*dns.PTR)
	if !ok {
		return false
	}
	label, ok := l.e.instanceLabel(ptr.Ptr)
	if !ok {
		return false
	}
	s := l.seen[fold(label)]
	return s != nil && s.ptr.fresh(l.e.now)
}
