package dnssd

import (
	"net/netip"
	"slices"
	"time"

	"github.com/sdp2p/p2p/internal/dns"
)

// A familySet is a set of families.
type familySet uint8

func setOf(f Family) familySet { return 1 << f }

func (s familySet) has(f Family) bool { return s&setOf(f) != 0 }

// first returns the set of the first family in s. IPv4 is first: one packet
// less than asking over both.
func (s familySet) first() familySet { return s & -s }

// A seen is an instance as seen on one link: the records cached of it there.
type seen struct {
	l    *link
	in   *instance
	name string // domain name of the instance, as in the PTR record
	ptr  *cached
	srvs []*cached
	txt  *cached // nil if not known

	asked    time.Time // when its records were asked for the last time
	answered time.Time // when it answered the last time
	retained bool      // it was withdrawn, but stays because it answered by other means
	doubt    doubt

	from  sources // of SRV records
	whole bool    // it was complete once

	resolve  timer // asks for what is missing
	attempts int
	sought   bool   // addresses were asked for
	alone    bool   // there are none but link-local ones
	doubted  *timer // asks again while Reconfirm's doubt lasts; nil without
}

// A cached record expires on its own, whether there is traffic or not (RFC 6762
// §5.2, §10).
type cached struct {
	l   *link
	typ uint16
	s   *seen // of PTR, SRV, TXT
	h   *host // of A, AAAA

	target   string // PTR, SRV
	host     string // SRV: target, folded
	priority uint16 // SRV
	port     uint16 // SRV
	addr     netip.Addr
	txt      []string
	since    time.Time // when this data was first received
	src      netip.Addr
	proved   bool // the instance has answered there

	ttl      time.Duration
	received time.Time
	jitter   float64 // 0 to 0.02: of the TTL, added to when a refresh is due
	stage    int     // refreshes asked for: at 80, 85, 90 and 95 % of the TTL
	via      familySet
	doomed   time.Time // if not zero: when it goes, whatever its TTL. It is not refreshed
	replaced bool      // doomed because it was withdrawn or replaced by a newer record
	asks     int       // questions to come before it goes: see confirm
	held     bool      // until then, it counts as if it were not doomed
	timer    timer
}

const (
	maxTTL     = otherTTL * time.Second // longer ones are cut
	minRefresh = 10 * time.Second       // records that live shorter are not refreshed
	minTTL     = 20 * time.Second       // a TTL is not lowered below this: an owner that leaves says goodbye, which is checked
	graceTime  = time.Second            // for which withdrawn or replaced records are kept (RFC 6762 §10.1, §10.2)

	// RFC 6762 §10.2 lets a record with the cache-flush bit replace those that
	// were received more than a second before. Announcements are a second apart
	// as sent; as received, they may be less.
	flushAge = 900 * time.Millisecond

	resolveMax  = 5 // attempts to learn what is missing
	doubtTime   = 10 * time.Second
	refreshLast = 4
)

func (c *cached) expires() time.Time {
	if !c.doomed.IsZero() {
		return c.doomed
	}
	return c.received.Add(c.ttl)
}

// fresh reports whether the record has at least half of its time to live left
// (RFC 6762 §7.1).
func (c *cached) fresh(now time.Time) bool {
	return c.doomed.IsZero() && c.expires().Sub(now) >= c.ttl/2
}

// renew records that the record was received, again or for the first time.
func (c *cached) renew(ttl uint32, f Family, jitter float64) {
	e := c.l.e
	if e.now.Sub(c.received) > graceTime {
		c.via = 0
	}
	c.via |= setOf(f)
	lives := min(max(time.Duration(ttl)*time.Second, min(c.ttl, minTTL)), maxTTL)
	if c.received.Equal(e.now) && c.ttl == lives && c.doomed.IsZero() {
		return // repeated within the packet
	}
	c.received, c.ttl, c.jitter, c.stage = e.now, lives, jitter, 0
	c.doomed, c.replaced, c.held, c.asks = time.Time{}, false, false, 0
	c.schedule()
}

// doom makes the record go at a time, if it does not go before.
func (c *cached) doom(at time.Time) {
	if at.Before(c.expires()) {
		c.doomed = at
		c.schedule()
	}
}

// schedule sets the timer for the next refresh or for the end (RFC 6762 §5.2).
func (c *cached) schedule() {
	at := c.expires()
	if c.stage < refreshLast && c.doomed.IsZero() && c.ttl >= minRefresh {
		at = c.received.Add(time.Duration(float64(c.ttl) * (0.80 + 0.05*float64(c.stage) + c.jitter)))
	}
	if ask, ok := c.asking(); ok && ask.Before(at) {
		at = ask
	}
	c.l.e.timers.set(&c.timer, at)
}

// due refreshes the record, or removes it.
func (c *cached) due() {
	if !c.l.e.now.Before(c.expires()) {
		c.remove()
		return
	}
	via := familySet(0)
	if c.stage == 0 {
		via = c.via.first()
	}
	name := c.l.e.service
	switch c.typ {
	case dns.TypeSRV, dns.TypeTXT:
		name = c.s.name
	case dns.TypeA, dns.TypeAAAA:
		name = c.h.name
	}
	question := dns.Question{Name: name, Type: c.typ}
	if c.stage < 2 {
		c.l.ask(via, question)
	} else {
		c.l.rejoin()
		c.l.insist(question)
	}
	c.stage++
	c.schedule()
}

// drop removes an SRV or an address record from the cache.
func (c *cached) drop() {
	c.l.e.timers.stop(&c.timer)
	if c.typ == dns.TypeSRV {
		c.s.srvs = slices.DeleteFunc(c.s.srvs, func(o *cached) bool { return o == c })
		c.l.release(c)
		return
	}
	c.h.addrs = slices.DeleteFunc(c.h.addrs, func(o *cached) bool { return o == c })
	c.l.addrs--
}

// remove removes the record from the cache. Without PTR or SRV, an instance is
// gone as a whole; a missing TXT or address can be asked for.
func (c *cached) remove() {
	e := c.l.e
	e.timers.stop(&c.timer)
	switch c.typ {
	case dns.TypePTR:
		c.l.vanish(c)
	case dns.TypeSRV:
		c.drop()
		if len(c.s.srvs) == 0 {
			c.l.vanish(c)
			return
		}
		c.l.examine(c.s)
	case dns.TypeTXT:
		c.s.txt = nil
		c.l.examine(c.s)
	default:
		c.drop()
		c.l.examineUsers(c.h)
	}
}

// A lesson is what is learned from one packet. Its consequences are drawn once,
// at the end, however often the packet repeats something.
type lesson struct {
	l        *link
	size     int // of the packet
	records  []told
	src      netip.Addr
	family   Family
	jitter   float64 // one for the packet, so that its records are refreshed together
	touched  map[*cached]bool
	seen     map[*seen]bool     // to be examined
	hosts    map[*host]bool     // with all their users
	admitted int                // new instances
	full     map[*cached]uint16 // lists, by their first record: no more of that type
}

// end examines the instances that the packet was about.
func (p *lesson) end() {
	for h := range p.hosts {
		for _, user := range h.users {
			p.seen[user] = true
		}
	}
	for in := range p.seen {
		if p.l.seen[in.in.key] == in {
			p.l.examine(in)
		}
	}
}

// put renews the same record in list, or else adds a fresh one, if there is
// room or another one may be dropped for it. A TTL of zero withdraws a record.
func (p *lesson) put(list *[]*cached, fresh cached, bound int, ttl uint32, same func(*cached) bool) (c *cached, added bool) {
	l := p.l
	i := slices.IndexFunc(*list, same)
	switch {
	case i >= 0 && ttl == 0:
		p.takeBack((*list)[i])
		return (*list)[i], false
	case i >= 0:
		(*list)[i].heardFrom(p.src, *list)
		(*list)[i].renew(ttl, p.family, p.jitter)
		return (*list)[i], false
	case ttl == 0:
		return nil, false
	case len(*list) >= bound:
		if bound == 0 || p.full[(*list)[0]] == fresh.typ {
			return nil, false
		}
		out := makeRoom(*list, fresh.typ, p.src)
		if out == nil {
			p.full[(*list)[0]] = fresh.typ // for the rest of the packet
			return nil, false
		}
		out.drop()
	}
	c = new(cached)
	*c = fresh
	c.l, c.since, c.src = l, l.e.now, p.src
	c.timer.fn = c.due
	*list = append(*list, c)
	c.renew(ttl, p.family, p.jitter)
	return c, true
}

func (p *lesson) learnPTR(rr *dns.PTR) {
	l := p.l
	label, ok := l.e.instanceLabel(rr.Ptr)
	if !ok || l.e.cfg.Admit != nil && !l.e.cfg.Admit(label) {
		return
	}
	s := l.seen[fold(label)]
	if s == nil {
		if rr.Header.TTL == 0 {
			l.e.unqueue(func(a *announcement) bool { return a.of(l, fold(label)) && a.src == p.src })
			return
		}
		if p.admitted == maxNewOfPacket {
			l.askAgain()
			return
		}
		in := p.admit(label, rr)
		if in == nil {
			return
		}
		p.admitted++
		s = p.newSeen(in, rr.Ptr)
	}
	if rr.Header.TTL > 0 {
		l.e.spell(s.in, label, p.src)
		s.ptr.renew(rr.Header.TTL, p.family, p.jitter)
		return
	}
	p.takeBack(s.ptr)
	if l.e.cfg.Probe == nil {
		// The owner may not have heard a goodbye that somebody forged. If
		// asked, it answers before the time is over.
		l.browseSoon(between(300*time.Millisecond, 600*time.Millisecond))
	}
}

// seenByName returns the instance with a domain name, if it is cached on the
// link.
func (l *link) seenByName(name string) *seen {
	label, ok := l.e.instanceLabel(name)
	if !ok {
		return nil
	}
	return l.seen[fold(label)]
}

func (p *lesson) learnSRV(key string, rr *dns.SRV) *cached {
	l := p.l
	if rr.Port == 0 {
		return nil // leads nowhere
	}
	s := l.seenByName(key)
	if s == nil && rr.Header.TTL > 0 {
		s = p.readmit(key)
	}
	if s == nil {
		return nil
	}
	if rr.Header.TTL > 0 {
		l.moveIn(s, p.src.WithZone(""))
	}
	target := fold(rr.Target)
	same := func(o *cached) bool { return o.port == rr.Port && o.priority == rr.Priority && o.host == target }
	n, bound := len(s.srvs), maxServices
	if rr.Header.TTL > 0 && n < bound && !slices.ContainsFunc(s.srvs, same) && !l.roomFor(target, s) {
		bound = 0
	}
	fresh := cached{typ: dns.TypeSRV, s: s, target: rr.Target, host: target, priority: rr.Priority, port: rr.Port}
	c, added := p.put(&s.srvs, fresh, bound, rr.Header.TTL, same)
	if added {
		l.use(c)
	}
	if rr.Header.TTL > 0 {
		s.noteAnswer()
		if s.doubted != nil { // Reconfirm's answer
			l.stopTimer(s.doubted)
			s.doubted = nil
		}
	}
	p.seen[s] = true
	return c
}

// learnTXT keeps the newest TXT record: an instance has one (RFC 6763 §6).
func (p *lesson) learnTXT(key string, rr *dns.TXT) {
	l := p.l
	s := l.seenByName(key)
	if s == nil {
		return
	}
	txt, ok := rawTXT(rr)
	switch {
	case !ok:
		return
	case s.txt != nil && slices.Equal(s.txt.txt, txt):
		if rr.Header.TTL == 0 {
			p.takeBack(s.txt)
		} else {
			s.txt.renew(rr.Header.TTL, p.family, p.jitter)
		}
		return
	case rr.Header.TTL == 0:
		return
	case s.txt == nil:
		s.txt = &cached{l: l, typ: dns.TypeTXT, s: s}
		s.txt.timer.fn = s.txt.due
	}
	s.txt.txt, s.txt.since = txt, l.e.now
	s.txt.renew(rr.Header.TTL, p.family, p.jitter)
	p.seen[s] = true
}

func (p *lesson) learnAddr(key string, rr dns.Record) *cached {
	l := p.l
	h := l.hosts[key]
	addr, ok := addrOf(rr)
	if h == nil || !ok || addr.IsUnspecified() || addr.IsMulticast() || addr.IsLoopback() && !l.ifc.Loopback {
		return nil
	}
	of := familyOf(addr)
	n := 0
	refresh := false // of an address that stays
	for _, o := range h.addrs {
		if familyOf(o.addr) == of {
			n++
		}
		refresh = refresh || o.addr == addr && o.doomed.IsZero() && rr.Head().TTL > 0
	}
	fresh, bound := cached{typ: rr.Head().Type, h: h, addr: addr}, len(h.addrs)+max(0, maxAddrs-n)
	if l.addrs >= maxLinkAddrs && len(h.addrs) >= fewAddrs {
		bound = len(h.addrs)
	}
	c, added := p.put(&h.addrs, fresh, bound, rr.Head().TTL, func(o *cached) bool { return o.addr == addr })
	if added {
		l.addrs++
	}
	if !refresh {
		p.hosts[h] = true
	}
	return c
}

// flush replaces older records of a name and type by those that came with the
// packet: their owner says that there are no others (RFC 6762 §10.2).
func (p *lesson) flush(of historyKey) {
	l := p.l
	var set []*cached
	if s := l.seenByName(of.name); s != nil {
		set = s.srvs
	} else if h := l.hosts[of.name]; h != nil {
		set = h.addrs
	}
	for _, c := range set {
		if c.typ == of.typ && !p.touched[c] && l.e.now.Sub(c.received) > flushAge {
			if l.e.cfg.Probe == nil && p.beside(c, set) { // takeBack asks, too
				c.confirm()
				continue
			}
			p.takeBack(c)
		}
	}
}

// forget drops the cached records of an instance on the link.
func (l *link) forget(s *seen) {
	e := l.e
	e.timers.stop(&s.ptr.timer)
	e.timers.stop(&s.resolve)
	e.timers.stop(&s.doubt.timer)
	e.timers.stop(&s.doubt.probe)
	if s.txt != nil {
		e.timers.stop(&s.txt.timer)
	}
	if s.doubted != nil {
		l.stopTimer(s.doubted)
	}
	for _, c := range s.srvs {
		e.timers.stop(&c.timer)
		l.release(c)
	}
	s.srvs = nil
	delete(l.seen, s.in.key)
	for _, a := range s.from {
		l.moveOut(s, a)
	}
	s.in.on = slices.DeleteFunc(s.in.on, func(o *seen) bool { return o == s })
	e.touch(s.in)
}
