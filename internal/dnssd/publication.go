package dnssd

import (
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/sdp2p/p2p/internal/backoff"
	"github.com/sdp2p/p2p/internal/dns"
)

// An entry is a service that Publish asked for.
type entry struct {
	service  Service
	name     string      // of the instance
	key      string      // name, folded
	parent   string      // name of the service type
	conflict netip.Addr  // another host that announces it; reported once
	rival    time.Time   // until when a proof counts that another host holds its key
	large    bool        // the warning about its size was logged
	public   bool        // it was announced
	places   []Interface // where it was announced, of links that have ended (Config.Private)
}

func newEntry(s Service, parent string) *entry {
	en := &entry{
		service: s,
		name:    dns.EscapeLabel(s.Instance) + "." + parent,
		parent:  parent,
	}
	en.key = fold(en.name)
	return en
}

// The states of a publication. Only an announced one answers questions.
type state int

const (
	stateProbing   state = iota // or about to probe
	stateAnnounced              // probing succeeded; announcements may be due
	stateConflict               // a probe was denied: silent until the next attempt
)

// A publication is an entry on a link.
type publication struct {
	l     *link
	entry *entry
	state state
	timer timer // the next probe or announcement

	host    string // name of the host on the link
	hostKey string // host, folded

	records []*ownRecord
	retired []dns.Record // former records, to be withdrawn with the next announcement

	probes    int             // sent in this round of probing
	contested bool            // another host was heard to use the name, and no probing has succeeded since
	due       int             // announcements left to make
	public    bool            // one was made
	announced time.Time       // the last one
	denied    backoff.Backoff // the pauses after denied probes
	claims    claims
}

// An ownRecord is a record of ours on a link.
type ownRecord struct {
	pub    *publication
	rr     dns.Record // with its full TTL, and the cache-flush bit if it is unique
	key    string     // its name, folded
	unique bool
	sent   [families]time.Time // when it was last multicast
}

func (r *ownRecord) typ() uint16 { return r.rr.Head().Type }

func (r *ownRecord) ttl() time.Duration { return time.Duration(r.rr.Head().TTL) * time.Second }

// publish begins to announce an entry on the link, if the link has an address
// for it.
func (l *link) publish(en *entry) {
	if l.e.cfg.Private && en.public && !en.belongs(&l.ifc) {
		l.withhold(en)
		return
	}
	p := &publication{l: l, entry: en, denied: backoff.Backoff{Min: conflictPause, Max: conflictPauseMax}}
	p.host = l.hostName(en)
	p.hostKey = fold(p.host)
	p.timer.fn, p.claims.timer.fn = p.proceed, p.challenge
	if p.install(p.build()); p.records == nil {
		return
	}
	l.pubs = append(l.pubs, p)
	p.startProbing(between(0, 250*time.Millisecond)) // RFC 6762 §8.1
}

// publishMissing publishes the entries that are not published on the link.
func (l *link) publishMissing() {
	for _, en := range l.e.entries {
		if l.publication(en) == nil {
			l.publish(en)
		}
	}
}

func (l *link) publication(en *entry) *publication {
	for _, p := range l.pubs {
		if p.entry == en {
			return p
		}
	}
	return nil
}

// gatherTime is how long a change waits for further ones, to be announced
// together.
const gatherTime = 50 * time.Millisecond

// changed updates the records of an entry and announces new ones, after
// gatherTime, but not more than once a second (RFC 6762 §8.4).
func (l *link) changed(en *entry) {
	p := l.publication(en)
	if p == nil {
		l.publish(en)
		return
	}
	records := p.build()
	if records == nil { // no address left
		l.withdraw(en)
		return
	}
	var fresh bool
	for i, r := range records {
		if same := p.find(r.rr, r.key); same != nil {
			records[i] = same // it may be about to be multicast
		} else {
			fresh = true
		}
	}
	old := p.records
	p.install(records)
	for _, r := range old {
		if !slices.Contains(records, r) {
			fresh = true
			l.e.retire(r)
			for f := range Family(families) {
				l.answers[f].drop(r)
			}
			if replaced := r.typ() == dns.TypeSRV || r.typ() == dns.TypeTXT || r.typ() == dns.TypeNSEC; !replaced && !p.announced.IsZero() {
				p.retired = append(p.retired, withTTL(r.rr, 0, false))
			}
		}
	}
	p.retired = slices.DeleteFunc(p.retired, func(rr dns.Record) bool { return p.find(rr, fold(rr.Head().Name)) != nil }) // it came back
	if p.state != stateAnnounced || !fresh {
		return
	}
	at := l.e.now.Add(gatherTime)
	if again := p.announced.Add(time.Second); again.After(at) {
		at = again
	}
	p.due = 2
	l.e.timers.soonest(&p.timer, at)
}

// announceAgain repeats all announcements, and browses as if from the start,
// since the network was out of reach.
func (l *link) announceAgain() {
	l.newAudience()
	for _, p := range l.pubs {
		if p.state == stateAnnounced {
			p.due = 2
			l.e.timers.set(&p.timer, l.e.now)
		}
	}
	l.startBrowsing()
}

// restart probes and announces again, and browses as if from the start, since
// the link has come up or the computer has woken up (RFC 6762 §8).
func (l *link) restart() {
	l.newAudience()
	for _, p := range l.pubs {
		p.startProbing(between(0, 250*time.Millisecond))
	}
	l.startBrowsing()
}

// install sets the records of the publication.
func (p *publication) install(records []*ownRecord) {
	for _, r := range p.records {
		p.l.names.Remove(r.key)
	}
	for _, r := range records {
		p.l.names.Add(r.key)
	}
	p.records = records
}

// find returns the record of the publication that is the same as rr, whose name
// is key, folded.
func (p *publication) find(rr dns.Record, key string) *ownRecord {
	typ := rr.Head().Type
	for _, r := range p.records {
		if r.key == key && r.typ() == typ && sameData(r.rr, rr) {
			return r
		}
	}
	return nil
}

// build returns the records of the publication: PTR, SRV, TXT and the addresses
// of the link's interface and of no other (RFC 6762 §6.2). It returns nil if
// the interface has no address of the service's families.
func (p *publication) build() []*ownRecord {
	en := p.entry
	header := func(name string, typ uint16, ttl uint32, unique bool) dns.Header {
		h := dns.Header{Name: name, Type: typ, Class: dns.ClassINET, TTL: ttl}
		if unique {
			h.Class |= cacheFlush
		}
		return h
	}
	var addrs []dns.Record
	var types []uint16
	for _, f := range []Family{IPv4, IPv6} {
		n := 0
		for _, prefix := range p.l.announced() {
			a := prefix.Addr()
			if familyOf(a) != f || n == maxAddrs {
				continue
			}
			switch {
			case f == IPv4 && en.service.IPv4:
				addrs = append(addrs, &dns.A{Header: header(p.host, dns.TypeA, hostTTL, true), A: net.IP(a.AsSlice())})
			case f == IPv6 && en.service.IPv6:
				addrs = append(addrs, &dns.AAAA{Header: header(p.host, dns.TypeAAAA, hostTTL, true), AAAA: net.IP(a.AsSlice())})
			default:
				continue
			}
			if n++; n == 1 {
				types = append(types, addrs[len(addrs)-1].Head().Type)
			}
		}
	}
	if len(addrs) == 0 {
		return nil
	}
	txt := slices.Clone(en.service.TXT)
	if len(txt) == 0 {
		txt = append(txt, "") // RFC 6763 §6.1
	}
	rrs := []dns.Record{&dns.PTR{Header: header(en.parent, dns.TypePTR, otherTTL, false), Ptr: en.name}}
	if !p.l.e.cfg.Private {
		rrs = append(rrs, &dns.PTR{Header: header(enumeration, dns.TypePTR, otherTTL, false), Ptr: en.parent})
	}
	rrs = append(rrs,
		&dns.SRV{Header: header(en.name, dns.TypeSRV, hostTTL, true), Port: en.service.Port, Target: p.host},
		&dns.TXT{Header: header(en.name, dns.TypeTXT, otherTTL, true), Txt: txt})
	rrs = append(rrs, addrs...)
	// RFC 6762 §6.1: NSEC records list the existing types, and thereby deny
	// others.
	rrs = append(rrs,
		&dns.NSEC{Header: header(en.name, dns.TypeNSEC, hostTTL, true), NextDomain: en.name, Types: []uint16{dns.TypeTXT, dns.TypeSRV}},
		&dns.NSEC{Header: header(p.host, dns.TypeNSEC, hostTTL, true), NextDomain: p.host, Types: types},
	)
	records := make([]*ownRecord, len(rrs))
	for i, rr := range rrs {
		records[i] = &ownRecord{pub: p, rr: rr, key: fold(rr.Head().Name), unique: rr.Head().Class&cacheFlush != 0}
	}
	return records
}

// proceed takes the next step of probing or announcing.
func (p *publication) proceed() {
	switch p.state {
	case stateAnnounced:
		p.announce()
	default:
		p.probe()
	}
}

// announce multicasts all records (RFC 6762 §8.3), twice, a second apart.
func (p *publication) announce() {
	l := p.l
	if p.due == 0 {
		return
	}
	if size := txtSize(p.entry.service.TXT); size > 1300 && !p.entry.large {
		p.entry.large = true
		l.e.log.Warn("the TXT record is larger than 1300 bytes and may not reach every device", "instance", p.entry.service.Instance, "bytes", size)
	}
	for f := range Family(families) {
		if !l.joined[f] {
			continue
		}
		var answers, additional []dns.Record
		for _, r := range p.records {
			l.answers[f].drop(r)
			switch {
			case l.lately(r, f): // as an answer; it has not changed since
				continue
			case r.typ() == dns.TypeNSEC:
				additional = append(additional, r.rr)
			default:
				answers = append(answers, r.rr)
			}
			r.sent[f] = l.e.now
		}
		answers = append(answers, p.retired...)
		l.multicast(f, packResponses(answers, additional, l.ifc.payload(f)), announcements)
	}
	p.announced = l.e.now
	if l.away.IsZero() {
		p.public, p.entry.public = true, true
	}
	p.due--
	if p.due > 0 {
		l.e.timers.set(&p.timer, l.e.now.Add(time.Second))
	} else {
		p.retired = nil
	}
	l.startSounding()
}

// withdraw removes an entry from the link: with a goodbye (RFC 6762 §10.1) if
// it was announced, even if it is being probed for again, and silently if it
// was not or is contested, since a goodbye would also remove the records of the
// host that is in conflict with us.
func (l *link) withdraw(en *entry) {
	p := l.publication(en)
	if p == nil {
		return
	}
	l.e.timers.stop(&p.timer)
	l.e.retire(p.records...)
	l.pubs = slices.DeleteFunc(l.pubs, func(o *publication) bool { return o == p })
	records := p.records
	p.install(nil)
	p.dropClaims()
	l.e.timers.stop(&p.claims.timer)
	for f := range Family(families) {
		for _, r := range records {
			l.answers[f].drop(r)
		}
	}
	l.e.conflictOver(p)
	if p.announced.IsZero() || p.contested {
		return
	}
	for f := range Family(families) {
		var gone []dns.Record
		for _, r := range records {
			// Others also announce the service type, and a large TXT goes
			// together with its SRV.
			if r.typ() == dns.TypeNSEC || r.key == enumeration || dns.Len(r.rr) > l.ifc.payload(f)/2 {
				continue
			}
			gone = append(gone, withTTL(r.rr, 0, false))
		}
		gone = append(gone, p.retired...)
		l.multicast(f, packResponses(gone, nil, l.ifc.payload(f)), goodbyes)
	}
}
