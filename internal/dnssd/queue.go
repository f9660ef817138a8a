package dnssd

import (
	"net/netip"
	"slices"
	"time"

	"github.com/sdp2p/p2p/internal/dns"
)

// A queue holds the announcements of new instances that are more than may be
// admitted at once. Where hundreds of nodes start together, each hears that
// many in a moment. If it dropped the rest, all nodes would ask for it, each
// with a list of the hundreds that it knows, and hardly any could rely on the
// question of another, since each knows others, and not those that ask. So the
// announcements wait, and are learned at the rate of admission, the first to
// come first. In questions, an instance that waits counts as known.
//
// A queue has its own bounds, and gives nobody more than its tokens: from
// whom an instance may be admitted is decided when its turn comes. If the queue
// is full, a source that has most announcements in it loses the newest of them
// to one that has fewer. Sources without number have half of it at most.
type queue struct {
	list    []*announcement    // the first to come first
	sources map[netip.Addr]int // announcements of each
	labels  map[string]int     // announcements for each, folded, on any link
	timer   timer              // admits the next ones
}

const (
	queueTime = 30 * time.Second      // after which what has waited in vain is refused
	queueStep = 50 * time.Millisecond // from one check for tokens to the next
	minQueued = 60                    // seconds that records of what waits live
)

// An announcement is a packet that announced an instance in full, and no other.
type announcement struct {
	*lesson
	label  string
	key    string // label, folded
	ptr    *dns.PTR
	by     netip.Addr // src without a zone
	at     time.Time
	listed bool // as known: of several for one instance, the first
	left   bool // the queue
}

// of reports whether the announcement is about the instance with a folded label
// on a link.
func (a *announcement) of(l *link, key string) bool { return a.l == l && a.key == key }

// admit admits a new instance, unless others come before it.
func (p *lesson) admit(label string, ptr *dns.PTR) *instance {
	l := p.l
	a := &announcement{lesson: p, label: label, key: fold(label), ptr: ptr, by: p.src.WithZone(""), at: l.e.now}
	whole := a.whole()
	if whole && l.e.queue.labels[a.key] > 0 && l.e.enqueue(a) {
		return nil
	}
	in, early := l.admitInstance(label, p.src, false)
	switch {
	case in != nil:
		l.e.unqueue(func(o *announcement) bool { return o.of(l, a.key) })
	case early && !(whole && l.e.enqueue(a)):
		l.refused()
	}
	return in
}

// enqueue lets an instance wait until it may be admitted, if there is room for
// the announcement.
func (e *Engine) enqueue(a *announcement) bool {
	q, src := &e.queue, a.by
	if o := e.origins[a.src]; o != nil && o.lately(e.now) > originMany {
		return false
	}
	same, countless := 0, 0
	for i, o := range q.list {
		if o.of(a.l, a.key) {
			if o.src == a.src {
				a.listed, o.left = o.listed, true
				q.list[i] = a
				return true
			}
			same++
		}
		if o.l.countless(o.src) {
			countless++
		}
	}
	if same == maxQueuedBy || q.sources[src] >= maxQueued/2 || a.l.countless(src) && countless >= maxQueued/2 ||
		len(q.list) == maxQueued && !e.makeRoomFor(src) {
		return false
	}
	a.listed = same == 0
	q.list = append(q.list, a)
	q.sources[src]++
	q.labels[a.key]++
	e.timers.soonest(&q.timer, e.now.Add(queueStep))
	return true
}

// whole reports whether a packet of moderate size announces the instance in
// full, for longer than it might wait, and no other instance.
func (a *announcement) whole() bool {
	var srv, txt, addr bool
	name := fold(a.ptr.Ptr)
	for _, t := range a.records {
		h, other := t.rr.Head(), t.key != name
		switch h.Type {
		case dns.TypePTR:
			other = t.key == a.l.e.serviceKey && t.rr != dns.Record(a.ptr)
		case dns.TypeSRV:
			srv = true
		case dns.TypeTXT:
			txt = true
		default:
			addr = addr || h.Type == dns.TypeA || h.Type == dns.TypeAAAA
			other = false
		}
		if other || h.TTL < minQueued {
			return false
		}
	}
	return srv && txt && addr && a.size <= maxQueuedPacket
}

// makeRoomFor makes room for an announcement in a full queue, if its source has
// fewer than others.
func (e *Engine) makeRoomFor(src netip.Addr) bool {
	q := &e.queue
	most := q.sources[src] + 1
	var out *announcement
	for _, o := range q.list {
		if n := q.sources[o.by]; n > most || out != nil && n == most {
			out, most = o, n
		}
	}
	if out != nil {
		e.refuse(out)
	}
	return out != nil
}

// refuse drops an announcement for which there is no room, or that has waited
// in vain.
func (e *Engine) refuse(a *announcement) {
	e.unqueue(func(o *announcement) bool { return o == a })
	a.l.refused()
}

// unqueue takes announcements out of the queue.
func (e *Engine) unqueue(which func(*announcement) bool) (out []*announcement) {
	q := &e.queue
	stay := q.list[:0]
	for _, a := range q.list {
		if !which(a) {
			stay = append(stay, a)
			continue
		}
		if q.sources[a.by]--; q.sources[a.by] == 0 {
			delete(q.sources, a.by)
		}
		if q.labels[a.key]--; q.labels[a.key] == 0 {
			delete(q.labels, a.key)
		}
		a.left = true
		out = append(out, a)
	}
	clear(q.list[len(stay):])
	if q.list = stay; len(stay) == 0 {
		e.timers.stop(&q.timer)
	}
	return out
}

// timely reports whether an announcement may still be learned. Its records live
// longer than that.
func (a *announcement) timely() bool { return a.l.e.now.Sub(a.at) <= queueTime }

// admitQueued admits instances that wait, as far as there are tokens for them.
func (e *Engine) admitQueued() {
	q := &e.queue
	e.timers.set(&q.timer, e.now.Add(queueStep))
	for _, a := range slices.Clone(q.list) {
		if a.left {
			continue
		}
		if !a.timely() {
			e.refuse(a)
		} else if in, early := a.l.admitInstance(a.label, a.src, true); !early {
			for _, o := range e.unqueue(func(o *announcement) bool { return o.of(a.l, a.key) }) {
				if in != nil && o.timely() {
					o.learn()
				}
			}
			e.touch(in) // if it is of no interest anymore, it goes
		}
	}
}

// learn caches the records of an instance that was admitted.
func (a *announcement) learn() {
	age := uint32(a.l.e.now.Sub(a.at) / time.Second)
	for _, t := range a.records {
		t.rr.Head().TTL -= age
	}
	a.l.learn(received{Packet{Src: netip.AddrPortFrom(a.src, Port)}, a.family}, a.records)
	a.l.heedDenials(a.records)
}
