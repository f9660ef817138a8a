package dnssd

import (
	"cmp"
	"net/netip"
	"slices"
	"sort"
	"time"

	"github.com/sdp2p/p2p/internal/dns"
)

// An Instance is an announced instance of the service type. Nothing about it is
// verified: anybody on the link can announce anything.
type Instance struct {
	// Name is the instance label, raw. To DNS, instances whose names differ
	// only in the case of ASCII letters are the same: one that is announced in
	// several spellings is reported under each of them, and listed under one.
	Name string
	// TXT are the strings of the TXT record, raw.
	TXT []string
	// Targets are the SRV records: normally one.
	Targets []Target
	// Addrs are addresses of the targets, with ports, in a prefix of an
	// interface that they were learned on: ready to dial. Together with OffLink
	// and LinkLocal, they are 16 at most, with equal shares for all targets; an
	// address at which the instance has answered is always included.
	Addrs []netip.AddrPort
	// OffLink are other addresses, which might be reachable through a router or
	// a route to the link.
	OffLink []netip.AddrPort
	// LinkLocal are link-local IPv6 addresses, with the interface that they
	// were learned on as their zone, if it has IPv6.
	LinkLocal []netip.AddrPort
	// Interfaces are the names of the interfaces that the instance was seen on.
	Interfaces []string
	// From is the source address of the packet in which the instance was first
	// heard of.
	From netip.Addr
	// Since is when the instance was first heard of.
	Since time.Time
	// TTL is the time to live of the SRV record: how long the instance is
	// assumed to exist without being heard.
	TTL time.Duration
}

// A Target is a host and a port that an instance runs at.
type Target struct {
	Host     string // domain name in presentation form
	Port     uint16
	Priority uint16 // lower is better (RFC 2782)
}

func (i Instance) clone() Instance {
	i.TXT = slices.Clone(i.TXT)
	i.Targets = slices.Clone(i.Targets)
	i.Addrs = slices.Clone(i.Addrs)
	i.OffLink = slices.Clone(i.OffLink)
	i.LinkLocal = slices.Clone(i.LinkLocal)
	i.Interfaces = slices.Clone(i.Interfaces)
	return i
}

// same reports whether nothing changed that requires a call of Found.
func (i *Instance) same(o *Instance) bool {
	return slices.Equal(i.TXT, o.TXT) && slices.Equal(i.Targets, o.Targets) && slices.Equal(i.Addrs, o.Addrs) &&
		slices.Equal(i.OffLink, o.OffLink) && slices.Equal(i.LinkLocal, o.LinkLocal) && slices.Equal(i.Interfaces, o.Interfaces)
}

// An instance is an instance in the table, complete or not.
type instance struct {
	key    string
	name   string     // its label, as it was spelled first
	others []spelling // further spellings
	told   []string   // spellings that were reported
	origin *origin    // who announced it first
	proved bool       // it has answered by other means
	since  time.Time
	on     []*seen
	shown  bool
	last   Instance // as reported, if shown
}

// settleTime is how long a change to a reported instance waits for further
// ones, to be reported together.
const settleTime = 100 * time.Millisecond

// instanceLabel returns the label, raw, of the domain name of an instance of
// the service type.
func (e *Engine) instanceLabel(name string) (string, bool) {
	label, rest, ok := dns.CutLabel(name)
	return label, ok && len(rest) == len(e.serviceKey) && fold(rest) == e.serviceKey
}

// admitInstance returns the instance with a label, creating it if the limits
// allow. If there is only no token for it now, early is true. That it has
// waited is no further sign of a flood.
func (l *link) admitInstance(label string, src netip.Addr, waited bool) (in *instance, early bool) {
	e := l.e
	key := fold(label)
	if in := e.table[key]; in != nil {
		return in, false
	}
	o := e.origins[src]
	if o == nil {
		o = &origin{addr: src}
	}
	if !waited {
		o.wants(e.now)
	}
	switch {
	case o.n >= e.cfg.MaxPerSource:
	case !l.takeToken(o):
		return nil, true
	case len(e.table) >= e.cfg.MaxInstances && !e.evict():
	default:
		in := &instance{key: key, name: label, origin: o, since: e.now}
		e.table[key] = in
		e.origins[src] = o
		o.n++
		return in, false
	}
	e.count(func(s *Stats) { s.Refused++ })
	return nil, false
}

// refused asks again for an instance that was not admitted for lack of tokens.
func (l *link) refused() {
	l.e.count(func(s *Stats) { s.Refused++ })
	l.askAgain()
}

// evict makes room in the table. It drops instances that were never complete
// first, then those that have not answered by other means, then those from the
// source that floods most, or else has announced most, the oldest first. Those
// for which Config.Keep returns true stay.
func (e *Engine) evict() bool {
	var out *instance
	for _, in := range e.table {
		if out != nil && !e.evictBefore(in, out) {
			continue
		}
		if !e.kept(in) { // called last, and so only a few times
			out = in
		}
	}
	if out == nil {
		return false
	}
	for _, s := range slices.Clone(out.on) {
		s.l.forget(s)
	}
	delete(e.dirty, out)
	e.evaluate(out)
	return true
}

// kept reports whether an instance must not be evicted.
func (e *Engine) kept(in *instance) bool {
	return in.any(e.cfg.Keep)
}

func (e *Engine) evictBefore(a, b *instance) bool {
	if a.shown != b.shown {
		return b.shown
	}
	if a.proved != b.proved {
		return b.proved
	}
	if a.origin != b.origin {
		c := cmp.Or(cmp.Compare(a.origin.floods(e.now), b.origin.floods(e.now)), cmp.Compare(a.origin.n, b.origin.n))
		if c != 0 {
			return c > 0
		}
	}
	return a.since.Before(b.since)
}

// complete reports whether an instance is fully known on the link: PTR, SRV,
// TXT and an address.
func (s *seen) complete() bool {
	return s.txt != nil && slices.ContainsFunc(s.srvs, func(c *cached) bool {
		h := s.l.hosts[c.host]
		return h != nil && len(h.addrs) > 0
	})
}

// examine checks an instance after a change: it asks for missing records, or
// reports what is new.
func (l *link) examine(s *seen) {
	if s.settled() {
		l.e.timers.stop(&s.resolve)
		s.attempts = 0
		s.whole = true
		delete(l.missed.list, s.in.key)
	} else if !s.resolve.pending() {
		s.attempts = 0
		// Not at once: the missing records may be in the next packet.
		l.e.timers.set(&s.resolve, l.e.now.Add(between(20*time.Millisecond, 120*time.Millisecond)))
	}
	l.e.touch(s.in)
}

func (l *link) examineUsers(h *host) {
	for _, s := range slices.Clone(h.users) {
		l.examine(s)
	}
}

// resolveNow asks for the missing records of an instance: now, and after 1, 2,
// 4 and 8 s. An instance that stays incomplete is dropped.
func (s *seen) resolveNow() {
	l := s.l
	if s.giveUp() {
		return
	}
	if s.attempts == resolveMax {
		l.miss(s)
		l.forget(s)
		return
	}
	var questions []dns.Question
	if len(s.srvs) == 0 {
		questions = append(questions, dns.Question{Name: s.name, Type: dns.TypeSRV})
	}
	if s.txt == nil {
		questions = append(questions, dns.Question{Name: s.name, Type: dns.TypeTXT})
	}
	for _, c := range s.srvs {
		if !l.hosts[c.host].reachable() {
			s.sought = true
			questions = append(questions, dns.Question{Name: c.target, Type: dns.TypeA}, dns.Question{Name: c.target, Type: dns.TypeAAAA})
		}
	}
	l.askAfter(s.attempts, questions)
	l.e.timers.set(&s.resolve, l.e.now.Add(time.Second<<s.attempts))
	s.attempts++
}

// askAfter asks for records after a number of attempts: from the second on, it
// does not rely on the questions of other hosts.
func (l *link) askAfter(attempts int, questions []dns.Question) {
	if attempts == 0 {
		l.ask(0, questions...)
	} else {
		l.insist(questions...)
	}
}

// asksWithin reports whether resolveNow asks again within d for the missing
// records of an instance.
func (s *seen) asksWithin(d time.Duration) bool {
	return s.resolve.pending() && s.attempts < resolveMax && !s.resolve.at.After(s.l.e.now.Add(d))
}

// suspect asks whether an instance that cannot be reached is still there: now,
// and after 1, 3 and 7 s. If it does not answer, it is gone after 10 s (RFC
// 6762 §10.4).
func (l *link) suspect(s *seen) {
	if s.doubted != nil || len(s.srvs) == 0 {
		return
	}
	for _, c := range s.srvs {
		c.doom(l.e.now.Add(doubtTime))
	}
	attempts := 0
	var again func()
	again = func() {
		questions := []dns.Question{{Name: s.name, Type: dns.TypeSRV}}
		for _, c := range s.srvs {
			if h := l.hosts[c.host]; h != nil {
				for _, a := range h.addrs {
					questions = append(questions, dns.Question{Name: h.name, Type: a.typ})
				}
			}
		}
		l.askAfter(attempts, questions)
		s.doubted = l.after(time.Second<<attempts, again)
		attempts++
	}
	again()
}

// touch schedules the evaluation of an instance once the packet has been
// processed. Mere changes wait for further ones.
func (e *Engine) touch(in *instance) {
	if in == nil {
		return
	}
	at := e.now
	if in.shown && e.showable(in) {
		at = at.Add(settleTime)
	}
	if old, ok := e.dirty[in]; !ok || at.Before(old) {
		e.dirty[in] = at
		e.timers.soonest(&e.settle, at)
	}
}

func (e *Engine) evaluateDirty() {
	var next time.Time
	for in, at := range e.dirty {
		switch {
		case !at.After(e.now):
			delete(e.dirty, in)
			e.evaluate(in)
		case next.IsZero() || at.Before(next):
			next = at
		}
	}
	if !next.IsZero() {
		e.timers.soonest(&e.settle, next)
	}
}

// showable reports whether an instance is complete on a link, can be reached,
// and does not have our own name.
func (e *Engine) showable(in *instance) bool {
	return slices.ContainsFunc(in.on, (*seen).settled) &&
		!slices.ContainsFunc(e.entries, func(en *entry) bool { return fold(en.service.Instance) == in.key })
}

// evaluate reports an instance that was found, has changed, or was lost.
func (e *Engine) evaluate(in *instance) {
	if len(in.on) == 0 && e.table[in.key] == in {
		delete(e.table, in.key)
		if in.origin.n--; in.origin.n == 0 {
			delete(e.origins, in.origin.addr)
		}
	}
	if !e.showable(in) {
		if in.shown {
			in.shown = false
			e.show(in.key, nil)
			e.report(in, true)
		}
		return
	}
	now := e.assemble(in)
	changed := !in.shown || !in.last.same(&now) || in.last.Name != now.Name
	in.shown, in.last = true, now
	if changed {
		e.show(in.key, &now)
	}
	e.report(in, changed)
}

// show sets an entry of the result of Instances.
func (e *Engine) show(key string, in *Instance) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if in == nil {
		delete(e.shown, key)
	} else {
		e.shown[key] = *in
	}
}

// assemble combines what is known about an instance on all links. It leaves out
// replaced records, although they are kept for another second, so that a change
// is reported once, not twice.
func (e *Engine) assemble(in *instance) Instance {
	out := Instance{Name: in.name, From: in.origin.addr, Since: in.since}
	var txt *cached
	var ways []targetWays
	for _, s := range in.on {
		if !s.complete() {
			continue
		}
		if txt == nil || s.txt.since.After(txt.since) {
			txt = s.txt
		}
		out.Interfaces = append(out.Interfaces, s.l.ifc.Name)
		for _, srv := range current(s.srvs) {
			out.TTL = max(out.TTL, srv.ttl)
			target := Target{srv.target, srv.port, srv.priority}
			out.Targets = append(out.Targets, target)
			if h := s.l.hosts[srv.host]; h != nil {
				ways = append(ways, targetWays{target, h.ways(s.l, srv)})
			}
		}
	}
	out.TXT = txt.txt
	slices.Sort(out.Interfaces)
	sort.Slice(out.Targets, func(i, j int) bool { return out.Targets[i].compare(out.Targets[j]) < 0 })
	out.Targets = slices.Compact(out.Targets)
	for _, w := range selectWays(ways) {
		switch w.kind {
		case onLink:
			out.Addrs = append(out.Addrs, w.addr)
		case offLink:
			out.OffLink = append(out.OffLink, w.addr)
		default:
			out.LinkLocal = append(out.LinkLocal, w.addr)
		}
	}
	out.OffLink = slices.DeleteFunc(out.OffLink, func(a netip.AddrPort) bool { return slices.Contains(out.Addrs, a) })
	return out
}

func (t Target) compare(o Target) int {
	return cmp.Or(cmp.Compare(t.Priority, o.Priority), cmp.Compare(t.Host, o.Host), cmp.Compare(t.Port, o.Port))
}

// current leaves out records that were replaced by others of their type, unless
// they are held.
func current(records []*cached) []*cached {
	var out []*cached
	for _, c := range records {
		if !c.replaced || c.held || !slices.ContainsFunc(records, func(o *cached) bool { return o.typ == c.typ && !o.replaced }) {
			out = append(out, c)
		}
	}
	return out
}
