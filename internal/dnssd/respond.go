package dnssd

import (
	"maps"
	"slices"
	"sort"
	"time"

	"github.com/sdp2p/p2p/internal/dns"
)

// A pendingAnswer says when a record is going to be multicast, and for how long
// before that it must not have been multicast.
type pendingAnswer struct {
	at  time.Time
	gap time.Duration
}

// An answerQueue holds the records that are going to be multicast on a link,
// over one family, in answer to questions. Answers to several questions that
// fall due together share a packet.
type answerQueue struct {
	due   map[*ownRecord]pendingAnswer
	timer timer
}

func (q *answerQueue) drop(r *ownRecord) { delete(q.due, r) }

// A heldQuery is a query whose sender announced more known answers to come (RFC
// 6762 §7.2).
type heldQuery struct {
	questions []dns.Question
	known     map[*ownRecord]bool // the records of ours that it has listed so far
	timer     *timer
	latest    time.Time // when it is answered at the latest
}

// maxHold is the longest time that a query may be held, however many known
// answers are still to come.
const maxHold = 2 * time.Second

// The shortest times between two multicasts of a record on a link (RFC 6762
// §6).
const (
	answerGap = time.Second
	defendGap = 250 * time.Millisecond // in answer to a probe
)

// handleQuery answers a query of another Multicast DNS host.
func (l *link) handleQuery(p received, m *dns.Message, unicast bool) {
	if l.e.repeatedProbe(m) {
		return
	}
	if len(m.Ns) > 0 {
		l.tieBreak(m, p.Src.Addr(), p.family)
		l.noteClaimed(tell(m.Ns))
	}
	if !unicast {
		l.noteQuestions(p.Src.Addr(), p.family, m)
		l.noteStranger(p.Src.Addr(), m)
	}
	if !l.near(p.Src.Addr()) {
		toAll(m.Question)
	}
	if unicast { // RFC 6762 §5.5: as if unicast answers had been asked for
		for i := range m.Question {
			m.Question[i].Class |= unicastBit
		}
	}
	known := l.known(m.Answer)
	questions := l.concerning(m.Question)
	l.noteInterest(m, known)
	if h := l.held[p.Src]; h != nil && (m.Truncated || len(m.Question) == 0) {
		maps.Copy(h.known, known)
		h.questions = append(h.questions, questions[:min(len(questions), maxQuestions-len(h.questions))]...)
		if at := l.e.now.Add(between(400*time.Millisecond, 500*time.Millisecond)); m.Truncated && at.Before(h.latest) {
			l.e.timers.set(h.timer, at)
		}
		return
	}
	if m.Truncated && len(m.Question) > 0 {
		if len(questions) > 0 && len(l.held) >= maxHeld { // better now than never
			l.answer(p, questions, known, false, between(20*time.Millisecond, 120*time.Millisecond))
		} else if len(questions) > 0 {
			h := &heldQuery{questions: questions, known: known, latest: l.e.now.Add(maxHold)}
			h.timer = l.after(between(400*time.Millisecond, 500*time.Millisecond), func() {
				delete(l.held, p.Src)
				l.answer(p, h.questions, h.known, false, 0)
			})
			l.held[p.Src] = h
		}
		return
	}
	l.answer(p, questions, known, len(m.Ns) > 0, between(20*time.Millisecond, 120*time.Millisecond))
}

// concerning returns the questions for which we have records, each once and
// maxQuestions at most.
func (l *link) concerning(questions []dns.Question) []dns.Question {
	var some []dns.Question
	keys := folder{}
	for _, q := range questions {
		q.Name = keys.fold(q.Name)
		if len(some) < maxQuestions && l.ours(q.Name) && !slices.Contains(some, q) && len(l.match(q)) > 0 {
			some = append(some, q)
		}
	}
	return some
}

// ours reports whether a folded name is that of records that are announced or
// about to be.
func (l *link) ours(key string) bool {
	return slices.ContainsFunc(l.pubs, func(p *publication) bool {
		return slices.ContainsFunc(p.records, func(r *ownRecord) bool { return r.key == key })
	})
}

// match returns the records that answer a question; an NSEC record, if the name
// is ours and has no record of that type (RFC 6762 §6.1).
func (l *link) match(q dns.Question) []*ownRecord {
	if class := q.Class &^ unicastBit; class != dns.ClassINET && class != dns.ClassANY {
		return nil
	}
	key := fold(q.Name)
	var found []*ownRecord
	for _, p := range l.pubs {
		if p.state != stateAnnounced {
			continue
		}
		var denial *ownRecord
		for _, r := range p.records {
			switch {
			case r.key != key:
			case r.typ() == q.Type, q.Type == dns.TypeANY && r.typ() != dns.TypeNSEC:
				if !slices.ContainsFunc(found, func(o *ownRecord) bool { return sameRecord(o, r) }) {
					found = append(found, r)
				}
			case r.typ() == dns.TypeNSEC:
				denial = r
			}
		}
		if denial != nil && len(found) == 0 {
			found = append(found, denial)
		}
	}
	return found
}

// sameRecord reports whether two publications have a record in common, such as
// that of the service type.
func sameRecord(a, b *ownRecord) bool {
	return a == b || a.key == b.key && a.typ() == b.typ() && sameData(a.rr, b.rr)
}

// known returns our records that are in the answer section of a query with at
// least half of their time to live (RFC 6762 §7.1).
func (l *link) known(answers []dns.Record) map[*ownRecord]bool {
	known := make(map[*ownRecord]bool)
	keys := folder{}
	for _, rr := range answers {
		key := keys.fold(rr.Head().Name)
		for _, p := range l.pubs {
			if r := p.find(rr, key); r != nil && rr.Head().TTL >= r.rr.Head().TTL/2 {
				known[r] = true
			}
		}
	}
	return known
}

// answer answers the questions of a query, except with known records: by
// multicast, or by unicast if they ask for it. Answers that others may also
// give wait for delay; unique ones are sent at once (RFC 6762 §6).
func (l *link) answer(p received, questions []dns.Question, known map[*ownRecord]bool, probe bool, delay time.Duration) {
	var direct, multicast []*ownRecord
	shared := false
	for _, q := range questions {
		for _, r := range l.match(q) {
			if known[r] {
				continue
			}
			shared = shared || !r.unique
			toAll := true
			if q.Class&unicastBit != 0 {
				direct = appendOnce(direct, r)
				// RFC 6762 §5.4: a record that was not multicast for a quarter
				// of its TTL goes to all. That also reaches the questioner if
				// another process of its host took the unicast packet. A probe
				// must not miss the answer.
				toAll = probe || r.sent[p.family].IsZero() || l.e.now.Sub(r.sent[p.family]) > r.ttl()/4
			}
			if toAll {
				multicast = appendOnce(multicast, r)
			}
		}
	}
	gap := answerGap
	if probe {
		gap = defendGap
	}
	if !shared {
		delay = 0
	}
	for _, r := range multicast {
		l.enqueue(p.family, r, l.e.now.Add(delay), gap)
	}
	if len(direct) == 0 {
		return
	}
	if delay == 0 {
		l.respondDirect(p, direct)
	} else if l.waiting < maxDeferred {
		l.waiting++
		l.after(delay, func() {
			l.waiting--
			l.respondDirect(p, direct)
		})
	}
}

func appendOnce(list []*ownRecord, r *ownRecord) []*ownRecord {
	if slices.ContainsFunc(list, func(o *ownRecord) bool { return sameRecord(o, r) }) {
		return list
	}
	return append(list, r)
}

// enqueue schedules a record to be multicast at a time, or earlier if that is
// planned already, but not within gap of the last time.
func (l *link) enqueue(f Family, r *ownRecord, at time.Time, gap time.Duration) {
	q := &l.answers[f]
	if last := r.sent[f]; !last.IsZero() && at.Before(last.Add(gap)) {
		at = last.Add(gap)
	}
	if old, ok := q.due[r]; ok && !at.Before(old.at) {
		return
	}
	q.due[r] = pendingAnswer{at, gap}
	l.e.timers.soonest(&q.timer, at)
}

// flushAnswers multicasts what is due.
func (l *link) flushAnswers(f Family) {
	q := &l.answers[f]
	var out []*ownRecord
	for r, a := range q.due {
		if last := r.sent[f]; !last.IsZero() && last.Add(a.gap).After(a.at) { // multicast for another reason
			a.at = last.Add(a.gap)
			q.due[r] = a
		}
		if !a.at.After(l.e.now) {
			out = append(out, r)
			delete(q.due, r)
		}
	}
	for _, a := range q.due {
		l.e.timers.soonest(&q.timer, a.at)
	}
	out = uniq(out)
	if len(out) == 0 {
		return
	}
	sort.Slice(out, func(i, j int) bool { return compareRecords(out[i].rr, out[j].rr) < 0 })
	extra := slices.DeleteFunc(additionals(out), func(r *ownRecord) bool { return l.lately(r, f) })
	l.multicast(f, packResponses(rrs(out), rrs(extra), l.ifc.payload(f)), responses)
	for _, r := range append(out, extra...) {
		r.sent[f] = l.e.now
	}
}

// lately reports whether a record was multicast less than a second ago, so that
// it must not be again (RFC 6762 §6).
func (l *link) lately(r *ownRecord, f Family) bool {
	return !r.sent[f].IsZero() && l.e.now.Sub(r.sent[f]) < answerGap
}

// uniq leaves out duplicates of records that publications have in common.
func uniq(list []*ownRecord) []*ownRecord {
	var out []*ownRecord
	for _, r := range list {
		out = appendOnce(out, r)
	}
	return out
}

func rrs(records []*ownRecord) []dns.Record {
	out := make([]dns.Record, len(records))
	for i, r := range records {
		out[i] = r.rr
	}
	return out
}

// additionals returns the records that a reader of the answers is going to ask
// for next: SRV, TXT and addresses for a PTR, addresses for an SRV, the other
// family's for an address, and NSEC for a family without addresses (RFC 6763
// §12, RFC 6762 §6.1).
func additionals(answers []*ownRecord) []*ownRecord {
	var extra []*ownRecord
	add := func(p *publication, types ...uint16) {
		for _, r := range p.records {
			if slices.Contains(types, r.typ()) && !slices.Contains(answers, r) {
				extra = appendOnce(extra, r)
			}
		}
		var has4, has6 bool
		for _, r := range p.records {
			has4 = has4 || r.typ() == dns.TypeA
			has6 = has6 || r.typ() == dns.TypeAAAA
		}
		for _, r := range p.records {
			if r.typ() == dns.TypeNSEC && r.key == p.hostKey && has4 != has6 && !slices.Contains(answers, r) {
				extra = appendOnce(extra, r)
			}
		}
	}
	for _, r := range answers {
		switch r.typ() {
		case dns.TypePTR:
			if r.key != enumeration {
				add(r.pub, dns.TypeSRV, dns.TypeTXT, dns.TypeA, dns.TypeAAAA)
			}
		case dns.TypeSRV, dns.TypeA, dns.TypeAAAA:
			add(r.pub, dns.TypeA, dns.TypeAAAA)
		}
	}
	return extra
}

// respondDirect answers by unicast (RFC 6762 §5.4).
func (l *link) respondDirect(p received, answers []*ownRecord) {
	answers = slices.DeleteFunc(answers, func(r *ownRecord) bool { return !r.live() })
	if len(answers) == 0 || !l.e.unicast.take(l.e.now) {
		return
	}
	for _, b := range packResponses(rrs(answers), rrs(additionals(answers)), l.ifc.payload(p.family)) {
		l.send(p.family, b, p.Src, responses)
	}
}

// live reports whether the record may be sent: it is announced and was not
// replaced.
func (r *ownRecord) live() bool {
	return r.pub.state == stateAnnounced && slices.Contains(r.pub.l.pubs, r.pub) && slices.Contains(r.pub.records, r)
}

// legacyTTL bounds what one-shot queriers may cache, since they do not hear of
// changes (RFC 6762 §6.7).
const legacyTTL = 10

// answerLegacy answers a one-shot query as an ordinary DNS server does: by
// unicast, with the query's id and questions, and without the cache-flush bit
// (RFC 6762 §6.7).
func (l *link) answerLegacy(p received, m *dns.Message) {
	var answers []*ownRecord
	known := l.known(m.Answer)
	m.Question = m.Question[:min(len(m.Question), maxLegacy)]
	for _, q := range m.Question {
		for _, r := range l.match(q) {
			if !known[r] {
				answers = appendOnce(answers, r)
			}
		}
	}
	if len(answers) == 0 || !l.e.unicast.take(l.e.now) {
		return
	}
	reply := response()
	reply.ID, reply.Question = m.ID, m.Question
	for _, r := range answers {
		reply.Answer = append(reply.Answer, withTTL(r.rr, min(r.rr.Head().TTL, legacyTTL), true))
	}
	size := sizer{limit: l.ifc.payload(p.family)}
	size.bound = reply.Len()
	for _, r := range additionals(answers) {
		rr := withTTL(r.rr, min(r.rr.Head().TTL, legacyTTL), true)
		reply.Additional = append(reply.Additional, rr)
		if !size.fits(reply, rr) {
			reply.Additional = reply.Additional[:len(reply.Additional)-1]
		}
	}
	for _, b := range appendPacked(nil, reply) {
		l.send(p.family, b, p.Src, legacy)
	}
}

// handleResponse processes a multicast response, or a solicited unicast one. It
// treats answers and additional records alike (RFC 6762 §7.4 considers only
// answers).
func (l *link) handleResponse(p received, m *dns.Message) {
	records := tell(m.Answer, m.Additional)
	for _, r := range records {
		l.checkConflict(r, p.Src.Addr())
	}
	l.noteClaimed(records)
	for _, r := range records[:len(m.Answer)] {
		l.checkDuplicate(p.family, r)
	}
	l.noteAnswers(p.family, records[:len(m.Answer)])
	records = l.e.news(records)
	l.learn(p, records)
	l.heedDenials(records)
}

// A told is a received record.
type told struct {
	rr  dns.Record
	key string // its name, folded
}

func tell(sections ...[]dns.Record) (all []told) {
	keys := folder{}
	for _, section := range sections {
		for _, rr := range section {
			all = append(all, told{rr, keys.fold(rr.Head().Name)})
		}
	}
	return all
}

// A folder folds the names of a packet, each once.
type folder map[string]string

func (f folder) fold(name string) string {
	key, ok := f[name]
	if !ok {
		key = fold(name)
		f[name] = key
	}
	return key
}

// checkDuplicate compares a record that another host multicast with ours. An
// equally good one replaces ours if that was about to be multicast (RFC 6762
// §7.4), but only if the record is one that others also have: a record that
// names an instance of ours was repeated from another link, and comes with
// other addresses. A record that is about to expire is corrected (§6.6), since
// another host says goodbye for a record that we still have.
func (l *link) checkDuplicate(f Family, t told) {
	h := t.rr.Head()
	for _, p := range l.pubs {
		if p.state != stateAnnounced {
			continue
		}
		r := p.find(t.rr, t.key)
		if r == nil {
			continue
		}
		switch ttl := r.rr.Head().TTL; {
		case h.TTL >= ttl && r.key == enumeration:
			l.answers[f].drop(r)
		case h.TTL < ttl/2:
			l.enqueue(f, r, l.e.now.Add(between(20*time.Millisecond, 120*time.Millisecond)), answerGap)
		}
	}
}
