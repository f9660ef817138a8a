package contact_test

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/contact"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/junction"
	"github.com/sdp2p/p2p/internal/tags"
)

// A deaf listener has no network: it only records its calls.
type deaf struct {
	mu       sync.Mutex
	kept     []bool // for each change of the key, whether the former key is kept
	dialed   []netip.AddrPort
	when     []time.Time
	answers  map[netip.AddrPort]bool
	slow     chan struct{} // attempts end when it is closed; if nil, at once
	cut      []identity.RemoteIdentity
	moves    []uint16
	contacts *contact.Contacts
	scope    *p2p.Scope
}

func (d *deaf) Name() string { return "deaf" }

func (d *deaf) Run(ctx context.Context, s *p2p.Scope) error {
	d.mu.Lock()
	d.scope = s
	d.mu.Unlock()
	s.Ready()
	<-ctx.Done()
	return nil
}

func (d *deaf) Dial(context.Context, identity.RemoteIdentity, []p2p.Candidate) (p2p.RawStream, error) {
	return nil, errors.New("deaf")
}

func (d *deaf) Veiled() junction.Veiled { return d }

func (d *deaf) Veil(v junction.Veil) {
	if v != nil {
		v.Mask()
		v.Listens(junction.Socket{Port: 4711, IPv4: true, IPv6: true})
	}
}

func (d *deaf) Move(port uint16) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.moves = append(d.moves, port)
}

func (d *deaf) Rotate(_ identity.Identity, keep bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kept = append(d.kept, keep)
}

func (d *deaf) Invite(identity.Identity, func(context.Context, junction.Meeting) (identity.RemoteIdentity, error)) (port uint16, over func(), ok bool) {
	return 0, nil, false
}

func (d *deaf) Visit(_, _ identity.RemoteIdentity, _ func(context.Context, junction.Meeting) error) (over func()) {
	return func() {}
}

func (d *deaf) Cut(id identity.RemoteIdentity) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut = append(d.cut, id)
}

func (d *deaf) Connect(_ context.Context, _ identity.RemoteIdentity, at []netip.AddrPort) error {
	if d.slow != nil {
		<-d.slow
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dialed, d.when = append(d.dialed, at...), append(d.when, time.Now())
	if !d.answers[at[0]] {
		return errors.New("deaf")
	}
	return nil
}

func (d *deaf) dials() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.dialed)
}

// alone starts a node with a deaf listener in a bubble.
func alone(t *testing.T, id identity.Identity, contacts ...identity.RemoteIdentity) (*p2p.P2P, *deaf) {
	t.Helper()
	d := &deaf{answers: map[netip.AddrPort]bool{}}
	d.contacts = contact.New(contact.Config{Listener: d})
	require.NoError(t, d.contacts.Set(contacts))
	d.contacts.Veil(true)
	n, err := p2p.Start(t.Context(), p2p.Config{App: "test", Identity: id, Hooks: []p2p.Hook{d, d.contacts}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Shutdown(context.Background())) })
	return n, d
}

// announced returns what a contact announces now.
func announced(t *testing.T, by identity.Identity, to identity.RemoteIdentity, label, at string) junction.Instance {
	t.Helper()
	return announcedAhead(t, 0, by, to, label, at)
}

// announcedAhead returns what a contact announces whose clock is ahead.
func announcedAhead(t *testing.T, ahead time.Duration, by identity.Identity, to identity.RemoteIdentity, label, at string) junction.Instance {
	t.Helper()
	set, err := tags.NewSet(by, []identity.RemoteIdentity{to}, nil)
	require.NoError(t, err)
	key := identity.New().Remote()
	addr := netip.MustParseAddrPort(at)
	return junction.Instance{Label: label, Key: key, Tags: set.Tags(tags.Epoch(time.Now().Add(ahead)), key), Addrs: []netip.AddrPort{addr}, From: addr.Addr()}
}

// An epoch begins within a minute after each quarter of an hour, with another
// key and label, and with the contacts' tags. Nothing is used twice, and the
// time within the minute varies.
func TestEpochs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		self, other := identity.New(), identity.New().Remote()
		_, d := alone(t, self, other)
		set, err := tags.NewSet(self, []identity.RemoteIdentity{other}, nil)
		require.NoError(t, err)
		seen, late := map[any]bool{}, map[time.Duration]bool{}
		for i := range 12 {
			shown, ok, changed := d.contacts.Show()
			require.True(t, ok)
			require.Len(t, shown.Label, 16)
			require.EqualValues(t, 4711, shown.At.Port)
			require.Equal(t, tags.Epoch(time.Now()), shown.Epoch)
			require.Equal(t, set.Tags(shown.Epoch, shown.Key), shown.Tags)
			require.False(t, seen[shown.Label] || seen[shown.Key] || seen[shown.Tags[0]])
			seen[shown.Label], seen[shown.Key], seen[shown.Tags[0]] = true, true, true
			if i > 0 {
				after := time.Duration(time.Now().UnixNano()) % tags.EpochTime
				require.Less(t, after, time.Minute)
				late[after] = true
			}
			<-changed
		}
		require.Greater(t, len(late), 8, "nobody must be able to foresee when an epoch begins")
		for _, keep := range d.kept {
			require.True(t, keep)
		}
	})
}

// A contact whose clock is off by less than a quarter of an hour is found at
// any time. If its clock is off by more, it is found at some times, and from
// twice as much on never.
func TestClocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		self, other := identity.New(), identity.New()
		_, d := alone(t, self, other.Remote())
		found := map[time.Duration]int{}
		const phases = 30
		for range phases { // throughout an epoch
			for _, minutes := range []time.Duration{0, 14, 16, 31} {
				for _, ahead := range []time.Duration{minutes * time.Minute, -minutes * time.Minute} {
					d.contacts.Seen(announcedAhead(t, ahead, other, self.Remote(), "1", "192.0.2.1:1"))
					synctest.Wait()
					if _, ok := d.contacts.Key(other.Remote()); ok {
						found[ahead]++
					}
					d.contacts.Gone("1")
					time.Sleep(tags.EpochTime) // until the contact is forgotten
					synctest.Wait()
				}
			}
			time.Sleep(tags.EpochTime / phases)
		}
		for _, sign := range []time.Duration{time.Minute, -time.Minute} {
			require.Equal(t, phases, found[14*sign])
			require.NotZero(t, found[16*sign])
			require.Less(t, found[16*sign], phases)
			require.Zero(t, found[31*sign])
		}
	})
}

// A contact is there from the moment when the check succeeds, as long as it
// announces instances, also across a change of epoch.
func TestPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		self, other := identity.New(), identity.New()
		n, d := alone(t, self, other.Remote())
		there := func() bool { _, ok := n.Peer(other.Remote()); synctest.Wait(); return ok }
		in := announced(t, other, self.Remote(), "1", "192.0.2.1:1")
		d.contacts.Seen(in)
		synctest.Wait()
		require.False(t, there(), "the contact did not answer")
		require.Equal(t, 1, d.dials())
		d.mu.Lock()
		d.answers[in.Addrs[0]] = true
		d.mu.Unlock()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		require.True(t, there())
		require.Equal(t, 2, d.dials())
		key, ok := d.contacts.Key(other.Remote())
		require.True(t, ok)
		require.Equal(t, in.Key, key)

		events := n.Subscribe()
		defer events.Close()
		d.contacts.Gone("1")
		time.Sleep(time.Second)
		next := announced(t, other, self.Remote(), "2", "192.0.2.1:1")
		d.contacts.Seen(next)
		synctest.Wait()
		time.Sleep(time.Minute)
		synctest.Wait()
		require.True(t, there())
		key, _ = d.contacts.Key(other.Remote())
		require.Equal(t, next.Key, key)
		for len(events.C) > 0 {
			_, lost := (<-events.C).(p2p.PeerUnavailable)
			require.False(t, lost)
		}

		d.contacts.Gone("2")
		time.Sleep(4 * time.Second)
		synctest.Wait()
		require.False(t, there())
		_, ok = d.contacts.Key(other.Remote())
		require.False(t, ok)
	})
}

// Somebody announces copies of a contact's instance with other addresses. They
// cause at most four attempts in half a minute, and do not hide the contact.
func TestCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		self, other := identity.New(), identity.New()
		n, d := alone(t, self, other.Remote())
		in := announced(t, other, self.Remote(), "0", "192.0.2.1:1")
		for i := range byte(8) {
			in.Label = string(rune('a' + i))
			in.Addrs = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 100 + i}), 1)}
			d.contacts.Seen(in)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		for i := range d.when[4:] {
			require.GreaterOrEqual(t, d.when[i+4].Sub(d.when[i]), 30*time.Second)
		}
		require.Greater(t, d.dials(), 8, "each copy must have its turn")
		real := announced(t, other, self.Remote(), "real", "192.0.2.1:1")
		d.mu.Lock()
		d.answers[real.Addrs[0]] = true
		d.mu.Unlock()
		d.contacts.Seen(real)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		_, ok := n.Peer(other.Remote())
		require.True(t, ok)
	})
}

// When the app's dials to a contact fail although it answers, the contact is
// not looked for more often than otherwise.
func TestReconfirm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		self, other := identity.New(), identity.New()
		n, d := alone(t, self, other.Remote())
		in := announced(t, other, self.Remote(), "1", "192.0.2.1:1")
		d.mu.Lock()
		d.answers[in.Addrs[0]] = true
		d.mu.Unlock()
		d.contacts.Seen(in)
		for range 600 {
			time.Sleep(time.Second)
			synctest.Wait()
			d.contacts.Reconfirm(other.Remote())
		}
		for i := range d.when[4:] {
			require.GreaterOrEqual(t, d.when[i+4].Sub(d.when[i]), 30*time.Second)
		}
		require.Greater(t, d.dials(), 40)
		_, ok := n.Peer(other.Remote())
		require.True(t, ok)
	})
}

// A contact that did not answer is dialed at once when it begins a new epoch,
// but not when somebody announces a copy of its instance.
func TestNextEpochIsDialed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		self, other := identity.New(), identity.New()
		n, d := alone(t, self, other.Remote())
		in := announced(t, other, self.Remote(), "1", "192.0.2.1:1")
		d.contacts.Seen(in)
		synctest.Wait()
		in.Label, in.Addrs = "copy", []netip.AddrPort{netip.MustParseAddrPort("192.0.2.7:1")}
		d.contacts.Seen(in)
		synctest.Wait()
		require.Equal(t, 1, d.dials())
		next := announced(t, other, self.Remote(), "2", "192.0.2.1:1")
		d.mu.Lock()
		d.answers[next.Addrs[0]] = true
		d.mu.Unlock()
		d.contacts.Seen(next)
		synctest.Wait()
		require.Equal(t, 2, d.dials())
		_, ok := n.Peer(other.Remote())
		require.True(t, ok)
	})
}

// Between two announcements of a contact, the key of the last one counts, even
// if this one has not been checked.
func TestKeyBetweenAnnouncements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		self, other := identity.New(), identity.New()
		_, d := alone(t, self, other.Remote())
		d.slow = make(chan struct{})
		defer close(d.slow)
		for i := range 3 { // while the attempt to reach the first instance goes on
			in := announced(t, other, self.Remote(), string(rune('a'+i)), "192.0.2.1:1")
			d.contacts.Seen(in)
			synctest.Wait()
			d.contacts.Gone(in.Label)
			synctest.Wait()
			key, ok := d.contacts.Key(other.Remote())
			require.True(t, ok)
			require.Equal(t, in.Key, key)
		}
	})
}

// Instances of strangers, and the node's own instance, cause no dials.
func TestOthersInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		self, other, third := identity.New(), identity.New(), identity.New()
		n, d := alone(t, self, other.Remote())
		d.contacts.Seen(announced(t, third, self.Remote(), "1", "192.0.2.1:1"))
		d.contacts.Seen(announced(t, other, third.Remote(), "2", "192.0.2.1:1"))
		shown, _, _ := d.contacts.Show()
		d.contacts.Seen(junction.Instance{Label: shown.Label, Key: shown.Key, Tags: shown.Tags, Addrs: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:1")}})
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Zero(t, d.dials())
		require.Empty(t, n.Peers())
	})
}

// Invalid lists of contacts are refused, and change nothing.
func TestSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		self, other := identity.New(), identity.New().Remote()
		n, d := alone(t, self, other)
		shown, _, _ := d.contacts.Show()
		many := make([]identity.RemoteIdentity, contact.MaxContacts+1)
		for i := range many {
			many[i] = identity.New().Remote()
		}
		negation := negated(t, other)
		for _, bad := range [][]identity.RemoteIdentity{{{}}, {other, negation}, {negated(t, self.Remote())}, many} {
			require.Error(t, d.contacts.Set(bad))
		}
		require.ErrorIs(t, d.contacts.Set(many), contact.ErrTooMany)
		require.NoError(t, d.contacts.Set([]identity.RemoteIdentity{other, self.Remote(), other}))
		still, _, _ := d.contacts.Show()
		require.Equal(t, shown, still)
		require.True(t, d.contacts.Has(other))
		require.False(t, d.contacts.Has(negation))
		require.False(t, d.contacts.Has(self.Remote()))

		require.NoError(t, d.contacts.Set([]identity.RemoteIdentity{many[0]}))
		require.Equal(t, []identity.RemoteIdentity{other}, d.cut)
		require.False(t, d.kept[len(d.kept)-1], "the former key must not be kept")
		require.NoError(t, d.contacts.Set(many[:2]))
		require.True(t, d.kept[len(d.kept)-1])
		synctest.Wait()
		require.Len(t, n.Tracked(), 2)
	})
}

// negated returns the other key that has the same Montgomery form.
func negated(t *testing.T, id identity.RemoteIdentity) identity.RemoteIdentity {
	t.Helper()
	b := id.Bytes()
	b[31] ^= 0x80
	n, err := identity.FromBytes(b[:])
	require.NoError(t, err)
	return n
}
