package tags

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/sdp2p/p2p/identity"
)

// A clock is set by a test.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func newClock() *clock { return &clock{time.Unix(1967000*900+450, 0)} }

// A field is a network with one node that looks for contacts.
type field struct {
	t     testing.TB
	clock *clock
	m     *Matcher
	self  identity.Identity
	all   []identity.Identity       // the others
	keys  []identity.RemoteIdentity // their ephemeral keys
	n     int
}

func newField(t testing.TB, contacts int) *field {
	all := contactsOf(t, contacts+1)
	f := &field{t: t, clock: newClock(), self: all[0], all: all[1:], keys: remotes(contactsOf(t, 16))}
	f.m = NewMatcher(f.clock.now)
	f.m.SetContacts(newSet(t, f.self, remotes(f.all)...))
	return f
}

func source(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}) }

// forged returns an instance that announces no contact.
func (f *field) forged(from netip.Addr) Instance {
	f.n++
	key := f.keys[f.n%len(f.keys)]
	all := make([]Tag, PerInstance)
	for i := range all {
		all[i] = Tag{1, 2, 3, byte(i), byte(f.n), byte(f.n >> 8)}
	}
	return Instance{Label: fmt.Sprintf("%016x", f.n), Key: key, Tags: all, From: from}
}

// announced returns an instance of the i-th contact.
func (f *field) announced(i int, from netip.Addr) Instance {
	in := f.forged(from)
	in.Tags[77] = newSet(f.t, f.all[i], f.self.Remote()).Tags(Epoch(f.clock.t), in.Key)[0]
	return in
}

// Whatever is announced, 20 instances are checked at once, and 20 in each
// second, and Check returns the time of the next check.
func TestRate(t *testing.T) {
	f := newField(t, 1)
	for range 100 {
		f.m.Seen(f.forged(source(1)))
	}
	left := func() (n int) {
		for _, e := range f.m.entries {
			if isWaiting(e) {
				n++
			}
		}
		return n
	}
	_, next := f.m.Check()
	require.Equal(t, 80, left())
	require.Equal(t, 50*time.Millisecond, next.Sub(f.clock.t).Round(time.Millisecond))
	_, _ = f.m.Check()
	require.Equal(t, 80, left())
	for range 20 {
		f.clock.t = next.Add(time.Microsecond)
		_, next = f.m.Check()
	}
	require.Equal(t, 60, left())
	f.clock.t = f.clock.t.Add(time.Minute)
	for range 4 {
		f.m.Check()
	}
	require.Equal(t, 40, left(), "idle time adds no more than one second's worth")
	f.clock.t = f.clock.t.Add(-time.Hour)
	_, next = f.m.Check()
	require.Equal(t, 40, left(), "setting the clock adds no more either")
	require.False(t, next.IsZero())
	for range 3 {
		f.clock.t = f.clock.t.Add(time.Second)
		_, next = f.m.Check()
	}
	require.Zero(t, left())
	require.True(t, next.IsZero())
}

// A contact is found within 15 s while 1,000 instances a minute are announced
// from 200 sources, after 1,000 others from these and 1,000 from a single
// source.
func TestFoundInFlood(t *testing.T) {
	var slowest time.Duration
	for round := range 3 {
		f := newField(t, 3)
		for i := range 1000 {
			f.m.Seen(f.forged(source(i % 200)))
		}
		for range 1000 {
			f.m.Seen(f.forged(source(1)))
		}
		start := f.clock.t
		real := f.announced(1, source(1000))
		f.m.Seen(real)
		for found := false; !found; {
			require.Less(t, f.clock.t.Sub(start), 15*time.Second, round)
			matches, _ := f.m.Check()
			found = slices.ContainsFunc(matches, func(m Match) bool { return m.Contact == f.all[1].Remote() && m.Label == real.Label })
			f.clock.t = f.clock.t.Add(60 * time.Millisecond)
			f.m.Seen(f.forged(source(f.n % 200)))
		}
		slowest = max(slowest, f.clock.t.Sub(start))
	}
	t.Log("slowest:", slowest)
}

// IPv6 addresses, of which a forger has any number, take at most half of the
// checks from IPv4 addresses.
func TestFamiliesShare(t *testing.T) {
	f := newField(t, 1)
	for i := range 200 {
		f.m.Seen(f.forged(netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 14: byte(i >> 8), 15: byte(i)})))
	}
	f.m.Seen(f.announced(0, source(1)))
	for range 10 {
		if found, _ := f.m.Check(); len(found) == 1 {
			return
		}
		f.clock.t = f.clock.t.Add(time.Second)
	}
	t.Fatal("the contact was not found") // happens with a chance of 2^-200
}

// An instance of a contact is reported once, and again when its address
// changes; until it is gone it stays, whatever is announced under its label.
func TestMatched(t *testing.T) {
	f := newField(t, 2)
	contact := f.all[0].Remote()
	in := f.announced(0, source(1))
	in.Addrs = []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:1")}
	f.m.Seen(in)
	found, next := f.m.Check()
	require.Equal(t, []Match{{contact, in}}, found)
	require.True(t, next.IsZero())
	check := func() []Match {
		f.clock.t = f.clock.t.Add(time.Second)
		found, _ := f.m.Check()
		return found
	}
	f.m.Seen(in)
	require.Empty(t, check())
	in.Addrs = []netip.AddrPort{netip.MustParseAddrPort("10.0.0.2:1")}
	f.m.Seen(in)
	require.Equal(t, []Match{{contact, in}}, check())

	fake := f.forged(source(2))
	fake.Label = in.Label
	f.m.Seen(fake)
	require.Empty(t, check())
	fake.Key = in.Key
	f.m.Seen(fake)
	require.Len(t, check(), 1, "another address is reported; only a dial can tell that it is wrong")
	for range maxWaiting + maxChecked + 50 {
		f.m.Seen(f.forged(source(3)))
		check()
	}
	require.Len(t, f.m.Matches(contact), 1)
	require.LessOrEqual(t, len(f.m.entries), maxWaiting+maxChecked+1)

	f.m.SetContacts(newSet(t, f.self, f.all[1].Remote(), contact))
	require.Len(t, f.m.Matches(contact), 1)
	f.m.SetContacts(newSet(t, f.self, f.all[1].Remote()))
	require.Empty(t, f.m.Matches(contact))
	f.m.SetContacts(newSet(t, f.self, contact))
	f.clock.t = f.clock.t.Add(time.Hour)
	require.Empty(t, f.m.Matches(contact))
	for range 100 {
		check()
	}
	require.Empty(t, f.m.Matches(contact), "the match's epoch is over")
	f.m.Gone(in.Label)
	require.False(t, slices.ContainsFunc(f.m.entries, func(e *entry) bool { return e.Label == in.Label }))
}

// An instance that was checked before its device became a contact is still
// found.
func TestLaterContact(t *testing.T) {
	f := newField(t, 2)
	in := f.announced(1, source(1))
	f.m.SetContacts(newSet(t, f.self, f.all[0].Remote()))
	f.m.Seen(in)
	found, _ := f.m.Check()
	require.Empty(t, found)
	f.m.SetContacts(newSet(t, f.self, remotes(f.all)...))
	found, _ = f.m.Check()
	require.Len(t, found, 1)
	f.m.SetContacts(nil)
	require.Empty(t, f.m.entries)
	f.m.Seen(in)
	require.Empty(t, f.m.entries, "without contacts, nothing is kept")
}

// Copies of an announcement under other labels displace each other, and no
// other instance.
func TestCopies(t *testing.T) {
	f := newField(t, 2)
	in, other := f.announced(0, source(1)), f.announced(1, source(3))
	f.m.Seen(in)
	f.m.Seen(other)
	f.m.Check()
	for i := range 1000 {
		copied := in
		copied.Label, copied.From = fmt.Sprint("copy", i), source(2)
		f.m.Seen(copied)
		f.clock.t = f.clock.t.Add(60 * time.Millisecond)
		f.m.Check()
	}
	list := f.m.Matches(f.all[0].Remote())
	require.Len(t, list, maxPerContact)
	require.True(t, slices.ContainsFunc(list, func(m Match) bool { return m.Label == in.Label }), "the original stays, since its source has only one instance")
	require.Len(t, f.m.Matches(f.all[1].Remote()), 1)
}

// Whatever is announced, in whatever order, the bounds hold, and each match
// agrees with the set.
func TestMatcherBounds(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := newField(t, 3)
		labels := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"})
		rt.Repeat(map[string]func(*rapid.T){
			"seen": func(rt *rapid.T) {
				in := f.forged(source(rapid.IntRange(0, 3).Draw(rt, "source")))
				if rapid.Bool().Draw(rt, "real") {
					in = f.announced(rapid.IntRange(0, 2).Draw(rt, "contact"), in.From)
				}
				if rapid.Bool().Draw(rt, "known") {
					in.Label = labels.Draw(rt, "label")
				}
				f.m.Seen(in)
			},
			"gone": func(rt *rapid.T) { f.m.Gone(labels.Draw(rt, "label")) },
			"contacts": func(rt *rapid.T) {
				f.m.SetContacts(newSet(t, f.self, remotes(f.all[:rapid.IntRange(0, 3).Draw(rt, "n")])...))
			},
			"check": func(rt *rapid.T) {
				f.clock.t = f.clock.t.Add(time.Duration(rapid.IntRange(0, 2000).Draw(rt, "ms")) * time.Millisecond)
				found, _ := f.m.Check()
				for _, match := range found {
					require.Contains(rt, f.m.set.Match(Epoch(f.clock.t), match.Key, match.Tags), match.Contact)
				}
			},
			"": func(rt *rapid.T) {
				counts := map[state]int{}
				known := map[string]bool{}
				for _, e := range f.m.entries {
					counts[e.state]++
					id := e.Label + e.Key.String()
					require.False(rt, known[id], "twice")
					known[id] = true
				}
				require.LessOrEqual(rt, len(f.m.served), maxServed)
				require.LessOrEqual(rt, counts[waiting], maxWaiting)
				require.LessOrEqual(rt, counts[checked], maxChecked)
				require.LessOrEqual(rt, counts[matched], 3*maxPerContact)
			},
		})
	})
}
