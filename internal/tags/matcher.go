package tags

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/sdp2p/p2p/identity"
)

// Limits of a [Matcher]. They bound the cost of instances, which anybody on the
// local network can announce.
const (
	checksPerSecond = 20 // instances checked, in the long run and at once
	maxWaiting      = 256
	maxChecked      = 1024 // remembered instances that match no contact
	maxServed       = 1024 // sources whose last check is remembered
	maxPerContact   = 16   // instances kept for one contact
)

// An Instance is an announcement. Nothing about it is verified: anybody can
// announce anything.
type Instance struct {
	Label string
	Key   identity.RemoteIdentity
	Tags  []Tag            // as received
	Addrs []netip.AddrPort // its announced addresses
	From  netip.Addr       // its sender
}

// A Match is an instance that announces a contact. Its sender may have copied
// the tags from the contact: only a connection that proves the instance's Key,
// and then the contact's, is proof.
type Match struct {
	Contact identity.RemoteIdentity
	Instance
}

// The states of an entry.
type state uint8

const (
	waiting state = iota // to be checked
	checked              // announces no contact
	matched
)

// An entry is an instance that a Matcher knows.
type entry struct {
	Instance
	state   state
	contact identity.RemoteIdentity // if matched
	told    bool                    // if matched: reported with these addresses
	seq     uint64                  // when it entered its state
}

// A Matcher finds contacts among announced instances, at bounded cost whatever
// is announced: it checks 20 instances a second, of 256 that wait. A forger of
// many instances, even with many source addresses, takes no more than its share
// from others. Instances that announce a contact are kept, and the oldest of
// the others are dropped.
//
// Its methods must not be called concurrently.
type Matcher struct {
	now     func() time.Time
	set     *Set
	entries []*entry // at most maxWaiting + maxChecked, and maxPerContact for each contact
	seq     uint64
	level   float64 // checks that may be made now
	filled  time.Time
	served  map[netip.Addr]uint64 // seq of the last check of an instance of each source
}

// NewMatcher returns a matcher without contacts. now returns the wall clock's
// time, which determines the epoch.
func NewMatcher(now func() time.Time) *Matcher {
	return &Matcher{now: now, level: checksPerSecond, filled: now(), served: map[netip.Addr]uint64{}}
}

// SetContacts replaces the contacts. Known instances that announce none of them
// are checked again.
func (m *Matcher) SetContacts(s *Set) {
	m.set = s
	if s.Len() == 0 {
		m.entries = nil
		return
	}
	still := map[identity.RemoteIdentity]bool{}
	for _, c := range s.Contacts() {
		still[c] = true
	}
	for _, e := range m.entries {
		if e.state != matched || !still[e.contact] {
			m.enter(e, waiting)
		}
	}
}

// Seen records an instance that is new or has changed.
func (m *Matcher) Seen(in Instance) {
	if m.set.Len() == 0 {
		return
	}
	in.Tags, in.Addrs = slices.Clone(in.Tags), slices.Clone(in.Addrs)
	// A match is kept, whatever another host announces under its label.
	m.entries = slices.DeleteFunc(m.entries, func(e *entry) bool {
		return e.Label == in.Label && e.Key != in.Key && e.state != matched
	})
	for _, e := range m.entries {
		if e.Label != in.Label || e.Key != in.Key {
			continue
		}
		again := e.state == checked && !slices.Equal(e.Tags, in.Tags)
		e.told = e.told && slices.Equal(e.Addrs, in.Addrs)
		e.Instance = in
		if again {
			m.enter(e, waiting)
			m.trim(waiting, maxWaiting, allEntries)
		}
		return
	}
	e := &entry{Instance: in}
	m.entries = append(m.entries, e)
	m.enter(e, waiting)
	m.trim(waiting, maxWaiting, allEntries)
}

// Gone records that an instance is gone.
func (m *Matcher) Gone(label string) {
	m.entries = slices.DeleteFunc(m.entries, func(e *entry) bool { return e.Label == label })
}

// Check checks as many instances as may be checked now, and returns those that
// announce a contact and are new or have another address. If next is not zero,
// more are to be checked then.
func (m *Matcher) Check() (found []Match, next time.Time) {
	now := m.now()
	m.level = min(checksPerSecond, m.level+max(0, now.Sub(m.filled).Seconds())*checksPerSecond)
	m.filled = now
	epoch := Epoch(now)
	for m.level >= 1 {
		e := m.pick()
		if e == nil {
			break
		}
		m.level--
		m.check(e, epoch)
	}
	for _, e := range m.entries {
		if e.state == matched && !e.told {
			e.told = true
			found = append(found, Match{e.contact, e.Instance})
		}
	}
	if slices.ContainsFunc(m.entries, isWaiting) {
		next = now.Add(time.Duration((1 - m.level) / checksPerSecond * float64(time.Second)))
	}
	return found, next
}

// Matches returns the instances that announce a contact, newest first.
func (m *Matcher) Matches(contact identity.RemoteIdentity) (list []Match) {
	var all []*entry
	for _, e := range m.entries {
		if e.state == matched && e.contact == contact {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b *entry) int { return cmp.Compare(b.seq, a.seq) })
	for _, e := range all {
		list = append(list, Match{e.contact, e.Instance})
	}
	return list
}

// check compares the tags of an instance with the contacts.
func (m *Matcher) check(e *entry, epoch uint64) {
	contacts := m.set.Match(epoch, e.Key, e.Tags)
	if len(contacts) == 0 {
		m.enter(e, checked)
		m.trim(checked, maxChecked, allEntries)
		return
	}
	e.contact, e.told = contacts[0], false
	m.enter(e, matched)
	m.trim(matched, maxPerContact, func(o *entry) bool { return o.contact == e.contact })
}

func (m *Matcher) enter(e *entry, s state) {
	m.seq++
	e.state, e.seq = s, m.seq
}

func isWaiting(e *entry) bool { return e.state == waiting }

func allEntries(*entry) bool { return true }

// pick returns one of the waiting instances: a random one of the source whose
// last check is longest ago. It chooses the family at random first, since
// anybody can have any number of IPv6 addresses.
func (m *Matcher) pick() *entry {
	var candidates [2][]*entry
	for _, e := range m.entries {
		if !isWaiting(e) {
			continue
		}
		list := &candidates[0]
		if e.source().Is6() {
			list = &candidates[1]
		}
		if len(*list) > 0 {
			switch c := cmp.Compare(m.served[e.source()], m.served[(*list)[0].source()]); {
			case c > 0:
				continue
			case c < 0:
				*list = (*list)[:0]
			}
		}
		*list = append(*list, e)
	}
	family := rand.N(2)
	if len(candidates[family]) == 0 {
		family = 1 - family
	}
	if len(candidates[family]) == 0 {
		return nil
	}
	e := candidates[family][rand.N(len(candidates[family]))]
	m.serve(e.source())
	return e
}

// serve records that an instance of a source is checked.
func (m *Matcher) serve(source netip.Addr) {
	m.seq++
	m.served[source] = m.seq
	if len(m.served) > maxServed {
		oldest := source
		for s, seq := range m.served {
			if seq < m.served[oldest] {
				oldest = s
			}
		}
		delete(m.served, oldest)
	}
}

// trim drops an instance if more than limit of those that which selects are in
// a state: the oldest of the source that has most of them. It is called
// whenever one is added.
func (m *Matcher) trim(s state, limit int, which func(*entry) bool) {
	n := 0
	for _, e := range m.entries {
		if e.state == s && which(e) {
			n++
		}
	}
	if n <= limit {
		return
	}
	type origin struct {
		entries int
		oldest  *entry
	}
	origins := make(map[netip.Addr]origin, len(m.entries))
	var out *entry
	most := 0
	for _, e := range m.entries {
		if e.state != s || !which(e) {
			continue
		}
		o := origins[e.source()]
		if o.entries++; o.oldest == nil || e.seq < o.oldest.seq {
			o.oldest = e
		}
		origins[e.source()] = o
		most = max(most, o.entries)
	}
	for _, o := range origins {
		if o.entries == most && (out == nil || o.oldest.seq < out.seq) {
			out = o.oldest
		}
	}
	m.entries = slices.DeleteFunc(m.entries, func(e *entry) bool { return e == out })
}

// source returns the sender's address in a uniform form.
func (e *entry) source() netip.Addr { return e.From.Unmap().WithZone("") }
